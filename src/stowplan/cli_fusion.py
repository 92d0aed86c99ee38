"""``stowplan compile`` on an instance of scheduling with limited fast memory (contest JSON)."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stowplan.cli_options import Format

if TYPE_CHECKING:
    from stowplan.passes.fusion.search import FusionSchedule

SOLUTION_FILE = "solution.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionSummary:
    """The figures of one schedule.

    Attributes:
        status: always ``ok``; an operator that does not fit is an error.
        model: the instance file.
        planner: ``fusion``.
        operators: operators of the instance.
        groups: groups of the schedule.
        objective: total latency in the instance's time units.
        bound: lower bound on it.
        gap: (objective - bound) / objective.
        proven: the bound meets the objective.
        checked: the walk of every step reproduces the latency and found no rule broken.
        wall_s: seconds.
        solution: file written, if any.
    """

    status: str
    model: str
    planner: str
    operators: int
    groups: int
    objective: float
    bound: float
    gap: float
    proven: bool
    checked: bool
    wall_s: float
    solution: str | None


def is_instance_file(model: str) -> bool:
    """Whether ``model`` names an instance of this problem."""
    from stowplan.passes.fusion.instance import is_fusion_instance

    path = Path(model)
    return path.suffix == ".json" and path.is_file() and is_fusion_instance(path.read_bytes())


def compile_instance(
    model: str, out: Path | None, time_limit_s: float, seed: int, output: Format
) -> None:
    """Schedule the instance, write the solution and print the summary."""
    from stowplan.cli_output import print_result
    from stowplan.cli_progress import LiveLine
    from stowplan.interrupt import Interrupt
    from stowplan.passes.fusion.instance import load_instance, save_solution
    from stowplan.passes.fusion.search import plan_fusion
    from stowplan.passes.planner import Progress

    instance = load_instance(Path(model))
    with LiveLine() as live, Interrupt() as interrupt:
        schedule = plan_fusion(
            instance,
            time_limit_s,
            seed,
            on_progress=lambda best, bound, elapsed_s: live.update(
                Progress("annealing", round(best), math.floor(bound), elapsed_s)
            ),
            cancelled=interrupt.requested,
        )
    solution = None if out is None else out / SOLUTION_FILE
    if solution is not None:
        save_solution(solution, schedule.steps)
    summary = _summary(model, instance.operators, schedule, solution)
    print_result(output, summary, _lines(summary))


def _summary(
    model: str, operators: int, schedule: "FusionSchedule", solution: Path | None
) -> FusionSummary:
    return FusionSummary(
        status="ok",
        model=model,
        planner="fusion",
        operators=operators,
        groups=len(schedule.steps),
        objective=schedule.latency,
        bound=schedule.lower_bound,
        gap=schedule.gap,
        proven=schedule.proven,
        checked=True,
        wall_s=schedule.wall_s,
        solution=None if solution is None else str(solution),
    )


def _lines(summary: FusionSummary) -> list[str]:
    status = "proven optimal" if summary.proven else f"gap {summary.gap:.4%}"
    lines = [
        f"{summary.model}: {summary.operators} operators in limited fast memory",
        f"latency      {summary.objective:,.1f} time units in {summary.groups} groups",
        f"lower bound  {summary.bound:,.1f} ({status})",
        f"planner      {summary.planner} in {summary.wall_s:.1f} s; every step walked: yes",
    ]
    return lines if summary.solution is None else [*lines, f"solution     {summary.solution}"]
