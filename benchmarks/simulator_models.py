"""Every model of a folder simulated in both DRAM modes, with its full report.

    python -m benchmarks.simulator_models FOLDER... [--precision int8] [--out rows.jsonl]

Each model is imported, planned greedily, lowered and simulated; the report of each run is built,
and its laws are checked: every queue's cycles add up, and DRAM serves every access asked for.
Symbolic dimensions whose name has "seq" are bound to 128, others to 1. Seconds are processor time
of the engine alone, warm.
"""

import argparse
import re
from pathlib import Path
from time import process_time

from rich.console import Console
from rich.table import Table

from benchmarks.rows import append_row, models_under
from stowplan.api import Compiled, plan_problem, prepare
from stowplan.errors import InternalError, StowplanError
from stowplan.ir.program import Program
from stowplan.passes.planner import PlanOptions
from stowplan.recipe import Recipe
from stowplan.report.activity import activity_of
from stowplan.report.build import build_report
from stowplan.report.html import render_html
from stowplan.simulator.accesses import segments_of
from stowplan.simulator.engine import run
from stowplan.simulator.machine import machine_of
from stowplan.simulator.result import SimResult, result_of
from stowplan.targets.load import load_target
from stowplan.targets.target import DramMode

MODES: tuple[DramMode, ...] = ("bandwidth", "full")
COLUMNS = (
    *("model", "operators", "commands", "MB off chip", "cycles", "run s", "full: cycles"),
    *("DRAM clocks", "row hits", "bus", "full: run s", "M clocks/s", "report KB"),
)


def main() -> None:
    """Print one row per model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--target", default="edge-npu")
    parser.add_argument("--precision", default=None)
    parser.add_argument("--only", default="", help="part of the file name")
    parser.add_argument("--out", type=Path, default=None, help="JSON lines, one per model")
    arguments = parser.parse_args()
    console = Console(width=200)
    table = Table(*COLUMNS)
    for mode in MODES:
        run(Program(()), machine_of(load_target(arguments.target), mode))
    for path in models_under(arguments.folders):
        if arguments.only not in path.name:
            continue
        row: dict[str, object] = {"model": path.stem}
        try:
            row |= measure(_compile(path, arguments.target, arguments.precision, {}))
        except StowplanError as error:
            row["operators"] = f"error: {str(error)[:100]}"
        table.add_row(*(str(row.get(column, "")) for column in COLUMNS))
        append_row(arguments.out, row)
    console.print(table)


def measure(compiled: Compiled) -> dict[str, object]:
    """Both modes of one model."""
    program = compiled.program
    row: dict[str, object] = {
        "operators": len(compiled.plan.order),
        "commands": len(program.commands),
    }
    for mode in MODES:
        machine = machine_of(compiled.target, mode)
        began = process_time()
        timing = run(program, machine)
        spent = process_time() - began
        result = result_of(program, compiled.target, machine, timing)
        page = _page(compiled, result)
        if any(sum(cycles for _, cycles in e.causes) != result.cycles for e in result.engines):
            raise InternalError("the cycles of a queue do not add up")
        if result.dram is None or machine.dram is None:
            moved = f"{result.bytes.total / 1e6:.1f}"
            row |= {"MB off chip": moved, "cycles": result.cycles, "run s": round(spent, 4)}
            continue
        counts = result.dram.counts
        asked = sum(n for c in program.commands for _, n, _ in segments_of(c, machine.dram))
        if counts.reads + counts.writes + counts.merged + counts.forwarded != asked:
            raise InternalError(f"{asked} accesses were asked for, {counts}")
        row |= {
            "full: cycles": timing.cycles,
            "DRAM clocks": timing.dram_clocks,
            "row hits": f"{result.dram.hit_share:.1%}",
            "bus": f"{result.dram.bus_share:.1%}",
            "full: run s": round(spent, 3),
            "M clocks/s": round(timing.dram_clocks / spent / 1e6, 1),
            "report KB": len(page) // 1024,
        }
    return row


def _page(compiled: Compiled, result: SimResult) -> str:
    """The HTML report of a run."""
    activity = activity_of(compiled.program, result)
    subject = compiled.problem.subject(compiled.wall_s)
    return render_html(build_report(subject, compiled.plan, activity, None))


def _compile(path: Path, target: str, precision: str | None, dims: dict[str, int]) -> Compiled:
    recipe = Recipe(
        target=target,
        overrides=(),
        dims=tuple(sorted(dims.items())),
        precision=precision,
        passes=None,
        tile="auto",
        track_weights=False,
    )
    try:
        return plan_problem(prepare(path, recipe), "greedy", PlanOptions())
    except StowplanError as error:
        wanted = re.findall(r"--dim (\S+?)=", str(error))
        missing = {name: 128 if "seq" in name else 1 for name in wanted if name not in dims}
        if not missing:
            raise
        return _compile(path, target, precision, dims | missing)


if __name__ == "__main__":
    main()
