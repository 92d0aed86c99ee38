"""What the learned mapper is compared with: every method gets the same number of evaluations.

An *evaluation* is one complete play of the game, or one change of a play and the replay from there.
Every method returns wishes that :func:`game_kernels.follow` plays, and their latency in the game.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from stowplan.ir.plan import Plan, TransferKind
from stowplan.rl_mapper import game_kernels as kernels
from stowplan.rl_mapper import improve_kernels
from stowplan.rl_mapper.game import COPY, DROP, NOCOPY, ON_CHIP, Game, Instance
from stowplan.rl_mapper.heuristic import assign

CHUNK = 100
TOLERANCE = 0.0
"""Share of the latency that local search may lose on the way, see ``improve_kernels``."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a method found.

    Attributes:
        wishes: one per decision [A].
        cycles: latency in the game.
        evaluations: plays it took.
        hints: addresses to prefer by decision [A + 1]; None leaves all to the game.
    """

    wishes: kernels.Ints
    cycles: int
    evaluations: int
    hints: kernels.Ints | None = None


def played(
    game: Game, wishes: kernels.Ints, evaluations: int = 1, hints: kernels.Ints | None = None
) -> Outcome:
    """Outcome of playing ``wishes`` from the start, which leaves ``hints`` in force."""
    game.state.hint[:] = -1 if hints is None else hints
    game.reset()
    game.follow(wishes)
    return Outcome(np.array(wishes, dtype=np.int64), game.cycles, evaluations, hints)


def replay(game: Game, outcome: Outcome) -> Outcome:
    """Play what was found again, so that ``game`` holds the finished play."""
    return played(game, outcome.wishes, outcome.evaluations, outcome.hints)


def all_drop(instance: Instance) -> Outcome:
    """Every access in DRAM."""
    return played(Game(instance), np.full(instance.decisions, DROP, dtype=np.int64))


def all_on_chip(instance: Instance) -> Outcome:
    """Every access on chip where that is possible and loses nothing at once."""
    return played(Game(instance), np.full(instance.decisions, ON_CHIP, dtype=np.int64))


def greedy(instance: Instance) -> Outcome:
    """The better of two replays of the production-style heuristic."""
    game, found = Game(instance), assign(instance)
    both = played(game, found.wishes), played(game, found.on_chip)
    best = min(both, key=lambda outcome: outcome.cycles)
    return Outcome(best.wishes, best.cycles, 2)


def wishes_of(instance: Instance, plan: Plan) -> kernels.Ints:
    """The choices of a plan of the instance's order [A]; :func:`hints_of` has its addresses."""
    storages = instance.problem.storages
    direct = {(access.storage, access.step) for access in plan.direct}
    loaded = {(t.storage, t.deadline) for t in plan.transfers if t.kind is TransferKind.LOAD}
    wishes = []
    for row in instance.rules.decision:
        access = storages[row[kernels.STORAGE]].name, int(row[kernels.STEP])
        wishes.append(DROP if access in direct else COPY if access in loaded else NOCOPY)
    return np.array(wishes, dtype=np.int64)


def hints_of(instance: Instance, plan: Plan) -> kernels.Ints:
    """Addresses at which the stays of a plan of the instance's order begin, by decision [A + 1]."""
    storages = instance.problem.storages
    begun = {(r.storage, r.start): r.address for r in plan.residencies}
    hints = np.full(instance.decisions + 1, -1, dtype=np.int64)
    for a, row in enumerate(instance.rules.decision):
        access = storages[row[kernels.STORAGE]].name, int(row[kernels.STEP])
        hints[a] = begun.get(access, -1)
    return hints


def random_restarts(instance: Instance, evaluations: int, seed: int = 0) -> Outcome:
    """Independent random plays, biased more and less towards fast memory."""
    game, rng = Game(instance), np.random.default_rng(seed)
    best = all_drop(instance)
    for n in range(max(0, evaluations - 1)):
        weights = rng.dirichlet((1.0, 2.0, 1.0))
        game.reset()
        kernels.rollout(instance.rules, game.state, weights, seed + n)
        if game.cycles < best.cycles:
            best = Outcome(game.actions, game.cycles, evaluations)
    return Outcome(best.wishes, best.cycles, evaluations)


def evolution(
    instance: Instance,
    evaluations: int,
    seed: int = 0,
    start: Outcome | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Outcome:
    """A string of wishes changed step by step from the best heuristic (threshold accepting)."""
    first = start or min(greedy(instance), all_on_chip(instance), key=lambda found: found.cycles)
    game = Game(instance)
    if first.hints is not None:
        game.state.hint[:] = first.hints
    best = first
    spent = first.evaluations
    wishes = first.wishes.copy()
    while spent < evaluations and not stopped():
        chunk = min(CHUNK, evaluations - spent)
        tolerance = TOLERANCE * (1.0 - spent / evaluations)
        cycles = improve_kernels.improve(
            instance.rules, game.state, wishes, chunk, tolerance, seed + spent
        )
        spent += chunk
        if cycles <= best.cycles:
            best = Outcome(wishes.copy(), int(cycles), spent, first.hints)
    return replace(best, evaluations=spent)


def population(instance: Instance, evaluations: int, seed: int = 0, size: int = 16) -> Outcome:
    """Evolution of a population of strings: tournaments, one-point crossover, mutation."""
    game, rng = Game(instance), np.random.default_rng(seed)
    starts = [greedy(instance), all_on_chip(instance), all_drop(instance)]
    members = [(start.cycles, start.wishes) for start in starts]
    spent = len(members) + 1
    while spent < evaluations:
        parents = [min((members[i] for i in rng.integers(0, len(members), 2)), key=_cycles)[1]]
        parents.append(members[rng.integers(0, len(members))][1])
        cut = int(rng.integers(0, instance.decisions + 1))
        child = np.concatenate([parents[0][:cut], parents[1][cut:]])
        count = 1 + int(rng.integers(0, 3))
        child[rng.integers(0, instance.decisions, count)] = rng.integers(0, 4, count)
        found = played(game, child)
        spent += 1
        members.append((found.cycles, found.wishes))
        members = sorted(members, key=_cycles)[:size]
    return Outcome(members[0][1], members[0][0], spent)


def _cycles(member: tuple[int, kernels.Ints]) -> int:
    return member[0]


def beam(instance: Instance, width: int) -> Outcome:
    """Beam search over decisions in order, by latency with everything undecided Dropped.

    Costs about as many decisions as ``3 * width`` plays.
    """
    games = [Game(instance)]
    while not games[0].done:
        offers = []
        for n, game in enumerate(games):
            mask = game.legal()
            for action in np.flatnonzero(mask).tolist():
                offers.append((game.cycles - game.play(action), action, n))
                game.undo()
        if not offers:
            for game in games:
                game.back_up()
            games = games[:1]
            continue
        offers.sort()
        games = _grown(instance, games, offers[:width])
    best = min(games, key=lambda game: game.cycles)
    return Outcome(best.actions, best.cycles, 3 * width)


def _grown(instance: Instance, games: list[Game], kept: list[tuple[int, int, int]]) -> list[Game]:
    """Play the kept offers, copying a position for all but its last."""
    uses = [sum(n == m for _, _, m in kept) for n in range(len(games))]
    grown = []
    for _, action, n in kept:
        uses[n] -= 1
        game = games[n] if uses[n] == 0 else games[n].copy()
        game.play(action)
        grown.append(game)
    return grown
