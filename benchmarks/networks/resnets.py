"""ResNet-50, ResNeXt-50 and the segmentation networks on a dilated ResNet-50."""

import onnx

from benchmarks.networks.builder import Net, Value


def resnet50() -> onnx.ModelProto:
    """Source: "Deep Residual Learning for Image Recognition", Table 1 (stride in the 3x3)."""
    net = Net("resnet50", (1, 3, 224, 224))
    return net.model(net.classifier(_backbone(net)[-1]))


def resnext50() -> onnx.ModelProto:
    """Source: "Aggregated Residual Transformations for Deep Neural Networks", Table 1 (32x4d)."""
    net = Net("resnext50_32x4d", (1, 3, 224, 224))
    return net.model(net.classifier(_backbone(net, groups=32, width=4)[-1]))


def fcn_resnet50() -> onnx.ModelProto:
    """FCN head on stages 4 and 3 (auxiliary) of a dilated ResNet-50.

    Source: "Fully Convolutional Networks for Semantic Segmentation"; head as in torchvision.
    """
    net = Net("fcn_resnet50", (1, 3, 224, 224))
    *_, stage3, stage4 = _backbone(net, dilated=True)
    return net.model(*(_fcn_head(net, x) for x in (stage4, stage3)))


def deeplabv3_resnet50() -> onnx.ModelProto:
    """Atrous spatial pyramid pooling (rates 12, 24, 36) on a dilated ResNet-50.

    Source: "Rethinking Atrous Convolution for Semantic Image Segmentation", Section 3.3.
    """
    net = Net("deeplabv3_resnet50", (1, 3, 224, 224))
    *_, stage3, stage4 = _backbone(net, dilated=True)
    size = net.shapes[stage4][2:]
    branches = [net.conv(stage4, 256, relu=True)]
    branches += [net.conv(stage4, 256, 3, dilation=r, relu=True) for r in (12, 24, 36)]
    branches.append(net.resize(net.conv(net.global_pool(stage4), 256, relu=True), size))
    merged = net.conv(net.concat(branches), 256, relu=True)
    logits = net.conv(net.conv(merged, 256, 3, relu=True), 21)
    return net.model(net.resize(logits, (224, 224)), _fcn_head(net, stage3))


def _fcn_head(net: Net, x: Value) -> Value:
    hidden = net.conv(x, net.shapes[x][1] // 4, 3, relu=True)
    return net.resize(net.conv(hidden, 21), (224, 224))


def _backbone(net: Net, groups: int = 1, width: int = 64, dilated: bool = False) -> list[Value]:
    """Outputs of the four stages; ``dilated`` keeps stride 8 in the last two."""
    x = net.pool("MaxPool", net.conv(net.x, 64, 7, 2, relu=True), 3, 2)
    stages, dilation = [], 1
    for stage, blocks in enumerate((3, 4, 6, 3)):
        inner = groups * width * 2**stage
        stride = 1 if stage == 0 or (dilated and stage > 1) else 2
        for block in range(blocks):
            step = stride if block == 0 else 1
            y = net.conv(x, inner, relu=True)
            y = net.conv(y, inner, 3, step, groups, dilation, relu=True)
            if dilated and stage > 1 and block == 0:
                dilation *= 2
            y = net.conv(y, 256 * 2**stage)
            skip = net.conv(x, 256 * 2**stage, 1, step) if block == 0 else x
            x = net.relu(net.add(y, skip))
        stages.append(x)
    return stages
