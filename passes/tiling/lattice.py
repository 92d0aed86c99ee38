"""Where a tensor is cut into pieces, and which pieces share a storage.

A tensor is cut where some tile of its producer or of a reader begins or ends. Where pieces lie one
after another in memory, neighbours are joined into storages, and tiles read and write views of
them: a storage takes whole alignment units, and thousands of tiny ones would waste most of the
scratchpad.

Readers cut differently, each with halos, may still leave slivers that mostly hold padding, and
storages of which each holds a little of what it needs. Where tiles hold much more than what they
touch for that, cuts that only readers ask for are left out: a reader then holds a whole piece of
which it needs a part. Cuts of the producer stay, so no tile waits for one that it does not need.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
from numpy.typing import NDArray

from stowplan.ir.graph import Tensor
from stowplan.ir.memory import MemorySpec
from stowplan.passes.tiling.boxes import Box, bytes_of

JOINED_SHARE = 64
"""Contiguous pieces smaller than the scratchpad divided by this share a storage."""
JOINED_UNITS = 4
"""Alignment units that storages of such pieces have at least."""
CELLS = 4
"""Storages may be smaller by this factor where a tensor is cut along further dimensions."""
WASTE = 1.5
"""Bytes tiles hold over those they touch from which cuts are left out."""

Touched = Mapping[Box, int]
"""Regions that tiles read or write, and how many do."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """Boundaries of the pieces of a tensor, and of the storages they share.

    Attributes:
        sides: sorted boundaries of pieces per dimension, from 0 to the extent.
        axis: dimension along which pieces share storages; None where each is one of its own.
        bounds: boundaries of storages along that dimension.
    """

    sides: tuple[tuple[int, ...], ...]
    axis: int | None = None
    bounds: tuple[int, ...] = ()

    @property
    def storages(self) -> tuple[tuple[int, ...], ...]:
        """Boundaries of storages per dimension."""
        if self.axis is None:
            return self.sides
        return (*self.sides[: self.axis], self.bounds, *self.sides[self.axis + 1 :])


def finest(tensor: Tensor, touched: Touched, memory: MemorySpec) -> Lattice:
    """A tensor cut wherever a tile that touches it begins or ends."""
    sides = (
        sorted({0, extent, *(bound for box in touched for bound in box[axis])})
        for axis, extent in enumerate(tensor.shape)
    )
    return _joined(tensor, tuple(map(tuple, sides)), _joined_bytes(memory))


def without_slivers(
    tensor: Tensor, touched: Touched, written: Touched, memory: MemorySpec
) -> Lattice:
    """The finest lattice, or where tiles hold too much under it one under which they hold less.

    Args:
        tensor: what is cut.
        touched: regions read or written.
        written: those of them that are written; their cuts stay.
        memory: the scratchpad.
    """
    found = finest(tensor, touched, memory)
    if all(len(side) <= 2 for side in found.sides) or _sound(tensor, found, memory):
        return found
    needed = sum(bytes_of(tensor, box) * times for box, times in touched.items())
    held = _Held(tensor, touched, memory)
    least = held.bytes(found)
    if least < WASTE * needed:
        return found
    sides = found.sides
    for axis in (None, *reversed(range(len(sides)))):
        trials = (found.sides,) if axis is None else _coarser(found.sides, sides, written, axis)
        for trial in trials:
            for lattice in _choices(tensor, trial, memory):
                size = held.bytes(lattice)
                if size < least or (size == least and trial != found.sides):
                    found, least = lattice, size
    return found


def _sound(tensor: Tensor, lattice: Lattice, memory: MemorySpec) -> bool:
    """Whether tiles cannot hold too much: every piece a storage, the least with little padding."""
    if lattice.storages != lattice.sides:
        return False
    least = prod(min(upper - lower for lower, upper in pairwise(side)) for side in lattice.sides)
    least = least * tensor.dtype.bits // 8
    return least + memory.alignment_bytes < WASTE * least


def _joined_bytes(memory: MemorySpec) -> int:
    """Least bytes of storages of joined pieces."""
    return max(JOINED_UNITS * memory.alignment_bytes, memory.capacity_bytes // JOINED_SHARE)


def _choices(
    tensor: Tensor, sides: tuple[tuple[int, ...], ...], memory: MemorySpec
) -> list[Lattice]:
    """Pieces joined into storages as large as usual, smaller ones, and none."""
    usual = _joined_bytes(memory)
    sizes = (usual, usual // CELLS, memory.alignment_bytes, 1)
    return list(dict.fromkeys(_joined(tensor, sides, size) for size in sizes))


def _joined(tensor: Tensor, sides: tuple[tuple[int, ...], ...], least_bytes: int) -> Lattice:
    """The pieces, joined where they follow one another in memory along a dimension.

    That is the first dimension cut, if those before it have extent one; between two boundaries
    of every other dimension the pieces of a storage then lie one behind another.
    """
    axis = next((axis for axis, side in enumerate(sides) if len(side) > 2), None)
    if axis is None or prod(tensor.shape[:axis]) != 1 or tensor.dtype.bits % 8:
        return Lattice(sides)
    cells = prod(len(side) - 1 for side in sides[axis + 1 :])
    row = prod(tensor.shape[axis + 1 :]) * tensor.dtype.bits // (8 * cells)
    least = least_bytes if cells == 1 else least_bytes // CELLS
    bounds = [0]
    for bound in sides[axis][1:]:
        if (bound - bounds[-1]) * row >= least:
            bounds.append(bound)
    extent = tensor.shape[axis]
    if bounds[-1] != extent:
        if len(bounds) > 1:
            bounds.pop()
        bounds.append(extent)
    return Lattice(sides, axis, tuple(bounds))


def _coarser(
    best: tuple[tuple[int, ...], ...],
    finest: tuple[tuple[int, ...], ...],
    written: Touched,
    axis: int,
) -> Iterator[tuple[tuple[int, ...], ...]]:
    """``best`` with cuts along one dimension left out that lie close to their neighbours."""
    fixed = sorted(
        {finest[axis][0], finest[axis][-1], *(bound for box in written for bound in box[axis])}
    )
    before, after = best[:axis], best[axis + 1 :]
    spacing, extent = 2, finest[axis][-1]
    while len(fixed) < len(finest[axis]) and spacing <= 2 * extent:
        yield (*before, _spaced(finest[axis], fixed, spacing), *after)
        spacing *= 2


def _spaced(side: Sequence[int], fixed: Sequence[int], spacing: int) -> tuple[int, ...]:
    """The fixed cuts, and of the others those as far as that from their neighbours."""
    found: list[int] = []
    for lower, upper in pairwise(fixed):
        found.append(lower)
        for cut in side:
            if lower < cut <= upper - spacing and cut - found[-1] >= spacing:
                found.append(cut)
    return (*found, fixed[-1])


class _Held:
    """Measures what tiles hold of a tensor."""

    def __init__(self, tensor: Tensor, touched: Touched, memory: MemorySpec) -> None:
        self._bits, self._unit = tensor.dtype.bits, memory.alignment_bytes
        shape = (len(touched), len(tensor.shape), 2)
        self._regions = np.array(list(touched), dtype=np.int64).reshape(shape)
        self._times = np.array(list(touched.values()), dtype=np.int64)

    def bytes(self, lattice: Lattice) -> int:
        """Bytes of the storages that each region meets, over all of them."""
        return int((self._met(lattice.storages) * self._times).sum())

    def _met(self, sides: Sequence[Sequence[int]]) -> NDArray[np.int64]:
        """Bytes per region, from sums over all storages before every corner of it."""
        before = self._sizes(sides)
        for axis in range(len(sides)):
            before = before.cumsum(axis)
        before = np.pad(before, [(1, 0)] * len(sides))
        corners = [
            (
                np.searchsorted(side, self._regions[:, axis, 0], side="right") - 1,
                np.searchsorted(side, self._regions[:, axis, 1], side="left"),
            )
            for axis, side in enumerate(sides)
        ]
        found = np.zeros(len(self._regions), dtype=np.int64)
        for choice in np.ndindex(*(2,) * len(sides)):
            at = tuple(corner[upper] for corner, upper in zip(corners, choice, strict=True))
            found += (-1) ** (len(sides) - sum(choice)) * before[at]
        return found

    def _sizes(self, sides: Sequence[Sequence[int]]) -> NDArray[np.int64]:
        """Bytes that each storage takes."""
        sizes = np.full((1,) * len(sides), self._bits, dtype=np.int64)
        for axis, side in enumerate(sides):
            lengths = [upper - lower for lower, upper in pairwise(side)]
            shape = [-1 if each == axis else 1 for each in range(len(sides))]
            sizes = sizes * np.array(lengths, dtype=np.int64).reshape(shape)
        return -(-sizes // (8 * self._unit)) * self._unit
