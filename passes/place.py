"""Address placement of rectangles (size x lifetime) known in advance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Bytes needed during half-open steps.

    Attributes:
        size_bytes: bytes.
        start: first step.
        end: one past the last step.
        rank: rectangles of a lower rank are placed first.
    """

    size_bytes: int
    start: int
    end: int
    rank: int = 0


Split = Callable[[int], Sequence[Rectangle] | None]
"""Parts that replace the numbered rectangle when it finds no place; None if it has none."""


@dataclass(frozen=True, slots=True)
class Packing:
    """Where rectangles lie.

    Attributes:
        addresses: (number, address) of each rectangle placed. The parts of a split are numbered on
            from the rectangles given, in the order in which they were made.
        height_bytes: the highest byte used.
    """

    addresses: tuple[tuple[int, int], ...]
    height_bytes: int


def pack_by_size(
    rectangles: Sequence[Rectangle], capacity_bytes: int, split: Split = lambda number: None
) -> Packing | None:
    """Place the largest rectangles first, each into the tightest hole of its whole lifetime.

    The arena allocation of common inference runtimes: offline greedy by size, ties by the longer
    lifetime; here a rectangle without a hole may be split.
    Source: Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020.

    Returns:
        None when a rectangle that cannot be split finds no hole below the capacity.
    """
    known = list(rectangles)
    queue = [_urgency(rectangle, number) for number, rectangle in enumerate(known)]
    heapify(queue)
    placed = _Placed(len(known))
    addresses: list[tuple[int, int]] = []
    height = 0
    while queue:
        number = heappop(queue)[-1]
        rectangle = known[number]
        spans = placed.meeting(rectangle)
        address = tightest_hole(spans, rectangle.size_bytes, capacity_bytes)
        if address is None:
            parts = split(number)
            if parts is None:
                return None
            for part in parts:
                heappush(queue, _urgency(part, len(known)))
                known.append(part)
            continue
        placed.add(rectangle, address)
        addresses.append((number, address))
        height = max(height, address + rectangle.size_bytes)
    return Packing(tuple(addresses), height)


def _urgency(rectangle: Rectangle, number: int) -> tuple[int, ...]:
    length = rectangle.end - rectangle.start
    return rectangle.rank, -rectangle.size_bytes, -length, rectangle.start, number


class _Placed:
    """Rectangles placed so far, as columns; mutable.

    Columns [count]: start, end, low and high address.
    """

    def __init__(self, expected: int) -> None:
        self._columns = np.empty((4, max(1, expected)), dtype=np.int64)
        self._count = 0

    def add(self, rectangle: Rectangle, address: int) -> None:
        """Note where ``rectangle`` lies."""
        if self._count == self._columns.shape[1]:
            self._columns = np.concatenate([self._columns, np.empty_like(self._columns)], axis=1)
        high = address + rectangle.size_bytes
        self._columns[:, self._count] = rectangle.start, rectangle.end, address, high
        self._count += 1

    def meeting(self, rectangle: Rectangle) -> list[tuple[int, int]]:
        """Sorted address intervals of those alive at some step of ``rectangle``."""
        start, end, low, high = self._columns[:, : self._count]
        meets = np.flatnonzero((start < rectangle.end) & (end > rectangle.start))
        return sorted(zip(low[meets].tolist(), high[meets].tolist(), strict=True))


def tightest_hole(
    spans: Sequence[tuple[int, int]], size_bytes: int, capacity_bytes: int
) -> int | None:
    """Lowest address of the smallest hole between ``spans`` that holds ``size_bytes``.

    The hole above the last span counts as the largest, so that the arena grows only when it must.

    Args:
        spans: occupied half-open address intervals, sorted; they may overlap.
        size_bytes: bytes to place.
        capacity_bytes: end of the address range.
    """
    best: int | None = None
    best_slack = capacity_bytes + 1
    reached = 0
    for low, high in spans:
        slack = low - reached - size_bytes
        if 0 <= slack < best_slack:
            best, best_slack = reached, slack
        if high > reached:
            reached = high
    if best is None and reached + size_bytes <= capacity_bytes:
        return reached
    return best
