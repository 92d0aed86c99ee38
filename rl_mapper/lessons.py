"""What the network of changes learns from: searches of training games, and near-optimal plays.

Memory is pooled. From every start local search goes on in stages, each twice as long as the one
before. Between them changes are *probed*: tried, noted with what they gain, and taken back. The
best play that any search of a game found is what a near-optimal play looks like; where the integer
program found one, its choices are one of the starts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stowplan.errors import UsageError
from stowplan.rl_mapper import change_kernels as changes
from stowplan.rl_mapper import game_kernels as kernels
from stowplan.rl_mapper import guided_kernels, improve_kernels
from stowplan.rl_mapper.baselines import all_on_chip, greedy, played
from stowplan.rl_mapper.changes import Proposer
from stowplan.rl_mapper.game import Game, Instance
from stowplan.rl_mapper.packing import pooled

IMITATE = ("program", "search", "heuristic")
"""Whose plays are imitated; each includes those after it."""
STAGES = 6
PROBES = 240
"""Changes probed before every stage and after the last."""
NEAR = 24
"""Most decisions between the two moves of most pairs probed."""

Program = Callable[[Instance], kernels.Ints | None]
"""Near-optimal wishes of a game by a solver; None where it found none in time."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one game taught: S plays, A decisions, K changes probed in each play.

    Attributes:
        wishes: the plays [S, A].
        cycles: their latencies in pooled memory [S].
        tried: changes probed, as :func:`guided_kernels.probe` takes them [S, K, 4].
        gains: what they gain [S, K].
        best: wishes of the best play known [A].
        best_cycles: its latency in pooled memory.
        source: whose play that is: ``program``, ``search`` or ``heuristic``.
    """

    wishes: kernels.Ints
    cycles: kernels.Ints
    tried: kernels.Ints
    gains: kernels.Ints
    best: kernels.Ints
    best_cycles: int
    source: str


@dataclass(frozen=True, slots=True)
class LessonOptions:
    """How a lesson is made.

    Attributes:
        imitate: one of ``IMITATE``.
        evaluations: of local search altogether.
        program: the solver.
    """

    imitate: str
    evaluations: int
    program: Program | None = None

    def __post_init__(self) -> None:
        """Refuse what there is not.

        Raises:
            UsageError: unknown kind of play, or no solver for the program's.
        """
        if self.imitate not in IMITATE:
            raise UsageError(f"no plays {self.imitate!r} to imitate: choose {', '.join(IMITATE)}")
        if self.imitate == "program" and self.program is None:
            raise UsageError("imitating the integer program needs its solver: choose search")


def lesson(
    instance: Instance, options: LessonOptions, seed: int, proposer: Proposer | None = None
) -> Lesson:
    """Search a game and probe changes; with a ``proposer`` half of them are its proposals."""
    game = Game(pooled(instance))
    starts = [("heuristic", greedy(instance)), ("heuristic", all_on_chip(instance))]
    if options.imitate == "program" and options.program is not None:
        wishes = options.program(instance)
        if wishes is not None:
            starts.append(("program", played(Game(instance), wishes)))
    rng = np.random.default_rng(seed)
    snapshots: list[tuple[kernels.Ints, int, kernels.Ints, kernels.Ints]] = []
    found: list[tuple[int, str, kernels.Ints]] = []
    for source, start in starts:
        wishes = start.wishes.copy()
        begun = played(game, wishes).cycles
        found.append((begun, source, wishes.copy()))
        stages = STAGES if options.imitate != "heuristic" else 0
        for stage in range(stages + 1):
            tried = _changes(instance, proposer, game, wishes, rng)
            gains = np.zeros(len(tried), dtype=np.int64)
            guided_kernels.probe(game.instance.rules, game.state, wishes, tried, gains)
            snapshots.append((wishes.copy(), game.cycles, tried, gains))
            if stage < stages:
                share = 2**stage / (2**STAGES - 1) / len(starts)
                count = max(1, int(options.evaluations * share))
                _search(game, wishes, count, int(rng.integers(1 << 30)), proposer)
        if stages and game.cycles < begun:
            found.append((game.cycles, "search", wishes.copy()))
    cycles, source, best = min(found, key=lambda each: each[0])
    plays, latencies, tried, gains = (
        np.array(column, dtype=np.int64) for column in zip(*snapshots, strict=True)
    )
    return Lesson(plays, latencies, tried, gains, best, int(cycles), source)


def _search(
    game: Game, wishes: kernels.Ints, evaluations: int, seed: int, proposer: Proposer | None
) -> None:
    rules = game.instance.rules
    if proposer is not None:
        proposer.improve(game, wishes, evaluations, seed)
        return
    improve_kernels.improve(rules, game.state, wishes, evaluations, 0.0, seed)


def _changes(
    instance: Instance,
    proposer: Proposer | None,
    game: Game,
    wishes: kernels.Ints,
    rng: np.random.Generator,
) -> kernels.Ints:
    """Single moves and pairs in turn [K, 4], evenly drawn or half of them proposed."""
    total = instance.decisions
    tried = np.zeros((PROBES, 4), dtype=np.int64)
    tried[:, 1], tried[:, 3] = rng.integers(0, changes.MOVES, (2, PROBES))
    tried[:, 0], tried[:, 2] = rng.integers(0, total, (2, PROBES))
    near = np.clip(tried[:, 0] + rng.integers(-NEAR, NEAR + 1, PROBES), 0, total - 1)
    tried[:, 2] = np.where(rng.random(PROBES) < 0.75, near, tried[:, 2])
    tried[::2, 0] = -1
    if proposer is not None:
        played(game, wishes)
        proposed = tried[: PROBES // 2]
        proposer.propose(game, wishes, int(rng.integers(1 << 30)), proposed)
    return tried


def save_lesson(path: Path, found: Lesson) -> None:
    """Write a lesson; the file appears at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(
            file,
            allow_pickle=False,
            wishes=found.wishes.astype(np.int8),
            cycles=found.cycles,
            tried=found.tried.astype(np.int32),
            gains=found.gains,
            best=found.best.astype(np.int8),
            best_cycles=np.array(found.best_cycles),
            source=np.array(found.source),
        )
    part.replace(path)


def load_lesson(path: Path) -> Lesson | None:
    """Read a lesson; None if there is none yet.

    Raises:
        UsageError: the file cannot be read.
    """
    if not path.exists():
        return None
    try:
        with np.load(path) as file:
            arrays = {
                name: file[name].astype(np.int64)
                for name in ("wishes", "cycles", "tried", "gains", "best")
            }
            return Lesson(
                **arrays, best_cycles=int(file["best_cycles"]), source=str(file["source"])
            )
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise UsageError(f"{path}: cannot read the lesson: {error}; delete it") from error
