"""Strided regions: closed forms against trying and against listing every byte."""

from functools import cache
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from stowplan.ir.graph import Interval
from stowplan.simulator.descriptors import Region, joined, region_of, regions_of

law = settings(max_examples=200, deadline=None)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[Interval, ...]]:
    """A shape of up to four dimensions and a box in it, not empty."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    lowers = [draw(st.integers(0, extent - 1)) for extent in shape]
    uppers = [draw(st.integers(a + 1, n)) for a, n in zip(lowers, shape, strict=True)]
    return shape, tuple(zip(lowers, uppers, strict=True))


def bytes_of(shape: tuple[int, ...], box: tuple[Interval, ...], item: int, base: int) -> list[int]:
    """Addresses of the bytes of a box, element by element."""
    found = []
    for element in product(*(range(*side) for side in box)):
        number = 0
        for index, extent in zip(element, shape, strict=True):
            number = number * extent + index
        found += [base + number * item + i for i in range(item)]
    return found


@law
@given(boxes(), st.integers(1, 4), st.integers(0, 300))
def test_a_region_holds_the_bytes_of_its_box(
    case: tuple[tuple[int, ...], tuple[Interval, ...]], item: int, base: int
) -> None:
    shape, box = case
    region = region_of(shape, box, item, base)
    expected = bytes_of(shape, box, item, base)
    assert [b for lower, upper in region.runs for b in range(lower, upper)] == expected
    assert region.size_bytes == len(expected)
    # Runs are maximal: no two touch.
    assert tuple(joined(region.runs)) == region.runs


@law
@given(boxes(), st.integers(1, 4), st.integers(0, 300), st.integers(1, 40))
def test_widened_bytes_are_those_of_the_runs(
    case: tuple[tuple[int, ...], tuple[Interval, ...]], item: int, base: int, burst: int
) -> None:
    region = region_of(*case, item, base)
    listed = sum(
        len({b // burst for b in range(lower, upper)}) * burst for lower, upper in region.runs
    )
    assert sum(run.widened_bytes(burst) for run in regions_of(region.runs)) == listed
    assert region.widened_bytes(burst) == listed


@cache
def fewest_boxes(extents: tuple[int, ...], most: int) -> int:
    """Fewest boxes with at most ``most`` sides longer than one that fill a box: by trying cuts."""
    if sum(extent > 1 for extent in extents) <= most:
        return 1
    return min(
        fewest_boxes((*extents[:axis], cut, *extents[axis + 1 :]), most)
        + fewest_boxes((*extents[:axis], extents[axis] - cut, *extents[axis + 1 :]), most)
        for axis, extent in enumerate(extents)
        for cut in range(1, extent)
    )


@law
@given(boxes(), st.integers(1, 3))
def test_descriptors_are_the_fewest(
    case: tuple[tuple[int, ...], tuple[Interval, ...]], dimensions: int
) -> None:
    region = region_of(*case, 1, 0)
    extents = tuple(times for times, _ in region.repeats)
    assert region.descriptors(dimensions) == fewest_boxes(extents, dimensions - 1)


@law
@given(boxes())
def test_more_dimensions_never_take_more_descriptors(
    case: tuple[tuple[int, ...], tuple[Interval, ...]],
) -> None:
    region = region_of(*case, 2, 0)
    counts = [region.descriptors(dimensions) for dimensions in range(1, 6)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == len(region.runs) and counts[-1] == 1


def test_rows_of_an_image_are_one_run_and_columns_are_not() -> None:
    shape = (1, 3, 8, 16)
    rows = region_of(shape, ((0, 1), (0, 1), (2, 4), (0, 16)), 1, 100)
    assert rows == Region(132, 32)
    stripes = region_of(shape, ((0, 1), (0, 3), (2, 4), (0, 16)), 1, 0)
    assert stripes == Region(32, 32, ((3, 128),))
    corner = region_of(shape, ((0, 1), (0, 3), (0, 2), (0, 4)), 1, 0)
    assert corner == Region(0, 4, ((3, 128), (2, 16)))
    assert [corner.descriptors(n) for n in (1, 2, 3)] == [6, 2, 1]
    # Four bytes of a burst of sixteen each.
    assert corner.widened_bytes(16) == 6 * 16
    # Columns of a plane that all rows share join into one dimension.
    columns = region_of((3, 8, 16), ((0, 3), (0, 8), (0, 4)), 1, 0)
    assert columns == Region(0, 4, ((24, 16),))


def test_nothing_is_moved_for_an_empty_box() -> None:
    region = region_of((4, 4), ((1, 1), (0, 2)), 1, 0)
    assert region.runs == ()
    assert region.widened_bytes(16) == 0
