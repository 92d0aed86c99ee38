"""Closed forms against an array stepped clock by clock, and against published RTL counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowplan.errors import InternalError
from stowplan.targets.array_registers import step_output_stationary, step_product
from stowplan.targets.gemm_cost import Gemm, fold_cycles, gemm_cost
from stowplan.targets.target import Array, Dataflow

arrays = st.builds(
    Array,
    rows=st.integers(1, 5),
    cols=st.integers(1, 5),
    dataflow=st.sampled_from(["output_stationary", "weight_stationary", "input_stationary"]),
    fold_mode=st.sampled_from(["drained", "pipelined"]),
    element_stages=st.sampled_from([None, 0, 1, 4]),
    double_buffered=st.booleans(),
)
extent = st.integers(1, 13)


@given(arrays, extent, extent, extent, st.integers(0, 2**32 - 1))
def test_stepped_arrays_multiply_and_take_the_closed_form(
    array: Array, m: int, k: int, n: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    left, right = random.integers(-128, 128, (m, k)), random.integers(-128, 128, (k, n))
    stepped = step_product(left, right, array)
    np.testing.assert_array_equal(stepped.product, left @ right)
    assert stepped.cycles == gemm_cost(Gemm(m, k, n), array).cycles


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 9))
def test_pipelined_folds_cannot_follow_closer(rows: int, cols: int, k: int) -> None:
    array = Array(rows=rows, cols=cols, fold_mode="pipelined")
    left, right = np.ones((3 * rows, k), np.int64), np.ones((k, cols), np.int64)
    if k >= rows + cols:
        stepped = step_output_stationary(left, right, array, 1)
        assert stepped.cycles == gemm_cost(Gemm(3 * rows, k, cols), array).cycles
        return
    with pytest.raises(InternalError, match="output register"):
        step_output_stationary(left, right, array, rows + cols - 1)


# (rows, cols, terms, folds, clocks of the RTL): an open array with stationary outputs.
OUTPUT_STATIONARY_RTL = [
    (4, 4, 16, 1, 28),
    (4, 4, 16, 8, 140),
    (4, 8, 32, 2, 84),
    (8, 4, 16, 8, 144),
    (8, 8, 64, 8, 536),
    (16, 16, 64, 8, 560),
    (16, 16, 256, 2, 560),
]


@pytest.mark.parametrize(("rows", "cols", "terms", "folds", "clocks"), OUTPUT_STATIONARY_RTL)
def test_equals_pipelined_rtl(rows: int, cols: int, terms: int, folds: int, clocks: int) -> None:
    array = Array(rows=rows, cols=cols, fold_mode="pipelined")
    assert fold_cycles(array, folds, terms) == clocks
    assert gemm_cost(Gemm(rows * folds, terms, cols), array).cycles == clocks


@pytest.mark.parametrize(
    ("side", "terms", "clocks"),
    [(8, 8, 46), (8, 32, 184), (16, 64, 376)],
)
def test_equals_weight_stationary_rtl(side: int, terms: int, clocks: int) -> None:
    """The published counts leave out the loads: one row per clock and fold."""
    array = Array(rows=side, cols=side, dataflow="weight_stationary", fold_mode="pipelined")
    loads = terms
    assert gemm_cost(Gemm(side, terms, side), array).cycles == clocks + loads
    hidden = Array(
        rows=side,
        cols=side,
        dataflow="weight_stationary",
        fold_mode="pipelined",
        double_buffered=True,
    )
    assert gemm_cost(Gemm(side, terms, side), hidden).cycles == clocks + side


DATAFLOWS: list[Dataflow] = ["output_stationary", "weight_stationary", "input_stationary"]


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 90), st.integers(1, 9))
def test_pipelined_output_stationary_never_slower_than_alone(
    rows: int, cols: int, terms: int, folds: int
) -> None:
    array = Array(rows=rows, cols=cols, fold_mode="pipelined")
    alone = fold_cycles(array, 1, terms)
    assert alone + (folds - 1) * terms <= fold_cycles(array, folds, terms) <= folds * alone


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_double_buffering_hides_all_loads_but_the_first(dataflow: Dataflow) -> None:
    plain = Array(rows=6, cols=4, dataflow=dataflow)
    hidden = Array(rows=6, cols=4, dataflow=dataflow, double_buffered=True)
    saved = fold_cycles(plain, 7, 10) - fold_cycles(hidden, 7, 10)
    assert saved == (0 if dataflow == "output_stationary" else 6 * 6)
