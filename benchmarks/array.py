"""Array cycles beside those of SCALE-Sim, of RTL under Verilator and of ONNXim.

    python -m benchmarks.array /path/to/reference [--write]

The folder holds ``scalesim.csv``, ``rtl_systolic_os.csv`` and ``onnxim_gemm.csv``: counts that the
public programs reported. ``--write`` puts every row into ``benchmarks/results/array.md`` and the
summaries into the blocks of ``docs/validation.md``.
"""

import argparse
import csv
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from benchmarks.array_onnxim import Core, gemm_cycles
from stowplan.ir.files import write_atomic
from stowplan.simulator.scalesim_memory import ScaleSimMemory, stall_cycles
from stowplan.targets.gemm_cost import Gemm, fold_cycles, gemm_cost
from stowplan.targets.target import Array, Dataflow

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "array.md"
PAGE = ROOT / "docs" / "validation.md"
DATAFLOWS: dict[str, Dataflow] = {name[0] + "s": name for name in get_args(Dataflow)}
BUFFERS = ("ifmap", "filter", "ofmap")
TOLERANCE = 0.05
# Clocks of the weight-stationary RTL: (side, terms, clocks), operands square, loads left out.
WEIGHT_STATIONARY = ((8, 8, 46), (8, 32, 184), (16, 64, 376))

Row = dict[str, str]
Cell = str | int | float


@dataclass(frozen=True, slots=True)
class Section:
    """One comparison.

    Attributes:
        name: block of the page it belongs to.
        title: heading.
        head, rows: all rows of the comparison.
        summary_head, summary: what the page shows of them.
        ok, missed: rows that meet the goal, and those that do not.
    """

    name: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    summary_head: tuple[str, ...]
    summary: tuple[tuple[Cell, ...], ...]
    ok: int
    missed: int


def scale_sim(rows: Sequence[Row]) -> Section:
    """Every row's array part: reported total less reported stalls, which is one cycle short."""
    table: list[tuple[Cell, ...]] = []
    groups: dict[str, list[bool]] = {}
    for row in rows:
        ours = _scale_sim_cycles(row)
        stalls = int(row["stall_cycles"])
        reported = int(row["total_cycles"]) - stalls
        exact = reported == ours - 1
        corrected = " (corrected)" if row["simulator"].endswith("stallfix") else ""
        kind = "fractional convolution" if _is_fractional(row) else row["kind"]
        group = f"{kind}, {'stalls' + corrected if stalls else 'no stalls'}"
        groups.setdefault(group, []).append(exact)
        shape = f"{row['M']}x{row['K']}x{row['N']}"
        array = f"{row['array_rows']}x{row['array_cols']} {row['dataflow']}"
        table.append((row["layer"], shape, array, reported, stalls, ours - 1, _mark(exact)))
    summary = [(name, len(marks), sum(marks)) for name, marks in sorted(groups.items())]
    ok = sum(sum(marks) for marks in groups.values())
    return Section(
        "scale-sim",
        "SCALE-Sim 3.0.0",
        ("layer", "m x k x n", "array", "reported less stalls", "stalls", "closed form - 1", ""),
        tuple(table),
        ("rows", "count", "array cycles exact"),
        tuple(summary),
        ok,
        len(table) - ok,
    )


def scale_sim_stalls(rows: Sequence[Row]) -> Section:
    """Stalls of every row with a bandwidth, as published and with the double count removed."""
    table: list[tuple[Cell, ...]] = []
    groups: dict[tuple[str, str], list[bool]] = {}
    for row in rows:
        if row["bw_mode"] != "USER":
            continue
        reported, ours = int(row["stall_cycles"]), _scale_sim_stalls(row)
        array = f"{row['array_rows']}x{row['array_cols']} {row['dataflow']}"
        buffers = f"{row['ifmap_kb']} KiB, {row['ifmap_bw']} per cycle"
        good = reported == ours
        program = "corrected" if row["simulator"].endswith("stallfix") else "as published"
        shape = f"{row['M']}x{row['K']}x{row['N']}"
        table.append((shape, array, buffers, program, reported, ours, _mark(good)))
        groups.setdefault((program, row["dataflow"]), []).append(good)
    summary = [
        (program, flow, len(marks), sum(marks)) for (program, flow), marks in sorted(groups.items())
    ]
    ok = sum(row[-1] == "ok" for row in table)
    return Section(
        "scale-sim-stalls",
        "SCALE-Sim's stalls",
        ("m x k x n", "array", "each buffer", "program", "stalls", "model", ""),
        tuple(table),
        ("stalls", "dataflow", "rows", "exact"),
        tuple(summary),
        ok,
        len(table) - ok,
    )


def rtl(rows: Sequence[Row]) -> Section:
    """Back-to-back folds of the output-stationary RTL, and the weight-stationary RTL."""
    table: list[tuple[Cell, ...]] = []
    for row in rows:
        height, width, terms, folds = (int(row[key]) for key in ("R", "C", "K", "tiles"))
        array = Array(rows=height, cols=width, fold_mode="pipelined")
        found, clocks = fold_cycles(array, folds, terms), int(row["total_cycles"])
        place = f"{height}x{width} outputs"
        table.append((place, terms, folds, clocks, found, _mark(found == clocks)))
    for side, terms, clocks in WEIGHT_STATIONARY:
        array = Array(rows=side, cols=side, dataflow="weight_stationary", fold_mode="pipelined")
        folds = terms // side
        found = gemm_cost(Gemm(side, terms, side), array).cycles - folds * side
        place = f"{side}x{side} weights, loads left out"
        table.append((place, terms, folds, clocks, found, _mark(found == clocks)))
    ok = sum(row[-1] == "ok" for row in table)
    misses = [row for row in table if row[-1] != "ok"]
    groups = [("stationary outputs", [r for r in table if "outputs" in str(r[0])])]
    groups += [("stationary weights", [r for r in table if "weights" in str(r[0])])]
    head = ("array", "terms", "folds", "RTL clocks", "closed form", "")
    summary: list[tuple[Cell, ...]] = [
        (name, len(found), sum(row[-1] == "ok" for row in found)) for name, found in groups
    ]
    summary += [
        (f"miss: {place}, {terms} terms, {folds} folds: {clocks} clocks, ours {found}", 1, 0)
        for place, terms, folds, clocks, found, _ in misses
    ]
    return Section(
        "rtl",
        "RTL under Verilator",
        head,
        tuple(table),
        ("rows", "count", "exact"),
        tuple(summary),
        ok,
        len(misses),
    )


def onnxim(rows: Sequence[Row]) -> Section:
    """Whole GEMMs on ONNXim's core and configuration, memory included."""
    table: list[tuple[Cell, ...]] = []
    for row in rows:
        core = Core(
            side=int(row["array"]),
            scratchpad_bytes=int(row["spad_kb"]) * 1024,
            accumulator_bytes=int(row["accum_kb"]) * 1024,
            element_bytes=int(row["precision_bytes"]),
        )
        ours = gemm_cycles(int(row["M"]), int(row["K"]), int(row["N"]), core)
        reported = int(row["total_cycles"])
        error = (ours - reported) / reported
        shape = f"{row['M']}x{row['K']}x{row['N']}"
        place = f"{core.side}x{core.side}"
        mark = _mark(abs(error) <= TOLERANCE)
        table.append((shape, place, reported, ours, f"{100 * error:+.2f} %", mark))
    head = ("m x k x n", "core", "ONNXim", "model", "difference", "")
    ok = sum(row[-1] == "ok" for row in table)
    rows_of = tuple(table)
    return Section("onnxim", "ONNXim", head, rows_of, head, rows_of, ok, len(table) - ok)


def _scale_sim_cycles(row: Row) -> int:
    array = Array(
        rows=int(row["array_rows"]),
        cols=int(row["array_cols"]),
        dataflow=DATAFLOWS[row["dataflow"]],
    )
    return gemm_cost(Gemm(int(row["M"]), int(row["K"]), int(row["N"])), array).cycles


def _scale_sim_stalls(row: Row) -> int:
    array = Array(
        rows=int(row["array_rows"]),
        cols=int(row["array_cols"]),
        dataflow=DATAFLOWS[row["dataflow"]],
    )
    left, right, result = (int(float(row[f"{name}_kb"])) * 1024 for name in BUFFERS)
    rates = [int(float(row[f"{name}_bw"])) for name in BUFFERS]
    memory = ScaleSimMemory(
        (left, right, result),
        (rates[0], rates[1], rates[2]),
        counts_twice=not row["simulator"].endswith("stallfix"),
    )
    return stall_cycles(Gemm(int(row["M"]), int(row["K"]), int(row["N"])), array, memory)


def _is_fractional(row: Row) -> bool:
    """Whether the stride does not divide what the kernel slides over, so sizes get rounded."""
    if row["kind"] != "conv":
        return False
    sides = ((row["conv_ih"], row["conv_fh"]), (row["conv_iw"], row["conv_fw"]))
    stride = float(row["conv_stride"])
    return any((float(extent) - float(kernel)) % stride for extent, kernel in sides)


def _mark(good: bool) -> str:
    return "ok" if good else "miss"


def _table(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    body = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *body]) + "\n"


def _verdict(section: Section) -> str:
    if not section.ok + section.missed:
        return ""
    return f"{section.ok} ok, {section.missed} miss.\n\n"


def report(sections: Sequence[Section]) -> str:
    """Every row of every comparison, in Markdown."""
    parts = [
        f"## {section.title}\n\n{_verdict(section)}{_table(section.head, section.rows)}"
        for section in sections
    ]
    return "# Array cycles beside public simulators and RTL\n\n" + "\n".join(parts)


def filled(page: str, sections: Sequence[Section]) -> str:
    """``page`` with the block of each section replaced by its summary."""
    for section in sections:
        begin, end = f"<!-- benchmarks.array: {section.name} -->\n", "<!-- end -->"
        before, found, rest = page.partition(begin)
        if not found:
            sys.exit(f"{PAGE}: no block {begin.strip()}")
        _, _, after = rest.partition(end)
        summary = _table(section.summary_head, section.summary)
        page = f"{before}{begin}\n{_verdict(section)}{summary}\n{end}{after}"
    return page


def _read(folder: Path, name: str) -> list[Row]:
    try:
        with (folder / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        sys.exit(f"{folder / name}: {error.strerror}")


def main() -> None:
    """Print the comparison and, if asked, store it."""
    parser = argparse.ArgumentParser(description="Compare array cycles with public simulators.")
    parser.add_argument("reference", type=Path, help="folder of the reference counts")
    parser.add_argument("--write", action="store_true", help="store tables in the repository")
    arguments = parser.parse_args()
    scale_rows = _read(arguments.reference, "scalesim.csv")
    sections = (
        scale_sim(scale_rows),
        scale_sim_stalls(scale_rows),
        rtl(_read(arguments.reference, "rtl_systolic_os.csv")),
        onnxim(_read(arguments.reference, "onnxim_gemm.csv")),
    )
    print(report(sections))
    for section in sections:
        print(f"{section.title}: {_verdict(section).strip() or 'no goal'}")
    if arguments.write:
        write_atomic(RESULTS, report(sections).encode())
        write_atomic(PAGE, filled(PAGE.read_text("utf-8"), sections).encode())


if __name__ == "__main__":
    main()
