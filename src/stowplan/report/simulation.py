"""What the simulator counted, in the terms of a report, its text and its page."""

from collections.abc import Sequence
from dataclasses import dataclass

from stowplan.report.quantities import human_bytes, human_time, percent
from stowplan.simulator.counters import (
    Bucket,
    DramUse,
    MemoryBytes,
    OperatorCounters,
    Roofline,
)
from stowplan.simulator.result import SimResult

CHART_HEIGHT = 90
"""Height of the traffic chart in its own units; its width is the number of buckets."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """Counters of one run.

    Attributes:
        mode: DRAM mode, ``bandwidth`` or ``full``.
        cycles: core cycles.
        energy_pj: (component, picojoules).
        memories: bytes in and out of every memory.
        roofline: where the run lies under its machine's roof.
        dram: the DRAM in full mode.
        engines: names of the queues, in the order of ``buckets[...].active``.
        operators: counters of every operator, in plan order.
        buckets: the run in slices of equal length.
    """

    mode: str
    cycles: int
    energy_pj: tuple[tuple[str, float], ...]
    memories: tuple[MemoryBytes, ...]
    roofline: Roofline
    dram: DramUse | None
    engines: tuple[str, ...]
    operators: tuple[OperatorCounters, ...]
    buckets: tuple[Bucket, ...]


def simulation_of(result: SimResult) -> Simulation:
    """The counters of a result."""
    return Simulation(
        mode=result.mode,
        cycles=result.cycles,
        energy_pj=result.energy_pj,
        memories=result.memories,
        roofline=result.roofline,
        dram=result.dram,
        engines=tuple(engine.name for engine in result.engines),
        operators=result.operators,
        buckets=result.buckets,
    )


def simulation_lines(simulation: Simulation) -> tuple[str, ...]:
    """Counters for the terminal."""
    roof = simulation.roofline
    reached = roof.macs_per_cycle / roof.roof_macs_per_cycle if roof.roof_macs_per_cycle else 0.0
    energy = ", ".join(
        f"{name} {picojoules / 1e6:,.1f}" for name, picojoules in simulation.energy_pj
    )
    lines = [
        f"roofline     {roof.macs_per_cycle:,.1f} MACs per cycle at {roof.macs_per_byte:,.1f} per "
        f"byte, {percent(reached)} of the {roof.bound} roof",
        f"energy, µJ   {energy}",
    ]
    if simulation.dram is not None:
        lines += _dram_lines(simulation.dram)
    return tuple(lines)


def _dram_lines(dram: DramUse) -> list[str]:
    counts = dram.counts
    return [
        f"dram         {dram.device}, {dram.channels} channels, {dram.clocks:,} clocks "
        f"({human_time(dram.clocks / dram.clock_hz)}), data bus {percent(dram.bus_share)} used",
        f"  rows           {counts.row_hits:,} hits ({percent(dram.hit_share)}), "
        f"{counts.row_misses:,} misses, {counts.row_conflicts:,} conflicts",
        f"  commands       {counts.activates:,} ACT, {counts.precharges:,} PRE, "
        f"{counts.reads:,} RD, {counts.writes:,} WR, {counts.refreshes:,} REF",
    ]


@dataclass(frozen=True, slots=True)
class Bar:
    """One stretch of a chart: left edge, top edge, height, and what it says."""

    x: int
    top: float
    height: float
    colour: str
    hint: str


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """A memory in words."""

    name: str
    written: str
    read: str


@dataclass(frozen=True, slots=True)
class EnergyPart:
    """A component's share of the energy."""

    name: str
    percent: float
    text: str


@dataclass(frozen=True, slots=True)
class SimulationPage:
    """What the page shows of a simulation.

    Attributes:
        facts: (title, text).
        memories: bytes by memory and kind.
        energy: components, largest first.
        traffic: bars of DRAM traffic over time.
        peak: the tallest bar in words.
        width: buckets.
        height: of the chart.
    """

    facts: tuple[tuple[str, str], ...]
    memories: tuple[MemoryRow, ...]
    energy: tuple[EnergyPart, ...]
    traffic: tuple[Bar, ...]
    peak: str
    width: int
    height: int


def simulation_page(simulation: Simulation) -> SimulationPage:
    """The page's part on memories, roofline and energy."""
    traffic, peak = _traffic(simulation.buckets)
    return SimulationPage(
        facts=_facts(simulation),
        memories=tuple(
            MemoryRow(memory.name, _kinds(memory.written), _kinds(memory.read))
            for memory in simulation.memories
        ),
        energy=_energy(simulation.energy_pj),
        traffic=traffic,
        peak=peak,
        width=max(1, len(simulation.buckets)),
        height=CHART_HEIGHT,
    )


def _facts(simulation: Simulation) -> tuple[tuple[str, str], ...]:
    roof = simulation.roofline
    found = [
        ("DRAM mode", simulation.mode),
        ("intensity", f"{roof.macs_per_byte:,.1f} MACs per off-chip byte"),
        ("reached", f"{roof.macs_per_cycle:,.1f} MACs per cycle"),
        ("roof", f"{roof.roof_macs_per_cycle:,.1f} MACs per cycle, set by {roof.bound}"),
        ("arrays' peak", f"{roof.peak_macs_per_cycle:,.1f} MACs per cycle"),
    ]
    if simulation.dram is not None:
        for line in _dram_lines(simulation.dram):
            title, _, text = line.strip().partition(" ")
            found.append((title, text.strip()))
    return tuple(found)


def _kinds(bytes_: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{kind} {human_bytes(size)}" for kind, size in bytes_ if size) or "nothing"


def _energy(parts: Sequence[tuple[str, float]]) -> tuple[EnergyPart, ...]:
    total = sum(picojoules for _, picojoules in parts) or 1.0
    return tuple(
        EnergyPart(name, 100 * value / total, f"{value / 1e6:,.1f} µJ ({percent(value / total)})")
        for name, value in sorted(parts, key=lambda part: -part[1])
    )


def _traffic(buckets: Sequence[Bucket]) -> tuple[tuple[Bar, ...], str]:
    """Bytes per cycle of every slice, reads below writes."""
    rates = [
        (b.read_bytes / (b.end - b.start), b.written_bytes / (b.end - b.start)) for b in buckets
    ]
    highest = max((read + written for read, written in rates), default=0.0) or 1.0
    bars = []
    for x, (bucket, rate) in enumerate(zip(buckets, rates, strict=True)):
        top = float(CHART_HEIGHT)
        for name, colour, value in zip(("read", "written"), ("input", "output"), rate, strict=True):
            height = CHART_HEIGHT * value / highest
            top -= height
            if height:
                hint = f"{value:,.2f} bytes per cycle {name} from cycle {bucket.start:,} on"
                bars.append(Bar(x, round(top, 2), round(height, 2), colour, hint))
    return tuple(bars), f"{highest:,.2f} bytes per cycle"
