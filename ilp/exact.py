"""Planner ``exact``: order, residencies and addresses to proven optimality.

Stages, each only while the bound is below the best plan:

1. ``greedy`` gives the first plan; a plan without avoidable traffic ends it.
2. ``ilp.search`` finds the best order and residencies by space alone, with growing width. Its
   bound holds for the joint problem because addresses only restrict it further.
3. ``ilp.packing`` finds addresses. When it does, plan and bound meet and the plan is a joint
   optimum. When it does not, the search is repeated with less space for schedules of the same cost
   that leave room, and the schedule is placed with further evictions for the time being.
4. ``ilp.joint`` decides what is left of small problems: order, residencies and addresses in one
   CP-SAT model.
5. ``ilp.neighbourhood`` improves what is too wide to be searched completely.

Operators that reach DRAM directly are planned greedily: only the trivial bound is claimed there.

Settings (for ablation): ``sequences``, ``free_moves``, ``slack``, ``joint``, ``lns`` (on or off),
``width`` (most labels per layer), ``pack`` (``full`` or ``fit``: best-fit only).
"""

from dataclasses import dataclass

from stowplan.ilp.incumbent import Incumbent
from stowplan.ilp.joint import improve_jointly
from stowplan.ilp.neighbourhood import improve_locally
from stowplan.ilp.packing import pack
from stowplan.ilp.peak import improve_peak
from stowplan.ilp.repair import place_with_evictions
from stowplan.ilp.schedule import Schedule, space_bytes, traffic_bytes
from stowplan.ilp.search import SearchOptions, SearchResult, Tables, search, timed, widths
from stowplan.ilp.settings import choice, number, read_settings, switch
from stowplan.ir.graph import Graph
from stowplan.ir.plan import Plan
from stowplan.passes.planner import PlanOptions
from stowplan.targets.target import Target

BOUND_SOURCE = "search over orders and residencies by space"
PACK_SHARE = 0.3
FIRST_PACK_S = 1.0
FINAL_PACK_S = 20.0
LOCAL_SHARE = 0.5
SLACK = (0.99, 0.97, 0.94, 0.9, 0.85)
"""Fractions of the space searched for schedules that leave room to pack."""


@dataclass(frozen=True, slots=True)
class ExactSettings:
    """Switches of this planner; see the module docstring."""

    sequences: bool
    free_moves: bool
    slack: bool
    joint: bool
    lns: bool
    width: int
    pack_search: bool


def exact_settings(options: PlanOptions, planner: str) -> ExactSettings:
    """Read the settings. Raises UsageError for an unknown one."""
    known = dict.fromkeys(("sequences", "free_moves", "slack", "joint", "lns"), "on")
    given = read_settings(options, planner, {**known, "width": "400000", "pack": "full"})
    return ExactSettings(
        sequences=switch(given, "sequences"),
        free_moves=switch(given, "free_moves"),
        slack=switch(given, "slack"),
        joint=switch(given, "joint"),
        lns=switch(given, "lns"),
        width=max(1, number(given, "width")),
        pack_search=choice(given, "pack", ("full", "fit")) == "full",
    )


def plan_exact(graph: Graph, target: Target, options: PlanOptions) -> Plan:
    """Plan with a proof where one is found in time; never worse than greedy.

    Raises:
        InfeasiblePlanError: no plan fits.
        UsageError: a setting or an objective this planner does not know.
    """
    return _plan(graph, target, options, "exact")


def plan_lns(graph: Graph, target: Target, options: PlanOptions) -> Plan:
    """Plan large graphs: one narrow search, then windows of the order; never worse than greedy.

    Raises:
        InfeasiblePlanError: no plan fits.
        UsageError: a setting or an objective this planner does not know.
    """
    return _plan(graph, target, options, "lns")


def _plan(graph: Graph, target: Target, options: PlanOptions, planner: str) -> Plan:
    settings = exact_settings(options, planner)
    best = Incumbent.start(graph, target, options, planner)
    if best.problem.operators and not best.problem.memory.direct_dram:
        try:
            if options.objective == "peak":
                improve_peak(best)
            else:
                _improve(best, settings)
        except KeyboardInterrupt:
            best.trace.append("interrupted")
    return best.finish()


def _improve(best: Incumbent, settings: ExactSettings) -> None:
    if best.done():
        return
    tables = Tables(best.problem, settings.sequences)
    found: Schedule | None = None
    for width in widths(settings.width):
        share = LOCAL_SHARE if settings.lns else 1.0
        outcome = _search(best, tables, settings, width, share)
        if not outcome.finished:
            break
        best.raise_bound(outcome.bound + best.constant, BOUND_SOURCE)
        if outcome.schedule is not None:
            found = outcome.schedule
            _settle(best, tables, settings, outcome, width)
        if best.done() or outcome.bound == outcome.cost or best.planner == "lns":
            break
    if settings.joint and not best.done():
        improve_jointly(best)
    if settings.lns and not best.done():
        improve_locally(best, tables, found, settings.free_moves)


def _search(
    best: Incumbent,
    tables: Tables,
    settings: ExactSettings,
    width: int,
    share: float,
    capacity_bytes: int | None = None,
    below: int | None = None,
) -> SearchResult:
    best.report(f"search width {width}")
    return search(
        tables,
        SearchOptions(
            capacity_bytes=capacity_bytes or space_bytes(best.problem),
            below=best.value - best.constant if below is None else below,
            width=width,
            free_moves=settings.free_moves,
            stopped=timed(best.left_s * share, best.options.cancelled),
        ),
    )


def _settle(
    best: Incumbent, tables: Tables, settings: ExactSettings, outcome: SearchResult, width: int
) -> None:
    """Find addresses for a schedule, or for another one that costs the same."""
    if outcome.schedule is None or _offer(best, settings, outcome.schedule, width):
        return
    place_with_evictions(best, outcome.schedule, f"search width {width}, repaired")
    if outcome.cost > outcome.bound:
        return
    largest = max(map(best.problem.demand, range(best.problem.operators)))
    for share in SLACK if settings.slack else ():
        if best.done():
            return
        capacity = max(int(space_bytes(best.problem) * share), largest)
        slim = _search(best, tables, settings, width, PACK_SHARE, capacity)
        if slim.schedule is not None:
            if _offer(best, settings, slim.schedule, width):
                return
            place_with_evictions(best, slim.schedule, f"search width {width}, repaired")


def _offer(best: Incumbent, settings: ExactSettings, schedule: Schedule, width: int) -> bool:
    best.report("packing")
    # Worth long efforts only once nothing cheaper is left to be found.
    cost = traffic_bytes(best.problem, schedule.stays) + best.constant
    limits = best.limits(PACK_SHARE, FINAL_PACK_S if cost <= best.bound else FIRST_PACK_S)
    packing = pack(best.problem, schedule, limits, search=settings.pack_search)
    if packing.addresses is None:
        return False
    return best.offer(schedule, packing.addresses, f"search width {width}")
