"""The operators of a plan with their costs and the bytes they touch, ready for lowering."""

from collections.abc import Sequence
from dataclasses import dataclass

from stowplan.errors import UsageError
from stowplan.ir.graph import Graph, Interval, Operator
from stowplan.ir.plan import Plan
from stowplan.ir.storage import Access, StorageModel, storage_model
from stowplan.simulator.placement import Placement
from stowplan.targets.cost import OperatorCost, operator_cost
from stowplan.targets.target import Target


@dataclass(frozen=True, slots=True)
class Step:
    """One operator of the plan, ready to become commands.

    Attributes:
        operator: the operator.
        cost: its cost.
        first_piece: number of its first piece in the whole program.
        chunks: bytes of each chunk of its weight stream.
        reads: scratchpad ranges read.
        writes: scratchpad ranges written.
        dram_reads: (storage, ranges) read in DRAM.
        dram_writes: (storage, ranges) written there.
        resident_bytes: bytes it moves between scratchpad and engine, re-reads included.
    """

    operator: Operator
    cost: OperatorCost
    first_piece: int
    chunks: tuple[int, ...]
    reads: tuple[Interval, ...]
    writes: tuple[Interval, ...]
    dram_reads: tuple[tuple[str, tuple[Interval, ...]], ...]
    dram_writes: tuple[tuple[str, tuple[Interval, ...]], ...]
    resident_bytes: int

    @property
    def pieces(self) -> int:
        """How many pieces it is cut into."""
        return max(1, len(self.chunks))

    @property
    def dram_read_bytes(self) -> int:
        """Bytes it reads directly in DRAM."""
        return sum(_size(ranges) for _, ranges in self.dram_reads)

    @property
    def dram_written_bytes(self) -> int:
        """Bytes it writes directly to DRAM."""
        return sum(_size(ranges) for _, ranges in self.dram_writes)


@dataclass(frozen=True, slots=True)
class _Context:
    """What every step needs to be looked up in."""

    graph: Graph
    plan: Plan
    target: Target
    model: StorageModel
    placement: Placement


def steps_of(graph: Graph, plan: Plan, target: Target) -> list[Step]:
    """One entry per step of ``plan``, in order.

    Raises:
        UsageError: the plan assigns an operator to an engine that cannot run it.
    """
    index = {operator.name: i for i, operator in enumerate(graph.operators)}
    context = _Context(graph, plan, target, storage_model(graph), Placement(plan))
    wanted = dict(plan.engines)
    steps: list[Step] = []
    piece = 0
    for number, name in enumerate(plan.order):
        operator = graph.operator[name]
        cost = operator_cost(graph, operator, target)
        if wanted.get(name, cost.engine) != cost.engine:
            raise UsageError(
                f"the plan runs {name} on {wanted[name]!r}; {target.name} runs {operator.kind} "
                f"on {cost.engine!r}"
            )
        accesses = context.model.accesses[index[name]]
        step = _step(context, number, cost, accesses, piece)
        steps.append(step)
        piece += step.pieces
    return steps


def _step(
    context: _Context,
    number: int,
    cost: OperatorCost,
    accesses: Sequence[Access],
    first_piece: int,
) -> Step:
    plan, placement = context.plan, context.placement
    streamed = 0
    reads: list[Interval] = []
    writes: list[Interval] = []
    dram_reads, dram_writes, resident = [], [], set()
    for access in accesses:
        storage = context.model.storages[access.storage]
        if not storage.size_bytes:
            continue
        if storage.weight and not plan.track_weights:
            streamed += _size(_union(access.reads))
        elif placement.direct(storage.name, number):
            dram_reads.append((storage.name, _union(access.reads)))
            dram_writes.append((storage.name, _union(access.writes)))
        else:
            base = placement.address(storage.name, number)
            reads += [(base + a, base + b) for a, b in access.reads]
            writes += [(base + a, base + b) for a, b in access.writes]
            resident.add(storage.name)
    resolve = context.graph.resolve
    return Step(
        operator=context.graph.operator[plan.order[number]],
        cost=cost,
        first_piece=first_piece,
        chunks=_chunk_sizes(streamed, context.target),
        reads=tuple(reads),
        writes=tuple(writes),
        dram_reads=tuple(dram_reads),
        dram_writes=tuple(dram_writes),
        resident_bytes=sum(
            size for tensor, size in (*cost.reads, *cost.writes) if resolve(tensor)[0] in resident
        ),
    )


def _chunk_sizes(streamed: int, target: Target) -> tuple[int, ...]:
    half = max(1, target.weight_buffer.size_bytes // 2)
    whole, rest = divmod(streamed, half)
    return (half,) * whole + ((rest,) if rest else ())


def _union(ranges: Sequence[Interval]) -> tuple[Interval, ...]:
    """The same bytes as sorted, disjoint ranges."""
    merged: list[Interval] = []
    for lower, upper in sorted(ranges):
        if merged and lower <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], upper))
        elif lower < upper:
            merged.append((lower, upper))
    return tuple(merged)


def _size(ranges: Sequence[Interval]) -> int:
    return sum(upper - lower for lower, upper in ranges)
