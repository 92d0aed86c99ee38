"""Boxes: half-open intervals per dimension, the regions tiles cover."""

from collections.abc import Iterable
from math import prod

from stowplan.ir.graph import Interval, Tensor

Box = tuple[Interval, ...]


def full(shape: Iterable[int]) -> Box:
    """The box of a whole tensor."""
    return tuple([(0, extent) for extent in shape])


def extents(box: Box) -> tuple[int, ...]:
    """Shape of a box."""
    return tuple([upper - lower for lower, upper in box])


def bytes_of(tensor: Tensor, box: Box) -> int:
    """Bytes the elements of ``box`` occupy."""
    return -(-prod(extents(box)) * tensor.dtype.bits // 8)


def meet(left: Box, right: Box) -> bool:
    """Whether two boxes share an element."""
    return all(a < d and c < b for (a, b), (c, d) in zip(left, right, strict=True))


def hull(left: Box, right: Box) -> Box:
    """The smallest box around two."""
    return tuple([(min(a, c), max(b, d)) for (a, b), (c, d) in zip(left, right, strict=True)])


def cut_evenly(extent: int, parts: int) -> tuple[int, ...]:
    """``parts + 1`` boundaries that cut ``[0, extent)`` into parts that differ by one at most."""
    return tuple(extent * i // parts for i in range(parts + 1))
