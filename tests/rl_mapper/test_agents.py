"""Baselines, network, search and planner on small games."""

from dataclasses import replace

import numpy as np
import pytest
from tests.strategies import random_graph, small_target

from stowplan.errors import UsageError
from stowplan.ir.check_plan import check_plan
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.planner import PlanOptions
from stowplan.rl_mapper import baselines
from stowplan.rl_mapper import network_kernels as layers
from stowplan.rl_mapper.agents import MappingPosition, best_of, search_play
from stowplan.rl_mapper.baselines import Outcome
from stowplan.rl_mapper.game import Game, Instance, build_instance
from stowplan.rl_mapper.heuristic import assign, heuristic_plan
from stowplan.rl_mapper.mapping import simulated_cycles
from stowplan.rl_mapper.network import Player, load_network, random_network, save_network
from stowplan.rl_mapper.planner import plan_rl
from stowplan.rl_mapper.search import GumbelSearch, Mask, SearchOptions
from stowplan.rl_mapper.training_graphs import training_game, training_graph, training_target

SEEDS = (0, 1, 2)
GAMES = {seed: training_game(seed) for seed in SEEDS}


class Ladder:
    """Climb or stop, three times; only climbing all the way pays."""

    actions = 2

    def __init__(self) -> None:
        self.moves: list[int] = []

    def legal(self) -> Mask:
        return np.full(2, len(self.moves) < 3)

    def play(self, action: int) -> float:
        self.moves.append(action)
        return float(self.moves == [1, 1, 1])

    def undo(self) -> None:
        self.moves.pop()

    def evaluate(self, mask: Mask) -> tuple[np.ndarray, float]:
        return np.zeros(2), 0.0


def test_search_finds_a_reward_that_comes_late() -> None:
    game = Ladder()
    search = GumbelSearch(game, SearchOptions(simulations=64, considered=2, value_scale=0.1))
    for _ in range(3):
        action, policy = search.choose()
        assert policy.sum() == pytest.approx(1.0)
        game.play(action)
    assert game.moves == [1, 1, 1]
    assert search.choose()[0] == -1


@pytest.mark.parametrize("simulations", (1, 2, 7, 32))
def test_search_leaves_the_position_alone(simulations: int) -> None:
    player = Player(GAMES[0], random_network(1))
    search = GumbelSearch(MappingPosition(player), SearchOptions(simulations, noise=1.0), seed=3)
    mask = player.game.legal()
    action, policy = search.choose()
    assert player.game.cursor == 0
    assert mask[action] and (policy[~mask] == 0).all()


def replay(instance: Instance, outcome: Outcome) -> int:
    game = Game(instance)
    game.follow(outcome.wishes)
    return game.cycles


@pytest.mark.parametrize("seed", SEEDS)
def test_outcomes_play_to_the_latency_they_claim(seed: int) -> None:
    game = GAMES[seed]
    player = Player(game, load_network())
    outcomes = {
        "drop": baselines.all_drop(game),
        "greedy": baselines.greedy(game),
        "random": baselines.random_restarts(game, 10),
        "beam": baselines.beam(game, 3),
        "population": baselines.population(game, 40),
        "evolution": baselines.evolution(game, 60),
        "policy": best_of(player, 4),
        "search": search_play(player, SearchOptions(simulations=4)),
    }
    for name, outcome in outcomes.items():
        assert replay(game, outcome) == outcome.cycles, name
        assert game.bound_cycles <= outcome.cycles
    start = min(baselines.greedy(game).cycles, baselines.all_on_chip(game).cycles)
    assert outcomes["evolution"].cycles <= start
    assert outcomes["population"].cycles <= start
    assert outcomes["random"].cycles <= outcomes["drop"].cycles == game.all_drop_cycles


def test_local_search_only_descends_and_is_repeatable() -> None:
    game = GAMES[1]
    few, many = baselines.evolution(game, 110, seed=4), baselines.evolution(game, 410, seed=4)
    assert many.cycles <= few.cycles
    again = baselines.evolution(game, 410, seed=4)
    assert again.cycles == many.cycles and (again.wishes == many.wishes).all()


def test_shipped_network_plays_better_than_chance() -> None:
    """Mean over training games; the benchmark measures models that training never saw."""
    gains = []
    for game in GAMES.values():
        trained = Player(game, load_network()).play()
        random = np.mean([Player(game, random_network(seed)).play() for seed in range(3)])
        gains.append((random - trained) / game.scale_cycles)
    assert np.mean(gains) > 0.05


def test_weights_survive_their_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    network = random_network(5)
    save_network(tmp_path / "new" / "w.npz", network)
    loaded = load_network(tmp_path / "new" / "w.npz")
    assert all((a == b).all() for a, b in zip(network, loaded, strict=True))
    np.savez(tmp_path / "other.npz", profile=np.zeros(3))
    for bad in ("other.npz", "absent.npz"):
        with pytest.raises(UsageError):
            load_network(tmp_path / bad)


def test_numba_forward_is_the_plain_formula() -> None:
    network = random_network(2)
    seen = np.random.default_rng(0).normal(size=layers.OBSERVATION).astype(np.float32)
    out = np.zeros(4, dtype=np.float32)
    layers.forward(network, seen, out)

    def dense(x: np.ndarray, layer: np.ndarray) -> np.ndarray:
        return np.asarray(x @ layer[:-1] + layer[-1])

    end = layers.PROFILE + layers.AHEAD * layers.PER_DECISION
    profile = np.maximum(dense(seen[: layers.PROFILE], network.profile), 0)
    tokens = seen[layers.PROFILE : end].reshape(layers.AHEAD, layers.PER_DECISION)
    codes = np.maximum(dense(tokens, network.token), 0).reshape(-1)
    sequence = np.maximum(dense(codes, network.sequence), 0)
    x = np.concatenate([profile, sequence, seen[end:]])
    for layer in (network.first, network.second):
        x = np.maximum(dense(x, layer), 0)
    assert out == pytest.approx(dense(x, network.out), abs=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_planner_is_never_slower_than_greedy(seed: int) -> None:
    graph, target = training_graph(seed), training_target(seed)
    options = PlanOptions("cycles", 3600.0, track_weights=True)
    settings = (("evaluations", "150"), ("plays", "2"), ("simulations", "2"))
    plan = plan_rl(graph, target, replace(options, settings=settings))
    base = plan_greedy(graph, target, options)
    assert check_plan(graph, plan, target.memory_spec(True)) == ()
    assert base.proof.lower_bound <= plan.proof.value
    instance = build_instance(graph, target)
    own = heuristic_plan(instance, assign(instance))
    slowest = min(simulated_cycles(instance, base), simulated_cycles(instance, own))
    assert simulated_cycles(instance, plan) <= slowest


def test_planner_refuses_unknown_settings() -> None:
    graph, target = random_graph(0, 3), small_target(1000, direct_operands=True)
    for setting in (("network", "maybe"), ("plays", "many"), ("luck", "on")):
        with pytest.raises(UsageError, match=setting[0]):
            plan_rl(graph, target, PlanOptions("cycles", settings=(setting,)))
