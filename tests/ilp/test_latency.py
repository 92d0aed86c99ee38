"""Objective ``cycles``: bounds of the exact planner against many valid plans."""

import random
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest
from tests.ilp.instances import Features, random_graph
from tests.ilp.test_exact import tight_target

from stowplan.ilp.exact import plan_exact
from stowplan.ir.check_plan import check_plan
from stowplan.ir.graph import Graph, Operator
from stowplan.ir.plan import Plan
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.latency import latency_model
from stowplan.passes.planner import PlanOptions
from stowplan.passes.problem import planning_problem
from stowplan.targets.target import Dma, Dram, Target


def machine(graph: Graph, seed: int, track: bool) -> Target:
    """A tight scratchpad behind a slow channel, so that hiding transfers matters."""
    rng = random.Random(seed)
    target = tight_target(graph, track, rng.randint(0, 2))
    dma = Dma(setup_cycles=rng.randint(0, 3), burst_bytes=1)
    return msgspec.structs.replace(target, dram=Dram(bytes_per_cycle=1), dma=dma)


@pytest.mark.parametrize("seed", range(24))
def test_exact_never_loses_to_greedy_and_no_plan_undercuts_its_bound(seed: int) -> None:
    track = seed % 2 == 0
    graph = random_graph(seed + 900, Features(operators=3 + seed % 4))
    target = machine(graph, seed, track)
    options = PlanOptions("cycles", time_limit_s=20, track_weights=track, workers=1)
    plan = plan_exact(graph, target, options)
    memory = target.memory_spec(track)
    predict = latency_model(graph, target, memory).predict
    assert check_plan(graph, plan, memory) == ()
    assert plan.proof.lower_bound <= plan.proof.value == predict(plan)
    assert plan.proof.value <= plan_greedy(graph, target, options).proof.value
    for other in valid_plans(graph, target, options):
        assert plan.proof.lower_bound <= predict(other)


def valid_plans(graph: Graph, target: Target, options: PlanOptions) -> Iterator[Plan]:
    """Plans for other objectives, and greedy ones that keep to random orders."""
    rng = random.Random(graph.name)
    for objective in ("offchip", "cycles"):
        for _ in range(15):
            shuffled = graph.replace(operators=tuple(shuffled_operators(graph, target, rng)))
            given = replace(options, objective=objective, settings=(("orders", "graph"),))
            yield plan_greedy(shuffled, target, given)
    yield plan_exact(graph, target, replace(options, objective="offchip"))


def shuffled_operators(graph: Graph, target: Target, rng: random.Random) -> Iterator[Operator]:
    """The operators in a random topological order."""
    problem = planning_problem(graph, target.memory_spec(False))
    waiting = set(range(problem.operators))
    while waiting:
        ready = [o for o in sorted(waiting) if waiting.isdisjoint(problem.predecessors[o])]
        chosen = rng.choice(ready)
        waiting.remove(chosen)
        yield graph.operators[chosen]
