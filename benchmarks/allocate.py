"""The allocator: contest instances, perfect packings, real models and very many buffers.

    python -m benchmarks.allocate FOLDER [--models FOLDER] [--time-limit 60] [--no-cold]
        [--out results.md]

``FOLDER`` holds tables ``NAME.CAPACITY.csv``. Times are of one process on one core, kernels warm;
processor seconds beside wall seconds, as the machine may be shared.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from benchmarks.allocate_instances import Buffers, crowd, of_model, of_table, perfect
from stowplan.errors import StowplanError
from stowplan.ilp.allocate import Allocation, allocate

MINIMALLOC_S = {
    "A": 4.71, "B": 4.04, "C": 0.88, "D": 2.91, "E": 3.82, "F": 5.55,
    "G": 1.24, "H": 1.70, "I": 3.40, "J": 1.13, "K": 0.64,
}  # fmt: skip
"""Wall seconds of the C++ original, release build, one core of the same kind of machine."""

PERFECT = ((30, 1.0), (60, 1.0), (100, 1.0), (200, 0.95), (200, 0.9), (400, 0.9))
WALL_FACTOR = 50
CROWDS = (10_000, 100_000, 1_000_000)
COLD = "from benchmarks.allocate import warm; warm()"


@dataclass(frozen=True, slots=True)
class Timed:
    """An allocation with its wall and processor seconds."""

    found: Allocation
    wall_s: float
    cpu_s: float


def main() -> None:
    """Run everything and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=Path, default=None)
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--crowds", type=int, nargs="*", default=CROWDS)
    parser.add_argument("--perfect", type=int, default=len(PERFECT), help="perfect packings to try")
    parser.add_argument("--cold", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, default=None)
    text = "\n".join(report(parser.parse_args()))
    Console().print(text, markup=False, highlight=False)


def report(arguments: argparse.Namespace) -> list[str]:
    """Lines of the tables; written to ``--out`` after each one, if given."""
    limit: float = arguments.time_limit
    tables = sorted(arguments.folder.glob("*.csv"))
    warm()
    lines = [*_heading(limit), *contest(tables, limit)]
    for section in (_contest_heights, _packings, _crowds, _models, _cold_start):
        _write(arguments.out, lines)
        lines += section(arguments)
    _write(arguments.out, lines)
    return lines


def _packings(arguments: argparse.Namespace) -> list[str]:
    return perfect_packings(arguments.perfect, arguments.time_limit / 6)


def _contest_heights(arguments: argparse.Namespace) -> list[str]:
    instances = map(of_table, sorted(arguments.folder.glob("*.csv")))
    return smallest(instances, "Contest instances", arguments.time_limit / 3)


def _models(arguments: argparse.Namespace) -> list[str]:
    if arguments.models is None:
        return []
    return models(arguments.models, arguments.time_limit / 3)


def _crowds(arguments: argparse.Namespace) -> list[str]:
    instances = (crowd(count, 200, 1) for count in arguments.crowds)
    return smallest(instances, "Random buffers", arguments.time_limit / 10)


def _write(out: Path | None, lines: list[str]) -> None:
    if out is not None:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def warm() -> None:
    """Load, and if need be compile, every kernel: this packing takes both exact searches."""
    timed(perfect(100, 50, 1024, 2), 10.0)
    timed(crowd(20_000, 10, 1), 0.1)


def cold() -> Timed:
    """A first call in a new process without compiled kernels."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        wall, cpu = time.perf_counter(), _children_s()
        subprocess.run([sys.executable, "-c", COLD], env=environment, check=True)
        return Timed(allocate([], [], []), time.perf_counter() - wall, _children_s() - cpu)


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _cold_start(arguments: argparse.Namespace) -> list[str]:
    if not arguments.cold:
        return []
    run = cold()
    text = f"Importing, compiling every kernel and a small packing: {run.cpu_s:.1f} s of CPU"
    return ["", "## Cold start", "", f"{text}, {run.wall_s:.1f} s of wall time."]


def timed(buffers: Buffers, limit_s: float, minimise: bool = False) -> Timed:
    """Allocate and measure, within ``limit_s`` of processor time: a busy machine changes little."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = allocate(
        buffers.lower,
        buffers.upper,
        buffers.size,
        None if minimise else buffers.capacity,
        WALL_FACTOR * limit_s,
        cancelled=lambda: time.process_time() - cpu > limit_s,
    )
    return Timed(found, time.perf_counter() - wall, time.process_time() - cpu)


def _heading(limit_s: float) -> list[str]:
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "numba"))
    return [
        "# Allocator",
        "",
        f"`python -m benchmarks.allocate {' '.join(map(_public, sys.argv[1:]))}`, "
        f"{datetime.now(UTC):%Y-%m-%d}, {_processor()}, {os.cpu_count()} shared cores, "
        f"Python {platform.python_version()}, {versions}.",
        f"One process on one core, kernels warm; at most {limit_s:g} s of CPU per decision. On "
        "shared cores wall times hold waiting, and CPU times are longer than on idle ones.",
    ]


def _public(argument: str) -> str:
    return Path(argument).name if os.sep in argument else argument


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def contest(tables: Iterable[Path], limit_s: float) -> list[str]:
    """The question of the contest: offsets below the capacity in the file's name."""
    lines = _table(
        "Contest instances under their capacity",
        ("instance", "buffers", "status", "nodes", "CPU s", "wall s", "C++ s"),
    )
    total = Timed(allocate([], [], []), 0.0, 0.0)
    reference_s = 0.0
    for path in tables:
        buffers = of_table(path)
        if buffers.capacity is None:
            continue
        run = timed(buffers, limit_s)
        total = Timed(run.found, total.wall_s + run.wall_s, total.cpu_s + run.cpu_s)
        reference = MINIMALLOC_S.get(buffers.name)
        reference_s += reference or 0.0
        lines.append(
            f"| {buffers.name} | {len(buffers.size)} | {run.found.status} | {run.found.nodes:,} | "
            f"{run.cpu_s:.2f} | {run.wall_s:.2f} | {reference or ''} |"
        )
    lines.append(f"| total | | | | {total.cpu_s:.2f} | {total.wall_s:.2f} | {reference_s:.2f} |")
    return lines


def perfect_packings(count: int, limit_s: float) -> list[str]:
    """Rectangles cut into boxes; where all are kept, only an exact packing will do."""
    instances = [perfect(n, n // 2, 1024, seed, kept) for n, kept in PERFECT for seed in (1, 2, 3)]
    lines = _table(
        "Perfect packings (name: boxes, seed, share kept)",
        ("instance", "buffers", "status", "nodes", "CPU s", "wall s"),
    )
    for buffers in instances[: 3 * count]:
        run = timed(buffers, limit_s)
        lines.append(
            f"| {buffers.name} | {len(buffers.size)} | {run.found.status} | {run.found.nodes:,} | "
            f"{run.cpu_s:.2f} | {run.wall_s:.2f} |"
        )
    return lines


def models(folder: Path, limit_s: float) -> list[str]:
    """Smallest memory for the activations of every model, in its own order."""
    instances = []
    for path in sorted(folder.rglob("*.onnx")):
        try:
            instances.append(of_model(path))
        except StowplanError as error:
            print(f"{path.name}: {error}", file=sys.stderr)
    return smallest(instances, "Activations of models", limit_s)


def smallest(instances: Iterable[Buffers], title: str, limit_s: float) -> list[str]:
    """Smallest memories, with what is proved about them."""
    lines = _table(
        f"{title}: smallest memory, {limit_s:g} s of CPU each",
        ("instance", "buffers", "height", "bound", "gap %", "status", "CPU s", "wall s"),
    )
    for buffers in instances:
        run = timed(buffers, limit_s, minimise=True)
        height, bound = run.found.height, run.found.lower_bound
        lines.append(
            f"| {buffers.name} | {len(buffers.size)} | {height:,} | {bound:,} | "
            f"{100 * (height - bound) / max(height, 1):.2f} | {run.found.status} | "
            f"{run.cpu_s:.2f} | {run.wall_s:.2f} |"
        )
    return lines


def _table(title: str, columns: tuple[str, ...]) -> list[str]:
    return ["", f"## {title}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]


if __name__ == "__main__":
    main()
