"""DenseNet-121, HRNet-W18, LR-ASPP on MobileNetV3 and a randomly wired network."""

import networkx as nx
import numpy as np
import onnx

from benchmarks.networks.builder import Net, Value


def densenet121() -> onnx.ModelProto:
    """Pre-activation dense blocks of 6, 12, 24, 16 layers, growth 32.

    Source: "Densely Connected Convolutional Networks", Table 1.
    """
    net = Net("densenet121", (1, 3, 224, 224))
    x = net.pool("MaxPool", net.conv(net.x, 64, 7, 2, relu=True), 3, 2)
    for block, layers in enumerate((6, 12, 24, 16)):
        features = [x]
        for _ in range(layers):
            merged = net.concat(features) if len(features) > 1 else features[0]
            hidden = net.conv(_norm_relu(net, merged), 128, relu=True)
            features.append(net.conv(hidden, 32, 3))
        x = _norm_relu(net, net.concat(features))
        if block < 3:
            half = net.conv(x, net.shapes[x][1] // 2)
            batch, channels, height, width = net.shapes[half]
            x = net.node(
                "AveragePool",
                [half],
                (batch, channels, height // 2, width // 2),
                kernel_shape=[2, 2],
                strides=[2, 2],
            )
    return net.model(net.classifier(x))


def _norm_relu(net: Net, x: Value) -> Value:
    statistics = [net.weight(net.shapes[x][1]) for _ in range(4)]
    return net.relu(net.node("BatchNormalization", [x, *statistics], net.shapes[x]))


MOBILENET_V3_LARGE = (
    # kernel, expanded, out, squeeze-excite, hard-swish, stride, dilation
    (3, 16, 16, False, False, 1, 1),
    (3, 64, 24, False, False, 2, 1),
    (3, 72, 24, False, False, 1, 1),
    (5, 72, 40, True, False, 2, 1),
    (5, 120, 40, True, False, 1, 1),
    (5, 120, 40, True, False, 1, 1),
    (3, 240, 80, False, True, 2, 1),
    (3, 200, 80, False, True, 1, 1),
    (3, 184, 80, False, True, 1, 1),
    (3, 184, 80, False, True, 1, 1),
    (3, 480, 112, True, True, 1, 1),
    (3, 672, 112, True, True, 1, 1),
    (5, 672, 160, True, True, 1, 2),
    (5, 960, 160, True, True, 1, 2),
    (5, 960, 160, True, True, 1, 2),
)


def lraspp_mobilenet_v3() -> onnx.ModelProto:
    """Lite reduced atrous spatial pyramid pooling on a dilated MobileNetV3-Large.

    Source: "Searching for MobileNetV3", Table 1 and Section 6.4.
    """
    net = Net("lraspp_mobilenet_v3_large", (1, 3, 224, 224))
    x = net.unary("HardSwish", net.conv(net.x, 16, 3, 2))
    low = x
    for kernel, expanded, out, excite, swish, stride, dilation in MOBILENET_V3_LARGE:
        activation = "HardSwish" if swish else "Relu"
        y = x
        if expanded != net.shapes[x][1]:
            y = net.unary(activation, net.conv(y, expanded))
        y = net.conv(y, expanded, kernel, stride, expanded, dilation)
        y = net.unary(activation, y)
        y = net.conv(_squeeze_excite(net, y) if excite else y, out)
        x = net.add(x, y) if net.shapes[x] == net.shapes[y] else y
        if out == 40:
            low = x
    x = net.unary("HardSwish", net.conv(x, 960))
    gate = net.unary("Sigmoid", net.conv(net.global_pool(x), 128))
    head = net.binary("Mul", net.conv(x, 128, relu=True), gate)
    head = net.resize(head, net.shapes[low][2:])
    logits = net.add(net.conv(low, 21), net.conv(head, 21))
    return net.model(net.resize(logits, (224, 224)))


def _squeeze_excite(net: Net, x: Value) -> Value:
    channels = net.shapes[x][1]
    squeezed = -(-channels // 4 // 8) * 8
    gate = net.conv(net.global_pool(x), squeezed, relu=True)
    gate = net.unary("HardSigmoid", net.conv(gate, channels), alpha=1 / 6, beta=0.5)
    return net.binary("Mul", x, gate)


def hrnet_w18() -> onnx.ModelProto:
    """Parallel branches of four resolutions with repeated exchange.

    Source: "Deep High-Resolution Representation Learning for Visual Recognition", Section 3.
    """
    net = Net("hrnet_w18", (1, 3, 224, 224))
    x = net.conv(net.conv(net.x, 64, 3, 2, relu=True), 64, 3, 2, relu=True)
    for block in range(4):
        y = net.conv(net.conv(net.conv(x, 64, relu=True), 64, 3, relu=True), 256)
        x = net.relu(net.add(y, net.conv(x, 256) if block == 0 else x))
    branches = [x]
    for modules in (1, 4, 3):
        width = 18 * 2 ** len(branches)
        grown = [
            net.conv(b, 18 * 2**i, 3, relu=True) if net.shapes[b][1] != 18 * 2**i else b
            for i, b in enumerate(branches)
        ]
        branches = [*grown, net.conv(branches[-1], width, 3, 2, relu=True)]
        for _ in range(modules):
            branches = _exchange(net, [_basic_blocks(net, b) for b in branches])
    size = net.shapes[branches[0]][2:]
    merged = net.concat([branches[0], *(net.resize(b, size) for b in branches[1:])])
    return net.model(net.classifier(net.conv(merged, 270, relu=True)))


def _basic_blocks(net: Net, x: Value) -> Value:
    channels = net.shapes[x][1]
    for _ in range(4):
        y = net.conv(net.conv(x, channels, 3, relu=True), channels, 3)
        x = net.relu(net.add(y, x))
    return x


def _exchange(net: Net, branches: list[Value]) -> list[Value]:
    merged = []
    for i, target in enumerate(branches):
        channels, size = net.shapes[target][1], net.shapes[target][2:]
        total = target
        for j, source in enumerate(branches):
            if j > i:
                total = net.add(total, net.resize(net.conv(source, channels), size))
            elif j < i:
                y = source
                for step in range(i - j):
                    last = step == i - j - 1
                    y = net.conv(
                        y, channels if last else net.shapes[source][1], 3, 2, relu=not last
                    )
                total = net.add(total, y)
        merged.append(net.relu(total))
    return merged


def randwire_ws(nodes: int = 32, channels: int = 78, seed: int = 1) -> onnx.ModelProto:
    """Randomly wired stages from Watts-Strogatz graphs WS(4, 0.75), small regime.

    Source: "Exploring Randomly Wired Neural Networks for Image Recognition", Section 3.
    """
    net = Net("randwire_ws", (1, 3, 224, 224))
    x = net.conv(net.relu(net.conv(net.x, channels // 2, 3, 2)), channels, 3, 2)
    for stage in range(3):
        x = _random_stage(net, x, channels * 2**stage, nodes, seed + stage)
    return net.model(net.classifier(net.conv(net.relu(x), 1280)))


def _random_stage(net: Net, x: Value, width: int, nodes: int, seed: int) -> Value:
    wiring = nx.connected_watts_strogatz_graph(nodes, 4, 0.75, seed=seed)
    values: list[Value] = []
    for node in range(nodes):
        sources = sorted(n for n in wiring.neighbors(node) if n < node)
        total = values[sources[0]] if sources else x
        for source in sources[1:]:
            total = net.add(total, values[source])
        stride = 1 if sources else 2
        channels = net.shapes[total][1]
        y = net.conv(net.relu(total), channels, 3, stride, groups=channels)
        values.append(net.conv(y, width))
    leaves = [values[n] for n in range(nodes) if all(m < n for m in wiring.neighbors(n))]
    total = leaves[0]
    for leaf in leaves[1:]:
        total = net.add(total, leaf)
    return net.binary("Mul", total, net.constant(np.array(1 / len(leaves), dtype=np.float32)))
