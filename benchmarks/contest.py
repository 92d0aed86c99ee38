"""Schedules for limited fast memory against reference schedules of the MLSys 2026 contest.

    python -m benchmarks.contest FOLDER [--scale 1.0]

``FOLDER`` holds ``instances/*.json`` and ``reference/*.solution.json``. Each reference schedule is
first evaluated by our evaluator, which must reproduce every latency the file states; then each
instance is planned within the contest's time limit for its size, times ``--scale``.
"""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from stowplan.passes.fusion.evaluate import evaluate
from stowplan.passes.fusion.instance import FusionInstance, load_instance, load_solution
from stowplan.passes.fusion.search import plan_fusion

TIME_LIMITS_S = ((8, 2), (24, 5), (48, 15), (80, 30), (120, 60))
"""Contest limits by number of operators; 120 s above the last."""


def time_limit_s(instance: FusionInstance) -> float:
    """The contest's limit for an instance of this size."""
    return next((s for most, s in TIME_LIMITS_S if instance.operators <= most), 120)


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    table = Table(
        "instance", "operators", "reference", "ours", "ratio", "bound", "gap", "groups", "seconds"
    )
    for path in sorted((arguments.folder / "instances").glob("*.json"), key=_number):
        instance = load_instance(path)
        reference = _reference(instance, arguments.folder / "reference", path.stem)
        schedule = plan_fusion(
            instance, time_limit_s(instance) * arguments.scale, seed=arguments.seed
        )
        table.add_row(
            path.stem,
            str(instance.operators),
            "" if reference is None else f"{reference:,.1f}",
            f"{schedule.latency:,.1f}",
            "" if reference is None else f"{schedule.latency / reference:.5f}",
            f"{schedule.lower_bound:,.1f}",
            f"{schedule.gap:.4%}",
            str(len(schedule.steps)),
            f"{schedule.wall_s:.1f}",
        )
    Console(width=120).print(table)


def _number(path: Path) -> tuple[int, str]:
    digits = path.stem.rpartition("-")[2]
    return (int(digits) if digits.isdigit() else -1, path.stem)


def _reference(instance: FusionInstance, folder: Path, stem: str) -> float | None:
    """Latency of the reference schedule, checked entry by entry."""
    path = folder / f"{stem}.solution.json"
    if not path.exists():
        return None
    steps = load_solution(path)
    for step, latency in zip(steps, evaluate(instance, steps), strict=True):
        if abs(latency - step.latency) > 1e-9 * latency:
            raise SystemExit(f"{path}: group {step.operators}: {latency}, file {step.latency}")
    return sum(step.latency for step in steps)


if __name__ == "__main__":
    main()
