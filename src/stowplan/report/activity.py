"""What the simulator measured, in the terms of a report."""

from collections.abc import Mapping
from dataclasses import dataclass

from stowplan.report.data import Span


@dataclass(frozen=True, slots=True)
class Activity:
    """Engine activity of one run.

    Attributes:
        cycles: core cycles from first command to last.
        utilisation: share of the array's multiply-accumulate slots used, 0 to 1.
        busy: (engine, share of the cycles it is busy), busiest first.
        energy_pj: energy spent.
        spans: every busy interval, by engine and start.
        operators: operator -> (engine, first cycle, cycle after the last).
        macs: operator -> multiply-accumulates.
    """

    cycles: int
    utilisation: float
    busy: tuple[tuple[str, float], ...]
    energy_pj: float
    spans: tuple[Span, ...]
    operators: Mapping[str, tuple[str, int, int]]
    macs: Mapping[str, int]
