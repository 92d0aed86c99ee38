"""The game: no illegal state can be reached, undo is exact, and its latency is the simulator's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import random_graph, small_target

from stowplan.errors import InternalError, UsageError
from stowplan.ir.check_plan import check_plan
from stowplan.passes.order import candidate_orders
from stowplan.passes.problem import planning_problem
from stowplan.rl_mapper import game_kernels as kernels
from stowplan.rl_mapper.baselines import all_drop, all_on_chip
from stowplan.rl_mapper.game import DROP, NOCOPY, Game, Instance, build_instance
from stowplan.rl_mapper.heuristic import assign, heuristic_plan
from stowplan.rl_mapper.mapping import latencies, plan_of
from stowplan.rl_mapper.training_graphs import training_game, training_graph, training_target
from stowplan.targets.cost import operator_cost
from stowplan.targets.load import load_target
from stowplan.targets.streamed_cost import streamed_parts


def small_game(
    seed: int, operators: int, size_bytes: int, track: bool = True, hidden_only: bool = False
) -> Instance:
    graph = random_graph(seed, operators)
    target = small_target(size_bytes, alignment_bytes=4, direct_operands=True)
    return build_instance(graph, target, track, hidden_only=hidden_only)


def require_valid_plan(game: Game) -> None:
    instance = game.instance
    assert check_plan(instance.problem.graph, plan_of(game), instance.problem.memory) == ()


def snapshot(game: Game) -> tuple[bytes, ...]:
    """Everything that counts of a position: rows behind the counts are scratch."""
    state = game.state
    counts = state.scalar[0]
    return (
        state.scalar.tobytes(),
        state.hold.tobytes(),
        state.time.tobytes(),
        state.stay[: counts[kernels.STAYS]].tobytes(),
        state.segment[: counts[kernels.SEGMENTS]].tobytes(),
        state.load[: counts[kernels.LOADS]].tobytes(),
        state.action[: counts[kernels.CURSOR]].tobytes(),
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    operators=st.integers(1, 25),
    size_bytes=st.integers(16, 400),
    track=st.booleans(),
    hidden_only=st.booleans(),
)
def test_random_plays_are_valid_plans(
    seed: int, operators: int, size_bytes: int, track: bool, hidden_only: bool
) -> None:
    game = Game(small_game(seed, operators, size_bytes, track, hidden_only))
    for n, weights in enumerate(((1.0, 1.0, 1.0), (3.0, 3.0, 0.1), (1.0, 0.1, 0.1))):
        game.reset()
        kernels.rollout(game.instance.rules, game.state, np.array(weights), seed + n)
        assert game.done
        require_valid_plan(game)
        assert game.instance.bound_cycles <= game.cycles


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), size_bytes=st.integers(16, 400), hidden_only=st.booleans())
def test_undo_restores_every_position(seed: int, size_bytes: int, hidden_only: bool) -> None:
    game = Game(small_game(seed, 12, size_bytes, hidden_only=hidden_only))
    rng = np.random.default_rng(seed)
    trail = []
    while not game.done:
        mask = game.legal()
        if not mask.any():
            break
        trail.append((snapshot(game), mask))
        before = game.cycles
        gained = game.play(int(rng.choice(np.flatnonzero(mask))))
        assert before - game.cycles == gained
    for held, mask in reversed(trail):
        game.undo()
        assert snapshot(game) == held
        assert (game.legal() == mask).all()
        assert snapshot(game) == held


@pytest.mark.parametrize("seed", range(8))
def test_mask_and_play_agree(seed: int) -> None:
    game = Game(small_game(seed, 15, 150))
    rng = np.random.default_rng(seed)
    while not game.done:
        mask = game.legal()
        for action in np.flatnonzero(~mask).tolist():
            held = snapshot(game)
            with pytest.raises(UsageError, match="not legal"):
                game.play(action)
            assert snapshot(game) == held
        game.play(int(rng.choice(np.flatnonzero(mask))))


def mask_by_trying(game: Game) -> list[bool]:
    """The plain way: play each action and take it back."""
    found = []
    for action in range(kernels.ACTIONS):
        played = kernels.play(game.instance.rules, game.state, action) != kernels.ILLEGAL
        if played:
            game.undo()
        found.append(played)
    return found


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    operators=st.integers(1, 25),
    size_bytes=st.integers(16, 400),
    track=st.booleans(),
    hidden_only=st.booleans(),
    drops=st.floats(0.05, 1.0),
)
def test_mask_is_what_trying_finds(
    seed: int, operators: int, size_bytes: int, track: bool, hidden_only: bool, drops: float
) -> None:
    game = Game(small_game(seed, operators, size_bytes, track, hidden_only))
    rng = np.random.default_rng(seed)
    while not game.done:
        mask = game.legal()
        assert mask.tolist() == mask_by_trying(game)
        if not mask.any():
            game.back_up()
            continue
        weights = np.where(mask, (1.0, 1.0, drops), 0.0)
        game.play(int(rng.choice(kernels.ACTIONS, p=weights / weights.sum())))


@pytest.mark.parametrize("seed", range(6))
def test_mask_is_what_trying_finds_in_training_games(seed: int) -> None:
    game = Game(training_game(seed))
    rng = np.random.default_rng(seed)
    while not game.done:
        mask = game.legal()
        assert mask.tolist() == mask_by_trying(game)
        game.play(int(rng.choice(np.flatnonzero(mask))))


def place_plainly(game: Game, size: int, t: int) -> int:
    """Cheapest of all addresses at an edge of what is taken or waits; the lowest of equals."""
    rules, state = game.instance.rules, game.state
    segments = state.segment[: state.scalar[0, kernels.SEGMENTS]].tolist()
    taken = [(low, high) for low, high, begin, end, _ in segments if begin <= t < end]
    waiting = []
    stays = state.stay[: state.scalar[0, kernels.STAYS]].tolist()
    for n, stay in list(enumerate(stays))[: -kernels.WAITING_STAYS - 1 : -1]:
        hold = state.hold[stay[kernels.S_STORAGE]].tolist()
        address = hold[kernels.ADDRESS]
        after = rules.decision[hold[kernels.SEEN], kernels.NEXT]
        if hold[kernels.STAY] == n and address >= 0 and after >= 0:
            bytes_ = int(rules.storage[stay[kernels.S_STORAGE], kernels.SIZE])
            distance = max(1, int(rules.decision[after, kernels.STEP]) - t)
            waiting.append((address, address + bytes_, bytes_ / distance))
    edges = {0} | {high for _, high in taken} | {low - size for low, _ in taken}
    edges |= {high for _, high, _ in waiting} | {low - size for low, _, _ in waiting}
    offers = []
    for address in sorted(edges):
        end = address + size
        if address < 0 or end > rules.limits[kernels.CAPACITY]:
            continue
        if not any(low < end and high > address for low, high in taken):
            cost = sum(c for low, high, c in waiting if low < end and high > address)
            offers.append((cost, address))
    return min(offers, default=(0, -1))[1]


@pytest.mark.parametrize("seed", range(8))
def test_placement_is_the_cheapest_of_all(seed: int) -> None:
    game = Game(training_game(seed) if seed < 3 else small_game(seed, 20, 150))
    rng = np.random.default_rng(seed)
    rules = game.instance.rules
    while not game.done:
        t = int(rules.decision[game.cursor, kernels.STEP])
        size = int(rng.choice(rules.storage[:, kernels.SIZE]))
        found = kernels._place(rules, game.state, size, t, t + 1)
        assert found == place_plainly(game, size, t)
        assert (found >= 0) == kernels._fits(rules, game.state, size, t)
        game.play(int(rng.choice(np.flatnonzero(game.legal()))))


@pytest.mark.parametrize("seed", range(40))
def test_published_rules_reach_dead_ends_and_back_up(seed: int) -> None:
    """Wherever the published game gets stuck, backing up ends in a complete legal play."""
    game = Game(small_game(seed, 20, 120, hidden_only=True))
    game.follow(np.full(game.instance.decisions, NOCOPY))
    assert game.done
    require_valid_plan(game)
    forced = np.flatnonzero(game.state.forced[: game.instance.decisions])
    assert (game.actions[forced] == DROP).all()


def test_some_plays_of_the_published_game_do_get_stuck() -> None:
    stuck = 0
    for seed in range(40):
        game = Game(small_game(seed, 20, 120, hidden_only=True))
        game.follow(np.full(game.instance.decisions, NOCOPY))
        stuck += int(game.state.forced.any())
    assert stuck > 0


@pytest.mark.parametrize("seed", range(12))
def test_latency_is_close_to_the_simulator(seed: int) -> None:
    """All-Drop agrees to the cycle; other plays within a few per cent."""
    instance = build_instance(training_graph(seed), training_target(seed))
    game = Game(instance)
    game.follow(all_drop(instance).wishes)
    found = latencies(game)
    # Branches may overlap on the two engines, which the game runs one after another.
    assert found.simulated_cycles <= found.game_cycles
    game.reset()
    game.follow(all_on_chip(instance).wishes)
    found = latencies(game)
    assert abs(found.simulated_cycles - found.game_cycles) <= 0.08 * found.simulated_cycles


def test_streamed_weights_cost_what_their_chunks_do() -> None:
    target = load_target("tpu-v4i", ("scratchpad.size=1MiB", "weight_buffer.size=64KiB"))
    dearer = 0
    for graph in map(training_graph, range(4)):
        step = build_instance(graph, target, track_weights=False).rules.step
        for t, operator in enumerate(graph.operators):
            whole = operator_cost(graph, operator, target).compute_cycles
            parts = streamed_parts(graph, operator, target, int(step[t, kernels.STREAMED]))
            priced = sum(part.compute_cycles for part in parts) if parts else whole
            assert step[t, kernels.COMPUTE] == priced >= whole
            dearer += priced > whole
    assert dearer > 0


@pytest.mark.parametrize("seed", range(20))
def test_heuristic_plans_are_valid(seed: int) -> None:
    instance = small_game(seed, 20, 200)
    plan = heuristic_plan(instance, assign(instance))
    assert check_plan(instance.problem.graph, plan, instance.problem.memory) == ()


def test_any_legal_order_can_be_played() -> None:
    graph = random_graph(3, 15)
    target = small_target(200, direct_operands=True)
    problem = planning_problem(graph, target.memory_spec(True))
    for order in candidate_orders(problem):
        game = Game(build_instance(graph, target, order=order))
        kernels.rollout(game.instance.rules, game.state, np.ones(3), 1)
        require_valid_plan(game)


def test_copies_go_their_own_way() -> None:
    game = Game(small_game(1, 10, 200))
    game.play(int(np.flatnonzero(game.legal())[0]))
    twin, held = game.copy(), snapshot(game)
    assert snapshot(twin) == held
    twin.undo()
    assert snapshot(game) == held != snapshot(twin)


def test_targets_without_direct_operands_have_no_game() -> None:
    with pytest.raises(UsageError, match="direct"):
        build_instance(random_graph(0, 3), small_target(1000))


def test_unfinished_plays_are_no_plans() -> None:
    with pytest.raises(InternalError, match="not finished"):
        plan_of(Game(small_game(0, 5, 100)))
