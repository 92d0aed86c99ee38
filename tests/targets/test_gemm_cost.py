"""Array cycles against published counts and against counting folds one by one."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowplan.ir.dtypes import DType
from stowplan.targets.gemm_cost import Gemm, gemm_cost, mac_rate
from stowplan.targets.target import Array, Dataflow

# (m, k, n, rows, cols, dataflow, cycles reported by SCALE-Sim 3.0.0 without memory stalls);
# the program counts from zero, so a layer takes one cycle more.
SCALE_SIM: list[tuple[int, int, int, int, int, Dataflow, int]] = [
    (64, 64, 64, 8, 8, "output_stationary", 4991),
    (64, 64, 64, 8, 8, "input_stationary", 5503),
    (64, 64, 64, 16, 16, "weight_stationary", 1759),
    (70, 33, 45, 16, 16, "output_stationary", 944),
    (70, 33, 45, 8, 8, "weight_stationary", 2759),
    (1, 128, 128, 16, 16, "input_stationary", 1391),
    (129, 17, 65, 16, 16, "weight_stationary", 1749),
    (100, 90, 60, 12, 14, "output_stationary", 5129),
    (100, 90, 60, 12, 14, "input_stationary", 6143),
    (100, 90, 60, 16, 64, "weight_stationary", 1163),
    (128, 768, 3072, 128, 128, "weight_stationary", 73439),
]
DATAFLOWS: list[Dataflow] = ["output_stationary", "weight_stationary", "input_stationary"]
extent = st.integers(1, 40)
side = st.integers(1, 9)


@pytest.mark.parametrize(("m", "k", "n", "rows", "cols", "dataflow", "cycles"), SCALE_SIM)
def test_equals_scale_sim(
    m: int, k: int, n: int, rows: int, cols: int, dataflow: Dataflow, cycles: int
) -> None:
    array = Array(rows=rows, cols=cols, dataflow=dataflow)
    assert gemm_cost(Gemm(m, k, n), array).cycles == cycles + 1


def step_output_stationary(m: int, k: int, n: int, rows: int, cols: int) -> int:
    """Cycles of output-stationary folds, found by following operands through the array.

    Unit (i, j) sees term t in cycle i + j + t of its fold; the fold ends with its last unit.
    """
    cycles = 0
    for _ in range(0, m, rows):
        for _ in range(0, n, cols):
            last = max(i + j + t for i in range(rows) for j in range(cols) for t in range(k))
            cycles += last + 1
    return cycles


@given(extent, extent, extent, side, side)
def test_output_stationary_folds_follow_the_operands(
    m: int, k: int, n: int, rows: int, cols: int
) -> None:
    array = Array(rows=rows, cols=cols, dataflow="output_stationary")
    assert gemm_cost(Gemm(m, k, n), array).cycles == step_output_stationary(m, k, n, rows, cols)


@given(extent, extent, extent, st.integers(1, 20), side, side, st.sampled_from(DATAFLOWS))
def test_bounds_hold_for_grouped_products(
    m: int,
    k: int,
    n: int,
    groups: int,
    rows: int,
    cols: int,
    dataflow: Dataflow,
) -> None:
    array = Array(rows=rows, cols=cols, dataflow=dataflow)
    gemm = Gemm(m, k, n, groups)
    cost = gemm_cost(gemm, array)
    alone = gemm_cost(Gemm(m, k, n), array)
    assert cost.macs == m * k * n * groups
    assert cost.cycles * rows * cols >= cost.macs
    assert cost.cycles <= groups * alone.cycles
    assert cost.left_reads >= m * k * groups
    assert cost.right_reads >= k * n * groups


@given(extent, extent, extent, side, side, st.integers(1, 5))
def test_several_arrays_share_folds(
    m: int, k: int, n: int, rows: int, cols: int, count: int
) -> None:
    one = gemm_cost(Gemm(m, k, n), Array(rows=rows, cols=cols)).cycles
    many = gemm_cost(Gemm(m, k, n), Array(rows=rows, cols=cols, count=count)).cycles
    assert one <= many * count
    assert many <= one


def test_depthwise_products_are_packed_along_the_diagonal() -> None:
    array = Array(rows=16, cols=16, dataflow="weight_stationary")
    # Four products of 4 terms and one column fill the 16 rows of one fold; 16 of 9 terms fill the
    # columns of ceil(16 * 9 / 16) folds.
    assert gemm_cost(Gemm(100, 4, 1, 64), array).cycles == 16 * (100 + 46)
    assert gemm_cost(Gemm(100, 9, 1, 64), array).cycles == 4 * 9 * (100 + 46)


def test_nothing_to_multiply_costs_nothing() -> None:
    assert gemm_cost(Gemm(0, 3, 3), Array(rows=2, cols=2)).cycles == 0
    assert gemm_cost(Gemm(3, 0, 3, 7), Array(rows=2, cols=2)).cycles == 0


@pytest.mark.parametrize(
    ("dtype", "rate"),
    [
        (DType.INT8, Fraction(1)),
        (DType.INT4, Fraction(1)),
        (DType.UINT16, Fraction(1, 2)),
        (DType.INT64, Fraction(1, 8)),
        (DType.FLOAT8, Fraction(1, 3)),
        (DType.FLOAT16, Fraction(1, 3)),
        (DType.FLOAT32, Fraction(1, 4)),
    ],
)
def test_rates_by_type(dtype: DType, rate: Fraction) -> None:
    table = {"8": 1.0, "16": 0.5, "32": 0.25, "f16": 1 / 3}
    array = Array(rows=1, cols=1, macs_per_unit=table)
    assert float(mac_rate(array, dtype)) == pytest.approx(float(rate))


def test_without_a_table_every_type_runs_at_one() -> None:
    assert mac_rate(Array(rows=1, cols=1), DType.FLOAT64) == 1


def test_a_slower_rate_stretches_the_stream_only() -> None:
    array = Array(rows=8, cols=8, dataflow="output_stationary")
    assert gemm_cost(Gemm(8, 10, 8), array, Fraction(1, 4)).cycles == 40 + 14
    assert gemm_cost(Gemm(8, 10, 8), array, Fraction(3)).cycles == 4 + 14
