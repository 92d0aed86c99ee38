"""A tiling that competes with others: measured first, built only where that is asked for."""

from collections.abc import Sequence
from functools import cached_property

from stowplan.ir.graph import Graph
from stowplan.ir.memory import MemorySpec
from stowplan.passes.tiling.build import build
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
        return self._meters.replay.run(self._jobs, self._pieces).moved_bytes

    def better(self, other: "Candidate | None") -> bool:
        """Whether it fits better, or as well with fewer bytes moved or fewer tiles."""
        if other is None or self.over_bytes != other.over_bytes:
            return other is None or self.over_bytes < other.over_bytes
        mine = self.moved_bytes, self.needed.operators
        return mine < (other.moved_bytes, other.needed.operators)
