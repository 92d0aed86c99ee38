"""What the checker knows of a graph, derived from views and operands alone.

Nothing here comes from ``ir.storage``'s accesses or precedence, on which the planners build: an
error there must not hide itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from stowplan.ir.derived import once_per_graph
from stowplan.ir.graph import Graph, Interval, Operator, Role
from stowplan.ir.storage import workspace_name

_IN_DRAM_AT_FIRST = frozenset({Role.INPUT, Role.WEIGHT, Role.STATE})


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that a plan breaks.

    Attributes:
        check: name of the rule.
        message: what is wrong, naming operators, storages, steps and bytes.
    """

    check: str
    message: str


@dataclass(frozen=True, slots=True)
class Touch:
    """One operator touching one storage: half-open byte ranges it reads and writes.

    Attributes:
        storage: name of the storage.
        reads: ranges it reads; an operand of size zero is an empty range.
        writes: ranges it writes.
        defines: it gives a storage without earlier content its first.
    """

    storage: str
    reads: tuple[Interval, ...]
    writes: tuple[Interval, ...]
    defines: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """Storages and touches of a graph.

    Attributes:
        graph: the graph.
        size_bytes: size of every storage and workspace by name.
        weights: storages that hold weights.
        initial: storages whose content DRAM holds before the first step.
        final: storages whose final content DRAM must hold after the last step.
        touches: per operator name, what it touches.
    """

    graph: Graph
    size_bytes: Mapping[str, int]
    weights: frozenset[str]
    initial: frozenset[str]
    final: frozenset[str]
    touches: Mapping[str, tuple[Touch, ...]]

    def streamed(self, storage: str, track_weights: bool) -> bool:
        """Whether ``storage`` passes through the weight buffer instead of the scratchpad."""
        return not track_weights and storage in self.weights


def facts_of(graph: Graph) -> Facts:
    """Resolve every view of ``graph`` and collect what its operators touch."""
    return Facts(graph, *_collected(graph))


_Collected = tuple[
    Mapping[str, int],
    frozenset[str],
    frozenset[str],
    frozenset[str],
    Mapping[str, tuple[Touch, ...]],
]


@once_per_graph
def _collected(graph: Graph) -> _Collected:
    """The fields of ``Facts`` behind the graph, in their order."""
    place = {tensor.name: graph.resolve(tensor.name) for tensor in graph.tensors}
    roles: dict[str, set[Role]] = {}
    for tensor in graph.tensors:
        roles.setdefault(place[tensor.name][0], set()).add(tensor.role)
    sizes = {t.name: t.size_bytes for t in graph.tensors if t.alias is None}
    sizes |= {workspace_name(op.name): op.workspace_bytes for op in graph.operators}
    weights = frozenset(name for name, found in roles.items() if Role.WEIGHT in found)
    initial = frozenset(name for name, found in roles.items() if found & _IN_DRAM_AT_FIRST)
    final = frozenset(name for name, found in roles.items() if Role.OUTPUT in found)
    touches: dict[str, tuple[Touch, ...]] = {}
    written = set(initial)
    for op in graph.operators:
        touches[op.name] = _touches(graph, op, place, written)
        written.update(touch.storage for touch in touches[op.name] if touch.writes)
    return sizes, weights, initial, final, touches


def _touches(
    graph: Graph, op: Operator, place: Mapping[str, tuple[str, int]], written: set[str]
) -> tuple[Touch, ...]:
    reads: dict[str, list[Interval]] = {}
    writes: dict[str, list[Interval]] = {}
    for names, ranges in ((op.inputs, reads), (op.outputs, writes)):
        for name in dict.fromkeys(names):
            storage, offset = place[name]
            extent = (offset, offset + graph.size_bytes[name])
            ranges.setdefault(storage, []).append(extent)
    if op.workspace_bytes:
        writes[workspace_name(op.name)] = [(0, op.workspace_bytes)]
    return tuple(
        Touch(
            storage,
            tuple(reads.get(storage, ())),
            tuple(writes.get(storage, ())),
            defines=storage not in reads and storage not in written,
        )
        for storage in dict.fromkeys((*reads, *writes))
    )


def union_bytes(ranges: list[Interval]) -> int:
    """Bytes covered by at least one of ``ranges``."""
    total, reached = 0, 0
    for lower, upper in sorted(ranges):
        total += max(0, upper - max(lower, reached))
        reached = max(reached, upper)
    return total
