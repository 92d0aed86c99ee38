"""Address placement of rectangles (size x lifetime) known in advance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Packing:
    """Addresses in the order of the rectangles, and the highest byte used."""

    addresses: tuple[int, ...]
    height_bytes: int


def pack_by_size(
    sizes: Sequence[int], starts: Sequence[int], ends: Sequence[int], capacity_bytes: int
) -> Packing | None:
    """Place the largest rectangles first, each into the tightest hole of its whole lifetime.

    The arena allocation of common inference runtimes: offline greedy by size, ties by the longer
    lifetime.
    Source: Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020.

    Returns:
        None when a rectangle finds no hole below the capacity.
    """
    count = len(sizes)
    by_size = sorted(range(count), key=lambda i: (-sizes[i], starts[i] - ends[i], starts[i], i))
    begun = np.empty(count, dtype=np.int64)
    ended = np.empty(count, dtype=np.int64)
    low = np.empty(count, dtype=np.int64)
    high = np.empty(count, dtype=np.int64)
    addresses = [0] * count
    height = 0
    for placed, i in enumerate(by_size):
        meets = np.flatnonzero((begun[:placed] < ends[i]) & (ended[:placed] > starts[i]))
        spans = sorted(zip(low[meets].tolist(), high[meets].tolist(), strict=True))
        address = tightest_hole(spans, sizes[i], capacity_bytes)
        if address is None:
            return None
        begun[placed], ended[placed] = starts[i], ends[i]
        low[placed], high[placed] = address, address + sizes[i]
        addresses[i] = address
        height = max(height, address + sizes[i])
    return Packing(tuple(addresses), height)


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
        reached = max(reached, high)
    if best is None and reached + size_bytes <= capacity_bytes:
        return reached
    return best
