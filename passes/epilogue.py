"""Finding element-wise operators that can be fused behind another operator.

From the head's output the group grows to the nearest element-wise operator through which everything
that depends on the output flows: one operator in a chain, or a whole diamond such as that of SiLU
(a Sigmoid and a Mul) or the Erf form of GELU. It grows again from there until nothing more fits. A
Reshape that keeps the innermost dimension, as exporters put behind Gemm, may stand in between.
"""

from dataclasses import dataclass

from stowplan.ir.graph import Graph, Operator, Role
from stowplan.passes.byte_layout import unstable_tensors, viewed_tensors
from stowplan.passes.grouping import Group
from stowplan.passes.kinds import is_arithmetic, is_plain

_LARGEST_DIAMOND = 12
_RESHAPE = "Reshape"
_SUMS = ("Add", "Sum", "QLinearAdd")


@dataclass(frozen=True, slots=True)
class EpilogueRules:
    """What may follow a head.

    Attributes:
        residual: an Add of a second activation of the output's shape, or one that broadcasts to it.
        longest: most operators behind one head.
    """

    residual: bool = True
    longest: int = 32


def find_groups(graph: Graph, heads: list[Operator], rules: EpilogueRules) -> list[Group]:
    """Disjoint groups, one per head that something can be fused to.

    Earlier heads in the list choose first. An operator is in one group at most.
    """
    finder = _Finder(graph, rules)
    found = [finder.group(head) for head in heads]
    return [group for group in found if group is not None]


class _Finder:
    def __init__(self, graph: Graph, rules: EpilogueRules) -> None:
        self._graph = graph
        self._rules = rules
        self._order = {op.name: i for i, op in enumerate(graph.operators)}
        self._viewed = viewed_tensors(graph)
        self._unstable = unstable_tensors(graph)
        self._taken: set[str] = set()

    def group(self, head: Operator) -> Group | None:
        if head.name in self._taken or len(head.outputs) != 1 or head.parent is not None:
            return None
        if not self._unstable.isdisjoint(head.inputs):
            return None
        tail: list[Operator] = []
        current = head.outputs[0]
        given = set(head.inputs)
        known = given | {current}
        replaceable: list[str] = []
        while len(tail) < self._rules.longest:
            step = self._closure(current, given)
            if step is None:
                break
            for op in step:
                replaceable += self._residual(op, known)
                known.update((*op.inputs, *op.outputs))
                given.update(op.inputs)
            tail += step
            current = step[-1].outputs[0]
        while tail and tail[-1].kind == _RESHAPE:
            current = tail.pop().inputs[0]
        if not tail:
            return None
        self._taken.update(op.name for op in (head, *tail))
        size = self._graph.tensor[current].size_bytes
        kept = [n for n in replaceable if self._graph.tensor[n].size_bytes == size]
        return Group(head, tuple(tail), tuple(kept))

    def _closure(self, current: str, given: set[str]) -> list[Operator] | None:
        """The fewest operators after which one tensor carries all that depends on ``current``."""
        if not self._inner(current):
            return None
        members: list[Operator] = []
        inside = {current}
        waiting = {op.name: op for op in self._graph.consumers[current]}
        while waiting and len(members) < _LARGEST_DIAMOND:
            op = min(waiting.values(), key=lambda each: self._order[each.name])
            del waiting[op.name]
            if not self._may_join(op, current, inside, given):
                return None
            members.append(op)
            output = op.outputs[0]
            if not waiting:
                return members
            inside.add(output)
            if not self._inner(output):
                return None
            waiting |= {each.name: each for each in self._graph.consumers[output]}
        return None

    def _inner(self, name: str) -> bool:
        """The tensor can disappear into a group: a plain activation that somebody reads."""
        tensor = self._graph.tensor[name]
        return (
            tensor.role is Role.ACTIVATION
            and name not in self._viewed
            and bool(self._graph.consumers[name])
        )

    def _may_join(self, op: Operator, current: str, inside: set[str], given: set[str]) -> bool:
        if op.name in self._taken or not (is_arithmetic(op) or self._regroups_rows(op)):
            return False
        if not self._unstable.isdisjoint(op.inputs):
            return False
        before, after = self._graph.tensor[current], self._graph.tensor[op.outputs[0]]
        if before.elements != after.elements:
            return False
        strangers = [
            name
            for name in op.inputs
            if name not in inside
            and name not in given
            and self._graph.tensor[name].role is not Role.WEIGHT
        ]
        return not strangers or (self._rules.residual and op.kind in _SUMS and len(op.inputs) == 2)

    def _regroups_rows(self, op: Operator) -> bool:
        """A Reshape between element-wise operators that keeps the innermost dimension."""
        if op.kind != _RESHAPE or not is_plain(op) or op.parent is not None:
            return False
        before, after = (self._graph.tensor[n].shape for n in (op.inputs[0], op.outputs[0]))
        return bool(before and after) and before[-1] == after[-1]

    def _residual(self, op: Operator, given: set[str]) -> list[str]:
        """Operands new to the group that ``op`` adds element for element."""
        if op.kind not in _SUMS:
            return []
        shape = self._graph.tensor[op.outputs[0]].shape
        tensors = [self._graph.tensor[name] for name in op.inputs if name not in given]
        return [t.name for t in tensors if t.role is not Role.WEIGHT and t.shape == shape]
