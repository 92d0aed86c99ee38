"""Importing models: the CNNs shipped with onnx, symbolic dimensions, folding and parameters."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.ir.onnx_models import LIGHT, assert_sound, ints, save, value

from stowplan.errors import ModelError
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Role
from stowplan.ir.onnx_import import ImportedModel, import_model


@pytest.mark.parametrize(
    ("name", "convolutions", "parameters", "output"),
    [
        ("bvlc_alexnet", 5, 60_965_224, (1, 1000)),
        ("densenet121", 121, None, (1, 1000, 1, 1)),
        ("inception_v1", 57, None, (1, 1000)),
        ("inception_v2", 69, None, (1, 1000)),
        ("resnet50", 53, 25_610_152, (1, 1000)),
        ("shufflenet", 49, None, (1, 1000)),
        ("squeezenet", 26, 1_235_496, (1, 1000, 1, 1)),
        ("vgg19", 16, 143_667_240, (1, 1000)),
        ("zfnet512", 5, None, (1, 1000)),
    ],
)
def test_light_cnns(
    name: str, convolutions: int, parameters: int | None, output: tuple[int, ...]
) -> None:
    imported = import_model(LIGHT / f"light_{name}.onnx")
    graph = imported.graph
    assert_sound(graph)
    assert imported.warnings == ()
    kinds = [op.kind for op in graph.operators]
    assert kinds.count("Conv") == convolutions
    assert "ConstantOfShape" not in kinds
    assert [tensor.shape for tensor in graph.by_role(Role.OUTPUT)] == [output]
    assert [tensor.shape for tensor in graph.by_role(Role.INPUT)] == [(1, 3, 224, 224)]
    if parameters is not None:
        # The published parameter count, plus mean and variance of each batch normalisation.
        assert sum(tensor.elements for tensor in graph.by_role(Role.WEIGHT)) == parameters


def shape_chain(folder: Path) -> Path:
    """x -> Reshape to (Shape(x)[0], -1), the target computed from the input's own shape."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
        helper.make_node("Relu", ["y"], ["z"]),
    ]
    constants = {"zero": np.array(0, np.int64), "axes": ints(0), "rest": ints(-1)}
    return save(folder, nodes, {"x": ["batch", 3, "side"]}, {"z": None}, constants)


def test_shape_arithmetic_folds_away(tmp_path: Path) -> None:
    imported = import_model(shape_chain(tmp_path), {"batch": 2, "side": 5})
    assert [op.kind for op in imported.graph.operators] == ["Reshape", "Relu"]
    reshape = imported.graph.operators[0]
    assert reshape.inputs == ("x",)
    assert reshape.attribute("shape") == (2, -1)
    assert imported.graph.tensor["z"].shape == (2, 15)
    assert not imported.graph.by_role(Role.WEIGHT)


def test_unbound_dims_are_named(tmp_path: Path) -> None:
    path = shape_chain(tmp_path)
    with pytest.raises(ModelError, match=r"3 tensors have no static shape") as caught:
        import_model(path)
    message = str(caught.value)
    assert "--dim batch=N --dim side=N" in message
    assert "x: FLOAT[batch, 3, side] (model input)" in message
    with pytest.raises(ModelError) as caught:
        import_model(path, {"batch": 2})
    assert message.split("--dim")[0] != ""
    assert "--dim side=N" in str(caught.value)
    assert "--dim batch=N" not in str(caught.value)


def test_unresolved_listing_is_capped(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", [f"t{i}"], [f"t{i + 1}"]) for i in range(40)]
    path = save(tmp_path, nodes, {"t0": ["N", 4]}, {"t40": None})
    with pytest.raises(ModelError) as caught:
        import_model(path)
    assert "41 tensors" in str(caught.value)
    assert "and 29 more" in str(caught.value)
    assert len(str(caught.value).splitlines()) < 20


def test_nameless_dimension_binds_by_input_and_axis(tmp_path: Path) -> None:
    path = save(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], {"x": [4, None]}, {"y": None})
    with pytest.raises(ModelError, match="--dim x:1=N"):
        import_model(path)
    assert import_model(path, {"x:1": 3}).graph.tensor["y"].shape == (4, 3)


@pytest.mark.parametrize("name", [None, "unk__616"])
def test_batch_left_unnamed_by_the_exporter_is_one(tmp_path: Path, name: str | None) -> None:
    path = save(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], {"x": [name, 4]}, {"y": None})
    imported = import_model(path)
    assert imported.graph.tensor["y"].shape == (1, 4)
    assert any("assuming 1" in warning for warning in imported.warnings)
    given = import_model(path, {name or "x:0": 2})
    assert given.graph.tensor["y"].shape == (2, 4)
    assert not given.warnings


def test_named_batch_must_be_given(tmp_path: Path) -> None:
    path = save(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", 4]}, {"y": None})
    with pytest.raises(ModelError, match="--dim N=N"):
        import_model(path)


def test_data_dependent_shape_names_the_operator(tmp_path: Path) -> None:
    path = save(tmp_path, [helper.make_node("NonZero", ["x"], ["y"])], {"x": [2, 2]}, {"y": None})
    with pytest.raises(ModelError, match=r"first shape is lost at ai\.onnx:NonZero 'NonZero_0'"):
        import_model(path)


def test_names_are_invented_and_made_unique(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"], name="twice"),
        helper.make_node("Relu", ["b"], ["c"], name="twice"),
        helper.make_node("Relu", ["c"], ["d"], name="Relu_0"),
    ]
    graph = import_model(save(tmp_path, nodes, {"x": [1]}, {"d": None})).graph
    names = [op.name for op in graph.operators]
    assert len(set(names)) == 4
    assert names[1] == "twice"
    assert names[3] == "Relu_0"
    assert [op.nodes for op in graph.operators] == [(name,) for name in names]


def test_unsorted_nodes_are_sorted(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["b", "a"], ["y"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Neg", ["x"], ["a"]),
    ]
    graph = import_model(save(tmp_path, nodes, {"x": [3]}, {"y": None})).graph
    assert_sound(graph)
    assert [op.kind for op in graph.operators] == ["Neg", "Relu", "Add"]


def test_dead_nodes_are_left_out(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["unused"])]
    graph = import_model(save(tmp_path, nodes, {"x": [3]}, {"y": None})).graph
    assert [op.kind for op in graph.operators] == ["Relu"]


def if_model(folder: Path, condition: str) -> Path:
    """If(condition) with a nested If in the then-branch and captures from outside."""
    inner = [
        helper.make_graph(
            [helper.make_node("Neg", ["h"], ["inner"])], "neg", [], [value("inner", None)]
        ),
        helper.make_graph(
            [helper.make_node("Abs", ["x"], ["inner_else"])], "abs", [], [value("inner_else", None)]
        ),
    ]
    then_branch = helper.make_graph(
        [
            helper.make_node("Add", ["x", "one"], ["h"]),
            helper.make_node("If", ["yes"], ["r"], then_branch=inner[0], else_branch=inner[1]),
        ],
        "then",
        [],
        [value("r", None)],
        [numpy_helper.from_array(np.ones(1, np.float32), "one")],
    )
    else_branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["e"])], "else", [], [value("e", None)]
    )
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Equal", ["s", "three"], ["same"]),
        helper.make_node("Squeeze", ["same"], ["yes"]),
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Cast", ["m"], ["data"], to=TensorProto.BOOL),
        helper.make_node(
            "If",
            [condition],
            ["y"],
            name="choose",
            then_branch=then_branch,
            else_branch=else_branch,
        ),
    ]
    return save(folder, nodes, {"x": ["n"]}, {"y": None}, {"three": ints(3)})


def test_constant_if_takes_its_branch(tmp_path: Path) -> None:
    path = if_model(tmp_path, "yes")
    then_graph = import_model(path, {"n": 3}).graph
    assert_sound(then_graph)
    assert [op.kind for op in then_graph.operators] == ["Add", "Neg", "Identity", "Identity"]
    assert then_graph.tensor["y"].shape == (3,)
    else_graph = import_model(path, {"n": 4}).graph
    assert [op.kind for op in else_graph.operators] == ["Relu", "Identity"]


def test_data_dependent_if_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="node 'choose' \\(If\\): its condition 'data'"):
        import_model(if_model(tmp_path, "data"), {"n": 3})


def test_loop_is_refused_by_name(tmp_path: Path) -> None:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["c"], ["c2"]),
            helper.make_node("Relu", ["v"], ["v2"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            value("v", [3]),
        ],
        [helper.make_tensor_value_info("c2", TensorProto.BOOL, []), value("v2", [3])],
    )
    nodes = [helper.make_node("Loop", ["trips", "", "x"], ["y"], name="again", body=body)]
    path = save(tmp_path, nodes, {"x": [3]}, {"y": [3]}, {"trips": np.array(2, np.int64)})
    with pytest.raises(ModelError, match="node 'again' \\(Loop\\) cannot be planned"):
        import_model(path)


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    body = [
        helper.make_node("Sigmoid", ["a"], ["s"]),
        helper.make_node("Mul", ["a", "s"], ["b"]),
    ]
    function = helper.make_function("local", "Swish", ["a"], ["b"], body, opsets[:1])
    nodes = [
        helper.make_node("Swish", ["x"], ["h"], domain="local"),
        helper.make_node("Swish", ["h"], ["y"], domain="local"),
    ]
    graph = helper.make_graph(nodes, "g", [value("x", [2, 2])], [value("y", [2, 2])])
    model = helper.make_model(graph, functions=[function], opset_imports=opsets)
    path = tmp_path / "f.onnx"
    path.write_bytes(model.SerializeToString())
    imported = import_model(path).graph
    assert_sound(imported)
    assert [op.kind for op in imported.operators] == ["Sigmoid", "Mul"] * 2


def test_unknown_kind_warns_once_and_takes_the_declared_shape(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Magic", ["x"], ["h"], domain="com.example"),
        helper.make_node("Magic", ["h"], ["y"], domain="com.example"),
    ]
    path = save(tmp_path, nodes, {"x": ["n", 4]}, {"y": ["n", 4]})
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"com\.example:Magic 'Magic_0'"):
        import_model(path, {"n": 2})
    model = onnx.load(path)
    model.graph.value_info.append(value("h", ["n", 8]))
    path.write_bytes(model.SerializeToString())
    imported = import_model(path, {"n": 2})
    assert [t.shape for t in imported.graph.tensors] == [(2, 4), (2, 8), (2, 4)]
    assert len(imported.warnings) == 1
    assert "com.example:Magic" in imported.warnings[0]


def test_dtypes_of_the_model_are_kept(tmp_path: Path) -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT16)
    graph = import_model(save(tmp_path, [node], {"x": [2, 3]}, {"y": None})).graph
    assert graph.tensor["y"].dtype is DType.FLOAT16
    assert graph.tensor["y"].size_bytes == 12


def test_unread_optional_outputs_are_left_out(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Dropout", ["x"], ["h", "mask"]),
        helper.make_node("Split", ["h"], ["a", "b"], axis=0),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    graph = import_model(save(tmp_path, nodes, {"x": [2, 3]}, {"y": None})).graph
    assert graph.operators[0].outputs == ("h",)
    assert graph.operators[1].outputs == ("a", "b")


def test_import_is_deterministic() -> None:
    path = LIGHT / "light_squeezenet.onnx"
    first, second = import_model(path), import_model(str(path))
    assert isinstance(first, ImportedModel)
    assert first.graph.hash == second.graph.hash
