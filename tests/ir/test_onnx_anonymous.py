"""Models without names compute the same, and are equal when only names differed."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stowplan.ir.onnx_import.anonymous import without_names

ort = pytest.importorskip("onnxruntime")


def model(prefix: str, scale: float = 2.0) -> bytes:
    """``y = clip(x, min=0) * scale - x``, every name beginning with ``prefix``."""

    def named(*names: str) -> list[str]:
        return [f"{prefix}{name}" if name else "" for name in names]

    nodes = [
        helper.make_node("Clip", named("x", "low"), named("c"), f"{prefix}clip"),
        helper.make_node("Mul", named("c", "scale"), named("m"), doc_string=prefix),
        helper.make_node("Sub", named("m", "x"), named("y")),
    ]
    graph = helper.make_graph(
        nodes,
        f"{prefix}graph",
        [helper.make_tensor_value_info(f"{prefix}x", TensorProto.FLOAT, (4,))],
        [helper.make_tensor_value_info(f"{prefix}y", TensorProto.FLOAT, (4,))],
        [
            numpy_helper.from_array(np.array(0, np.float32), f"{prefix}low"),
            numpy_helper.from_array(np.array(scale, np.float32), f"{prefix}scale"),
        ],
        value_info=[helper.make_tensor_value_info(f"{prefix}c", TensorProto.FLOAT, (4,))],
    )
    opset = [helper.make_opsetid("", 17)]
    made = helper.make_model(graph, opset_imports=opset, ir_version=8)
    return bytes(made.SerializeToString())


def run(content: bytes) -> Any:
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return session.run(None, {given.name: np.array([-1, 0, 1, 2], np.float32)})[0]


def test_only_names_are_lost() -> None:
    plain = without_names(model("left."))
    assert plain == without_names(model("v1"))
    assert plain != without_names(model("left.", scale=3.0))
    assert without_names(plain) == plain
    onnx.checker.check_model(plain)
    np.testing.assert_array_equal(run(plain), run(model("left.")))


def test_absent_optional_inputs_stay_absent() -> None:
    named = onnx.ModelProto.FromString(model("a"))
    named.graph.node[0].input[:] = ["ax", "", "alow"]
    plain = onnx.ModelProto.FromString(without_names(named.SerializeToString()))
    assert [bool(name) for name in plain.graph.node[0].input] == [True, False, True]


def test_models_with_subgraphs_are_left_alone() -> None:
    branch = onnx.ModelProto.FromString(model("b")).graph
    del branch.input[:]
    named = onnx.ModelProto.FromString(model("a"))
    named.graph.node.add(op_type="If", input=["ac"], output=["z"]).attribute.append(
        helper.make_attribute("then_branch", branch)
    )
    content = named.SerializeToString()
    assert without_names(content) == content
