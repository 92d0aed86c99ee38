"""Small ONNX models whose operators are pipelined: a chain, a residual block, attention."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from stowplan.api import Problem, prepare
from stowplan.recipe import Recipe
from stowplan.simulator.pipeline import Pipeline, build_pipeline, select_operators

CHANNELS, SIDE = 4, 12


def _conv(name: str, source: str, result: str, **attributes: Any) -> onnx.NodeProto:
    given: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]} | attributes
    return helper.make_node("Conv", [source, f"w_{name}"], [result], name, **given)


def _save(
    path: Path, nodes: list[onnx.NodeProto], inputs: dict[str, list[int]], result: list[int]
) -> Path:
    weights = [
        numpy_helper.from_array(np.ones((CHANNELS, CHANNELS, 3, 3), np.float32), name)
        for node in nodes
        for name in node.input
        if name.startswith("w_")
    ]
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, result)],
        weights,
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), path)
    return path


def chain(folder: Path) -> Path:
    """Two convolutions, the second with a stride, and pooling."""
    image = [1, CHANNELS, SIDE, SIDE]
    nodes = [
        _conv("conv_a", "x", "a"),
        _conv("conv_b", "a", "b", strides=[2, 2]),
        helper.make_node("MaxPool", ["b"], ["y"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    return _save(folder / "chain.onnx", nodes, {"x": image}, [1, CHANNELS, 3, 3])


def residual(folder: Path) -> Path:
    """Two convolutions beside a skip connection."""
    image = [1, CHANNELS, SIDE, SIDE]
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["s"], "stem"),
        _conv("conv_a", "s", "a"),
        _conv("conv_b", "a", "b"),
        helper.make_node("Sin", ["b"], ["c"], "bend"),
        helper.make_node("Add", ["c", "s"], ["y"], "join"),
    ]
    return _save(folder / "residual.onnx", nodes, {"x": image}, image)


def attention(folder: Path, heads: int = 2, rows: int = 6, width: int = 8) -> Path:
    """Scaled dot products, softmax and values."""
    shape = [1, heads, rows, width]
    nodes = [
        helper.make_node("Transpose", ["k"], ["t"], "turn", perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q", "t"], ["scores"], "scores"),
        helper.make_node("Softmax", ["scores"], ["p"], "softmax", axis=-1),
        helper.make_node("MatMul", ["p", "v"], ["y"], "values"),
    ]
    return _save(folder / "attention.onnx", nodes, dict.fromkeys("qkv", shape), shape)


MODELS = {"chain": chain, "residual": residual, "attention": attention}


def problem_of(path: Path) -> Problem:
    """The model as operators, not tiled."""
    return prepare(path, Recipe(tile="never"))


def pipeline_of(path: Path, inferences: int = 1) -> Pipeline:
    """All operators of the model."""
    problem = problem_of(path)
    operators = select_operators(problem.graph)
    return build_pipeline(problem.graph, operators, problem.target, inferences)
