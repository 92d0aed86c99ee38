"""Exact planners against exhaustive search, against each other, and against the checker."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ilp.brute_force import least_noncompulsory_bytes
from tests.ilp.instances import Features, random_graph, small_target

from stowplan.errors import InfeasiblePlanError, UsageError
from stowplan.ilp.cosma import plan_cosma
from stowplan.ilp.exact import plan_exact, plan_lns
from stowplan.ir.check_plan import check_plan
from stowplan.ir.graph import Graph
from stowplan.ir.plan import Plan
from stowplan.ir.traffic import traffic
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.planner import PlanOptions
from stowplan.passes.problem import planning_problem
from stowplan.targets.target import Target


def tight_target(graph: Graph, track_weights: bool, spare_bytes: int) -> Target:
    """The scratchpad the largest operator just fits, and a few bytes."""
    problem = planning_problem(graph, small_target(10**6).memory_spec(track_weights))
    return small_target(max(map(problem.demand, range(problem.operators))) + spare_bytes)


def streamed_again(graph: Graph, plan: Plan, target: Target) -> int:
    """Bytes every plan moves for weights read more than once."""
    nothing = replace(plan, residencies=(), transfers=(), direct=())
    return traffic(graph, nothing, target.memory_spec(plan.track_weights)).noncompulsory_bytes


@pytest.mark.parametrize("seed", range(60))
def test_exact_equals_brute_force(seed: int) -> None:
    """Order, residencies and addresses: value and bound are the exhaustive optimum."""
    track = seed % 2 == 0
    graph = random_graph(seed, Features(operators=3 + seed % 2, sizes=(1, 2, 3)))
    target = tight_target(graph, track, random.Random(seed).choice((0, 0, 1)))
    plan = plan_exact(graph, target, PlanOptions(track_weights=track, time_limit_s=20, workers=1))
    memory = target.memory_spec(track)
    assert check_plan(graph, plan, memory) == ()
    try:
        least = least_noncompulsory_bytes(graph, memory, max_states=30_000)
    except MemoryError:
        pytest.skip("too many states for the exhaustive search")
    assert least is not None
    assert plan.proof.lower_bound == least + streamed_again(graph, plan, target)
    assert plan.proof.value == plan.proof.lower_bound
    assert traffic(graph, plan, memory).noncompulsory_bytes == plan.proof.value


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(10**3, 10**6), operators=st.integers(6, 14), track=st.booleans())
def test_exact_is_never_worse_than_greedy_and_always_valid(
    seed: int, operators: int, track: bool
) -> None:
    graph = random_graph(seed, Features(operators=operators, sizes=(8, 16, 24, 40)))
    target = tight_target(graph, track, seed % 3 * 8)
    options = PlanOptions(track_weights=track, time_limit_s=3, workers=1)
    greedy = plan_greedy(graph, target, options)
    for planner in (plan_exact, plan_lns):
        plan = planner(graph, target, options)
        assert check_plan(graph, plan, target.memory_spec(track)) == ()
        assert plan.proof.lower_bound <= plan.proof.value <= greedy.proof.value


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(10**3, 10**6), track=st.booleans())
def test_every_switch_leaves_the_optimum(seed: int, track: bool) -> None:
    """Sequences, free moves and the rest are accelerations: none changes the proven value."""
    graph = random_graph(seed, Features(operators=8))
    target = tight_target(graph, track, seed % 2)
    plain = PlanOptions(track_weights=track, time_limit_s=20, workers=1)
    reference = plan_exact(graph, target, plain).proof
    for switched in (
        (("sequences", "off"),),
        (("free_moves", "off"),),
        (("sequences", "off"), ("free_moves", "off"), ("slack", "off")),
    ):
        proof = plan_exact(graph, target, replace(plain, settings=switched)).proof
        assert proof.lower_bound <= reference.value
        assert proof.value >= reference.lower_bound
        if proof.gap == 0 and reference.gap == 0:
            assert proof.value == reference.value


@pytest.mark.parametrize("seed", range(8))
def test_cosma_agrees_with_exact(seed: int) -> None:
    track = seed % 2 == 0
    graph = random_graph(seed + 50, Features(operators=4, sizes=(1, 2, 3)))
    target = tight_target(graph, track, 0)
    options = PlanOptions(track_weights=track, time_limit_s=6, workers=1)
    exact = plan_exact(graph, target, options)
    cosma = plan_cosma(graph, target, options)
    assert check_plan(graph, cosma, target.memory_spec(track)) == ()
    assert cosma.proof.lower_bound <= exact.proof.value
    assert exact.proof.lower_bound <= cosma.proof.value
    if cosma.proof.gap == 0:
        assert cosma.proof.value == exact.proof.value


def test_a_width_of_one_still_states_an_honest_bound() -> None:
    for seed in range(30):
        graph = random_graph(seed, Features(operators=9))
        target = tight_target(graph, False, 0)
        narrow = (("width", "1"), ("joint", "off"), ("lns", "off"))
        limited = plan_exact(graph, target, PlanOptions(settings=narrow, workers=1))
        full = plan_exact(graph, target, PlanOptions(workers=1, time_limit_s=20))
        assert limited.proof.lower_bound <= full.proof.value <= limited.proof.value


def test_cancelled_planners_return_a_valid_plan() -> None:
    graph = random_graph(3, Features(operators=10))
    target = tight_target(graph, False, 0)
    options = PlanOptions(cancelled=lambda: True, workers=1)
    for planner in (plan_exact, plan_lns, plan_cosma):
        plan = planner(graph, target, options)
        assert check_plan(graph, plan, target.memory_spec(False)) == ()
        assert plan.proof.lower_bound <= plan.proof.value


def test_too_small_a_scratchpad_is_reported() -> None:
    graph = random_graph(5, Features(operators=5))
    for planner in (plan_exact, plan_lns, plan_cosma):
        with pytest.raises(InfeasiblePlanError):
            planner(graph, small_target(1), PlanOptions())


@pytest.mark.parametrize(
    "setting", [("nonsense", "on"), ("width", "many"), ("lns", "perhaps"), ("pack", "badly")]
)
def test_bad_settings_are_usage_errors(setting: tuple[str, str]) -> None:
    graph = random_graph(5, Features(operators=5))
    with pytest.raises(UsageError):
        plan_exact(graph, small_target(1000), PlanOptions(settings=(setting,)))
