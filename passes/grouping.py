"""Replacing groups of operators by one fused operator each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from stowplan.ir.graph import Graph, Operator


@dataclass(frozen=True, slots=True)
class Group:
    """Operators to become one.

    Attributes:
        head: the operator that dominates the group's cost; the group takes its name.
        tail: operators behind it, in graph order; the last one alone feeds the outside.
        replaceable: names of operands that the group's output may replace byte for byte.
    """

    head: Operator
    tail: tuple[Operator, ...]
    replaceable: tuple[str, ...] = ()


def fuse_groups(graph: Graph, groups: Sequence[Group]) -> Graph:
    """Put one operator at the place of the last member of each group.

    Every member's consumers must lie in its group, except the last member's.
    """
    fused = {group.tail[-1].name: _fused(group) for group in groups}
    dropped = {op.name for group in groups for op in (group.head, *group.tail)}
    operators = tuple(
        fused.get(op.name, op)
        for op in graph.operators
        if op.name in fused or op.name not in dropped
    )
    internal = {
        name for group in groups for op in (group.head, *group.tail[:-1]) for name in op.outputs
    }
    return graph.replace(
        tensors=tuple(tensor for tensor in graph.tensors if tensor.name not in internal),
        operators=operators,
    )


def _fused(group: Group) -> Operator:
    head, last = group.head, group.tail[-1]
    produced = {name for op in (head, *group.tail) for name in op.outputs}
    brought = unique(name for op in group.tail for name in op.inputs if name not in produced)
    inputs = head.inputs + tuple(name for name in brought if name not in head.inputs)
    position = {name: i for i, name in enumerate(inputs)}
    return replace(
        head,
        inputs=inputs,
        outputs=last.outputs,
        epilogue=head.epilogue + tuple(kind for op in group.tail for kind in kinds(op)),
        nodes=unique(name for op in (head, *group.tail) for name in op.nodes),
        workspace_bytes=max(op.workspace_bytes for op in (head, *group.tail)),
        in_place=tuple((0, position[name]) for name in group.replaceable),
    )


def kinds(op: Operator) -> tuple[str, ...]:
    """All kinds fused into ``op``, in order."""
    return (*op.prologue, op.kind, *op.epilogue)


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """``names`` without repetitions, in order."""
    return tuple(dict.fromkeys(names))
