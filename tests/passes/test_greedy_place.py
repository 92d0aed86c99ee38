"""Rectangles are placed without overlap, below the capacity."""

from hypothesis import given, settings
from hypothesis import strategies as st

from stowplan.passes.place import pack_by_size, tightest_hole

rectangle = st.tuples(st.integers(1, 20), st.integers(0, 15), st.integers(1, 8))


@given(st.lists(rectangle, max_size=25), st.integers(20, 120))
@settings(max_examples=150, deadline=None)
def test_packed_rectangles_never_overlap(
    rectangles: list[tuple[int, int, int]], capacity: int
) -> None:
    sizes = [size for size, _, _ in rectangles]
    starts = [start for _, start, _ in rectangles]
    ends = [start + length for _, start, length in rectangles]
    packing = pack_by_size(sizes, starts, ends, capacity)
    live = max(
        (sum(z for z, a, b in zip(sizes, starts, ends, strict=True) if a <= t < b))
        for t in range(24)
    )
    if packing is None:
        assert sum(sizes) > capacity
        return
    assert live <= packing.height_bytes <= capacity
    spans = list(zip(packing.addresses, sizes, starts, ends, strict=True))
    for i, (low, size, start, end) in enumerate(spans):
        assert 0 <= low <= packing.height_bytes - size
        for other, other_size, other_start, other_end in spans[:i]:
            apart = low + size <= other or other + other_size <= low
            assert apart or end <= other_start or other_end <= start


def test_the_tightest_hole_is_chosen_and_the_top_is_last() -> None:
    spans = [(10, 20), (24, 30), (40, 50)]
    assert tightest_hole(spans, 4, 100) == 20
    assert tightest_hole(spans, 9, 100) == 0 or tightest_hole(spans, 9, 100) == 30
    assert tightest_hole(spans, 11, 100) == 50
    assert tightest_hole(spans, 51, 100) is None


def test_overlapping_spans_hide_no_byte() -> None:
    assert tightest_hole([(0, 30), (5, 10)], 5, 40) == 30
