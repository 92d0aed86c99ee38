"""Footprints of operators that go over a whole dimension: reductions, normalisations, sorting."""

from math import prod

from stowplan.ir.graph import Graph, Interval, Operator
from stowplan.passes.tiling.boxes import Box, full
from stowplan.passes.tiling.needs import (
    Footprint,
    Need,
    PartNeed,
    all_but,
    all_terms,
    broadcast,
    channels,
    same,
    whole,
)
from stowplan.passes.view_rules import axis_of, integers

_SUMMED = frozenset(
    ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceSumSquare")
)
"""Reductions whose results over parts combine one by one into that over all."""


def summed(
    graph: Graph, op: Operator, splittable: frozenset[int], part: PartNeed, terms: int
) -> Footprint:
    """A reduction; its sums are cut too where 32 bits hold them."""
    needs = (all_terms(part, terms),)
    if graph.tensor[op.outputs[0]].dtype.bits > 32:
        return Footprint(splittable, needs)
    return Footprint(splittable, needs, terms, (part,))


def softmax(graph: Graph, op: Operator) -> Footprint | None:
    """Dimensions before the axis: up to opset 12 all others are normalised over together."""
    rank = len(graph.tensor[op.inputs[0]].shape)
    return Footprint(frozenset(range(axis_of(op, rank, 1))), (same,))


def layer_normalisation(graph: Graph, op: Operator) -> Footprint | None:
    rank = len(graph.tensor[op.inputs[0]].shape)
    return Footprint(frozenset(range(axis_of(op, rank, -1))), (same,))


def channel_normalisation(graph: Graph, op: Operator) -> Footprint | None:
    """InstanceNormalization: every channel over all positions."""
    result = graph.tensor[op.outputs[0]].shape
    if len(result) < 3:
        return None
    vectors = [channels(graph.tensor[name].shape, result) for name in op.inputs[1:3]]
    source = full(result[2:])
    known = tuple(need for need in vectors if need is not None)
    return Footprint(frozenset({0, 1}), (lambda box: (*box[:2], *source), *known))


def local_response(graph: Graph, op: Operator) -> Footprint | None:
    """All channels of a position: ONNX Runtime slides its window by running sums over them."""
    shape = graph.tensor[op.inputs[0]].shape
    across = (0, shape[1])
    return Footprint(all_but(len(shape), 1), (lambda box: (box[0], across, *box[2:]),))


def top(graph: Graph, op: Operator) -> Footprint | None:
    """The largest along a dimension, which stays whole."""
    source = graph.tensor[op.inputs[0]].shape
    if len(op.inputs) != 1:
        return None
    axis = axis_of(op, len(source), -1)

    def need(box: Box) -> Box:
        return (*box[:axis], (0, source[axis]), *box[axis + 1 :])

    return Footprint(all_but(len(source), axis), (need,))


def reduction(graph: Graph, op: Operator) -> Footprint | None:
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
    return summed(graph, op, splittable, part, terms)


def _along(shape: tuple[int, ...], axes: set[int]) -> Footprint:
    """All of some dimensions, which are not cut."""
    everything = full(shape)

    def need(box: Box) -> Box:
        return tuple(everything[i] if i in axes else side for i, side in enumerate(box))

    return Footprint(all_but(len(shape), *axes), (need,))


def cumulative(graph: Graph, op: Operator) -> Footprint | None:
    """CumSum and CumProd: everything before an element."""
    shape, axes = graph.tensor[op.inputs[0]].shape, integers(op, "axis")
    if len(op.inputs) != 1 or axes is None or len(axes) != 1:
        return None
    return _along(shape, {axes[0] % len(shape)})


def centred(graph: Graph, op: Operator) -> Footprint | None:
    """MeanVarianceNormalization, over all but the channels unless told otherwise."""
    shape = graph.tensor[op.inputs[0]].shape
    axes = integers(op, "axes") or (0, 2, 3)
    if len(op.inputs) != 1 or any(axis >= len(shape) for axis in axes):
        return None
    return _along(shape, {axis % len(shape) for axis in axes})


def scaled_to_norm(graph: Graph, op: Operator) -> Footprint | None:
    """LpNormalization along one dimension."""
    shape = graph.tensor[op.inputs[0]].shape
    return _along(shape, {axis_of(op, len(shape), -1)}) if len(op.inputs) == 1 else None


def group_normalisation(graph: Graph, op: Operator) -> Footprint | None:
    """Groups of channels over all positions; scale and bias are per group or per channel."""
    shape, groups = graph.tensor[op.inputs[0]].shape, op.attribute("num_groups")
    if op.domain or len(shape) < 3 or not isinstance(groups, int) or shape[1] % groups:
        return None
    per = shape[1] // groups
    rest = full(shape[2:])

    def data(box: Box) -> Box:
        return (box[0], (box[1][0] // per * per, -(-box[1][1] // per) * per), *rest)

    vectors = (whole(graph.tensor[name].shape) for name in op.inputs[1:3])
    return Footprint(frozenset({0, 1}), (data, *vectors))


def skip_layer_normalisation(graph: Graph, op: Operator) -> Footprint | None:
    """A sum normalised along its last dimension; vectors are scale and bias."""
    shape = graph.tensor[op.outputs[0]].shape
    if graph.tensor[op.inputs[0]].shape != shape or len(shape) < 2:
        return None
    rows = _along(shape, {len(shape) - 1}).needs[0]
    needs: list[Need] = [rows]
    for name in op.inputs[1:]:
        operand = graph.tensor[name].shape
        need = whole(operand) if len(operand) == 1 else broadcast(operand, shape)
        if need is None:
            return None
        needs.append(need)
    return Footprint(all_but(len(shape), len(shape) - 1), tuple(needs))
