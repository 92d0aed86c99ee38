"""DRAM energy by command, from the currents of the data sheet.

Source: Micron, TN-40-07: Calculating Memory Power for DDR4 SDRAM, and TN-41-01 for DDR3: what a
command draws beyond the standby current while it lasts, times supply voltage and devices.
"""

from dataclasses import dataclass

from stowplan.simulator.dram import DramCounts
from stowplan.targets.dram_presets import DramSpec


@dataclass(frozen=True, slots=True)
class DramEnergy:
    """Energy in picojoules; activate holds the precharge that follows it.

    Attributes:
        activate_pj: opening and closing rows.
        read_pj: reads.
        write_pj: writes.
        refresh_pj: refreshes.
        standby_pj: background of all ranks, open or closed.
    """

    activate_pj: float
    read_pj: float
    write_pj: float
    refresh_pj: float
    standby_pj: float

    @property
    def total_pj(self) -> float:
        """Sum of all parts."""
        return self.activate_pj + self.read_pj + self.write_pj + self.refresh_pj + self.standby_pj


@dataclass(frozen=True, slots=True)
class CommandEnergy:
    """Picojoules of one command of a rank, and of one clock of standby.

    Attributes:
        activate_pj: an ACT with its PRE.
        read_pj: a RD.
        write_pj: a WR.
        refresh_pj: a REF.
        open_pj: a clock with a bank open.
        closed_pj: a clock with every bank closed.
    """

    activate_pj: float
    read_pj: float
    write_pj: float
    refresh_pj: float
    open_pj: float
    closed_pj: float


def command_energy(spec: DramSpec) -> CommandEnergy:
    """Energy of each command: milliamperes times volts times nanoseconds are picojoules."""
    timing = spec.timing
    clock_ns = 1e9 / spec.clock_hz
    parts = [0.0] * 6
    for rail in spec.rails:
        standby = rail.idd3n * timing.ras + rail.idd2n * (timing.rc - timing.ras)
        charges = (
            max(0.0, rail.idd0 * timing.rc - standby),
            (rail.idd4r - rail.idd3n) * timing.burst,
            (rail.idd4w - rail.idd3n) * timing.burst,
            (rail.idd5 - rail.idd3n) * timing.rfc,
            rail.idd3n,
            rail.idd2n,
        )
        scale = rail.volts * clock_ns * spec.organisation.devices
        parts = [part + charge * scale for part, charge in zip(parts, charges, strict=True)]
    return CommandEnergy(*parts)


def dram_energy(spec: DramSpec, counts: DramCounts, clocks: int) -> DramEnergy:
    """Energy of a run of ``clocks`` clocks."""
    each = command_energy(spec)
    all_clocks = clocks * spec.organisation.channels * spec.organisation.ranks
    return DramEnergy(
        counts.activates * each.activate_pj,
        counts.reads * each.read_pj,
        counts.writes * each.write_pj,
        counts.refreshes * each.refresh_pj,
        counts.open_clocks * each.open_pj + (all_clocks - counts.open_clocks) * each.closed_pj,
    )
