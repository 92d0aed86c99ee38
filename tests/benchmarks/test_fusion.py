"""The fusion benchmark's arithmetic, its baseline, and the translation for Vela."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.fusion import METHODS, Row, is_cnn, layer_by_layer, run, tables
from benchmarks.vela_network import layers_of
from onnx import helper
from tests.ir.onnx_models import save

from stowplan.errors import UsageError
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.ir.onnx_import import import_model
from stowplan.ir.traffic import traffic
from stowplan.recipe import Recipe, model_path


def rows(model: str, moved: tuple[int, int, int], cnn: bool = True) -> list[Row]:
    return [
        Row(model, "1KiB", method, cnn, noncompulsory_bytes=size, cycles=7)
        for method, size in zip(METHODS, moved, strict=True)
    ]


def test_means_count_cnns_and_cap_ratios() -> None:
    found = [
        *rows("a", (400, 100, 50)),
        *rows("b", (1_000_000, 100, 0)),
        *rows("bert", (8, 1, 1), cnn=False),
        *rows("half", (5, 5, 5))[:2],
    ]
    text = tables(found)
    assert "Geometric mean over the 2 CNNs, layer ÷ method: greedy 20.00, lns 28.28." in text
    assert "bert (no CNN)" in text and "half" not in text


def test_failures_are_told() -> None:
    found = rows("a", (4, 2, 1))
    broken = Row("a", "1KiB", "lns", True, problem="does not fit")
    assert "does not fit" in tables([*found[:2], broken])


def test_products_of_activations_make_no_cnn() -> None:
    def graph(role: Role) -> Graph:
        tensors = [Tensor(name, (4, 4), DType.INT8, Role.INPUT) for name in ("a", "x")]
        tensors += [Tensor("b", (4, 4), DType.INT8, role)]
        tensors += [Tensor(name, (4, 4), DType.INT8, Role.OUTPUT) for name in ("y", "z")]
        product = Operator("product", "MatMul", ("a", "b"), ("y",))
        return Graph("g", tuple(tensors), (product, Operator("c", "Conv", ("x",), ("z",))))

    assert is_cnn(graph(Role.WEIGHT)) and not is_cnn(graph(Role.INPUT))


def test_the_baseline_moves_every_result_twice() -> None:
    recipe = Recipe(precision="int8", overrides=("scratchpad.size=512KiB",))
    made = layer_by_layer("light:squeezenet", recipe)
    moved = traffic(made.graph, made.plan, made.target.memory_spec())
    whole = import_model(model_path("light:squeezenet")).graph
    made_once = sum(
        tensor.elements
        for tensor in whole.tensors
        if tensor.name in {op.outputs[0] for op in whole.operators if op.kind == "Conv"}
        and tensor.role is Role.ACTIVATION
    )
    # Convolutions whose results pass through a fused Relu, written once and read once at least.
    assert moved.noncompulsory_bytes >= 2 * made_once
    row = run("light:squeezenet", "512KiB", "greedy", effort=0, time_limit_s=5.0)
    assert row.cnn and 0 < row.noncompulsory_bytes < moved.noncompulsory_bytes


def test_networks_are_translated_layer_by_layer() -> None:
    name, shape, layers = layers_of(import_model(model_path("light:resnet50")).graph)
    assert shape == (1, 224, 224, 3)
    kinds = [layer.kind for layer in layers]
    assert kinds.count("conv") == 53 and kinds.count("add") == 16 and kinds[-1] == "dense"
    made = {name} | {layer.output for layer in layers}
    assert all(made >= set(layer.inputs) for layer in layers)
    assert layers[0].padding == "SAME" and layers[0].activation == "RELU"


def test_operators_vela_is_not_given_are_refused() -> None:
    with pytest.raises(UsageError, match="Concat is not translated"):
        layers_of(import_model(model_path("light:squeezenet")).graph)


def test_a_layer_streams_its_weights_once_where_columns_can_be_cut(tmp_path: Path) -> None:
    """Rows of tokens would have them streamed again; the residual forbids to leave it whole."""
    made = np.random.default_rng(0).standard_normal
    weight = made((3072, 768), dtype=np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Reshape", ["a", "s"], ["b"]),
        helper.make_node("Add", ["b", "r"], ["y"]),
    ]
    inputs = {"x": (64, 3072), "r": (1, 64, 768)}
    constants: dict[str, Any] = {"w": weight, "s": np.array([1, 64, 768], np.int64)}
    model = str(save(tmp_path, nodes, inputs, {"y": None}, constants))
    recipe = Recipe(overrides=("scratchpad.size=256KiB",), precision="int8")
    made_plan = layer_by_layer(model, recipe)
    moved = traffic(made_plan.graph, made_plan.plan, made_plan.target.memory_spec())
    assert len(made_plan.graph.operators) > 1
    assert moved.noncompulsory_bytes == 0
