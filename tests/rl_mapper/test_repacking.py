"""Pooled memory, packing of its plays, and the local search that is made of both."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import random_graph, small_target

from stowplan.ir.check_plan import check_plan
from stowplan.rl_mapper import baselines
from stowplan.rl_mapper import game_kernels as kernels
from stowplan.rl_mapper.baselines import Outcome, replay
from stowplan.rl_mapper.game import COPY, NOCOPY, Game, Instance, build_instance
from stowplan.rl_mapper.mapping import plan_of
from stowplan.rl_mapper.network import Player, load_network
from stowplan.rl_mapper.packing import packed_hints, pooled
from stowplan.rl_mapper.repacking import Start, repacked
from stowplan.rl_mapper.training_graphs import training_game


def small_game(seed: int, size_bytes: int) -> Instance:
    graph = random_graph(seed, 14)
    return build_instance(graph, small_target(size_bytes, direct_operands=True))


def pooled_play(instance: Instance, seed: int) -> Game:
    game = Game(pooled(instance))
    kernels.rollout(game.instance.rules, game.state, np.array([2.0, 3.0, 1.0]), seed)
    assert game.done
    return game


def capacity(instance: Instance) -> int:
    return int(instance.rules.limits[kernels.CAPACITY])


def rectangles(game: Game, hints: kernels.Ints) -> list[tuple[int, int, int, int, int]]:
    """(storage, address, size, begin, end) of every stay that has an address."""
    rules = game.instance.rules
    begun = [
        a
        for a, action in enumerate(game.actions.tolist())
        if action == COPY or (action == NOCOPY and rules.decision[a, kernels.DEFINES])
    ]
    stays = game.state.stay[: game.state.scalar[0, kernels.STAYS]]
    assert len(begun) == len(stays)
    return [
        (
            int(row[kernels.S_STORAGE]),
            int(hints[a]),
            int(rules.storage[row[kernels.S_STORAGE], kernels.SIZE]),
            int(row[kernels.S_RESERVED]),
            int(row[kernels.S_END]),
        )
        for a, row in zip(begun, stays, strict=True)
        if hints[a] >= 0
    ]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), size_bytes=st.integers(32, 400))
def test_packed_stays_do_not_overlap(seed: int, size_bytes: int) -> None:
    instance = small_game(seed, size_bytes)
    game = pooled_play(instance, seed)
    placed = rectangles(game, packed_hints(game, capacity(instance)))
    for n, (storage, low, size, begin, end) in enumerate(placed):
        assert low >= 0 and low + size <= capacity(instance)
        for other, address, extent, first, last in placed[:n]:
            shared = low == address and (first == end - 1 or begin == last - 1)
            assert (
                low >= address + extent
                or address >= low + size
                or begin >= last
                or first >= end
                or shared
            ), (storage, other)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), size_bytes=st.integers(32, 400))
def test_plays_with_hints_are_valid_plans(seed: int, size_bytes: int) -> None:
    instance = small_game(seed, size_bytes)
    source = pooled_play(instance, seed)
    hints = packed_hints(source, capacity(instance))
    game = Game(instance)
    found = baselines.played(game, source.actions, hints=hints)
    assert check_plan(instance.problem.graph, plan_of(game), instance.problem.memory) == ()
    assert replay(game, found).cycles == found.cycles


@pytest.mark.parametrize("seed", range(6))
def test_pooled_plays_never_use_more_than_there_is(seed: int) -> None:
    instance = training_game(seed)
    game = pooled_play(instance, seed)
    rules = instance.rules
    used = np.zeros(len(rules.step), dtype=np.int64)
    for row in game.state.stay[: game.state.scalar[0, kernels.STAYS]]:
        size = int(rules.storage[row[kernels.S_STORAGE], kernels.SIZE])
        used[row[kernels.S_RESERVED] : row[kernels.S_END]] += size
    # An output that takes over an operand's bytes is counted twice during one step.
    for a in np.flatnonzero(game.actions == NOCOPY).tolist():
        if rules.decision[a, kernels.TAKES] >= 0:
            v = rules.decision[a, kernels.STORAGE]
            used[rules.decision[a, kernels.STEP]] -= rules.storage[v, kernels.SIZE]
    assert (used <= capacity(instance)).all()


def starts(instance: Instance, network: bool) -> list[Start]:
    found = [baselines.greedy(instance), baselines.all_on_chip(instance)]
    player = Player(instance, load_network()) if network else None
    return [Start(instance, outcome, player) for outcome in found]


@pytest.mark.parametrize("network", (False, True))
@pytest.mark.parametrize("seed", (0, 3))
def test_repacking_only_improves_and_is_repeatable(seed: int, network: bool) -> None:
    instance = training_game(seed)
    begun = starts(instance, network)
    first = repacked(begun, 240, seed=5)
    again = repacked(starts(instance, network), 240, seed=5)
    best = first[0][1]
    assert best.cycles <= min(start.outcome.cycles for start in begun)
    assert best.evaluations == 240
    assert [o.cycles for _, o in first] == [o.cycles for _, o in again]
    assert all((a.wishes == b.wishes).all() for (_, a), (_, b) in zip(first, again, strict=True))
    game = Game(instance)
    for found, outcome in first:
        assert found is instance
        assert replay(game, outcome).cycles == outcome.cycles
        assert check_plan(instance.problem.graph, plan_of(game), instance.problem.memory) == ()


def test_memory_that_repacks_itself_is_no_slower() -> None:
    """On average, after the same local search from the same start."""
    gains = []
    for seed in range(4):
        instance = training_game(seed)
        start = baselines.greedy(instance)
        with_addresses = baselines.evolution(
            instance, 300, start=Outcome(start.wishes, start.cycles, 0)
        )
        best = repacked([Start(instance, start)], 300)[0][1]
        gains.append((with_addresses.cycles - best.cycles) / instance.scale_cycles)
    assert np.mean(gains) > -0.005
