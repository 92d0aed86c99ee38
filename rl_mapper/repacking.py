"""Local search in a game whose memory is pooled, with addresses found afterwards.

What to keep where is searched as if memory could repack itself at any time; ``packing`` then finds
addresses for the stays of the best play. Often it finds all of them, and the play with addresses is
as fast. If not, the play is searched on with the addresses that were found, and the pool shrinks.

Several starts share the evaluations, those that do best with pooled memory: all get a few, the
better half of them more, and so on. With networks, the one that has learned what changes gain
proposes some of those tried (``guided_kernels``), the more the better its proposals do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from stowplan.rl_mapper import game_kernels as kernels
from stowplan.rl_mapper import improve_kernels
from stowplan.rl_mapper.baselines import Outcome, played
from stowplan.rl_mapper.changes import Proposer, load_changes
from stowplan.rl_mapper.game import Game, Instance
from stowplan.rl_mapper.network import Player
from stowplan.rl_mapper.packing import packed_hints, pooled

CHUNK = 100
"""Evaluations between two packings."""
WITH_ADDRESSES = 0.25
"""Share of the evaluations spent with addresses after a packing that leaves stays over."""
SHRINK = 0.97
"""What is left of the pool after such a packing."""
SMALLEST_POOL = 0.75
STARTS = 4
"""Starts that share the evaluations."""
TRAIL = 5
"""Best plays of a search that are kept: the simulator may like one better than the last."""

Stopped = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Start:
    """A play to improve.

    Attributes:
        instance: the game.
        outcome: the play.
        player: a network bound to ``instance``; with one, changes are proposed by a network, too.
    """

    instance: Instance
    outcome: Outcome
    player: Player | None = None


class Search:
    """Improves one start for as long as it is told to; mutable."""

    def __init__(self, start: Start, seed: int) -> None:
        """Begin at the start's play, with the whole memory pooled."""
        self.instance = start.instance
        self.best = start.outcome
        self.trail = [start.outcome]
        self._proposer: Proposer | None = None
        if start.player is not None:
            self._proposer = Proposer(start.instance, load_changes())
        self._game = Game(start.instance)
        self._seed = seed
        self._share = 1.0
        self._pool = Game(pooled(start.instance))
        self._wishes = start.outcome.wishes.copy()
        self.spent = 0

    def run(self, evaluations: int, stopped: Stopped = lambda: False) -> Outcome:
        """Try ``evaluations`` more changes; the best play with addresses."""
        left = evaluations
        while left > 0 and not stopped():
            chunk = min(CHUNK, left)
            left -= chunk
            self._advance(chunk)
        return self.best

    def _advance(self, evaluations: int) -> None:
        with_addresses = int(WITH_ADDRESSES * evaluations) if self._share < 1.0 else 0
        self._improve(self._pool, self._wishes, evaluations - with_addresses)
        hints = packed_hints(self._pool, self._capacity_bytes)
        found = played(self._game, self._wishes, 0, hints)
        lost = found.cycles > self._pool.cycles
        if with_addresses:
            wishes = found.wishes.copy()
            cycles = self._improve(self._game, wishes, with_addresses)
            found = Outcome(wishes, cycles, 0, hints)
        lost = lost and found.cycles >= self.best.cycles
        if found.cycles < self.best.cycles:
            self.best = found
            self.trail = [*self.trail[1 - TRAIL :], found]
        if lost and self._share * SHRINK >= SMALLEST_POOL:
            self._share *= SHRINK
            self._pool = Game(pooled(self.instance, self._share))
            self._wishes = self.best.wishes.copy()

    @property
    def _capacity_bytes(self) -> int:
        return int(self.instance.rules.limits[kernels.CAPACITY])

    def _improve(self, game: Game, wishes: kernels.Ints, evaluations: int) -> int:
        self.spent += evaluations
        self._seed += 1
        if self._proposer is not None:
            return self._proposer.improve(game, wishes, evaluations, self._seed)
        rules = game.instance.rules
        return int(improve_kernels.improve(rules, game.state, wishes, evaluations, 0.0, self._seed))


def _promise(start: Start) -> int:
    """Latency of a start, or what it would be if memory were pooled."""
    again = played(Game(pooled(start.instance)), start.outcome.wishes)
    return min(start.outcome.cycles, again.cycles)


def repacked(
    starts: Sequence[Start],
    evaluations: int,
    seed: int = 0,
    stopped: Stopped = lambda: False,
) -> list[tuple[Instance, Outcome]]:
    """Improve the best of ``starts``; the last best plays of every search, the best first.

    Args:
        starts: plays, not necessarily of the same game.
        evaluations: changes tried altogether.
        seed: of the changes.
        stopped: polled now and then; true ends the search.
    """
    ranked = sorted(starts, key=_promise)[:STARTS]
    searches = [Search(start, seed + (n << 20)) for n, start in enumerate(ranked)]
    alive = list(searches)
    rounds = max(1, len(alive).bit_length())
    left = evaluations
    while left > 0 and alive and not stopped():
        each = max(1, left // rounds // len(alive))
        for search in alive:
            search.run(min(each, left), stopped)
            left -= min(each, left)
        alive = sorted(alive, key=lambda search: search.best.cycles)[: (len(alive) + 1) // 2]
        rounds = max(1, rounds - 1)
    spent = sum(search.spent for search in searches)
    found = [
        (search.instance, replace(outcome, evaluations=spent))
        for search in searches
        for outcome in search.trail
    ]
    return sorted(found, key=lambda pair: pair[1].cycles)
