"""Weights, quantised models and parameters: what becomes an operand, a weight or an attribute."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.ir.onnx_models import Array, assert_sound, ints, save

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Role
from stowplan.ir.onnx_import import import_model


def weights(graph_path: Path) -> dict[str, tuple[tuple[int, ...], DType]]:
    graph = import_model(graph_path).graph
    assert_sound(graph)
    return {t.name: (t.shape, t.dtype) for t in graph.by_role(Role.WEIGHT)}


def test_weights_computed_through_chains_are_weights(tmp_path: Path) -> None:
    fill = numpy_helper.from_array(np.array([0.5], np.float32))
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["filled"], value=fill),
        helper.make_node("Transpose", ["filled"], ["turned"], perm=[1, 0]),
        helper.make_node("Constant", [], ["two"], value_float=2.0),
        helper.make_node("Mul", ["turned", "two"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    path = save(tmp_path, nodes, {"x": [4, 80]}, {"y": None}, {"shape": ints(100, 80)})
    imported = import_model(path)
    assert [op.kind for op in imported.graph.operators] == ["MatMul"]
    assert weights(path) == {"w": ((80, 100), DType.FLOAT32)}
    assert imported.source.weight("w").shape == (80, 100)
    assert imported.source.weight("w").std() > 0
    assert not imported.source.has_data("w")


def test_a_constant_that_is_a_model_output_stays_an_operator(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("Constant", [], ["c"], value_ints=[1, 2]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    constants = {"w": np.ones((3, 2), np.float32)}
    path = save(tmp_path, nodes, {"x": [4, 2]}, {"y": None, "t": None, "c": None}, constants)
    graph = import_model(path).graph
    assert_sound(graph)
    assert {op.kind for op in graph.operators} == {"Transpose", "MatMul", "Constant"}
    assert {t.name for t in graph.by_role(Role.OUTPUT)} == {"y", "t", "c"}


def test_shared_weights_stay_shared_through_identity(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Identity", ["w"], ["copy"]),
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("MatMul", ["h", "copy"], ["y"]),
    ]
    constants = {"w": np.ones((4, 4), np.float32)}
    path = save(tmp_path, nodes, {"x": [4, 4]}, {"y": None}, constants)
    assert weights(path) == {"w": ((4, 4), DType.FLOAT32)}


def qdq_nodes() -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], axis=1),
        helper.make_node("Transpose", ["wd"], ["wt"], perm=[1, 0]),
        helper.make_node("MatMul", ["xd", "wt"], ["y"]),
    ]
    constants: dict[str, Array] = {
        "s": np.array(0.1, np.float32),
        "z": np.array(3, np.int8),
        "wq": np.arange(6, dtype=np.int8).reshape(2, 3),
        "ws": np.array([0.5, 0.25, 0.125], np.float32),
        "wz": np.zeros(3, np.int8),
    }
    return nodes, constants


def test_quantised_weights_stay_narrow(tmp_path: Path) -> None:
    path = save(tmp_path, *_placed(qdq_nodes()))
    graph = import_model(path).graph
    assert weights(path) == {"wq": ((2, 3), DType.INT8)}
    kinds = [op.kind for op in graph.operators]
    assert kinds == [
        "QuantizeLinear",
        "DequantizeLinear",
        "DequantizeLinear",
        "Transpose",
        "MatMul",
    ]
    assert [op.inputs for op in graph.operators[:3]] == [("x",), ("xq",), ("wq",)]
    assert graph.operators[0].attribute("y_scale") == pytest.approx(0.1)
    assert graph.operators[0].attribute("y_zero_point") == 3
    assert graph.operators[2].attribute("x_scale") == (0.5, 0.25, 0.125)


def _placed(
    parts: tuple[list[onnx.NodeProto], dict[str, Array]],
) -> tuple[list[onnx.NodeProto], dict[str, list[int]], dict[str, None], dict[str, Array]]:
    return parts[0], {"x": [5, 3]}, {"y": None}, parts[1]


def test_widening_casts_of_weights_stay_operators(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["w"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "wide"], ["y"]),
    ]
    constants = {"w": np.ones((4, 4), np.uint8)}
    path = save(tmp_path, nodes, {"x": [4, 4]}, {"y": None}, constants)
    assert weights(path) == {"w": ((4, 4), DType.UINT8)}


def test_absent_external_data_is_sized_from_shape(tmp_path: Path) -> None:
    path = absent_weight_model(tmp_path)
    imported = import_model(path)
    assert weights(path) == {"w": ((300, 400), DType.FLOAT32)}
    assert not imported.source.has_data("w")
    drawn = imported.source.weight("w")
    assert drawn.shape == (300, 400)
    assert drawn.dtype == np.float32
    assert imported.source.weight("w") is drawn
    np.testing.assert_array_equal(import_model(path).source.weight("w"), drawn)
    assert (import_model(path, seed=1).source.weight("w") != drawn).any()


def absent_weight_model(folder: Path) -> Path:
    data = np.arange(120_000, dtype=np.float32).reshape(300, 400)
    path = save(
        folder,
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": [2, 300]},
        {"y": None},
        {"w": data},
    )
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (folder / "weights.bin").rename(folder / "kept.bin")
    return path


def test_present_external_data_is_read(tmp_path: Path) -> None:
    path = absent_weight_model(tmp_path)
    (tmp_path / "kept.bin").rename(tmp_path / "weights.bin")
    source = import_model(path).source
    assert source.has_data("w")
    assert source.weight("w")[1, 0] == 400


def test_sparse_initializers_count_dense(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    path = save(tmp_path, nodes, {"x": [2, 3]}, {"y": None})
    model = onnx.load(path)
    values = helper.make_tensor("w", TensorProto.FLOAT, [2], [7.0, 8.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [2], [1, 5])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2, 3]))
    path.write_bytes(model.SerializeToString())
    assert weights(path) == {"w": ((2, 3), DType.FLOAT32)}
    dense = import_model(path).source.weight("w")
    np.testing.assert_array_equal(dense, [[0, 7, 0], [0, 0, 8]])


@pytest.mark.parametrize(
    ("node", "constants", "opset", "expected"),
    [
        (
            helper.make_node("Slice", ["x", "a", "b", "c"], ["y"]),
            {"a": ints(1), "b": ints(4), "c": ints(2)},
            17,
            {"starts": (1,), "ends": (4,), "axes": (2,)},
        ),
        (
            helper.make_node("Slice", ["x"], ["y"], starts=[1], ends=[4], axes=[2]),
            {},
            9,
            {"starts": (1,), "ends": (4,), "axes": (2,)},
        ),
        (
            helper.make_node("Clip", ["x", "", "a"], ["y"]),
            {"a": np.array(6, np.float32)},
            17,
            {"max": 6.0},
        ),
        (
            helper.make_node("ReduceMean", ["x", "a"], ["y"], keepdims=0),
            {"a": ints(2, 3)},
            18,
            {"axes": (2, 3), "keepdims": 0},
        ),
        (
            helper.make_node("Resize", ["x", "", "a"], ["y"], mode="nearest"),
            {"a": np.array([1, 1, 2, 2], np.float32)},
            17,
            {"scales": (1.0, 1.0, 2.0, 2.0), "mode": "nearest"},
        ),
        (
            helper.make_node("Pad", ["x", "a"], ["y"]),
            {"a": ints(0, 0, 1, 1, 0, 0, 1, 1)},
            17,
            {"pads": (0, 0, 1, 1, 0, 0, 1, 1)},
        ),
        (
            helper.make_node("Gather", ["x", "a"], ["y"], axis=1),
            {"a": np.array(0, np.int64)},
            17,
            {"indices": 0, "axis": 1},
        ),
    ],
)
def test_parameters_become_attributes(
    tmp_path: Path,
    node: onnx.NodeProto,
    constants: dict[str, Array],
    opset: int,
    expected: dict[str, object],
) -> None:
    path = save(tmp_path, [node], {"x": [1, 3, 8, 8]}, {"y": None}, constants, opset)
    (operator,) = import_model(path).graph.operators
    assert operator.inputs == ("x",)
    assert {name: operator.attribute(name) for name in expected} == expected


def test_parameters_fed_by_data_stay_operands(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Clip", ["x", "", "m"], ["y"]),
    ]
    graph = import_model(save(tmp_path, nodes, {"x": [8]}, {"y": None})).graph
    assert graph.operators[1].inputs == ("x", "m")


def test_quantised_contrib_kinds_have_their_real_shapes(tmp_path: Path) -> None:
    quantised = ["qs", "qz"]
    ms = {"domain": "com.microsoft"}
    nodes = [
        helper.make_node("QLinearAdd", ["x", *quantised, "x", *quantised, *quantised], ["a"], **ms),
        helper.make_node("QLinearConcat", [*quantised, "a", *quantised, "x", *quantised], ["b"],
                         axis=1, **ms),
        helper.make_node("QLinearAveragePool", ["b", *quantised, *quantised], ["c"],
                         kernel_shape=[2, 2], strides=[2, 2], **ms),
        helper.make_node("QLinearGlobalAveragePool", ["c", *quantised, *quantised], ["d"], **ms),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("QGemm", ["e", *quantised, "w", *quantised, "", *quantised], ["f"], **ms),
        helper.make_node("QLinearSoftmax", ["f", *quantised, *quantised], ["y"], opset=17, **ms),
    ]  # fmt: skip
    constants: dict[str, Array] = {
        "qs": np.array(0.1, np.float32),
        "qz": np.array(0, np.uint8),
        "w": np.ones((6, 5), np.uint8),
    }
    path = save(
        tmp_path, nodes, {"x": [1, 3, 8, 8]}, {"y": None}, constants, element=TensorProto.UINT8
    )
    imported = import_model(path)
    shapes = {
        op.outputs[0]: imported.graph.tensor[op.outputs[0]] for op in imported.graph.operators
    }
    assert {name: tensor.shape for name, tensor in shapes.items()} == {
        "a": (1, 3, 8, 8),
        "b": (1, 6, 8, 8),
        "c": (1, 6, 4, 4),
        "d": (1, 6, 1, 1),
        "e": (1, 6),
        "f": (1, 5),
        "y": (1, 5),
    }
    assert {tensor.dtype for tensor in shapes.values()} == {DType.UINT8}
    assert imported.graph.operators[1].inputs == ("a", "x")
    assert imported.graph.operators[5].inputs == ("e", "w")
    assert imported.warnings == ()


def test_channels_last_pooling(tmp_path: Path) -> None:
    node = helper.make_node(
        "QLinearGlobalAveragePool",
        ["x", "s", "z", "s", "z"],
        ["y"],
        domain="com.microsoft",
        channels_last=1,
    )
    constants: dict[str, Array] = {"s": np.array(0.1, np.float32), "z": np.array(0, np.int8)}
    path = save(
        tmp_path, [node], {"x": [2, 5, 7, 16]}, {"y": None}, constants, element=TensorProto.INT8
    )
    assert import_model(path).graph.tensor["y"].shape == (2, 1, 1, 16)


def test_axis_outside_a_vector_is_repaired_with_a_warning(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["b", "s", "z"], ["bias"], axis=3),
        helper.make_node("Add", ["x", "bias"], ["y"]),
    ]
    constants: dict[str, Array] = {
        "b": np.array([1, 2], np.int32),
        "s": np.array([0.5, 0.25], np.float32),
        "z": np.zeros(2, np.int32),
    }
    imported = import_model(save(tmp_path, nodes, {"x": [4, 2]}, {"y": None}, constants))
    assert imported.graph.operators[0].attribute("axis") == 0
    assert len(imported.warnings) == 1
    assert "DequantizeLinear_0" in imported.warnings[0]


def test_attributes_survive_json(tmp_path: Path) -> None:
    path = save(tmp_path, *_placed(qdq_nodes()))
    for operator in import_model(path).graph.operators:
        pairs = [[name, value] for name, value in operator.attributes]
        assert json.loads(json.dumps(pairs)) == [
            [name, list(value) if isinstance(value, tuple) else value] for name, value in pairs
        ]
        assert [name for name, _ in pairs] == sorted(name for name, _ in pairs)
