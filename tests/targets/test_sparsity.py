"""Sparse weights: terms left, against encoders that store real weights; cycles; element rates."""

from dataclasses import replace
from fractions import Fraction

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.targets.graphs import single

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Attribute, Graph, Role
from stowplan.targets.cost import OperatorCost, operator_cost
from stowplan.targets.gemm_cost import Gemm, gemm_cost, mac_rate
from stowplan.targets.load import load_target
from stowplan.targets.sparsity import kept_terms
from stowplan.targets.target import Array, Sparsity, Target

EDGE = load_target("edge-npu")


def array_with(sparsity: Sparsity) -> Array:
    return msgspec.structs.replace(EDGE.array, weight_sparsity=sparsity)


@given(st.integers(1, 200), st.integers(1, 8), st.integers(1, 8))
def test_structured_keeps_so_many_of_every_block(terms: int, kept: int, block: int) -> None:
    array = array_with(Sparsity(kind="structured", kept=kept, block=block))
    blocks = [range(terms)[i : i + block] for i in range(0, terms, block)]
    assert kept_terms(array, terms) == sum(min(kept, len(each)) for each in blocks)


def stored(weights: list[bool], longest: int) -> int:
    """Weights a run-length encoder stores: non-zeros, and zeros after ``longest`` zeros."""
    count = run = 0
    for weight in weights:
        if weight or run == longest:
            count, run = count + 1, 0
        else:
            run += 1
    return count


@pytest.mark.parametrize("density", [0.05, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("run_bits", [1, 2, 4])
def test_run_length_is_what_an_encoder_stores_on_average(density: float, run_bits: int) -> None:
    array = array_with(Sparsity(kind="run_length", density=density, run_bits=run_bits))
    weights = (np.random.default_rng(1).random(200_000) < density).tolist()
    expected = stored(weights, (1 << run_bits) - 1)
    assert kept_terms(array, len(weights)) == pytest.approx(expected, rel=0.01)


@given(st.integers(1, 300), st.integers(1, 90), st.integers(1, 90))
def test_sparsity_saves_cycles_alone(m: int, k: int, n: int) -> None:
    gemm = Gemm(m, k, n)
    dense = gemm_cost(gemm, EDGE.array)
    sparse = gemm_cost(gemm, array_with(Sparsity(kind="structured")), weights=True)
    assert sparse.cycles <= dense.cycles
    kept = (sparse.left_reads, sparse.right_reads, sparse.macs)
    assert kept == (dense.left_reads, dense.right_reads, dense.macs)
    assert gemm_cost(gemm, array_with(Sparsity(kind="structured"))) == dense


def with_weights(graph: Graph) -> Graph:
    tensors = tuple(replace(t, role=Role.WEIGHT) if t.name == "i1" else t for t in graph.tensors)
    return graph.replace(tensors=tensors)


def test_half_of_the_weights_take_half_of_the_terms() -> None:
    target = msgspec.structs.replace(EDGE, array=array_with(Sparsity(kind="structured")))
    graph = single("MatMul", [(320, 4096), (4096, 320)], (320, 320))
    product = operator_cost(graph, graph.operators[0], target)
    layer = operator_cost(with_weights(graph), graph.operators[0], target)
    assert product == operator_cost(graph, graph.operators[0], EDGE)
    # 100 folds of 2048 terms instead of 4096, each with the same fill and drain.
    assert product.array_cycles - layer.array_cycles == 100 * 2048
    assert layer.mac_slots * 2 == product.mac_slots


@pytest.mark.parametrize(
    ("dtype", "rate"),
    [
        (DType.INT4, 4),
        (DType.INT8, 2),
        (DType.INT16, 1),
        (DType.BFLOAT16, Fraction(1, 2)),
        (DType.FLOAT16, Fraction(1, 4)),
        (DType.FLOAT32, Fraction(1, 8)),
        (DType.INT32, Fraction(1, 2)),
    ],
)
def test_every_element_type_has_its_rate(dtype: DType, rate: Fraction) -> None:
    rates = {"4": 4.0, "8": 2.0, "16": 1.0, "bf16": 0.5, "f16": 0.25, "f32": 0.125}
    assert mac_rate(Array(rows=4, cols=4, macs_per_unit=rates), dtype) == rate


def convolution(
    kind: str,
    shapes: list[tuple[int, ...]],
    output: tuple[int, ...],
    target: Target = EDGE,
    **attributes: Attribute,
) -> OperatorCost:
    graph = single(kind, shapes, output, attributes=attributes)
    return operator_cost(graph, graph.operators[0], target)


def test_a_dilated_convolution_costs_its_positions_and_taps() -> None:
    plain = convolution("Conv", [(1, 16, 20, 20), (8, 16, 3, 3)], (1, 8, 16, 16))
    dilated = convolution(
        "Conv", [(1, 16, 20, 20), (8, 16, 3, 3)], (1, 8, 16, 16), dilations=(2, 2)
    )
    assert plain == dilated
    assert dilated.macs == 16 * 16 * 8 * 16 * 9


def test_a_transposed_convolution_multiplies_every_input_by_the_kernel_and_adds_overlaps() -> None:
    cost = convolution("ConvTranspose", [(1, 16, 10, 10), (16, 8, 3, 3)], (1, 8, 21, 21))
    assert cost.macs == 100 * 16 * 8 * 9
    assert cost.array_cycles == gemm_cost(Gemm(100, 16, 72), EDGE.array).cycles
    assert cost.vector_elements == 100 * 72


def test_depth_wise_goes_to_the_faster_unit() -> None:
    shapes: list[tuple[int, ...]] = [(1, 64, 30, 30), (64, 1, 3, 3)]
    output = (1, 64, 28, 28)
    chosen = convolution("Conv", shapes, output, group=64)
    assert chosen.macs == 28 * 28 * 64 * 9
    slow = msgspec.structs.replace(EDGE, vector=msgspec.structs.replace(EDGE.vector, lanes=1))
    on_array = convolution("Conv", shapes, output, slow, group=64)
    assert on_array.engine == "array"
    assert chosen.compute_cycles <= on_array.compute_cycles
