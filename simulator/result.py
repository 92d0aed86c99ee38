"""Results of a simulation and the counters derived from them."""

from dataclasses import dataclass

from stowplan.ir.program import CommandKind, Program, queue_labels
from stowplan.simulator.counters import (
    Bucket,
    DramUse,
    MemoryBytes,
    OperatorCounters,
    Roofline,
    buckets,
    dram_use,
    joint_commands,
    link_bytes_per_cycle,
    memories,
    operator_counters,
    roofline,
)
from stowplan.simulator.machine import Cause, Machine, Timing
from stowplan.targets.target import Target

_WORKING = (
    *(Cause.BUSY, Cause.SETUP, Cause.DELAY, Cause.BANK, Cause.DRAM, Cause.PRIORITY),
    Cause.CLOCK,
)


@dataclass(frozen=True, slots=True)
class EngineTime:
    """Where the cycles of one engine went.

    Attributes:
        name: ``dma-in``, ``dma-out``, ``array`` or ``vector``, with a number where there are
            several cores.
        active_cycles: cycles in which work of its own is in progress, slowed down or not; for the
            vector unit behind the array, the cycles its part of the work takes.
        causes: (cause, cycles) of every cause, named in lower case; they sum to all cycles.
    """

    name: str
    active_cycles: int
    causes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class OffchipBytes:
    """Bytes that crossed the off-chip boundary, bursts not rounded up."""

    load: int
    store: int
    weight: int
    direct_read: int
    direct_write: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.load + self.store + self.weight + self.direct_read + self.direct_write


@dataclass(frozen=True, slots=True)
class SimResult:
    """Outcome of a simulation.

    Attributes:
        cycles: core cycles until everything has finished.
        engines: per engine, in the order of queues.
        start: per command, its first cycle.
        end: per command, the cycle after its last.
        bytes: off-chip bytes by kind.
        macs: multiply-accumulates.
        utilisation: share of the array's multiply-accumulate slots used, 0 to 1.
        energy_pj: (component, picojoules), and their sum in :attr:`total_pj`.
        bound_by: name of the engine that is active longest.
        mode: DRAM mode it ran in, ``bandwidth`` or ``full``.
        memories: bytes in and out of every memory.
        roofline: where the run lies under its machine's roof.
        operators: counters of every operator, in plan order.
        buckets: the run in slices of equal length.
        dram: the DRAM in full mode.
    """

    cycles: int
    engines: tuple[EngineTime, ...]
    start: tuple[int, ...]
    end: tuple[int, ...]
    bytes: OffchipBytes
    macs: int
    utilisation: float
    energy_pj: tuple[tuple[str, float], ...]
    bound_by: str
    mode: str
    memories: tuple[MemoryBytes, ...]
    roofline: Roofline
    operators: tuple[OperatorCounters, ...]
    buckets: tuple[Bucket, ...]
    dram: DramUse | None

    @property
    def total_pj(self) -> float:
        """Energy of all components."""
        return sum(energy for _, energy in self.energy_pj)

    @property
    def busy(self) -> tuple[tuple[str, float], ...]:
        """(engine, share of all cycles it is active), busiest first."""
        shares = [
            (e.name, e.active_cycles / self.cycles if self.cycles else 0.0) for e in self.engines
        ]
        return tuple(sorted(shares, key=lambda item: -item[1]))


def step_spans(program: Program, result: SimResult) -> tuple[tuple[int, int], ...]:
    """Per plan step, the first cycle of its operator and the cycle after its last."""
    first = [result.cycles] * len(program.steps)
    last = [0] * len(program.steps)
    for command, start, end in zip(program.commands, result.start, result.end, strict=True):
        if command.kind is CommandKind.COMPUTE:
            first[command.step] = min(first[command.step], start)
            last[command.step] = max(last[command.step], end)
    return tuple(zip(first, last, strict=True))


def result_of(program: Program, target: Target, machine: Machine, timing: Timing) -> SimResult:
    """Derive the counters of a run."""
    labels = queue_labels(program.cores)
    engines = tuple(_engine_time(program, i, label, timing) for i, label in enumerate(labels))
    moved = _offchip_bytes(program)
    array = target.array
    slots = array.rows * array.cols * array.count * target.cores * timing.cycles
    used = sum(command.work.mac_slots for command in program.commands)
    # The first of equals, so that the answer does not depend on chance.
    busiest = max(engines, key=lambda engine: engine.active_cycles)
    link = machine.dram
    use = dram_use(link, timing.dram, timing.dram_clocks) if link and timing.dram else None
    peak = link_bytes_per_cycle(link) if link else float(machine.bytes_per_cycle)
    return SimResult(
        cycles=timing.cycles,
        engines=engines,
        start=timing.start,
        end=timing.end,
        bytes=moved,
        macs=sum(command.work.macs for command in program.commands),
        utilisation=used / slots if slots else 0.0,
        energy_pj=_energy(program, target, moved, use),
        bound_by=busiest.name,
        mode="full" if link else "bandwidth",
        memories=memories(program),
        roofline=roofline(program, target, timing.cycles, peak),
        operators=operator_counters(program, target, timing),
        buckets=buckets(program, timing),
        dram=use,
    )


def _engine_time(program: Program, queue: int, label: str, timing: Timing) -> EngineTime:
    row = timing.causes[queue]
    active = sum(row[cause] for cause in _WORKING)
    behind = sum(command.work.vector_cycles for command in joint_commands(program, queue))
    active += min(behind, row[Cause.HELD])
    causes = tuple((cause.name.lower(), row[cause]) for cause in Cause)
    return EngineTime(label, active, causes)


def _offchip_bytes(program: Program) -> OffchipBytes:
    read = dict.fromkeys(CommandKind, 0)
    written = dict.fromkeys(CommandKind, 0)
    for command in program.commands:
        read[command.kind] += command.read_bytes
        written[command.kind] += command.written_bytes
    return OffchipBytes(
        load=read[CommandKind.LOAD],
        store=written[CommandKind.STORE],
        weight=read[CommandKind.WEIGHT],
        direct_read=read[CommandKind.COMPUTE],
        direct_write=written[CommandKind.COMPUTE],
    )


def _energy(
    program: Program, target: Target, moved: OffchipBytes, use: DramUse | None
) -> tuple[tuple[str, float], ...]:
    """Energy by component; in full mode that of DRAM by command, where its currents are known."""
    table = target.energy
    work = [command.work for command in program.commands]
    # Every byte from DRAM is also written on chip once, every byte to it read.
    transferred = moved.load + moved.store + moved.weight
    onchip = sum(w.onchip_bytes for w in work) + transferred
    by_bytes = (("dram", moved.total * table.dram_pj_per_byte),)
    return (
        ("mac", sum(w.macs for w in work) * table.mac_pj),
        ("vector", sum(w.vector_elements for w in work) * table.vector_pj_per_element),
        ("scratchpad", onchip * table.scratchpad_pj_per_byte),
        *(use.energy_pj if use and use.energy_pj else by_bytes),
    )
