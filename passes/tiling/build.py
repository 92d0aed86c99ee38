"""Build the tiled graph from groups: tile tensors, tile operators, in depth-first order.

A tile operator reads the pieces its regions meet and writes those inside its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from stowplan.ir.graph import Attribute, Graph, Operator, Tensor
from stowplan.passes.in_place import replaceable
from stowplan.passes.kinds import REINTERPRETATIONS
from stowplan.passes.tiling.boxes import Box, extents
from stowplan.passes.tiling.choose import Group
from stowplan.passes.tiling.grids import jobs_of_grid
from stowplan.passes.tiling.network import Network, partial_name
from stowplan.passes.tiling.pieces import Job, Pieces
from stowplan.passes.tiling.stripes import chain_tiles


def jobs_of(network: Network, groups: Sequence[Group]) -> list[Job]:
    """All tiles in the order in which they run."""
    return [job for group in groups for job in _jobs(network, group)]


def _jobs(network: Network, group: Group) -> Iterator[Job]:
    if group.chain is None:
        unit = group.units[0]
        whole = network.whole(unit)
        one = (Job(unit, whole),)
        yield from one if group.grid is None else jobs_of_grid(unit, whole, group.grid)
        return
    tiles = chain_tiles(network, group.units, group.chain.loops)
    if tiles is None:
        tiles = ((unit, network.whole(unit)) for unit in group.units)
    yield from (Job(unit, part) for unit, part in tiles)


def build(
    network: Network,
    jobs: Sequence[Job],
    pieces: Pieces,
    dissolve: bool = False,
) -> Graph:
    """The tiled graph; operators that nothing cuts stay as they are.

    Args:
        network: the graph to tile.
        jobs: its tiles in the order in which they run.
        pieces: what they read and write.
        dissolve: views disappear into their readers even where no tensor is cut.
    """
    graph = network.graph
    if not dissolve and uncut(network, jobs, pieces):
        return graph
    sunk = sunk_views(network, pieces)
    kept = [view for view in network.views if sunk.isdisjoint(view.outputs)]
    builder = _Builder(network, pieces, sunk)
    operators = [builder.operator(job) for job in jobs]
    tensors = [
        tile
        for tensor in graph.tensors
        if tensor.name not in sunk
        for tile in pieces.tensors(tensor)
    ]
    tensors += builder.sums
    return _with_views(graph.replace(tuple(tensors), tuple(operators)), kept)


def uncut(network: Network, jobs: Sequence[Job], pieces: Pieces) -> bool:
    """Whether the jobs are the graph's own operators, and its views can stay."""
    whole = (job.terms is None and job.box == network.whole(job.unit) for job in jobs)
    return not network.apart and all(whole) and all(map(pieces.hold, network.views))


def sunk_views(network: Network, pieces: Pieces) -> frozenset[str]:
    """Results of views that disappear into their readers."""
    return frozenset(name for name in network.graph.tensor if _sinks(network, pieces, name))


def _sinks(network: Network, pieces: Pieces, name: str) -> bool:
    """Whether a view disappears into its readers.

    One that only reinterprets a tensor which nothing cuts stays: it costs nothing, provided that
    both fit until they become one storage. Others would later make their parts one storage, which
    is more than the tiles were sized for.
    """
    view = network.view(name)
    if view is None:
        return False
    if view.kind not in REINTERPRETATIONS or not pieces.hold(view):
        return True
    return any(pieces.tiled(each) or _sinks(network, pieces, each) for each in view.inputs)


def _with_views(graph: Graph, views: Sequence[Operator]) -> Graph:
    """Put views back, each right after the last of what it reads has been written.

    What a view reads may have been written piece by piece, under the names of views of it.
    """
    if not views:
        return graph
    written = {
        graph.resolve(name)[0]: i for i, op in enumerate(graph.operators) for name in op.outputs
    }
    after: dict[int, list[Operator]] = {}
    for view in views:
        at = max((written.get(graph.resolve(name)[0], -1) for name in view.inputs), default=-1)
        after.setdefault(at, []).append(view)
        written |= {graph.resolve(name)[0]: at for name in view.outputs}
    operators = [*after.get(-1, ())]
    for i, op in enumerate(graph.operators):
        operators += (op, *after.get(i, ()))
    return graph.replace(operators=tuple(operators))


class _Builder:
    """Makes tile operators one after another; mutable.

    Attributes:
        sums: tensors that hold sums which are not complete yet, or elements picked so far.
    """

    def __init__(self, network: Network, pieces: Pieces, sunk: frozenset[str]) -> None:
        self.sums: list[Tensor] = []
        self._network, self._pieces, self._sunk = network, pieces, sunk
        self._numbers: dict[int, int] = {}

    def operator(self, job: Job) -> Operator:
        """The operator of a job; the job's own where nothing cuts it."""
        op = job.unit.operator
        network, pieces = self._network, self._pieces
        if self._sunk.isdisjoint(op.inputs) and not is_tile(network, pieces, job):
            return op
        number = self._numbers.get(job.unit.index, -1) + 1
        self._numbers[job.unit.index] = number
        inputs, shapes = self._inputs(job)
        outputs, results = self._outputs(job)
        attributes: dict[str, Attribute] = dict(op.attributes)
        epilogue = op.epilogue
        if job.terms is not None:
            attributes["tile_terms"] = (*job.terms, job.unit.terms)
            attributes |= {"tile_picks": 1} if job.unit.picks else {}
            joined = "Where" if job.unit.picks else "Add"
            epilogue = (joined,) * (not job.first) + op.epilogue * job.last
            sums = self._sums(job, f"{op.name}@{number}:{partial_name(job.unit)}")
            if not job.first:
                inputs.append(sums.name)
                shapes += _described(1, job.box)
            if not job.last:
                outputs, results = [sums.name], [*_described(1, job.box)]
        attributes |= {"tile_inputs": tuple(shapes), "tile_outputs": tuple(results)}
        pairs = _pairs(network, pieces, job, inputs, outputs) if job.terms is None else ()
        return replace(
            op,
            name=f"{op.name}@{number}",
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            attributes=tuple(sorted(attributes.items())),
            epilogue=epilogue,
            nodes=job.unit.nodes,
            in_place=pairs,
            parent=op.name,
            region=job.box,
        )

    def _inputs(self, job: Job) -> tuple[list[str], list[int]]:
        names: list[str] = []
        shapes: list[int] = []
        per_operand: list[list[tuple[str, Box]]] = [[] for _ in job.unit.operator.inputs]
        for source, box in job.unit.reads(job.box, job.terms):
            per_operand[source.operand] += self._pieces.meeting(source.tensor, box)
        for operand, found in enumerate(per_operand):
            unique = dict(found)
            names += unique
            shapes += _described(len(unique), job.need(operand))
        return names, shapes

    def _outputs(self, job: Job) -> tuple[list[str], list[int]]:
        names: list[str] = []
        shapes: list[int] = []
        for position, name in enumerate(job.unit.operator.outputs):
            box = self._network.made(job.unit, position, job.box)
            written = self._pieces.meeting(name, box)
            names += (each for each, _ in written)
            shapes += _described(len(written), box)
        return names, shapes

    def _sums(self, job: Job, name: str) -> Tensor:
        """The tensor that holds what the parts before this one have added up or picked."""
        if job.first:
            self.sums.append(Tensor(name, extents(job.box), job.unit.partial))
        return self.sums[-1]


def is_tile(network: Network, pieces: Pieces, job: Job) -> bool:
    """Whether the job differs from the operator it is a part of."""
    touched = [source.tensor for source in job.unit.sources]
    tiled = any(pieces.tiled(name) for name in (*touched, *job.unit.operator.outputs))
    return tiled or job.terms is not None or job.box != network.whole(job.unit)


def _described(count: int, box: Box | None) -> tuple[int, ...]:
    """Tiles of an operand, its rank and its extents within this tile."""
    shape = () if box is None else extents(box)
    return (count, len(shape), *shape)


def _pairs(
    network: Network, pieces: Pieces, job: Job, inputs: Sequence[str], outputs: Sequence[str]
) -> tuple[tuple[int, int], ...]:
    """(output, input) pieces of which the first may replace the second byte for byte."""
    op = job.unit.operator
    if len(op.outputs) != 1 or not job.unit.splittable:
        return ()
    candidates = {source for _, source in op.in_place} | replaceable(network.graph, op)
    if not candidates:
        return ()
    boxes = dict(pieces.meeting(op.outputs[0], job.box))
    found: set[tuple[int, int]] = set()
    for position, output in enumerate(outputs):
        size = network.bytes_of(op.outputs[0], boxes[output])
        for source, box in job.unit.reads(boxes[output]):
            if source.operand not in candidates or network.bytes_of(source.tensor, box) != size:
                continue
            found |= {
                (position, i)
                for piece, region in pieces.meeting(source.tensor, box)
                if region == box
                for i, name in enumerate(inputs)
                if name == piece
            }
    return tuple(sorted(found))
