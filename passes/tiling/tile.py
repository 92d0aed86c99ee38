"""Split operators into tiles so that every one fits the scratchpad, and chains run depth-first.

The result is a graph like any other: tile tensors are storages of their own with ``parent`` and
``region``, tile operators likewise, in an order that finishes one stripe of a whole chain before it
begins the next. Which of the tiles stay on chip between uses (halos, weights, skip connections) is
left to the planner.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

from stowplan.errors import UsageError
from stowplan.ir.graph import Graph
from stowplan.ir.memory import MemorySpec
from stowplan.passes.base import PassResult
from stowplan.passes.greedy_gaps import furthest_next_use, timeline, total_traffic
from stowplan.passes.problem import PlanningProblem, planning_problem
from stowplan.passes.tiling.build import build, jobs_of
from stowplan.passes.tiling.choose import choose
from stowplan.passes.tiling.costs import Budget, ChainMeter
from stowplan.passes.tiling.grids import find_grid
from stowplan.passes.tiling.network import Network
from stowplan.targets.target import Target

WORKING_SHARES = (0.9, 0.6)
"""Shares of the scratchpad tried for a chain's working set; the rest serves prefetching."""
KEPT_SHARES = (0.25, 0.75)
"""Shares of the scratchpad up to which a result is taken to stay between two chains, tried."""
CAPACITY_SHARES = (0.97, 0.8, 0.6, 0.4)
"""Shares of the scratchpad a tile may take by estimate, tried until every tile fits."""
MANY_OPERATORS = 5_000
"""Tile operators beyond which the first tiling that fits is taken, to keep planning fast."""
OPERANDS = 4
"""Transfers a tile is taken to wait for: data, weights, a residual, the result."""
JOINED_SHARE = 64
"""Contiguous pieces smaller than the scratchpad divided by this share a storage."""


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
    """

    name: ClassVar[str] = "tile"
    capacity: int = 0
    alignment: int = 64
    track_weights: bool = False
    fuse: bool = True
    fit: bool = False
    overhead: int = 8_448

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
        )

    def apply(self, graph: Graph) -> PassResult:
        """Tile ``graph``."""
        if self.capacity <= 0 or self.alignment <= 0:
            raise UsageError("pass tile needs the scratchpad's size: tile{capacity=262144}")
        memory = MemorySpec(self.capacity, self.alignment, not self.track_weights)
        if self.fit and fits(graph, memory):
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

    Tile sizes are estimates: pieces cut for one reader burden another with alignment. Where that
    makes an operator too large, everything is tiled again for a smaller scratchpad.
    """
    network = Network(graph, options.track_weights)
    meter = ChainMeter(network, memory.alignment_bytes)
    best: tuple[tuple[int, int, int], Graph] | None = None
    for share in CAPACITY_SHARES:
        for candidate in _tilings(network, meter, memory, share, options):
            score = _score(planning_problem(candidate, memory))
            if best is None or score < best[0]:
                best = score, candidate
            if score[0] == 0 and score[2] > MANY_OPERATORS:
                break
        if best is not None and best[0][0] == 0:
            break
    return graph if best is None else best[1]


def _tilings(
    network: Network, meter: ChainMeter, memory: MemorySpec, share: float, options: Tile
) -> Iterator[Graph]:
    """Different graphs for different assumptions of what stays between chains."""
    candidates = _candidates(memory, share, options)
    grids = [find_grid(network, candidates[0][0], unit) for unit in network.units]
    joined = max(4 * memory.alignment_bytes, memory.capacity_bytes // JOINED_SHARE)
    seen: set[tuple[object, ...]] = set()
    for budget, fused in candidates:
        groups = choose(meter, budget, grids, fused)
        key = tuple((len(g.units), g.grid, g.chain) for g in groups)
        if key not in seen:
            seen.add(key)
            yield build(network, jobs_of(network, groups), joined)


def _candidates(memory: MemorySpec, share: float, options: Tile) -> list[tuple[Budget, bool]]:
    capacity = memory.capacity_bytes * share
    found = []
    for working in WORKING_SHARES:
        for kept in KEPT_SHARES:
            budget = Budget(
                capacity_bytes=int(capacity),
                working_bytes=int(capacity * working),
                kept_bytes=max(1, int(capacity * kept)),
                alignment_bytes=memory.alignment_bytes,
                tile_bytes=options.overhead,
            )
            found.append((budget, True))
    alone = (found[0][0], False)
    return [*found, alone] if options.fuse else [alone]


def _score(problem: PlanningProblem) -> tuple[int, int, int]:
    """Bytes by which the largest operator does not fit, traffic, operators."""
    capacity = problem.memory.capacity_bytes
    demands = [problem.demand(o) for o in range(problem.operators)]
    over = max(0, max(demands, default=0) - capacity)
    accesses = timeline(problem, tuple(range(problem.operators)))
    if over:
        return over, 0, problem.operators
    kept = furthest_next_use(accesses, capacity, write_aware=True)
    streamed = _streamed(problem)
    return over, total_traffic(accesses, kept) + streamed, problem.operators


def _streamed(problem: PlanningProblem) -> int:
    """Bytes of weights streamed, at every use."""
    if not problem.memory.stream_weights:
        return 0
    graph = problem.graph
    weights = {tensor.name for tensor in graph.tensors if tensor.role == "weight"}
    return sum(
        graph.tensor[name].size_bytes
        for op in graph.operators
        for name in dict.fromkeys(op.inputs)
        if name in weights
    )
