"""Whole programs on our own RTL machine under Verilator, clock by clock beside the simulator.

    python -m benchmarks.rtl [FOLDER] [--programs N] [--write]

Random plans of tiled products and convolutions are lowered, simulated and run on the RTL of
``tests/rtl/hardware``: every command must start and end in the same cycle, and the results be
NumPy's.
With FOLDER, the clocks of ``rtl_systolic_os.csv`` are compared with those of our arrays too.
``--write`` puts the tables into ``benchmarks/results/rtl.md``.
"""

import argparse
import csv
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import rtl_machine
from benchmarks.rtl_deviations import DEVIATIONS, deviation_row
from benchmarks.rtl_deviations import HEAD as DEVIATION_HEAD
from benchmarks.rtl_machine import Hardware
from benchmarks.rtl_outcome import Outcome, judge
from benchmarks.rtl_programs import as_case, plain_product, random_case
from stowplan.errors import StowplanError
from stowplan.ir.files import write_atomic
from stowplan.ir.program import CommandKind

RESULTS = Path(__file__).resolve().parent / "results" / "rtl.md"

MACHINES = (
    Hardware(4, 4),
    Hardware(8, 8, stages=1, latency_cycles=1, setup_cycles=0, bytes_per_cycle=16),
    Hardware(3, 5, stages=2, element_bytes=2, latency_cycles=33),
    Hardware(4, 6, stages=1, read_clock=True, setup_cycles=9),
    Hardware(4, 8, pipelined=True, stages=2, bytes_per_cycle=4, latency_cycles=23),
    Hardware(8, 4, pipelined=True, stages=2, bytes_per_cycle=2, setup_cycles=1),
    Hardware(5, 5, pipelined=True, stages=2, read_clock=True, bytes_per_cycle=32),
    Hardware(4, 4, "weight_stationary", burst_bytes=64),
    Hardware(8, 4, "weight_stationary", pipelined=True, stages=3, bytes_per_cycle=16),
    Hardware(4, 8, "weight_stationary", pipelined=True, stages=3, double_buffered=True),
    Hardware(5, 3, "input_stationary", latency_cycles=3),
    Hardware(8, 8, "input_stationary", stages=1, double_buffered=True, element_bytes=2),
)
"""Machines of the comparison; scratchpads with ports enough for every master."""


def programs(machines: Sequence[Hardware], count: int) -> Iterator[Outcome]:
    """``count`` random programs, spread evenly over the machines."""
    for number in range(count):
        yield judge(random_case(number, machines[number % len(machines)]))


def array_clocks(hardware: Hardware, m: int, k: int, n: int) -> int:
    """Clocks our RTL array takes for one product ``m x k x n``."""
    outcome = judge(as_case(plain_product(m, k, n, hardware), hardware))
    if not outcome.exact:
        raise StowplanError(f"{hardware.name}: {m}x{k}x{n} differs from the simulator")
    (compute,) = (
        i
        for i, command in enumerate(outcome.case.tiles.program.commands)
        if command.kind is CommandKind.COMPUTE
    )
    return outcome.trace.end[compute] - outcome.trace.start[compute]


Table = list[tuple[str | int, ...]]


def program_table(outcomes: Sequence[Outcome]) -> Table:
    """One row per machine."""
    found: Table = []
    for hardware in dict.fromkeys(outcome.case.hardware for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.case.hardware == hardware]
        commands = sum(len(outcome.trace.start) for outcome in own)
        found.append(
            (
                hardware.name,
                f"{hardware.bytes_per_cycle} B, {hardware.latency_cycles}, {hardware.setup_cycles}",
                len(own),
                commands,
                sum(outcome.trace.cycles for outcome in own),
                sum(outcome.overlapped for outcome in own),
                sum(not outcome.differing for outcome in own),
                commands - sum(len(outcome.differing) for outcome in own),
                sum(not outcome.wrong for outcome in own),
            )
        )
    return found


PROGRAM_HEAD = (
    *("array", "DMA: bytes per cycle, latency, set-up", "programs", "commands", "cycles"),
    *("of them overlapped", "programs exact", "commands exact", "numbers right"),
)


def stationary_outputs(rows: Sequence[dict[str, str]]) -> Table:
    """Published clocks of an open output-stationary array beside those of ours."""
    found: Table = []
    for row in rows:
        height, width, terms, folds = (int(row[key]) for key in ("R", "C", "K", "tiles"))
        hardware = Hardware(height, width, pipelined=True, stages=2, scratchpad_bytes=32768)
        ours, published = array_clocks(hardware, height * folds, terms, width), row["total_cycles"]
        mark = "ok" if ours == int(published) else "differs"
        found.append((f"{height}x{width}", terms, folds, int(published), ours, mark))
    return found


# Published clocks of an open weight-stationary array, loads left out: (side, terms, clocks).
WEIGHT_STATIONARY = ((8, 8, 46), (8, 32, 184), (16, 64, 376))


def stationary_weights() -> Table:
    """Published clocks of an open weight-stationary array beside those of ours."""
    found: Table = []
    for side, terms, published in WEIGHT_STATIONARY:
        hardware = Hardware(
            side, side, "weight_stationary", pipelined=True, stages=3, scratchpad_bytes=32768
        )
        loads = terms // side * side
        ours = array_clocks(hardware, side, terms, side) - loads
        mark = "ok" if ours == published else "differs"
        found.append((f"{side}x{side}", terms, terms // side, published, ours, mark))
    return found


LAW_HEAD = ("array", "terms", "folds", "published clocks", "our RTL", "")


def markdown(head: Sequence[str], rows: Table) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="reference data")
    parser.add_argument("--programs", type=int, default=200)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    if not rtl_machine.available():
        print(f"benchmarks.rtl {rtl_machine.MISSING}", file=sys.stderr)
        return 2
    text, ok = report(options.folder, options.programs)
    print(text)
    if options.write:
        write_atomic(RESULTS, text.encode())
    return 0 if ok else 1


def report(folder: Path | None, count: int) -> tuple[str, bool]:
    """The page, and whether every program agreed."""
    begun, used = time.perf_counter(), time.process_time()
    outcomes = list(programs(MACHINES, count))
    wall, processor = time.perf_counter() - begun, time.process_time() - used
    exact = sum(outcome.exact for outcome in outcomes)
    parts = [
        "# Whole programs on our own RTL",
        "`python -m benchmarks.rtl FOLDER --write`",
        f"{exact} of {count} random programs agree with the simulator in the first and last cycle "
        f"of every command and with NumPy in every number ({wall:.0f} s, builds not yet cached "
        f"included; {processor:.0f} s of processor time without Verilator).",
        markdown(PROGRAM_HEAD, program_table(outcomes)),
        *(_miss(outcome) for outcome in outcomes if not outcome.exact),
    ]
    parts += ["## Stationary weights", markdown(LAW_HEAD, stationary_weights())]
    if folder:
        with (folder / "rtl_systolic_os.csv").open(newline="") as file:
            table = stationary_outputs(list(csv.DictReader(file)))
        parts += ["## Stationary outputs", markdown(LAW_HEAD, table)]
    rows = [deviation_row(deviation, max(1, count // 4)) for deviation in DEVIATIONS]
    parts += ["## What the model leaves out", markdown(DEVIATION_HEAD, rows)]
    return "\n\n".join(part.rstrip() for part in parts) + "\n", exact == count


def _miss(outcome: Outcome) -> str:
    case = outcome.case
    return (
        f"- {case.hardware.name}, {case.problem.text} ({case.planner}): "
        f"{outcome.trace.cycles} clocks, ours {outcome.timing.cycles}; {len(outcome.differing)} "
        f"commands differ; wrong: {', '.join(outcome.wrong) or 'none'}"
    )


if __name__ == "__main__":
    sys.exit(main())
