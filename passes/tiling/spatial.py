"""Footprints of operators on images: convolutions, pooling, padding, resampling."""

from math import prod

from stowplan.ir.graph import Graph, Interval, Operator
from stowplan.passes.tiling.boxes import Box, full
from stowplan.passes.tiling.needs import Footprint, Need, PartNeed, Shape, all_but, channels
from stowplan.passes.tiling.reductions import summed
from stowplan.passes.tiling.windows import Window, resampled, windows_of
from stowplan.passes.view_rules import integers


def convolution(graph: Graph, op: Operator) -> Footprint | None:
    """Operands are data [N, C, ...], weights [M, C / group, ...] and perhaps a bias [M]."""
    source, result = (graph.tensor[n].shape for n in (op.inputs[0], op.outputs[0]))
    if len(op.inputs) < 2 or len(source) < 3 or len(result) != len(source):
        return None
    kernel = graph.tensor[op.inputs[1]].shape
    windows = windows_of(graph, op, kernel[2:])
    group = op.attribute("group", 1)
    if windows is None or not isinstance(group, int) or kernel[0] != result[1]:
        return None
    outputs, inputs = result[1] // group, kernel[1]

    def data(box: Box) -> Box:
        first, last = box[1][0] // outputs, -(-box[1][1] // outputs)
        return (box[0], (first * inputs, last * inputs), *_slide(windows, box))

    def weight(box: Box) -> Box:
        return (box[1], *full(kernel[1:]))

    needs = (data, weight, *_bias(graph, op, result))
    everything = frozenset(range(len(result)))
    if group != 1:
        return Footprint(everything, needs)
    parts: tuple[PartNeed, ...] = (
        lambda box, terms: (box[0], terms, *_slide(windows, box)),
        lambda box, terms: (box[1], terms, *full(kernel[2:])),
    )
    return Footprint(everything, needs, inputs, parts, 1, prod(kernel[2:]))


def _slide(windows: tuple[Window, ...], box: Box) -> Box:
    return tuple(window.source(side) for window, side in zip(windows, box[2:], strict=True))


def _bias(graph: Graph, op: Operator, result: Shape) -> tuple[Need, ...]:
    """The bias, if the third operand is one rather than part of what is fused behind."""
    if len(op.inputs) < 3:
        return ()
    shape = graph.tensor[op.inputs[2]].shape
    if len(shape) != 1:
        return ()
    need = channels(shape, result)
    return () if need is None else (need,)


def transposed(graph: Graph, op: Operator) -> Footprint | None:
    """Weights are [C, M, ...]; grouped ones are taken whole."""
    source, result = (graph.tensor[n].shape for n in (op.inputs[0], op.outputs[0]))
    if len(op.inputs) < 2 or op.attribute("output_shape") is not None:
        return None
    kernel = graph.tensor[op.inputs[1]].shape
    windows = windows_of(graph, op, kernel[2:])
    grouped = op.attribute("group", 1) != 1
    if windows is None or len(result) != len(source):
        return None

    def data(box: Box) -> Box:
        slid = (w.transposed_source(side) for w, side in zip(windows, box[2:], strict=True))
        return (box[0], (0, source[1]), *slid)

    def weight(box: Box) -> Box:
        return full(kernel) if grouped else ((0, kernel[0]), box[1], *full(kernel[2:]))

    splittable = all_but(len(result), 1) if grouped else all_but(len(result))
    return Footprint(splittable, (data, weight, *_bias(graph, op, result)))


def pool(graph: Graph, op: Operator) -> Footprint | None:
    kernel = integers(op, "kernel_shape")
    windows = windows_of(graph, op, kernel) if kernel else None
    if windows is None:
        return None
    rank = len(windows) + 2
    return Footprint(all_but(rank), (lambda box: (*box[:2], *_slide(windows, box)),))


def global_pool(graph: Graph, op: Operator) -> Footprint | None:
    source = graph.tensor[op.inputs[0]].shape
    if len(graph.tensor[op.outputs[0]].shape) != len(source) or len(source) < 3:
        return None
    rows, rest = source[2], full(source[3:])

    def part(box: Box, terms: Interval) -> Box:
        return (*box[:2], terms, *rest)

    return summed(graph, op, frozenset({0, 1}), part, rows)


def pad(graph: Graph, op: Operator) -> Footprint | None:
    source, result = (graph.tensor[n].shape for n in (op.inputs[0], op.outputs[0]))
    pads, axes = integers(op, "pads"), integers(op, "axes") or tuple(range(len(source)))
    if len(op.inputs) != 1 or op.attribute("mode", "constant") != "constant" or pads is None:
        return None
    if len(pads) != 2 * len(axes):
        return None
    before = dict(zip((a % len(source) for a in axes), pads, strict=False))

    def side(i: int, out: Interval) -> Interval:
        return Window(source[i], 1, 1, 1, before.get(i, 0)).source(out)

    return Footprint(
        all_but(len(result)), (lambda box: tuple(side(i, out) for i, out in enumerate(box)),)
    )


def resize(graph: Graph, op: Operator) -> Footprint | None:
    source, result = (graph.tensor[n].shape for n in (op.inputs[0], op.outputs[0]))
    odd = op.attribute("antialias", 0) or (
        op.attribute("coordinate_transformation_mode") == "tf_crop_and_resize"
    )
    if odd or len(source) != len(result) or len(op.inputs) != 1:
        return None
    pairs = tuple(zip(result, source, strict=True))
    return Footprint(
        all_but(len(result)),
        (lambda box: tuple(resampled(o, *pair) for o, pair in zip(box, pairs, strict=True)),),
    )


def blocks(graph: Graph, op: Operator) -> Footprint | None:
    """DepthToSpace and SpaceToDepth: positions in blocks, all channels."""
    source, size = graph.tensor[op.inputs[0]].shape, op.attribute("blocksize")
    if len(source) != 4 or not isinstance(size, int):
        return None
    spread = op.kind == "DepthToSpace"

    def side(out: Interval) -> Interval:
        return (out[0] // size, -(-out[1] // size)) if spread else (out[0] * size, out[1] * size)

    def need(box: Box) -> Box:
        return (box[0], (0, source[1]), side(box[2]), side(box[3]))

    return Footprint(frozenset({0, 2, 3}), (need,))
