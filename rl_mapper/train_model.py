"""Training of the learned dynamics model: demonstrations, then self-play with search in the model.

Round 0 learns from demonstrations, the plays that the policy network imitates too, and from the
same plays with a share of their actions changed at random, which show the model what bad actions
do; of these only rewards and values count. In each later round a part of the training games is
played by Gumbel search in the model, with noise; the improved policies of the search, the rewards
and the returns of these plays are learned along with the demonstrations. Old rounds of self-play
leave the replay buffer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np

from stowplan.rl_mapper import game_kernels as kernels
from stowplan.rl_mapper import network_model_kernels as layers
from stowplan.rl_mapper.game import Game, Instance
from stowplan.rl_mapper.network import Observer, write_layers
from stowplan.rl_mapper.network_model import play_by_model, random_model
from stowplan.rl_mapper.search import SearchOptions
from stowplan.rl_mapper.train import demonstration, positions
from stowplan.rl_mapper.train_run import (
    TrainOptions,
    Validation,
    gain,
    load_state,
    report,
    save_state,
    torch_missing,
)
from stowplan.rl_mapper.training_graphs import training_game

CHANGED = (0.05, 0.3)
"""Shares of actions changed in the two variants of every demonstration."""
SELF_PLAYS = 80
"""Games of self-play per round."""
KEPT_ROUNDS = 3
"""Rounds of self-play that the replay buffer holds."""
SELF_PLAY = SearchOptions(simulations=8, noise=1.0)
"""Search of self-play."""


@dataclass(frozen=True, slots=True)
class Play:
    """One play to learn from, with ``policy`` [A, 3] or, if None, not its actions.

    Attributes:
        game: number of the training game.
        round: in which it was played.
        actions: played [A].
        policy: target of the policy.
    """

    game: int
    round: int
    actions: np.ndarray
    policy: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Trajectories:
    """Positions of plays one behind the other, M in all.

    Attributes:
        seen: observations [M, OBSERVATION].
        mask: legal actions [M, 3].
        policy: target of the policy [M, 3].
        weight: 1 where the policy counts, else 0 [M].
        action: action played [M].
        reward: share of the game's scale that it gained [M].
        value: sum of this and all later rewards of the play [M].
        left: decisions of the play from this one on [M].
    """

    seen: np.ndarray
    mask: np.ndarray
    policy: np.ndarray
    weight: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    value: np.ndarray
    left: np.ndarray


def train_model(options: TrainOptions) -> Path:
    """Train from scratch, or go on where ``options.folder`` stopped; the weights file.

    Raises:
        UsageError: torch is not installed, or the folder holds a run with other options.
    """
    try:
        from stowplan.rl_mapper.learn_model import fit_model
    except ImportError as error:
        raise torch_missing(error) from error
    games = [training_game(options.seed + n) for n in range(options.games)]
    validation = Validation(options)
    number, model, plays = _resumed(options) or (0, random_model(options.seed), [])
    weights = options.folder / "memory_mapping_model.npz"
    while number <= options.rounds:
        began = process_time()
        played = _self_play(options, games, model, number) if number else []
        new = played or _demonstrations(options, games)
        plays = [p for p in plays if p.round == 0 or p.round > number - KEPT_ROUNDS] + new
        data = trajectories(games, plays)
        spent = process_time() - began
        model, fitted = fit_model(model, data, options.epochs, options.seed + number)
        closing = {"play_cpu_s": spent} | _gains(games, plays, played)
        cycles = [_greedily(game, model) for game in validation.games]
        closing |= validation.gains(cycles)
        report(options, number, len(data.action), fitted, closing)
        write_layers(options.folder / f"round{number}.npz", model._asdict())
        write_layers(weights, model._asdict())
        number += 1
        _save(options, number, model, plays)
    return weights


def _greedily(instance: Instance, model: layers.Model) -> int:
    return play_by_model(Observer(instance), model, SearchOptions(simulations=0)).cycles


def _gains(
    games: list[Instance], plays: Sequence[Play], played: Sequence[Play]
) -> dict[str, float]:
    """Gains of the best plays known and of those of this round's search."""
    best: dict[int, int] = {}
    for play in plays:
        best[play.game] = min(_cycles(games, play), best.get(play.game, 1 << 62))
    found = {"best_gain": gain([games[n] for n in best], list(best.values()))}
    if played:
        cycles = [_cycles(games, play) for play in played]
        found["policy_gain"] = gain([games[play.game] for play in played], cycles)
    return found


def _cycles(games: list[Instance], play: Play) -> int:
    game = Game(games[play.game])
    game.follow(play.actions)
    return game.cycles


def _demonstrations(options: TrainOptions, games: list[Instance]) -> list[Play]:
    plays = []
    for n, instance in enumerate(games):
        actions = demonstration(instance, options.evaluations, options.seed + n)
        plays.append(Play(n, 0, actions, np.eye(kernels.ACTIONS, dtype=np.float32)[actions]))
        rng = np.random.default_rng((options.seed, n))
        for share in CHANGED:
            wishes = actions.copy()
            changed = rng.random(len(wishes)) < share
            wishes[changed] = rng.integers(0, kernels.ACTIONS, int(changed.sum()))
            game = Game(instance)
            game.follow(wishes)
            plays.append(Play(n, 0, game.actions, None))
    return plays


def _self_play(
    options: TrainOptions, games: list[Instance], model: layers.Model, number: int
) -> list[Play]:
    rng = np.random.default_rng((options.seed, number))
    chosen = rng.permutation(len(games))[:SELF_PLAYS]
    plays = []
    for n in chosen.tolist():
        policy = np.zeros((games[n].decisions, kernels.ACTIONS), dtype=np.float32)

        def note(decision: int, improved: np.ndarray, into: np.ndarray = policy) -> None:
            into[decision] = improved

        seed = options.seed + 7919 * number + n
        found = play_by_model(Observer(games[n]), model, SELF_PLAY, seed, noted=note)
        plays.append(Play(n, number, found.wishes, policy))
    return plays


def trajectories(games: list[Instance], plays: Sequence[Play]) -> Trajectories:
    """What can be learned from ``plays``."""
    parts = [_trajectory(games[play.game], play) for play in plays]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Trajectories(*columns)


def _trajectory(instance: Instance, play: Play) -> tuple[np.ndarray, ...]:
    """The columns of :class:`Trajectories` for one play."""
    seen, mask, cycles = positions(Observer(instance), play.actions)
    count = len(seen)
    policy = np.zeros((count, kernels.ACTIONS), np.float32)
    if play.policy is not None:
        policy = play.policy[:count].astype(np.float32)
    return (
        seen,
        mask,
        policy,
        np.full(count, play.policy is not None, dtype=np.float32),
        play.actions[:count],
        ((cycles[:-1] - cycles[1:]) / instance.scale_cycles).astype(np.float32),
        ((cycles[:-1] - cycles[-1]) / instance.scale_cycles).astype(np.float32),
        np.arange(count, 0, -1),
    )


def _save(options: TrainOptions, number: int, model: layers.Model, plays: list[Play]) -> None:
    state = {f"layer_{name}": array for name, array in model._asdict().items()}
    for n, play in enumerate(plays):
        state[f"play{n}"] = play.actions
        state[f"of{n}"] = np.array([play.game, play.round])
        if play.policy is not None:
            state[f"policy{n}"] = play.policy
    save_state(options, number, state)


def _resumed(options: TrainOptions) -> tuple[int, layers.Model, list[Play]] | None:
    found = load_state(options)
    if found is None:
        return None
    number, state = found
    plays: list[Play] = []
    while f"play{len(plays)}" in state:
        n = len(plays)
        game, round_ = state[f"of{n}"].tolist()
        plays.append(Play(game, round_, state[f"play{n}"], state.get(f"policy{n}")))
    model = layers.Model(**{name: state[f"layer_{name}"] for name in layers.LAYERS})
    return number, model, plays
