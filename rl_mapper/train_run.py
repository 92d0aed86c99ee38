"""A training run on disk: its options, its metrics, and the state it resumes from.

``metrics.csv`` has a row per epoch:

=================== ========================================================================
``round``, ``epoch`` 0 is imitation; epochs count within a round
``samples``         positions learned from
``policy_loss``     cross-entropy of the actions
``value_loss``      mean squared error of the values
``reward_loss``     of a dynamics model's rewards in hundredths of the scale, else 0
``accuracy``        share of actions predicted
``cpu_s``           processor seconds of the epoch
=================== ========================================================================

and in the last row of every round, empty in the others:

=================== ========================================================================
``policy_gain``     of the greedy policy on training games, before the round's epochs
``best_gain``       of the best plays known of the training games
``validation_gain`` of the greedy policy on validation games, after the round's epochs
``over_greedy``     latency it takes off the production-style heuristic there
``even_over_greedy`` the same of local search without a network, with dynamics ``pooled``
``play_cpu_s``      processor seconds of playing and searching
=================== ========================================================================

Gains are shares of what perfect play could at most take off all-Drop. The weights of every round
stay in ``round<number>.npz``.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stowplan.errors import UsageError
from stowplan.rl_mapper.baselines import greedy
from stowplan.rl_mapper.game import Instance
from stowplan.rl_mapper.training_graphs import VALIDATION, training_game

EPOCH_METRICS = (
    "round",
    "epoch",
    "samples",
    "policy_loss",
    "value_loss",
    "reward_loss",
    "accuracy",
    "cpu_s",
)
ROUND_METRICS = (
    "policy_gain",
    "best_gain",
    "validation_gain",
    "over_greedy",
    "even_over_greedy",
    "play_cpu_s",
)
METRICS: tuple[str, ...] = EPOCH_METRICS + ROUND_METRICS
"""Columns of ``metrics.csv``."""
DYNAMICS = ("exact", "learned", "pooled")


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """How to train.

    Attributes:
        folder: where state, metrics and weights go.
        games: number of training games.
        rounds: rounds of expert iteration or self-play after imitation.
        evaluations: changes that local search tries per game and round.
        epochs: passes over the plays per round.
        seed: of games, search and weights.
        dynamics: ``exact`` trains the policy for search on the game itself, ``learned`` a model of
            the game and a policy on it, ``pooled`` the network that proposes changes to local
            search in pooled memory.
        imitate: whose plays ``pooled`` imitates in round 0: ``program``, ``search`` or
            ``heuristic``, each with those after it.
        program: near-optimal wishes of a game by the integer program, for the first of these.
        validation: number of games that gains are measured on and nothing learns from.
        on_epoch: called with every row of the metrics.
    """

    folder: Path
    games: int = 200
    rounds: int = 4
    evaluations: int = 300
    epochs: int = 6
    seed: int = 0
    dynamics: str = "exact"
    imitate: str = "search"
    program: Callable[[Instance], np.ndarray | None] | None = None
    validation: int = 20
    on_epoch: Callable[[dict[str, float]], None] = field(default=lambda metrics: None)


@dataclass(frozen=True, slots=True)
class Fitted:
    """What one pass over the plays learned; the fields are columns of the metrics."""

    policy_loss: float
    value_loss: float
    reward_loss: float
    accuracy: float
    cpu_s: float


class Validation:
    """Games to measure gains on, and how the heuristic does there."""

    def __init__(self, options: TrainOptions) -> None:
        """Make the games; the same for every run."""
        self.games = [training_game(VALIDATION + n) for n in range(options.validation)]
        self._greedy = [greedy(game).cycles for game in self.games]

    def gains(self, cycles: Sequence[int]) -> dict[str, float]:
        """Metrics of a policy that takes ``cycles`` in each game."""
        if not self.games:
            return {}
        over = [1 - c / g for c, g in zip(cycles, self._greedy, strict=True)]
        return {
            "validation_gain": gain(self.games, cycles),
            "over_greedy": float(np.mean(over)),
        }


def gain(games: Sequence[Instance], cycles: Sequence[int]) -> float:
    """Mean share of what perfect play could take off all-Drop that plays do take off."""
    shares = [(g.all_drop_cycles - c) / g.scale_cycles for g, c in zip(games, cycles, strict=True)]
    return float(np.mean(shares))


def torch_missing(error: ImportError) -> UsageError:
    """What a run without torch ends with."""
    del error
    return UsageError("training needs PyTorch: pip install 'stowplan[train]' (planning does not)")


def report(
    options: TrainOptions,
    number: int,
    samples: int,
    fitted: Sequence[Fitted],
    closing: Mapping[str, float],
) -> None:
    """Append the rows of round ``number``; rows of an interrupted attempt at it go."""
    path = options.folder / "metrics.csv"
    options.folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, str]] = []
    if number and path.exists():
        with path.open(newline="", encoding="utf-8") as table:
            rows = [row for row in csv.DictReader(table) if int(row["round"]) < number]
    for epoch, found in enumerate(fitted):
        row: dict[str, float] = {"round": number, "epoch": epoch, "samples": samples}
        row |= {name: getattr(found, name) for name in Fitted.__dataclass_fields__}
        row |= closing if epoch == len(fitted) - 1 else {}
        options.on_epoch(row)
        rows.append({name: f"{value:.6g}" for name, value in row.items()})
    part = options.folder / "metrics.part.csv"
    with part.open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, METRICS, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)


def save_state(options: TrainOptions, number: int, state: Mapping[str, np.ndarray]) -> None:
    """Keep what round ``number``, the next one, starts from; the file changes at once."""
    options.folder.mkdir(parents=True, exist_ok=True)
    identity = {"round": np.array(number), **_identity(options)}
    part = options.folder / "state.part.npz"
    with part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **identity, **state)
    part.replace(options.folder / "state.npz")


def load_state(options: TrainOptions) -> tuple[int, dict[str, np.ndarray]] | None:
    """The next round and the state it starts from; None in a new folder.

    Raises:
        UsageError: the folder holds a run with other options.
    """
    path = options.folder / "state.npz"
    if not path.exists():
        return None
    try:
        with np.load(path) as file:
            found = {name: file[name] for name in file}
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path}: cannot read the state of training: {error}") from error
    for name, wanted in _identity(options).items():
        if name not in found or str(found[name]) != str(wanted):
            raise UsageError(
                f"{path} is a run with another {name} than {wanted}: choose another folder"
            )
    return int(found["round"]), found


def _identity(options: TrainOptions) -> dict[str, np.ndarray]:
    """What must not change between the parts of one run."""
    found = {"seed": options.seed, "games": options.games, "dynamics": options.dynamics}
    if options.dynamics == "pooled":
        found["imitate"] = options.imitate
    return {name: np.array(value) for name, value in found.items()}
