"""Every model of a folder, compiled by several planners: the table of a release.

    python -m benchmarks.models FOLDER... [--planners greedy,exact] [--capacity 256KiB]
        [--track-weights] [--prove] [--out results.md]

Each row is a plan that passed the checker and was simulated, or the reason there is none. Symbolic
dimensions whose name has "seq" are bound to 128, others to 1.
"""

import argparse
import re
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

import stowplan
from benchmarks.rows import append_row, models_under
from stowplan.errors import InfeasiblePlanError, StowplanError

COLUMNS = (
    "model",
    "operators",
    "planner",
    "peak",
    "off-chip",
    "non-compulsory",
    "bound",
    "gap",
    "cycles",
    "plan s",
    "wall s",
    "proof",
)


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--planners", default="greedy,exact")
    parser.add_argument("--target", default="edge-npu")
    parser.add_argument("--capacity", default=None, help="scratchpad size, as 256KiB")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--track-weights", action="store_true")
    parser.add_argument("--prove", action="store_true")
    parser.add_argument("--time-limit", type=float, default=10.0)
    parser.add_argument("--only", default="", help="part of the file name")
    parser.add_argument("--out", type=Path, default=None, help="JSON lines, one per row")
    arguments = parser.parse_args()
    table = Table(*COLUMNS)
    for path in models_under(arguments.folders):
        if arguments.only not in path.name:
            continue
        for planner in arguments.planners.split(","):
            row = _row(path, planner, arguments)
            table.add_row(*(str(row.get(column, "")) for column in COLUMNS))
            append_row(arguments.out, row)
    Console(width=200).print(table)


def _row(path: Path, planner: str, arguments: argparse.Namespace) -> dict[str, object]:
    began = time.perf_counter()
    row: dict[str, object] = {"model": path.stem, "planner": planner}
    overrides = [f"scratchpad.size={arguments.capacity}"] if arguments.capacity else []
    try:
        compiled = _compile(path, planner, arguments, overrides, {})
    except InfeasiblePlanError as error:
        misfit = error.misfit
        row["off-chip"] = "does not fit"
        row["non-compulsory"] = f"{misfit.operator}: needs {misfit.smallest_capacity_bytes:,}"
        row["wall s"] = round(time.perf_counter() - began, 2)
        return row
    except StowplanError as error:
        row["off-chip"] = f"error: {str(error)[:120]}"
        return row
    summary = compiled.summary
    row |= {
        "operators": summary.operators,
        "peak": summary.peak_bytes,
        "off-chip": summary.offchip_bytes,
        "non-compulsory": summary.noncompulsory_bytes,
        "bound": summary.bound,
        "gap": f"{summary.gap:.2%}" if summary.gap is not None else "",
        "cycles": summary.cycles,
        "plan s": round(summary.plan_s, 2) if summary.plan_s is not None else "",
        "wall s": round(time.perf_counter() - began, 2),
    }
    if arguments.prove:
        proof = compiled.prove()
        row["proof"] = "identical" if proof.passed else f"FAILED {proof.faults[:1]}"
    return row


def _compile(
    path: Path,
    planner: str,
    arguments: argparse.Namespace,
    overrides: list[str],
    dims: dict[str, int],
) -> stowplan.Compiled:
    try:
        return stowplan.compile(
            path,
            arguments.target,
            planner,
            precision=arguments.precision or None,
            dims=dims,
            overrides=overrides,
            track_weights=arguments.track_weights,
            time_limit_s=arguments.time_limit,
        )
    except StowplanError as error:
        wanted = re.findall(r"--dim (\S+?)=", str(error))
        missing = {name: 128 if "seq" in name else 1 for name in wanted if name not in dims}
        if not missing:
            raise
        return _compile(path, planner, arguments, overrides, dims | missing)


if __name__ == "__main__":
    main()
