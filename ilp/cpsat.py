"""Run CP-SAT so that a planner can be cancelled, with the parameters all our models share."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from math import ceil

from ortools.sat.python import cp_model

from stowplan.ilp.milp import POLL_S, Limits

SOLVER = f"CP-SAT (OR-Tools {version('ortools')})"


@dataclass(frozen=True, slots=True)
class CpOutcome:
    """What CP-SAT found.

    Attributes:
        solver: holds the values.
        found: there is a solution.
        optimal: it is proven optimal (or feasible, without an objective).
        infeasible: there is none.
        bound: proven lower bound of the minimised objective.
    """

    solver: cp_model.CpSolver
    found: bool
    optimal: bool
    infeasible: bool
    bound: int

    def value(self, variable: cp_model.LinearExprT) -> int:
        """Value of an integer variable or expression."""
        return int(self.solver.value(variable))

    def true(self, literal: cp_model.LiteralT) -> bool:
        """Value of a literal."""
        return bool(self.solver.boolean_value(literal))


def run_cpsat(
    model: cp_model.CpModel,
    limits: Limits,
    on_bound: Callable[[float], None] | None = None,
    **parameters: int | float | bool,
) -> CpOutcome:
    """Solve ``model``; ends early when cancelled or interrupted."""
    solver = cp_model.CpSolver()
    settings = solver.parameters
    settings.max_time_in_seconds = max(limits.seconds, 0.05)
    settings.num_workers = limits.workers
    settings.random_seed = limits.seed
    settings.catch_sigint_signal = False
    # Known to cut off solutions in some releases.
    settings.use_area_energetic_reasoning_in_no_overlap_2d = False
    for name, value in parameters.items():
        setattr(settings, name, value)
    if on_bound is not None:
        solver.best_bound_callback = on_bound
    status: list[object] = []
    worker = threading.Thread(target=lambda: status.append(solver.solve(model)), daemon=True)
    worker.start()
    try:
        while worker.is_alive():
            worker.join(POLL_S)
            if limits.cancelled():
                solver.stop_search()
    except KeyboardInterrupt:
        solver.stop_search()
        worker.join()
        raise
    return _outcome(solver, model, status[0])


def _outcome(solver: cp_model.CpSolver, model: cp_model.CpModel, status: object) -> CpOutcome:
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    has_bound = model.has_objective() and status != cp_model.MODEL_INVALID
    bound = solver.best_objective_bound if has_bound else 0.0
    return CpOutcome(
        solver,
        found,
        status == cp_model.OPTIMAL,
        status == cp_model.INFEASIBLE,
        ceil(bound - 1e-6) if abs(bound) < 1e18 else 0,
    )
