"""How tensors are cut into pieces, and what tiles read and write of them."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod

from stowplan.ir.graph import Alias, Interval, Operator, Tensor
from stowplan.ir.memory import MemorySpec
from stowplan.passes.tiling.boxes import Box, extents, full
from stowplan.passes.tiling.lattice import Lattice, finest, without_slivers
from stowplan.passes.tiling.network import Network, Unit
from stowplan.passes.tiling.slabs import Steps, boxes, runs


@dataclass(frozen=True, slots=True)
class Job:
    """One tile operator to be.

    Attributes:
        unit: what it is a part of.
        box: region of the unit's first result.
        terms: of the sums, where it adds only some of them to what the jobs before it added.
    """

    unit: Unit
    box: Box
    terms: Interval | None = None

    @property
    def first(self) -> bool:
        """Whether no job before it has begun its sums."""
        return self.terms is None or self.terms[0] == 0

    @property
    def last(self) -> bool:
        """Whether its sums are complete after it."""
        return self.terms is None or self.terms[1] == self.unit.terms

    def need(self, operand: int) -> Box | None:
        """Region of an operand."""
        return self.unit.need(operand, self.box, self.terms)


class Pieces:
    """How each tensor is cut. Built once from all jobs; remembers which views were asked for.

    Tensors that ``slabs`` names lie in storages of the extents it gives, wherever they are cut.
    """

    def __init__(
        self,
        network: Network,
        jobs: Iterable[Job],
        memory: MemorySpec,
        slabs: Mapping[str, Steps] | None = None,
    ) -> None:
        self._network, self._memory = network, memory
        touched: dict[str, dict[Box, int]] = {}
        written: dict[str, dict[Box, int]] = {}
        for job in jobs:
            if job.terms is None and job.box == network.whole(job.unit):
                continue
            for tensor, box in job.unit.regions(job.box, job.terms).items():
                self._note(touched, tensor, box)
            outputs = job.unit.operator.outputs
            for name in outputs if job.unit.joint else outputs[: len(outputs) == 1]:
                self._note(touched, name, job.box)
                self._note(written, name, job.box)
        self._slabs = {name: steps for name, steps in (slabs or {}).items() if name in touched}
        self._lattices = {
            name: self._lattice(name, regions, written.get(name, {}))
            for name, regions in touched.items()
        }
        self._whole = {name: full(network.graph.tensor[name].shape) for name in touched}
        self._named: dict[tuple[str, Box], str] = {}
        self._views: dict[tuple[str, Box], dict[Box, None]] = {}

    def _note(self, regions: dict[str, dict[Box, int]], tensor: str, box: Box) -> None:
        if tensor not in self._network.fixed:
            found = regions.setdefault(tensor, {})
            found[box] = found.get(box, 0) + 1

    def _lattice(
        self, name: str, touched: Mapping[Box, int], written: Mapping[Box, int]
    ) -> Lattice:
        """Where a tensor is cut; what streams, or lies in slabs, is never read but in part."""
        tensor = self._network.graph.tensor[name]
        if name in self._slabs or self._network.streamed(name):
            return finest(tensor, touched, self._memory)
        return without_slivers(tensor, touched, written, self._memory)

    def hold(self, op: Operator) -> bool:
        """Whether all operands of an operator fit the scratchpad at once."""
        names = {*op.inputs, *op.outputs}
        sizes = (self._network.graph.tensor[name].size_bytes for name in names)
        return sum(map(self._memory.aligned, sizes)) <= self._memory.capacity_bytes

    def tiled(self, tensor: str) -> bool:
        """Whether the tensor lies in several storages."""
        if tensor in self._slabs:
            return self._slabs[tensor] != self._network.graph.tensor[tensor].shape
        lattice = self._lattices.get(tensor)
        return lattice is not None and any(len(side) > 2 for side in lattice.storages)

    def tensors(self, tensor: Tensor) -> Iterator[Tensor]:
        """The tensors that stand for one: its storages, and the views of them that were asked for.

        Call it after :meth:`meeting` has been asked for all that is read and written.
        """
        if tensor.name not in self._lattices:
            yield tensor
            return
        whole = self._whole[tensor.name]
        for storage in self.storages(tensor.name, whole):
            base = self._name(tensor.name, storage)
            yield tensor if storage == whole else _tile(tensor, base, storage)
            for box in self._views.get((tensor.name, storage), ()):
                alias = Alias(base, _offset(tensor, storage, box))
                yield _tile(tensor, self._name(tensor.name, box), box, alias)

    def meeting(self, tensor: str, box: Box) -> list[tuple[str, Box]]:
        """Names and regions of what to read or write for ``box``: per storage, one part of it."""
        if tensor not in self._lattices:
            return [(tensor, full(self._network.graph.tensor[tensor].shape))]
        if tensor in self._slabs:
            return [
                (self._part(tensor, storage, part), part)
                for storage in self.storages(tensor, box)
                for part in runs(storage, box)
            ]
        lattice = self._lattices[tensor]
        axis = lattice.axis
        found = []
        for storage in _cells(lattice.storages, box):
            part = storage
            if axis is not None:
                (lower, upper), (first, last) = storage[axis], box[axis]
                side = (max(lower, first), min(upper, last))
                part = (*storage[:axis], side, *storage[axis + 1 :])
            found.append((self._part(tensor, storage, part), part))
        return found

    def _part(self, tensor: str, storage: Box, part: Box) -> str:
        """Name of a storage or of a view of it, which is noted."""
        if part != storage:
            self._views.setdefault((tensor, storage), {})[part] = None
        return self._name(tensor, part)

    def layout(self, tensor: str) -> object:
        """Equal where a tensor lies in equal storages; None where it is one."""
        if tensor not in self._lattices:
            return None
        return self._slabs.get(tensor), self._lattices[tensor].storages

    def storages(self, tensor: str, box: Box) -> list[Box]:
        """Storages that share an element with ``box``, of a tensor that is cut."""
        if tensor in self._slabs:
            return list(boxes(self._network.graph.tensor[tensor], self._slabs[tensor], box))
        return _cells(self._lattices[tensor].storages, box)

    def _name(self, tensor: str, box: Box) -> str:
        """``x@0:8,16:24``: intervals of the dimensions that are cut; all of it is the tensor."""
        known = self._named.get((tensor, box))
        if known is not None:
            return known
        whole = self._whole[tensor]
        parts = [
            f"{lower}:{upper}"
            for (lower, upper), side, (_, extent) in zip(
                box, self._lattices[tensor].sides, whole, strict=True
            )
            if len(side) > 2 or (tensor in self._slabs and extent > 1)
        ]
        name = tensor if box == whole else f"{tensor}@{','.join(parts)}"
        self._named[tensor, box] = name
        return name


def _cells(sides: Sequence[Sequence[int]], box: Box) -> list[Box]:
    """Cells of a lattice that share an element with ``box``."""
    met = (tuple(_within(side, *each)) for side, each in zip(sides, box, strict=True))
    return list(product(*met))


def _within(bounds: Sequence[int], lower: int, upper: int) -> Iterator[Interval]:
    """The intervals between sorted ``bounds`` that meet ``[lower, upper)``."""
    return pairwise(bounds[bisect_right(bounds, lower) - 1 : bisect_left(bounds, upper) + 1])


def _tile(tensor: Tensor, name: str, box: Box, alias: Alias | None = None) -> Tensor:
    return Tensor(name, extents(box), tensor.dtype, tensor.role, alias, tensor.name, box)


def _offset(tensor: Tensor, storage: Box, box: Box) -> int:
    """Bytes from the start of a storage to a piece that is contiguous in it."""
    elements = 0
    for axis, ((start, _), (lower, _)) in enumerate(zip(storage, box, strict=True)):
        elements += (lower - start) * prod(extents(storage[axis + 1 :]))
    return elements * tensor.dtype.bits // 8
