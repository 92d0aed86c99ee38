"""A tiling that competes with others: measured first, built only where that is asked for."""

from collections.abc import Sequence
from functools import cached_property

from stowplan.ir.graph import Graph, Role
from stowplan.ir.memory import MemorySpec
from stowplan.ir.weight_ring import fetches
from stowplan.passes.greedy_gaps import furthest_next_use, timeline, total_traffic
from stowplan.passes.problem import PlanningProblem, planning_problem
from stowplan.passes.tiling.build import build, uncut
from stowplan.passes.tiling.demand import TileMeter
from stowplan.passes.tiling.network import Network
from stowplan.passes.tiling.pieces import Job, Pieces
from stowplan.passes.tiling.replay import Replay


class TilingMeters:
    """What measures the tilings of one network.

    Attributes:
        network: what is tiled.
        memory: the scratchpad.
        demand: measures what tiles need on chip.
        replay: measures what they move.
    """

    def __init__(self, network: Network, memory: MemorySpec) -> None:
        self.network, self.memory = network, memory
        self.demand = TileMeter(network, memory)
        self.replay = Replay(network, memory)


class Candidate:
    """One tiling of a network.

    Attributes:
        needed: what its tiles need on chip.
        over_bytes: bytes by which the largest of them does not fit.
    """

    def __init__(self, meters: TilingMeters, jobs: Sequence[Job]) -> None:
        self._meters, self._jobs = meters, jobs
        self._pieces = Pieces(meters.network, jobs, meters.memory)
        self.needed = meters.demand.measure(jobs, self._pieces)
        self.over_bytes = max(0, self.needed.largest_bytes - meters.memory.capacity_bytes)

    @cached_property
    def graph(self) -> Graph:
        """The tiled graph."""
        return build(self._meters.network, self._jobs, self._pieces)

    @cached_property
    def moved_bytes(self) -> int:
        """Bytes moved when planned by furthest next use; 0 where it does not fit."""
        if self.over_bytes:
            return 0
        network, memory = self._meters.network, self._meters.memory
        if uncut(network, self._jobs, self._pieces):
            # Views are operators of such a graph, which a replay does not count.
            return _moved(planning_problem(network.graph, memory))
        return self._meters.replay.run(self._jobs, self._pieces).moved_bytes

    def better(self, other: "Candidate | None") -> bool:
        """Whether it fits better, or as well with fewer bytes moved or fewer tiles."""
        if other is None or self.over_bytes != other.over_bytes:
            return other is None or self.over_bytes < other.over_bytes
        mine = self.moved_bytes, self.needed.operators
        return mine < (other.moved_bytes, other.needed.operators)


def _moved(problem: PlanningProblem) -> int:
    """Bytes moved when planned by furthest next use."""
    accesses = timeline(problem, tuple(range(problem.operators)))
    kept = furthest_next_use(accesses, problem.memory.capacity_bytes, write_aware=True)
    return total_traffic(accesses, kept) + _streamed(problem)


def _streamed(problem: PlanningProblem) -> int:
    """Bytes of weights streamed, at every use unless the weight buffer keeps them."""
    if not problem.memory.stream_weights:
        return 0
    graph = problem.graph
    weights = {tensor.name for tensor in graph.tensors if tensor.role is Role.WEIGHT}
    reads = [frozenset(name for name in op.inputs if name in weights) for op in graph.operators]
    sizes = [sum(graph.tensor[name].size_bytes for name in names) for names in reads]
    needed = fetches(zip(reads, sizes, strict=True), problem.memory.kept_weights_bytes)
    return sum(size for size, fetched in zip(sizes, needed, strict=True) if fetched)
