"""Networks found by architecture search, at their ImageNet sizes and 224 x 224 inputs.

A cell reads the outputs of the two cells before it (``previous``, ``current``); states 0 and 1 of a
genotype are these two after 1x1 convolutions to the cell's width.
"""

from collections.abc import Callable

import numpy as np
import onnx

from benchmarks.networks.builder import Net, Value

Genotype = tuple[tuple[str, int], ...]
"""Pairs of (operation, state index); two consecutive entries are summed into a new state."""

NASNET_NORMAL: Genotype = (
    ("sep5", 1), ("sep3", 0),
    ("sep5", 0), ("sep3", 0),
    ("avg3", 1), ("skip", 0),
    ("avg3", 0), ("avg3", 0),
    ("sep3", 1), ("skip", 1),
)  # fmt: skip
NASNET_REDUCTION: Genotype = (
    ("sep5", 1), ("sep7", 0),
    ("max3", 1), ("sep7", 0),
    ("avg3", 1), ("sep5", 0),
    ("avg3", 2), ("skip", 3),
    ("sep3", 2), ("max3", 1),
)  # fmt: skip
PNASNET: Genotype = (
    ("sep5", 0), ("max3", 0),
    ("sep7", 1), ("max3", 1),
    ("sep5", 1), ("sep3", 1),
    ("sep3", 4), ("max3", 1),
    ("sep3", 0), ("skip", 1),
)  # fmt: skip
AMOEBANET_D_NORMAL: Genotype = (
    ("conv1", 1), ("max3", 1),
    ("skip", 1), ("conv1771", 0),
    ("conv1", 0), ("conv1771", 0),
    ("max3", 2), ("skip", 2),
    ("avg3", 1), ("conv1", 5),
)  # fmt: skip
AMOEBANET_D_REDUCTION: Genotype = (
    ("max2", 0), ("max3", 0),
    ("skip", 2), ("conv3", 1),
    ("conv1771", 2), ("max3", 2),
    ("skip", 3), ("max2", 1),
    ("avg3", 2), ("conv1", 3),
)  # fmt: skip
DARTS_NORMAL: Genotype = (
    ("sep3", 0), ("sep3", 1),
    ("sep3", 0), ("sep3", 1),
    ("sep3", 1), ("skip", 0),
    ("skip", 0), ("dil3", 2),
)  # fmt: skip
DARTS_REDUCTION: Genotype = (
    ("max3", 0), ("max3", 1),
    ("skip", 2), ("max3", 1),
    ("max3", 0), ("skip", 2),
    ("skip", 2), ("max3", 1),
)  # fmt: skip


def nasnet_a_large() -> onnx.ModelProto:
    """NASNet-A (6 @ 4032).

    Source: "Learning Transferable Architectures for Scalable Image Recognition", Figure 4.
    """
    net = Net("nasnet_a_large", (1, 3, 224, 224))
    return _stacked(
        net,
        stem_width=96,
        width=168,
        repeats=(6, 6, 6),
        normal=lambda p, c, w: _cell(net, p, c, w, 1, NASNET_NORMAL, (0, 2, 3, 4, 5, 6)),
        reduction=lambda p, c, w: _cell(net, p, c, w, 2, NASNET_REDUCTION, (3, 4, 5, 6)),
        stem_divisors=(4, 2),
    )


def pnasnet5_large() -> onnx.ModelProto:
    """PNASNet-5 (4, 216): twelve cells, of which the fifth and the ninth have stride 2.

    Source: "Progressive Neural Architecture Search", Figure 1 and Section 3.1.
    """
    net = Net("pnasnet5_large", (1, 3, 224, 224))
    return _stacked(
        net,
        stem_width=96,
        width=216,
        repeats=(4, 3, 3),
        normal=lambda p, c, w: _cell(net, p, c, w, 1, PNASNET, (2, 3, 4, 5, 6)),
        reduction=lambda p, c, w: _cell(net, p, c, w, 2, PNASNET, (2, 3, 4, 5, 6)),
        stem_divisors=(4, 2),
    )


def amoebanet_d() -> onnx.ModelProto:
    """AmoebaNet-D (18, 256): six normal cells between reductions.

    Source: "Regularized Evolution for Image Classifier Architecture Search"; cells of model D as in
    "GPipe: Efficient Training of Giant Neural Networks using Pipeline Parallelism".
    """
    net = Net("amoebanet_d", (1, 3, 224, 224))
    return _stacked(
        net,
        stem_width=64,
        width=256,
        repeats=(6, 6, 6),
        normal=lambda p, c, w: _cell(net, p, c, w, 1, AMOEBANET_D_NORMAL, (0, 3, 4, 6)),
        reduction=lambda p, c, w: _cell(net, p, c, w, 2, AMOEBANET_D_REDUCTION, (4, 5, 6)),
        stem_divisors=(4, 2),
    )


def darts_v2() -> onnx.ModelProto:
    """DARTS (second order), 14 cells of width 48.

    Source: "DARTS: Differentiable Architecture Search", Figures 4 and 5.
    """
    net = Net("darts_v2", (1, 3, 224, 224))
    previous = net.conv(net.conv(net.x, 24, 3, 2, relu=True), 48, 3, 2)
    current = net.conv(net.relu(previous), 48, 3, 2)
    width = 48
    for cell in range(14):
        reduce = cell in (4, 9)
        width *= 2 if reduce else 1
        genotype = DARTS_REDUCTION if reduce else DARTS_NORMAL
        stride = 2 if reduce else 1
        output = _cell(net, previous, current, width, stride, genotype, (2, 3, 4, 5))
        previous, current = current, output
    return net.model(net.classifier(current))


Cell = Callable[[Value, Value, int], Value]


def _stacked(
    net: Net,
    stem_width: int,
    width: int,
    repeats: tuple[int, int, int],
    normal: Cell,
    reduction: Cell,
    stem_divisors: tuple[int, ...],
) -> onnx.ModelProto:
    """Stem convolution, reduction stem cells, three stages of normal cells."""
    previous = current = net.conv(net.x, stem_width, 3, 2)
    for divisor in stem_divisors:
        previous, current = current, reduction(previous, current, width // divisor)
    for stage, cells in enumerate(repeats):
        if stage:
            previous, current = current, reduction(previous, current, width * 2**stage)
        for _ in range(cells):
            previous, current = current, normal(previous, current, width * 2**stage)
    return net.model(net.classifier(net.relu(current)))


def _cell(
    net: Net,
    previous: Value,
    current: Value,
    width: int,
    stride: int,
    genotype: Genotype,
    concat: tuple[int, ...],
) -> Value:
    larger = net.shapes[previous][2] > net.shapes[current][2]
    squeeze = _factorised_reduction if larger else _relu_conv
    states = [squeeze(net, previous, width), _relu_conv(net, current, width)]
    for left, right in zip(genotype[::2], genotype[1::2], strict=True):
        terms = [
            _operation(net, kind, states[i], width, stride if i < 2 else 1)
            for kind, i in (left, right)
        ]
        states.append(net.add(*terms))
    return net.concat([_match(net, states, i, width, stride) for i in concat])


def _relu_conv(net: Net, x: Value, width: int) -> Value:
    return net.conv(net.relu(x), width)


def _factorised_reduction(net: Net, x: Value, width: int) -> Value:
    """Halve the extent without losing pixels: two strided convolutions, one shifted by a pixel."""
    active = net.relu(x)
    batch, channels, height, width_in = net.shapes[x]
    bounds = [
        net.constant(np.array(values, dtype=np.int64))
        for values in ((1, 1), (height, width_in), (2, 3))
    ]
    shifted = net.node("Slice", [active, *bounds], (batch, channels, height - 1, width_in - 1))
    return net.concat([net.conv(part, width // 2, 1, 2) for part in (active, shifted)])


def _match(net: Net, states: list[Value], index: int, width: int, stride: int) -> Value:
    reducing = index < 2 and stride > 1
    return _operation(net, "skip", states[index], width, stride) if reducing else states[index]


def _operation(net: Net, kind: str, x: Value, width: int, stride: int) -> Value:
    name, size = kind.rstrip("0123456789"), kind.lstrip("abcdefghijklmnopqrstuvwxyz")
    if name == "skip":
        return x if stride == 1 else net.conv(net.relu(x), width, 1, stride)
    if name in ("max", "avg"):
        return net.pool({"max": "MaxPool", "avg": "AveragePool"}[name], x, int(size), stride)
    if name == "sep":
        y = _depthwise_separable(net, x, width, int(size), stride)
        return _depthwise_separable(net, y, width, int(size), 1)
    if name == "dil":
        y = net.conv(net.relu(x), width, int(size), stride, groups=width, dilation=2)
        return net.conv(y, width)
    if size == "1771":
        y = net.conv(net.relu(x), width // 4, relu=True)
        y = net.conv(y, width // 4, (1, 7), (1, stride), relu=True)
        y = net.conv(y, width // 4, (7, 1), (stride, 1), relu=True)
        return net.conv(y, width)
    if size == "3":
        y = net.conv(net.relu(x), width // 4, relu=True)
        return net.conv(net.conv(y, width // 4, 3, stride, relu=True), width)
    return net.conv(net.relu(x), width, int(size), stride)


def _depthwise_separable(net: Net, x: Value, width: int, kernel: int, stride: int) -> Value:
    channels = net.shapes[x][1]
    y = net.conv(net.relu(x), channels, kernel, stride, groups=channels)
    return net.conv(y, width)
