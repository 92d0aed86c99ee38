"""Solve a PuLP model with CBC, or with HiGHS or SCIP through OR-Tools MathOpt.

CBC runs as a process of its own, so that a cancelled planner can end it; an interrupt makes it
write the best solution it has. Bounds are those the solver states.
"""

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pulp
from ortools.math_opt.python import mathopt
from ortools.util.python.solve_interrupter import SolveInterrupter

from stowplan.errors import UsageError

SOLVERS = ("cbc", "highs", "scip")
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Limits:
    """When a solver has to stop, and what it may use."""

    seconds: float
    workers: int
    seed: int
    cancelled: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class MilpResult:
    """What a solver found.

    Attributes:
        values: variable name -> value; empty without a solution.
        bound: best dual bound of the minimised objective, None when the solver states none.
        optimal: the solver proved its solution optimal.
        infeasible: the solver proved that there is no solution.
        solver: name and version.
    """

    values: dict[str, float]
    bound: float | None
    optimal: bool
    infeasible: bool
    solver: str


def solve_milp(model: pulp.LpProblem, solver: str, limits: Limits) -> MilpResult:
    """Minimise ``model``. Raises UsageError for a solver that is not one of ``SOLVERS``."""
    if solver not in SOLVERS:
        raise UsageError(f"unknown MILP solver {solver!r}: choose one of {', '.join(SOLVERS)}")
    if solver != "cbc":
        return _mathopt(model, solver, limits)
    with tempfile.TemporaryDirectory(prefix="stowplan-milp-") as folder:
        path = Path(folder) / "model.mps"
        variables: Any = model.writeMPS(str(path), rename=1)[1]
        return _cbc(path, {short: name for name, short in variables.items()}, limits)


def _cbc(path: Path, renamed: dict[str, str], limits: Limits) -> MilpResult:
    solution, log = path.with_suffix(".sol"), path.with_suffix(".log")
    seconds = f"{max(limits.seconds, 0.1):.2f}"
    command = [pulp.PULP_CBC_CMD.pulp_cbc_path, str(path), "-sec", seconds]
    command += ["-randomCbcSeed", str(limits.seed + 1), "-timeMode", "elapsed"]
    command += ["-solve", "-solution", str(solution)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        _watch(process, limits)
    return _read_cbc(solution, log.read_text(errors="replace"), renamed)


def _watch(process: subprocess.Popen[bytes], limits: Limits) -> None:
    """Wait for CBC; end it when cancelled or long over time, softly first."""
    deadline = time.monotonic() + limits.seconds * 1.2 + 5.0
    try:
        while process.poll() is None:
            if limits.cancelled() or time.monotonic() > deadline:
                _end(process)
            time.sleep(POLL_S)
    except BaseException:
        _end(process)
        raise


def _end(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGINT)
    try:
        process.wait(timeout=2.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _read_cbc(solution: Path, log: str, renamed: dict[str, str]) -> MilpResult:
    head, rows = "", []
    if solution.exists():
        head, *rows = solution.read_text().splitlines() or [""]
    optimal = head.startswith("Optimal")
    infeasible = head.startswith(("Infeasible", "Integer infeasible"))
    found = optimal or ("objective value" in head and "No feasible solution" not in log)
    values: dict[str, float] = {}
    if found and not infeasible:
        for row in rows:
            fields = row.replace("**", "").split()
            values[renamed[fields[1]]] = float(fields[2])
    bound = None
    for line in log.splitlines():
        if line.startswith("Lower bound:") or (optimal and line.startswith("Objective value:")):
            bound = float(line.split(":")[1])
    return MilpResult(values, bound, optimal, infeasible, f"CBC (PuLP {version('pulp')})")


def _from_pulp(model: pulp.LpProblem) -> tuple[mathopt.Model, dict[str, mathopt.Variable]]:
    built = mathopt.Model(name=model.name)
    variables = {
        v.name: built.add_variable(
            lb=float("-inf") if v.lowBound is None else v.lowBound,
            ub=float("inf") if v.upBound is None else v.upBound,
            is_integer=v.cat == pulp.LpInteger,
            name=v.name,
        )
        for v in model.variables()
    }
    for row in model.constraints():
        side = -row.constant
        terms = [(variables[v.name], weight) for v, weight in row.items()]
        added = built.add_linear_constraint(
            lb=float("-inf") if row.sense == pulp.LpConstraintLE else side,
            ub=float("inf") if row.sense == pulp.LpConstraintGE else side,
            name=row.name or "",
        )
        for variable, weight in terms:
            added.set_coefficient(variable, weight)
    objective = model.objective or pulp.LpAffineExpression()
    weighted = (weight * variables[v.name] for v, weight in objective.items())
    built.minimize(sum(weighted, objective.constant))
    return built, variables


def run_mathopt(model: mathopt.Model, solver: str, limits: Limits) -> mathopt.SolveResult | None:
    """Solve; None when cancelled before the solver could be stopped.

    HiGHS knows no interruption through MathOpt: when cancelled it is left behind in its thread,
    which its time limit ends.
    """
    interrupter = SolveInterrupter() if solver != "highs" else None
    parameters = mathopt.SolveParameters(
        time_limit=timedelta(seconds=max(limits.seconds, 0.1)),
        random_seed=limits.seed,
        threads=None if solver == "highs" else 1,
        relative_gap_tolerance=0.0,
        absolute_gap_tolerance=0.0,
    )
    kind = mathopt.SolverType.HIGHS if solver == "highs" else mathopt.SolverType.GSCIP
    results: list[mathopt.SolveResult] = []

    def solve() -> None:
        results.append(mathopt.solve(model, kind, params=parameters, interrupter=interrupter))

    worker = threading.Thread(target=solve, daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(POLL_S)
        if limits.cancelled():
            if interrupter is None:
                break
            interrupter.interrupt()
    return results[0] if results else None


def _mathopt(model: pulp.LpProblem, solver: str, limits: Limits) -> MilpResult:
    built, variables = _from_pulp(model)
    result = run_mathopt(built, solver, limits)
    reason = mathopt.TerminationReason
    name = f"{solver} (OR-Tools {version('ortools')})"
    if result is None:
        return MilpResult({}, None, False, False, name)
    ended = result.termination.reason
    values: dict[str, float] = {}
    if result.has_primal_feasible_solution():
        found = result.variable_values()
        values = {v: found[variable] for v, variable in variables.items()}
    bound = result.termination.objective_bounds.dual_bound
    return MilpResult(
        values,
        bound if abs(bound) < float("inf") else None,
        ended == reason.OPTIMAL,
        ended == reason.INFEASIBLE,
        name,
    )
