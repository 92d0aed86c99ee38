"""Is this a packing? A sweep over time that shares no code with any allocator.

Live ranges are kept sorted by address; a buffer that begins is compared with its two neighbours
only, so a million buffers take seconds.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence


def packing_faults(
    lower: Sequence[int],
    upper: Sequence[int],
    size: Sequence[int],
    offset: Sequence[int],
    capacity: int | None = None,
    alignment: int = 1,
) -> tuple[str, ...]:
    """What is wrong with the offsets; empty when nothing is. Buffers go by their position."""
    faults = []
    for b, (units, place) in enumerate(zip(size, offset, strict=True)):
        if place < 0:
            faults.append(f"buffer {b} lies below address 0, at {place}")
        if place % alignment:
            faults.append(f"buffer {b} at {place} is not aligned to {alignment}")
        if capacity is not None and place + units > capacity:
            faults.append(f"buffer {b} ends at {place + units}, beyond {capacity}")
    return (*faults, *_overlaps(lower, upper, size, offset))


def _overlaps(
    lower: Sequence[int], upper: Sequence[int], size: Sequence[int], offset: Sequence[int]
) -> list[str]:
    """Pairs of buffers that share a byte at some moment; each buffer's first one only."""
    real = [b for b in range(len(size)) if size[b] > 0 and lower[b] < upper[b]]
    moments = [(lower[b], 1, b) for b in real] + [(upper[b], 0, b) for b in real]
    live: list[tuple[int, int, int]] = []
    hidden: set[int] = set()
    faults = []
    for _, begins, b in sorted(moments):
        row = (offset[b], offset[b] + size[b], b)
        at = bisect_left(live, row)
        if not begins:
            if b not in hidden:
                del live[at]
            continue
        below = live[at - 1] if at else None
        above = live[at] if at < len(live) else None
        if below is not None and below[1] > row[0]:
            faults.append(f"buffers {below[2]} and {b} overlap at address {row[0]}")
            hidden.add(b)
        elif above is not None and above[0] < row[1]:
            faults.append(f"buffers {above[2]} and {b} overlap at address {above[0]}")
            hidden.add(b)
        else:
            insort(live, row)
    return faults
