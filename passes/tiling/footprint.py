"""Which region of each operand a region of an operator's result needs.

A footprint may name more than is needed, never less; the functional proof poisons everything else.
An operator without footprint is not split.
"""

from collections.abc import Callable
from dataclasses import replace
from math import prod

from stowplan.ir.graph import Graph, Interval, Operator
from stowplan.ir.operator_kinds import MICROSOFT, Category, category
from stowplan.passes.kinds import MATRIX_PRODUCTS, REINTERPRETATIONS, is_elementwise
from stowplan.passes.tiling import lookups
from stowplan.passes.tiling.boxes import Box, full, hull
from stowplan.passes.tiling.needs import (
    Footprint,
    Need,
    PartNeed,
    Shape,
    all_but,
    all_terms,
    same,
    whole,
)
from stowplan.passes.tiling.reshapes import reshaped
from stowplan.passes.tiling.windows import Window, resampled, windows_of
from stowplan.passes.view_rules import axis_of, integers

_SUMMED = frozenset(
    ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceSumSquare")
)
"""Reductions whose results over parts combine one by one into that over all."""
_JOINT = frozenset(("MaxPool", "TopK"))
"""Kinds of several results that are cut alike: values, and where they were found."""
_INNER = "result before the reshape"


def footprint(graph: Graph, op: Operator) -> Footprint | None:
    """The footprint of ``op``, or None when it must stay whole."""
    if op.workspace_bytes or op.parent is not None or not op.inputs or not op.outputs:
        return None
    if len(op.outputs) != 1 and not _joint(graph, op):
        return None
    if any(kind != "DequantizeLinear" for kind in op.prologue):
        return None
    if any(0 in graph.tensor[name].shape for name in (*op.inputs, *op.outputs)):
        return None
    kinds = [kind for kind in op.epilogue if kind not in REINTERPRETATIONS]
    if not all(is_elementwise(k) or is_elementwise(k, MICROSOFT) for k in kinds):
        return None
    if len(kinds) < len(op.epilogue):
        return _behind_reshape(graph, replace(op, epilogue=tuple(kinds)))
    rule = _rule(op)
    head = None if rule is None else rule(graph, op)
    if head is None or len(head.needs) > len(op.inputs):
        return None
    rest = [broadcast_operand(graph, op, name) for name in op.inputs[len(head.needs) :]]
    known = tuple(need for need in rest if need is not None)
    if len(known) < len(rest):
        return None
    return replace(head, needs=head.needs + known, joint=len(op.outputs) > 1)


def _joint(graph: Graph, op: Operator) -> bool:
    """Whether element ``i`` of every result comes of the same elements of the operands."""
    shapes = {graph.tensor[name].shape for name in op.outputs}
    return op.kind in _JOINT and len(shapes) == 1 and not op.epilogue


def _behind_reshape(graph: Graph, op: Operator) -> Footprint | None:
    """A matrix product whose result is given another shape before something is fused behind.

    Operands of what is fused may belong to either shape; where they fit both, they get the region
    around both.
    """
    after = graph.tensor[op.outputs[0]]
    shape = _product_shape(graph, op)
    if shape is None or prod(shape) != prod(after.shape):
        return None
    inner = graph.replace(tensors=(*graph.tensors, replace(after, name=_INNER, shape=shape)))
    head = _matmul(inner, replace(op, outputs=(_INNER,)))
    if head is None:
        return None
    before = reshaped(shape, after.shape)
    needs = [_through(need, before) for need in head.needs]
    for name in op.inputs[len(needs) :]:
        operand = graph.tensor[name].shape
        inside, outside = broadcast(operand, shape), broadcast(operand, after.shape)
        through = None if inside is None else _through(inside, before)
        need = _around(through, outside)
        if need is None:
            return None
        needs.append(need)
    parts = tuple(_part_through(part, before) for part in head.parts)
    return Footprint(frozenset(range(len(after.shape))), tuple(needs), head.terms, parts)


def _product_shape(graph: Graph, op: Operator) -> Shape | None:
    """Shape of the matrix product itself."""
    if op.kind not in MATRIX_PRODUCTS or len(op.inputs) < 2:
        return None
    left, right = (graph.tensor[name].shape for name in op.inputs[:2])
    if len(left) < 2 or len(right) < 2:
        return None
    rank = max(len(left), len(right))
    padded = [(1,) * (rank - len(shape)) + shape for shape in (left, right)]
    batch = tuple(max(pair) for pair in zip(padded[0][:-2], padded[1][:-2], strict=True))
    rows = left[-1] if op.attribute("transA", 0) else left[-2]
    columns = right[-2] if op.attribute("transB", 0) else right[-1]
    return (*batch, rows, columns)


def _through(need: Need, before: Callable[[Box], Box]) -> Need:
    return lambda box: need(before(box))


def _part_through(part: PartNeed, before: Callable[[Box], Box]) -> PartNeed:
    return lambda box, terms: part(before(box), terms)


def _around(first: Need | None, second: Need | None) -> Need | None:
    """The region around what either needs."""
    if first is None or second is None:
        return first or second

    def both(box: Box) -> Box | None:
        left, right = first(box), second(box)
        return hull(left, right) if left and right else left or right

    return both


def broadcast(shape: Shape, result: Shape) -> Need | None:
    """An operand that broadcasts to the result; None if it does not."""
    while len(shape) > len(result) and shape[0] == 1:
        return _stripped(broadcast(shape[1:], result))
    skipped = len(result) - len(shape)
    if skipped < 0:
        return None
    if any(e not in (1, r) for e, r in zip(shape, result[skipped:], strict=True)):
        return None
    if shape == result:
        return same
    fixed = tuple(extent == 1 for extent in shape)
    return lambda box: tuple(
        (0, 1) if one else side for one, side in zip(fixed, box[skipped:], strict=True)
    )


def _stripped(need: Need | None) -> Need | None:
    """The need of an operand with one more leading dimension of extent one."""
    if need is None:
        return None

    def widened(box: Box) -> Box | None:
        inner = need(box)
        return None if inner is None else ((0, 1), *inner)

    return widened


def broadcast_operand(graph: Graph, op: Operator, name: str) -> Need | None:
    """An operand of the fused element-wise part, or of an element-wise operator itself.

    A vector may belong to a batch normalisation, then it runs along the channels; where it could
    also run along the last dimension it is taken whole.
    """
    shape, result = graph.tensor[name].shape, graph.tensor[op.outputs[0]].shape
    vector = len(shape) == 1 and shape[0] > 1 and len(result) > 2
    if vector and "BatchNormalization" in (op.kind, *op.epilogue):
        return channels(shape, result)
    return broadcast(shape, result)


def channels(shape: Shape, result: Shape) -> Need | None:
    """A vector along dimension 1."""
    if shape[0] == result[-1]:
        return whole(shape)
    return (lambda box: (box[1],)) if shape[0] == result[1] else None


def _rule(op: Operator) -> Callable[[Graph, Operator], Footprint | None] | None:
    if op.attribute("channels_last", 0):
        return None
    rule = _RULES.get(op.kind)
    if rule is not None:
        return rule
    family = category(op.kind, op.domain)
    if op.kind.startswith("Reduce") or op.kind in ("ArgMax", "ArgMin", "QLinearReduceMean"):
        return _reduction
    if family is Category.SOFTMAX and op.kind in ("Softmax", "LogSoftmax"):
        return _softmax
    if is_elementwise(op.kind, op.domain) and op.kind != "Dropout":
        return _elementwise
    return None


def _elementwise(graph: Graph, op: Operator) -> Footprint:
    return Footprint(frozenset(range(len(graph.tensor[op.outputs[0]].shape))), ())


def _convolution(graph: Graph, op: Operator) -> Footprint | None:
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


def _transposed(graph: Graph, op: Operator) -> Footprint | None:
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


def _pool(graph: Graph, op: Operator) -> Footprint | None:
    kernel = integers(op, "kernel_shape")
    windows = windows_of(graph, op, kernel) if kernel else None
    if windows is None:
        return None
    rank = len(windows) + 2
    return Footprint(all_but(rank), (lambda box: (*box[:2], *_slide(windows, box)),))


def _global_pool(graph: Graph, op: Operator) -> Footprint | None:
    source = graph.tensor[op.inputs[0]].shape
    if len(graph.tensor[op.outputs[0]].shape) != len(source) or len(source) < 3:
        return None
    rows, rest = source[2], full(source[3:])

    def part(box: Box, terms: Interval) -> Box:
        return (*box[:2], terms, *rest)

    return _summed(graph, op, frozenset({0, 1}), part, rows)


def _summed(
    graph: Graph, op: Operator, splittable: frozenset[int], part: PartNeed, terms: int
) -> Footprint:
    """A reduction; its sums are cut too where 32 bits hold them."""
    needs = (all_terms(part, terms),)
    if graph.tensor[op.outputs[0]].dtype.bits > 32:
        return Footprint(splittable, needs)
    return Footprint(splittable, needs, terms, (part,))


def _matmul(graph: Graph, op: Operator) -> Footprint | None:
    """[..., M, K] x [..., K, N]."""
    if len(op.inputs) < 2:
        return None
    left, right = (graph.tensor[name].shape for name in op.inputs[:2])
    result = graph.tensor[op.outputs[0]].shape
    flipped = [bool(op.attribute(name, 0)) for name in ("transA", "transB")]
    odd = any(op.attribute(name, 0) for name in ("transBatchA", "transBatchB"))
    if odd or len(left) < 2 or len(right) < 2 or len(result) != max(len(left), len(right)):
        return None
    rows, terms = left[-2:][::-1] if flipped[0] else left[-2:]
    columns = right[-2] if flipped[1] else right[-1]
    outer = (broadcast(left[:-2], result[:-2]), broadcast(right[:-2], result[:-2]))
    if result[-2:] != (rows, columns) or None in outer:
        return None

    def operand(batch: Need, side: int, flip: bool, first: bool) -> PartNeed:
        def need(box: Box, some: Interval) -> Box:
            pair = (box[side], some) if first != flip else (some, box[side])
            return (*(batch(box[:-2]) or ()), *pair)

        return need

    parts = (
        operand(outer[0] or same, -2, flipped[0], True),
        operand(outer[1] or same, -1, flipped[1], False),
    )
    needs = tuple(all_terms(part, terms) for part in parts)
    return Footprint(all_but(len(result)), needs, terms, parts, len(result) - 1)


def _softmax(graph: Graph, op: Operator) -> Footprint | None:
    """Dimensions before the axis: up to opset 12 all others are normalised over together."""
    rank = len(graph.tensor[op.inputs[0]].shape)
    return Footprint(frozenset(range(axis_of(op, rank, 1))), (same,))


def _layer_normalisation(graph: Graph, op: Operator) -> Footprint | None:
    rank = len(graph.tensor[op.inputs[0]].shape)
    return Footprint(frozenset(range(axis_of(op, rank, -1))), (same,))


def _channel_normalisation(graph: Graph, op: Operator) -> Footprint | None:
    """InstanceNormalization: every channel over all positions."""
    result = graph.tensor[op.outputs[0]].shape
    if len(result) < 3:
        return None
    vectors = [channels(graph.tensor[name].shape, result) for name in op.inputs[1:3]]
    source = full(result[2:])
    known = tuple(need for need in vectors if need is not None)
    return Footprint(frozenset({0, 1}), (lambda box: (*box[:2], *source), *known))


def _local_response(graph: Graph, op: Operator) -> Footprint | None:
    """All channels of a position: ONNX Runtime slides its window by running sums over them."""
    shape = graph.tensor[op.inputs[0]].shape
    across = (0, shape[1])
    return Footprint(all_but(len(shape), 1), (lambda box: (box[0], across, *box[2:]),))


def _top(graph: Graph, op: Operator) -> Footprint | None:
    """The largest along a dimension, which stays whole."""
    source = graph.tensor[op.inputs[0]].shape
    if len(op.inputs) != 1:
        return None
    axis = axis_of(op, len(source), -1)

    def need(box: Box) -> Box:
        return (*box[:axis], (0, source[axis]), *box[axis + 1 :])

    return Footprint(all_but(len(source), axis), (need,))


def _transpose(graph: Graph, op: Operator) -> Footprint | None:
    shape = graph.tensor[op.inputs[0]].shape
    order = integers(op, "perm") or tuple(reversed(range(len(shape))))
    place = tuple(order.index(i) for i in range(len(shape)))
    return Footprint(all_but(len(shape)), (lambda box: tuple(box[i] for i in place),))


def _reduction(graph: Graph, op: Operator) -> Footprint | None:
    source, result = (graph.tensor[n].shape for n in (op.inputs[0], op.outputs[0]))
    name = "axis" if op.kind.startswith("Arg") else "axes"
    axes = integers(op, name) or ((0,) if name == "axis" else tuple(range(len(source))))
    reduced = {axis % len(source) for axis in axes} if source else set()
    kept = [i for i in range(len(source)) if i not in reduced]
    place = {axis: axis for axis in kept}
    if len(result) == len(kept) != len(source):
        place = {axis: i for i, axis in enumerate(kept)}
    elif len(result) != len(source) or (prod(result) != prod(source[i] for i in kept)):
        return None

    first = next((i for i, e in enumerate(source) if i not in place and e > 1), None)

    def part(box: Box, terms: Interval) -> Box:
        sides = ((0, e) if i not in place else box[place[i]] for i, e in enumerate(source))
        return tuple(terms if i == first else side for i, side in enumerate(sides))

    splittable, terms = frozenset(place.values()), 1 if first is None else source[first]
    if op.kind not in _SUMMED:
        return Footprint(splittable, (all_terms(part, terms),))
    return _summed(graph, op, splittable, part, terms)


def _concat(graph: Graph, op: Operator) -> Footprint | None:
    result = graph.tensor[op.outputs[0]].shape
    axis = axis_of(op, len(result))
    needs, before = [], 0
    for name in op.inputs:
        shape = graph.tensor[name].shape
        if len(shape) != len(result):
            return None
        needs.append(_part(axis, before, shape[axis]))
        before += shape[axis]
    return Footprint(all_but(len(result)), tuple(needs)) if before == result[axis] else None


def _part(axis: int, before: int, extent: int) -> Need:
    """Member of a Concat that covers ``[before, before + extent)`` of the axis."""

    def need(box: Box) -> Box | None:
        lower, upper = box[axis][0] - before, box[axis][1] - before
        inside = (max(lower, 0), min(upper, extent))
        return None if inside[0] >= inside[1] else (*box[:axis], inside, *box[axis + 1 :])

    return need


def _expand(graph: Graph, op: Operator) -> Footprint | None:
    source, result = (graph.tensor[n].shape for n in (op.inputs[0], op.outputs[0]))
    need = broadcast(source, result)
    return None if need is None else Footprint(all_but(len(result)), (need,))


def _pad(graph: Graph, op: Operator) -> Footprint | None:
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


def _resize(graph: Graph, op: Operator) -> Footprint | None:
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


def _blocks(graph: Graph, op: Operator) -> Footprint | None:
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


_RULES: dict[str, Callable[[Graph, Operator], Footprint | None]] = {
    **dict.fromkeys(("Conv", "ConvInteger", "QLinearConv", "FusedConv"), _convolution),
    "ConvTranspose": _transposed,
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool", "QLinearAveragePool"), _pool),
    **dict.fromkeys(
        ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "QLinearGlobalAveragePool"),
        _global_pool,
    ),
    **dict.fromkeys(
        ("MatMul", "MatMulInteger", "QLinearMatMul", "FusedMatMul", "Gemm", "QGemm"), _matmul
    ),
    **dict.fromkeys(
        ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"),
        _layer_normalisation,
    ),
    "InstanceNormalization": _channel_normalisation,
    "LRN": _local_response,
    "TopK": _top,
    "Transpose": _transpose,
    "Concat": _concat,
    "QLinearConcat": _concat,
    "Expand": _expand,
    "Gather": lookups.gather,
    "GatherElements": lookups.gather_elements,
    "GatherND": lookups.gather_nd,
    **dict.fromkeys(("Scatter", "ScatterElements"), lookups.scatter_elements),
    "ScatterND": lookups.scatter_nd,
    "OneHot": lookups.one_hot,
    "Pad": _pad,
    "Resize": _resize,
    "Upsample": _resize,
    "DepthToSpace": _blocks,
    "SpaceToDepth": _blocks,
}
