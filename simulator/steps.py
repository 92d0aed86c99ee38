"""The operators of a plan with their costs and the bytes they touch, ready for lowering."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stowplan.errors import UsageError
from stowplan.ir.graph import Graph, Interval, Operator
from stowplan.ir.plan import Plan
from stowplan.ir.program import Walk
from stowplan.ir.storage import Access, StorageModel
from stowplan.simulator.cores import parse_engine
from stowplan.simulator.descriptors import Ranges, Region
from stowplan.simulator.dram_layout import located
from stowplan.simulator.placement import Placement
from stowplan.targets.cost import OperatorCost, operator_cost
from stowplan.targets.streamed_cost import Part, streamed_parts
from stowplan.targets.target import Target


@dataclass(frozen=True, slots=True)
class Step:
    """One operator of the plan, ready to become commands.

    Attributes:
        operator: the operator.
        cost: its cost.
        first_piece: number of its first piece in the whole program.
        parts: its work on each chunk of its weight stream.
        reads: scratchpad ranges read.
        writes: scratchpad ranges written.
        dram_reads: (storage, ranges) read in DRAM.
        dram_writes: (storage, ranges) written there.
        resident_reads: bytes it reads in the scratchpad, re-reads included.
        resident_writes: bytes it writes there.
        streamed: DRAM addresses of its weight stream.
        fetched: DRAM addresses of ``dram_reads``.
        stored: DRAM addresses of ``dram_writes``.
        walks: scratchpad accesses by address.
        core: core that the plan names for it.
    """

    operator: Operator
    cost: OperatorCost
    first_piece: int
    parts: tuple[Part, ...]
    reads: tuple[Interval, ...]
    writes: tuple[Interval, ...]
    dram_reads: tuple[tuple[str, tuple[Interval, ...]], ...]
    dram_writes: tuple[tuple[str, tuple[Interval, ...]], ...]
    resident_reads: int
    resident_writes: int
    streamed: Ranges = ()
    fetched: Ranges = ()
    stored: Ranges = ()
    walks: tuple[Walk, ...] = ()
    core: int | None = None

    @property
    def resident_bytes(self) -> int:
        """Bytes it moves between scratchpad and engine."""
        return self.resident_reads + self.resident_writes

    @property
    def pieces(self) -> int:
        """How many pieces it is cut into."""
        return max(1, len(self.parts))

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
    regions: Mapping[str, Region]


def steps_of(
    graph: Graph, plan: Plan, target: Target, model: StorageModel, regions: Mapping[str, Region]
) -> list[Step]:
    """One entry per step of ``plan``, in order; ``regions`` are those of DRAM.

    Raises:
        UsageError: the plan assigns an operator to an engine that cannot run it.
    """
    index = {operator.name: i for i, operator in enumerate(graph.operators)}
    context = _Context(graph, plan, target, model, Placement(plan), regions)
    wanted = dict(plan.engines)
    steps: list[Step] = []
    piece = 0
    for number, name in enumerate(plan.order):
        operator = graph.operator[name]
        cost = operator_cost(graph, operator, target)
        engine, core = parse_engine(wanted.get(name, cost.engine))
        if engine != cost.engine or (core or 0) >= target.cores:
            raise UsageError(
                f"the plan runs {name} on {wanted[name]!r}; {target.name} runs {operator.kind} "
                f"on {cost.engine!r} of {target.cores} cores"
            )
        accesses = context.model.accesses[index[name]]
        step = replace(_step(context, number, cost, accesses, piece), core=core)
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
    streamed: list[Interval] = []
    fetched: list[Interval] = []
    stored: list[Interval] = []
    bases: dict[str, int] = {}
    reads: list[Interval] = []
    writes: list[Interval] = []
    dram_reads, dram_writes = [], []
    for access in accesses:
        storage = context.model.storages[access.storage]
        if not storage.size_bytes:
            continue
        if storage.weight and not plan.track_weights:
            streamed += located(context.regions[storage.name], _union(access.reads))
        elif placement.direct(storage.name, number):
            dram_reads.append((storage.name, _union(access.reads)))
            dram_writes.append((storage.name, _union(access.writes)))
            fetched += located(context.regions[storage.name], _union(access.reads))
            stored += located(context.regions[storage.name], _union(access.writes))
        else:
            base = placement.address(storage.name, number)
            reads += [(base + a, base + b) for a, b in access.reads]
            writes += [(base + a, base + b) for a, b in access.writes]
            bases[storage.name] = base
    resolve = context.graph.resolve
    operator = context.graph.operator[plan.order[number]]
    return Step(
        operator=operator,
        cost=cost,
        first_piece=first_piece,
        parts=streamed_parts(context.graph, operator, context.target, _size(streamed)),
        reads=tuple(reads),
        writes=tuple(writes),
        dram_reads=tuple(dram_reads),
        dram_writes=tuple(dram_writes),
        resident_reads=sum(size for name, size in cost.reads if resolve(name)[0] in bases),
        resident_writes=sum(size for name, size in cost.writes if resolve(name)[0] in bases),
        streamed=tuple(streamed),
        fetched=tuple(fetched),
        stored=tuple(stored),
        walks=_walks(context.graph, cost, bases),
    )


def _walks(graph: Graph, cost: OperatorCost, bases: Mapping[str, int]) -> tuple[Walk, ...]:
    """One walk through every resident operand; ``bases`` are scratchpad addresses of storages."""
    found = []
    for tensor, size in (*cost.reads, *cost.writes):
        storage, offset = graph.resolve(tensor)
        extent = graph.tensor[tensor].size_bytes
        if size and extent and storage in bases:
            found.append(Walk(bases[storage] + offset, extent, size))
    return tuple(found)


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
