"""Moves of the search over tilings: what may stand for a group of units and the one after it."""

from collections.abc import Iterator
from dataclasses import replace

from stowplan.passes.grid_moves import regridded
from stowplan.passes.tile_groups import Cut, sinks
from stowplan.passes.tiling.choose import PANELS, panel_axes
from stowplan.passes.tiling.costs import Budget, ChainCost, ChainMeter
from stowplan.passes.tiling.grids import find_grid
from stowplan.passes.tiling.network import Network

LONGEST_CHAIN = 40
_LADDER = tuple(sorted({n << k for n in (2, 3, 5, 7) for k in range(9)}))
_NONE = 1 << 60


class Moves:
    """Proposes other groups; remembers the best tiles of single units, and is mutable in that.

    Attributes:
        panels: whether chains may run in panels.

    Args:
        meter: measures chains.
        budget: scratchpad that they and the tiles of single units may take.
    """

    def __init__(self, meter: ChainMeter, budget: Budget) -> None:
        self.panels = False
        self._network: Network = meter.network
        self._meter = meter
        self._budget = budget
        self._alone: dict[int, Cut] = {}

    def of(self, cut: Cut, following: tuple[Cut, ...]) -> Iterator[tuple[Cut, ...]]:
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
        if self.panels:
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
        if self.panels:
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
        return cost.again_bytes + cost.rounds * (cut.last - cut.first) * self._budget.tile_bytes

    def _least(self, first: int, last: int, panels: int) -> int:
        """What a chain in that many panels costs at least."""
        rounds, units = _LADDER[0] * panels, self._network.units[first:last]
        weights = self._meter.again_bytes(self._budget, units)
        return weights * (rounds - 1) + rounds * len(units) * self._budget.tile_bytes

    def _cost(self, cut: Cut) -> ChainCost | None:
        units = self._network.units[cut.first : cut.last]
        names = sinks(units)
        axes, across = (dict(zip(names, along, strict=False)) for along in (cut.axes, cut.across))
        panels = (across, cut.panels) if cut.panels > 1 else None
        return self._meter.cost(self._budget, units, axes, cut.stripes, panels)

    def _single(self, index: int) -> Cut:
        """A unit in the tiles the cost model likes best."""
        if index not in self._alone:
            grid = find_grid(self._network, self._budget, self._network.units[index])
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
            if cost.working_bytes <= self._budget.working_bytes:
                return chain
        return None
