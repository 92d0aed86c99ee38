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
from dataclasses import dataclass, replace
from itertools import product

from stowplan.errors import UsageError
from stowplan.ir.memory import MemorySpec
from stowplan.passes.grid_moves import regridded
from stowplan.passes.tile_groups import Cut, cut_of, group_of, sinks
from stowplan.passes.tiling.build import jobs_of
from stowplan.passes.tiling.choose import PANELS, choose, panel_axes
from stowplan.passes.tiling.costs import ArrayShape, Budget, ChainCost, ChainMeter
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
LONGEST_CHAIN = 40
HOPELESS = 4
"""A tiling without panels that moves this many times what one with panels does is not improved."""
PANEL_SHARE = 0.5
"""Replays for the search over panels, as a share of those for the search without."""
_LADDER = tuple(sorted({n << k for n in (2, 3, 5, 7) for k in range(9)}))
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
        self._grid_budget = Budget(
            capacity_bytes=int(memory.capacity_bytes * CAPACITY_SHARES[0]),
            working_bytes=int(memory.capacity_bytes * CHAIN_SHARE),
            kept_bytes=memory.capacity_bytes,
            alignment_bytes=memory.alignment_bytes,
            tile_bytes=limits.tile_bytes,
            array=limits.array,
            kept_weights_bytes=memory.kept_weights_bytes,
        )
        self._jobs: dict[Cut, list[Job] | None] = {}
        self._alone: dict[int, Cut] = {}
        self._tried: dict[tuple[Cut, ...], Score] = {}
        self._spent, self._allowed = 0.0, limits.replays
        self._panels = False

    def allow_panels(self, share: float) -> None:
        """Let chains run in panels from now on, with replays of their own."""
        self._panels = True
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
        for move in dict.fromkeys(self._moves(cuts[at], cuts[at + 1 : at + 2])):
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

    def _moves(self, cut: Cut, following: tuple[Cut, ...]) -> Iterator[tuple[Cut, ...]]:
        """What may stand for a group and the one after it."""
        if cut.last > cut.first + 1:
            for changed in self._restriped(cut):
                yield (changed, *following)
            for parts in self._split(cut):
                yield (*parts, *following)
        else:
            unit = self._network.units[cut.first]
            for grid in regridded(self._network, unit, cut.grid):
                yield (replace(cut, grid=grid), *following)
        if following:
            yield from self._joined(cut, following[0])

    def _restriped(self, cut: Cut) -> Iterator[Cut]:
        place = min(range(len(_LADDER)), key=lambda i: abs(_LADDER[i] - cut.stripes))
        for step in (-4, -2, -1, 0, 1, 2, 4):
            if 0 <= place + step < len(_LADDER) and _LADDER[place + step] != cut.stripes:
                yield replace(cut, stripes=_LADDER[place + step])
        if self._panels:
            yield from self._repanelled(cut)

    def _repanelled(self, cut: Cut) -> Iterator[Cut]:
        """A chain in other numbers of panels, as fine as it is or as coarse as fits then."""
        place = min(range(len(PANELS)), key=lambda i: abs(PANELS[i] - cut.panels))
        for step in (-2, -1, 1, 2):
            if 0 <= place + step < len(PANELS):
                panels = PANELS[place + step]
                changed = self._in_panels(replace(cut, panels=1, across=()), panels)
                coarse = self._coarsest(cut.first, cut.last, cut.axes, panels)
                yield from (each for each in (changed, coarse) if each is not None)

    def _in_panels(self, cut: Cut, panels: int) -> Cut | None:
        """A chain in panels, where its results can be cut so."""
        if panels == 1:
            return cut
        names = sinks(self._network.units[cut.first : cut.last])
        shapes = {name: self._network.graph.tensor[name].shape for name in names}
        across = panel_axes(shapes, dict(zip(names, cut.axes, strict=True)))
        if across is None or panels > min(shapes[name][axis] for name, axis in across.items()):
            return None
        return replace(cut, panels=panels, across=tuple(across[name] for name in names))

    def _split(self, cut: Cut) -> Iterator[tuple[Cut, ...]]:
        for middle in range(cut.first + 1, cut.last):
            for left in self._part(cut, cut.first, middle):
                for right in self._part(cut, middle, cut.last):
                    yield left, right
        yield tuple(self._single(unit) for unit in range(cut.first, cut.last))

    def _part(self, cut: Cut, first: int, last: int) -> list[Cut]:
        """Ways of running units ``[first, last)`` of a chain by themselves."""
        if last == first + 1:
            return [self._single(first)]
        axes = self._axes(first, last, cut.axes[-1])
        if axes is None:
            return []
        same = self._in_panels(Cut(first, last, cut.stripes, axes), cut.panels)
        parts = (same, *self._by_estimate(first, last, axes))
        return list(dict.fromkeys(part for part in parts if part is not None))

    def _joined(self, cut: Cut, other: Cut) -> Iterator[tuple[Cut, ...]]:
        """One chain of both groups, or a unit handed from one to the other."""
        if other.last - cut.first <= LONGEST_CHAIN:
            yield from ((chain,) for chain in self._chains(cut.first, other.last, cut, other))
        if cut.last - cut.first > 1:
            for left in self._part(cut, cut.first, cut.last - 1):
                yield from (
                    (left, chain) for chain in self._chains(cut.last - 1, other.last, other, cut)
                )
        if other.last - other.first > 1:
            for right in self._part(other, other.first + 1, other.last):
                yield from (
                    (chain, right) for chain in self._chains(cut.first, cut.last + 1, cut, other)
                )

    def _chains(self, first: int, last: int, *near: Cut) -> Iterator[Cut]:
        """Chains of units ``[first, last)``, as fine as those ``near`` and as coarse as fits."""
        for preference in (2, 1) if self._rank(last - 1) >= 4 else (self._rank(last - 1) - 2, 0):
            axes = self._axes(first, last, preference)
            if axes is None:
                continue
            for cut in near:
                if cut.stripes > 1:
                    chain = self._in_panels(Cut(first, last, cut.stripes, axes), cut.panels)
                    if chain is not None:
                        yield chain
            yield from self._by_estimate(first, last, axes)

    def _by_estimate(self, first: int, last: int, axes: tuple[int, ...]) -> list[Cut]:
        """A chain as coarse as fits, and where the cost model likes it better one in panels."""
        plain = self._coarsest(first, last, axes)
        found = [] if plain is None else [plain]
        if self._panels:
            best, price = plain, _NONE if plain is None else self._estimate(plain)
            for panels in PANELS[1:]:
                if self._least(first, last, panels) >= price:
                    break
                chain = self._coarsest(first, last, axes, panels)
                if chain is not None and self._estimate(chain) < price:
                    best, price = chain, self._estimate(chain)
            found += [best] if best is not None and best != plain else []
        return found

    def _estimate(self, cut: Cut) -> int:
        """What a chain costs by the cost model."""
        cost = self._cost(cut)
        if cost is None:
            return _NONE
        return cost.again_bytes + cost.rounds * (cut.last - cut.first) * self._limits.tile_bytes

    def _least(self, first: int, last: int, panels: int) -> int:
        """What a chain in that many panels costs at least."""
        rounds, units = _LADDER[0] * panels, self._network.units[first:last]
        weights = self._meter.again_bytes(self._grid_budget, units)
        return weights * (rounds - 1) + rounds * len(units) * self._limits.tile_bytes

    def _cost(self, cut: Cut) -> ChainCost | None:
        units = self._network.units[cut.first : cut.last]
        names = sinks(units)
        axes, across = (dict(zip(names, along, strict=False)) for along in (cut.axes, cut.across))
        panels = (across, cut.panels) if cut.panels > 1 else None
        return self._meter.cost(self._grid_budget, units, axes, cut.stripes, panels)

    def _single(self, index: int) -> Cut:
        """A unit in the tiles the cost model likes best."""
        if index not in self._alone:
            grid = find_grid(self._network, self._grid_budget, self._network.units[index])
            looped = tuple((axis, count) for axis, count in grid.counts if count > 1)
            self._alone[index] = Cut(index, index + 1, grid=looped)
        return self._alone[index]

    def _rank(self, index: int) -> int:
        return len(self._network.whole(self._network.units[index]))

    def _axes(self, first: int, last: int, axis: int) -> tuple[int, ...] | None:
        """``axis`` for every result that leaves the units, where all of them have it."""
        units = self._network.units[first:last]
        ranks = [len(self._network.graph.tensor[name].shape) for name in sinks(units)]
        # The last dimension is never cut: rows of it are what hardware works on.
        return None if axis < 0 or any(axis >= rank - 1 for rank in ranks) else (axis,) * len(ranks)

    def _coarsest(
        self, first: int, last: int, axes: tuple[int, ...], panels: int = 1
    ) -> Cut | None:
        """The fewest stripes whose working set fits by estimate."""
        names = sinks(self._network.units[first:last])
        extents = [
            self._network.graph.tensor[name].shape[axis]
            for name, axis in zip(names, axes, strict=True)
        ]
        for stripes in _LADDER:
            if stripes > min(extents):
                return None
            chain = self._in_panels(Cut(first, last, stripes, axes), panels)
            cost = None if chain is None else self._cost(chain)
            if cost is None:
                return None
            if cost.working_bytes <= self._grid_budget.working_bytes:
                return chain
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
