"""Planner ``lns``: large-neighbourhood search, seeded by ``greedy``, with a bound for all orders.

Tiled graphs are improved in windows of tiles (``ilp.stripes``); for others, and for the time that
is left, see ``ilp.exact``.
"""

from stowplan.ilp import exact
from stowplan.ilp.exact import exact_settings
from stowplan.ilp.incumbent import Incumbent
from stowplan.ilp.stripes import improve_stripes
from stowplan.ir.graph import Graph
from stowplan.ir.plan import Plan
from stowplan.passes.planner import PlanOptions
from stowplan.targets.target import Target


def plan_lns(graph: Graph, target: Target, options: PlanOptions) -> Plan:
    """Plan large and tiled graphs within the time limit; never worse than greedy.

    Raises:
        InfeasiblePlanError: no plan fits.
        UsageError: a setting or an objective this planner does not know.
    """
    if not any(op.parent for op in graph.operators):
        return exact.plan_lns(graph, target, options)
    exact_settings(options, "lns")
    best = Incumbent.start(graph, target, options, "lns")
    if not best.done():
        try:
            improve_stripes(best)
        except KeyboardInterrupt:
            best.trace.append("interrupted")
    return best.finish()
