"""The comparison with public simulators: row handling, page blocks and the model of one core."""

import pytest
from benchmarks.array import Row, filled, onnxim, rtl, scale_sim
from benchmarks.array_onnxim import BYTES_PER_CYCLE, Core, gemm_cycles, tile_sizes
from hypothesis import given
from hypothesis import strategies as st

SMALL = Core(side=8, scratchpad_bytes=65536, accumulator_bytes=16384, element_bytes=2)
extent = st.integers(1, 200)


@given(extent, extent, extent)
def test_core_is_never_faster_than_its_array_or_its_memory(m: int, k: int, n: int) -> None:
    blocks = -(-m // SMALL.side) * -(-k // SMALL.side) * -(-n // SMALL.side)
    cycles = gemm_cycles(m, k, n, SMALL)
    assert cycles >= (blocks - 1) * SMALL.side
    assert cycles * BYTES_PER_CYCLE >= (m + n) * k * SMALL.element_bytes


@given(extent, extent, extent)
def test_two_tiles_fit_the_memories(m: int, k: int, n: int) -> None:
    rows, terms, cols = tile_sizes(m, k, n, SMALL)
    assert 2 * rows * cols * SMALL.element_bytes <= SMALL.accumulator_bytes
    assert 2 * (rows + cols) * terms * SMALL.element_bytes <= SMALL.scratchpad_bytes
    assert all(size and size % SMALL.side == 0 for size in (rows, terms, cols))


def scale_row(**changes: str) -> Row:
    row = {
        "layer": "a",
        "kind": "gemm",
        "M": "64",
        "N": "64",
        "K": "64",
        "array_rows": "8",
        "array_cols": "8",
        "dataflow": "os",
        "total_cycles": "4991",
        "stall_cycles": "0",
        "simulator": "program",
    }
    return row | changes


def test_scale_sim_rows_are_judged_by_their_cycles() -> None:
    stalled = scale_row(total_cycles="5000", stall_cycles="9")
    section = scale_sim([scale_row(), stalled, scale_row(total_cycles="4992")])
    assert (section.ok, section.missed) == (2, 1)
    assert section.summary == (("gemm, no stalls", 2, 1), ("gemm, stalls", 1, 1))


def test_rtl_misses_are_listed() -> None:
    rows = [
        {"R": "4", "C": "4", "K": "16", "tiles": "8", "total_cycles": "140"},
        {"R": "4", "C": "4", "K": "16", "tiles": "8", "total_cycles": "141"},
    ]
    section = rtl(rows)
    assert section.missed == 1
    assert any("141 clocks, ours 140" in str(row[0]) for row in section.summary)


@pytest.mark.parametrize(("reported", "mark"), [(4373, "ok"), (3000, "miss")])
def test_onnxim_rows_are_judged_by_their_difference(reported: int, mark: str) -> None:
    row = {
        "M": "64",
        "N": "64",
        "K": "64",
        "array": "8",
        "spad_kb": "64",
        "accum_kb": "16",
        "precision_bytes": "2",
        "total_cycles": str(reported),
    }
    assert onnxim([row]).rows[0][-1] == mark


def test_blocks_of_the_page_are_replaced_again_and_again() -> None:
    section = scale_sim([scale_row()])
    page = "before\n<!-- benchmarks.array: scale-sim -->\nold\n<!-- end -->\nafter\n"
    once = filled(page, [section])
    assert "old" not in once
    assert once.startswith("before\n") and once.endswith("<!-- end -->\nafter\n")
    assert "1 ok, 0 miss." in once
    assert filled(once, [section]) == once
    with pytest.raises(SystemExit, match="no block"):
        filled("nothing here", [section])
