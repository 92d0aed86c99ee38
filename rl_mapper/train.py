"""Training of the policy network: imitation of the best plays known, then expert iteration.

Each *round* plays every training game: the policy several times at rising temperatures, then local
search from the best play known. Improved plays replace the old ones, and the network learns to
predict their actions and how much they still gain. Round 0 has no policy yet; its plays come from
heuristics, beam search and local search. ``rl_mapper.train_run`` says what a run leaves behind;
``rl_mapper.train_model`` trains the learned dynamics model, ``rl_mapper.train_changes`` the network
that proposes changes to local search.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np

from stowplan.errors import UsageError
from stowplan.rl_mapper import network_kernels as layers
from stowplan.rl_mapper.baselines import Outcome, all_on_chip, beam, evolution, greedy, played
from stowplan.rl_mapper.game import Game, Instance
from stowplan.rl_mapper.network import Observer, Player, random_network, save_network
from stowplan.rl_mapper.train_run import (
    DYNAMICS,
    Fitted,
    TrainOptions,
    Validation,
    gain,
    load_state,
    report,
    save_state,
    torch_missing,
)
from stowplan.rl_mapper.training_graphs import training_game

TEMPERATURES = (0.0, 0.25, 0.5, 1.0)
BEAM_WIDTH = 6


@dataclass(slots=True)
class Progress:
    """Where training stands; mutable.

    Attributes:
        round: next round.
        network: the weights.
        best: per game, the wishes of the best play known.
    """

    round: int
    network: layers.Network
    best: list[np.ndarray]


def train(options: TrainOptions) -> Path:
    """Train from scratch, or go on where ``options.folder`` stopped; the weights file.

    Raises:
        UsageError: torch is not installed, or the folder holds a run with other options.
    """
    if options.dynamics not in DYNAMICS:
        raise UsageError(
            f"there are no dynamics {options.dynamics!r}: choose {', '.join(DYNAMICS)}"
        )
    if options.dynamics == "learned":
        from stowplan.rl_mapper.train_model import train_model

        return train_model(options)
    if options.dynamics == "pooled":
        from stowplan.rl_mapper.train_changes import train_changes

        return train_changes(options)
    fit = _learner()
    games = [training_game(options.seed + n) for n in range(options.games)]
    validation = Validation(options)
    progress = _resumed(options) or Progress(0, random_network(options.seed), [])
    weights = options.folder / "memory_mapping.npz"
    while progress.round <= options.rounds:
        began = process_time()
        policy = _improve(options, games, progress)
        data = _plays(games, progress.best)
        cycles = [played(Game(g), w).cycles for g, w in zip(games, progress.best, strict=True)]
        spent = process_time() - began
        network, fitted = fit(progress.network, data, options.epochs, options.seed)
        progress.network = network
        found = [Player(game, network).play() for game in validation.games]
        closing = {"policy_gain": policy, "best_gain": gain(games, cycles), "play_cpu_s": spent}
        closing |= validation.gains(found)
        report(options, progress.round, len(data.action), fitted, closing)
        save_network(options.folder / f"round{progress.round}.npz", network)
        save_network(weights, network)
        progress.round += 1
        _save(options, progress)
    return weights


def _improve(options: TrainOptions, games: list[Instance], progress: Progress) -> float:
    """Better plays where some are found; the gain of the greedy policy, 0 in round 0."""
    greedily: list[int] = []
    for n, instance in enumerate(games):
        seed = options.seed + 7919 * progress.round + n
        if progress.round == 0:
            progress.best.append(demonstration(instance, options.evaluations, seed))
            continue
        starts = [played(Game(instance), progress.best[n])]
        player = Player(instance, progress.network)
        for temperature in TEMPERATURES:
            cycles = player.play(temperature, seed)
            starts.append(Outcome(player.game.actions, cycles, 1))
        greedily.append(starts[1].cycles)
        start = min(starts, key=lambda outcome: outcome.cycles)
        actions, cycles = _searched(instance, options.evaluations, seed, start)
        if cycles < starts[0].cycles:
            progress.best[n] = actions
    return gain(games, greedily) if greedily else 0.0


def demonstration(instance: Instance, evaluations: int, seed: int) -> np.ndarray:
    """Actions of the best play that heuristics, beam search and local search find [A]."""
    starts = greedy(instance), all_on_chip(instance), beam(instance, BEAM_WIDTH)
    start = min(starts, key=lambda outcome: outcome.cycles)
    return _searched(instance, evaluations, seed, start)[0]


def _searched(
    instance: Instance, evaluations: int, seed: int, start: Outcome
) -> tuple[np.ndarray, int]:
    found = evolution(instance, evaluations, seed, start)
    game = Game(instance)
    game.follow(found.wishes)
    return game.actions, game.cycles


@dataclass(frozen=True, slots=True)
class Plays:
    """Positions of the best plays, M in all.

    Attributes:
        seen: observations [M, OBSERVATION].
        mask: legal actions [M, 3].
        action: action played [M].
        value: latency still gained, as a share of the game's scale [M].
    """

    seen: np.ndarray
    mask: np.ndarray
    action: np.ndarray
    value: np.ndarray


def positions(observer: Observer, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Observations and masks before every decision of a play, and the latency before each.

    The third has one row more than there are decisions played: the latency in the end.
    """
    count = len(actions)
    seen = np.zeros((count, layers.OBSERVATION), dtype=np.float32)
    mask = np.zeros((count, 3), dtype=np.bool_)
    cycles = np.zeros(count + 1, dtype=np.int64)
    game = observer.game
    done = layers.record(
        game.instance.rules, game.state, observer.known, actions, seen, mask, cycles
    )
    cycles[done] = game.cycles
    return seen[:done], mask[:done], cycles[: done + 1]


def _plays(games: list[Instance], best: list[np.ndarray]) -> Plays:
    seen, masks, actions, values = [], [], [], []
    for instance, choice in zip(games, best, strict=True):
        observed, mask, cycles = positions(Observer(instance), choice)
        seen.append(observed)
        masks.append(mask)
        actions.append(choice[: len(observed)])
        values.append((cycles[:-1] - cycles[-1]) / instance.scale_cycles)
    return Plays(
        np.concatenate(seen),
        np.concatenate(masks),
        np.concatenate(actions),
        np.concatenate(values).astype(np.float32),
    )


Learner = Callable[[layers.Network, Plays, int, int], tuple[layers.Network, list[Fitted]]]
"""Fits weights to plays in so many epochs by a seed: the weights, and each epoch's losses."""


def _learner() -> Learner:
    try:
        from stowplan.rl_mapper.learn import fit
    except ImportError as error:
        raise torch_missing(error) from error
    return fit


def _save(options: TrainOptions, progress: Progress) -> None:
    state = {f"play{n}": wishes for n, wishes in enumerate(progress.best)}
    state |= {f"layer_{name}": array for name, array in progress.network._asdict().items()}
    save_state(options, progress.round, state)


def _resumed(options: TrainOptions) -> Progress | None:
    found = load_state(options)
    if found is None:
        return None
    number, state = found
    network = layers.Network(**{name: state[f"layer_{name}"] for name in layers.LAYERS})
    return Progress(number, network, [state[f"play{n}"] for n in range(options.games)])
