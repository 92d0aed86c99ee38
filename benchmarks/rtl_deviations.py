"""Where hardware that could be built differs from the machine model, and by how much.

Every row changes one thing in the RTL machine of ``benchmarks.rtl`` and compares the same programs.
None of it is a goal: the table says what the model leaves out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks.rtl_machine import Hardware
from benchmarks.rtl_outcome import Outcome, judge
from benchmarks.rtl_programs import Case, random_case, streamed_case

OUTPUTS = Hardware(4, 4)
PIPELINED = Hardware(4, 8, pipelined=True, stages=2, bytes_per_cycle=4, latency_cycles=23)
WEIGHTS = Hardware(8, 8, "weight_stationary", pipelined=True, stages=3)
DOUBLE = Hardware(4, 8, "weight_stationary", stages=1, double_buffered=True)
INPUTS = Hardware(4, 4, "input_stationary")


@dataclass(frozen=True, slots=True)
class Deviation:
    """One change to the hardware."""

    text: str
    machines: tuple[Hardware, ...]
    make: Callable[[int, Hardware], Case] = random_case


def _changed(machines: Sequence[Hardware], **change: object) -> tuple[Hardware, ...]:
    return tuple(replace(machine, **change) for machine in machines)  # type: ignore[arg-type]


_SMALL_BANKS = {"banked": True, "banks": 16, "bank_width_bytes": 16}

DEVIATIONS = (
    Deviation(
        "what the scratchpad reads arrives a clock later, told to the model "
        "(`scratchpad.read_latency_cycles = 1`)",
        _changed([WEIGHTS], read_clock=True),
    ),
    Deviation(
        "LOAD and STORE take the lanes to memory in turn, not half each",
        _changed([OUTPUTS, PIPELINED], turns=True),
    ),
    Deviation(
        "16 single-ported banks of 16 bytes, model `spread`",
        _changed([OUTPUTS, PIPELINED, WEIGHTS], **_SMALL_BANKS),
    ),
    Deviation(
        "16 single-ported banks of 16 bytes, model `interleaved`",
        _changed([OUTPUTS, PIPELINED, WEIGHTS], banking="interleaved", **_SMALL_BANKS),
    ),
    Deviation(
        "weights stream in several chunks",
        _changed([OUTPUTS, PIPELINED, WEIGHTS, DOUBLE, INPUTS], buffer_bytes=256),
        streamed_case,
    ),
)

HEAD = (
    *("change", "programs", "exact", "cycles exact", "numbers right"),
    *("cycles beside the model: mean", "least", "most"),
)


def deviation_row(deviation: Deviation, count: int) -> tuple[str | int, ...]:
    """What ``count`` programs show of one change."""
    machines = deviation.machines
    outcomes = [
        judge(deviation.make(number, machines[number % len(machines)])) for number in range(count)
    ]
    shares = [_share(outcome) for outcome in outcomes]
    return (
        deviation.text,
        count,
        sum(not outcome.differing for outcome in outcomes),
        sum(share == 0 for share in shares),
        sum(not outcome.wrong for outcome in outcomes),
        f"{sum(shares) / count:+.2%}",
        f"{min(shares):+.2%}",
        f"{max(shares):+.2%}",
    )


def _share(outcome: Outcome) -> float:
    """Cycles of the hardware more than of the model, as a share of the latter."""
    return outcome.trace.cycles / outcome.timing.cycles - 1
