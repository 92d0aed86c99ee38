"""Training of the network that proposes changes: imitation, then self-play.

Round 0 learns from lessons (``rl_mapper.lessons``) in which heuristics, the integer program and
evenly drawn changes search the training games. In later rounds the network itself searches them,
and half of the changes probed are its proposals; it starts anew and learns from all lessons so far.
The near-optimal play of a game is the best of all rounds. Lessons are kept in ``lessons``, so that
a run that was stopped in the middle of a round goes on at the next game.
"""

from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

import numpy as np

from stowplan.rl_mapper import change_kernels as kernels
from stowplan.rl_mapper import improve_kernels
from stowplan.rl_mapper.baselines import all_on_chip, greedy, played
from stowplan.rl_mapper.changes import Proposer, random_changes, save_changes
from stowplan.rl_mapper.game import DROP, Game, Instance
from stowplan.rl_mapper.guided_kernels import UNCHANGED
from stowplan.rl_mapper.lessons import Lesson, LessonOptions, lesson, load_lesson, save_lesson
from stowplan.rl_mapper.packing import pooled
from stowplan.rl_mapper.train_run import (
    TrainOptions,
    gain,
    load_state,
    report,
    save_state,
    torch_missing,
)
from stowplan.rl_mapper.training_graphs import VALIDATION, training_game

if TYPE_CHECKING:
    from stowplan.rl_mapper.learn_changes import Changes

MEMORY_BOUND = 1.05
"""Latency of the heuristic over the bound from which on a game teaches something."""
SEARCHED = 200
"""Evaluations of the searches that are compared on validation games."""
LARGEST_WORTH = 5.0
GAMES_TRIED = 20
"""Seeds tried per game that is wanted."""


def memory_bound_games(first: int, count: int) -> list[tuple[int, Instance]]:
    """The first ``count`` games from seed ``first`` on that are memory-bound, by seed."""
    found: list[tuple[int, Instance]] = []
    for seed in range(first, first + GAMES_TRIED * count):
        instance = training_game(seed)
        if greedy(instance).cycles >= MEMORY_BOUND * instance.bound_cycles:
            found.append((seed, instance))
        if len(found) == count:
            break
    return found


def train_changes(options: TrainOptions) -> Path:
    """Train from scratch, or go on where ``options.folder`` stopped; the weights file.

    Raises:
        UsageError: torch is not installed, or the folder holds a run with other options.
    """
    try:
        from stowplan.rl_mapper.learn_changes import fit_changes
    except ImportError as error:
        raise torch_missing(error) from error
    how = LessonOptions(options.imitate, options.evaluations, options.program)
    state = load_state(options)
    number, network = 0, random_changes(options.seed)
    if state is not None:
        number = state[0]
        network = kernels.ChangeNetwork(**{k: state[1][f"layer_{k}"] for k in kernels.LAYERS})
    games = memory_bound_games(options.seed, options.games)
    validation = [game for _, game in memory_bound_games(VALIDATION, options.validation)]
    weights = options.folder / "memory_changes.npz"
    while number <= options.rounds:
        began = process_time()
        lessons = [
            [_lesson(options, how, n, r, seed, game, network) for r in range(number + 1)]
            for n, (seed, game) in enumerate(games)
        ]
        spent = process_time() - began
        data = lesson_data([game for _, game in games], lessons)
        network, fitted = fit_changes(
            random_changes(options.seed), data, options.epochs, options.seed
        )
        bests = [min(each.best_cycles for each in found) for found in lessons]
        closing = {
            "best_gain": gain([game for _, game in games], bests),
            "play_cpu_s": spent,
            **searched(validation, network, options.seed),
        }
        report(options, number, len(data.worth), fitted, closing)
        save_changes(options.folder / f"round{number}.npz", network)
        save_changes(weights, network)
        number += 1
        save_state(options, number, {f"layer_{k}": array for k, array in network._asdict().items()})
    return weights


def _lesson(
    options: TrainOptions,
    how: LessonOptions,
    n: int,
    number: int,
    seed: int,
    game: Instance,
    network: kernels.ChangeNetwork,
) -> Lesson:
    """The lesson of game ``n`` in round ``number``, from its file if it is there."""
    path = options.folder / "lessons" / f"round{number}_{n}.npz"
    found = load_lesson(path)
    if found is None:
        proposer = Proposer(game, network) if number else None
        found = lesson(game, how, seed + 7919 * number, proposer)
        save_lesson(path, found)
    return found


def lesson_data(games: list[Instance], lessons: list[list[Lesson]]) -> "Changes":
    """Everything that lessons teach; ``lessons`` holds those of every game."""
    from stowplan.rl_mapper.learn_changes import Changes

    rows: list[list[np.ndarray]] = []
    decisions = 0
    for instance, found in zip(games, lessons, strict=True):
        game = Game(pooled(instance))
        proposer = Proposer(instance, random_changes(0))
        best = min(found, key=lambda each: each.best_cycles)
        played(game, best.best)
        on_chip = (game.actions != DROP).astype(np.float32)
        for each in found:
            for s, wishes in enumerate(each.wishes):
                played(game, wishes)
                seen = proposer.describe(game, wishes)
                rows.append(_rows(instance, each, s, seen, on_chip, decisions))
                decisions += len(seen)
    return Changes(*(np.concatenate(column) for column in zip(*rows, strict=True)))


def _rows(
    instance: Instance, found: Lesson, s: int, seen: np.ndarray, on_chip: np.ndarray, at: int
) -> list[np.ndarray]:
    """Columns of :class:`learn_changes.Changes` for play ``s`` whose decisions begin at ``at``."""
    known = found.gains[s] != UNCHANGED
    tried, gains = found.tried[s][known], found.gains[s][known]
    relation = np.zeros((len(tried), kernels.RELATION), dtype=np.float32)
    for n, (one, _, two, _) in enumerate(tried):
        if one >= 0:
            kernels.relate(instance.rules, one, two, relation[n])
    worth = np.sqrt(1000.0 * np.maximum(0, gains) / found.cycles[s])
    return [
        seen,
        on_chip,
        np.where(tried[:, 0] >= 0, tried[:, 0] + at, -1),
        tried[:, 2] + at,
        tried[:, 1::2],
        relation,
        np.minimum(LARGEST_WORTH, worth).astype(np.float32),
    ]


def searched(games: list[Instance], network: kernels.ChangeNetwork, seed: int) -> dict[str, float]:
    """Metrics of searches with the network and without it from the better heuristic."""
    if not games:
        return {}
    cycles, over, even = [], [], []
    for n, instance in enumerate(games):
        heuristic = greedy(instance)
        game = Game(pooled(instance))
        starts = [played(game, start.wishes) for start in (heuristic, all_on_chip(instance))]
        wishes = min(starts, key=lambda start: start.cycles).wishes
        own = wishes.copy()
        found = Proposer(instance, network).improve(game, own, SEARCHED, seed + n)
        rules = game.instance.rules
        without = improve_kernels.improve(rules, game.state, wishes, SEARCHED, 0.0, seed + n)
        cycles.append(found)
        over.append(1 - found / heuristic.cycles)
        even.append(1 - without / heuristic.cycles)
    return {
        "validation_gain": gain(games, cycles),
        "over_greedy": float(np.mean(over)),
        "even_over_greedy": float(np.mean(even)),
    }
