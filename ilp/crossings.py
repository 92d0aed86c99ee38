"""A lower bound on traffic that holds for every order: what must be live while an operator runs.

A storage *crosses* an operator that does not use it when, in every legal order, it is used both
before and after: by an ancestor and by a descendant of the operator. While the operator runs, the
bytes that cross it and its own operands share the scratchpad, and what does not fit is evicted.

Parameters: space; ``s_v`` bytes a storage takes; ``c_v`` bytes moved when it is evicted once: twice
its size when DRAM does not hold its content, once when DRAM holds it or must receive it anyway;
``excess[o]`` bytes by which operands of ``o`` and what crosses it exceed the space.
Variables ``0 <= x_v <= 1``: v is evicted at least once.

 (1) ``sum_{v crosses o} s_v x_v >= excess[o]`` for every operator in excess.
Minimise ``sum c_v x_v``.

Operands that a result may replace in place count once. A storage evicted twice is charged once, and
addresses are left out, so the bound may lie below the optimum.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor

from ortools.math_opt.python import mathopt

from stowplan.ilp.milp import Limits, run_mathopt
from stowplan.ilp.schedule import space_bytes
from stowplan.passes.problem import PlanningProblem

MAX_ENTRIES = 400_000
"""Nonzeros beyond which only the operators in greatest excess become constraints."""
TOLERANCE = 1e-6
BOUND_SOURCE = "bytes that must be live across operators in every order"


@dataclass(frozen=True, slots=True)
class _Row:
    """Constraint (1) of one operator: excess in bytes, and the storages that cross it."""

    excess_bytes: int
    crossing: tuple[int, ...]


def crossing_bound(problem: PlanningProblem, limits: Limits) -> int:
    """Non-compulsory bytes that planned storages move in every plan; 0 without a solution."""
    rows = _rows(problem, limits)
    if not rows:
        return 0
    model = mathopt.Model(name="crossings")
    used = sorted({v for row in rows for v in row.crossing})
    evicted = {v: model.add_variable(lb=0.0, ub=1.0, name=f"evict[{v}]") for v in used}
    for row in rows:  # (1)
        freed = mathopt.fast_sum(problem.size[v] * evicted[v] for v in row.crossing)
        model.add_linear_constraint(freed >= row.excess_bytes)
    model.minimize(mathopt.fast_sum(_cost(problem, v) * evicted[v] for v in used))
    result = run_mathopt(model, "highs", limits)
    if result is None:
        return 0
    bound = result.termination.objective_bounds.dual_bound
    return max(0, floor(bound + TOLERANCE)) if abs(bound) < float("inf") else 0


def _cost(problem: PlanningProblem, storage: int) -> int:
    """Bytes moved at least when ``storage`` is evicted between two uses."""
    once = problem.clean(storage) or problem.kept(storage)
    return problem.storages[storage].size_bytes * (1 if once else 2)


def _rows(problem: PlanningProblem, limits: Limits) -> list[_Row]:
    """Constraints, those in greatest excess first and no more than the model can hold."""
    crossing: list[list[int]] = [[] for _ in range(problem.operators)]
    live = [_demand(problem, o) for o in range(problem.operators)]
    for v, operators in _crossings(problem):
        if limits.cancelled():
            return []
        for o in operators:
            crossing[o].append(v)
            live[o] += problem.size[v]
    space = space_bytes(problem)
    over = sorted((o for o in range(problem.operators) if live[o] > space), key=lambda o: -live[o])
    rows: dict[tuple[int, ...], _Row] = {}
    entries = 0
    for o in over:
        key = tuple(crossing[o])
        if key and key not in rows:
            entries += len(key)
            rows[key] = _Row(live[o] - space, key)
        if entries > MAX_ENTRIES:
            break
    return list(rows.values())


def _demand(problem: PlanningProblem, operator: int) -> int:
    """Bytes its operands take at least: a result that may replace an operand takes none."""
    replacing = {output for output, _ in problem.in_place[operator]}
    return sum(problem.size[v] for v in problem.uses(operator) if v not in replacing)


def _crossings(problem: PlanningProblem) -> Iterator[tuple[int, Iterator[int]]]:
    """Storages, each with the operators it crosses. Sets of operators are bits of an integer."""
    after = _closure(problem.successors, range(problem.operators - 1, -1, -1))
    before = _closure(problem.predecessors, range(problem.operators))
    for v, users in enumerate(problem.users()):
        if len(users) < 2:
            continue
        later = earlier = own = 0
        for o in users:
            later |= after[o]
            earlier |= before[o]
            own |= 1 << o
        yield v, _members(later & earlier & ~own)


def _closure(neighbours: Sequence[Sequence[int]], order: Sequence[int]) -> list[int]:
    """Per operator, everything reachable over ``neighbours``; those come earlier in ``order``."""
    reached = [0] * len(neighbours)
    for o in order:
        for other in neighbours[o]:
            reached[o] |= reached[other] | 1 << other
    return reached


def _members(bits: int) -> Iterator[int]:
    """Positions of the bits that are set, ascending."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest
