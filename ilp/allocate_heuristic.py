"""Fast packings without proof.

Source: first fit decreasing by size or area, Y. Pisarchyk and J. Lee, "Efficient Memory Management
for Deep Neural Net Inference", 2020, section 5.
"""

from collections.abc import Iterator

import numba
import numpy as np

from stowplan.ilp.allocate_instance import Boxes
from stowplan.ilp.allocate_kernels import Ints
from stowplan.ilp.allocate_sweep import sweep_fit

MAX_FIRST_FIT = 10_000
"""Buffers up to which first fit in a free order is tried; its time grows with their square."""


@numba.njit(cache=True)
def _lowest_gap(bottoms: Ints, tops: Ints, count: int, size: int) -> int:
    """Lowest offset where ``size`` units fit between ``count`` occupied ranges."""
    order = np.argsort(bottoms[:count])
    floor = 0
    for index in order:
        if bottoms[index] - floor >= size:
            return floor
        floor = max(floor, tops[index])
    return floor


@numba.njit(cache=True)
def first_fit(lower: Ints, upper: Ints, size: Ints, fixed: Ints, order: Ints) -> Ints:
    """Offsets [n] of first fit in ``order``; buffers with ``fixed >= 0`` keep that offset.

    Each buffer in turn takes the lowest offset where it overlaps none live together with it.
    """
    n = len(size)
    offset = fixed.copy()
    bottoms = np.empty(n, np.int64)
    tops = np.empty(n, np.int64)
    for b in order:
        count = 0
        for other in range(n):
            if offset[other] >= 0 and lower[other] < upper[b] and lower[b] < upper[other]:
                bottoms[count] = offset[other]
                tops[count] = offset[other] + size[other]
                count += 1
        offset[b] = _lowest_gap(bottoms, tops, count, size[b])
    return offset


def quick_packings(boxes: Boxes, seed: Ints | None = None) -> Iterator[Ints]:
    """Offsets [n] by one heuristic after the other, cheapest first.

    Args:
        boxes: what to pack.
        seed: offsets of a nearby problem [n]; their order is tried first.
    """
    found = boxes.found
    free = np.flatnonzero(boxes.fixed < 0).astype(np.int64)
    small = len(free) <= MAX_FIRST_FIT
    keys = [-boxes.size * boxes.lifetime, -boxes.size, -boxes.lifetime] if small else []
    if seed is not None and small:
        keys.insert(0, seed)
    for key in keys:
        order = free[np.argsort(key[free], kind="stable")]
        yield first_fit(found.first, found.last, boxes.size, boxes.fixed, order)
    if len(free) == len(boxes.size):
        yield sweep_fit(found.first, found.last, boxes.size)
        yield sweep_fit(found.count - found.last, found.count - found.first, boxes.size)
    elif not small:
        order = free[np.argsort(found.first[free], kind="stable")]
        yield first_fit(found.first, found.last, boxes.size, boxes.fixed, order)
