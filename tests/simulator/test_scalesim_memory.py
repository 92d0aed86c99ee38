"""Stalls of SCALE-Sim's buffers: counts it reported, and limits that follow from its rules."""

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowplan.simulator.scalesim_memory import ScaleSimMemory, stall_cycles
from stowplan.targets.gemm_cost import Gemm
from stowplan.targets.target import Array, Dataflow

FLOWS: dict[str, Dataflow] = {name[0] + "s": name for name in get_args(Dataflow)}

REPORTED = (
    # m, k, n, side, dataflow, KiB and elements per cycle of each buffer, corrected, published
    (64, 64, 64, 32, "os", 2, 2, 7268, 7347),
    (70, 33, 45, 8, "os", 2, 2, 5324, None),
    (70, 33, 45, 16, "is", 2, 2, 5952, None),
    (64, 64, 64, 8, "ws", 8, 4, 1411, None),
    (64, 64, 64, 16, "is", 8, 4, 790, None),
    (32, 500, 32, 32, "os", 2, 2, 7196, 7662),
    (32, 500, 32, 32, "os", 8, 4, 2674, 3554),
    (32, 500, 32, 32, "ws", 8, 4, 17778, 18362),
    (64, 64, 64, 32, "os", 8, 4, 0, 0),
)
"""Counts of SCALE-Sim 3.0.0, as published and with its double count corrected."""


def memory_of(kib: int, rate: int, counts_twice: bool = False) -> ScaleSimMemory:
    size = kib * 1024
    return ScaleSimMemory((size, size, size), (rate, rate, rate), counts_twice)


@pytest.mark.parametrize("row", REPORTED, ids=str)
def test_stalls_are_those_that_scale_sim_reported(row: tuple[int, ...]) -> None:
    m, k, n, side, flow, kib, rate, corrected, published = row
    array = Array(rows=side, cols=side, dataflow=FLOWS[str(flow)])
    assert stall_cycles(Gemm(m, k, n), array, memory_of(kib, rate)) == corrected
    if published is not None:
        assert stall_cycles(Gemm(m, k, n), array, memory_of(kib, rate, True)) == published


shapes = st.tuples(*[st.integers(1, 24)] * 3)


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(1, 6), st.integers(1, 6), st.sampled_from(sorted(FLOWS)))
def test_buffers_that_hold_everything_twice_never_stall(
    shape: tuple[int, int, int], rows: int, cols: int, flow: str
) -> None:
    array = Array(rows=rows, cols=cols, dataflow=FLOWS[flow])
    gemm = Gemm(*shape)
    # Partial sums pass through the results' buffer once per fold.
    assert stall_cycles(gemm, array, memory_of(64, 1)) == 0


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(1, 6), st.integers(1, 6), st.integers(1, 8))
def test_inputs_stationary_is_the_transposed_product(
    shape: tuple[int, int, int], rows: int, cols: int, rate: int
) -> None:
    m, k, n = shape
    inputs, weights = (Array(rows=rows, cols=cols, dataflow=FLOWS[flow]) for flow in ("is", "ws"))
    sizes, rates = (150, 250, 200), (rate, rate + 1, rate + 2)
    found = stall_cycles(Gemm(m, k, n), inputs, ScaleSimMemory(sizes, rates))
    turned = ScaleSimMemory((250, 150, 200), (rate + 1, rate, rate + 2))
    assert found == stall_cycles(Gemm(n, k, m), weights, turned)
