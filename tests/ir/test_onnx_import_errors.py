"""Unusable files end in a ModelError that says what is wrong, where, and what to do."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tests.ir.onnx_models import LIGHT, save

from stowplan.errors import ModelError
from stowplan.ir.onnx_import import import_model


def relu_model(folder: Path, opset: int = 17) -> Path:
    nodes = [helper.make_node("Relu", ["x"], ["y"], name="act")]
    return save(folder, nodes, {"x": ["n", 4]}, {"y": None}, opset=opset)


def edited(path: Path, edit: object) -> Path:
    model = onnx.load(path)
    edit(model)  # type: ignore[operator]
    path.write_bytes(model.SerializeToString())
    return path


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.onnx: no such file; check the path"):
        import_model(tmp_path / "nowhere.onnx")


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is a directory; name the \.onnx file in it"):
        import_model(tmp_path)


@pytest.mark.parametrize(
    "data", [b"", b"hello, this is text\n" * 9, b"\x00\x01\x02", b"PK\x03\x04zip"]
)
def test_not_a_model(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"bad\.onnx: not (a complete|an) ONNX model"):
        import_model(path)


def test_lfs_pointer(tmp_path: Path) -> None:
    path = tmp_path / "p.onnx"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(ModelError, match="git lfs pull"):
        import_model(path)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(fraction=st.floats(0, 0.999))
def test_truncated_file(tmp_path: Path, fraction: float) -> None:
    data = (LIGHT / "light_squeezenet.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * fraction)])
    with pytest.raises(ModelError, match=r"cut\.onnx"):
        import_model(path)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 10**6))
def test_corrupted_file_never_ends_in_a_traceback(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray((LIGHT / "light_zfnet512.onnx").read_bytes())
    for _ in range(4):
        data[int(rng.integers(len(data)))] = int(rng.integers(256))
    path = tmp_path / "corrupt.onnx"
    path.write_bytes(bytes(data))
    try:
        graph = import_model(path).graph
    except ModelError as error:
        assert str(error)
    else:
        assert graph.operators


def test_unknown_dim(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"--dim batch: no input .*symbolic dimensions: n\)"):
        import_model(relu_model(tmp_path), {"batch": 1})
    with pytest.raises(ModelError, match="every input is static"):
        import_model(LIGHT / "light_squeezenet.onnx", {"batch": 1})


@pytest.mark.parametrize("extent", [0, -3])
def test_dim_out_of_range(tmp_path: Path, extent: int) -> None:
    with pytest.raises(ModelError, match=f"--dim n={extent}: the extent must be at least 1"):
        import_model(relu_model(tmp_path), {"n": extent})


def test_old_opset(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"opset 6 is older than 7; .*version_converter"):
        import_model(relu_model(tmp_path, opset=6))


def test_missing_opset(tmp_path: Path) -> None:
    path = edited(relu_model(tmp_path), lambda model: model.ClearField("opset_import"))
    with pytest.raises(ModelError, match=r"opset_import has no entry for domain 'ai\.onnx'.*'act'"):
        import_model(path)


def test_undefined_operand(tmp_path: Path) -> None:
    path = save(tmp_path, [helper.make_node("Add", ["x", "ghost"], ["y"])], {"x": [1]}, {"y": None})
    with pytest.raises(ModelError, match=r"'Add_0' \(Add\) reads 'ghost', which no input"):
        import_model(path)


def test_undefined_output(tmp_path: Path) -> None:
    path = save(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], {"x": [1]}, {"z": None})
    with pytest.raises(ModelError, match=r"output 'z'.*no node produces"):
        import_model(path)


def test_cycle(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
    ]
    with pytest.raises(ModelError, match="part of a cycle"):
        import_model(save(tmp_path, nodes, {"x": [1]}, {"b": None}))


def test_tensor_produced_twice(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["y"])]
    with pytest.raises(ModelError, match="'y' is produced twice, the second time by node 'Neg_1'"):
        import_model(save(tmp_path, nodes, {"x": [1]}, {"y": None}))


def test_operands_that_do_not_fit_name_node_and_shapes(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="dense")]
    constants = {"w": np.ones((5, 6), np.float32)}
    path = save(tmp_path, nodes, {"x": [2, 4]}, {"y": None}, constants)
    with pytest.raises(ModelError, match=r"'dense' \(MatMul\) does not accept.*w: FLOAT\[5, 6\]"):
        import_model(path)


def test_payload_that_contradicts_the_shape(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    path = save(tmp_path, nodes, {"x": [4]}, {"y": None}, {"w": np.ones(4, np.float32)})

    def shorten(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].raw_data = b"123"

    with pytest.raises(ModelError, match=r"initializer 'w': raw_data holds 3 bytes .* needs 16"):
        import_model(edited(path, shorten))


def test_input_without_rank(tmp_path: Path) -> None:
    path = edited(
        relu_model(tmp_path),
        lambda model: model.graph.input[0].type.tensor_type.ClearField("shape"),
    )
    with pytest.raises(ModelError, match="states no shape for input 'x'"):
        import_model(path)


def test_sequence_input_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("SequenceAt", ["x", "i"], ["y"], name="pick")]
    path = save(tmp_path, nodes, {"x": [4]}, {"y": None}, {"i": np.array(0, np.int64)})
    with pytest.raises(ModelError, match=r"'pick' \(SequenceAt\) cannot be planned: sequences"):
        import_model(path)


def test_element_type_without_width(tmp_path: Path) -> None:
    path = save(
        tmp_path,
        [helper.make_node("Identity", ["x"], ["y"])],
        {"x": [4]},
        {"y": None},
        opset=28,
        element=TensorProto.DataType.Value("FLOAT6E2M3"),
    )
    with pytest.raises(ModelError, match="tensor 'x': element type FLOAT6E2M3 is not supported"):
        import_model(path)
