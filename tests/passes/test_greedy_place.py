"""Rectangles are placed without overlap, below the capacity."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from stowplan.passes.place import Rectangle, pack_by_size, tightest_hole

rectangle = st.tuples(st.integers(1, 20), st.integers(0, 15), st.integers(1, 8))


@given(st.lists(rectangle, max_size=25), st.integers(20, 120))
@settings(max_examples=150, deadline=None)
def test_packed_rectangles_never_overlap(
    rectangles: list[tuple[int, int, int]], capacity: int
) -> None:
    given_ = [Rectangle(size, start, start + length) for size, start, length in rectangles]
    packing = pack_by_size(given_, capacity)
    live = max(sum(r.size_bytes for r in given_ if r.start <= t < r.end) for t in range(24))
    if packing is None:
        assert sum(r.size_bytes for r in given_) > capacity
        return
    assert live <= packing.height_bytes <= capacity
    assert sorted(number for number, _ in packing.addresses) == list(range(len(given_)))
    require_disjoint([(given_[number], address) for number, address in packing.addresses])
    tops = [given_[number].size_bytes + address for number, address in packing.addresses]
    assert packing.height_bytes == max(tops, default=0)


def require_disjoint(placed: Sequence[tuple[Rectangle, int]]) -> None:
    for i, (one, low) in enumerate(placed):
        assert low >= 0
        for other, start in placed[:i]:
            apart = low + one.size_bytes <= start or start + other.size_bytes <= low
            assert apart or one.end <= other.start or other.end <= one.start


def test_what_finds_no_place_is_split_and_its_parts_are_placed() -> None:
    """The small one lives through both large ones; each leaves room at another end."""
    known = [Rectangle(6, 0, 2), Rectangle(6, 2, 4), Rectangle(5, 1, 3), Rectangle(3, 0, 4)]

    def split(number: int) -> list[Rectangle] | None:
        one = known[number]
        if one.end - one.start < 2:
            return None
        middle = (one.start + one.end) // 2
        parts = [
            Rectangle(one.size_bytes, one.start, middle),
            Rectangle(one.size_bytes, middle, one.end),
        ]
        known.extend(parts)
        return parts

    assert pack_by_size(known[:4], 13) is None
    packing = pack_by_size(known[:4], 14, split)
    assert packing is not None
    require_disjoint([(known[number], address) for number, address in packing.addresses])
    assert pack_by_size(known[:1], 5, lambda number: None) is None


def test_the_tightest_hole_is_chosen_and_the_top_is_last() -> None:
    spans = [(10, 20), (24, 30), (40, 50)]
    assert tightest_hole(spans, 4, 100) == 20
    assert tightest_hole(spans, 9, 100) == 0 or tightest_hole(spans, 9, 100) == 30
    assert tightest_hole(spans, 11, 100) == 50
    assert tightest_hole(spans, 51, 100) is None


def test_overlapping_spans_hide_no_byte() -> None:
    assert tightest_hole([(0, 30), (5, 10)], 5, 40) == 30
