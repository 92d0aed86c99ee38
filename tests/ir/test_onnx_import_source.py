"""Kernels run one after another give the very bits the whole model gives in ONNX Runtime."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.ir.onnx_models import LIGHT, Array, ints, save, value

from stowplan.errors import InternalError
from stowplan.ir.graph import Operator
from stowplan.ir.onnx_import import ImportedModel, import_model

ort = pytest.importorskip("onnxruntime")


def run(model: bytes, feed: dict[str, Array]) -> dict[str, Array]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def assert_kernels_equal_whole(imported: ImportedModel, seed: int = 0) -> dict[str, Array]:
    """Run both ways, compare bit for bit, and return every value the kernels computed."""
    graph, source = imported.graph, imported.source
    values = source.random_inputs(seed)
    expected = run(source.whole(), dict(values))
    for op in graph.operators:
        feed = {n: values[n] if n in values else source.weight(n) for n in op.inputs}
        values |= run(source.kernel(op, graph), feed)
        for name in op.outputs:
            assert values[name].shape == graph.tensor[name].shape, name
            assert values[name].nbytes == graph.tensor[name].size_bytes, name
    for name, array in expected.items():
        assert array.tobytes() == values[name].tobytes(), name
    return values


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "inception_v1"])
def test_light_cnns(name: str) -> None:
    imported = import_model(LIGHT / f"light_{name}.onnx")
    values = assert_kernels_equal_whole(imported)
    for output in imported.source.output_names:
        assert np.isfinite(values[output]).all()
        assert values[output].std() > 0


def test_quantised_chain(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=1),
        helper.make_node("MatMul", ["xd", "wd"], ["h"]),
        helper.make_node("QuantizeLinear", ["h", "s", "z"], ["hq"]),
        helper.make_node("QLinearMatMul", ["hq", "s", "z", "w2", "s", "z", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    rng = np.random.default_rng(3)
    constants: dict[str, Array] = {
        "s": np.array(0.05, np.float32),
        "z": np.array(-3, np.int8),
        "w": rng.integers(-127, 128, (6, 4)).astype(np.int8),
        "ws": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
        "wz": np.zeros(4, np.int8),
        "w2": rng.integers(-127, 128, (4, 4)).astype(np.int8),
    }
    path = save(tmp_path, nodes, {"x": [3, 6]}, {"y": None}, constants)
    assert_kernels_equal_whole(import_model(path))


def folding_model(folder: Path) -> Path:
    """Shape arithmetic, an inexact folded constant and an If; runs at any batch."""
    then_branch, else_branch = (
        helper.make_graph(
            [helper.make_node(kind, ["h"], [f"{kind}_out"])], kind, [], [value(f"{kind}_out", None)]
        )
        for kind in ("Relu", "Tanh")
    )
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"]),
        helper.make_node("Greater", ["n", "two"], ["large"]),
        helper.make_node("Exp", ["table"], ["gain"]),
        helper.make_node("Mul", ["x", "gain"], ["h"]),
        helper.make_node("If", ["large"], ["i"], then_branch=then_branch, else_branch=else_branch),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["i", "target"], ["y"]),
    ]
    constants: dict[str, Array] = {
        "zero": np.array(0, np.int64),
        "two": np.array(2, np.int64),
        "table": np.linspace(-1, 1, 12).astype(np.float32).reshape(3, 4),
        "axes": ints(0),
        "rest": ints(-1),
    }
    return save(folder, nodes, {"x": ["batch", 3, 4]}, {"y": None}, constants)


@pytest.mark.parametrize(("batch", "branch"), [(2, "Tanh"), (3, "Relu")])
def test_folded_model_runs_like_the_file(tmp_path: Path, batch: int, branch: str) -> None:
    path = folding_model(tmp_path)
    imported = import_model(path, {"batch": batch})
    kinds = [op.kind for op in imported.graph.operators]
    assert kinds == ["Mul", branch, "Identity", "Reshape"]
    assert_kernels_equal_whole(imported)
    feed = imported.source.random_inputs(5)
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    original = run(model.SerializeToString(), feed)["y"]
    np.testing.assert_allclose(run(imported.source.whole(), feed)["y"], original, rtol=1e-6)


def test_group_runs_its_nodes_and_embeds_constants(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["wd"]),
        helper.make_node("MatMul", ["x", "wd"], ["h"]),
        helper.make_node("Add", ["h", "b"], ["a"]),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    constants: dict[str, Array] = {
        "w": np.arange(-6, 6, dtype=np.int8).reshape(3, 4),
        "s": np.array(0.5, np.float32),
        "b": np.arange(4, dtype=np.float32),
    }
    imported = import_model(save(tmp_path, nodes, {"x": [2, 3]}, {"y": None}, constants))
    names = tuple(op.name for op in imported.graph.operators)
    fused = Operator("fused", "MatMul", ("x", "w", "b"), ("y",), nodes=names)
    without_dequantise = Operator("part", "MatMul", ("x", "b"), ("y",), nodes=names[1:])
    source = imported.source
    feed = source.random_inputs(1)
    expected = run(source.whole(), feed)["y"]
    for operator in (fused, without_dequantise):
        given = {n: feed[n] if n in feed else source.weight(n) for n in operator.inputs}
        result = run(source.kernel(operator, imported.graph), given)["y"]
        np.testing.assert_array_equal(result, expected)


def test_kernel_keeps_opsets_and_an_accepted_ir_version() -> None:
    imported = import_model(LIGHT / "light_squeezenet.onnx")
    operator = imported.graph.operators[0]
    model = onnx.load_from_string(imported.source.kernel(operator, imported.graph))
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 9)]
    assert model.ir_version == 10
    assert [value.name for value in model.graph.input] == list(operator.inputs)


def test_kernel_of_a_foreign_operator_is_an_internal_error() -> None:
    imported = import_model(LIGHT / "light_squeezenet.onnx")
    foreign = Operator("tile", "Conv", (), (), nodes=("nowhere",))
    with pytest.raises(InternalError, match="unknown node 'nowhere'"):
        imported.source.kernel(foreign, imported.graph)
    with pytest.raises(InternalError, match="no constant"):
        imported.source.weight(imported.graph.operators[0].outputs[0])


def test_token_inputs_stay_inside_the_table(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT32),
        helper.make_node("Gather", ["table", "i"], ["y"], axis=0),
    ]
    constants: dict[str, Array] = {"table": np.eye(7, dtype=np.float32)}
    path = save(tmp_path, nodes, {"x": [4, 50]}, {"y": None}, constants, element=TensorProto.INT64)
    imported = import_model(path)
    tokens = imported.source.random_inputs(0)["x"]
    assert tokens.dtype == np.int64
    assert set(np.unique(tokens)) == set(range(7))
    assert (imported.source.random_inputs(1)["x"] != tokens).any()
    assert_kernels_equal_whole(imported)


def test_absent_batch_normalisation_stays_finite(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["h", "g", "b", "m", "v"], ["y"]),
    ]
    vectors = {name: np.ones(8, np.float32) for name in "gbmv"}
    constants: dict[str, Array] = {"w": np.ones((8, 3, 3, 3), np.float32), **vectors}
    path = save(tmp_path, nodes, {"x": [1, 3, 8, 8]}, {"y": None}, constants)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="gone.bin", size_threshold=0)
    (tmp_path / "gone.bin").unlink()
    imported = import_model(path)
    values = assert_kernels_equal_whole(imported)
    assert np.isfinite(values["y"]).all()
    assert (imported.source.weight("v") > 0).all()


def test_a_tile_may_leave_values_unread(tmp_path: Path) -> None:
    """Reading the second half of a join alone; sizes computed from the input's shape are known."""
    nodes = [
        helper.make_node("Relu", ["x"], ["h"], "relu"),
        helper.make_node("Concat", ["h", "x"], ["both"], "join", axis=0),
        helper.make_node("Shape", ["x"], ["shape"], "shape"),
        helper.make_node("Slice", ["both", "two", "four", "zero"], ["half"], "half"),
        helper.make_node("Reshape", ["half", "shape"], ["y"], "reshape"),
    ]
    constants = {"two": ints(2), "four": ints(4), "zero": ints(0)}
    imported = import_model(save(tmp_path, nodes, {"x": [2, 3]}, {"y": None}, constants))
    parts = ("join", "half", "reshape")
    source = imported.source
    x = source.random_inputs(0)["x"]
    whole = Operator("part", "Slice", ("x",), ("y",), nodes=parts)
    with pytest.raises(InternalError, match="'x' is no constant"):
        source.kernel(whole, imported.graph)
    read = source.kernel(replace(whole, parent="part"), imported.graph)
    np.testing.assert_array_equal(run(read, {"x": x})["y"], x)
    other = replace(whole, inputs=("h",), parent="part")
    assert np.isnan(run(source.kernel(other, imported.graph), {"h": x})["y"]).all()
