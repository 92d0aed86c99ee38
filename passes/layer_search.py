"""The best tiles of each layer run by itself: the layer-by-layer baseline of comparisons.

A layer reads its operands from DRAM and leaves its result there. Grids are judged by replaying
their tiles in all of the scratchpad, bytes before tiles, and remembered per form of unit; a grid
that must move more than the best so far is not replayed. Pieces cut for other units make some tiles
larger than they are alone: where one then does not fit, its unit is cut for as much less space as
the others take of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stowplan.ir.memory import MemorySpec
from stowplan.passes.grid_moves import Loops, regridded
from stowplan.passes.tile_groups import Cut, group_of, groups_of
from stowplan.passes.tiling.boxes import Box
from stowplan.passes.tiling.build import jobs_of
from stowplan.passes.tiling.costs import Budget
from stowplan.passes.tiling.demand import TileMeter
from stowplan.passes.tiling.grids import TERMS, find_grid
from stowplan.passes.tiling.network import Network, Unit
from stowplan.passes.tiling.pieces import Pieces
from stowplan.passes.tiling.replay import Replay

CAPACITY_SHARE = 0.97
"""Share of the scratchpad a tile may take where the cost model proposes grids."""
REPAIRS = 12
"""How often tiles that turn out too large are cut again."""
FEW = 64
"""Tiles of a layer up to which only bytes count; each further one costs what it takes to set up."""
SHRINK = 0.75
"""Share of its space that a unit keeps then at least: the others' pieces change too."""

Score = tuple[int, int]
"""Bytes that do not fit, then bytes moved and tiles; smaller is better."""


@dataclass(frozen=True, slots=True)
class TilePrice:
    """What tiles cost, as bytes that could be moved meanwhile.

    Attributes:
        full_bytes: a tile that waits for its operands; the cost model proposes grids with it.
        setup_bytes: a transfer's set-up; the price of every tile beyond the first ``FEW`` of a
            layer where grids are judged.
    """

    full_bytes: int
    setup_bytes: int

    def bytes(self, tiles: int) -> int:
        """Price of the tiles of a layer; of grids that cost the same, one of fewer is better."""
        return tiles + self.setup_bytes * max(0, tiles - FEW)


def search_layers(network: Network, memory: MemorySpec, price: TilePrice) -> tuple[Cut, ...]:
    """The best tiles of each unit run by itself, its operands and its result in DRAM.

    Args:
        network: the units.
        memory: the scratchpad.
        price: of a tile.
    """
    meter = TileMeter(network, memory)
    known: dict[tuple[object, ...], _Layer] = {}
    layers = []
    for unit in network.units:
        if unit.form not in known:
            known[unit.form] = _Layer(network, memory, price, unit)
        layers.append(known[unit.form])
    limits = [memory.capacity_bytes] * len(layers)
    cuts: list[Cut] = []
    for _ in range(REPAIRS):
        grids = [layer.best(limit) for layer, limit in zip(layers, limits, strict=True)]
        cuts = [Cut(i, i + 1, grid=grid) for i, grid in enumerate(grids)]
        jobs = jobs_of(network, groups_of(network, cuts))
        worst = meter.measure(jobs, Pieces(network, jobs, memory)).worst
        if not worst:
            break
        for index, needed in worst.items():
            alone = layers[index].measured(grids[index]).needed_bytes
            spare = memory.capacity_bytes - max(0, needed - alone)
            spare = max(spare, int(limits[index] * SHRINK))
            limits[index] = min(limits[index] - memory.alignment_bytes, spare)
    return tuple(cuts)


@dataclass(frozen=True, slots=True)
class _Measured:
    """What a grid costs: bytes its largest tile needs, bytes moved, and tiles."""

    needed_bytes: int
    moved_bytes: int
    tiles: int

    def score(self, limit_bytes: int, price: TilePrice) -> Score:
        """Score where a tile may take ``limit_bytes``."""
        over = max(0, self.needed_bytes - limit_bytes)
        return over, self.moved_bytes + price.bytes(self.tiles)


class _Layer:
    """Grids of the units of one form; remembers what it replayed."""

    def __init__(
        self,
        network: Network,
        memory: MemorySpec,
        price: TilePrice,
        unit: Unit,
    ) -> None:
        self._network, self._memory, self._unit = network, memory, unit
        self._price = price
        # Of pictures only rows are; of tokens, and where a matrix gives pictures, columns as well.
        rank = len(network.whole(unit))
        self._whole = (
            frozenset({rank - 1}) if rank > 3 and unit.columns != rank - 1 else frozenset[int]()
        )
        self._replay = Replay(network, memory)
        self._known: dict[Loops, _Measured] = {}
        self._best: dict[int, Loops] = {}
        self._least = _Least(network, unit)

    def best(self, limit_bytes: int) -> Loops:
        """The best grid whose tiles take no more than ``limit_bytes``; the smallest if none do."""
        if limit_bytes not in self._best:
            best = self._climb(limit_bytes, self._whole)
            if self._score(best, limit_bytes)[0]:
                best = self._climb(limit_bytes, frozenset())
            self._best[limit_bytes] = best
        return self._best[limit_bytes]

    def _score(self, grid: Loops, limit_bytes: int) -> Score:
        return self.measured(grid).score(limit_bytes, self._price)

    def measured(self, grid: Loops) -> _Measured:
        """What a grid costs."""
        if grid not in self._known:
            index = self._unit.index
            jobs = jobs_of(
                self._network, [group_of(self._network, Cut(index, index + 1, grid=grid))]
            )
            found = self._replay.run(jobs)
            self._known[grid] = _Measured(found.needed_bytes, found.moved_bytes, found.tiles)
        return self._known[grid]

    def _climb(self, limit_bytes: int, uncut: frozenset[int]) -> Loops:
        """The best grid that leaves some dimensions whole.

        The last one is cut for want of another way only: layers that read or write all rows of the
        same tensor would find it in thousands of pieces.
        """
        best: Loops = ()
        score = self._score(best, limit_bytes)
        moves = [self._proposed(limit_bytes, price) for price in (self._price.full_bytes, 1)]
        first = True
        while True:
            start = score
            for grid in moves:
                if not uncut.isdisjoint(axis for axis, _ in grid):
                    continue
                # What does not fit by more is never better, and neither is what must move more.
                if score[0] or self._bound(grid) < score[1]:
                    found = self._score(grid, limit_bytes)
                    if found < score:
                        best, score = grid, found
            if score == start and not first:
                return best
            if not score[0] and score[1] <= self._bound(best):
                return best
            first = False
            moves = list(dict.fromkeys(regridded(self._network, self._unit, best)))

    def _bound(self, grid: Loops) -> int:
        """Bytes and tiles that a grid costs at least."""
        tiles = 1
        for _, count in grid:
            tiles *= count
        return self._least.bytes(dict(grid)) + self._price.bytes(tiles)

    def _proposed(self, limit_bytes: int, tile_bytes: int) -> Loops:
        """Tiles the cost model likes best."""
        capacity = int(min(limit_bytes, self._memory.capacity_bytes * CAPACITY_SHARE))
        budget = Budget(
            capacity_bytes=capacity,
            working_bytes=capacity,
            kept_bytes=self._memory.capacity_bytes,
            alignment_bytes=self._memory.alignment_bytes,
            tile_bytes=tile_bytes,
        )
        grid = find_grid(self._network, budget, self._unit)
        return tuple((axis, count) for axis, count in grid.counts if count > 1)


class _Least:
    """Bytes that tiles of a unit move at least.

    The result once, what is read of every operand once, and weights that stream once more for every
    round of a loop along a dimension on which they do not depend.
    """

    def __init__(self, network: Network, unit: Unit) -> None:
        self._network, self._unit = network, unit
        outputs = unit.operator.outputs
        self._once = sum(network.graph.tensor[name].size_bytes for name in outputs)
        self._streamed: list[tuple[int, frozenset[int]]] = []
        finest = {axis: self._finest(axis) for axis in sorted(unit.splittable)}
        whole = unit.regions(network.whole(unit))
        for name, box in whole.items():
            sides = {axis: [r[name] for r in found if name in r] for axis, found in finest.items()}
            if network.streamed(name):
                size = network.bytes_of(name, box)
                moving = {axis for axis, found in sides.items() if any(b != box for b in found)}
                self._streamed.append((size, frozenset(moving | {TERMS})))
            else:
                self._once += network.bytes_of(name, _read(box, sides.values()))

    def bytes(self, counts: dict[int, int]) -> int:
        """Bytes that tiles of these counts move at least."""
        total = self._once
        for size, moving in self._streamed:
            rounds = 1
            for axis, count in counts.items():
                rounds *= 1 if axis in moving else count
            total += size * rounds
        return total

    def _finest(self, axis: int) -> list[dict[str, Box]]:
        """What slices of one element along a dimension need."""
        whole = self._network.whole(self._unit)
        before, after = whole[:axis], whole[axis + 1 :]
        return [self._unit.regions((*before, (at, at + 1), *after)) for at in range(whole[axis][1])]


def _read(box: Box, sides: Iterable[Sequence[Box]]) -> Box:
    """As much as is read of ``box``, whose parts slices along each dimension of the result need.

    Strides may leave rows or columns out, whatever the number of tiles.
    """
    lengths = [upper - lower for lower, upper in box]
    for parts in sides:
        for dimension, length in enumerate(lengths if parts else ()):
            met, reached = 0, 0
            for lower, upper in sorted({part[dimension] for part in parts}):
                met += max(0, upper - max(lower, reached))
                reached = max(reached, upper)
            lengths[dimension] = min(length, met)
    return tuple((0, length) for length in lengths)
