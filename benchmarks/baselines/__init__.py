"""What planners are measured against: a fixed order, replacement on demand, an arena.

A baseline takes an order, runs a replacement policy over it by bytes alone, and allocates the
stays that result in an arena, the largest first. Where the arena has no hole for a stay, the policy
evicts once more. Two orders times two policies make the four baselines of the literature. They
share no code with the planners; every plan goes through the checker.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmarks.baselines.arena import allocate
from benchmarks.baselines.replacement import (
    Choose,
    evictions,
    fewest_bytes,
    furthest_next_use,
    use_steps,
)
from stowplan.ir.check_plan import require_valid
from stowplan.ir.graph import Graph
from stowplan.ir.plan import Plan, Proof
from stowplan.ir.traffic import traffic
from stowplan.passes.assemble import assemble_plan
from stowplan.passes.problem import planning_problem
from stowplan.targets.target import Target

POLICIES: Mapping[str, Choose] = {"belady": furthest_next_use, "greedy": fewest_bytes}
"""Replacement policies by name."""


def baseline_plan(
    graph: Graph, target: Target, track_weights: bool, order: Sequence[int], policy: str
) -> Plan:
    """A checked plan in which ``order`` is fixed and ``policy`` chooses what to evict.

    Args:
        graph: the graph.
        target: the machine.
        track_weights: weights are storages.
        order: operator indices in execution order.
        policy: name of a replacement policy.

    Raises:
        InfeasiblePlanError: an operator alone does not fit.
    """
    memory = target.memory_spec(track_weights)
    problem = planning_problem(graph, memory)
    problem.check_fits()
    choose = POLICIES[policy]
    uses = use_steps(problem, order)
    evicted = evictions(problem, order, uses, choose)
    stays, addresses = allocate(problem, order, uses, evicted, choose)
    proof = Proof("offchip", 0, 0, f"arena, {policy}", "none claimed")
    plan = assemble_plan(problem, target, order, stays, addresses, proof, f"arena-{policy}")
    require_valid(graph, plan, memory)
    value = traffic(graph, plan, memory).noncompulsory_bytes
    return replace(plan, proof=replace(proof, value=value))
