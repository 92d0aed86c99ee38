"""One program in the simulator and on the RTL machine."""

from dataclasses import dataclass

import numpy as np

from benchmarks import rtl_machine
from benchmarks.rtl_machine import Trace
from benchmarks.rtl_programs import Case
from stowplan.simulator.engine import run
from stowplan.simulator.machine import Timing, machine_of


@dataclass(frozen=True, slots=True)
class Outcome:
    """One program on both machines.

    Attributes:
        differing: commands that start or end in different cycles.
        wrong: storages whose numbers are not NumPy's.
        overlapped: cycles in which two engines or more work.
    """

    case: Case
    trace: Trace
    timing: Timing
    differing: tuple[int, ...]
    wrong: tuple[str, ...]
    overlapped: int

    @property
    def exact(self) -> bool:
        """Whether cycles and numbers agree."""
        return not self.differing and not self.wrong


def judge(case: Case) -> Outcome:
    """Run a case in the simulator and on the hardware.

    Raises:
        RtlError: the hardware cannot be built or stops with an error.
    """
    trace = rtl_machine.run(case.hardware, case.tiles, case.memory)
    timing = run(case.tiles.program, machine_of(case.hardware.target()))
    times = zip(timing.start, timing.end, trace.start, trace.end, strict=True)
    differing = tuple(i for i, (a, b, c, d) in enumerate(times) if (a, b) != (c, d))
    return Outcome(case, trace, timing, differing, _wrong(case, trace), _overlapped(trace))


def _wrong(case: Case, trace: Trace) -> tuple[str, ...]:
    found = []
    for name, values in case.problem.expected.items():
        at = case.tiles.dram_addresses[name]
        got = np.frombuffer(trace.memory[at : at + 4 * values.size], "<i4")
        if not np.array_equal(got, values.astype("<i4").ravel()):
            found.append(name)
    return tuple(found)


def _overlapped(trace: Trace) -> int:
    running = np.zeros(trace.cycles + 1, np.int64)
    np.add.at(running, list(trace.start), 1)
    np.add.at(running, list(trace.end), -1)
    return int((np.cumsum(running) > 1).sum())
