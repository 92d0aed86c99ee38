"""How tensors are cut into pieces, and which pieces share a storage.

A tensor is cut where some tile of its producer or of a reader begins or ends. Where the pieces lie
one after another in memory, neighbours are joined into storages of at least ``joined_bytes``, and
tiles read and write views of them: a storage takes whole alignment units, and thousands of tiny
ones would waste most of the scratchpad.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod

from stowplan.ir.graph import Alias, Interval, Tensor
from stowplan.passes.tiling.boxes import Box, extents, full
from stowplan.passes.tiling.network import Network, Unit
from stowplan.passes.tiling.slabs import Steps, boxes, runs

CELLS = 4
"""Storages may be smaller by this factor where a tensor is cut along further dimensions."""


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
        joined_bytes: int,
        slabs: Mapping[str, Steps] | None = None,
    ) -> None:
        self._network = network
        self._joined_bytes = joined_bytes
        cuts: dict[str, list[set[int]]] = {}
        for job in jobs:
            if job.terms is None and job.box == network.whole(job.unit):
                continue
            for tensor, box in job.unit.regions(job.box, job.terms).items():
                self._cut(cuts, tensor, box)
            outputs = job.unit.operator.outputs
            for name in outputs if job.unit.joint else outputs[: len(outputs) == 1]:
                self._cut(cuts, name, job.box)
        self._bounds = {name: [sorted(side) for side in sides] for name, sides in cuts.items()}
        self._whole = {name: full(network.graph.tensor[name].shape) for name in self._bounds}
        self._named: dict[tuple[str, Box], str] = {}
        self._views: dict[tuple[str, Box], dict[Box, None]] = {}
        self._slabs = {name: steps for name, steps in (slabs or {}).items() if name in self._bounds}
        self._storages = {
            name: found
            for name in self._bounds
            if name not in self._slabs and (found := self._joined(name)) is not None
        }

    def _cut(self, cuts: dict[str, list[set[int]]], tensor: str, box: Box) -> None:
        if tensor in self._network.fixed:
            return
        sides = cuts.get(tensor)
        if sides is None:
            shape = self._network.graph.tensor[tensor].shape
            sides = cuts[tensor] = [{0, extent} for extent in shape]
        for side, interval in zip(sides, box, strict=True):
            side.update(interval)

    def _joined(self, name: str) -> tuple[int, list[int]] | None:
        """Dimension and boundaries of storages, if pieces follow one another in memory along it.

        That is the first dimension cut, if those before it have extent one; between two boundaries
        of every other dimension the pieces of a storage then lie one behind another.
        """
        tensor, sides = self._network.graph.tensor[name], self._bounds[name]
        axis = next((axis for axis, side in enumerate(sides) if len(side) > 2), None)
        if axis is None or prod(tensor.shape[:axis]) != 1 or tensor.dtype.bits % 8:
            return None
        cells = prod(len(side) - 1 for side in sides[axis + 1 :])
        row = prod(tensor.shape[axis + 1 :]) * tensor.dtype.bits // (8 * cells)
        least = self._joined_bytes if cells == 1 else self._joined_bytes // CELLS
        bounds = [0]
        for bound in sides[axis][1:]:
            if (bound - bounds[-1]) * row >= least:
                bounds.append(bound)
        extent = tensor.shape[axis]
        if bounds[-1] != extent:
            if len(bounds) > 1:
                bounds.pop()
            bounds.append(extent)
        return axis, bounds

    def tiled(self, tensor: str) -> bool:
        """Whether the tensor lies in several storages."""
        if tensor in self._slabs:
            return self._slabs[tensor] != self._network.graph.tensor[tensor].shape
        if tensor in self._storages:
            axis, bounds = self._storages[tensor]
            others = self._bounds[tensor][axis + 1 :]
            return len(bounds) > 2 or any(len(side) > 2 for side in others)
        return any(len(side) > 2 for side in self._bounds.get(tensor, ()))

    def tensors(self, tensor: Tensor) -> Iterator[Tensor]:
        """The tensors that stand for one: its storages, and the views of them that were asked for.

        Call it after :meth:`meeting` has been asked for all that is read and written.
        """
        if tensor.name not in self._bounds:
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
        if tensor not in self._bounds:
            return [(tensor, full(self._network.graph.tensor[tensor].shape))]
        if tensor in self._slabs:
            return [
                (self._part(tensor, storage, part), part)
                for storage in self.storages(tensor, box)
                for part in runs(storage, box)
            ]
        if tensor not in self._storages:
            return [(self._name(tensor, each), each) for each in self._pieces(tensor, box)]
        axis, bounds = self._storages[tensor]
        found = []
        for storage in self._cells(tensor, box, bounds):
            lower, upper = storage[axis]
            side = (max(lower, box[axis][0]), min(upper, box[axis][1]))
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
        if tensor not in self._bounds:
            return None
        return self._slabs.get(tensor), self._bounds[tensor], self._storages.get(tensor)

    def storages(self, tensor: str, box: Box) -> list[Box]:
        """Storages that share an element with ``box``, of a tensor that has a layout."""
        if tensor in self._slabs:
            return list(boxes(self._network.graph.tensor[tensor], self._slabs[tensor], box))
        if tensor not in self._storages:
            return self._pieces(tensor, box)
        return self._cells(tensor, box, self._storages[tensor][1])

    def _cells(self, tensor: str, box: Box, bounds: list[int]) -> list[Box]:
        """Joined storages that share an element with ``box``."""
        axis = self._storages[tensor][0]
        sides = [*self._bounds[tensor]]
        sides[axis] = bounds
        cells = (tuple(_within(side, *each)) for side, each in zip(sides, box, strict=True))
        return list(product(*cells))

    def _pieces(self, tensor: str, box: Box) -> list[Box]:
        """The pieces that share an element with ``box``."""
        sides = [
            tuple(_within(side, *interval))
            for side, interval in zip(self._bounds[tensor], box, strict=True)
        ]
        return list(product(*sides))

    def _name(self, tensor: str, box: Box) -> str:
        """``x@0:8,16:24``: intervals of the dimensions that are cut; all of it is the tensor."""
        known = self._named.get((tensor, box))
        if known is not None:
            return known
        parts = [
            f"{lower}:{upper}"
            for (lower, upper), side in zip(box, self._bounds[tensor], strict=True)
            if len(side) > 2 or (tensor in self._slabs and side[-1] > 1)
        ]
        name = tensor if box == self._whole[tensor] else f"{tensor}@{','.join(parts)}"
        self._named[tensor, box] = name
        return name


def _within(bounds: list[int], lower: int, upper: int) -> Iterator[tuple[int, int]]:
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
