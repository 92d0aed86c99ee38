"""Every model of a folder on scratchpads far smaller than its tensors.

    python -m benchmarks.tiling FOLDER... [--sizes 64KiB,256KiB,1MiB,8MiB] [--weights
        streamed,tracked] [--precisions int8,own] [--targets edge-npu] [--prove]
        [--rows rows.jsonl] [--table results.md]

A row is a plan that passed the checker, or the reason there is none. Seconds are processor time of
everything from reading the model to the checked plan. Rows already in ``--rows`` are not run again.
Symbolic dimensions whose name has "seq" are bound to 128, others to 1.
"""

import argparse
import re
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from types import FrameType

import stowplan
from benchmarks.rows import append_row, models_under, read_rows
from stowplan.errors import InfeasiblePlanError, StowplanError
from stowplan.ir.traffic import peak_bytes, traffic

SEQUENCE = 128
"""Tokens bound to symbolic sequence dimensions."""


@dataclass(frozen=True, slots=True)
class Case:
    """One compilation.

    Attributes:
        model: path of the model.
        target: name of the target.
        size: scratchpad size; empty keeps the target's own.
        weights: ``streamed`` or ``tracked``.
        precision: ``int8``, or ``own`` for the model's element types.
    """

    model: str
    target: str
    size: str
    weights: str
    precision: str


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a case.

    Attributes:
        case: what was compiled.
        status: ``ok``, or why there is no plan.
        operators: operators before tiling.
        tiles: operators of the planned graph.
        peak_bytes: highest scratchpad byte used.
        offchip_bytes: all bytes that cross the off-chip boundary.
        least_bytes: inputs, weights and outputs once.
        seconds: processor time.
        proof: ``identical``, how the proof failed, or empty when it was not run.
    """

    case: Case
    status: str
    operators: int = 0
    tiles: int = 0
    peak_bytes: int = 0
    offchip_bytes: int = 0
    least_bytes: int = 0
    seconds: float = 0.0
    proof: str = ""


class Slow(Exception):
    """A case took more processor time than it is given."""


def main() -> None:
    """Run the sweep."""
    arguments = _arguments()
    known = _read(arguments.rows)
    for case in _cases(arguments):
        if case not in known:
            known[case] = _run(case, arguments.prove, arguments.cpu_limit)
            _append(arguments.rows, known[case])
    if arguments.table is not None:
        arguments.table.write_text("\n".join(table(known)) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", help="folders or model files")
    parser.add_argument("--sizes", default="64KiB,256KiB,1MiB,8MiB")
    parser.add_argument("--weights", default="streamed,tracked")
    parser.add_argument("--precisions", default="int8,own")
    parser.add_argument("--targets", default="edge-npu")
    parser.add_argument("--only", default="", help="part of the file name")
    parser.add_argument("--prove", action="store_true", help="run every plan on real numbers")
    parser.add_argument("--cpu-limit", type=float, default=300.0, help="seconds per case")
    parser.add_argument("--rows", type=Path, default=None, help="JSON lines, one per row")
    parser.add_argument("--table", type=Path, default=None, help="Markdown of all rows")
    return parser.parse_args()


def _cases(arguments: argparse.Namespace) -> Iterator[Case]:
    lists = (arguments.targets, arguments.sizes, arguments.weights, arguments.precisions)
    for path in models_under(arguments.folders):
        if arguments.only in path.name:
            for choice in product(*(each.split(",") for each in lists)):
                yield Case(str(path), *choice)


def _run(case: Case, prove: bool, cpu_limit_s: float) -> Row:
    began = time.process_time()
    try:
        with _limited(cpu_limit_s):
            compiled = _compile(case, {})
    except InfeasiblePlanError as error:
        misfit = error.misfit
        text = f"does not fit: {misfit.operator} needs {misfit.needed_bytes:,}"
        return Row(case, text, seconds=time.process_time() - began)
    except Slow:
        return Row(case, "too slow", seconds=time.process_time() - began)
    except StowplanError as error:
        text = f"error: {str(error).splitlines()[0][:160]}"
        return Row(case, text, seconds=time.process_time() - began)
    seconds = time.process_time() - began
    graph, plan = compiled.graph, compiled.plan
    moved = traffic(graph, plan, compiled.target.memory_spec(plan.track_weights))
    return Row(
        case=case,
        status="ok",
        operators=len({op.parent or op.name for op in graph.operators}),
        tiles=len(graph.operators),
        peak_bytes=peak_bytes(graph, plan),
        offchip_bytes=moved.offchip_bytes,
        least_bytes=moved.compulsory_bytes,
        seconds=round(seconds, 2),
        proof=_proof(compiled) if prove else "",
    )


def _proof(compiled: stowplan.Compiled) -> str:
    try:
        compiled.prove()
    except StowplanError as error:
        return f"FAILED: {str(error).splitlines()[0][:160]}"
    return "identical"


def _compile(case: Case, dims: Mapping[str, int]) -> stowplan.Compiled:
    try:
        return stowplan.compile(
            case.model,
            case.target,
            "greedy",
            precision=None if case.precision == "own" else case.precision,
            dims=dims,
            overrides=[f"scratchpad.size={case.size}"] if case.size else [],
            track_weights=case.weights == "tracked",
        )
    except StowplanError as error:
        wanted = re.findall(r"--dim (\S+?)=", str(error))
        missing = {name: SEQUENCE if "seq" in name else 1 for name in wanted if name not in dims}
        if not missing:
            raise
        return _compile(case, {**dims, **missing})


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise Slow once the block has taken this much processor time."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Slow

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _read(path: Path | None) -> dict[Case, Row]:
    found = {}
    for values in read_rows(path):
        case = Case(**values.pop("case"))
        found[case] = Row(case, **values)
    return found


def _append(path: Path | None, row: Row) -> None:
    case = row.case
    print(
        f"{Path(case.model).stem} {case.target} {case.size} {case.weights} {case.precision}: "
        f"{row.status} {row.tiles:,} tiles {row.offchip_bytes:,} B {row.seconds:.1f} s {row.proof}",
        flush=True,
    )
    append_row(path, asdict(row))


def table(rows: Mapping[Case, Row]) -> Iterator[str]:
    """Markdown lines of all rows, one table per target."""
    proved = any(row.proof for row in rows.values())
    head = ["model", "size", "weights", "precision", "status", "operators", "tiles", "peak"]
    head += ["off-chip", "off-chip / least", "s"] + ["proof"] * proved
    for target in dict.fromkeys(case.target for case in rows):
        yield from ("", f"## {target}", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|")
        for case, row in rows.items():
            if case.target == target:
                yield f"| {' | '.join(_cells(case, row) + [row.proof] * proved)} |"


def _cells(case: Case, row: Row) -> list[str]:
    cells = [Path(case.model).stem, case.size or "own", case.weights, case.precision, row.status]
    if row.status != "ok":
        return [*cells, "", "", "", "", "", f"{row.seconds:.1f}"]
    numbers = (row.operators, row.tiles, row.peak_bytes, row.offchip_bytes)
    cells += (f"{number:,}" for number in numbers)
    return [*cells, f"{row.offchip_bytes / max(1, row.least_bytes):.2f}", f"{row.seconds:.1f}"]


if __name__ == "__main__":
    main()
