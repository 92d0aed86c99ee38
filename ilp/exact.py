"""Planner ``exact``: order, residencies and addresses to proven optimality.

Stages, each only while the bound is below the best plan:

1. ``greedy`` gives the first plan; a plan without avoidable traffic ends it.
2. ``ilp.search`` finds the best order and residencies by space alone, with growing width. Its
   bound holds for the joint problem because addresses only restrict it further.
3. ``ilp.packing`` finds addresses. When it does, plan and bound meet and the plan is a joint
   optimum.
"""


from stowplan.ilp.incumbent import Incumbent
from stowplan.ilp.packing import pack
from stowplan.ilp.schedule import space_bytes
from stowplan.ilp.search import SearchOptions, Tables, search, timed, widths
from stowplan.ir.graph import Graph
from stowplan.ir.plan import Plan
from stowplan.passes.planner import PlanOptions
from stowplan.targets.target import Target


def plan_exact(graph: Graph, target: Target, options: PlanOptions) -> Plan:
    """Plan with a proof where one is found in time; never worse than greedy.

    Raises:
        InfeasiblePlanError: no plan fits.
        UsageError: a setting or an objective this planner does not know.
    """
    best = Incumbent.start(graph, target, options, "exact")
    try:
        _improve(best)
    except KeyboardInterrupt:
        best.trace.append("interrupted")
    return best.finish()


def _improve(best: Incumbent) -> None:
    problem = best.problem
    if best.done() or not problem.operators or problem.memory.direct_dram:
        return
    tables = Tables(problem)
    for width in widths(300_000):
        if best.done():
            return
        best.report(f"search {width}")
        outcome = search(
            tables,
            SearchOptions(
                capacity_bytes=space_bytes(problem),
                below=best.value - best.constant,
                width=width,
                free_moves=True,
                ahead=lambda done: 0,
                stopped=timed(best.left_s, best.options.cancelled),
            ),
        )
        if outcome.finished:
            best.raise_bound(outcome.bound + best.constant, "search over orders and residencies")
        if outcome.schedule is not None:
            packing = pack(problem, outcome.schedule, best.limits(0.3, 20.0))
            if packing.addresses is not None:
                best.offer(outcome.schedule, packing.addresses, f"search {width}")
            else:
                best.trace.append("not packed")
