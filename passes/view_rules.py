"""Which operators only say where bytes lie: the rules behind view elision."""

from dataclasses import dataclass
from math import prod

from stowplan.ir.graph import Graph, Operator, Tensor
from stowplan.passes.kinds import REINTERPRETATIONS, is_plain


@dataclass(frozen=True, slots=True)
class Placement:
    """Tensor ``part`` has the bytes of ``whole`` from ``offset_bytes`` on."""

    part: str
    whole: str
    offset_bytes: int


def placements(op: Operator, graph: Graph) -> tuple[Placement, ...]:
    """Where the operands of a view lie in each other; empty when ``op`` computes or moves data.

    Elements are stored in row-major order, so a part is contiguous when it spans all inner
    dimensions and every dimension outside the one it is cut along has extent one.
    """
    if not is_plain(op) or not op.inputs or op.workspace_bytes or op.parent is not None:
        return ()
    if reinterprets(op, graph):
        return (Placement(op.outputs[0], op.inputs[0], 0),)
    if op.kind == "Concat":
        return _concat(op, graph)
    if op.kind == "Split":
        return _split(op, graph)
    if op.kind == "Slice":
        return _slice(op, graph)
    if op.kind == "Gather":
        return _gather(op, graph)
    return ()


def reinterprets(op: Operator, graph: Graph) -> bool:
    """The only output has the input's bytes, whatever its shape; never so for a tile.

    The attributes of a tile speak of its parent's operands, not of the pieces it reads.
    """
    if len(op.outputs) != 1 or not op.inputs or not is_plain(op) or op.parent is not None:
        return False
    source, result = graph.tensor[op.inputs[0]], graph.tensor[op.outputs[0]]
    if source.dtype is not result.dtype or source.elements != result.elements:
        return False
    if op.kind in REINTERPRETATIONS:
        return True
    if len(op.inputs) != 1:
        return False
    same_shape = source.shape == result.shape
    match op.kind:
        case "Dropout":
            return not op.attribute("training_mode", 0)
        case "Transpose":
            return _keeps_order(source, op)
        case "Slice":
            return same_shape and _unit_steps(op)
        case "Pad":
            pads = op.attribute("pads")
            return same_shape and isinstance(pads, tuple) and not any(pads)
        case "Cast" | "Concat" | "Expand" | "Split" | "Tile":
            return same_shape
    return False


def integers(op: Operator, name: str) -> tuple[int, ...] | None:
    """An attribute as a tuple of integers; None when it is absent or no such thing."""
    value = op.attribute(name)
    values = value if isinstance(value, tuple) else (value,)
    found = tuple(each for each in values if isinstance(each, int))
    return found if len(found) == len(values) else None


def axis_of(op: Operator, rank: int, default: int = 0) -> int:
    """The ``axis`` attribute, counted from the front."""
    axis = op.attribute("axis", default)
    axis = axis if isinstance(axis, int) else default
    return axis + rank if axis < 0 else axis


def _keeps_order(source: Tensor, op: Operator) -> bool:
    """A Transpose that moves dimensions of extent one only."""
    order = integers(op, "perm")
    if order is None:
        order = tuple(reversed(range(len(source.shape))))
    moved = [axis for axis in order if source.shape[axis] != 1]
    return moved == sorted(moved)


def _unit_steps(op: Operator) -> bool:
    steps = integers(op, "steps")
    return steps is None or all(step == 1 for step in steps)


def _placement(part: Tensor, whole: Tensor, elements_before: int) -> Placement | None:
    bits = elements_before * whole.dtype.bits
    if bits % 8 or part.dtype is not whole.dtype:
        return None
    offset = bits // 8
    if offset + part.size_bytes > whole.size_bytes:
        return None
    return Placement(part.name, whole.name, offset)


def _complete(found: list[Placement | None]) -> tuple[Placement, ...]:
    known = tuple(each for each in found if each is not None)
    return known if len(known) == len(found) else ()


def _along(graph: Graph, whole: str, parts: tuple[str, ...], axis: int) -> tuple[Placement, ...]:
    """Parts of ``whole`` one after another along ``axis``, if that is the outermost stored one."""
    tensor = graph.tensor[whole]
    if prod(tensor.shape[:axis]) != 1:
        return ()
    found, before = [], 0
    for name in parts:
        part = graph.tensor[name]
        found.append(_placement(part, tensor, before))
        before += part.elements
    return _complete(found) if before == tensor.elements else ()


def _concat(op: Operator, graph: Graph) -> tuple[Placement, ...]:
    rank = len(graph.tensor[op.outputs[0]].shape)
    return _along(graph, op.outputs[0], op.inputs, axis_of(op, rank))


def _split(op: Operator, graph: Graph) -> tuple[Placement, ...]:
    rank = len(graph.tensor[op.inputs[0]].shape)
    return _along(graph, op.inputs[0], op.outputs, axis_of(op, rank))


def _slice(op: Operator, graph: Graph) -> tuple[Placement, ...]:
    source, result = graph.tensor[op.inputs[0]], graph.tensor[op.outputs[0]]
    starts = integers(op, "starts")
    if len(op.inputs) != 1 or starts is None or not _unit_steps(op):
        return ()
    rank = len(source.shape)
    axes = integers(op, "axes") or tuple(range(len(starts)))
    if len(axes) != len(starts) or len(result.shape) != rank:
        return ()
    first = [0] * rank
    for axis, start in zip(axes, starts, strict=True):
        extent = source.shape[axis]
        first[axis] = min(max(start + extent if start < 0 else start, 0), extent)
    inner = next((d for d in range(rank) if result.shape[d] != 1), rank - 1)
    if result.shape[inner + 1 :] != source.shape[inner + 1 :]:
        return ()
    before = sum(start * prod(source.shape[d + 1 :]) for d, start in enumerate(first))
    return _complete([_placement(result, source, before)])


def _gather(op: Operator, graph: Graph) -> tuple[Placement, ...]:
    """A Gather of one constant index."""
    source, result = graph.tensor[op.inputs[0]], graph.tensor[op.outputs[0]]
    indices = integers(op, "indices")
    axis = axis_of(op, len(source.shape))
    if len(op.inputs) != 1 or indices is None or len(indices) != 1:
        return ()
    inner = prod(source.shape[axis + 1 :])
    if prod(source.shape[:axis]) != 1 or result.elements != inner:
        return ()
    index = indices[0] + source.shape[axis] if indices[0] < 0 else indices[0]
    return _complete([_placement(result, source, index * inner)])
