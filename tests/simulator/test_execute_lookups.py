"""Look-ups in tables cut into blocks of rows, bit for bit ONNX Runtime's, whatever the numbers."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto, helper
from tests.ir.onnx_models import save

import stowplan
from stowplan.ir.graph import Graph
from stowplan.ir.onnx_import import ImportedModel, import_model
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.pipeline import default_pipeline, run_pipeline
from stowplan.passes.planner import PlanOptions
from stowplan.passes.tiling.tile import Tile
from stowplan.simulator.execute import ProofResult, prove
from stowplan.targets.load import load_target
from stowplan.targets.tile_operands import picks, terms_of

pytest.importorskip("onnxruntime")

Array = npt.NDArray[Any]
UNIT = 16
"""Alignment of the scratchpad."""
SCALES: dict[str, Array] = {"s": np.array(0.05, np.float32), "z": np.array(3, np.int8)}


def node(kind: str, inputs: str, outputs: str = "y", **attributes: Any) -> NodeProto:
    return helper.make_node(kind, inputs.split(), outputs.split(), kind + outputs, **attributes)


def numbers(shape: tuple[int, ...], dtype: type[np.generic], seed: int = 0) -> Array:
    """Every bit pattern, so also not-a-numbers, infinities, -0.0 and subnormals."""
    random = np.random.default_rng(seed)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    found = np.frombuffer(random.bytes(size), dtype).reshape(shape).copy()
    if np.dtype(dtype).kind == "f" and found.size > 4:
        found.reshape(-1)[:5] = (np.nan, np.inf, -np.inf, -0.0, 0.0)
    return found


def tiled(imported: ImportedModel, capacity: int) -> Graph:
    tile = Tile(capacity=capacity, alignment=UNIT, track_weights=True)
    return run_pipeline(imported.graph, default_pipeline(None, tile))


def proved(
    imported: ImportedModel,
    graph: Graph,
    capacity: int,
    inputs: Mapping[str, Array] | None = None,
) -> ProofResult:
    overrides = (f"scratchpad.size={capacity}", f"scratchpad.alignment={UNIT}")
    target = load_target("edge-npu", overrides)
    plan = plan_greedy(graph, target, PlanOptions(track_weights=True, time_limit_s=5))
    return prove(imported, graph, plan, target.memory_spec(True), model_inputs=inputs)


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=3),
    st.lists(st.integers(1, 4), max_size=3),
    st.sampled_from([np.float32, np.float16, np.int8, np.uint8, np.int64, np.float64]),
    st.sampled_from([TensorProto.INT64, TensorProto.INT32]),
    st.integers(4, 12),
    st.data(),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_rows_in_blocks_are_picked_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    shape: list[int],
    ishape: list[int],
    dtype: type[np.generic],
    element: int,
    units: int,
    data: st.DataObject,
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    shape[axis] *= 5
    extent = shape[axis]
    table = numbers(tuple(shape), dtype)
    drawn = data.draw(st.lists(st.integers(-extent, extent - 1), min_size=int(np.prod(ishape))))[
        : int(np.prod(ishape))
    ]
    indices = np.array(drawn).reshape(ishape)
    indices = indices.astype(np.int64 if element == TensorProto.INT64 else np.int32)
    folder = tmp_path_factory.mktemp("gather")
    nodes = [node("Gather", "t x", axis=axis)]
    path = save(folder, nodes, {"x": ishape}, {"y": None}, {"t": table}, element=element)
    imported = import_model(path)
    capacity = units * UNIT
    result = proved(imported, tiled(imported, capacity), capacity, {"x": indices})
    result.require()
    assert result.scratchpad_bytes <= capacity


CASES: dict[str, tuple[list[NodeProto], tuple[int, ...], dict[str, Array]]] = {
    "dequantised": (
        [node("DequantizeLinear", "t s z", "a"), node("Gather", "a x", "b"), node("Relu", "b")],
        (1, 13),
        {"t": numbers((500, 24), np.int8), **SCALES},
    ),
    "requantised": (
        [
            node("DequantizeLinear", "t s z", "a"),
            node("Gather", "a x", "b"),
            node("QuantizeLinear", "b s z", "c"),
            node("DequantizeLinear", "c s z"),
        ],
        (1, 13),
        {"t": numbers((500, 24), np.int8), **SCALES},
    ),
    "through-views": (
        [
            node("Slice", "t b e k", "u"),
            node("Slice", "x c d k", "i"),
            node("Reshape", "i n", "j"),
            node("Gather", "u j"),
        ],
        (4, 13),
        {
            "t": numbers((500, 24), np.float32),
            **{k: np.array([v]) for k, v in {"b": 10, "e": 400, "k": 0, "c": 1, "d": 3}.items()},
            "n": np.array([13, 2]),
        },
    ),
    "two-tables-in-one": (
        [
            node("Neg", "t", "u"),
            node("Sigmoid", "t", "v"),
            node("Concat", "u v", "w", axis=0),
            node("Gather", "w x"),
        ],
        (5,),
        {"t": numbers((200, 24), np.float32)},
    ),
    "tied-to-a-product": (
        [node("Gather", "t x", "a"), node("Gemm", "a t", transB=1)],
        (5,),
        {"t": np.random.default_rng(0).standard_normal((300, 24), dtype=np.float32)},
    ),
    "elements": (
        [node("Neg", "t", "u"), node("GatherElements", "u x", axis=0)],
        (9, 11),
        {"t": numbers((600, 24), np.float32)},
    ),
    "elements-of-rows": (
        [node("GatherElements", "t x", axis=-1)],
        (9, 11),
        {"t": numbers((24, 3_000), np.int8)},
    ),
    "nd": ([node("GatherND", "t x")], (7, 1), {"t": numbers((300, 5, 4), np.float32)}),
    "nd-pairs": ([node("GatherND", "t x")], (3, 4, 2), {"t": numbers((60, 60, 4), np.int8)}),
    "nd-batches": (
        [node("GatherND", "t x", batch_dims=1)],
        (3, 5, 1),
        {"t": numbers((3, 200, 6), np.float32)},
    ),
}


def model(folder: Path, case: str) -> ImportedModel:
    nodes, shape, constants = CASES[case]
    path = save(folder, nodes, {"x": shape}, {"y": None}, constants, element=TensorProto.INT64)
    return import_model(path)


@pytest.mark.parametrize("capacity", [600, 1_600])
@pytest.mark.parametrize("case", CASES)
def test_every_look_up_is_cut_into_blocks_of_rows(case: str, capacity: int, tmp_path: Path) -> None:
    imported = model(tmp_path, case)
    graph = tiled(imported, capacity)
    parts = [op for op in graph.operators if picks(op)]
    assert parts
    assert all(terms_of(op) is not None for op in parts)
    proved(imported, graph, capacity).require()


def test_rows_of_packed_blocks_are_picked(tmp_path: Path) -> None:
    constants: dict[str, Array] = {
        "b": numbers((900, 32), np.uint8),
        "s": np.random.default_rng(0).standard_normal((900, 4), dtype=np.float32),
        "z": numbers((900, 2), np.uint8),
    }
    kind = "GatherBlockQuantized"
    look = node(kind, "b x s z", block_size=16, bits=4, domain="com.microsoft")
    path = save(tmp_path, [look], {"x": (7,)}, {"y": (7, 64)}, constants, element=7)
    stored = onnx.load(path)
    stored.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.save(stored, path)
    imported = import_model(path)
    graph = tiled(imported, 600)
    assert any(picks(op) for op in graph.operators)
    proved(imported, graph, 600, {"x": np.arange(-900, 900, 270)}).require()


def test_elements_picked_by_another_tile_cannot_pass(tmp_path: Path) -> None:
    imported = model(tmp_path, "nd")
    inputs = {"x": np.arange(5, 300, 45).reshape(7, 1)}
    graph = tiled(imported, 600)
    picked = [tensor.name for tensor in graph.tensors if tensor.name.endswith(":picked")]
    same = [name for name in picked if graph.tensor[name].shape == graph.tensor[picked[-1]].shape]
    victim = [op for op in graph.operators if op.inputs[-1] == picked[-1]][-1]
    broken = replace(victim, inputs=(*victim.inputs[:-1], same[0]), in_place=())
    wrong = graph.replace(operators=tuple(broken if op is victim else op for op in graph.operators))
    assert len(same) > 1
    proved(imported, graph, 600, inputs).require()
    assert not proved(imported, wrong, 4_096, inputs).passed


def test_a_tile_that_is_not_given_its_rows_cannot_pass(tmp_path: Path) -> None:
    nodes = [node("Gather", "t x")]
    table = np.random.default_rng(0).standard_normal((300, 4), dtype=np.float32)
    path = save(tmp_path, nodes, {"x": (60,)}, {"y": None}, {"t": table}, element=7)
    imported = import_model(path)
    graph = tiled(imported, 1_024)
    victim = next(op for op in graph.operators if picks(op) and op.inputs[0].startswith("t@"))
    kept = victim.inputs[1:]
    attributes = tuple(pair for pair in victim.attributes if pair[0] != "tile_inputs")
    broken = replace(victim, inputs=kept, attributes=attributes)
    wrong = graph.replace(operators=tuple(broken if op is victim else op for op in graph.operators))
    inputs = {"x": np.arange(0, 300, 5)}
    proved(imported, graph, 1_024, inputs).require()
    assert not proved(imported, wrong, 1_024, inputs).passed


SCATTERED: dict[str, tuple[list[NodeProto], dict[str, tuple[int, ...]], dict[str, Array]]] = {
    "scatter-nd": (
        [node("ScatterND", "x i u")],
        {"x": (90, 12), "u": (4, 12)},
        {"i": np.array([[3], [80], [-1], [5]])},
    ),
    "scatter-nd-added": (
        [node("ScatterND", "x i u", reduction="add")],
        {"x": (9, 10, 12), "u": (4, 12)},
        {"i": np.array([[3, 2], [8, 9], [3, 2], [-1, 0]])},
    ),
    "scatter-elements": (
        [node("ScatterElements", "x i u", axis=0)],
        {"x": (90, 12), "u": (4, 5)},
        {"i": np.random.default_rng(0).permutation(np.arange(-40, 40))[:20].reshape(4, 5)},
    ),
}


@pytest.mark.parametrize("case", SCATTERED)
def test_what_is_written_into_is_cut(case: str, tmp_path: Path) -> None:
    nodes, inputs, constants = SCATTERED[case]
    imported = import_model(save(tmp_path, nodes, inputs, {"y": None}, constants))
    graph = tiled(imported, 2_048)
    assert any(op.parent for op in graph.operators)
    proved(imported, graph, 2_048).require()


def test_a_one_hot_is_cut(tmp_path: Path) -> None:
    constants = {"d": np.array(40), "v": np.array([-1.5, 2], np.float32)}
    nodes = [node("OneHot", "x d v", axis=1)]
    path = save(tmp_path, nodes, {"x": (6, 9)}, {"y": None}, constants, element=7)
    imported = import_model(path)
    graph = tiled(imported, 1_024)
    assert any(op.parent for op in graph.operators)
    proved(imported, graph, 1_024).require()


def test_an_embedding_larger_than_the_scratchpad_runs_through_the_interface(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(0)
    constants: dict[str, Array] = {
        "t": random.standard_normal((5_000, 16), dtype=np.float32),
        "p": random.standard_normal((64, 16), dtype=np.float32),
        "i": np.arange(12),
        "g": random.standard_normal(16, dtype=np.float32),
        "w": random.standard_normal((16, 40), dtype=np.float32),
    }
    nodes = [
        node("Gather", "t x", "a"),
        node("Gather", "p i", "b"),
        node("Add", "a b", "c"),
        node("LayerNormalization", "c g", "d"),
        node("MatMul", "d w"),
    ]
    path = save(tmp_path, nodes, {"x": (1, 12)}, {"y": None}, constants, element=7)
    found = stowplan.compile(
        path, planner="greedy", overrides=["scratchpad.size=4KiB"], track_weights=True
    )
    # Not even one column of the table fits.
    assert 5_000 * 4 > 4_096
    assert any(picks(op) for op in found.graph.operators)
    assert found.prove().passed
    folder = found.save(tmp_path / "out")
    again = stowplan.reopen(path, stowplan.Plan.load(folder / "plan.json"))
    assert again.graph.hash == found.graph.hash
