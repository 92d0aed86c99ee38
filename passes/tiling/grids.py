"""Tiles of one unit alone, along up to three dimensions.

Loop order and counts are found by enumeration. A tensor that does not depend on some loops is read
again once per round of those outside the loops it depends on, unless it fits beside the tile.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, permutations
from math import prod

from stowplan.passes.tiling.boxes import Box, cut_evenly, extents, full
from stowplan.passes.tiling.costs import Budget
from stowplan.passes.tiling.network import Network, Unit

_LADDER = tuple(sorted({n * 2**k for n in (2, 3, 5, 7) for k in range(18)} | {1}))
"""Counts of tiles tried per dimension, besides its extent."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Tiles of a unit.

    Attributes:
        counts: (dimension, tiles along it), outermost loop first.
        again_bytes: bytes read again.
        needed_bytes: bytes of scratchpad a tile needs.
    """

    counts: tuple[tuple[int, int], ...]
    again_bytes: int
    needed_bytes: int

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return prod(count for _, count in self.counts)


def find_grid(network: Network, budget: Budget, unit: Unit) -> Grid:
    """The cheapest tiles that fit; the smallest there are when none fits."""
    return _Search(network, budget, unit).best()


def boxes_of(whole: Box, grid: Grid) -> Iterator[Box]:
    """The tiles' regions in loop order."""

    def loop(box: Box, rest: tuple[tuple[int, int], ...]) -> Iterator[Box]:
        if not rest:
            yield box
            return
        axis, count = rest[0]
        cuts = cut_evenly(whole[axis][1], count)
        for lower, upper in pairwise(cuts):
            yield from loop((*box[:axis], (lower, upper), *box[axis + 1 :]), rest[1:])

    return loop(whole, grid.counts)


def _preferred(rank: int) -> tuple[int, ...]:
    """Dimensions in the order in which they are tried: rows, channels, the others."""
    if rank >= 4:
        return (2, 1, *range(3, rank), 0)
    return (*reversed(range(rank - 1)), rank - 1) if rank else ()


def _counts(extent: int) -> tuple[int, ...]:
    return (*(n for n in _LADDER if n < extent), extent)


class _Search:
    """Enumerates the tiles of one unit; mutable only in what it remembers."""

    def __init__(self, network: Network, budget: Budget, unit: Unit) -> None:
        self._network, self._budget, self._unit = network, budget, unit
        self._whole = network.whole(unit)
        self._total = {
            name: network.bytes_of(name, full(network.graph.tensor[name].shape))
            for name in dict.fromkeys(source.tensor for source in unit.sources)
        }
        axes = [axis for axis in _preferred(len(self._whole)) if axis in unit.splittable]
        self._axes = [axis for axis in axes if self._whole[axis][1] > 1]
        self._depends = {name: self._moving(name) for name in self._total}

    def best(self) -> Grid:
        """The cheapest grid that fits, else the finest."""
        uncut = self._ordered({})
        if uncut.needed_bytes <= self._budget.capacity_bytes or not self._axes:
            return uncut
        for depth in (2, 3, len(self._axes)):
            fitting = list(self._fitting(min(depth, len(self._axes))))
            if fitting:
                return min(fitting, key=self._cost)
        return self._ordered({axis: self._whole[axis][1] for axis in self._axes})

    def _cost(self, grid: Grid) -> tuple[int, int]:
        return grid.again_bytes + grid.tiles * self._budget.tile_bytes, grid.tiles

    def _fitting(self, depth: int) -> Iterator[Grid]:
        """Per counts of all dimensions but one, the coarsest count of that one that fits."""
        for chosen in permutations(self._axes, depth):
            inner, others = chosen[0], chosen[1:]
            if list(others) != sorted(others, key=self._axes.index):
                continue
            for counts in _products([_counts(self._whole[axis][1]) for axis in others]):
                found = self._coarsest(dict(zip(others, counts, strict=True)), inner)
                if found is not None:
                    yield self._ordered(found)
                    if depth > 2:
                        break

    def _coarsest(self, fixed: Mapping[int, int], axis: int) -> Mapping[int, int] | None:
        counts = _counts(self._whole[axis][1])
        found: Mapping[int, int] | None = None
        low, high = 0, len(counts)
        while low < high:
            middle = (low + high) // 2
            tried = {**fixed, axis: counts[middle]}
            if self._needed(tried)[0] <= self._budget.capacity_bytes:
                found, high = tried, middle
            else:
                low = middle + 1
        return found

    def _needed(self, counts: Mapping[int, int]) -> tuple[int, dict[str, int]]:
        """Bytes of scratchpad a tile needs, and what it needs of each tensor.

        A tile from the middle needs most, unless there is none between the first and the last.
        """
        found = self._needed_by(_middle(self._whole, counts))
        if 2 in counts.values():
            first = tuple(
                (0, -(-extent // counts.get(axis, 1)))
                for axis, (_, extent) in enumerate(self._whole)
            )
            found = max(found, self._needed_by(first), key=lambda each: each[0])
        return found

    def _needed_by(self, box: Box) -> tuple[int, dict[str, int]]:
        network, budget, op = self._network, self._budget, self._unit.operator
        sizes = {
            name: network.bytes_of(name, each) for name, each in self._unit.regions(box).items()
        }
        needed = sum(
            budget.aligned(size) for name, size in sizes.items() if not network.streamed(name)
        )
        for name in op.outputs:
            made = box if len(op.outputs) == 1 else full(network.graph.tensor[name].shape)
            needed += budget.aligned(network.bytes_of(name, made))
        return needed, sizes

    def _ordered(self, counts: Mapping[int, int]) -> Grid:
        """The best loop order for given counts."""
        needed, sizes = self._needed(counts)
        looped = [(axis, count) for axis, count in counts.items() if count > 1]
        grids = []
        for order in permutations(looped):
            again = 0
            for name, size in sizes.items():
                fits = needed - size + self._total[name] <= self._budget.capacity_bytes
                streamed = self._network.streamed(name)
                again += (_passes(order, self._depends[name], streamed, fits) - 1) * (
                    self._total[name]
                )
            grids.append(Grid(order, again, needed))
        return min(grids, key=lambda grid: grid.again_bytes)

    def _moving(self, name: str) -> frozenset[int]:
        """Dimensions of the result along which tiles need different parts of a tensor."""
        shape = self._network.graph.tensor[name].shape
        found = set()
        for axis in self._axes:
            regions = self._unit.regions(_middle(self._whole, {axis: self._whole[axis][1]}))
            if name not in regions or extents(regions[name]) != shape:
                found.add(axis)
        return frozenset(found)


def _products(choices: list[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    if not choices:
        yield ()
        return
    for first in choices[0]:
        for rest in _products(choices[1:]):
            yield (first, *rest)


def _middle(whole: Box, counts: Mapping[int, int]) -> Box:
    """A tile from the middle, of the largest size."""
    found = []
    for axis, (_, extent) in enumerate(whole):
        count = counts.get(axis, 1)
        length = -(-extent // count)
        lower = min(extent * (count // 2) // count, extent - length)
        found.append((lower, lower + length))
    return tuple(found)


def _passes(
    order: tuple[tuple[int, int], ...], depends: frozenset[int], streamed: bool, fits: bool
) -> int:
    """How often a tensor is read."""
    others = [(i, count) for i, (axis, count) in enumerate(order) if axis not in depends]
    if streamed:
        return prod(count for _, count in others)
    inner = max((i for i, (axis, _) in enumerate(order) if axis in depends), default=-1)
    return 1 if fits else prod(count for i, count in others if i < inner)
