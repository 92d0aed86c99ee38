"""Search over tilings: which units form a chain, in how many stripes, and how others are cut.

The cost model of ``passes.tiling`` proposes whole tilings under several assumptions; none of them
sees the plan. Here the best of them is improved by local moves, each judged by replaying the tiles:
more or fewer stripes, a chain split in two, two groups joined, a unit handed to
the neighbour, other grids for a single unit. A move is tried on the groups around it first, and
kept when the replay of everything agrees. The number of replays bounds the search, never the
clock, so that its result is the same everywhere.

Chains in panels come second, from the better of what was found without them and what the cost model
proposes with them, with replays of their own: they never displace what would be found anyway.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from stowplan.errors import UsageError
from stowplan.ir.memory import MemorySpec
from stowplan.passes.tile_groups import Cut, cut_of, group_of
from stowplan.passes.tile_moves import Moves
from stowplan.passes.tiling.build import jobs_of
from stowplan.passes.tiling.choose import PANELS, choose
from stowplan.passes.tiling.costs import ArrayShape, Budget, ChainMeter
from stowplan.passes.tiling.grids import Grid, find_grid
from stowplan.passes.tiling.network import Network, Unit
from stowplan.passes.tiling.pieces import Job
from stowplan.passes.tiling.replay import Replay, Replayed

WORKING_SHARES = (0.9, 0.6)
KEPT_SHARES = (0.25, 0.75)
CAPACITY_SHARES = (0.97, 0.5)
OVERHEAD_SHARES = (1.0, 0.0)
"""Assumptions the cost model is asked under: shares of the scratchpad for a chain's working set,
for results that stay, for one tile; and of the true overhead of a tile."""
CHAIN_SHARE = 0.95
"""Share of the scratchpad a new chain may fill by estimate."""
MARGIN = 2
"""Groups on either side that are replayed with a move."""
HOPELESS = 4
"""A tiling without panels that moves this many times what one with panels does is not improved."""
PANEL_SHARE = 0.5
"""Replays for the search over panels, as a share of those for the search without."""
_NONE = 1 << 60


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """Bounds of the search.

    Attributes:
        replays: tiles of the whole network are replayed about this many times at most; replays of
            parts count by their share.
        tile_bytes: what one more tile costs, as bytes moved.
        array: shape of the matrix array, which the cost model fills.
        cancelled: polled now and then; true ends the search.
    """

    replays: float
    tile_bytes: int
    array: ArrayShape | None = None
    cancelled: Callable[[], bool] = lambda: False


def search_tilings(
    network: Network, memory: MemorySpec, limits: SearchLimits
) -> tuple[tuple[Cut, ...], ...]:
    """The best groups found, at last, and before that the best without panels where they differ.

    They may still not fit where no tiles are small enough.
    """
    state = _State(network, memory, limits)
    seeds = list(_proposals(network, memory, limits))
    start, budget = min(seeds, key=lambda seed: state.score(seed[0]))
    panelled = state.proposed(budget, PANELS)
    useful = any(cut.panels > 1 for cut in panelled)
    if useful and state.score(start) > _times(HOPELESS, state.score(panelled)):
        state.allow_panels(1.0)
        return (state.climb(panelled),)
    plain = state.climb(start)
    if not useful:
        return (plain,)
    state.allow_panels(PANEL_SHARE)
    found = state.climb(min(plain, panelled, key=state.score))
    return tuple(dict.fromkeys((plain, found)))


def _proposals(
    network: Network, memory: MemorySpec, limits: SearchLimits
) -> Iterator[tuple[tuple[Cut, ...], Budget]]:
    """What the cost model chooses under several assumptions, and each unit alone."""
    meter = ChainMeter(network, memory.alignment_bytes)
    seen: set[tuple[Cut, ...]] = set()
    for share, overhead in product(CAPACITY_SHARES, OVERHEAD_SHARES):
        capacity = int(memory.capacity_bytes * share)
        budgets = [
            Budget(
                capacity_bytes=capacity,
                working_bytes=int(capacity * working),
                kept_bytes=max(1, int(capacity * kept)),
                alignment_bytes=memory.alignment_bytes,
                tile_bytes=int(limits.tile_bytes * overhead),
                array=limits.array if overhead else None,
                kept_weights_bytes=memory.kept_weights_bytes,
            )
            for working, kept in product(WORKING_SHARES, KEPT_SHARES)
        ]
        grids = _grids(network, budgets[0])
        for budget, fuse in (*((each, True) for each in budgets), (budgets[0], False)):
            cuts = _chosen(meter, budget, grids, fuse=fuse)
            if cuts not in seen:
                seen.add(cuts)
                yield cuts, budget


def _chosen(
    meter: ChainMeter,
    budget: Budget,
    grids: Sequence[Grid],
    fuse: bool = True,
    panels: Sequence[int] = (1,),
) -> tuple[Cut, ...]:
    """What the cost model chooses under one assumption."""
    shares = [1.0] * len(meter.network.units)
    return tuple(map(cut_of, choose(meter, budget, grids, shares, fuse, panels=panels)))


def _grids(network: Network, budget: Budget) -> list[Grid]:
    """The best tiles of each unit alone; units of one form are cut alike."""
    known: dict[tuple[object, ...], Grid] = {}
    for unit in network.units:
        if unit.form not in known:
            known[unit.form] = find_grid(network, budget, unit)
    return [known[unit.form] for unit in network.units]


Score = tuple[int, int]
"""Bytes that do not fit, then bytes moved with what the tiles cost; smaller is better."""


def _times(factor: int, score: Score) -> Score:
    return factor * score[0], factor * score[1]


class _State:
    """The replays done so far and what is remembered of them; mutable."""

    def __init__(self, network: Network, memory: MemorySpec, limits: SearchLimits) -> None:
        self._network, self._memory, self._limits = network, memory, limits
        self._replay = Replay(network, memory)
        self._meter = ChainMeter(network, memory.alignment_bytes)
        budget = Budget(
            capacity_bytes=int(memory.capacity_bytes * CAPACITY_SHARES[0]),
            working_bytes=int(memory.capacity_bytes * CHAIN_SHARE),
            kept_bytes=memory.capacity_bytes,
            alignment_bytes=memory.alignment_bytes,
            tile_bytes=limits.tile_bytes,
            array=limits.array,
            kept_weights_bytes=memory.kept_weights_bytes,
        )
        self._moves = Moves(self._meter, budget)
        self._jobs: dict[Cut, list[Job] | None] = {}
        self._tried: dict[tuple[Cut, ...], Score] = {}
        self._spent, self._allowed = 0.0, limits.replays

    def allow_panels(self, share: float) -> None:
        """Let chains run in panels from now on, with replays of their own."""
        self._moves.panels = True
        self._allowed = self._spent + share * self._limits.replays

    def proposed(self, budget: Budget, panels: Sequence[int]) -> tuple[Cut, ...]:
        """What the cost model chooses when chains may run in panels."""
        return _chosen(self._meter, budget, _grids(self._network, budget), panels=panels)

    def score(self, cuts: Sequence[Cut]) -> Score:
        """Score of groups that follow one another; worst where one cannot be cut so."""
        key = tuple(cuts)
        if key not in self._tried:
            result = self._run(key)
            found = (_NONE, 0)
            if result is not None:
                price = result.tiles * self._limits.tile_bytes
                found = (result.over_bytes, result.moved_bytes + price)
            self._tried[key] = found
        return self._tried[key]

    def climb(self, cuts: tuple[Cut, ...]) -> tuple[Cut, ...]:
        """Improve until no move helps or the replays are used up."""
        improved = True
        while improved and not self._over():
            improved = False
            for unit in self._by_cost(cuts):
                found = self._improve(cuts, unit)
                if found is not None:
                    cuts, improved = found, True
                if self._over():
                    break
        return cuts

    def _over(self) -> bool:
        return self._spent >= self._allowed or self._limits.cancelled()

    def _improve(self, cuts: tuple[Cut, ...], unit: int) -> tuple[Cut, ...] | None:
        """The best move of the group that holds ``unit``, if it helps."""
        at = next(i for i, cut in enumerate(cuts) if cut.last > unit)
        low, high = max(0, at - MARGIN), min(len(cuts), at + 2 + MARGIN)
        before, after = cuts[low:at], cuts[at + 2 : high]
        current = self.score(cuts[low:high])
        trials = []
        for move in dict.fromkeys(self._moves.of(cuts[at], cuts[at + 1 : at + 2])):
            score = self.score((*before, *move, *after))
            if score < current:
                trials.append((score, move))
            if self._over():
                break
        whole = self.score(cuts)
        for _, move in sorted(trials, key=lambda trial: trial[0])[:3]:
            found = (*cuts[:at], *move, *cuts[at + 2 :])
            if self.score(found) < whole:
                return found
        return None

    def _run(self, cuts: tuple[Cut, ...]) -> Replayed | None:
        jobs: list[Job] = []
        for cut in cuts:
            found = self._jobs_of(cut)
            if found is None:
                return None
            jobs += found
        self._spent += (cuts[-1].last - cuts[0].first) / max(1, len(self._network.units))
        return self._replay.run(jobs)

    def _jobs_of(self, cut: Cut) -> list[Job] | None:
        """Tiles of a group; None when it cannot be cut so."""
        if cut not in self._jobs:
            self._jobs[cut] = _jobs_of(self._network, cut)
        return self._jobs[cut]

    def _by_cost(self, cuts: tuple[Cut, ...]) -> list[int]:
        """First units of the groups, those first whose results and weights move most bytes."""
        result = self._run(cuts)
        if result is None:
            return []
        network = self._network
        costs = []
        for cut in cuts:
            units = network.units[cut.first : cut.last]
            total = sum(
                result.streamed.get(unit.index, 0) - _weights(network, unit) for unit in units
            )
            total += sum(result.moved.get(name, 0) for u in units for name in u.operator.outputs)
            reads = {source.tensor for unit in units for source in unit.sources}
            total += sum(result.moved.get(name, 0) for name in reads) // 2
            costs.append((-total, cut.first))
        return [first for cost, first in sorted(costs) if cost < 0 or result.over_bytes]


def _weights(network: Network, unit: Unit) -> int:
    """Bytes of the weights that a unit streams at least."""
    names = dict.fromkeys(source.tensor for source in unit.sources)
    return sum(network.graph.tensor[n].size_bytes for n in names if network.streamed(n))


def _jobs_of(network: Network, cut: Cut) -> list[Job] | None:
    units = network.units[cut.first : cut.last]
    try:
        jobs = jobs_of(network, [group_of(network, cut)])
    except UsageError:
        return None
    cut_at_all = any(job.box != network.whole(job.unit) for job in jobs)
    return None if len(units) > 1 and not cut_at_all else jobs
