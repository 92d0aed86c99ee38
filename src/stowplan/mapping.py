"""Planner ``rl`` with what the integer program of the mapping knows: a bound, and one more plan.

The memory mapper and the solver do not know each other, so their results meet here. The program is
solved for the order of operators that the mapper chose, in the last fifth of the time limit; its
plan replaces the mapper's where the simulator finds it faster. The linear relaxation bounds the
predicted latency of every plan in that order, which is every plan at all if the graph has only one.

Setting ``program`` (``on`` or ``off``) beside those of ``rl_mapper.planner``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from stowplan.errors import UsageError
from stowplan.ilp.mapping import bound_mapping
from stowplan.ilp.mapping_instance import Clock, mapping_instance
from stowplan.ilp.mapping_plan import mapping_plan
from stowplan.ilp.milp import Limits
from stowplan.ir.graph import Graph
from stowplan.ir.plan import Plan, Proof
from stowplan.passes.clock import planning_seconds
from stowplan.passes.latency import latency_model
from stowplan.passes.planner import PlanOptions, Progress
from stowplan.passes.problem import planning_problem
from stowplan.rl_mapper import planner as mapper
from stowplan.simulator.engine import simulate
from stowplan.simulator.lower import lower
from stowplan.targets.target import Target

SHARE = 1 / 5
"""Of the time limit, for the program."""
RELAXATION_S = 5.0
"""Most seconds for the relaxation; networks of some hundred operators take a tenth of one."""


@dataclass(frozen=True, slots=True)
class OrderBound:
    """What no plan in an order of operators undercuts.

    Attributes:
        cycles: the bound.
        only_order: the graph has no other order, so it bounds all plans.
    """

    cycles: int
    only_order: bool


def mapping_bound(
    graph: Graph,
    target: Target,
    track_weights: bool,
    order: Sequence[int],
    clock: Clock = "predicted",
    limits: Limits | None = None,
) -> OrderBound:
    """Bound of the latency in ``order`` from the linear relaxation.

    Args:
        graph: a valid graph.
        target: a machine whose operators reach DRAM.
        track_weights: weights are mapped like any other storage rather than streamed.
        order: operator indices in execution order.
        clock: whose latency: the prediction's, or the simulator's with DRAM in bandwidth mode.
        limits: of the solver.
    """
    limits = limits or Limits(RELAXATION_S, 1, 0, lambda: False)
    instance = mapping_instance(graph, target, track_weights, order, clock)
    before = planning_problem(graph, target.memory_spec(track_weights)).predecessors
    only = all(o in before[p] for o, p in pairwise(order))
    return OrderBound(bound_mapping(instance, limits, integer=False).cycles, only)


def plan_rl(graph: Graph, target: Target, options: PlanOptions) -> Plan:
    """Plan ``graph`` on ``target``; never worse than ``greedy`` in simulation.

    Raises:
        InfeasiblePlanError: some operator alone exceeds the scratchpad.
        UsageError: unknown objective or setting, or a weight buffer that keeps weights.
    """
    began = planning_seconds()
    if target.memory_spec(options.track_weights).keeps_weights:
        raise UsageError(
            "planner 'rl' takes streamed weights for the same in every order: plan with 'greedy' "
            "or 'lns', with weights in the scratchpad, or set weight_buffer.keeps=false"
        )
    use, others = _program(options)
    if options.objective != "cycles" or not target.dram.direct_operands or not graph.operators:
        return mapper.plan_rl(graph, target, replace(options, settings=others))
    share = 1 - SHARE if use else 1.0
    own = replace(options, settings=others, time_limit_s=options.time_limit_s * share)
    plan = mapper.plan_rl(graph, target, own)
    if use and not options.cancelled():
        left = options.time_limit_s - (planning_seconds() - began) - RELAXATION_S
        seconds = min(left, options.time_limit_s * SHARE)
        plan = faster_plan(graph, target, plan, _limits(options, seconds))
    proof = _proof(graph, target, plan, _limits(options, RELAXATION_S))
    proof = replace(proof, wall_s=planning_seconds() - began)
    options.on_progress(Progress("bounded", proof.value, proof.lower_bound, proof.wall_s))
    return replace(plan, proof=proof)


def _program(options: PlanOptions) -> tuple[bool, tuple[tuple[str, str], ...]]:
    """Whether to use the program, and the settings of the mapper."""
    others = tuple(setting for setting in options.settings if setting[0] != "program")
    chosen = [choice for name, choice in options.settings if name == "program"]
    for choice in chosen:
        if choice not in ("on", "off"):
            raise UsageError(f"planner 'rl': program = on or off, not {choice!r}")
    return chosen[-1:] != ["off"], others


def _limits(options: PlanOptions, seconds: float) -> Limits:
    return Limits(max(0.1, seconds), 1, options.seed, options.cancelled)


def faster_plan(graph: Graph, target: Target, plan: Plan, limits: Limits) -> Plan:
    """``plan``, or the program's for the same order where the simulator finds that faster."""
    order = _order(graph, plan)
    problem = planning_problem(graph, target.memory_spec(plan.track_weights))
    instance = mapping_instance(graph, target, plan.track_weights, order)
    found = bound_mapping(instance, limits)
    if not found.choices:
        return plan
    proof = replace(plan.proof, method=found.method, solver=found.method.rpartition(", ")[2])
    other = mapping_plan(problem, target, order, instance, found, proof, plan.planner)

    def cycles(candidate: Plan) -> int:
        return simulate(lower(graph, candidate, target), target).cycles

    return other if cycles(other) < cycles(plan) else plan


def _proof(graph: Graph, target: Target, plan: Plan, limits: Limits) -> Proof:
    """The plan's proof with its own value and the better bound."""
    memory = target.memory_spec(plan.track_weights)
    value = latency_model(graph, target, memory).predict(plan)
    order = _order(graph, plan)
    bound = mapping_bound(graph, target, plan.track_weights, order, limits=limits)
    proof = replace(plan.proof, value=value)
    if bound.cycles <= proof.lower_bound:
        return proof
    source = "linear relaxation of the mapping"
    if bound.only_order:
        return replace(proof, lower_bound=min(value, bound.cycles), bound_source=source)
    known = f"{source}: {bound.cycles} cycles in this order of operators"
    return replace(proof, bound_source=f"{proof.bound_source}; {known}")


def _order(graph: Graph, plan: Plan) -> tuple[int, ...]:
    number = {op.name: n for n, op in enumerate(graph.operators)}
    return tuple(number[name] for name in plan.order)
