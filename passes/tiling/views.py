"""Views as maps of regions: what of a view's source its readers need.

Between tiles a view moves nothing: its readers take the tiles of its source that their region
meets.
"""

from dataclasses import replace
from math import prod

from stowplan.ir.graph import Graph, Operator, Role
from stowplan.passes.kinds import REINTERPRETATIONS, is_plain
from stowplan.passes.tiling.footprint import footprint
from stowplan.passes.tiling.needs import Footprint, Need
from stowplan.passes.tiling.reshapes import reshaped
from stowplan.passes.view_rules import axis_of, integers

_KINDS = REINTERPRETATIONS | {"Concat", "Split", "Slice", "Gather"}


def view_needs(graph: Graph, op: Operator) -> tuple[tuple[Need, ...], ...] | None:
    """Per output, the needs of each operand; None when ``op`` is no view."""
    plain = is_plain(op) and not op.workspace_bytes and op.parent is None and op.inputs
    if not plain or op.kind not in _KINDS:
        return None
    tensors = [graph.tensor[name] for name in (*op.inputs, *op.outputs)]
    if any(t.role is not Role.ACTIVATION or t.alias for t in tensors[len(op.inputs) :]):
        return None
    if any(0 in t.shape or t.dtype is not tensors[0].dtype for t in tensors):
        return None
    if op.kind == "Concat":
        found = footprint(graph, op)
        return None if found is None else (found.needs,)
    if len(op.inputs) != 1:
        return None
    if op.kind == "Split":
        return _split(graph, op)
    need = _ONE.get(op.kind, _reshape)(graph, op)
    return None if need is None else ((need,),)


def copied(graph: Graph, op: Operator) -> Footprint | None:
    """Footprint of a view that has to be copied, such as one that is a result of the model."""
    if not is_plain(op) or op.workspace_bytes or op.parent is not None:
        return None
    if op.kind not in _KINDS - {"Concat", "Split"} or len(op.inputs) != 1 or len(op.outputs) != 1:
        return None
    source, result = graph.tensor[op.inputs[0]], graph.tensor[op.outputs[0]]
    if 0 in (*source.shape, *result.shape) or source.dtype is not result.dtype:
        return None
    need = _ONE.get(op.kind, _reshape)(graph, op)
    return None if need is None else Footprint(frozenset(range(len(result.shape))), (need,))


def slices(graph: Graph, op: Operator) -> tuple[Operator, ...]:
    """A Split as one Slice per result; nothing for other operators."""
    if op.kind != "Split" or not is_plain(op) or op.workspace_bytes or op.parent is not None:
        return ()
    source = graph.tensor[op.inputs[0]].shape
    axis, before = axis_of(op, len(source)), 0
    found = []
    for position, name in enumerate(op.outputs):
        after = before + graph.tensor[name].shape[axis]
        place = (("axes", (axis,)), ("ends", (after,)), ("starts", (before,)))
        part = replace(op, name=f"{op.name}.{position}", kind="Slice", outputs=(name,))
        found.append(replace(part, attributes=place, in_place=()))
        before = after
    return tuple(found) if before == source[axis] and len(found) > 1 else ()


def _split(graph: Graph, op: Operator) -> tuple[tuple[Need, ...], ...] | None:
    source = graph.tensor[op.inputs[0]].shape
    axis = axis_of(op, len(source))
    needs, before = [], 0
    for name in op.outputs:
        needs.append((_shifted(axis, before),))
        before += graph.tensor[name].shape[axis]
    return tuple(needs) if before == source[axis] else None


def _shifted(axis: int, by: int) -> Need:
    return lambda box: (
        *box[:axis],
        (box[axis][0] + by, box[axis][1] + by),
        *box[axis + 1 :],
    )


def _slice(graph: Graph, op: Operator) -> Need | None:
    source, result = (graph.tensor[n].shape for n in (op.inputs[0], op.outputs[0]))
    starts, steps = integers(op, "starts"), integers(op, "steps")
    if starts is None or len(source) != len(result):
        return None
    axes = integers(op, "axes") or tuple(range(len(starts)))
    steps = steps or (1,) * len(starts)
    if len(axes) != len(starts) or len(steps) != len(starts) or any(s < 1 for s in steps):
        return None
    first, step = [0] * len(source), [1] * len(source)
    for axis, start, stride in zip(axes, starts, steps, strict=True):
        extent = source[axis]
        first[axis] = min(max(start + extent if start < 0 else start, 0), extent)
        step[axis] = stride
    return lambda box: tuple(
        (f + lower * s, f + (upper - 1) * s + 1)
        for f, s, (lower, upper) in zip(first, step, box, strict=True)
    )


def _gather(graph: Graph, op: Operator) -> Need | None:
    """One constant index."""
    source, result = (graph.tensor[n].shape for n in (op.inputs[0], op.outputs[0]))
    indices, axis = integers(op, "indices"), axis_of(op, len(source))
    if indices is None or len(indices) != 1:
        return None
    at = indices[0] % source[axis]
    rank = len(result) - len(source) + 1
    if rank not in (0, 1):
        return None
    return lambda box: (*box[:axis], (at, at + 1), *box[axis + rank :])


def _reshape(graph: Graph, op: Operator) -> Need | None:
    source, result = (graph.tensor[n].shape for n in (op.inputs[0], op.outputs[0]))
    return reshaped(source, result) if prod(source) == prod(result) else None


_ONE = {"Slice": _slice, "Gather": _gather}
