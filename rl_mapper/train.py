"""Training of the network: imitation of the best plays known, then expert iteration.

Each *round* plays every training game: the policy several times at rising temperatures, then local
search from the best play known. Improved plays replace the old ones, and the network learns to
predict their actions and how much they still gain. Round 0 has no policy yet; its plays come from
heuristics, beam search and local search. A folder keeps the state after each round, so training can
be resumed; ``metrics.csv`` has a line per round.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time

import numpy as np

from stowplan.errors import UsageError
from stowplan.rl_mapper import network_kernels as layers
from stowplan.rl_mapper.baselines import Outcome, all_on_chip, beam, evolution, greedy, played
from stowplan.rl_mapper.game import Game, Instance
from stowplan.rl_mapper.network import Player, load_network, random_network, save_network
from stowplan.rl_mapper.training_graphs import training_game

METRICS: tuple[str, ...] = (
    "round",
    "samples",
    "loss",
    "accuracy",
    "policy_gain",
    "best_gain",
    "cpu_s",
)
TEMPERATURES = (0.0, 0.25, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """How to train.

    Attributes:
        folder: where state, metrics and weights go.
        games: number of training games.
        rounds: rounds of expert iteration after imitation.
        evaluations: changes that local search tries per game and round.
        epochs: passes over the plays per round.
        seed: of games, search and weights.
        on_round: called with the metrics of each round.
    """

    folder: Path
    games: int = 200
    rounds: int = 4
    evaluations: int = 300
    epochs: int = 6
    seed: int = 0
    on_round: Callable[[dict[str, float]], None] = field(default=lambda metrics: None)


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
    fit = _learner()
    games = [training_game(options.seed + n) for n in range(options.games)]
    progress = _resumed(options) or Progress(0, random_network(options.seed), [])
    weights = options.folder / "memory_mapping.npz"
    while progress.round <= options.rounds:
        began = process_time()
        policy = _improve(options, games, progress)
        data = _plays(games, progress.best)
        network, loss, accuracy = fit(progress.network, data, options)
        progress.network = network
        cycles = [played(Game(g), w).cycles for g, w in zip(games, progress.best, strict=True)]
        metrics = {
            "round": progress.round,
            "samples": len(data.action),
            "loss": loss,
            "accuracy": accuracy,
            "policy_gain": policy,
            "best_gain": _gain(games, cycles),
            "cpu_s": process_time() - began,
        }
        progress.round += 1
        save_network(weights, network)
        _save(options, progress, metrics)
        options.on_round(metrics)
    return weights


def _gain(games: list[Instance], cycles: list[int]) -> float:
    """Mean share of what perfect play could take off all-Drop that plays do take off."""
    shares = [(g.all_drop_cycles - c) / g.scale_cycles for g, c in zip(games, cycles, strict=True)]
    return float(np.mean(shares))


def _improve(options: TrainOptions, games: list[Instance], progress: Progress) -> float:
    """Better plays where some are found; the gain of the greedy policy, 0 in round 0."""
    greedily: list[int] = []
    for n, instance in enumerate(games):
        seed = options.seed + 7919 * progress.round + n
        if progress.round == 0:
            starts = [greedy(instance), all_on_chip(instance), beam(instance, 6)]
        else:
            starts = [played(Game(instance), progress.best[n])]
            player = Player(instance, progress.network)
            for temperature in TEMPERATURES:
                cycles = player.play(temperature, seed)
                starts.append(Outcome(player.game.actions, cycles, 1))
            greedily.append(starts[1].cycles)
        start = min(starts, key=lambda outcome: outcome.cycles)
        found = evolution(instance, options.evaluations, seed, start)
        game = Game(instance)
        game.follow(found.wishes)
        if progress.round == 0:
            progress.best.append(game.actions)
        elif game.cycles < starts[0].cycles:
            progress.best[n] = game.actions
    return _gain(games, greedily) if greedily else 0.0


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


def _plays(games: list[Instance], best: list[np.ndarray]) -> Plays:
    seen, masks, actions, values = [], [], [], []
    for instance, choice in zip(games, best, strict=True):
        player = Player(instance, random_network(0))
        count = instance.decisions
        observed = np.zeros((count, layers.OBSERVATION), dtype=np.float32)
        mask = np.zeros((count, 3), dtype=np.bool_)
        cycles = np.zeros(count, dtype=np.int64)
        done = layers.record(
            instance.rules, player.game.state, player.known, choice, observed, mask, cycles
        )
        seen.append(observed[:done])
        masks.append(mask[:done])
        actions.append(choice[:done])
        values.append((cycles[:done] - player.game.cycles) / instance.scale_cycles)
    return Plays(
        np.concatenate(seen),
        np.concatenate(masks),
        np.concatenate(actions),
        np.concatenate(values).astype(np.float32),
    )


Learner = Callable[[layers.Network, Plays, TrainOptions], tuple[layers.Network, float, float]]
"""Fits weights to plays: (weights, loss, share of actions predicted)."""


def _learner() -> Learner:
    try:
        from stowplan.rl_mapper.learn import fit
    except ImportError as error:
        raise UsageError(
            "training needs PyTorch: pip install 'stowplan[train]' (planning does not)"
        ) from error
    return fit


def _save(options: TrainOptions, progress: Progress, metrics: dict[str, float]) -> None:
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"play{n}": wishes for n, wishes in enumerate(progress.best)}
    state["round"], state["seed"] = np.array(progress.round), np.array(options.seed)
    # The file changes at once: an interrupted save leaves the old state or none.
    with (folder / "state.part.npz").open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **state)
    (folder / "state.part.npz").replace(folder / "state.npz")
    path = folder / "metrics.csv"
    fresh = progress.round == 1 or not path.exists()
    with path.open("w" if fresh else "a", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, METRICS, lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow({name: f"{value:.6g}" for name, value in metrics.items()})


def _resumed(options: TrainOptions) -> Progress | None:
    path = options.folder / "state.npz"
    if not path.exists():
        return None
    with np.load(path) as file:
        if int(file["seed"]) != options.seed or f"play{options.games - 1}" not in file:
            raise UsageError(
                f"{path} is a run with another seed or fewer games: choose another folder"
            )
        best = [file[f"play{n}"] for n in range(options.games)]
        return Progress(
            int(file["round"]), load_network(options.folder / "memory_mapping.npz"), best
        )
