"""Remove what no graph output depends on."""

from dataclasses import dataclass, replace
from typing import ClassVar

from stowplan.ir.graph import Graph, Operator, Role
from stowplan.passes.base import PassResult

_KEPT_ROLES = (Role.INPUT, Role.OUTPUT, Role.STATE)


@dataclass(frozen=True, slots=True)
class DeadCode:
    """Drop operators, trailing outputs and tensors that nothing reads.

    Model inputs stay even if unused: they are part of the model's signature. Operators that write
    into a storage something reads stay, and so do all that update a state.
    """

    name: ClassVar[str] = "dead-code"

    def apply(self, graph: Graph) -> PassResult:
        """Remove dead operators, then tensors no operator names."""
        operators = _live(graph)
        named = {name for op in operators for name in (*op.inputs, *op.outputs)}
        named |= {tensor.name for tensor in graph.tensors if tensor.role in _KEPT_ROLES}
        waiting = list(named)
        while waiting:
            alias = graph.tensor[waiting.pop()].alias
            if alias is not None and alias.base not in named:
                named.add(alias.base)
                waiting.append(alias.base)
        tensors = tuple(tensor for tensor in graph.tensors if tensor.name in named)
        if operators == graph.operators and len(tensors) == len(graph.tensors):
            return PassResult(graph, False)
        return PassResult(graph.replace(tensors, operators), True)


def _live(graph: Graph) -> tuple[Operator, ...]:
    """Operators that write a storage a live operator or the outside reads."""
    root = {tensor.name: graph.resolve(tensor.name)[0] for tensor in graph.tensors}
    wanted = {root[t.name] for t in graph.tensors if t.role in (Role.OUTPUT, Role.STATE)}
    shared = {t.alias.base for t in graph.tensors if t.alias} | wanted
    operators = []
    for op in reversed(graph.operators):
        if wanted.isdisjoint(root[name] for name in op.outputs):
            continue
        wanted.update(root[name] for name in op.inputs)
        operators.append(op)
    operators.reverse()
    read = {name for op in operators for name in op.inputs} | shared
    return tuple(_without_unread_outputs(graph, op, read) for op in operators)


def _without_unread_outputs(graph: Graph, op: Operator, read: set[str]) -> Operator:
    """``op`` without trailing outputs that nothing can see; positions of the others stay."""
    kept = len(op.outputs)
    while kept > 1:
        tensor = graph.tensor[op.outputs[kept - 1]]
        if tensor.role is not Role.ACTIVATION or tensor.alias or tensor.name in read:
            break
        kept -= 1
    if kept == len(op.outputs):
        return op
    in_place = tuple(pair for pair in op.in_place if pair[0] < kept)
    return replace(op, outputs=op.outputs[:kept], in_place=in_place)
