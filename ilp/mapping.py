"""Lower bound, and best or near-best choices, of the memory-mapping problem in a fixed order.

The linear relaxation of the program of ``mapping_model`` takes a fraction of a second for networks
of some hundred operators; branch and bound on it then raises the bound until time is up, and its
solution is a way of playing the memory-mapping game.
"""

from dataclasses import dataclass
from enum import IntEnum
from importlib.metadata import version
from math import ceil

from ortools.math_opt.python import mathopt

from stowplan.ilp.mapping_instance import MappingInstance
from stowplan.ilp.mapping_model import MappingModel, build_mapping
from stowplan.ilp.milp import Limits, run_mathopt

SOLVER = "highs"
TOLERANCE = 1e-5
"""Share of a bound given away to the solvers' rounding."""


class Choice(IntEnum):
    """What becomes of an access."""

    COPY = 0
    """A LOAD brings the storage on chip for it."""
    NOCOPY = 1
    """The storage is on chip already, or comes into being there."""
    DROP = 2
    """The access goes to DRAM."""


@dataclass(frozen=True, slots=True)
class MappingBound:
    """What the solver found.

    Attributes:
        cycles: no plan in this order of operators takes fewer.
        optimal: the program is solved: ``cycles`` is its optimum.
        choices: one per access, in the order of ``MappingInstance.accesses``; empty when the solver
            found no integer solution.
        issues: per access the step from which a LOAD for it runs in that solution.
        ends: per access the step by which a STORE of what it leaves behind is complete.
        choices_cycles: objective of that solution, rounded; 0 without one.
        method: which program, and the solver.
    """

    cycles: int
    optimal: bool
    choices: tuple[Choice, ...]
    issues: tuple[int, ...]
    ends: tuple[int, ...]
    choices_cycles: int
    method: str


def bound_mapping(instance: MappingInstance, limits: Limits, integer: bool = True) -> MappingBound:
    """Solve the program of ``mapping_model``, or with ``integer`` off its linear relaxation."""
    least = sum_of_computation(instance)
    kind = "integer program" if integer else "linear relaxation"
    method = f"{kind} of the mapping, {SOLVER} (OR-Tools {version('ortools')})"
    built = build_mapping(instance, integer)
    result = run_mathopt(built.matrix.model("mapping"), SOLVER, limits)
    if result is None:
        return MappingBound(least, False, (), (), (), 0, method)
    found = result.termination.objective_bounds
    cycles = least
    if abs(found.dual_bound) < float("inf"):
        cycles = max(least, ceil(found.dual_bound * (1 - TOLERANCE) - TOLERANCE))
    optimal = result.termination.reason is mathopt.TerminationReason.OPTIMAL
    if not integer or not result.has_primal_feasible_solution():
        return MappingBound(cycles, optimal, (), (), (), 0, method)
    values = result.variable_values()
    numbers = {variable.id: value for variable, value in values.items()}
    return MappingBound(
        cycles,
        optimal,
        _choices(built, numbers),
        _issues(built, numbers),
        _ends(built, numbers),
        round(found.primal_bound),
        method,
    )


def sum_of_computation(instance: MappingInstance) -> int:
    """Cycles of the longest chain of operators that wait for each other."""
    ended = [0] * len(instance.steps)
    lengths = [0] * instance.slots
    for t, step in enumerate(instance.steps):
        begins = max((ended[u] for u in step.waits), default=0)
        ended[t] = begins + step.compute_cycles
        lengths[step.slot] = max(lengths[step.slot], ended[t])
    return sum(lengths)


def _choices(built: MappingModel, values: dict[int, float]) -> tuple[Choice, ...]:
    found = []
    for a, access in enumerate(built.instance.accesses):
        kept = access.defines or (access.before >= 0 and values[built.k[access.before]] > 0.5)
        on_chip = values[built.x[a]] > 0.5
        found.append(Choice.DROP if not on_chip else Choice.NOCOPY if kept else Choice.COPY)
    return tuple(found)


def _issues(built: MappingModel, values: dict[int, float]) -> tuple[int, ...]:
    found = []
    for access, windows in zip(built.instance.accesses, built.reserved, strict=True):
        begun = (step for step, column in windows if values[column] > 0.5)
        found.append(next(begun, access.step))
    return tuple(found)


def _ends(built: MappingModel, values: dict[int, float]) -> tuple[int, ...]:
    found = []
    for access, holding in zip(built.instance.accesses, built.holding, strict=True):
        held = (step + 1 for step, column in holding if values[column] > 0.5)
        found.append(max(held, default=access.step + 1))
    return tuple(found)
