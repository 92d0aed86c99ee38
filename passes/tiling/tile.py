"""Split operators into tiles so that every one fits the scratchpad, and chains run depth-first.

The result is a graph like any other: tile tensors are storages of their own with ``parent`` and
``region``, tile operators likewise, in an order that finishes one stripe of a whole chain before it
begins the next. Which of the tiles stay on chip between uses (halos, weights, skip connections) is
left to the planner.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from stowplan.errors import InfeasiblePlanError, Misfit, UsageError
from stowplan.ir.graph import Graph
from stowplan.ir.memory import MemorySpec
from stowplan.passes.base import PassResult
from stowplan.passes.problem import planning_problem
from stowplan.passes.tiling.build import jobs_of
from stowplan.passes.tiling.candidate import Candidate, TilingMeters
from stowplan.passes.tiling.careful import CarefulTiles
from stowplan.passes.tiling.choose import PANELS, choose
from stowplan.passes.tiling.costs import ArrayShape, Budget, ChainMeter
from stowplan.passes.tiling.demand import TileDemands, demands
from stowplan.passes.tiling.grids import Grid, find_grid, smallest_tile
from stowplan.passes.tiling.network import Network, Unit
from stowplan.passes.tiling.sizes import fixed_grids, parse_rules
from stowplan.targets.target import Target

WORKING_SHARES = (0.9, 0.6)
"""Shares of the scratchpad tried for a chain's working set; the rest serves prefetching."""
KEPT_SHARES = (0.25, 0.75)
"""Shares of the scratchpad up to which a result is taken to stay between two chains, tried."""
CAPACITY_SHARE = 0.97
"""Share of the scratchpad a tile may take by estimate."""
SHRINK = 0.75
"""Factor by which an operator's share shrinks at least when its tiles turn out too large."""
LEAST_SHARE = 0.1
REPAIRS = 8
"""How often tiles that turn out too large are cut again."""
EFFORT_OPERATORS = 8_000
"""Tile operators made, over all tilings, after which the best that fits is taken."""
VAIN = 4
"""Times that effort after which a search without one that fits gives up."""
OPERANDS = 4
"""Transfers a tile is taken to wait for: data, weights, a residual, the result."""
PLACING_SHARE = 0.01
"""Share of the bytes moved that chains in panels have to save by an estimate without addresses."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Tile whatever does not fit.

    Attributes:
        capacity: bytes of scratchpad.
        alignment: of every address, in bytes.
        track_weights: weights take scratchpad too rather than stream.
        fuse: run chains of operators in stripes; otherwise each operator is tiled alone.
        fit: leave a graph alone whose every operator fits.
        overhead: what one more tile costs, as bytes that could be moved meanwhile.
        rows: of the array; 0 leaves the array's shape out of account.
        cols: of the array.
        dataflow: of the array.
        rate: bytes moved per cycle.
        burst: least bytes moved at once.
        most_rows: rows of an image or a matrix that a tile has at most; 0 leaves it to the search.
        partly: operators that cannot be cut small enough stay too large; else they are an error.
        kept: bytes of streamed weights that the weight buffer keeps.
        sizes: tile sizes of single operators, ``conv1:rows=8;channels=32|fc*:columns=64``; such
            operators run in no chain.
    """

    name: ClassVar[str] = "tile"
    capacity: int = 0
    alignment: int = 64
    track_weights: bool = False
    fuse: bool = True
    fit: bool = False
    overhead: int = 8_448
    rows: int = 0
    cols: int = 0
    dataflow: str = "output_stationary"
    rate: int = 16
    burst: int = 64
    most_rows: int = 0
    partly: bool = False
    kept: int = 0
    sizes: str = ""

    @classmethod
    def of(cls, target: Target, track_weights: bool = False, fuse: bool = True) -> Self:
        """The pass for a target: a tile fills and drains the array and waits for its operands."""
        pad = target.scratchpad
        moved = target.dma.setup_cycles + target.dram.latency_cycles
        cycles = target.array.rows + target.array.cols + OPERANDS * moved
        return cls(
            capacity=pad.size_bytes,
            alignment=pad.alignment_bytes,
            track_weights=track_weights,
            fuse=fuse,
            overhead=cycles * target.dram.bytes_per_cycle,
            rows=target.array.rows,
            cols=target.array.cols,
            dataflow=target.array.dataflow,
            rate=target.dram.bytes_per_cycle,
            burst=target.dma.burst_bytes,
            kept=target.memory_spec(track_weights).kept_weights_bytes,
        )

    @property
    def array(self) -> ArrayShape | None:
        """The array's shape, if it counts."""
        if not self.rows or not self.cols:
            return None
        return ArrayShape(self.rows, self.cols, self.dataflow, self.rate)

    def apply(self, graph: Graph) -> PassResult:
        """Tile ``graph``."""
        if self.capacity <= 0 or self.alignment <= 0:
            raise UsageError("pass tile needs the scratchpad's size: tile{capacity=262144}")
        memory = MemorySpec(
            self.capacity,
            self.alignment,
            stream_weights=not self.track_weights,
            kept_weights_bytes=self.kept,
        )
        if self.fit and not self.sizes and fits(graph, memory):
            return PassResult(graph, False)
        tiled = _best(graph, memory, self)
        return PassResult(tiled, tiled is not graph)


def tile_graph(
    graph: Graph, target: Target, track_weights: bool = False, fuse: bool = True
) -> Graph:
    """``graph`` tiled for the scratchpad of ``target``; itself where nothing has to be cut."""
    return Tile.of(target, track_weights, fuse).apply(graph).graph


def fits(graph: Graph, memory: MemorySpec) -> bool:
    """Whether every operator alone fits the scratchpad."""
    problem = planning_problem(graph, memory)
    demands = map(problem.demand, range(problem.operators))
    return memory.direct_dram or max(demands, default=0) <= memory.capacity_bytes


def _best(graph: Graph, memory: MemorySpec, options: Tile) -> Graph:
    """The candidate with the least traffic when planned by furthest next use.

    Where none fits, tiles over storages fixed beforehand, which do.
    """
    network = Network(graph, options.track_weights)
    if not network.units:
        return graph
    if memory.direct_dram or options.partly:
        return _usual(network, memory, options)[1]
    capacity, whole = memory.capacity_bytes, max(demands(graph, memory), default=0)
    careful = CarefulTiles(network, _candidates(memory, options)[0][0])
    if min(whole, careful.bound()) > capacity:
        raise InfeasiblePlanError(_misfit(network, careful, capacity, whole))
    over, candidate = _usual(network, memory, options)
    if not over:
        return candidate
    if options.sizes:
        raise _too_large(candidate, memory, options.sizes)
    if careful.least(capacity).needed_bytes <= capacity:
        return careful.tiled(memory)
    if whole <= capacity:
        return graph
    raise InfeasiblePlanError(_misfit(network, careful, capacity, whole))


def _too_large(graph: Graph, memory: MemorySpec, sizes: str) -> UsageError:
    needed = demands(graph, memory)
    worst = max(range(len(needed)), key=needed.__getitem__)
    op = graph.operators[worst]
    given = " ".join(map(str, parse_rules(sizes)))
    return UsageError(
        f"tile sizes {given}: tile {op.name!r} of operator {op.parent or op.name!r} needs "
        f"{needed[worst]:,} bytes at once and the scratchpad has {memory.capacity_bytes:,}; give "
        "smaller tiles, or leave them to stowplan"
    )


def _misfit(network: Network, careful: CarefulTiles, capacity: int, whole: int) -> Misfit:
    """The operator whose smallest tile takes most, and the smallest scratchpad that will do."""
    least = careful.least()
    name, smallest = least.unit.operator.name, min(whole, least.needed_bytes)
    return Misfit(
        operator=f"{name}@smallest" if least.unit.splittable or least.unit.terms > 1 else name,
        needed_bytes=least.needed_bytes,
        capacity_bytes=capacity,
        operands=smallest_tile(network, careful.budget, least.unit),
        smallest_capacity_bytes=smallest,
        tile_of=name,
        smallest_is_exact=smallest <= careful.bound(),
    )


def _usual(network: Network, memory: MemorySpec, options: Tile) -> tuple[int, Graph]:
    """Bytes that do not fit, and the graph, of the best tiling the cost model proposes."""
    sizes = _Sizes(network, memory, options)
    best, budget = _proposed(sizes, _candidates(memory, options))
    if best is None:
        return 0, network.graph
    if options.fuse:
        panelled, _ = _proposed(sizes.panelled(), [(budget, True)])
        if panelled is not None and panelled.better(best) and _clearly(panelled, best):
            best = panelled
    return best.over_bytes, best.graph


def _clearly(panelled: Candidate, best: Candidate) -> bool:
    """Whether panels save enough to outweigh that their smaller pieces are harder to place."""
    return best.over_bytes > 0 or panelled.moved_bytes < (1 - PLACING_SHARE) * best.moved_bytes


def _proposed(
    sizes: "_Sizes", candidates: Sequence[tuple[Budget, bool]]
) -> tuple[Candidate | None, Budget]:
    """The best tiling under several assumptions, and under which of them it was found."""
    best: Candidate | None = None
    at = candidates[0][0]
    effort = 0
    for budget, fused in candidates:
        for _ in range(REPAIRS):
            candidate = sizes.tiled(budget, fused)
            if candidate is None:
                break
            effort += candidate.needed.operators
            fits = candidate.over_bytes == 0
            if fits and effort > EFFORT_OPERATORS and (best is None or best.over_bytes):
                return candidate, budget
            if candidate.better(best):
                best, at = candidate, budget
            if fits or not sizes.shrink(candidate.needed):
                break
        if effort > EFFORT_OPERATORS * (VAIN if best is None or best.over_bytes else 1):
            break
    return best, at


class _Sizes:
    """Tilings for different assumptions, and what each operator's tiles may take; mutable.

    Tile sizes are estimates: pieces cut for one reader burden another with alignment. Where that
    makes an operator too large, it alone is cut again for a smaller share of the scratchpad.
    """

    def __init__(self, network: Network, memory: MemorySpec, options: Tile) -> None:
        self._network = network
        self._last: dict[int, Grid] = {}
        self._capacity = memory.capacity_bytes
        self._meter = ChainMeter(network, memory.alignment_bytes)
        self._fixed = fixed_grids(network, parse_rules(options.sizes))
        self._meters = TilingMeters(network, memory)
        self._shares = [1.0] * len(network.units)
        self._grids: dict[tuple[object, ...], Grid] = {}
        self._seen: set[tuple[object, ...]] = set()
        self._panels: tuple[int, ...] = (1,)

    def panelled(self) -> Self:
        """The same from the start, for tilings that hold chains in panels, and for no others."""
        other = copy(self)
        other._panels, other._seen, other._last = PANELS, set(), {}
        other._shares = [1.0] * len(self._shares)
        return other

    def tiled(self, budget: Budget, fused: bool) -> Candidate | None:
        """Tiles for a budget; None if these have been made before."""
        network = self._network
        grids = [self._grid(budget, unit) for unit in network.units]
        panels = self._panels
        groups = choose(self._meter, budget, grids, self._shares, fused, self._fixed, panels)
        if panels != (1,) and not any(g.chain and g.chain.panels > 1 for g in groups):
            return None
        key = tuple((len(g.units), g.grid, g.chain) for g in groups)
        if key in self._seen:
            return None
        self._seen.add(key)
        return Candidate(self._meters, jobs_of(network, groups))

    def shrink(self, needed: TileDemands) -> bool:
        """Give operators whose tiles do not fit smaller tiles; False when nothing can be done."""
        worst = {i: size for i, size in needed.worst.items() if self._shares[i] > LEAST_SHARE}
        for index, size in worst.items():
            self._shares[index] *= min(SHRINK, SHRINK**0.5 * self._capacity / size)
        return bool(worst)

    def _grid(self, budget: Budget, unit: Unit) -> Grid:
        if unit.index in self._fixed:
            return self._fixed[unit.index]
        capacity = int(budget.capacity_bytes * self._shares[unit.index])
        key = (unit.form, capacity)
        if key not in self._grids:
            self._grids[key] = self._found(budget, unit, capacity)
        found = self._grids[key]
        if found.fits:
            self._last[unit.index] = found
        return self._last.get(unit.index, found)

    def _found(self, budget: Budget, unit: Unit, capacity: int) -> Grid:
        """The best tiles for a part of the scratchpad; for all of it rather than none at all."""
        found = find_grid(self._network, replace(budget, capacity_bytes=capacity), unit)
        shrunk = capacity < budget.capacity_bytes
        if found.fits or shrunk or found.needed_bytes > self._capacity:
            return found
        return find_grid(self._network, replace(budget, capacity_bytes=self._capacity), unit)


def _candidates(memory: MemorySpec, options: Tile) -> list[tuple[Budget, bool]]:
    capacity = memory.capacity_bytes * CAPACITY_SHARE
    found = []
    for working in WORKING_SHARES:
        for kept in KEPT_SHARES:
            budget = Budget(
                capacity_bytes=int(capacity),
                working_bytes=int(capacity * working),
                kept_bytes=max(1, int(capacity * kept)),
                alignment_bytes=memory.alignment_bytes,
                tile_bytes=options.overhead,
                array=options.array,
                burst_bytes=options.burst,
                most_rows=options.most_rows,
                kept_weights_bytes=options.kept,
            )
            found.append((budget, True))
    alone = (found[0][0], False)
    return [*found, alone] if options.fuse else [alone]
