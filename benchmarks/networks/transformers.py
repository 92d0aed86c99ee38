"""ViT-B/16 and the base Transformer."""

import onnx

from benchmarks.networks.builder import Net, Value


def vit_b16() -> onnx.ModelProto:
    """Source: "An Image is Worth 16x16 Words", Table 1 (12 layers, width 768, 12 heads)."""
    net = Net("vit_b16", (1, 3, 224, 224))
    weight, bias = net.weight(768, 3, 16, 16), net.weight(768)
    patches = net.node(
        "Conv", [net.x, weight, bias], (1, 768, 14, 14), kernel_shape=[16, 16], strides=[16, 16]
    )
    tokens = net.transpose(net.reshape(patches, 1, 768, 196), 0, 2, 1)
    x = net.concat([net.weight(1, 1, 768), tokens], axis=1)
    x = net.add(x, net.weight(1, 197, 768))
    for _ in range(12):
        normal = _norm(net, x)
        x = net.add(x, _attention(net, normal, normal, 12))
        x = net.add(x, _feed_forward(net, _norm(net, x), 3072, gelu=True))
    head = net.reshape(net.slice(_norm(net, x), 1, 0, 1), 1, 768)
    return net.model(net.linear(head, 1000))


def transformer_base() -> onnx.ModelProto:
    """Encoder and decoder of six layers, width 512, 8 heads, 128 tokens each.

    Source: "Attention Is All You Need", Table 3 (base).
    """
    net = Net("transformer_base", (1, 128, 512))
    memory = net.x
    for _ in range(6):
        memory = _norm(net, net.add(memory, _attention(net, memory, memory, 8)))
        memory = _norm(net, net.add(memory, _feed_forward(net, memory, 2048)))
    y = net.input("target", (1, 128, 512))
    mask = net.input("mask", (1, 1, 128, 128))
    for _ in range(6):
        y = _norm(net, net.add(y, _attention(net, y, y, 8, mask)))
        y = _norm(net, net.add(y, _attention(net, y, memory, 8)))
        y = _norm(net, net.add(y, _feed_forward(net, y, 2048)))
    return net.model(y)


def _norm(net: Net, x: Value) -> Value:
    width = net.shapes[x][-1]
    scale, bias = net.weight(width), net.weight(width)
    return net.node("LayerNormalization", [x, scale, bias], net.shapes[x], axis=-1)


def _attention(net: Net, x: Value, memory: Value, heads: int, mask: Value | None = None) -> Value:
    batch, length, width = net.shapes[x]
    source = net.shapes[memory][1]

    def split(value: Value, tokens: int, *perm: int) -> Value:
        parts = net.reshape(net.linear(value, width), batch, tokens, heads, width // heads)
        return net.transpose(parts, *perm)

    query = split(x, length, 0, 2, 1, 3)
    key = split(memory, source, 0, 2, 3, 1)
    value = split(memory, source, 0, 2, 1, 3)
    scores = net.binary("Mul", net.matmul(query, key), net.weight(1))
    if mask is not None:
        scores = net.add(scores, mask)
    mixed = net.matmul(net.unary("Softmax", scores, axis=-1), value)
    merged = net.reshape(net.transpose(mixed, 0, 2, 1, 3), batch, length, width)
    return net.linear(merged, width)


def _feed_forward(net: Net, x: Value, hidden: int, gelu: bool = False) -> Value:
    y = net.linear(x, hidden)
    return net.linear(net.unary("Gelu", y) if gelu else net.relu(y), net.shapes[x][-1])
