"""Planner ``exact``: order, residencies and addresses to proven optimality.

Stages, each only while the bound is below the best plan:

1. ``greedy`` gives the first plan; a plan without avoidable traffic ends it.
2. ``ilp.blocks`` splits the problem where it falls apart. For each block the best residencies of
   several heuristic orders are found, then ``ilp.search`` finds the best order and residencies by
   space alone, with growing width. The sum of the blocks' bounds holds for the joint problem
   because addresses only restrict it further.
3. ``ilp.packing`` finds addresses. When it does, plan and bound meet and the plan is a joint
   optimum. When it does not, the schedule is placed with further evictions for the time being, and
   the search is repeated with less space for schedules of the same cost that leave room.
4. ``ilp.neighbourhood`` improves what a narrow search leaves open, before the search is widened.
5. ``ilp.joint`` decides what is left of small problems: order, residencies and addresses in one
   CP-SAT model.

Operators that reach DRAM directly are planned greedily: only the trivial bound is claimed there.

Settings (for ablation): ``sequences``, ``free_moves``, ``slack``, ``joint``, ``lns`` (on or off),
``width`` (most labels per layer), ``pack`` (``full`` or ``fit``: best-fit only).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from stowplan.ilp.blocks import Blocks
from stowplan.ilp.incumbent import Incumbent
from stowplan.ilp.joint import improve_jointly
from stowplan.ilp.latency import improve_latency
from stowplan.ilp.neighbourhood import improve_locally
from stowplan.ilp.packing import FINAL_EFFORT, FIRST_EFFORT, pack
from stowplan.ilp.peak import improve_peak
from stowplan.ilp.region import Space
from stowplan.ilp.repair import place_with_evictions
from stowplan.ilp.schedule import Schedule, space_bytes, traffic_bytes
from stowplan.ilp.search import schedule_of, timed, widths
from stowplan.ilp.settings import choice, number, read_settings, switch
from stowplan.ir.graph import Graph
from stowplan.ir.plan import Plan
from stowplan.passes.order import candidate_orders
from stowplan.passes.planner import PlanOptions
from stowplan.targets.target import Target

BOUND_SOURCE = "search over orders and residencies by space"
PACK_SHARE = 0.3
FOLLOW_WIDTH = 64
FIRST_WIDTH = 64
LAST_EFFORT = 1.0
"""Of packing what could not be proven cheapest."""
SLACK_WIDTHS = (64, 4096)
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
            elif options.objective == "cycles":
                improve_latency(best, plan_exact, settings.joint)
            else:
                _improve(best, settings)
        except KeyboardInterrupt:
            best.trace.append("interrupted")
    return best.finish()


def _improve(best: Incumbent, settings: ExactSettings) -> None:
    if best.done():
        return
    blocks = Blocks(Space(best.problem, settings.sequences))
    stopped = timed(best.left_s, best.options.cancelled)
    for order in (_order_of(best), *candidate_orders(best.problem)):
        blocks.follow(order, FOLLOW_WIDTH, space_bytes(best.problem), stopped)
    _settle(best, blocks, settings, "candidate orders")
    _widen(best, blocks, settings, widths(min(FIRST_WIDTH, settings.width)))
    if settings.lns and not best.done() and not blocks.solved:
        _improve_locally(best, blocks, settings)
    if best.planner != "lns":
        _widen(best, blocks, settings, (w for w in widths(settings.width) if w > FIRST_WIDTH))
    if not best.done():
        _settle(best, blocks, settings, "last effort", LAST_EFFORT)
    if settings.slack and blocks.solved and not best.done():
        _make_slack(best, settings, blocks.bound)
    if settings.joint and not best.done():
        improve_jointly(best)


def _widen(best: Incumbent, blocks: Blocks, settings: ExactSettings, beam: Iterable[int]) -> None:
    """Search with growing width until the bound is met."""
    for width in beam:
        if best.done() or blocks.solved or not _search(best, blocks, settings, width):
            return
        best.raise_bound(blocks.bound + best.constant, BOUND_SOURCE)
        _settle(best, blocks, settings, f"search width {width}")


def _search(best: Incumbent, blocks: Blocks, settings: ExactSettings, width: int) -> bool:
    best.report(f"search width {width}")
    stopped = timed(best.left_s, best.options.cancelled)
    limit = best.value - best.constant
    space = space_bytes(best.problem)
    return blocks.search(width, space, limit, settings.free_moves, stopped)


def _order_of(best: Incumbent) -> tuple[int, ...]:
    index = {op.name: o for o, op in enumerate(best.graph.operators)}
    return tuple(index[name] for name in best.plan.order)


def _settle(
    best: Incumbent,
    blocks: Blocks,
    settings: ExactSettings,
    method: str,
    effort: float = FIRST_EFFORT,
) -> None:
    """Find addresses for the blocks' paths if they promise a better plan."""
    steps = blocks.steps()
    if steps is None or blocks.cost + best.constant >= best.value:
        return
    schedule = schedule_of(best.problem, steps)
    if not _offer(best, settings, schedule, method, effort):
        place_with_evictions(best, schedule, f"{method}, repaired")


def _make_slack(best: Incumbent, settings: ExactSettings, least: int) -> None:
    """Look for schedules of the least cost that leave room, which are easier to pack."""
    problem = best.problem
    largest = max(map(problem.demand, range(problem.operators)))
    for share in SLACK:
        capacity = max(int(space_bytes(problem) * share), largest)
        blocks = Blocks(Space(problem, settings.sequences))
        stopped = timed(best.left_s * PACK_SHARE, best.options.cancelled)
        for beam in SLACK_WIDTHS:
            limit = best.value - best.constant
            if not blocks.search(beam, capacity, limit, settings.free_moves, stopped):
                return
            if blocks.cost <= least or blocks.solved:
                break
        _settle(best, blocks, settings, f"search in {share:.0%} of the space")
        if best.done():
            return


def _improve_locally(best: Incumbent, blocks: Blocks, settings: ExactSettings) -> None:
    """Windows of the best order known."""
    steps = blocks.steps()
    if steps is None:
        return

    def settle(schedule: Schedule) -> None:
        if not _offer(best, settings, schedule, "windows"):
            place_with_evictions(best, schedule, "windows, repaired")

    blocks.adopt(improve_locally(best, blocks.space, steps, settings.free_moves, settle))


def _offer(
    best: Incumbent,
    settings: ExactSettings,
    schedule: Schedule,
    method: str,
    effort: float = FIRST_EFFORT,
) -> bool:
    best.report("packing")
    # Worth long efforts only once nothing cheaper is left to be found.
    cost = traffic_bytes(best.problem, schedule.stays) + best.constant
    effort = FINAL_EFFORT if cost <= best.bound else effort
    search = effort if settings.pack_search else 0.0
    packing = pack(best.problem, schedule, best.limits(PACK_SHARE), effort=search)
    if packing.addresses is None:
        return False
    return best.offer(schedule, packing.addresses, method)
