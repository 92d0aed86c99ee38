"""Live ranges and the bytes alive at each step."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.passes.graph_language import GraphBuilder, random_order, sampled_model

from stowplan.errors import UsageError
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Role
from stowplan.ir.storage import storage_model
from stowplan.passes.liveness import LiveRange, liveness


def _fork() -> Graph:
    built = GraphBuilder()
    built.tensor("x", (8,), Role.INPUT, DType.INT8)
    built.tensor("w", (100,), Role.WEIGHT, DType.INT8)
    for name, size in (("a", 2), ("b", 4)):
        built.tensor(name, (size,), dtype=DType.INT8)
        built.op("Conv", ("x", "w"), (name,))
    built.tensor("y", (1,), Role.OUTPUT, DType.INT8)
    built.op("Conv", ("a", "b"), ("y",))
    return built.build()


def test_ranges_peak_and_largest_operator() -> None:
    found = liveness(_fork())
    assert found.ranges == (
        LiveRange("x", 0, 2, 8, False),
        LiveRange("a", 0, 3, 2, False),
        LiveRange("b", 1, 3, 4, False),
        LiveRange("y", 2, 3, 1, False),
    )
    assert found.bytes_per_step == (10, 14, 7)
    assert found.operator_bytes == (10, 12, 7)
    assert (found.peak_bytes, found.largest_operator_bytes) == (14, 12)


def test_weights_count_when_asked() -> None:
    assert liveness(_fork(), weights=True).bytes_per_step == (110, 114, 7)


def test_an_order_moves_the_ranges() -> None:
    found = liveness(_fork(), ("conv_1", "conv_0", "conv_2"))
    assert found.bytes_per_step == (12, 14, 7)
    with pytest.raises(UsageError, match="exactly once"):
        liveness(_fork(), ("conv_0", "conv_0", "conv_2"))


def test_an_empty_graph_needs_nothing() -> None:
    found = liveness(Graph("empty", (), ()))
    assert (found.peak_bytes, found.largest_operator_bytes) == (0, 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_bytes_per_step_agree_with_a_direct_count(seed: int, order_seed: int) -> None:
    graph = sampled_model(seed, 20)
    order = random_order(graph, order_seed)
    found = liveness(graph, [graph.operators[i].name for i in order])
    model = storage_model(graph)
    touched = [{access.storage for access in model.accesses[i]} for i in order]
    for step, alive in enumerate(found.bytes_per_step):
        before = set().union(*touched[: step + 1])
        after = set().union(*touched[step:])
        names = {i for i in before & after if not model.storages[i].weight}
        assert alive == sum(model.storages[i].size_bytes for i in names)
    assert found.peak_bytes >= found.largest_operator_bytes
