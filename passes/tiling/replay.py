"""What a tiling moves, without building its graph: its tiles replayed through the scratchpad.

Replacement by furthest next use in the order in which the tiles run, as ``greedy`` decides it for
graph order, addresses left out. A part of the network can be replayed alone: what it reads from
outside lies in DRAM, and what others read later must get there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stowplan.ir.graph import Graph, Interval, Role
from stowplan.ir.memory import MemorySpec
from stowplan.ir.storage import Storage
from stowplan.ir.weight_ring import fetches
from stowplan.passes.greedy_gaps import Timeline, furthest_next_use, timeline
from stowplan.passes.in_place import replaceable
from stowplan.passes.problem import PlanningProblem
from stowplan.passes.takeovers import takeovers
from stowplan.passes.tiling.boxes import Box
from stowplan.passes.tiling.network import Network, Unit
from stowplan.passes.tiling.pieces import Job, Pieces

_NO_GRAPH = Graph("", (), ())


@dataclass(frozen=True, slots=True)
class Replayed:
    """What some tiles cost.

    Attributes:
        over_bytes: bytes by which the largest tile does not fit.
        moved_bytes: bytes between DRAM and chip.
        tiles: how many there are.
        moved: per tensor, the bytes of it that are moved.
        streamed: per unit index, bytes of weights streamed.
        misfits: indices of units some tile of which does not fit.
        needed_bytes: what the largest tile needs on chip.
    """

    over_bytes: int
    moved_bytes: int
    tiles: int
    moved: dict[str, int]
    streamed: dict[int, int]
    misfits: frozenset[int]
    needed_bytes: int = 0


class Replay:
    """Replays tiles of one network; remembers what tiles read, and is mutable only in that."""

    def __init__(self, network: Network, memory: MemorySpec) -> None:
        self._network, self._memory = network, memory
        self._reads: dict[tuple[int, Box, Interval | None], list[tuple[int, str, Box]]] = {}
        self._replaceable: dict[int, frozenset[int]] = {}

    def run(self, jobs: Sequence[Job], pieces: Pieces | None = None) -> Replayed:
        """Cost of ``jobs``, run one after another by themselves."""
        pieces = pieces or Pieces(self._network, jobs, self._memory)
        problem, parents = self._problem(jobs, pieces)
        streamed = self._streamed(jobs)
        capacity = self._memory.capacity_bytes
        demands = [problem.demand(o) for o in range(problem.operators)]
        largest = max(demands, default=0)
        over = max(0, largest - capacity)
        large = (job.unit.index for job, d in zip(jobs, demands, strict=True) if d > capacity)
        order = tuple(range(problem.operators))
        accesses = timeline(problem, order, pairs=takeovers(problem))
        moved = {} if over else self._moved(accesses, parents)
        total = sum(moved.values()) + sum(streamed.values())
        return Replayed(over, total, len(jobs), moved, streamed, frozenset(large), largest)

    def _moved(self, accesses: Timeline, parents: Sequence[str]) -> dict[str, int]:
        capacity = self._memory.capacity_bytes
        if accesses.live_bytes() <= capacity:
            kept = accesses.gaps(1)
        else:
            kept = furthest_next_use(accesses, capacity, write_aware=True)
        moved = dict.fromkeys(parents, 0)
        for v, parent in enumerate(parents):
            # Some rows or columns of an input no tile reads.
            if accesses.steps[v]:
                moved[parent] += accesses.traffic(v, kept[v])
        return moved

    def _streamed(self, jobs: Sequence[Job]) -> dict[int, int]:
        network = self._network
        found: dict[int, int] = {}
        streams = []
        for job in jobs:
            reads = self._read(job.unit, job.box, job.terms)
            boxes = frozenset((name, box) for _, name, box in reads if network.streamed(name))
            streams.append((boxes, sum(network.bytes_of(name, box) for name, box in boxes)))
        needed = fetches(streams, self._memory.kept_weights_bytes)
        for job, (_, size), fetched in zip(jobs, streams, needed, strict=True):
            found[job.unit.index] = found.get(job.unit.index, 0) + size * fetched
        return found

    def _read(
        self, unit: Unit, box: Box, terms: Interval | None = None
    ) -> list[tuple[int, str, Box]]:
        """(operand, tensor, region) of all that a tile reads."""
        key = unit.index, box, terms
        if key not in self._reads:
            reads = unit.reads(box, terms)
            self._reads[key] = [(source.operand, source.tensor, part) for source, part in reads]
        return self._reads[key]

    def _candidates(self, unit: Unit) -> frozenset[int]:
        """Operands that the unit's result may replace."""
        if unit.index not in self._replaceable:
            op = unit.operator
            named = frozenset(source for _, source in op.in_place)
            found = named | replaceable(self._network.graph, op)
            single = len(op.outputs) == 1 and unit.splittable
            self._replaceable[unit.index] = found if single else frozenset()
        return self._replaceable[unit.index]

    def _problem(self, jobs: Sequence[Job], pieces: Pieces) -> tuple[PlanningProblem, list[str]]:
        """The tiles as a planning problem without a graph, and each storage's tensor."""
        rows = _Rows(self._network, self._memory, jobs, pieces)
        reads = [self._read(job.unit, job.box, job.terms) for job in jobs]
        for job, read in zip(jobs, reads, strict=True):
            rows.touch(job, read)
        for job, read in zip(jobs, reads, strict=True):
            rows.add(job, read)
            rows.pairs.append(self._pairs(rows, job))
        problem = PlanningProblem(
            graph=_NO_GRAPH,
            memory=self._memory,
            storages=tuple(rows.storages),
            size=tuple(self._memory.aligned(storage.size_bytes) for storage in rows.storages),
            needs=tuple(rows.needs),
            defines=tuple(rows.defines),
            updates=tuple(rows.updates),
            predecessors=(),
            successors=(),
            in_place=tuple(rows.pairs),
        )
        return problem, rows.parents

    def _pairs(self, rows: "_Rows", job: Job) -> tuple[tuple[int, int], ...]:
        """(result, operand) storages of which the first may replace the second."""
        candidates = self._candidates(job.unit)
        if not candidates or job.terms is not None:
            return ()
        name = job.unit.operator.outputs[0]
        size_of = self._network.bytes_of
        found = []
        for output, box in rows.pieces.meeting(name, job.box):
            for operand, tensor, part in self._read(job.unit, box):
                if operand not in candidates or size_of(tensor, part) != size_of(name, box):
                    continue
                met = rows.pieces.meeting(tensor, part)
                if len(met) == 1 and met[0][1] == part:
                    pair = rows.whole(output), rows.whole(met[0][0])
                    if pair[0] is not None and pair[1] is not None:
                        found.append((pair[0], pair[1]))
        return tuple(found)


class _Rows:
    """Storages and accesses while tiles are added in order; mutable."""

    def __init__(
        self, network: Network, memory: MemorySpec, jobs: Sequence[Job], pieces: Pieces
    ) -> None:
        self.storages: list[Storage] = []
        self.parents: list[str] = []
        self.needs: list[tuple[int, ...]] = []
        self.defines: list[tuple[int, ...]] = []
        self.updates: list[tuple[int, ...]] = []
        self.pairs: list[tuple[tuple[int, int], ...]] = []
        self.pieces = pieces
        self._network, self._memory = network, memory
        units = {job.unit.index for job in jobs}
        self._inside = {name for job in jobs for name in job.unit.operator.outputs}
        self._needed = {
            name
            for name in self._inside
            if not units.issuperset(network.readers.get(name, ()))
            or network.graph.tensor[name].role is Role.OUTPUT
        }
        self._known: set[str] = set()
        self._index: dict[str, int] = {}
        self._alias: dict[str, bool] = {}
        self._written: set[int] = set()
        self._sums = -1
        self._touched: dict[tuple[str, Box], tuple[str, ...]] = {}

    def touch(self, job: Job, reads: Sequence[tuple[int, str, Box]]) -> None:
        """Ask for what a tile touches; the pieces are made from all that is asked for."""
        made = [
            (name, self._written_box(job, i)) for i, name in enumerate(job.unit.operator.outputs)
        ]
        for tensor, box in (*((tensor, box) for _, tensor, box in reads), *made):
            if (tensor, box) not in self._touched:
                met = self.pieces.meeting(tensor, box)
                self._touched[tensor, box] = tuple(name for name, _ in met)

    def _written_box(self, job: Job, position: int) -> Box:
        return self._network.made(job.unit, position, job.box)

    def add(self, job: Job, reads: Sequence[tuple[int, str, Box]]) -> None:
        """Append one tile."""
        read: set[int] = set()
        for _, tensor, box in reads:
            if not self._network.streamed(tensor):
                read |= self._met(tensor, box)
        written: set[int] = set()
        if not job.first:
            read.add(self._sums)
        if job.last:
            for position, name in enumerate(job.unit.operator.outputs):
                written |= self._met(name, self._written_box(job, position))
        else:
            written.add(self._begun(job) if job.first else self._sums)
        fresh = {v for v in written if v not in self._written and v not in read}
        self._written |= written
        self.needs.append(tuple(sorted((read | written) - fresh)))
        self.defines.append(tuple(sorted(fresh)))
        self.updates.append(tuple(sorted(written - fresh)))

    def _begun(self, job: Job) -> int:
        """A new storage for sums that are not complete yet."""
        self._sums = len(self.storages)
        size = self._network.partial_bytes(job.unit, job.box)
        self.storages.append(Storage("", size, False, False, False))
        self.parents.append(job.unit.operator.outputs[0])
        return self._sums

    def whole(self, name: str) -> int | None:
        """Storage that a piece fills; None when it is a part of one."""
        return None if self._alias.get(name, True) else self._index.get(name)

    def _met(self, tensor: str, box: Box) -> set[int]:
        if tensor not in self._known:
            self._enter(tensor)
        index = (self._index.get(name) for name in self._touched[tensor, box])
        return {v for v in index if v is not None}

    def _enter(self, name: str) -> None:
        """Number the storages of a tensor; those without bytes are left out."""
        self._known.add(name)
        described = self._network.graph.tensor[name]
        weight = described.role is Role.WEIGHT
        for piece in self.pieces.tensors(described):
            self._alias[piece.name] = piece.alias is not None
            if piece.alias is not None:
                if piece.alias.base in self._index:
                    self._index[piece.name] = self._index[piece.alias.base]
                continue
            if not piece.size_bytes:
                continue
            self._index[piece.name] = len(self.storages)
            inside = name in self._inside
            self.storages.append(
                Storage(piece.name, piece.size_bytes, weight, not inside, name in self._needed)
            )
            self.parents.append(name)
