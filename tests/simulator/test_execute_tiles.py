"""Tiled graphs compute the model, bit for bit: every kind that is split, with poison around it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper
from tests.ir.onnx_models import save

import stowplan
from stowplan.errors import InfeasiblePlanError
from stowplan.ir.graph import Graph, Operator, Role
from stowplan.ir.memory import MemorySpec
from stowplan.ir.onnx_import import ImportedModel, import_model
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.pipeline import default_pipeline, run_pipeline
from stowplan.passes.planner import PlanOptions
from stowplan.passes.problem import planning_problem
from stowplan.passes.tiling.tile import Tile
from stowplan.simulator.execute import ProofResult, prove
from stowplan.targets.load import load_target
from stowplan.targets.tile_operands import terms_of

pytest.importorskip("onnxruntime")


def node(kind: str, inputs: str, outputs: str = "y", **attributes: Any) -> NodeProto:
    return helper.make_node(kind, inputs.split(), outputs.split(), kind + outputs, **attributes)


def weight(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)


def axes(*values: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(values, np.int64)


IMAGE = {"x": (1, 8, 12, 10)}
TOKENS = {"x": (1, 12, 16)}
CASES: dict[str, tuple[list[NodeProto], dict[str, Any], dict[str, Any]]] = {
    "conv": (
        [node("Conv", "x w b", pads=[1, 1, 1, 1])],
        IMAGE,
        {"w": weight(16, 8, 3, 3), "b": weight(16)},
    ),
    "conv-stride": (
        [node("Conv", "x w", strides=[2, 2], pads=[0, 1, 1, 2])],
        IMAGE,
        {"w": weight(16, 8, 3, 3)},
    ),
    "conv-dilated": (
        [node("Conv", "x w", dilations=[2, 3], pads=[2, 3, 2, 3])],
        IMAGE,
        {"w": weight(8, 8, 3, 3)},
    ),
    "conv-grouped": ([node("Conv", "x w", group=4)], IMAGE, {"w": weight(16, 2, 3, 3)}),
    "conv-same-lower": (
        [node("Conv", "x w", auto_pad="SAME_LOWER", strides=[2, 1])],
        IMAGE,
        {"w": weight(8, 8, 4, 3)},
    ),
    "conv-transposed": (
        [node("ConvTranspose", "x w", strides=[2, 2], pads=[1, 0, 1, 1])],
        IMAGE,
        {"w": weight(8, 6, 3, 4)},
    ),
    "bottleneck": (
        [
            node("Conv", "x v", "a"),
            node("Relu", "a", "b"),
            node("Conv", "b w", "c", pads=[1, 1, 1, 1]),
            node("Relu", "c", "d"),
            node("Conv", "d u", "e"),
            node("Add", "e x", "f"),
            node("Relu", "f"),
        ],
        IMAGE,
        {"v": weight(4, 8, 1, 1), "w": weight(4, 4, 3, 3), "u": weight(8, 4, 1, 1)},
    ),
    "max-pool": (
        [node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)],
        IMAGE,
        {},
    ),
    "average-pool": (
        [node("AveragePool", "x", kernel_shape=[3, 2], pads=[1, 0, 1, 1], count_include_pad=0)],
        IMAGE,
        {},
    ),
    "global-pool": ([node("GlobalAveragePool", "x")], IMAGE, {}),
    "batch-norm": (
        [node("BatchNormalization", "x s b m v")],
        IMAGE,
        {k: np.abs(weight(8)) + 1 for k in "sbmv"},
    ),
    "instance-norm": (
        [node("InstanceNormalization", "x s b")],
        IMAGE,
        {"s": weight(8), "b": weight(8)},
    ),
    "lrn": ([node("LRN", "x", size=3)], IMAGE, {}),
    "concat-channels": (
        [
            node("Relu", "x", "a"),
            node("Sigmoid", "x", "b"),
            node("Concat", "a b", "c", axis=1),
            node("Conv", "c w"),
        ],
        IMAGE,
        {"w": weight(4, 16, 3, 3)},
    ),
    "concat-rows": (
        [
            node("Relu", "x", "a"),
            node("Sigmoid", "x", "b"),
            node("Concat", "a b", "c", axis=2),
            node("MaxPool", "c", kernel_shape=[3, 3]),
        ],
        IMAGE,
        {},
    ),
    "split-shuffle": (
        [
            node("Relu", "x", "r"),
            node("Split", "r", "a b", axis=1),
            node("Conv", "a w", "c"),
            node("Concat", "c b", "d", axis=1),
            node("Reshape", "d s", "e"),
            node("Transpose", "e", "f", perm=[0, 2, 1, 3, 4]),
            node("Reshape", "f t", "g"),
            node("Relu", "g"),
        ],
        IMAGE,
        {"w": weight(4, 4, 1, 1), "s": axes(1, 2, 4, 12, 10), "t": axes(1, 8, 12, 10)},
    ),
    "slice": (
        [node("Relu", "x", "a"), node("Slice", "a b e k t", "c"), node("Relu", "c")],
        IMAGE,
        {"b": axes(1, 2), "e": axes(11, 9), "k": axes(2, 3), "t": axes(2, 1)},
    ),
    "pad": ([node("Pad", "x p")], IMAGE, {"p": axes(0, 1, 2, 1, 0, 0, 1, 3)}),
    "resize-nearest": (
        [node("Resize", "x  s", mode="nearest")],
        IMAGE,
        {"s": np.array([1, 1, 2, 2], np.float32)},
    ),
    "resize-cubic": (
        [node("Resize", "x  s", mode="cubic")],
        IMAGE,
        {"s": np.array([1, 1, 1.5, 2], np.float32)},
    ),
    "depth-to-space": ([node("DepthToSpace", "x", blocksize=2)], IMAGE, {}),
    "space-to-depth": ([node("SpaceToDepth", "x", blocksize=2)], IMAGE, {}),
    "reduce": ([node("ReduceMean", "x", axes=[2, 3], keepdims=0)], IMAGE, {}),
    "arg-max": ([node("ArgMax", "x", axis=1)], IMAGE, {}),
    "gemm": (
        [node("Gemm", "x w b", transB=1)],
        {"x": (6, 40)},
        {"w": weight(90, 40), "b": weight(90)},
    ),
    "matmul": (
        [node("MatMul", "x w", "a"), node("Add", "a b")],
        TOKENS,
        {"w": weight(16, 48), "b": weight(48)},
    ),
    "attention": (
        [
            node("MatMul", "x q", "a"),
            node("MatMul", "x k", "b"),
            node("MatMul", "x v", "c"),
            node("Reshape", "a s", "a1"),
            node("Reshape", "b s", "b1"),
            node("Reshape", "c s", "c1"),
            node("Transpose", "a1", "a2", perm=[0, 2, 1, 3]),
            node("Transpose", "b1", "b2", perm=[0, 2, 3, 1]),
            node("Transpose", "c1", "c2", perm=[0, 2, 1, 3]),
            node("MatMul", "a2 b2", "d"),
            node("Softmax", "d", "e", axis=-1),
            node("MatMul", "e c2", "f"),
            node("Transpose", "f", "g", perm=[0, 2, 1, 3]),
            node("Reshape", "g t", "h"),
            node("Add", "h x"),
        ],
        TOKENS,
        {
            "q": weight(16, 16),
            "k": weight(16, 16) + 1,
            "v": weight(16, 16) - 1,
            "s": axes(1, 12, 4, 4),
            "t": axes(1, 12, 16),
        },
    ),
    "expand": (
        [node("Relu", "x", "a"), node("Expand", "a s")],
        IMAGE,
        {"s": axes(3, 8, 12, 10)},
    ),
    "gemm-long": (
        [node("Gemm", "x w b", "a", transB=1), node("Relu", "a")],
        {"x": (6, 600)},
        {"w": weight(12, 600), "b": weight(12)},
    ),
    "matmul-long": (
        [node("MatMul", "x w", "a"), node("Relu", "a", "b"), node("MatMul", "b v")],
        {"x": (1, 4, 40)},
        {"w": weight(40, 300), "v": weight(300, 20)},
    ),
    "conv-deep": (
        [node("Conv", "x w b", "a", pads=[1, 1, 1, 1]), node("Relu", "a")],
        {"x": (1, 96, 4, 4)},
        {"w": weight(8, 96, 3, 3), "b": weight(8)},
    ),
    "layer-norm": (
        [node("LayerNormalization", "x s b")],
        TOKENS,
        {"s": weight(16), "b": weight(16)},
    ),
}


def model(folder: Path, case: str) -> ImportedModel:
    nodes, inputs, constants = CASES[case]
    for each in nodes:
        if each.op_type == "Resize":
            del each.input[:]
            each.input.extend(["x", "", "s"])
    return import_model(save(folder, nodes, inputs, {"y": None}, constants))


def tiled(imported: ImportedModel, capacity: int, tracked: bool) -> Graph:
    tile = Tile(capacity=capacity, alignment=16, track_weights=tracked)
    return run_pipeline(imported.graph, default_pipeline(None, tile))


def proved(imported: ImportedModel, graph: Graph, capacity: int, tracked: bool) -> ProofResult:
    target = load_target("edge-npu", (f"scratchpad.size={capacity}", "scratchpad.alignment=16"))
    plan = plan_greedy(graph, target, PlanOptions(track_weights=tracked, time_limit_s=5))
    return prove(imported, graph, plan, target.memory_spec(tracked))


@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_every_kind_that_is_split_computes_the_model(
    case: str, tracked: bool, tmp_path: Path
) -> None:
    imported = model(tmp_path, case)
    whole = run_pipeline(imported.graph, default_pipeline())
    problem = planning_problem(whole, MemorySpec(1, 16, stream_weights=not tracked))
    capacity = max(map(problem.demand, range(problem.operators))) // 2
    graph = tiled(imported, capacity, tracked)
    assert any(op.parent for op in graph.operators)
    result = proved(imported, graph, capacity, tracked)
    result.require()
    assert result.scratchpad_bytes <= capacity


@pytest.mark.parametrize(
    "case",
    ["conv-stride", "global-pool", "lrn", "reduce", "slice", "split-shuffle", "resize-nearest"],
)
def test_smallest_tiles_compute_the_model(case: str, tmp_path: Path) -> None:
    imported = model(tmp_path, case)
    with pytest.raises(InfeasiblePlanError) as caught:
        tiled(imported, 16, tracked=True)
    capacity = caught.value.misfit.smallest_capacity_bytes
    graph = tiled(imported, capacity, tracked=True)
    result = proved(imported, graph, capacity, tracked=True)
    result.require()
    assert result.scratchpad_bytes <= capacity


def test_a_tile_that_is_not_given_its_halo_cannot_pass(tmp_path: Path) -> None:
    imported = model(tmp_path, "conv")
    graph = tiled(imported, 4_096, False)
    victim = next(op for op in graph.operators if op.parent and len(op.inputs) > 3)
    rows = [name for name in victim.inputs if graph.tensor[name].role is Role.INPUT]
    kept = tuple(name for name in victim.inputs if name != rows[-1])
    broken = replace(victim, inputs=kept, in_place=())
    operators = tuple(broken if op is victim else op for op in graph.operators)
    bare = graph.replace(operators=tuple(_without_description(op) for op in operators))
    assert not proved(imported, bare, 4_096, False).passed


@pytest.mark.parametrize("case", ["gemm-long", "matmul-long", "conv-deep"])
def test_sums_are_cut_where_their_operands_do_not_fit(case: str, tmp_path: Path) -> None:
    imported = model(tmp_path, case)
    graph = tiled(imported, 2_048, True)
    parts = [op for op in graph.operators if terms_of(op) is not None]
    assert parts
    for op in parts:
        lower, upper, terms = terms_of(op) or (0, 0, 0)
        assert 0 <= lower < upper <= terms
        assert (op.epilogue[:1] == ("Add",)) == (lower > 0)
    proved(imported, graph, 2_048, True).require()


def test_sums_of_another_tile_cannot_pass(tmp_path: Path) -> None:
    imported = model(tmp_path, "gemm-long")
    graph = tiled(imported, 640, True)
    sums = [tensor.name for tensor in graph.tensors if tensor.name.endswith(":sums")]
    victim = next(op for op in graph.operators if op.inputs[-1] == sums[-1])
    broken = replace(victim, inputs=(*victim.inputs[:-1], sums[0]), in_place=())
    wrong = graph.replace(operators=tuple(broken if op is victim else op for op in graph.operators))
    assert len(sums) > 1
    assert not proved(imported, wrong, 4_096, True).passed


def _without_description(op: Operator) -> Operator:
    attributes = tuple(pair for pair in op.attributes if not pair[0].startswith("tile_"))
    return replace(op, attributes=attributes)


def test_int8_model_is_bit_identical_through_the_interface(tmp_path: Path) -> None:
    scale: dict[str, Any] = {"s": np.array(0.05, np.float32), "z": np.array(3, np.uint8)}
    nodes = [
        node("DequantizeLinear", "x s z", "a"),
        node("DequantizeLinear", "w s", "v"),
        node("Conv", "a v", "c", pads=[1, 1, 1, 1]),
        node("Relu", "c", "d"),
        node("QuantizeLinear", "d s z"),
    ]
    quantised = np.random.default_rng(0).integers(-99, 99, (8, 8, 3, 3)).astype(np.int8)
    path = save(
        tmp_path, nodes, IMAGE, {"y": None}, {**scale, "w": quantised}, element=TensorProto.UINT8
    )
    compiled = stowplan.compile(path, planner="greedy", overrides=["scratchpad.size=1KiB"])
    assert any(op.parent for op in compiled.graph.operators)
    assert compiled.prove().passed
    folder = compiled.save(tmp_path / "out")
    again = stowplan.reopen(path, stowplan.Plan.load(folder / "plan.json"))
    assert again.graph.hash == compiled.graph.hash
