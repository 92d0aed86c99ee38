"""What each operator of a tiled graph needs on chip at once, of a graph or before it is built."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from stowplan.ir.graph import Graph, Operator, Role
from stowplan.ir.memory import MemorySpec
from stowplan.passes.tiling.boxes import Box, extents
from stowplan.passes.tiling.build import is_tile, sunk_views, uncut
from stowplan.passes.tiling.network import Network
from stowplan.passes.tiling.pieces import Job, Pieces


def demands(graph: Graph, memory: MemorySpec) -> list[int]:
    """Bytes each operator needs resident at once, in graph order, in-place reuse not counted.

    The same as ``PlanningProblem.demand``, without indexing the graph for planning.
    """
    return Demands(graph, memory).all()


class Demands:
    """Measures the operators of a graph."""

    def __init__(self, graph: Graph, memory: MemorySpec) -> None:
        self._graph, self._memory = graph, memory
        self._bases = {tensor.name: graph.resolve(tensor.name)[0] for tensor in graph.tensors}
        streamed: set[str] = set()
        if memory.stream_weights:
            streamed = {self._bases[t.name] for t in graph.tensors if t.role is Role.WEIGHT}
        self._size = {
            name: 0 if name in streamed else memory.aligned(graph.tensor[name].size_bytes)
            for name in set(self._bases.values())
        }

    def all(self) -> list[int]:
        """Bytes each operator needs, in graph order."""
        return [self.of(op) for op in self._graph.operators]

    def of(self, op: Operator) -> int:
        """Bytes an operator needs."""
        bases = {self._bases[name] for name in (*op.inputs, *op.outputs)}
        return sum(self._size[name] for name in bases) + workspace(op, self._memory)

    def storage(self, name: str) -> tuple[str, int]:
        """The storage of a tensor, and its bytes."""
        base = self._bases[name]
        return base, self._size[base]


def workspace(op: Operator, memory: MemorySpec) -> int:
    """Bytes an operator works in."""
    return memory.aligned(op.workspace_bytes) if op.workspace_bytes else 0


@dataclass(frozen=True, slots=True)
class TileDemands:
    """What the operators of a tiled graph would need.

    Attributes:
        operators: how many there would be.
        largest_bytes: what the largest of them needs.
        worst: per index of a unit some tile of which does not fit, what its largest tile needs.
    """

    operators: int
    largest_bytes: int
    worst: Mapping[int, int]


class TileMeter:
    """Measures tiles on the regions they touch; remembers these and is mutable only in that.

    Tilings that do not fit are cut again, only few units differently: storages that a region meets
    are looked for once as long as its tensor lies in the same ones.
    """

    def __init__(self, network: Network, memory: MemorySpec) -> None:
        self._network, self._memory = network, memory
        self._whole = Demands(network.graph, memory)
        self._layouts: dict[str, object] = {}
        self._met: dict[str, dict[Box, Mapping[object, int]]] = {}

    def measure(self, jobs: Sequence[Job], pieces: Pieces) -> TileDemands:
        """What the operators of the graph that ``build`` makes of them need."""
        network, capacity = self._network, self._memory.capacity_bytes
        units = {unit.operator.name: unit.index for unit in network.units}
        if uncut(network, jobs, pieces):
            needed = [(units.get(op.name), self._whole.of(op)) for op in network.graph.operators]
        else:
            needed = list(self._needed(jobs, pieces, units))
        worst: dict[int, int] = {}
        for unit, size in needed:
            if unit is not None and size > capacity:
                worst[unit] = max(size, worst.get(unit, 0))
        return TileDemands(len(needed), max((size for _, size in needed), default=0), worst)

    def _needed(
        self, jobs: Sequence[Job], pieces: Pieces, units: Mapping[str, int]
    ) -> list[tuple[int | None, int]]:
        """(index of the unit, bytes) of every operator; views that stay belong to no unit."""
        sunk = sunk_views(self._network, pieces)
        found: list[tuple[int | None, int]] = [
            (None, self._whole.of(view))
            for view in self._network.views
            if sunk.isdisjoint(view.outputs)
        ]
        for job in jobs:
            op = job.unit.operator
            if sunk.isdisjoint(op.inputs) and not is_tile(self._network, pieces, job):
                found.append((job.unit.index, self._whole.of(op)))
            else:
                found.append((job.unit.index, self._tile(pieces, job)))
        return found

    def _tile(self, pieces: Pieces, job: Job) -> int:
        """Bytes a tile needs: its pieces, each storage once, sums so far and workspace."""
        storages: dict[object, int] = {}
        for source, box in job.unit.reads(job.box, job.terms):
            if not self._network.streamed(source.tensor):
                storages |= self._storages(pieces, source.tensor, box)
        op = job.unit.operator
        if job.last:
            for position, name in enumerate(op.outputs):
                box = self._network.made(job.unit, position, job.box)
                storages |= self._storages(pieces, name, box)
        partial = 0
        if not (job.first and job.last):
            partial = self._memory.aligned(self._network.partial_bytes(job.unit, job.box))
        return sum(storages.values()) + partial + workspace(op, self._memory)

    def _storages(self, pieces: Pieces, tensor: str, box: Box) -> Mapping[object, int]:
        """Bytes of each storage that a region of a tensor meets."""
        layout = pieces.layout(tensor)
        if layout is None:
            return dict((self._whole.storage(tensor),))
        if self._layouts.get(tensor) != layout:
            self._layouts[tensor], self._met[tensor] = layout, {}
        known = self._met[tensor]
        if box not in known:
            bits = self._network.graph.tensor[tensor].dtype.bits
            known[box] = {
                (tensor, storage): self._memory.aligned(-(-prod(extents(storage)) * bits // 8))
                for storage in pieces.storages(tensor, box)
            }
        return known[box]
