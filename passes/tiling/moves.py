"""Footprints of operators whose results are copies of their operands' elements."""

from stowplan.ir.graph import Graph, Interval, Operator
from stowplan.passes.tiling.boxes import Box
from stowplan.passes.tiling.needs import Footprint, Need, all_but, broadcast, same
from stowplan.passes.view_rules import axis_of, integers


def transpose(graph: Graph, op: Operator) -> Footprint | None:
    shape = graph.tensor[op.inputs[0]].shape
    order = integers(op, "perm") or tuple(reversed(range(len(shape))))
    place = tuple(order.index(i) for i in range(len(shape)))
    return Footprint(all_but(len(shape)), (lambda box: tuple(box[i] for i in place),))


def concat(graph: Graph, op: Operator) -> Footprint | None:
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


def expand(graph: Graph, op: Operator) -> Footprint | None:
    source, result = (graph.tensor[n].shape for n in (op.inputs[0], op.outputs[0]))
    need = broadcast(source, result)
    return None if need is None else Footprint(all_but(len(result)), (need,))


def repeated(graph: Graph, op: Operator) -> Footprint | None:
    """Tile: copies of the source beside each other."""
    source, result = (graph.tensor[n].shape for n in (op.inputs[0], op.outputs[0]))
    if len(op.inputs) != 1 or len(source) != len(result):
        return None

    def side(extent: int, out: Interval) -> Interval:
        first, last = out[0] // extent, (out[1] - 1) // extent
        return (out[0] % extent, (out[1] - 1) % extent + 1) if first == last else (0, extent)

    def need(box: Box) -> Box:
        return tuple(side(extent, out) for extent, out in zip(source, box, strict=True))

    return Footprint(all_but(len(result)), (need,))


def in_place(graph: Graph, op: Operator) -> Footprint | None:
    """Every element stays where it is, or is cleared (Trilu)."""
    shape = graph.tensor[op.outputs[0]].shape
    if len(op.inputs) != 1 or graph.tensor[op.inputs[0]].shape != shape:
        return None
    return Footprint(all_but(len(shape)), (same,))
