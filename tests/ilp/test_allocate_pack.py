"""The packing decision against brute force."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stowplan.ilp.allocate_pack import pack

Buffers = list[tuple[int, int, int]]


def overlaps(buffers: Buffers, offsets: list[int]) -> bool:
    """Two buffers share a unit of memory at some moment."""
    for (a, x), (b, y) in itertools.combinations(zip(buffers, offsets, strict=True), 2):
        together = a[0] < b[1] and b[0] < a[1]
        if together and x < y + b[2] and y < x + a[2]:
            return True
    return False


def brute_force(buffers: Buffers, capacity: int) -> bool:
    """Some offsets work, by trying every one."""

    def extend(placed: list[int]) -> bool:
        if len(placed) == len(buffers):
            return True
        size = buffers[len(placed)][2]
        return any(
            not overlaps(buffers[: len(placed) + 1], [*placed, offset])
            and extend([*placed, offset])
            for offset in range(capacity - size + 1)
        )

    return extend([])


buffer = st.tuples(st.integers(0, 5), st.integers(1, 4), st.integers(1, 5)).map(
    lambda t: (t[0], t[0] + t[1], t[2])
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(buffer, min_size=1, max_size=8), st.integers(0, 1))
def test_pack_agrees_with_brute_force(buffers: Buffers, extra: int) -> None:
    starts, ends, sizes = np.array(buffers).T
    peak = max(sum(b[2] for b in buffers if b[0] <= t < b[1]) for t in range(10))
    capacity = peak + extra
    packing = pack(starts, ends, sizes, capacity)
    assert packing.proved
    assert (packing.offsets is not None) == brute_force(buffers, capacity)
    if packing.offsets is not None:
        offsets = packing.offsets.tolist()
        assert not overlaps(buffers, offsets)
        assert min(offsets) >= 0
        assert max(o + b[2] for o, b in zip(offsets, buffers, strict=True)) <= capacity
