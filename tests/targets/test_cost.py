"""Costs of operators by kind, and that no kind or shape is beyond the models."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.targets.graphs import single

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Attribute
from stowplan.ir.operator_kinds import KINDS, MICROSOFT
from stowplan.targets.cost import OperatorCost, operator_cost
from stowplan.targets.load import load_target
from stowplan.targets.target import Target

EDGE = load_target("edge-npu")
EYERISS = load_target("eyeriss")


def cost_of(
    kind: str,
    inputs: list[tuple[int, ...]],
    output: tuple[int, ...],
    target: Target = EDGE,
    dtype: DType = DType.INT8,
    epilogue: tuple[str, ...] = (),
    domain: str = "",
    **attributes: Attribute,
) -> OperatorCost:
    graph = single(kind, inputs, output, dtype, attributes, epilogue, domain)
    return operator_cost(graph, graph.operators[0], target)


@pytest.mark.parametrize(
    ("kind", "inputs", "output", "attributes", "macs"),
    [
        ("Conv", [(1, 64, 56, 56), (32, 64, 3, 3)], (1, 32, 56, 56), {}, 56 * 56 * 32 * 64 * 9),
        ("Conv", [(1, 8, 9, 9), (8, 1, 3, 3)], (1, 8, 7, 7), {"group": 8}, 49 * 8 * 9),
        ("Conv", [(1, 8, 9), (6, 4, 3)], (1, 6, 7), {"group": 2}, 7 * 6 * 4 * 3),
        ("QLinearConv", [(1, 3, 8, 8), (4, 3, 1, 1)], (1, 4, 8, 8), {}, 64 * 12),
        ("ConvTranspose", [(1, 6, 5, 5), (6, 4, 2, 2)], (1, 4, 10, 10), {}, 25 * 6 * 16),
        ("Gemm", [(5, 7), (3, 7)], (5, 3), {"transB": 1}, 105),
        ("Gemm", [(7, 5), (7, 3)], (5, 3), {"transA": 1}, 105),
        ("MatMul", [(2, 5, 7), (7, 3)], (2, 5, 3), {}, 210),
        ("MatMul", [(2, 5, 7), (2, 7, 3)], (2, 5, 3), {}, 210),
        ("MatMul", [(7,), (7, 3)], (3,), {}, 21),
        ("MatMul", [(5, 7), (7,)], (5,), {}, 35),
        ("MatMulInteger", [(5, 7), (7, 3)], (5, 3), {}, 105),
        ("Einsum", [(2, 5, 7), (2, 3, 7)], (2, 5, 3), {"equation": "bij,bkj->bik"}, 210),
        (
            "LSTM",
            [(4, 2, 8), (1, 24, 8), (1, 24, 6)],
            (4, 1, 2, 6),
            {"hidden_size": 6},
            4 * 2 * 24 * 8 + 4 * 2 * 24 * 6,
        ),
        ("Attention", [(2, 3, 5, 8)] * 3, (2, 3, 5, 8), {}, 2 * (2 * 3 * 5 * 5 * 8)),
    ],
)
def test_multiply_accumulates(
    kind: str,
    inputs: list[tuple[int, ...]],
    output: tuple[int, ...],
    attributes: dict[str, Attribute],
    macs: int,
) -> None:
    graph = single(kind, inputs, output, attributes=attributes)
    cost = operator_cost(graph, graph.operators[0], EDGE)
    assert cost.macs == macs
    assert cost.compute_cycles >= 1


def test_packed_attention_projects_its_input() -> None:
    cost = cost_of("Attention", [(2, 5, 12), (12, 36)], (2, 5, 12), domain=MICROSOFT, num_heads=3)
    assert cost.macs == 2 * 5 * 12 * 36 + 2 * (2 * 5 * 5 * 12)


def test_grouped_query_attention_counts_query_heads() -> None:
    cost = cost_of(
        "GroupQueryAttention",
        [(1, 4, 32), (1, 4, 16), (1, 4, 16)],
        (1, 4, 32),
        domain=MICROSOFT,
        num_heads=4,
        kv_num_heads=2,
    )
    assert cost.macs == 2 * (4 * 4 * 4 * 8)


def test_epilogue_is_pipelined_behind_the_array() -> None:
    inputs: list[tuple[int, ...]] = [(1, 64, 28, 28), (64, 64, 3, 3)]
    plain = cost_of("Conv", inputs, (1, 64, 28, 28))
    fused = cost_of("Conv", inputs, (1, 64, 28, 28), epilogue=("Relu",))
    assert not plain.holds_vector
    assert fused.holds_vector
    assert fused.array_cycles == plain.array_cycles
    assert fused.compute_cycles == plain.compute_cycles + EDGE.vector.latency_cycles
    assert fused.vector_elements == 64 * 28 * 28


def test_a_long_epilogue_sets_the_pace() -> None:
    fused = cost_of("MatMul", [(512, 1), (1, 512)], (512, 512), epilogue=("Div", "Pow"))
    assert fused.compute_cycles == fused.vector_cycles > fused.array_cycles


def test_depthwise_goes_to_the_faster_unit() -> None:
    inputs: list[tuple[int, ...]] = [(1, 96, 28, 28), (96, 1, 3, 3)]
    wide = cost_of("Conv", inputs, (1, 96, 28, 28), group=96)
    slow = load_target("edge-npu", ["vector.lanes=1"])
    narrow = cost_of("Conv", inputs, (1, 96, 28, 28), slow, group=96)
    assert (wide.engine, narrow.engine) == ("vector", "array")
    assert wide.macs == narrow.macs == 28 * 28 * 96 * 9


def test_vector_operators_take_passes_over_the_data() -> None:
    lanes, latency = EDGE.vector.lanes, EDGE.vector.latency_cycles
    shape = (4, 1280)
    data = 4 * 1280
    assert cost_of("Relu", [shape], shape).compute_cycles == data // lanes + latency
    assert cost_of("Softmax", [shape], shape).compute_cycles == 3 * data // lanes + latency
    wide = cost_of("Relu", [shape], shape, dtype=DType.FLOAT32)
    assert wide.compute_cycles == 4 * data // lanes + latency
    chain = cost_of("Add", [shape, shape], shape, epilogue=("Relu", "Clip"))
    assert chain.compute_cycles == 3 * data // lanes + latency


def test_the_target_overrides_passes() -> None:
    target = load_target(
        "edge-npu",
        ["vector.cycles_per_element.Relu=2.5", "vector.cycles_per_element.default=7"],
    )
    lanes, latency = EDGE.vector.lanes, EDGE.vector.latency_cycles
    relu = cost_of("Relu", [(lanes, 10)], (lanes, 10), target)
    softmax = cost_of("Softmax", [(lanes, 10)], (lanes, 10), target)
    assert relu.compute_cycles == 25 + latency
    assert softmax.compute_cycles == 70 + latency


def test_pooling_and_resizing_count_their_windows() -> None:
    pooled = cost_of("MaxPool", [(1, 8, 8, 8)], (1, 8, 4, 4), kernel_shape=(3, 3))
    assert pooled.vector_elements == 8 * 16 * 9
    everything = cost_of("GlobalAveragePool", [(1, 8, 8, 8)], (1, 8, 1, 1))
    assert everything.vector_elements == 8 * 64
    linear = cost_of("Resize", [(1, 8, 4, 4)], (1, 8, 8, 8), mode="linear")
    assert linear.vector_elements == 4 * 8 * 64
    reduced = cost_of("ReduceMean", [(8, 64)], (8, 1), axes=(1,))
    assert reduced.vector_elements == 8 * 64


def test_slicing_reads_only_what_it_keeps() -> None:
    cost = cost_of("Slice", [(100, 64)], (2, 64))
    assert cost.reads == (("i0", 128),)
    assert cost.writes == (("y", 128),)


def test_wide_operands_slow_the_array_down() -> None:
    inputs: list[tuple[int, ...]] = [(64, 640), (640, 64)]
    cycles = [
        cost_of("MatMul", inputs, (64, 64), dtype=dtype).compute_cycles
        for dtype in (DType.INT8, DType.INT16, DType.FLOAT32)
    ]
    assert cycles == [4 * (640 + 62), 4 * (1280 + 62), 4 * (2560 + 62)]


shapes = st.lists(st.integers(0, 6), max_size=5).map(tuple)
integers = st.integers(-2, 7)
attributes = st.fixed_dictionaries(
    {},
    optional={
        "group": integers,
        "num_heads": integers,
        "kv_num_heads": integers,
        "transA": st.integers(0, 1),
        "transB": st.integers(0, 1),
        "layout": st.integers(0, 1),
        "kernel_shape": st.lists(st.integers(1, 4), max_size=3).map(tuple),
        "equation": st.sampled_from(["ij,jk->ik", "ij,jk", "...i,i->...", ",->", "i,j->"]),
        "K": integers,
        "N": integers,
        "mode": st.sampled_from(["linear", "cubic", "nearest"]),
    },
)


@given(
    st.sampled_from([*KINDS, ("", "NoSuchKind"), ("my.domain", "Thing")]),
    st.lists(shapes, max_size=6),
    shapes,
    attributes,
    st.sampled_from([EDGE, EYERISS]),
    st.sampled_from([DType.INT8, DType.FLOAT32, DType.INT4]),
)
def test_any_operator_has_a_cost(
    kind: tuple[str, str],
    inputs: list[tuple[int, ...]],
    output: tuple[int, ...],
    given_attributes: dict[str, Attribute],
    target: Target,
    dtype: DType,
) -> None:
    graph = single(kind[1], inputs, output, dtype, given_attributes, ("Relu",), kind[0])
    cost = operator_cost(graph, graph.operators[0], target)
    assert cost.compute_cycles >= 1
    assert cost.compute_cycles >= max(cost.array_cycles, 0)
    assert min(cost.array_cycles, cost.vector_cycles, cost.macs, cost.vector_elements) >= 0
    assert all(size >= 0 for _, size in (*cost.reads, *cost.writes))
    slots = target.array.rows * target.array.cols * target.array.count
    assert cost.mac_slots <= slots * max(1, cost.array_cycles)
