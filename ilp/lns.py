"""Planner ``lns``: large-neighbourhood search, seeded by ``greedy``, with a bound for all orders.

Tiled graphs are improved in windows of tiles (``ilp.stripes``); for others, and for the time that
is left, see ``ilp.exact``.
"""

from dataclasses import replace

from stowplan.ilp import exact
from stowplan.ilp.exact import exact_settings
from stowplan.ilp.incumbent import Incumbent
from stowplan.ilp.stripes import improve_stripes
from stowplan.ir.graph import Graph
from stowplan.ir.plan import Plan
from stowplan.ir.traffic import traffic
from stowplan.passes.energy import energy_bound, energy_model
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.planner import PlanOptions
from stowplan.passes.problem import planning_problem
from stowplan.targets.target import Target


def plan_lns(graph: Graph, target: Target, options: PlanOptions) -> Plan:
    """Plan large and tiled graphs within the time limit; never worse than greedy.

    Raises:
        InfeasiblePlanError: no plan fits.
        UsageError: a setting or an objective this planner does not know.
    """
    if options.objective == "energy":
        return _least_energy(graph, target, options)
    tiled = any(op.parent for op in graph.operators)
    if not tiled and not target.memory_spec(options.track_weights).keeps_weights:
        return exact.plan_lns(graph, target, options)
    exact_settings(options, "lns")
    best = Incumbent.start(graph, target, options, "lns")
    if not best.done():
        try:
            improve_stripes(best)
        except KeyboardInterrupt:
            best.trace.append("interrupted")
    return best.finish()


def _least_energy(graph: Graph, target: Target, options: PlanOptions) -> Plan:
    """Energy grows with the off-chip bytes alone, so the plan that moves fewest is taken.

    Where operators reach DRAM directly that does not hold, and ``greedy`` plans.
    """
    memory = target.memory_spec(options.track_weights)
    if memory.direct_dram:
        plan = plan_greedy(graph, target, replace(options, settings=()))
        return replace(plan, planner="lns")
    plan = plan_lns(graph, target, replace(options, objective="offchip"))
    problem = planning_problem(graph, memory)
    proof = replace(
        plan.proof,
        objective="energy",
        value=energy_model(graph, target).predict(traffic(graph, plan, memory)),
        lower_bound=energy_bound(problem, target, plan, plan.proof.lower_bound),
    )
    return replace(plan, proof=proof)
