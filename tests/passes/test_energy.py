"""Predicted energy against the simulator, and as an objective."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import random_case

from stowplan.ir.traffic import traffic
from stowplan.passes.energy import energy_bound, energy_model
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.planner import PlanOptions
from stowplan.passes.problem import planning_problem
from stowplan.planners import get_planner
from stowplan.simulator.engine import simulate
from stowplan.simulator.lower import lower


@given(st.integers(0, 1 << 30), st.integers(1, 25))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_prediction_equals_the_simulator(seed: int, operators: int) -> None:
    case = random_case(seed, operators)
    options = PlanOptions(objective="energy", track_weights=case.track_weights)
    plan = plan_greedy(case.graph, case.target, options)
    result = simulate(lower(case.graph, plan, case.target), case.target)
    assert plan.proof.value == pytest.approx(result.total_pj, abs=1)
    assert plan.proof.lower_bound <= plan.proof.value


@pytest.mark.parametrize("seed", range(6))
def test_least_energy_is_least_traffic_where_nothing_is_direct(seed: int) -> None:
    case = random_case(seed, 12, direct_operands=False)
    memory = case.target.memory_spec(case.track_weights)
    common = PlanOptions(time_limit_s=3.0, workers=1, track_weights=case.track_weights)
    model = energy_model(case.graph, case.target)
    for planner in ("greedy", "lns"):
        options = PlanOptions("energy", 3.0, workers=1, track_weights=case.track_weights)
        plan = get_planner(planner)(case.graph, case.target, options)
        least = get_planner(planner)(case.graph, case.target, common)
        assert plan.proof.value == model.predict(traffic(case.graph, plan, memory))
        assert plan.proof.value == model.predict(traffic(case.graph, least, memory))
        problem = planning_problem(case.graph, memory)
        bound = energy_bound(problem, case.target, plan, least.proof.lower_bound)
        assert plan.proof.lower_bound == bound <= plan.proof.value
