"""The published joint MILP of operator order, scratchpad allocation and tensor replacement.

Sets: operators ``o`` (n of them), storages ``v``, steps ``t = 0..n-1``.

Parameters: size ``s_v`` and capacity ``C`` in units of the sizes' greatest common divisor;
``c_v``, the bytes a move costs; needs, definitions and precedence of ``passes.problem``.

Variables, binary unless stated: ``X[o,t]`` operator o runs at step t, which creates the storages it
defines (``C[v,t] = X[o,t]``, so siblings are created together); ``P[v,t]`` v is preserved through
step t; ``S[v,t]`` v is spilled at boundary t; ``R[v,t]`` v is retrieved for step t; ``L[v,t]``
integer address; ``below[u,v,t]`` u lies below v; ``Z[o,u,v,t]`` output u of o takes input v's place
at step t. ``present[v,t] = C[v,t] + P[v,t] + R[v,t]``.

Constraints:
 (1)  ``C[v,t] + P[v,t] + S[v,t] + R[v,t] <= 1``.
 (2)  Nothing is present before step 0: there are no ``P[v,0]``, ``S[v,0]``.
 (3)  ``sum_t X[o,t] = 1``: each operator runs, hence each storage is created, once.
 (4)  ``sum_o X[o,t] = 1``: no two operators share a step.
 (5)  ``sum_{t' <= t} X[b,t'] <= sum_{t' < t} X[a,t']`` for every edge a -> b.
 (6)  ``P[v,t] <= present[v,t-1]`` and ``S[v,t] <= present[v,t-1]``.
 (7)  ``X[o,t] <= P[v,t] + R[v,t]`` for each v that o needs.
 (8)  ``R[v,t] <= sum_{t' < t} S[v,t']`` unless v starts in DRAM, spilled at most once, and nothing
      stays after its last use: ``P[v,t] + R[v,t] <= sum_{o uses v, t' >= t} X[o,t']``.
 (9)  ``sum_t S[v,t] = 1`` for a model output.
 (10) ``L[v,t] + s_v <= C``; with (11a) ``P[v,t]`` pins the address: ``L[v,t] = L[v,t-1]``.
 (11) ``below[u,v,t] + below[v,u,t] + Z >= present[u,t] + present[v,t] - 1`` and
      ``L[u,t] + s_u <= L[v,t] + C (1 - below[u,v,t])``.
 (12) ``Z`` needs its operator to run, equal addresses, and that v is gone afterwards.
Objective: minimise ``sum (S + R) c_v``, less what any plan must move.

A storage with several writers (elided Concats) generalises (8) and (9): ``M[v,t]``, DRAM's copy is
current at boundary t; a write clears it, a spill sets it, a retrieval needs it. Spills leave the
scratchpad at the boundary, as in ``ir.plan``; an input replaced in place may be spilled earlier and
stay, so (1) leaves S out for it.

Defects of the published form that are avoided: two operators in one step (4), no base case (2),
residencies after the last use (8), and big-M rows on raw byte addresses, where a solver's tolerance
let tensors collide (sizes are scaled by their divisor).

Variants: ``variant=order`` finds the minimum-peak order without addresses (S and R dropped, (13)
replaces (10)-(12): bytes per step at most ``peak``, which is minimised (14)); ``variant=fixed``
keeps greedy's order.

Source: COSMA (Li et al., 2023), joint operator scheduling, memory allocation and tensor
replacement; variables and constraints as published, save for the repairs named above.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from stowplan.errors import UsageError
from stowplan.ilp.cosma_model import (
    BuildStopped,
    CosmaModel,
    Variant,
    build_cosma,
    estimated_rows,
)
from stowplan.ilp.incumbent import Incumbent
from stowplan.ilp.milp import SOLVERS, MilpResult, solve_milp
from stowplan.ilp.packing import overlapping, pack
from stowplan.ilp.schedule import Schedule, retained_spans, stays_from_spans
from stowplan.ir.graph import Graph
from stowplan.ir.plan import Plan
from stowplan.passes.planner import PlanOptions
from stowplan.passes.problem import PlanningProblem
from stowplan.targets.target import Target

MAX_ROWS = 400_000
"""Rows above which the model is not built: PuLP alone would take minutes and gigabytes."""

TOLERANCE = 1e-6
VARIANTS = ("joint", "order", "fixed")


@dataclass(frozen=True, slots=True)
class CosmaSettings:
    """Settings of this planner.

    Attributes:
        solver: ``cbc``, ``highs`` or ``scip``.
        variant: ``joint``, ``order`` or ``fixed``.
        windows: leave out steps at which an operator can never run.
        cutoff: ask for solutions no worse than greedy's.
        max_rows: largest model to build.
        lp_path: file to write the model to in LP format, empty for none.
    """

    solver: str = "cbc"
    variant: str = "joint"
    windows: bool = True
    cutoff: bool = True
    max_rows: int = MAX_ROWS
    lp_path: str = ""


def cosma_settings(options: PlanOptions) -> CosmaSettings:
    """Read the settings. Raises UsageError for an unknown one."""
    given = dict(options.settings)
    known = {"solver", "variant", "windows", "cutoff", "max_rows", "lp"}
    for name in sorted(given.keys() - known):
        raise UsageError(f"planner 'cosma' has no setting {name!r}: {', '.join(sorted(known))}")
    default = "order" if options.objective == "peak" else "joint"
    settings = CosmaSettings(
        solver=_choice(given, "solver", SOLVERS, "cbc"),
        variant=_choice(given, "variant", VARIANTS, default),
        windows=_choice(given, "windows", ("on", "off"), "on") == "on",
        cutoff=_choice(given, "cutoff", ("on", "off"), "on") == "on",
        max_rows=_number(given, "max_rows", MAX_ROWS),
        lp_path=given.get("lp", ""),
    )
    if options.objective == "peak" and settings.variant == "joint":
        raise UsageError("planner 'cosma' minimises the peak with variant 'order' or 'fixed'")
    return settings


def _choice(given: Mapping[str, str], name: str, known: tuple[str, ...], default: str) -> str:
    value = given.get(name, default)
    if value not in known:
        raise UsageError(f"setting {name}={value!r}: choose one of {', '.join(known)}")
    return value


def _number(given: Mapping[str, str], name: str, default: int) -> int:
    value = given.get(name, str(default))
    if not value.isdigit():
        raise UsageError(f"setting {name}={value!r}: a whole number is expected")
    return int(value)


def plan_cosma(graph: Graph, target: Target, options: PlanOptions) -> Plan:
    """Plan with the published MILP; never worse than greedy.

    Raises:
        InfeasiblePlanError: no plan fits.
        UsageError: a setting or an objective this planner does not know.
    """
    settings = cosma_settings(options)
    best = Incumbent.start(graph, target, options, "cosma", ("offchip", "peak"))
    try:
        _improve(best, settings)
    except KeyboardInterrupt:
        best.trace.append("interrupted")
    return best.finish()


def _improve(best: Incumbent, settings: CosmaSettings) -> None:
    problem = best.problem
    if best.done() or not problem.operators or problem.memory.direct_dram:
        return
    order = None
    if settings.variant != "joint":
        order = _minimum_peak(best, settings) if settings.variant == "order" else _order_of(best)
        if order is None or best.options.objective == "peak" or best.done():
            return
    variant = Variant(order=order, windows=settings.windows)
    solved = _solve(best, variant, settings)
    if solved is None:
        return
    built, result = solved
    if result.values:
        schedule, addresses = decode(built, result.values)
        _offer(best, schedule, addresses)
    if order is None:
        _take_bound(best, built, result)


def _order_of(best: Incumbent) -> tuple[int, ...]:
    index = {op.name: o for o, op in enumerate(best.graph.operators)}
    return tuple(index[name] for name in best.plan.order)


def _minimum_peak(best: Incumbent, settings: CosmaSettings) -> tuple[int, ...] | None:
    """Variant ``order``: offer the plan that never evicts in the minimum-peak order."""
    variant = Variant(addresses=False, traffic=False, windows=settings.windows)
    solved = _solve(best, variant, settings)
    if solved is None or not solved[1].values:
        return None
    built, result = solved
    order, _ = _order_and_spans(built, result.values)
    spans = retained_spans(best.problem, order)
    schedule = Schedule(order, stays_from_spans(best.problem, order, spans))
    if best.options.objective == "peak" and result.bound is not None:
        best.raise_bound(ceil(result.bound - TOLERANCE) * built.coin, "cosma minimum-peak order")
    packing = pack(best.problem, schedule, best.limits())
    if packing.addresses is not None:
        best.offer(schedule, packing.addresses, "cosma order")
    return order


def _solve(
    best: Incumbent, variant: Variant, settings: CosmaSettings
) -> tuple[CosmaModel, MilpResult] | None:
    rows = estimated_rows(best.problem, variant)
    if rows > settings.max_rows:
        best.trace.append(f"model of about {rows:,} rows not built")
        return None
    best.report("cosma build")
    try:
        built = build_cosma(best.problem, variant, best.done)
    except BuildStopped:
        return None
    if settings.cutoff and variant.traffic and built.model.objective is not None:
        limit = (best.value - best.constant) // built.coin - built.offset
        built.model.addConstraint(built.model.objective <= limit, "cutoff")
    if settings.lp_path:
        Path(settings.lp_path).parent.mkdir(parents=True, exist_ok=True)
        built.model.writeLP(settings.lp_path)
    best.report("cosma solve")
    result = solve_milp(built.model, settings.solver, best.limits())
    best.solver = result.solver
    return built, result


def _take_bound(best: Incumbent, built: CosmaModel, result: MilpResult) -> None:
    if result.bound is not None:
        coins = ceil(result.bound - TOLERANCE) + built.offset
        best.raise_bound(coins * built.coin + best.constant, "cosma MILP")


def _offer(best: Incumbent, schedule: Schedule, addresses: tuple[int, ...]) -> None:
    """Offer a decoded solution; addresses spoilt by the solver's tolerance are found anew."""
    if overlapping(best.problem, schedule, addresses):
        packing = pack(best.problem, schedule, best.limits())
        if packing.addresses is None:
            return
        addresses = packing.addresses
    best.offer(schedule, addresses, "cosma")


def _order_and_spans(
    built: CosmaModel, values: Mapping[str, float]
) -> tuple[tuple[int, ...], list[tuple[int, int, int]]]:
    """Order and (storage, start, end) spans of a solution."""
    problem = built.problem
    step_of = {o: t for (o, t), x in built.run.items() if values.get(x.name, 0.0) > 0.5}
    order = tuple(sorted(step_of, key=lambda o: step_of[o]))
    begins = {(v, step_of[o]) for o in range(problem.operators) for v in problem.defines[o]}
    begins |= {key for key, r in built.fetch.items() if values.get(r.name, 0.0) > 0.5}
    held = {key for key, p in built.hold.items() if values.get(p.name, 0.0) > 0.5}
    spans = []
    for v, start in sorted(begins):
        end = start + 1
        while (v, end) in held:
            end += 1
        spans.append((v, start, end))
    return order, _trimmed(problem, order, spans)


def _trimmed(
    problem: PlanningProblem, order: tuple[int, ...], spans: list[tuple[int, int, int]]
) -> list[tuple[int, int, int]]:
    """Spans cut to their uses; those without a use are dropped."""
    steps: dict[int, list[int]] = {}
    for t, o in enumerate(order):
        for v in problem.uses(o):
            steps.setdefault(v, []).append(t)
    trimmed = []
    for v, start, end in spans:
        used = [t for t in steps.get(v, []) if start <= t < end]
        if used:
            trimmed.append((v, used[0], used[-1] + 1))
    return trimmed


def decode(built: CosmaModel, values: Mapping[str, float]) -> tuple[Schedule, tuple[int, ...]]:
    """Schedule and addresses of a solution of a variant with addresses."""
    order, spans = _order_and_spans(built, values)
    stays = stays_from_spans(built.problem, order, spans)
    chosen = [key for key, z in built.reuse.items() if values.get(z.name, 0.0) > 0.5]
    ends = {(stay.storage, stay.end - 1): i for i, stay in enumerate(stays)}
    starts = {(stay.storage, stay.start): i for i, stay in enumerate(stays)}
    reuses = tuple(
        (ends[source, t], starts[out, t])
        for _, out, source, t in sorted(chosen)
        if (source, t) in ends and (out, t) in starts
    )
    addresses = tuple(
        round(values.get(built.address[stay.storage, stay.start].name, 0.0)) * built.unit
        for stay in stays
    )
    return Schedule(order, stays, reuses), addresses


__all__ = ["CosmaSettings", "cosma_settings", "decode", "plan_cosma"]
