"""Streamed weights in chunks: what they hold, and what each costs."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import small_target

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.targets.cost import operator_cost
from stowplan.targets.streamed_cost import Part, streamed_cycles, streamed_parts
from stowplan.targets.target import Array, Target, WeightBuffer

DATAFLOWS = ("output_stationary", "weight_stationary", "input_stationary")


def target_of(array: Array, buffer_bytes: int) -> Target:
    buffer = WeightBuffer(size_bytes=buffer_bytes)
    return msgspec.structs.replace(small_target(4096), array=array, weight_buffer=buffer)


def product(m: int, k: int, n: int, left: bool = False, epilogue: tuple[str, ...] = ()) -> Graph:
    """``x w`` or ``w x``."""
    roles = (Role.WEIGHT, Role.INPUT) if left else (Role.INPUT, Role.WEIGHT)
    tensors = (
        Tensor("a", (m, k), DType.INT8, roles[0]),
        Tensor("b", (k, n), DType.INT8, roles[1]),
        Tensor("y", (m, n), DType.INT8, Role.OUTPUT),
    )
    operator = Operator("op", "MatMul", ("a", "b"), ("y",), epilogue=epilogue)
    return Graph("product", tensors, (operator,))


def parts_of(graph: Graph, target: Target, size_bytes: int) -> tuple[Part, ...]:
    return streamed_parts(graph, graph.operators[0], target, size_bytes)


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    return Array(
        rows=draw(st.integers(1, 9)),
        cols=draw(st.integers(1, 9)),
        dataflow=draw(st.sampled_from(DATAFLOWS)),
        fold_mode=draw(st.sampled_from(("drained", "pipelined"))),
        element_stages=draw(st.integers(0, 3)),
        double_buffered=draw(st.booleans()),
        count=draw(st.integers(1, 2)),
    )


extents = st.integers(1, 40)


@settings(max_examples=150, deadline=None)
@given(
    arrays(),
    st.tuples(extents, extents, extents),
    st.integers(4, 600),
    st.booleans(),
    st.sampled_from(((), ("Relu",))),
    st.integers(0, 30),
)
def test_chunks_cover_the_product_and_cost_no_less_than_it(
    array: Array,
    shape: tuple[int, int, int],
    buffer_bytes: int,
    left: bool,
    epilogue: tuple[str, ...],
    beside: int,
) -> None:
    graph, target = product(*shape, left, epilogue), target_of(array, buffer_bytes)
    weights = graph.tensor["a" if left else "b"].elements
    parts = parts_of(graph, target, weights + beside)
    assert parts[0].begin_bytes == 0 and parts[-1].end_bytes == weights + beside
    assert all(one.end_bytes == two.begin_bytes for one, two in pairwise(parts))
    assert all(0 < part.size_bytes <= max(1, buffer_bytes // 2) for part in parts)
    cost = operator_cost(graph, graph.operators[0], target)
    assert sum(part.compute_cycles for part in parts) >= cost.compute_cycles
    assert sum(part.array_cycles for part in parts) >= cost.array_cycles
    held = [part.block for part in parts if part.block]
    if held:
        seen = [
            (major, term)
            for block in held
            for major in range(*block.majors)
            for term in range(*block.terms)
        ]
        assert len(seen) == len(set(seen)) == weights


@settings(max_examples=80, deadline=None)
@given(arrays(), st.tuples(extents, extents, extents), st.integers(1, 3))
def test_whole_folds_one_after_another_cost_nothing_more(
    array: Array, shape: tuple[int, int, int], folds: int
) -> None:
    """Drained folds of one array do not overlap, so that a cut between them is free."""
    drained = msgspec.structs.replace(array, fold_mode="drained", double_buffered=False, count=1)
    if drained.dataflow == "input_stationary":
        drained = msgspec.structs.replace(drained, dataflow="weight_stationary")
    m, k, n = shape
    graph = product(m, k, n)
    target = target_of(drained, 2 * folds * k * drained.cols)
    parts = parts_of(graph, target, k * n)
    cost = operator_cost(graph, graph.operators[0], target)
    assert sum(part.compute_cycles for part in parts) == cost.compute_cycles


def test_chunks_of_whole_folds() -> None:
    """Half of the buffer holds 13 columns of 10 terms: 3 folds of 4 columns."""
    array = Array(
        rows=4, cols=4, dataflow="output_stationary", fold_mode="pipelined", element_stages=0
    )
    graph, target = product(8, 10, 30), target_of(array, 2 * 130)
    parts = parts_of(graph, target, 300)
    assert [part.size_bytes for part in parts] == [120, 120, 60]
    # f folds take (f - 1) max(K, R + C) + K + R + 2 C - 2, twice as many as for 4 rows.
    assert [part.compute_cycles for part in parts] == [5 * 10 + 20, 5 * 10 + 20, 3 * 10 + 20]
    assert operator_cost(graph, graph.operators[0], target).compute_cycles == 15 * 10 + 20


def test_a_fold_larger_than_half_of_the_buffer_is_cut_in_its_terms() -> None:
    array = Array(rows=4, cols=4, dataflow="output_stationary")
    graph, target = product(4, 100, 4, epilogue=("Relu",)), target_of(array, 2 * 160)
    parts = parts_of(graph, target, 400)
    assert [part.block.terms for part in parts if part.block] == [(0, 40), (40, 80), (80, 100)]
    assert [part.array_cycles for part in parts] == [40 + 6, 40 + 6, 20 + 6]
    # Results are complete, and pass the vector unit, with the last chunk.
    assert [bool(part.vector_cycles) for part in parts] == [False, False, True]


def test_a_fold_of_stationary_weights_larger_than_half_of_the_buffer_costs_whole_ones() -> None:
    array = Array(rows=8, cols=8, dataflow="weight_stationary")
    graph, target = product(5, 8, 8), target_of(array, 2 * 24)
    parts = parts_of(graph, target, 64)
    assert [part.size_bytes for part in parts] == [24, 24, 16]
    alone = operator_cost(graph, graph.operators[0], target).compute_cycles
    assert streamed_cycles(graph, graph.operators[0], target, 64) == 3 * alone


def test_streamed_operands_of_a_stationary_input_are_cut_between_terms() -> None:
    """All columns of as many terms as the array has rows: the input is loaded once in all."""
    array = Array(rows=4, cols=4, dataflow="input_stationary")
    graph, target = product(4, 16, 50), target_of(array, 2 * 200)
    parts = parts_of(graph, target, 800)
    assert [part.block.terms for part in parts if part.block] == [(0, 4), (4, 8), (8, 12), (12, 16)]
    cost = operator_cost(graph, graph.operators[0], target)
    assert sum(part.compute_cycles for part in parts) == cost.compute_cycles


def test_groups_stay_whole() -> None:
    tensors = (
        Tensor("x", (1, 12, 8, 8), DType.INT8, Role.INPUT),
        Tensor("w", (24, 2, 3, 3), DType.INT8, Role.WEIGHT),
        Tensor("y", (1, 24, 6, 6), DType.INT8, Role.OUTPUT),
    )
    graph = Graph("g", tensors, (Operator("op", "Conv", ("x", "w"), ("y",), (("group", 6),)),))
    array = Array(rows=4, cols=4, dataflow="weight_stationary")
    parts = parts_of(graph, target_of(array, 2 * 150), 24 * 18)
    assert [part.block.groups for part in parts if part.block] == [(0, 2), (2, 4), (4, 6)]


@pytest.mark.parametrize("size_bytes", [0, 300])
def test_operators_without_a_product_take_equal_shares(size_bytes: int) -> None:
    tensors = (
        Tensor("x", (300,), DType.INT8, Role.INPUT),
        Tensor("w", (300,), DType.INT8, Role.WEIGHT),
        Tensor("y", (300,), DType.INT8, Role.OUTPUT),
    )
    graph = Graph("add", tensors, (Operator("op", "Add", ("x", "w"), ("y",)),))
    target = target_of(Array(rows=4, cols=4), 2 * 120)
    parts = parts_of(graph, target, size_bytes)
    assert [part.size_bytes for part in parts] == ([120, 120, 60] if size_bytes else [])
    cost = operator_cost(graph, graph.operators[0], target)
    cycles = streamed_cycles(graph, graph.operators[0], target, size_bytes)
    assert cycles == cost.compute_cycles
