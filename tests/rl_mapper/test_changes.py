"""The network of changes: what it sees, what it proposes, local search with it, and its lessons."""

from pathlib import Path

import numpy as np
import pytest
from tests.strategies import random_graph, small_target

from stowplan.errors import UsageError
from stowplan.mapping_play import DECISIONS, program_play
from stowplan.rl_mapper import baselines, guided_kernels
from stowplan.rl_mapper import change_kernels as changes
from stowplan.rl_mapper import game_kernels as kernels
from stowplan.rl_mapper.baselines import played
from stowplan.rl_mapper.changes import Proposer, load_changes, random_changes
from stowplan.rl_mapper.game import DROP, ON_CHIP, Game, Instance, build_instance
from stowplan.rl_mapper.lessons import (
    Lesson,
    LessonOptions,
    lesson,
    load_lesson,
    save_lesson,
)
from stowplan.rl_mapper.packing import pooled
from stowplan.rl_mapper.training_graphs import (
    FAMILIES,
    HELD_BACK,
    VALIDATION,
    training_game,
    training_graph,
)

SHIPPED = load_changes()


def drawn(instance: Instance, count: int, seed: int) -> kernels.Ints:
    """Single moves and pairs in turn."""
    rng = np.random.default_rng(seed)
    tried = np.empty((count, 4), dtype=np.int64)
    tried[:, ::2] = rng.integers(0, instance.decisions, (count, 2))
    tried[:, 1::2] = rng.integers(0, changes.MOVES, (count, 2))
    tried[::2, 0] = -1
    return tried


def test_moves_change_what_they_say() -> None:
    instance = training_game(1)
    rules = instance.rules
    chain = next(
        a
        for a, row in enumerate(rules.decision)
        if row[kernels.PREVIOUS] >= 0 and row[kernels.NEXT] >= 0
    )
    storage = rules.decision[chain, kernels.STORAGE]
    own = np.flatnonzero(rules.decision[:, kernels.STORAGE] == storage)
    after = own[own >= chain]
    alone = np.array([chain])
    expected = {0: (alone, 0), 2: (alone, DROP), 4: (own, DROP), 5: (own, ON_CHIP)}
    expected |= {6: (after, DROP), 7: (after, ON_CHIP), 9: (after[:2], ON_CHIP)}
    for number, (where, wish) in expected.items():
        wishes = np.full(instance.decisions, 1, dtype=np.int64)
        first = changes.move(rules, wishes, chain, number, instance.decisions)
        assert first == where[0]
        assert (wishes[where] == wish).all()
        assert (np.delete(wishes, where) == 1).all()
        assert changes.move(rules, wishes, chain, number, 7) == 7


@pytest.mark.parametrize("seed", range(3))
def test_probes_gain_what_replays_gain(seed: int) -> None:
    instance = pooled(training_game(seed))
    game, tried = Game(instance), drawn(instance, 40, seed)
    wishes = baselines.greedy(training_game(seed)).wishes
    gains = np.zeros(len(tried), dtype=np.int64)
    guided_kernels.probe(instance.rules, game.state, wishes, tried, gains)
    other = Game(instance)
    assert game.cycles == (present := played(other, wishes).cycles)
    for (one, first, two, second), gain in zip(tried.tolist(), gains.tolist(), strict=True):
        changed, total = wishes.copy(), instance.decisions
        moved = one < 0 or changes.move(instance.rules, changed, one, first, total) < total
        if not moved or changes.move(instance.rules, changed, two, second, total) == total:
            assert gain == guided_kernels.UNCHANGED
        else:
            assert gain == present - played(other, changed).cycles


@pytest.mark.parametrize("size", (0.3, 1.0))
@pytest.mark.parametrize("seed", (0, 4, 11))
def test_features_are_finite_and_bounded(seed: int, size: float) -> None:
    instance = training_game(seed)
    game = Game(pooled(instance, size))
    kernels.rollout(game.instance.rules, game.state, np.array([2.0, 3.0, 1.0]), seed)
    seen = Proposer(instance, SHIPPED).describe(game, game.actions)
    assert seen.shape == (instance.decisions, changes.FEATURES)
    assert np.isfinite(seen).all()
    assert np.abs(seen[:, -changes.DYNAMIC :]).max() <= changes.LARGEST
    action = seen[:, -changes.DYNAMIC :][:, : kernels.ACTIONS]
    assert (action.argmax(axis=1) == game.actions).all()


@pytest.mark.parametrize("network", (SHIPPED, random_changes(0)))
@pytest.mark.parametrize("seed", (2, 3))
def test_guided_search_only_improves_and_is_repeatable(
    seed: int, network: changes.ChangeNetwork
) -> None:
    instance = training_game(seed)
    start = baselines.greedy(instance).wishes
    found = []
    for _ in range(2):
        game, wishes = Game(pooled(instance)), start.copy()
        begun = played(game, wishes).cycles
        proposer = Proposer(instance, network)
        cycles = [proposer.improve(game, wishes, 60, n) for n in range(3)]
        assert begun >= cycles[0] >= cycles[1] >= cycles[2]
        assert game.cycles == cycles[-1] == played(Game(pooled(instance)), wishes).cycles
        found.append((cycles, wishes.tolist()))
    assert found[0] == found[1]


def test_proposals_gain_more_often_than_even_draws() -> None:
    """On games of families that training never saw."""
    hits = np.zeros(2)
    for seed in range(VALIDATION, VALIDATION + 12):
        instance = training_game(seed)
        if instance.problem.graph.name not in HELD_BACK:
            continue
        game, wishes = Game(pooled(instance)), baselines.greedy(instance).wishes
        played(game, wishes)
        proposed = np.zeros((200, 4), dtype=np.int64)
        Proposer(instance, SHIPPED).propose(game, wishes, 0, proposed)
        for n, tried in enumerate((proposed, drawn(instance, 200, seed))):
            gains = np.zeros(len(tried), dtype=np.int64)
            guided_kernels.probe(game.instance.rules, game.state, wishes, tried, gains)
            hits[n] += (gains > 0).sum()
    assert hits[0] > 2 * hits[1] > 0


def test_validation_alone_has_the_families_held_back() -> None:
    assert {training_graph(seed).name for seed in range(60)} <= set(FAMILIES)
    assert {training_graph(seed, True).name for seed in range(60)} == {*FAMILIES, *HELD_BACK}


def test_lessons_hold_near_optimal_plays_and_are_read_again(tmp_path: Path) -> None:
    instance = training_game(1)
    found = lesson(instance, LessonOptions("search", 200), seed=1)
    again = lesson(instance, LessonOptions("search", 200), seed=1)
    heuristic = lesson(instance, LessonOptions("heuristic", 200), seed=1)
    game = Game(pooled(instance))
    assert played(game, found.best).cycles == found.best_cycles <= found.cycles.min()
    assert found.best_cycles < heuristic.best_cycles and heuristic.source == "heuristic"
    assert found.source == "search"
    path = tmp_path / "lessons" / "a.npz"
    assert load_lesson(path) is None
    save_lesson(path, found)
    read = load_lesson(path)
    assert read is not None
    for other in (again, read):
        for name in Lesson.__dataclass_fields__:
            assert np.array_equal(getattr(found, name), getattr(other, name)), name
    path.write_bytes(b"torn")
    with pytest.raises(UsageError, match="cannot read the lesson"):
        load_lesson(path)


def test_unknown_imitation_is_refused() -> None:
    with pytest.raises(UsageError, match="choose program, search, heuristic"):
        LessonOptions("oracle", 10)
    with pytest.raises(UsageError, match="solver"):
        LessonOptions("program", 10)


def test_the_program_teaches_small_games() -> None:
    cycles, dropped = [], []
    for seed in range(3):
        graph = random_graph(seed, 10)
        instance = build_instance(graph, small_target(200, direct_operands=True))
        wishes = program_play(instance)
        assert wishes is not None and wishes.shape == (instance.decisions,)
        cycles.append(played(Game(pooled(instance)), wishes).cycles)
        dropped.append(instance.all_drop_cycles)
        taught = lesson(instance, LessonOptions("program", 0, program_play), seed=0)
        assert taught.best_cycles <= cycles[-1]
    assert sum(cycles) < 0.9 * sum(dropped)
    large = next(g for n in range(40) if (g := training_game(n)).decisions > DECISIONS)
    assert program_play(large) is None


def test_torch_and_numba_agree() -> None:
    torch = pytest.importorskip("torch")
    from stowplan.rl_mapper import learn_changes
    from stowplan.rl_mapper.learn import tensors

    instance = training_game(1)
    game, wishes = Game(pooled(instance)), baselines.greedy(instance).wishes
    played(game, wishes)
    seen = Proposer(instance, SHIPPED).describe(game, wishes)
    codes = np.zeros((len(seen), changes.HIDDEN), dtype=np.float32)
    worth = np.zeros((len(seen), changes.OUTPUTS), dtype=np.float32)
    changes.weigh(SHIPPED, seen, codes, worth, 1.0)
    weights = tensors(SHIPPED._asdict())
    code = learn_changes.codes(weights, torch.as_tensor(seen))
    out = learn_changes.alone(weights, code).detach().numpy()
    assert code.detach().numpy() == pytest.approx(codes, abs=1e-4)
    assert np.exp(out[:, :-1]) == pytest.approx(worth[:, :-1], rel=1e-3, abs=1e-5)
    assert 1 / (1 + np.exp(-out[:, -1])) == pytest.approx(worth[:, -1], abs=1e-4)
    second = np.zeros((2 * changes.REACH + 1, changes.MOVES), dtype=np.float32)
    first, number = len(seen) // 2, 7
    begin = changes.weigh_second(instance.rules, SHIPPED, codes, first, number, second, 1.0)
    rows = min(len(seen), first + changes.REACH + 1) - begin
    relation = np.zeros((rows, changes.RELATION), dtype=np.float32)
    for n in range(rows):
        changes.relate(instance.rules, first, begin + n, relation[n])
    expected = learn_changes.second(
        weights,
        code[begin : begin + rows],
        code[first].expand(rows, -1),
        torch.as_tensor(relation),
        torch.full((rows,), number),
    )
    assert np.exp(expected.detach().numpy()) == pytest.approx(second[:rows], rel=1e-3, abs=1e-5)
