"""Tiles of one unit alone, along up to three dimensions, sums cut too.

Everything is counted for all combinations of tile counts from a ladder at once. A tensor that does
not depend on some loops is read again once per round of those outside the loops it depends on,
unless it fits beside the tile. Where sums are cut, their parts are the innermost loop, and the sums
so far stay on chip meanwhile. The cheapest combination and loop order that fit are taken, by the
bytes read again, a cost per tile, the cycles that partly filled folds of the array take, and the
bytes of partly used bursts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise, permutations
from math import prod

import numpy as np

from stowplan.ir.graph import Role
from stowplan.passes.tiling.boxes import Box, cut_evenly, extents, full
from stowplan.passes.tiling.costs import Budget, Integers, product_of
from stowplan.passes.tiling.network import Network, Unit, partial_name
from stowplan.passes.tiling.pieces import Job

TERMS = -1
"""Stands for the sums among the dimensions that are cut."""
PASSES = 2
"""Of the vector unit over elements picked so far: one looks rows up, one chooses among both."""
LANE_BYTES = 4
"""Bytes per column of the array and cycle that a vector unit beside it is taken to keep up with."""
DEPTH = 3
"""Dimensions cut at once, unless that does not fit."""
TRIED = 8
"""Combinations whose estimate fits that are measured exactly."""
SAMPLED = 64
"""Tiles at either end of a dimension that are measured where storages are fixed: what strides and
resampling need repeats itself sooner."""
_LADDER = tuple(sorted({n * 2**k for n in (2, 3) for k in range(18)} | {1}))
"""Counts of tiles tried per dimension, besides its extent."""
_NONE = 1 << 60


@dataclass(frozen=True, slots=True)
class Grid:
    """Tiles of a unit.

    Attributes:
        counts: (dimension, tiles along it), outermost loop first; :data:`TERMS` comes last.
        again_bytes: bytes read again.
        needed_bytes: bytes of scratchpad a tile needs.
        idle_bytes: what partly filled folds of the array and partly used bursts cost, as bytes.
        fits: false for a unit left whole because its smallest tile, which ``needed_bytes`` then
            describes, is too large.
    """

    counts: tuple[tuple[int, int], ...]
    again_bytes: int
    needed_bytes: int
    idle_bytes: int = 0
    fits: bool = True

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return prod(count for _, count in self.counts)


def find_grid(network: Network, budget: Budget, unit: Unit) -> Grid:
    """The cheapest tiles that fit; all of the unit when not even the smallest tile does."""
    return _Search(network, budget, unit).best()


def least_bytes(network: Network, budget: Budget, unit: Unit) -> int:
    """What the smallest tile of a unit takes of the scratchpad."""
    search = _Search(network, budget, unit)
    return min(search.exact(counts, tuple(counts)).needed_bytes for counts in search.finest())


def smallest_tile(network: Network, budget: Budget, unit: Unit) -> tuple[tuple[str, int], ...]:
    """What the smallest tile of a unit holds on chip: names and bytes, largest first."""
    search = _Search(network, budget, unit)
    held = min(map(search.held, search.finest()), key=lambda found: sum(size for _, size in found))
    return tuple(sorted(held, key=lambda each: (-each[1], each[0])))


def jobs_of_grid(unit: Unit, whole: Box, grid: Grid) -> Iterator[Job]:
    """The tiles in loop order."""
    loops = [(axis, count) for axis, count in grid.counts if axis != TERMS]
    parts = dict(grid.counts).get(TERMS, 1)
    intervals = list(pairwise(cut_evenly(unit.terms, parts)))
    for box in _boxes(whole, whole, loops):
        if parts == 1:
            yield Job(unit, box)
        else:
            yield from (Job(unit, box, terms) for terms in intervals)


def _boxes(whole: Box, box: Box, rest: Sequence[tuple[int, int]]) -> Iterator[Box]:
    if not rest:
        yield box
        return
    axis, count = rest[0]
    for lower, upper in pairwise(cut_evenly(whole[axis][1], count)):
        yield from _boxes(whole, (*box[:axis], (lower, upper), *box[axis + 1 :]), rest[1:])


def _counts(extent: int, fewest: int) -> tuple[int, ...]:
    return tuple(sorted({fewest, extent, *(n for n in _LADDER if fewest < n < extent)}))


class _Search:
    """Measures the ways to cut one unit; mutable only in what it remembers."""

    def __init__(self, network: Network, budget: Budget, unit: Unit) -> None:
        self.network, self.budget, self.unit = network, budget, unit
        self.whole = network.whole(unit)
        self.axes = [a for a in sorted(unit.splittable) if self.whole[a][1] > 1]
        if unit.terms > 1:
            self.axes.append(TERMS)
        self.names = tuple(dict.fromkeys(source.tensor for source in unit.sources))
        tensors = [network.graph.tensor[name] for name in self.names]
        self.total = [network.bytes_of(t.name, full(t.shape)) for t in tensors]
        self.streamed = [network.streamed(name) for name in self.names]
        self.depends = [self._moving(t.name, t.shape) for t in tensors]
        self._cut: dict[tuple[int, int], dict[str, tuple[int, ...]]] = {}

    def best(self) -> Grid:
        """The cheapest grid that fits."""
        uncut = self.exact({}, ())
        fits = uncut.needed_bytes <= self.budget.capacity_bytes
        limited = {axis for axis in self.axes if self.fewest(axis) > 1}
        if not self.axes or (fits and not limited):
            return replace(uncut, fits=fits)
        for depth in dict.fromkeys((min(DEPTH, len(self.axes)), len(self.axes))):
            ranked = sorted(
                found
                for axes in combinations(self.axes, depth)
                if limited <= {*axes} or depth == len(self.axes)
                for found in _Lattice(self, axes).cheapest()
            )
            for _, _, counts, order in ranked:
                grid = self.exact(dict(counts), order)
                if grid.needed_bytes <= self.budget.capacity_bytes:
                    return grid
        finest = min(
            (self.exact(counts, tuple(counts)) for counts in self.finest()),
            key=lambda grid: grid.needed_bytes,
        )
        if finest.needed_bytes <= self.budget.capacity_bytes:
            return finest
        return Grid((), 0, finest.needed_bytes, fits=False)

    def finest(self) -> list[dict[int, int]]:
        """Counts of the smallest tiles: of one element each, its sum whole or cut too."""
        counts = {axis: self.extent(axis) for axis in self.axes if axis != TERMS}
        return [counts, counts | {TERMS: self.unit.terms}] if TERMS in self.axes else [counts]

    def fewest(self, axis: int) -> int:
        """Fewest tiles along a dimension that the options allow."""
        shape = tuple(extent for _, extent in self.whole)
        return 1 if axis == TERMS else self.budget.stripes(shape, axis)

    def extent(self, axis: int) -> int:
        return self.unit.terms if axis == TERMS else self.whole[axis][1]

    def _regions(self, counts: dict[int, int], first: bool = False) -> dict[str, Box]:
        """What a tile needs of each tensor; one from the middle unless the first is asked for."""
        box = []
        for axis, (_, extent) in enumerate(self.whole):
            box.append(_tile(extent, counts.get(axis, 1), first))
        terms = None
        if counts.get(TERMS, 1) > 1:
            length = -(-self.unit.terms // counts[TERMS])
            terms = (self.unit.terms - length, self.unit.terms)
        return self.unit.regions(tuple(box), terms)

    def shapes(self, axis: int, count: int) -> dict[str, tuple[int, ...]]:
        """Extents a tile needs of each tensor when one dimension alone is cut."""
        key = axis, count
        if key not in self._cut:
            found = {name: extents(box) for name, box in self._regions({axis: count}).items()}
            others = [self._regions({axis: count}, first=True)] if count == 2 else []
            if self.budget.storages and axis != TERMS:
                others = self._sampled(axis, count)
            for regions in others:
                for name, box in regions.items():
                    other = extents(box)
                    found[name] = tuple(map(max, found.get(name, other), other))
            self._cut[key] = found
        return self._cut[key]

    def _sampled(self, axis: int, count: int) -> list[dict[str, Box]]:
        """What the tiles along one dimension need; of very many, the first and the last."""
        bounds = cut_evenly(self.whole[axis][1], count)
        at = {*range(min(count, SAMPLED)), *range(max(0, count - SAMPLED), count)}
        sides = [(bounds[i], bounds[i + 1]) for i in sorted(at)]
        before, after = self.whole[:axis], self.whole[axis + 1 :]
        return [self.unit.regions((*before, side, *after)) for side in sides]

    def exact(self, counts: dict[int, int], order: Sequence[int]) -> Grid:
        """The grid of given counts and loop order, measured on its tiles."""
        lattice = _Lattice(self, tuple(order), {a: (counts[a],) for a in order})
        if self.budget.storages:
            needed = int(lattice.needed().max())
        else:
            needed = self._needed(counts, first=False)
            if 2 in counts.values():
                needed = max(needed, self._needed(counts, first=True))
        loops = tuple((axis, counts[axis]) for axis in order if counts[axis] > 1)
        again, idle = lattice.again(order), lattice.idle() + lattice.ragged()
        return Grid(loops, int(again.min()), needed, int(idle.min()))

    def _needed(self, counts: dict[int, int], first: bool) -> int:
        return sum(self.budget.aligned(size) for _, size in self.held(counts, first))

    def held(self, counts: dict[int, int], first: bool = False) -> list[tuple[str, int]]:
        """What a tile holds on chip: names and bytes of operands, sums so far, and results."""
        return list(self._held(counts, first))

    def _held(self, counts: dict[int, int], first: bool) -> Iterator[tuple[str, int]]:
        network = self.network
        for name, box in self._regions(counts, first).items():
            if not network.streamed(name):
                yield name, network.bytes_of(name, box)
        lengths = [-(-e // counts.get(a, 1)) for a, (_, e) in enumerate(self.whole)]
        outputs = self.unit.operator.outputs
        if counts.get(TERMS, 1) > 1:
            yield (
                f"{outputs[0]}:{partial_name(self.unit)}",
                network.partial_bytes(self.unit, full(lengths)),
            )
        for position, name in enumerate(outputs):
            yield name, network.bytes_of(name, network.made(self.unit, position, full(lengths)))

    def _moving(self, name: str, shape: tuple[int, ...]) -> frozenset[int]:
        """Dimensions along which tiles need different parts of a tensor."""
        found = set()
        for axis in self.axes:
            regions = self._regions({axis: self.extent(axis)})
            if name not in regions or extents(regions[name]) != shape:
                found.add(axis)
        return frozenset(found)


class _Lattice:
    """All combinations of counts along some dimensions; arrays are ``[counts, ...]``.

    A tensor's region has, in each dimension, the least extent any of the cuts leaves.
    """

    def __init__(
        self,
        search: _Search,
        axes: Sequence[int],
        counts: dict[int, tuple[int, ...]] | None = None,
    ) -> None:
        self._search, self._axes = search, tuple(axes)
        known = counts or {a: _counts(search.extent(a), search.fewest(a)) for a in axes}
        self._counts = {
            axis: np.array(known[axis], dtype=np.int64).reshape(self._along(axis)) for axis in axes
        }
        self._tiles = np.ones([1] * len(self._axes), dtype=np.int64)
        for count in self._counts.values():
            self._tiles = self._tiles * count
        self._extents = {name: self._sides(name) for name in search.names}
        self._size = [self._bytes(name) for name in search.names]

    def _along(self, axis: int) -> list[int]:
        return [-1 if each == axis else 1 for each in self._axes]

    def _sides(self, name: str) -> list[Integers]:
        """Extents a tile needs of a tensor; none where it reads another member of a Concat."""
        tensor = self._search.network.graph.tensor[name]
        nothing = (0,) * len(tensor.shape)
        found = []
        for dimension, extent in enumerate(tensor.shape):
            least: Integers = np.full([1] * len(self._axes), extent, dtype=np.int64)
            for axis, counts in self._counts.items():
                sides = [
                    self._search.shapes(axis, int(count)).get(name, nothing)[dimension]
                    for count in counts.reshape(-1)
                ]
                least = np.minimum(least, np.array(sides).reshape(self._along(axis)))
            found.append(least)
        return found

    def _made(self) -> list[Integers]:
        """Extents of a tile's result."""
        one = np.ones([1] * len(self._axes), dtype=np.int64)
        whole = self._search.whole
        return [-(-e // self._counts.get(axis, one)) for axis, (_, e) in enumerate(whole)]

    def _bytes(self, name: str) -> Integers:
        """Bytes a tile needs of a tensor."""
        size = np.ones([1] * len(self._axes), dtype=np.int64)
        for side in self._extents[name]:
            size = size * side
        return -(-size * self._search.network.graph.tensor[name].dtype.bits // 8)

    def ragged(self) -> Integers:
        """Bytes of bursts that tiles use in part, results and operands other than weights.

        A run of bytes ends where a dimension is cut, and takes whole bursts.
        """
        search = self._search
        result = search.unit.operator.outputs[0]
        total = self._ragged(result, self._made())
        for name in search.names:
            if search.network.graph.tensor[name].role is not Role.WEIGHT:
                total = total + self._ragged(name, self._extents[name])
        return total * self._tiles

    def _ragged(self, name: str, sides: Sequence[Integers]) -> Integers:
        tensor, burst = self._search.network.graph.tensor[name], self._search.budget.burst_bytes
        run = runs = np.ones([1] * len(self._axes), dtype=np.int64)
        uncut = run > 0
        for extent, side in zip(reversed(tensor.shape), reversed(sides), strict=True):
            run = np.where(uncut, run * side, run)
            runs = np.where(uncut, runs, runs * side)
            uncut = uncut & (side == extent)
        moved = -(-run * tensor.dtype.bits // 8)
        ragged: Integers = runs * (-(-moved // burst) * burst - moved)
        return ragged

    def needed(self) -> Integers:
        """Bytes of scratchpad a tile needs."""
        search = self._search
        network, budget = search.network, search.budget
        total: Integers = np.zeros_like(self._tiles)
        for name, streamed in zip(search.names, search.streamed, strict=True):
            if not streamed:
                total = total + budget.taken(network.graph.tensor[name], self._extents[name])
        made = self._made()
        for position, name in enumerate(search.unit.operator.outputs):
            tensor = network.graph.tensor[name]
            whole = position and not search.unit.joint
            sides = [np.asarray(extent) for extent in tensor.shape] if whole else made
            total = total + budget.taken(tensor, sides)
        if TERMS in self._counts:
            bits = search.unit.partial.bits
            sums = budget.rounded(-(-product_of(made) * bits // 8))
            total = total + np.where(self._counts[TERMS] > 1, sums, 0)
        return total

    def again(self, order: Sequence[int]) -> Integers:
        """Bytes read again when loops run in ``order``, outermost first."""
        search = self._search
        total = np.zeros_like(self._tiles)
        needed = self.needed()
        kept = search.budget.kept_weights_bytes
        stay = sum(s for s, streams in zip(search.total, search.streamed, strict=True) if streams)
        for i, whole in enumerate(search.total):
            always = search.streamed[i] and not kept
            fits = needed - self._size[i] + whole <= search.budget.capacity_bytes
            if search.streamed[i]:
                fits = np.full_like(self._tiles, stay <= kept, dtype=np.bool_)
            passes = np.ones_like(self._tiles)
            for position, axis in enumerate(order):
                if axis in search.depends[i]:
                    continue
                inside = [a for a in order[position + 1 :] if a in search.depends[i]]
                moved = np.zeros_like(self._tiles) + always
                for each in inside:
                    moved = moved | (self._counts[each] > 1)
                passes = passes * np.where(moved > 0, self._counts[axis], 1)
            if not always:
                passes = np.where(fits, 1, passes)
            total = total + (passes - 1) * whole
        return total

    def idle(self) -> Integers:
        """What tiles cost that fill folds of the array worse than the whole does, as bytes.

        Tiles that look through some rows of a table go over all their elements again.
        """
        unit, array = self._search.unit, self._search.budget.array
        if array is not None and unit.picks and TERMS in self._counts:
            size = self._search.network.partial_bytes(unit, self._search.whole)
            moved = PASSES * size * array.bytes_per_cycle // (LANE_BYTES * array.cols)
            return (self._counts[TERMS] - 1) * moved + np.zeros_like(self._tiles)
        if array is None or unit.columns is None:
            return np.zeros_like(self._tiles)
        whole = self._search.whole
        rows = np.ones_like(self._tiles)
        made = self._made()
        for axis, side in enumerate(made):
            rows = rows * side if axis != unit.columns else rows
        columns = made[unit.columns]
        terms = -(-unit.terms * unit.taps // self._counts.get(TERMS, np.int64(1)))
        one = np.ones_like(self._tiles)
        most = prod(e for axis, (_, e) in enumerate(whole) if axis != unit.columns)
        least = array.cycles(most * one, whole[unit.columns][1] * one, unit.terms * unit.taps * one)
        taken = self._tiles * array.cycles(rows, columns * one, terms * one)
        more: Integers = np.maximum(0, taken - least)
        return more * array.bytes_per_cycle

    def cheapest(
        self,
    ) -> list[tuple[int, int, tuple[tuple[int, int], ...], tuple[int, ...]]]:
        """(cost, tiles, counts, loop order) of the cheapest combinations that fit."""
        search = self._search
        fits = self.needed() <= search.budget.capacity_bytes
        if not fits.any():
            return []
        base = self._tiles * search.budget.tile_bytes + self.idle() + self.ragged()
        found = []
        loops = [axis for axis in self._axes if axis != TERMS]
        last = [TERMS] if TERMS in self._axes else []
        for order in permutations(loops):
            cost = np.where(fits, base + self.again((*order, *last)), _NONE).reshape(-1)
            for at in np.argsort(cost, kind="stable")[:TRIED]:
                if cost[at] < _NONE:
                    where = np.unravel_index(int(at), fits.shape)
                    counts = tuple(
                        (axis, int(self._counts[axis].reshape(-1)[i]))
                        for axis, i in zip(self._axes, where, strict=True)
                    )
                    tiles = prod(count for _, count in counts)
                    found.append((int(cost[at]), tiles, counts, (*order, *last)))
        return found


def _tile(extent: int, count: int, first: bool) -> tuple[int, int]:
    """One of ``count`` tiles of the largest size: the first, or one from the middle."""
    length = -(-extent // count)
    lower = 0 if first else min(extent * (count // 2) // count, extent - length)
    return lower, lower + length
