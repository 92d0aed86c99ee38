"""Large-neighbourhood search on tiled graphs, and the bound for all orders."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ilp.brute_force import least_noncompulsory_bytes
from tests.ilp.instances import Features, random_graph
from tests.ilp.test_exact import tight_target

from stowplan.api import Problem, prepare
from stowplan.errors import UsageError
from stowplan.ilp.crossings import crossing_bound
from stowplan.ilp.incumbent import Incumbent
from stowplan.ilp.lns import plan_lns
from stowplan.ilp.milp import Limits
from stowplan.ilp.stripes import improve_stripes
from stowplan.ir.check_plan import check_plan
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.ir.memory import MemorySpec
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.planner import PlanOptions
from stowplan.passes.problem import planning_problem
from stowplan.recipe import Recipe

LIMITS = Limits(5.0, 1, 0, lambda: False)


@pytest.fixture(scope="module")
def tiled() -> Problem:
    sizes = ("scratchpad.size=64KiB",)
    return prepare("light:squeezenet", Recipe(precision="int8", overrides=sizes))


@pytest.mark.parametrize("seed", range(30))
def test_no_plan_beats_the_crossing_bound(seed: int) -> None:
    track = seed % 2 == 0
    graph = random_graph(seed, Features(operators=3 + seed % 2, sizes=(1, 2, 3)))
    memory = tight_target(graph, track, seed % 3 // 2).memory_spec(track)
    bound = crossing_bound(planning_problem(graph, memory), LIMITS)
    try:
        least = least_noncompulsory_bytes(graph, memory, max_states=20_000)
    except MemoryError:
        pytest.skip("too many states for the exhaustive search")
    assert least is not None
    assert bound <= least


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), spare=st.integers(0, 6))
def test_no_greedy_plan_beats_the_crossing_bound(seed: int, spare: int) -> None:
    graph = random_graph(seed, Features(operators=14))
    target = tight_target(graph, True, spare)
    plan = plan_greedy(graph, target, PlanOptions(track_weights=True))
    problem = planning_problem(graph, target.memory_spec(True))
    assert crossing_bound(problem, LIMITS) <= plan.proof.value


def spilled(size: int) -> Graph:
    """``far`` (60 bytes) is made first and read last; 2 x ``size`` bytes are live between."""
    sizes = {"in": 1, "far": 60, "a": size, "b": size, "out": 1}
    roles = {"in": Role.INPUT, "out": Role.OUTPUT}
    tensors = tuple(
        Tensor(name, (n,), DType.INT8, roles.get(name, Role.ACTIVATION))
        for name, n in sizes.items()
    )
    operators = (
        Operator("make", "Conv", ("in",), ("far",)),
        Operator("first", "Conv", ("far",), ("a",)),
        Operator("second", "Conv", ("a",), ("b",)),
        Operator("join", "Conv", ("b", "far"), ("out",)),
    )
    return Graph("spilled", tensors, operators)


@pytest.mark.parametrize(("size", "share"), [(20, 0.0), (25, 1 / 6), (32, 0.4)])
def test_the_bound_counts_what_cannot_stay(size: int, share: float) -> None:
    # While ``second`` runs, 60 + 2 x size bytes are live in 100.
    problem = planning_problem(spilled(size), MemorySpec(100, 1))
    assert crossing_bound(problem, LIMITS) == pytest.approx(2 * 60 * share, abs=1)


@pytest.mark.parametrize("objective", ["offchip", "cycles", "peak", "energy"])
def test_tiled_plans_are_valid_bounded_and_no_worse_than_greedy(
    tiled: Problem, objective: str
) -> None:
    options = PlanOptions(objective, time_limit_s=2.5, workers=1)
    plan = plan_lns(tiled.graph, tiled.target, options)
    assert check_plan(tiled.graph, plan, tiled.target.memory_spec()) == ()
    greedy = plan_greedy(tiled.graph, tiled.target, options)
    assert greedy.proof.lower_bound <= plan.proof.lower_bound <= plan.proof.value
    assert plan.proof.value <= greedy.proof.value
    assert plan.planner == "lns"


def test_windows_improve_a_poor_start(tiled: Problem) -> None:
    options = PlanOptions(time_limit_s=4.0, workers=1)
    poor = plan_greedy(tiled.graph, tiled.target, replace(options, settings=(("fusion", "off"),)))
    best = Incumbent.start(tiled.graph, tiled.target, options, "lns")
    best.plan, best.value = poor, best.measure(poor)
    improve_stripes(best)
    assert best.value < poor.proof.value
    assert check_plan(tiled.graph, best.plan, tiled.target.memory_spec()) == ()


def test_cancelled_search_returns_the_first_plan(tiled: Problem) -> None:
    options = PlanOptions(time_limit_s=60.0, cancelled=lambda: True)
    plan = plan_lns(tiled.graph, tiled.target, options)
    assert check_plan(tiled.graph, plan, tiled.target.memory_spec()) == ()


def test_unknown_objectives_and_settings_are_refused(tiled: Problem) -> None:
    with pytest.raises(UsageError, match="beauty"):
        plan_lns(tiled.graph, tiled.target, PlanOptions("beauty"))
    with pytest.raises(UsageError, match="speed"):
        plan_lns(tiled.graph, tiled.target, PlanOptions(settings=(("speed", "high"),)))
