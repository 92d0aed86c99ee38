"""Tiles for scratchpads so small that the usual ones do not fit, and the smallest that will do.

Every tensor lies in storages that are fixed before anything is cut (``slabs``), each operator is
cut by itself, and the smallest tile of an operator is one element of its result with one term of
its sums. Let ``need(u, S)`` be what the smallest tile of unit ``u`` takes when tensors lie in
storages ``S``. The network fits ``min over S of max over u of need(u, S)``, over the storages that
are tried here: they do not depend on the scratchpad, so a network that fits one size fits every
larger one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from stowplan.ir.graph import Graph, Tensor
from stowplan.ir.memory import MemorySpec
from stowplan.passes.tiling.build import build, jobs_of
from stowplan.passes.tiling.choose import Group
from stowplan.passes.tiling.costs import Budget
from stowplan.passes.tiling.demand import demands
from stowplan.passes.tiling.grids import Grid, find_grid, least_bytes
from stowplan.passes.tiling.network import Network, Unit
from stowplan.passes.tiling.pieces import Pieces
from stowplan.passes.tiling.slabs import (
    Steps,
    channels_first,
    columns_first,
    runs_of_bytes,
)

SHAPES = (runs_of_bytes, channels_first, columns_first)
COARSER = (1, 2, 4, 8)
"""Shapes of storages tried, and their sizes, in units of the alignment."""
REFINEMENTS = 64
"""How often the storages of a single tensor are changed for the operator that needs most."""
REPAIRS = 8
SHRINK = 0.9
"""How often, and by how much at least, a unit whose tiles take more than estimated is cut again."""

Storages = Mapping[str, Steps]
Shape = Callable[[Tensor, int, int], Steps]
_Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Least:
    """The smallest scratchpad that will do.

    Attributes:
        needed_bytes: its size.
        unit: the unit whose smallest tile fills it.
        storages: extents of the storages of each tensor.
    """

    needed_bytes: int
    unit: Unit
    storages: Storages


class CarefulTiles:
    """Tilings of a network over storages fixed beforehand; remembers what it measured.

    Attributes:
        budget: what tiles cost; its sizes do not count.
    """

    def __init__(self, network: Network, budget: Budget) -> None:
        self._network, self.budget = network, budget
        names = (name for unit in network.units for name in _touched(unit))
        self._names = [name for name in dict.fromkeys(names) if self._decided(name)]
        self._needs: dict[_Key, int] = {}
        self._grids: dict[_Key, Grid] = {}
        self._uniform: dict[tuple[Shape, int], Storages] = {}

    def least(self, enough_bytes: int = 0) -> Least:
        """The smallest scratchpad that will do; or any that will and is no larger than enough."""
        best: Least | None = None
        for shape, limit in self._shapes():
            found = self._measured(self._decide(shape, limit))
            if best is None or found.needed_bytes < best.needed_bytes:
                best = found
            if best.needed_bytes <= enough_bytes:
                return best
        if best is None:
            raise ValueError("a network without operators needs no scratchpad")
        return self._refined(best)

    def bound(self) -> int:
        """Bytes below which no tiling fits: of the smallest tiles, in storages of their own."""
        return max(self._need(unit, {}) for unit in self._network.units)

    def tiled(self, memory: MemorySpec) -> Graph:
        """The network in tiles that fit, where :meth:`least` says that some do."""
        storages = self._cheapest(memory.capacity_bytes)
        shares = [1.0] * len(self._network.units)
        graph = self._network.graph
        index = {unit.operator.name: unit.index for unit in self._network.units}
        for _ in range(REPAIRS):
            capacities = [int(memory.capacity_bytes * share) for share in shares]
            groups = [
                Group((unit,), grid=self._grid(unit, storages, capacity))
                for unit, capacity in zip(self._network.units, capacities, strict=True)
            ]
            jobs = jobs_of(self._network, groups)
            pieces = Pieces(self._network, jobs, memory, storages)
            graph = build(self._network, jobs, pieces)
            over: dict[int, float] = {}
            for op, demand in zip(graph.operators, demands(graph, memory), strict=True):
                unit = index.get(op.parent or op.name)
                if demand > memory.capacity_bytes and unit is not None:
                    over[unit] = min(over.get(unit, SHRINK), memory.capacity_bytes / demand)
            if not over:
                break
            for unit, share in over.items():
                shares[unit] *= share
        return graph

    def _decided(self, name: str) -> bool:
        """Whether storages of a tensor are chosen here: whole bytes, on chip, free to be cut."""
        tensor = self._network.graph.tensor[name]
        cut = tensor.dtype.bits % 8 == 0 and name not in self._network.fixed
        return cut and tensor.elements > 0 and not self._network.streamed(name)

    def _shapes(self) -> Iterator[tuple[Shape, int]]:
        """Shapes and sizes of storages tried, from the finest to whole tensors."""
        tensors, unit = self._network.graph.tensor, self.budget.alignment_bytes
        for times in COARSER:
            yield from ((shape, times * unit) for shape in SHAPES)
        largest = max((tensors[name].size_bytes for name in self._names), default=1)
        limit = 2 * COARSER[-1] * unit
        while limit < 2 * largest:
            yield runs_of_bytes, limit
            limit *= 2

    def _decide(self, shape: Shape, limit_bytes: int) -> Storages:
        """Storages of all tensors; those that must not be cut are whole."""
        key = shape, limit_bytes
        if key not in self._uniform:
            fixed = {name: self._whole(name) for name in self._network.fixed}
            chosen = {name: self._steps(name, *key) for name in self._names}
            self._uniform[key] = fixed | chosen
        return self._uniform[key]

    def _steps(self, name: str, shape: Shape, limit_bytes: int) -> Steps:
        tensor = self._network.graph.tensor[name]
        return shape(tensor, self.budget.alignment_bytes, limit_bytes)

    def _whole(self, name: str) -> Steps:
        return self._network.graph.tensor[name].shape

    def _need(self, unit: Unit, storages: Storages) -> int:
        key = (unit.form, *(storages.get(name) for name in _touched(unit)))
        if key not in self._needs:
            budget = replace(self.budget, storages=storages)
            self._needs[key] = least_bytes(self._network, budget, unit)
        return self._needs[key]

    def _measured(self, storages: Storages) -> Least:
        needs = [self._need(unit, storages) for unit in self._network.units]
        worst = max(range(len(needs)), key=needs.__getitem__)
        return Least(needs[worst], self._network.units[worst], storages)

    def _refined(self, found: Least) -> Least:
        """Other storages for single tensors of the unit that needs most, while that helps."""
        for _ in range(REFINEMENTS):
            better = next(self._better(found), None)
            if better is None:
                break
            found = self._measured(better)
        return found

    def _better(self, found: Least) -> Iterator[Storages]:
        """Storages under which the neediest unit needs less, and no unit touched as much."""
        for name in filter(self._names.__contains__, _touched(found.unit)):
            touching = [unit for unit in self._network.units if name in _touched(unit)]
            for shape, limit in self._shapes():
                trial = {**found.storages, name: self._steps(name, shape, limit)}
                if all(self._need(unit, trial) < found.needed_bytes for unit in touching):
                    yield trial

    def _cheapest(self, capacity_bytes: int) -> Storages:
        """Of the storages that fit, those whose tiles cost least; not the same for all tensors
        where nothing else fits."""
        found: list[tuple[int, int]] = []
        tried = [
            self._decide(shape, times * self.budget.alignment_bytes)
            for times in COARSER
            for shape in SHAPES
        ]
        for number, storages in enumerate(tried):
            if self._measured(storages).needed_bytes <= capacity_bytes:
                grids = (self._grid(unit, storages, capacity_bytes) for unit in self._network.units)
                found.append((sum(map(self._cost, grids)), number))
        return tried[min(found)[1]] if found else self.least(capacity_bytes).storages

    def _cost(self, grid: Grid) -> int:
        return grid.again_bytes + grid.idle_bytes + grid.tiles * self.budget.tile_bytes

    def _grid(self, unit: Unit, storages: Storages, capacity_bytes: int) -> Grid:
        """The best tiles of a unit for a part of the scratchpad; the smallest if none fit."""
        touched = tuple(storages.get(name) for name in _touched(unit))
        capacity_bytes = max(self._need(unit, storages), capacity_bytes)
        key = (unit.form, touched, capacity_bytes)
        if key not in self._grids:
            budget = replace(self.budget, capacity_bytes=capacity_bytes, storages=storages)
            self._grids[key] = find_grid(self._network, budget, unit)
        return self._grids[key]


def _touched(unit: Unit) -> tuple[str, ...]:
    names = (*(source.tensor for source in unit.sources), *unit.operator.outputs)
    return tuple(dict.fromkeys(names))
