"""Small ONNX models the importer's tests build."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from stowplan.ir.graph import Graph, Role

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"

Shape = Sequence[int | str | None]
Array = npt.NDArray[Any]


def value(name: str, shape: Shape | None, element: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """A graph input or output."""
    return helper.make_tensor_value_info(name, element, shape)


def save(
    folder: Path,
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Shape],
    outputs: Mapping[str, Shape | None],
    constants: Mapping[str, Array] | None = None,
    opset: int = 17,
    element: int = TensorProto.FLOAT,
) -> Path:
    """Write a model whose inputs have type ``element`` and return its path."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [value(name, shape, element) for name, shape in inputs.items()],
        [value(name, shape, 0) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    opsets = [
        helper.make_opsetid("", opset),
        helper.make_opsetid("com.microsoft", 1),
        helper.make_opsetid("com.example", 1),
    ]
    path = folder / "model.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    )
    return path


def ints(*values: int) -> Array:
    """An int64 vector."""
    return np.array(values, np.int64)


def assert_sound(graph: Graph) -> None:
    """Operators are topological, every operand exists, roles and producers agree."""
    ready = {t.name for t in graph.tensors if t.role in (Role.INPUT, Role.WEIGHT)}
    for op in graph.operators:
        assert set(op.inputs) <= ready, op.name
        assert ready.isdisjoint(op.outputs)
        ready.update(op.outputs)
    assert ready == {tensor.name for tensor in graph.tensors}
    assert len(graph.tensor) == len(graph.tensors)
    assert len(graph.operator) == len(graph.operators)
