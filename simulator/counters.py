"""What a simulation counted beside cycles: memories, roofline, operators, time buckets, DRAM."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stowplan.ir.program import Command, CommandKind, Program, queue_labels
from stowplan.simulator.dram import DramCounts
from stowplan.simulator.dram_energy import dram_energy
from stowplan.simulator.machine import Cause, DramLink, Timing
from stowplan.targets.target import Target

BUCKETS = 100

Named = tuple[tuple[str, int], ...]
Energies = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class MemoryBytes:
    """Bytes of one memory.

    Attributes:
        name: ``dram``, ``scratchpad`` or ``weight buffer``.
        read: (who read it, bytes).
        written: (who wrote it, bytes).
    """

    name: str
    read: Named
    written: Named


@dataclass(frozen=True, slots=True)
class Roofline:
    """Where the run lies under the roof of its machine.

    Attributes:
        macs_per_byte: multiply-accumulates per off-chip byte.
        macs_per_cycle: multiply-accumulates per cycle reached.
        peak_macs_per_cycle: what the arrays could do on these element types.
        roof_macs_per_cycle: the lower of that and of what DRAM could feed at this intensity.
        bound: ``compute`` or ``memory``, whichever makes the roof.
    """

    macs_per_byte: float
    macs_per_cycle: float
    peak_macs_per_cycle: float
    roof_macs_per_cycle: float
    bound: str


@dataclass(frozen=True, slots=True)
class OperatorCounters:
    """Counters of one operator, all its pieces together.

    Attributes:
        name: the operator.
        engines: names of the queues it ran on.
        start: first cycle.
        end: cycle after the last.
        causes: (cause, cycles) while it was first in its queue, waits included, without zeros.
        macs: multiply-accumulates.
        weight_bytes: weights streamed for it.
        direct_bytes: bytes it read and wrote in DRAM.
        pad_bytes: bytes it read and wrote in the scratchpad.
        energy_pj: (component, picojoules).
    """

    name: str
    engines: tuple[str, ...]
    start: int
    end: int
    causes: Named
    macs: int
    weight_bytes: int
    direct_bytes: int
    pad_bytes: int
    energy_pj: Energies


@dataclass(frozen=True, slots=True)
class Bucket:
    """One slice of the run.

    Attributes:
        start: first cycle.
        end: cycle after the last.
        active: per queue, share of the cycles with a command of its own, 0 to 1.
        read_bytes: bytes read from DRAM; a command's count evenly over its cycles.
        written_bytes: bytes written to DRAM.
    """

    start: int
    end: int
    active: tuple[float, ...]
    read_bytes: int
    written_bytes: int


@dataclass(frozen=True, slots=True)
class DramUse:
    """The DRAM in full mode.

    Attributes:
        device: its name.
        channels: channels.
        clock_hz: command clock.
        clocks: clocks until its queues were empty.
        access_bytes: bytes per access.
        counts: commands, row hits, misses and conflicts.
        hit_share: share of column commands that hit an open row, 0 to 1.
        bus_share: share of the data bus used, 0 to 1.
        energy_pj: (component, picojoules), empty where the device states no currents.
    """

    device: str
    channels: int
    clock_hz: int
    clocks: int
    access_bytes: int
    counts: DramCounts
    hit_share: float
    bus_share: float
    energy_pj: Energies


def dram_use(link: DramLink, counts: DramCounts, clocks: int) -> DramUse:
    """What a run in full mode did to its DRAM."""
    spec = link.spec
    columns = counts.reads + counts.writes
    slots = clocks * spec.organisation.channels
    energy: Energies = ()
    if spec.rails:
        parts = dram_energy(spec, counts, clocks)
        names = ("activate", "read", "write", "refresh", "standby")
        energy = tuple((f"dram {name}", getattr(parts, f"{name}_pj")) for name in names)
    return DramUse(
        device=spec.name,
        channels=spec.organisation.channels,
        clock_hz=spec.clock_hz,
        clocks=clocks,
        access_bytes=spec.organisation.access_bytes,
        counts=counts,
        hit_share=counts.row_hits / columns if columns else 0.0,
        bus_share=columns * spec.timing.burst / slots if slots else 0.0,
        energy_pj=energy,
    )


def memories(program: Program) -> tuple[MemoryBytes, ...]:
    """Bytes in and out of every memory, bursts not rounded up."""
    moved = {kind: [0, 0] for kind in CommandKind}
    pad_read = pad_written = 0
    for command in program.commands:
        moved[command.kind][0] += command.read_bytes
        moved[command.kind][1] += command.written_bytes
        pad_read += command.work.pad_read_bytes
        pad_written += command.work.pad_written_bytes
    load, weight = moved[CommandKind.LOAD][0], moved[CommandKind.WEIGHT][0]
    store, direct = moved[CommandKind.STORE][1], moved[CommandKind.COMPUTE]
    return (
        MemoryBytes(
            "dram",
            (("load", load), ("weight", weight), ("direct", direct[0])),
            (("store", store), ("direct", direct[1])),
        ),
        MemoryBytes(
            "scratchpad",
            (("compute", pad_read), ("store", store)),
            (("compute", pad_written), ("load", load)),
        ),
        MemoryBytes("weight buffer", (("compute", weight),), (("weight", weight),)),
    )


def roofline(program: Program, target: Target, cycles: int, bytes_per_cycle: float) -> Roofline:
    """Position of a run; ``bytes_per_cycle`` is what DRAM delivers at its best.

    Source: Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for
    multicore architectures", CACM 52(4), 2009.
    """
    works = [command.work for command in program.commands]
    macs, slots = sum(w.macs for w in works), sum(w.mac_slots for w in works)
    moved = sum(c.read_bytes + c.written_bytes for c in program.commands)
    array = target.array
    units = array.rows * array.cols * array.count * target.cores
    peak = units * macs / slots if slots else float(units)
    intensity = macs / moved if moved else 0.0
    fed = intensity * bytes_per_cycle if moved else peak
    return Roofline(
        macs_per_byte=intensity,
        macs_per_cycle=macs / cycles if cycles else 0.0,
        peak_macs_per_cycle=peak,
        roof_macs_per_cycle=min(peak, fed),
        bound="memory" if fed < peak else "compute",
    )


def operator_counters(
    program: Program, target: Target, timing: Timing
) -> tuple[OperatorCounters, ...]:
    """One entry per plan step that computes anything."""
    pieces: dict[int, list[int]] = {}
    weights: dict[int, int] = {}
    for index, command in enumerate(program.commands):
        if command.kind is CommandKind.COMPUTE:
            pieces.setdefault(command.step, []).append(index)
        elif command.kind is CommandKind.WEIGHT:
            weights[command.step] = weights.get(command.step, 0) + command.read_bytes
    labels = queue_labels(program.cores)
    return tuple(
        _operator(program, target, timing, labels, own, weights.get(step, 0))
        for step, own in sorted(pieces.items())
    )


def _operator(
    program: Program,
    target: Target,
    timing: Timing,
    labels: Sequence[str],
    pieces: Sequence[int],
    weight_bytes: int,
) -> OperatorCounters:
    commands = [program.commands[i] for i in pieces]
    causes = [sum(timing.spent[i][cause] for i in pieces) for cause in Cause]
    direct = sum(c.read_bytes + c.written_bytes for c in commands)
    table, works = target.energy, [c.work for c in commands]
    onchip = sum(w.onchip_bytes for w in works) + weight_bytes
    return OperatorCounters(
        name=commands[0].label,
        engines=tuple(labels[queue] for queue in commands[0].queues),
        start=min(timing.start[i] for i in pieces),
        end=max(timing.end[i] for i in pieces),
        causes=tuple(
            (cause.name.lower(), spent) for cause, spent in zip(Cause, causes, strict=True) if spent
        ),
        macs=sum(w.macs for w in works),
        weight_bytes=weight_bytes,
        direct_bytes=direct,
        pad_bytes=sum(w.pad_read_bytes + w.pad_written_bytes for w in works),
        energy_pj=(
            ("mac", sum(w.macs for w in works) * table.mac_pj),
            ("vector", sum(w.vector_elements for w in works) * table.vector_pj_per_element),
            ("scratchpad", onchip * table.scratchpad_pj_per_byte),
            ("dram", (weight_bytes + direct) * table.dram_pj_per_byte),
        ),
    )


def buckets(program: Program, timing: Timing, count: int = BUCKETS) -> tuple[Bucket, ...]:
    """The run in ``count`` slices of equal length, fewer if it has fewer cycles."""
    count = min(count, timing.cycles)
    bounds = [timing.cycles * i // count for i in range(count + 1)] if count else [0]
    queues = 2 + 2 * program.cores
    active = [[0] * queues for _ in range(count)]
    moved = [[0, 0] for _ in range(count)]
    # Until when a queue has been counted: transfers of several channels overlap.
    counted = [0] * queues
    for command, start, end in zip(program.commands, timing.start, timing.end, strict=True):
        for queue in command.queues:
            for i, first, last in _slices(bounds, max(start, counted[queue]), end):
                active[i][queue] += last - first
            counted[queue] = max(counted[queue], end)
        for i, first, last in _slices(bounds, start, end):
            for side, size in enumerate((command.read_bytes, command.written_bytes)):
                before = size * (first - start) // (end - start)
                moved[i][side] += size * (last - start) // (end - start) - before
    return tuple(
        Bucket(low, high, tuple(a / (high - low) for a in own), *both)
        for low, high, own, both in zip(bounds, bounds[1:], active, moved, strict=False)
    )


def _slices(bounds: Sequence[int], start: int, end: int) -> Iterable[tuple[int, int, int]]:
    """(bucket, first cycle, cycle after the last) of the buckets that a span touches."""
    count = len(bounds) - 1
    i = min(count - 1, start * count // bounds[-1])
    while bounds[i] > start:
        i -= 1
    while i < count and bounds[i] < end:
        first, last = max(start, bounds[i]), min(end, bounds[i + 1])
        if first < last:
            yield i, first, last
        i += 1


def link_bytes_per_cycle(link: DramLink) -> float:
    """Bytes per core cycle of every channel's data bus, without a pause."""
    organisation = link.spec.organisation
    per_clock = organisation.channels * organisation.access_bytes / link.spec.timing.burst
    return float(per_clock * link.clock_ratio)


def joint_commands(program: Program, queue: int) -> list[Command]:
    """Commands whose array part runs before the vector unit of ``queue``."""
    return [c for c in program.commands if len(c.queues) > 1 and c.queues[1] == queue]
