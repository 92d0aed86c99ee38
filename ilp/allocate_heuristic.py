"""Fast packings without proof: first fit in a given order.

Buffers are placed one after the other at the lowest offset where they overlap nothing live at the
same time. Meant for up to tens of thousands of buffers.

Source: greedy by size / first fit decreasing, Y. Pisarchyk and J. Lee, "Efficient Memory
Management for Deep Neural Net Inference", 2020, section 5.
"""

import numba
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


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
    """Offsets [n] of first fit in ``order`` [n]; buffers with ``fixed >= 0`` keep that offset."""
    n = len(size)
    offset = np.full(n, -1, np.int64)
    bottoms = np.empty(n, np.int64)
    tops = np.empty(n, np.int64)
    for b in range(n):
        if fixed[b] >= 0:
            offset[b] = fixed[b]
    for b in order:
        if offset[b] >= 0:
            continue
        count = 0
        for other in range(n):
            if offset[other] >= 0 and lower[other] < upper[b] and lower[b] < upper[other]:
                bottoms[count] = offset[other]
                tops[count] = offset[other] + size[other]
                count += 1
        offset[b] = _lowest_gap(bottoms, tops, count, size[b])
    return offset
