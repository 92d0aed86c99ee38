"""Order, residencies and addresses in one CP-SAT model, for problems too small to be worth less.

Where no cheapest schedule can be packed, space alone does not give the joint optimum. This model
does; it is built only for few operators.

Sets: operators o, storages v with uses U_v, intervals k = 0..|U_v|-1 of each storage.
Variables: ``pos[o]``; per interval ``start``, ``end``, ``present``, ``place`` (in units of the
sizes' divisor); ``in[v,u,k]``, use u lies in interval k; ``wrote[v,k]``; ``swap[o,u,v,k]``, output
u of o takes the place of interval k of v.

 (1) ``pos`` is a permutation that respects precedence.
 (2) Intervals are present in turn and follow one another; each use lies in exactly one, and a
     storage's definition in the first.
 (3) Present intervals do not overlap in time x place, nor exceed the space at any step. Where
     ``swap`` holds, source and output share their place, the source ends with o, and the output's
     box begins one step later, for the source's covers it.
 (4) ``wrote[v,k] >= in[v,u,k]`` for writers u; an interval that wrote is stored if another one
     follows or v is an output.
Objective: loads and stores beyond the compulsory ones. Every plan of ``ir.plan`` maps to a
solution of the same cost, so the bound holds for all plans.
"""

from dataclasses import dataclass, field
from math import gcd

from ortools.sat.python import cp_model

from stowplan.ilp.cpsat import SOLVER, CpOutcome, run_cpsat
from stowplan.ilp.incumbent import Incumbent
from stowplan.ilp.inplace import in_place_pairs
from stowplan.ilp.precedence import Precedence, direct_edges, precedence
from stowplan.ilp.schedule import (
    Schedule,
    compulsory_bytes,
    space_bytes,
    stays_from_spans,
    top_address,
)
from stowplan.passes.problem import PlanningProblem

MAX_OPERATORS = 40
MAX_INTERVALS = 160
SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Span:
    """Variables of one interval of a storage."""

    start: cp_model.IntVar
    end: cp_model.IntVar
    present: cp_model.IntVar
    place: cp_model.IntVar
    wrote: cp_model.IntVar


@dataclass(slots=True)
class JointModel:
    """The model and its variables; mutable while it is built."""

    problem: PlanningProblem
    closure: Precedence
    unit: int
    coin: int
    model: cp_model.CpModel = field(default_factory=cp_model.CpModel)
    pos: list[cp_model.IntVar] = field(default_factory=list)
    spans: list[list[Span]] = field(default_factory=list)
    within: dict[tuple[int, int, int], cp_model.IntVar] = field(default_factory=dict)
    swap: dict[tuple[int, int, int, int], cp_model.IntVar] = field(default_factory=dict)


def improve_jointly(best: Incumbent) -> None:
    """Solve the joint model of a small problem; raises the bound and offers what it finds."""
    problem = best.problem
    intervals = sum(map(len, problem.users()))
    if problem.operators > MAX_OPERATORS or intervals > MAX_INTERVALS:
        return
    best.report("joint model")
    built = build_joint(problem)
    limit = best.value - best.constant
    terms = _objective(built)
    built.model.add(terms * built.coin <= limit)
    built.model.minimize(terms)
    outcome = run_cpsat(built.model, best.limits(SHARE))
    best.solver = SOLVER
    if outcome.found:
        schedule, addresses = decode(built, outcome)
        best.offer(schedule, addresses, "joint model")
    bound = outcome.bound * built.coin if outcome.found or not outcome.infeasible else limit
    best.raise_bound(bound + best.constant, "joint CP-SAT model")


def build_joint(problem: PlanningProblem) -> JointModel:
    """Variables and constraints (1) to (4)."""
    built = JointModel(
        problem,
        precedence(problem),
        gcd(*problem.size) or 1,
        gcd(*(storage.size_bytes for storage in problem.storages)) or 1,
    )
    _order(built)
    for v in range(len(problem.storages)):
        _storage(built, v)
    _reuse(built)
    _space(built)
    return built


def _order(built: JointModel) -> None:
    model, closure = built.model, built.closure
    built.pos = [
        model.new_int_var(closure.earliest(o), closure.latest(o), f"pos[{o}]")
        for o in range(built.problem.operators)
    ]
    model.add_all_different(built.pos)
    for a, b in direct_edges(built.problem, closure):
        model.add(built.pos[a] < built.pos[b])


def _storage(built: JointModel, v: int) -> None:
    """(2), (4): the intervals of one storage."""
    problem, model, count = built.problem, built.model, built.problem.operators
    uses = [o for o in range(count) if v in problem.uses(o)]
    top = top_address(problem, v) // built.unit
    spans = []
    for k in range(len(uses)):
        name = f"{v},{k}"
        spans.append(
            Span(
                model.new_int_var(0, count - 1, f"start[{name}]"),
                model.new_int_var(1, count, f"end[{name}]"),
                model.new_bool_var(f"present[{name}]"),
                model.new_int_var(0, top, f"place[{name}]"),
                model.new_bool_var(f"wrote[{name}]"),
            )
        )
    built.spans.append(spans)
    for k, span in enumerate(spans):
        inside = [model.new_bool_var(f"in[{v},{o},{k}]") for o in uses]
        for o, lies in zip(uses, inside, strict=True):
            built.within[v, o, k] = lies
            model.add(span.start <= built.pos[o]).only_enforce_if(lies)
            model.add(span.end >= built.pos[o] + 1).only_enforce_if(lies)
            if v in problem.defines[o] + problem.updates[o]:
                model.add_implication(lies, span.wrote)
        model.add(sum(inside) >= 1).only_enforce_if(span.present)
        model.add(sum(inside) == 0).only_enforce_if(~span.present)
        model.add(span.start < span.end)
        if k:
            model.add_implication(span.present, spans[k - 1].present)
            model.add(spans[k - 1].end <= span.start).only_enforce_if(span.present)
    for o in uses:
        model.add_exactly_one(built.within[v, o, k] for k in range(len(uses)))
        if v in problem.defines[o]:
            model.add(built.within[v, o, 0] == 1)
            model.add(spans[0].start == built.pos[o])


def _reuse(built: JointModel) -> None:
    """(3): outputs that take the place of an input."""
    model = built.model
    for o, pairs in enumerate(in_place_pairs(built.problem)):
        for output, source in pairs:
            for k, span in enumerate(built.spans[source]):
                swap = model.new_bool_var(f"swap[{o},{output},{source},{k}]")
                built.swap[o, output, source, k] = swap
                model.add_implication(swap, built.within[source, o, k])
                model.add(span.end == built.pos[o] + 1).only_enforce_if(swap)
                first = built.spans[output][0]
                model.add(first.place == span.place).only_enforce_if(swap)
    for side in (1, 2):
        groups: dict[tuple[int, ...], list[cp_model.IntVar]] = {}
        for key, swap in built.swap.items():
            group = (key[0], key[1]) if side == 1 else (key[2], key[3])
            groups.setdefault(group, []).append(swap)
        for group_swaps in groups.values():
            model.add_at_most_one(group_swaps)


def _space(built: JointModel) -> None:
    """(3): boxes in time x place."""
    problem, model = built.problem, built.model
    times, places, sizes = [], [], []
    for v, spans in enumerate(built.spans):
        size = problem.size[v] // built.unit
        for k, span in enumerate(spans):
            swaps = [swap for key, swap in built.swap.items() if key[1] == v] if k == 0 else []
            start, present = span.start, span.present
            length = model.new_int_var(0, problem.operators, f"length[{v},{k}]")
            if swaps:
                start = model.new_int_var(0, problem.operators, f"begin[{v},{k}]")
                model.add(start == span.start + sum(swaps))
            model.add(length == span.end - start)
            if swaps:
                # A box of no length must not stand in the way of others.
                present = model.new_bool_var(f"occupies[{v},{k}]")
                model.add_implication(present, span.present)
                model.add(length >= 1).only_enforce_if(present)
                model.add(length == 0).only_enforce_if(span.present, ~present)
            name = f"{v},{k}"
            times.append(
                model.new_optional_interval_var(start, length, span.end, present, f"time[{name}]")
            )
            places.append(
                model.new_optional_fixed_size_interval_var(
                    span.place, size, present, f"box[{name}]"
                )
            )
            sizes.append(size)
    model.add_no_overlap_2d(times, places)
    model.add_cumulative(times, sizes, space_bytes(problem) // built.unit)


def _objective(built: JointModel) -> cp_model.LinearExprT:
    problem, model = built.problem, built.model
    terms: list[cp_model.LinearExprT] = []
    for v, spans in enumerate(built.spans):
        coins = problem.storages[v].size_bytes // built.coin
        for k, span in enumerate(spans):
            if k or problem.clean(v):
                terms.append(coins * span.present)
            if problem.kept(v):
                terms.append(coins * span.wrote)
            elif k + 1 < len(spans):
                stored = model.new_bool_var(f"stored[{v},{k}]")
                model.add_bool_or(stored, ~span.wrote, ~spans[k + 1].present)
                terms.append(coins * stored)
    return sum(terms) - compulsory_bytes(problem) // built.coin


def decode(built: JointModel, outcome: CpOutcome) -> tuple[Schedule, tuple[int, ...]]:
    """Schedule and addresses of a solution."""
    problem = built.problem
    at = {o: outcome.value(p) for o, p in enumerate(built.pos)}
    order = tuple(sorted(at, key=lambda o: at[o]))
    place: dict[tuple[int, int], int] = {}
    spans: list[tuple[int, int, int]] = []
    begins: dict[tuple[int, int], tuple[int, int]] = {}
    for v, intervals in enumerate(built.spans):
        for k, span in enumerate(intervals):
            steps = [
                at[o]
                for (u, o, j), lies in built.within.items()
                if u == v and j == k and outcome.true(lies)
            ]
            if steps:
                start = min(steps)
                spans.append((v, start, max(steps) + 1))
                place[v, start] = outcome.value(span.place) * built.unit
                begins[v, k] = v, start
    stays = stays_from_spans(problem, order, spans)
    index = {(stay.storage, stay.start): i for i, stay in enumerate(stays)}
    reuses = tuple(
        (index[begins[source, k]], index[begins[output, 0]])
        for (_, output, source, k), swap in sorted(built.swap.items())
        if outcome.true(swap)
    )
    addresses = tuple(place[stay.storage, stay.start] for stay in stays)
    return Schedule(order, stays, reuses), addresses
