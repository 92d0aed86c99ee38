"""Which units run as one chain of stripes, and how finely everything is cut.

Groups are runs of consecutive units. ``best[j]`` is the least cost of the first ``j`` units:

    best[j] = min over i < j of best[i] + cost(i, j)

where ``cost(i, j)`` is that of units ``i .. j - 1`` as one group: read-again bytes of its stripes
or tiles, plus what the results that leave the group spill. A group of one unit is cut by a grid of
tiles, a longer one in stripes of rows, and where that is cheaper in panels of columns as well.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from stowplan.passes.tiling.costs import Budget, ChainCost, ChainMeter
from stowplan.passes.tiling.grids import Grid
from stowplan.passes.tiling.network import Network, Unit

LONGEST_CHAIN = 16
PATIENCE = 4
"""Units by which a chain is extended in vain before the search gives up on it."""
_CHOICES = 2
_UNKNOWN = 1 << 62
_STRIPES = tuple(sorted({n << k for n in (2, 3, 5, 7) for k in range(10)}))
PANELS = (1, *(n for n in _STRIPES if n <= 64))


@dataclass(frozen=True, slots=True)
class Group:
    """Consecutive units run together.

    Attributes:
        units: in order.
        grid: tiles of a single unit.
        chain: stripes of several.
    """

    units: tuple[Unit, ...]
    grid: Grid | None = None
    chain: ChainCost | None = None


def choose(
    meter: ChainMeter,
    budget: Budget,
    grids: Sequence[Grid],
    shares: Sequence[float],
    fuse: bool = True,
    alone: Collection[int] = (),
    panels: Sequence[int] = (1,),
) -> tuple[Group, ...]:
    """The cheapest groups.

    Args:
        meter: measures chains.
        budget: scratchpad they may take.
        grids: the best tiles of each unit alone.
        shares: of the budget that each unit may take.
        fuse: take chains; otherwise each unit alone.
        alone: indices of units that no chain may hold.
        panels: rising numbers of panels that a chain may run in.
    """
    network = meter.network
    units = network.units
    singles = [
        _single(network, budget, unit, grid) for unit, grid in zip(units, grids, strict=True)
    ]
    if not fuse:
        return tuple(group for _, group in singles)
    costs = [cost for cost, _ in singles]
    best: list[tuple[int, Group | None]] = [(0, None)]
    best += [(_UNKNOWN, None)] * len(units)
    for i in range(len(units)):
        start = best[i][0]
        if start + singles[i][0] < best[i + 1][0]:
            best[i + 1] = (start + singles[i][0], singles[i][1])
        last = next((j for j in range(i, len(units)) if j in alone), len(units))
        for j, cost, group in _chains(meter, budget, i, last, costs, shares, panels):
            if start + cost < best[j][0]:
                best[j] = (start + cost, group)
    return _walk_back(best)


def _walk_back(best: Sequence[tuple[int, Group | None]]) -> tuple[Group, ...]:
    groups: list[Group] = []
    j = len(best) - 1
    while j > 0:
        group = best[j][1]
        if group is None:
            break
        groups.append(group)
        j -= len(group.units)
    return tuple(reversed(groups))


def _single(network: Network, budget: Budget, unit: Unit, grid: Grid) -> tuple[int, Group]:
    cost = grid.again_bytes + grid.idle_bytes + grid.tiles * budget.tile_bytes
    cost += _leaving(network, budget, (unit,))
    return cost, Group((unit,), grid=grid)


def _leaving(network: Network, budget: Budget, units: Sequence[Unit]) -> int:
    """Bytes spilled for results read outside the group."""
    last = units[-1].index
    total = 0
    for unit in units:
        for name in unit.operator.outputs:
            if any(reader > last for reader in network.readers.get(name, ())):
                total += budget.spilled(network.graph.tensor[name].size_bytes)
    return total


def _chains(
    meter: ChainMeter,
    budget: Budget,
    start: int,
    last: int,
    singles: Sequence[int],
    shares: Sequence[float],
    panels: Sequence[int],
) -> list[tuple[int, int, Group]]:
    """Chains of two and more units from ``start`` to ``last`` at most: (end, cost, group)."""
    found = []
    idle = 0
    searches = [_Chain(meter, choice, panels) for choice in range(_CHOICES)]
    alone = singles[start]
    for end in range(start + 2, min(start + LONGEST_CHAIN, last) + 1):
        units = meter.network.units[start:end]
        if not units[-1].splittable:
            break
        alone += singles[end - 1]
        saved = alone - _leaving(meter.network, budget, units)
        idle += 1
        share = min(shares[start:end])
        narrowed = replace(budget, working_bytes=int(budget.working_bytes * share))
        for search in searches:
            cost, chain = search.cheapest(narrowed, units, saved)
            if chain is not None:
                found.append((end, cost + alone - saved, Group(units, chain=chain)))
                idle = 0
        if not any(search.least for search in searches) or idle > PATIENCE:
            break
    return found


class _Chain:
    """The search for the cuts of ever longer chains along one choice of dimensions; mutable.

    A longer chain takes at least as many stripes as a shorter one, so the search for its number
    begins there, and no chain is measured whose weights alone would cost more than it saves.

    Attributes:
        least: per number of panels that may still fit, where in the ladder its stripes begin.
    """

    def __init__(self, meter: ChainMeter, choice: int, panels: Sequence[int]) -> None:
        self.least = dict.fromkeys(panels, 0)
        self._meter, self._choice = meter, choice

    def cheapest(
        self, budget: Budget, units: Sequence[Unit], limit: int
    ) -> tuple[int, ChainCost | None]:
        """The cheapest chain that costs less than ``limit``, and its cost."""
        best: ChainCost | None = None
        for panels in tuple(self.least):
            if limit <= self._least_cost(budget, units, panels):
                continue
            chain = self._coarsest(budget, units, panels)
            if chain is None:
                del self.least[panels]
                continue
            self.least[panels] = _STRIPES.index(chain.stripes)
            cost = chain.again_bytes + chain.rounds * len(units) * budget.tile_bytes
            if cost < limit:
                limit, best = cost, chain
            if chain.stripes == _STRIPES[0]:
                break
        return limit, best

    def _least_cost(self, budget: Budget, units: Sequence[Unit], panels: int) -> int:
        """What a chain in this many panels costs at least."""
        weights = self._meter.again_bytes(budget, units)
        rounds = _STRIPES[self.least[panels]] * panels
        return weights * (rounds - 1) + rounds * len(units) * budget.tile_bytes

    def _coarsest(self, budget: Budget, units: Sequence[Unit], panels: int) -> ChainCost | None:
        """The fewest stripes whose working set fits."""
        meter = self._meter
        axes = _sink_axes(meter.network, units, self._choice)
        if axes is None:
            return None
        shapes = {name: meter.network.graph.tensor[name].shape for name in axes}
        loop = None
        if panels > 1:
            across = panel_axes(shapes, axes)
            if across is None or panels > min(shapes[n][axis] for n, axis in across.items()):
                return None
            loop = across, panels
        finest = min(shapes[name][axis] for name, axis in axes.items())
        fewest = max(budget.stripes(shapes[name], axis) for name, axis in axes.items())
        for stripes in _STRIPES[self.least[panels] :]:
            if stripes > finest:
                return None
            if stripes < min(fewest, finest):
                continue
            cost = meter.cost(budget, units, axes, stripes, loop)
            if cost is None:
                return None
            if cost.working_bytes <= budget.working_bytes:
                return cost
        return None


def panel_axes(
    shapes: Mapping[str, Sequence[int]], axes: Mapping[str, int]
) -> Mapping[str, int] | None:
    """Dimension that panels cut of each result: of a picture in stripes of rows, the columns."""
    if any(axis < 2 or axis + 1 >= len(shapes[name]) for name, axis in axes.items()):
        return None
    return {name: axis + 1 for name, axis in axes.items()}


def _sink_axes(network: Network, units: Sequence[Unit], choice: int) -> Mapping[str, int] | None:
    """Dimension to cut of every result the chain does not read itself."""
    read = {source.tensor for unit in units for source in unit.sources}
    axes: dict[str, int] = {}
    for unit in units:
        for name in unit.operator.outputs:
            if name in read:
                continue
            rank = len(network.graph.tensor[name].shape)
            preferred = (2, 1) if rank >= 4 else tuple(reversed(range(max(0, rank - 1))))
            if choice >= len(preferred):
                return None
            axes[name] = preferred[choice]
    return axes
