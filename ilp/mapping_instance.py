"""The memory-mapping problem in a fixed order of operators, as plain numbers.

Operators of an order may run at the same time on array and vector unit, and the order of planning
says little about time then. *Slots* are the parts of the order between which it does: whatever runs
before a slot has ended when anything of the slot begins, on the simulated machine as well. In most
models nearly every slot is a single operator.

Two models of time are described in the same numbers: the simulated machine with DRAM in bandwidth
mode, and the prediction by which planners judge plans (``passes.latency``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stowplan.ir.graph import Graph
from stowplan.ir.storage import StorageModel, storage_model
from stowplan.passes.problem import PlanningProblem, planning_problem
from stowplan.targets.cost import OperatorCost, operator_cost
from stowplan.targets.streamed_cost import streamed_parts
from stowplan.targets.target import Target

Clock = Literal["simulated", "predicted"]
Ranges = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class MappedAccess:
    """One storage that one operator touches: on chip, or in DRAM.

    Attributes:
        storage: index into ``MappingInstance.storages``.
        step: position of the operator in the order.
        defines: the storage comes into being here.
        writes: its content changes here.
        read_bytes: bytes read in DRAM if it is there.
        written_bytes: bytes written in DRAM if it is there.
        onchip_bytes: bytes moved between scratchpad and engine otherwise, re-reads included.
        before: the access to the same storage before it, -1 for none.
        after: the one after it, -1 for none.
    """

    storage: int
    step: int
    defines: bool
    writes: bool
    read_bytes: int
    written_bytes: int
    onchip_bytes: int
    before: int
    after: int

    @property
    def direct_bytes(self) -> int:
        """Bytes through DRAM if it is accessed there."""
        return self.read_bytes + self.written_bytes


@dataclass(frozen=True, slots=True)
class MappedStorage:
    """One storage.

    Attributes:
        name: as in the graph.
        size_bytes: space it takes.
        moved_bytes: bytes of DRAM's time a LOAD or STORE of it takes.
        starts_in_dram: DRAM holds its content from the start.
        ends_in_dram: DRAM must hold its content in the end.
    """

    name: str
    size_bytes: int
    moved_bytes: int
    starts_in_dram: bool
    ends_in_dram: bool


@dataclass(frozen=True, slots=True)
class MappedStep:
    """One operator.

    Attributes:
        compute_cycles: cycles it takes when no access is in the way.
        streamed_bytes: weights that stream past the scratchpad.
        slot: number of its slot; ascending from 0, without holes.
        waits: steps of its slot that end before it begins.
        accesses: what it touches, operands before results.
        replaced: operands whose place a result may take.
        replacing: results that may take an operand's place.
    """

    compute_cycles: int
    streamed_bytes: int
    slot: int
    waits: tuple[int, ...]
    accesses: tuple[int, ...]
    replaced: tuple[int, ...]
    replacing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pace:
    """The machine.

    Attributes:
        capacity_bytes: fast memory.
        dram_bytes_per_cycle: bandwidth of DRAM.
        bank_bytes_per_cycle: bandwidth of fast memory, 0 for no limit.
        read_cycles: cycles an operator that reads in DRAM spends before anything else.
        load_cycles: cycles a channel of LOADs is taken by each besides moving its bytes.
        load_channels: LOADs that may be under way at the same time.
    """

    capacity_bytes: int
    dram_bytes_per_cycle: int
    bank_bytes_per_cycle: int
    read_cycles: int
    load_cycles: int
    load_channels: int


@dataclass(frozen=True, slots=True)
class MappingInstance:
    """Everything the integer program needs."""

    steps: tuple[MappedStep, ...]
    accesses: tuple[MappedAccess, ...]
    storages: tuple[MappedStorage, ...]
    pace: Pace

    @property
    def slots(self) -> int:
        """Number of slots."""
        return self.steps[-1].slot + 1 if self.steps else 0

    def fits(self, access: int) -> bool:
        """Whether the storage of ``access`` can be on chip at all."""
        storage = self.storages[self.accesses[access].storage]
        return storage.size_bytes <= self.pace.capacity_bytes

    def last_write(self, access: int) -> int:
        """The latest access before ``access`` that writes its storage, -1 for none."""
        found = self.accesses[access].before
        while found >= 0 and not self.accesses[found].writes:
            found = self.accesses[found].before
        return found


def mapping_instance(
    graph: Graph,
    target: Target,
    track_weights: bool = True,
    order: Sequence[int] | None = None,
    clock: Clock = "simulated",
) -> MappingInstance:
    """Describe the problem of ``graph`` on ``target``.

    Args:
        graph: a valid graph.
        target: the machine.
        track_weights: weights are mapped like any other storage rather than streamed.
        order: operator indices in execution order; graph order when None.
        clock: the model of time.
    """
    problem = planning_problem(graph, target.memory_spec(track_weights))
    sequence = tuple(range(problem.operators)) if order is None else tuple(order)
    model = storage_model(graph)
    costs = tuple(operator_cost(graph, graph.operators[o], target) for o in sequence)
    accesses, own = _accesses(problem, model, sequence, costs)
    engines_overlap = clock == "simulated"
    slots, waits = _slots(model, sequence, costs, target.cores if engines_overlap else 0)
    steps = []
    for t, o in enumerate(sequence):
        streamed = _streamed(problem, model, o)
        parts = streamed_parts(graph, graph.operators[o], target, streamed)
        cycles = costs[t].compute_cycles
        if parts:
            cycles = min(cycles, sum(part.compute_cycles for part in parts))
        # The vector unit may have a faster clock.
        vector_hz = target.vector.clock_hz or target.clock_hz
        if engines_overlap and costs[t].holds_vector and vector_hz > target.clock_hz:
            cycles = cycles * target.clock_hz // vector_hz
        outs = {out for out, _ in problem.in_place[o]}
        ins = {source for _, source in problem.in_place[o]}
        steps.append(
            MappedStep(
                compute_cycles=cycles,
                streamed_bytes=streamed,
                slot=slots[t],
                waits=waits[t],
                accesses=own[t],
                replaced=tuple(a for a in own[t] if accesses[a].storage in ins),
                replacing=tuple(a for a in own[t] if accesses[a].storage in outs),
            )
        )
    return MappingInstance(
        tuple(steps), accesses, _storages(problem, target, clock), _pace(target, clock)
    )


def _storages(problem: PlanningProblem, target: Target, clock: Clock) -> tuple[MappedStorage, ...]:
    burst = target.dma.burst_bytes
    # In the prediction one channel moves everything and is taken during set-up too.
    more = target.dma.setup_cycles * target.dram.bytes_per_cycle if clock == "predicted" else 0
    return tuple(
        MappedStorage(
            storage.name,
            problem.size[v],
            -(-storage.size_bytes // burst) * burst + more,
            problem.clean(v),
            problem.kept(v),
        )
        for v, storage in enumerate(problem.storages)
    )


def _pace(target: Target, clock: Clock) -> Pace:
    pad, rate = target.scratchpad, target.dram.bytes_per_cycle
    # Addresses are aligned, so sizes may be rounded up; then the memory must be, too.
    capacity = -(-pad.size_bytes // pad.alignment_bytes) * pad.alignment_bytes
    if clock == "predicted":
        return Pace(capacity, rate, 0, 0, 0, 1)
    latency = target.dram.latency_cycles
    banks = pad.banks * pad.bank_width_bytes
    # Set-up is counted in the cycles of the DMA, which may be shorter.
    setup = target.dma.setup_cycles * target.clock_hz // (target.dma.clock_hz or target.clock_hz)
    return Pace(capacity, rate, banks, latency, setup + latency, target.dma.channels)


def _accesses(
    problem: PlanningProblem,
    model: StorageModel,
    order: Sequence[int],
    costs: Sequence[OperatorCost],
) -> tuple[tuple[MappedAccess, ...], tuple[tuple[int, ...], ...]]:
    """All accesses in the order of steps, and which are each step's."""
    index = {storage.name: v for v, storage in enumerate(problem.storages)}
    rows: list[tuple[int, int, bool, int, int, int]] = []
    own: list[tuple[int, ...]] = []
    for t, o in enumerate(order):
        onchip: dict[str, int] = {}
        for tensor, size in (*costs[t].reads, *costs[t].writes):
            base = problem.graph.resolve(tensor)[0]
            onchip[base] = onchip.get(base, 0) + size
        found = []
        for access in model.accesses[o]:
            name = model.storages[access.storage].name
            if name in index:
                bytes_ = _bytes(access.reads), _bytes(access.writes), onchip.get(name, 0)
                found.append((index[name], t, access.defines, *bytes_))
        # Operands first; of two, the larger first.
        found.sort(key=lambda row: (row[2], -problem.size[row[0]], row[0]))
        own.append(tuple(range(len(rows), len(rows) + len(found))))
        rows += found
    before, after = _neighbours([row[0] for row in rows])
    return (
        tuple(
            MappedAccess(v, t, defines, written > 0, read, written, onchip_, before[a], after[a])
            for a, (v, t, defines, read, written, onchip_) in enumerate(rows)
        ),
        tuple(own),
    )


def _neighbours(storages: Sequence[int]) -> tuple[list[int], list[int]]:
    before, after = [-1] * len(storages), [-1] * len(storages)
    latest: dict[int, int] = {}
    for a, v in enumerate(storages):
        if v in latest:
            before[a] = latest[v]
            after[latest[v]] = a
        latest[v] = a
    return before, after


def _streamed(problem: PlanningProblem, model: StorageModel, operator: int) -> int:
    """Bytes of weights that ``operator`` streams."""
    if not problem.memory.stream_weights:
        return 0
    return sum(
        _bytes(access.reads)
        for access in model.accesses[operator]
        if model.storages[access.storage].weight
    )


def _slots(
    model: StorageModel, order: Sequence[int], costs: Sequence[OperatorCost], cores: int
) -> tuple[list[int], list[tuple[int, ...]]]:
    """Slot of each step, and the steps of its slot it waits for; ``cores`` 0: one after another.

    A step waits for those that write what it reads, and on one core for those that take its engine.
    """
    waits = _waits(model, order, costs, cores)
    behind = [0] * len(order)
    whole = [0] * len(order)
    for t, found in enumerate(waits):
        for u in found:
            behind[t] |= behind[u] | 1 << u
        # All steps before this one are known to have ended.
        whole[t] = (~behind[t] & (behind[t] + 1)).bit_length() - 1
    slots, slot = [0] * len(order), 0
    least = [0] * (len(order) + 1)
    least[-1] = len(order)
    for t in range(len(order) - 1, -1, -1):
        least[t] = min(least[t + 1], whole[t])
    for t in range(1, len(order)):
        slot += least[t] >= t
        slots[t] = slot
    return slots, [
        tuple(sorted(u for u in found if slots[u] == slots[t])) for t, found in enumerate(waits)
    ]


def _waits(
    model: StorageModel, order: Sequence[int], costs: Sequence[OperatorCost], cores: int
) -> list[set[int]]:
    """Per step, steps that end before it begins."""
    if cores == 0:
        return [{t - 1} if t else set() for t in range(len(order))]
    writers: dict[int, list[tuple[int, Ranges]]] = {}
    latest: dict[str, int] = {}
    waits: list[set[int]] = []
    for t, o in enumerate(order):
        found = {
            u
            for access in model.accesses[o]
            for u, written in writers.get(access.storage, ())
            if _meet(written, access.reads)
        }
        if cores == 1:
            found.update(latest[engine] for engine in _engines(costs[t]) if engine in latest)
            latest.update(dict.fromkeys(_engines(costs[t]), t))
        for access in model.accesses[o]:
            if access.writes:
                writers.setdefault(access.storage, []).append((t, access.writes))
        waits.append(found)
    return waits


def _engines(cost: OperatorCost) -> set[str]:
    return {cost.engine, "vector"} if cost.holds_vector else {cost.engine}


def _meet(left: Ranges, right: Ranges) -> bool:
    return any(a < d and c < b for a, b in left for c, d in right)


def _bytes(ranges: Ranges) -> int:
    """Bytes in the union of half-open ranges."""
    total, reached = 0, 0
    for low, high in sorted(ranges):
        total += max(0, high - max(low, reached))
        reached = max(reached, high)
    return total
