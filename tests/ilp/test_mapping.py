"""Bounds of the memory-mapping problem, against all plays of small games."""

import numpy as np
import pytest
from tests.ilp.mapping_game import SmallGame, best_play, small_mapping_game
from tests.strategies import random_graph, small_target

from stowplan.ilp.mapping import Choice, MappingBound, bound_mapping, sum_of_computation
from stowplan.ilp.mapping_instance import mapping_instance
from stowplan.ilp.mapping_plan import mapping_plan
from stowplan.ilp.milp import Limits
from stowplan.ir.check_plan import check_plan
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.latency import latency_model
from stowplan.passes.planner import PlanOptions
from stowplan.rl_mapper import game_kernels as kernels
from stowplan.rl_mapper.game import COPY, DROP, NOCOPY, Game, build_instance
from stowplan.rl_mapper.heuristic import assign, heuristic_plan
from stowplan.rl_mapper.mapping import OPEN_PROOF, plan_of, simulated_cycles
from stowplan.rl_mapper.training_graphs import training_graph, training_target

LIMITS = Limits(seconds=60.0, workers=1, seed=0, cancelled=lambda: False)
SEEDS = 120


def replayed(case: SmallGame, bound: MappingBound) -> int:
    """Latency of the game when the program's choices are played."""
    game = Game(case.game)
    game.follow(np.array(bound.choices, dtype=np.int64))
    return game.cycles


def test_no_play_of_a_small_game_undercuts_the_bound() -> None:
    """All plays are made, and for most games the program's choices replayed are the best play."""
    gaps, reached = [], 0
    for seed in range(SEEDS):
        case = small_mapping_game(seed)
        if case is None:
            continue
        best, actions = best_play(case.game)
        linear = bound_mapping(case.mapping, LIMITS, integer=False)
        bound = bound_mapping(case.mapping, LIMITS)
        assert bound.optimal
        assert linear.cycles - 1 <= bound.cycles <= best, f"seed {seed}: {actions}"
        gaps.append(1 - bound.cycles / best)
        reached += replayed(case, bound) == best
    assert len(gaps) >= 75
    assert reached >= 0.7 * len(gaps)
    assert np.mean(gaps) <= 0.06


@pytest.mark.parametrize("seed", range(10))
def test_no_simulated_plan_undercuts_the_bound(seed: int) -> None:
    instance = build_instance(training_graph(seed), training_target(seed))
    graph, target = instance.problem.graph, instance.target
    bound = bound_mapping(mapping_instance(graph, target), LIMITS, integer=False).cycles
    assert bound >= sum_of_computation(mapping_instance(graph, target))
    game, rng = Game(instance), np.random.default_rng(seed)
    plans = [heuristic_plan(instance, assign(instance))]
    for n in range(3):
        game.reset()
        kernels.rollout(instance.rules, game.state, rng.dirichlet((1.0, 2.0, 0.3)), seed + n)
        assert game.cycles >= bound
        plans.append(plan_of(game))
    for plan in plans:
        assert simulated_cycles(instance, plan) >= bound


@pytest.mark.parametrize("seed", range(14))
@pytest.mark.parametrize("track", [True, False])
def test_no_predicted_plan_undercuts_the_bound(seed: int, track: bool) -> None:
    graph = random_graph(seed, 12, 2048)
    target = small_target(1 << (9 + seed % 5), 4, direct_operands=True)
    plan = plan_greedy(graph, target, PlanOptions("cycles", 5.0, track_weights=track))
    number = {op.name: n for n, op in enumerate(graph.operators)}
    order = [number[name] for name in plan.order]
    predicted = latency_model(graph, target, target.memory_spec(track)).predict(plan)
    instance = mapping_instance(graph, target, track, order, clock="predicted")
    assert bound_mapping(instance, LIMITS).cycles <= predicted
    instance = mapping_instance(graph, target, track, order)
    game = build_instance(graph, target, track, order)
    assert bound_mapping(instance, LIMITS).cycles <= simulated_cycles(game, plan)


def test_choices_are_numbered_as_actions() -> None:
    assert (Choice.COPY, Choice.NOCOPY, Choice.DROP) == (COPY, NOCOPY, DROP)


@pytest.mark.parametrize("seed", range(8))
def test_accesses_are_in_the_order_of_decisions(seed: int) -> None:
    instance = build_instance(training_graph(seed), training_target(seed))
    mapping = mapping_instance(instance.problem.graph, instance.target)
    rows = instance.rules.decision[:, [kernels.STORAGE, kernels.STEP]].tolist()
    assert [[access.storage, access.step] for access in mapping.accesses] == rows
    names = [storage.name for storage in instance.problem.storages]
    assert [storage.name for storage in mapping.storages] == names


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("track", [True, False])
def test_plans_of_solutions_are_valid(seed: int, track: bool) -> None:
    graph = random_graph(seed, 14, 512)
    target = small_target(256 << (seed % 4), (1, 4, 64)[seed % 3], direct_operands=True)
    game = build_instance(graph, target, track)
    instance = mapping_instance(graph, target, track)
    bound = bound_mapping(instance, Limits(2.0, 1, 0, lambda: False))
    plan = mapping_plan(game.problem, target, game.order, instance, bound, OPEN_PROOF, "ilp")
    assert check_plan(graph, plan, game.problem.memory) == ()
    assert simulated_cycles(game, plan) >= bound.cycles


def test_without_a_solution_the_plan_drops_everything() -> None:
    graph, target = training_graph(0), training_target(0)
    game, instance = build_instance(graph, target), mapping_instance(graph, target)
    bound = bound_mapping(instance, LIMITS, integer=False)
    assert bound.choices == ()
    plan = mapping_plan(game.problem, target, game.order, instance, bound, OPEN_PROOF, "ilp")
    assert check_plan(graph, plan, game.problem.memory) == ()
    assert len(plan.direct) == game.decisions
