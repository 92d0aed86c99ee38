"""Where tensors are cut: what tiles hold is counted right, and leaving cuts out makes it less."""

from itertools import pairwise
from math import prod

from hypothesis import given, settings
from hypothesis import strategies as st

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Tensor
from stowplan.ir.memory import MemorySpec
from stowplan.passes.tiling.boxes import Box, extents, meet
from stowplan.passes.tiling.lattice import Lattice, finest, without_slivers

SHAPE = (1, 5, 12, 14)
MEMORY = MemorySpec(4_096, 16)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    found = []
    for extent in SHAPE:
        lower = draw(st.integers(0, extent - 1))
        found.append((lower, draw(st.integers(lower + 1, extent))))
    return tuple(found)


@st.composite
def grids(draw: st.DrawFn) -> list[Box]:
    """Tiles of a writer: a grid over all of the tensor."""
    tiles: list[Box] = [()]
    for extent in SHAPE:
        cuts = sorted({0, extent, *draw(st.lists(st.integers(0, extent), max_size=2))})
        sides = list(pairwise(cuts))
        tiles = [(*tile, side) for tile in tiles for side in sides]
    return tiles


def held(tensor: Tensor, lattice: Lattice, touched: dict[Box, int]) -> int:
    """Bytes of the storages that each region meets, storage by storage."""
    storages: list[Box] = [()]
    for side in lattice.storages:
        storages = [(*storage, each) for storage in storages for each in pairwise(side)]
    total = 0
    for box, times in touched.items():
        for storage in storages:
            if meet(box, storage):
                size = -(-prod(extents(storage)) * tensor.dtype.bits // 8)
                total += times * MEMORY.aligned(size)
    return total


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    grids(),
    st.lists(boxes(), min_size=1, max_size=12),
    st.sampled_from([DType.INT8, DType.FLOAT32, DType.INT4]),
)
def test_tiles_hold_no_more_and_cuts_of_the_writer_stay(
    tiles: list[Box], reads: list[Box], dtype: DType
) -> None:
    tensor = Tensor("x", SHAPE, dtype)
    written = dict.fromkeys(tiles, 1)
    touched = dict(written)
    for box in reads:
        touched[box] = touched.get(box, 0) + 3
    before = finest(tensor, touched, MEMORY)
    after = without_slivers(tensor, touched, written, MEMORY)
    assert held(tensor, after, touched) <= held(tensor, before, touched)
    for axis, side in enumerate(after.sides):
        assert {bound for box in tiles for bound in box[axis]} <= set(side) <= {*before.sides[axis]}
        assert side[0] == 0
        assert side[-1] == SHAPE[axis]
    if after.axis is not None:
        assert {*after.bounds} <= {*after.sides[after.axis]}


def test_slivers_between_readers_are_left_out() -> None:
    """Two readers whose tiles begin a column apart hold whole pieces rather than four bytes."""
    tensor = Tensor("x", (1, 1, 8, 32), DType.FLOAT32)
    touched: dict[Box, int] = {((0, 1), (0, 1), (0, 8), (0, 32)): 1}
    written = dict(touched)
    for first in range(0, 31, 2):
        for row in range(8):
            sides = ((0, 1), (0, 1), (row, row + 1))
            touched[(*sides, (first, first + 2))] = 1
            touched[(*sides, (first + 1, min(32, first + 3)))] = 1
    before = finest(tensor, touched, MEMORY)
    after = without_slivers(tensor, touched, written, MEMORY)
    assert len(after.sides[3]) < len(before.sides[3])
    assert held(tensor, after, touched) < held(tensor, before, touched)


def test_a_scalar_is_never_cut() -> None:
    tensor = Tensor("x", (), DType.FLOAT32)
    assert without_slivers(tensor, {(): 2}, {(): 1}, MEMORY) == Lattice(())


def test_what_wastes_little_is_cut_wherever_tiles_begin() -> None:
    tensor = Tensor("x", (1, 4, 16, 64), DType.FLOAT32)
    touched: dict[Box, int] = {
        ((0, 1), (0, 4), (row, min(16, row + 3)), (0, 64)): 1 for row in range(0, 16, 2)
    }
    assert without_slivers(tensor, touched, {}, MEMORY) == finest(tensor, touched, MEMORY)
