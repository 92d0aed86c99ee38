"""Residencies for a fixed order: which gaps between consecutive uses to evict.

Sets: storages v with uses at steps ``u[v,0] < u[v,1] < ...``; gap (v, g) lies between uses g and
g + 1; version (v, w) is the content between one write and the next.
Parameters: space ``s_v``, bytes moved ``c_v``, ``excess[t]``, the bytes by which everything live at
step t exceeds the space.
Variables, binary: ``evict[v,g]``; ``store[v,w]``, version w goes to DRAM.

 (1) ``sum_{u[v,g] < t < u[v,g+1]} s_v evict[v,g] >= excess[t]`` for every step in excess.
 (2) ``store[v,w] >= evict[v,g]`` for every gap g of version w, unless storing costs nothing: DRAM
     holds the content from the start, or it is an output's last version.
Minimise ``sum c_v evict + sum c_v store``.

Evicting right after a use, reloading right before the next and writing a version back once are
dominant, so the model is exact for its order; reuse in place is left out. Every column of (1) is an
interval of rows, so the linear relaxation is nearly integral.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, gcd

from ortools.math_opt.python import mathopt

from stowplan.ilp.milp import Limits, run_mathopt
from stowplan.ilp.schedule import Schedule, space_bytes, stays_from_spans
from stowplan.passes.greedy_gaps import Timeline, timeline
from stowplan.passes.order import live_bytes
from stowplan.passes.problem import PlanningProblem

TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class GapResult:
    """Outcome of the model for one order.

    Attributes:
        schedule: the order with its best stays found, None without a solution.
        bound: no stays under this order move fewer non-compulsory bytes.
        optimal: the schedule meets the bound.
    """

    schedule: Schedule | None
    bound: int
    optimal: bool


@dataclass(frozen=True, slots=True)
class _Gap:
    """One gap: (v, g), the steps strictly inside it, and its version's index or -1."""

    storage: int
    index: int
    first: int
    stop: int
    version: int


def best_residencies(
    problem: PlanningProblem, order: Sequence[int], limits: Limits, relax: bool = False
) -> GapResult:
    """Solve the model; with ``relax`` only its linear relaxation, for the bound."""
    accesses = timeline(problem, order)
    unit = gcd(*problem.size) or 1
    coin = gcd(*(storage.size_bytes for storage in problem.storages)) or 1
    gaps = _gaps(accesses)
    model = mathopt.Model(name="gaps")
    evict = [_column(model, f"evict[{g.storage},{g.index}]", relax) for g in gaps]
    versions = sorted({(g.storage, g.version) for g in gaps if g.version >= 0})
    store = {key: _column(model, f"store[{key[0]},{key[1]}]", relax) for key in versions}
    for gap, variable in zip(gaps, evict, strict=True):  # (2)
        if gap.version >= 0:
            model.add_linear_constraint(store[gap.storage, gap.version] >= variable)
    _rows(model, problem, order, gaps, evict, unit)
    cost = [storage.size_bytes // coin for storage in problem.storages]
    moved = mathopt.fast_sum(cost[g.storage] * e for g, e in zip(gaps, evict, strict=True))
    stored = mathopt.fast_sum(cost[v] * s for (v, _), s in store.items())
    model.minimize(moved + stored)
    result = run_mathopt(model, "highs", limits)
    return _decode(problem, accesses, gaps, evict, result, coin)


def _column(model: mathopt.Model, name: str, relax: bool) -> mathopt.Variable:
    return model.add_variable(lb=0.0, ub=1.0, is_integer=not relax, name=name)


def _gaps(accesses: Timeline) -> list[_Gap]:
    """Gaps with a step inside; evicting in any other frees nothing."""
    problem = accesses.problem
    found = []
    for v, steps in enumerate(accesses.steps):
        version = 0
        for g in range(len(steps) - 1):
            version += accesses.writes[v][g]
            clean = version == 0 and problem.clean(v)
            final = problem.kept(v) and g >= accesses.last_write[v]
            if steps[g + 1] - steps[g] > 1:
                kind = -1 if clean or final else version
                found.append(_Gap(v, g, steps[g] + 1, steps[g + 1], kind))
    return found


def _rows(
    model: mathopt.Model,
    problem: PlanningProblem,
    order: Sequence[int],
    gaps: Sequence[_Gap],
    evict: Sequence[mathopt.Variable],
    unit: int,
) -> None:
    """(1), leaving out steps whose gaps equal those of a step in greater excess."""
    space = space_bytes(problem)
    open_at: list[list[int]] = [[] for _ in order]
    for i, gap in enumerate(gaps):
        for t in range(gap.first, gap.stop):
            open_at[t].append(i)
    needed: dict[tuple[int, ...], int] = {}
    for t, live in enumerate(live_bytes(problem, order)):
        if live > space:
            key = tuple(open_at[t])
            needed[key] = max(needed.get(key, 0), live - space)
    for key, excess in needed.items():
        freed = mathopt.fast_sum(problem.size[gaps[i].storage] // unit * evict[i] for i in key)
        model.add_linear_constraint(freed >= ceil(excess / unit))


def _decode(
    problem: PlanningProblem,
    accesses: Timeline,
    gaps: Sequence[_Gap],
    evict: Sequence[mathopt.Variable],
    result: mathopt.SolveResult | None,
    coin: int,
) -> GapResult:
    if result is None:
        return GapResult(None, 0, False)
    dual = result.termination.objective_bounds.dual_bound
    bound = max(0, ceil(dual - TOLERANCE)) * coin if abs(dual) < float("inf") else 0
    if not result.has_primal_feasible_solution():
        return GapResult(None, bound, False)
    values = result.variable_values()
    kept = accesses.gaps(1)
    for gap, variable in zip(gaps, evict, strict=True):
        kept[gap.storage][gap.index] = values[variable] < TOLERANCE
    spans = [
        (v, stay.start, stay.end)
        for v in range(len(kept))
        if accesses.steps[v]
        for stay in accesses.stays_of(v, kept[v])
    ]
    schedule = Schedule(accesses.order, stays_from_spans(problem, accesses.order, spans))
    optimal = result.termination.reason == mathopt.TerminationReason.OPTIMAL
    return GapResult(schedule, bound, optimal)
