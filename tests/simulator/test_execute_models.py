"""The functional proof on imported models: a real CNN, and an int8 one in QDQ form."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stowplan.errors import ModelError
from stowplan.ir.check_plan import check_plan
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph
from stowplan.ir.memory import MemorySpec
from stowplan.ir.onnx_import import ImportedModel, import_model
from stowplan.ir.plan import Plan, Residency, TransferKind
from stowplan.ir.traffic import traffic
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.pipeline import run_pipeline
from stowplan.passes.planner import PlanOptions
from stowplan.passes.problem import planning_problem
from stowplan.simulator.execute import prove
from stowplan.simulator.execute_kernels import run_whole
from stowplan.targets.load import load_target

pytest.importorskip("onnxruntime")

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def plan_tightly(graph: Graph, tracked: bool = False) -> tuple[Plan, MemorySpec]:
    """A greedy plan in the smallest scratchpad each operator fits."""
    base = load_target("edge-npu")
    problem = planning_problem(graph, base.memory_spec(tracked))
    needed = max(map(problem.demand, range(problem.operators)))
    scratchpad = msgspec.structs.replace(base.scratchpad, size_bytes=needed)
    target = msgspec.structs.replace(base, scratchpad=scratchpad)
    plan = plan_greedy(graph, target, PlanOptions(track_weights=tracked, time_limit_s=5))
    return plan, target.memory_spec(tracked)


def narrowed(graph: Graph) -> Graph:
    """The graph at the sizes an int8 form of a float32 model would have; it has no views yet."""
    assert all(tensor.alias is None for tensor in graph.tensors)
    return graph.replace(
        tensors=tuple(
            replace(t, dtype=DType.INT8) if t.dtype is DType.FLOAT32 else t for t in graph.tensors
        )
    )


@pytest.mark.parametrize("int8_sizes", [False, True])
def test_a_real_cnn_is_proved(int8_sizes: bool) -> None:
    imported = import_model(LIGHT / "light_squeezenet.onnx")
    graph = narrowed(imported.graph) if int8_sizes else imported.graph
    plan, memory = plan_tightly(graph)
    assert check_plan(graph, plan, memory) == ()
    result = prove(imported, graph, plan, memory)
    result.require()
    assert result.operators == len(graph.operators)
    assert result.widened_by == (4 if int8_sizes else 1)
    assert result.scratchpad_bytes <= memory.capacity_bytes


def test_other_inputs_are_proved_too() -> None:
    imported = import_model(LIGHT / "light_squeezenet.onnx")
    plan, memory = plan_tightly(imported.graph)
    assert all(prove(imported, imported.graph, plan, memory, seed=s).passed for s in (1, 2))


def qdq_model(path: Path) -> Path:
    """Two int8 convolutions with a residual connection, quantised as QDQ pairs."""
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, npt.NDArray[Any]] = {
        "scale": np.array(0.05, np.float32),
        "zero": np.array(3, np.int8),
        "weight_scale": np.array(0.02, np.float32),
        "weight_zero": np.array(0, np.int8),
    }

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], f"{output}_node", **attributes))
        return output

    def dequantize(name: str) -> str:
        return node("DequantizeLinear", [name, "scale", "zero"], f"{name}_real")

    def convolve(source: str, output: str) -> str:
        weight = f"{output}_weight"
        constants[weight] = rng.integers(-90, 90, (8, 8, 3, 3), np.int8)
        real = node("DequantizeLinear", [weight, "weight_scale", "weight_zero"], f"{weight}_real")
        raw = node("Conv", [dequantize(source), real], f"{output}_raw", pads=[1, 1, 1, 1])
        rectified = node("Relu", [raw], f"{output}_relu")
        return node("QuantizeLinear", [rectified, "scale", "zero"], output)

    first = convolve("x", "first")
    second = convolve(first, "second")
    total = node("Add", [dequantize(second), "first_real"], "total_real")
    node("QuantizeLinear", [total, "scale", "zero"], "y")
    graph = helper.make_graph(
        nodes,
        "qdq",
        [helper.make_tensor_value_info("x", TensorProto.INT8, (1, 8, 12, 12))],
        [helper.make_tensor_value_info("y", TensorProto.INT8, (1, 8, 12, 12))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.fixture
def int8_model(tmp_path: Path) -> ImportedModel:
    return import_model(qdq_model(tmp_path / "qdq.onnx"))


@pytest.mark.parametrize("tracked", [False, True])
def test_an_int8_model_is_proved_under_pressure(int8_model: ImportedModel, tracked: bool) -> None:
    graph = int8_model.graph
    plan, memory = plan_tightly(graph, tracked)
    result = prove(int8_model, graph, plan, memory)
    result.require()
    assert result.widened_by == 1


def test_corruption_of_a_real_plan_is_caught_by_both() -> None:
    imported = import_model(LIGHT / "light_shufflenet.onnx")
    graph = imported.graph
    plan, memory = plan_tightly(graph)
    assert traffic(graph, plan, memory).noncompulsory_bytes > 0
    reloads = [t for t in plan.transfers if t.kind is TransferKind.LOAD and t.issue > 0]
    dropped = random.Random(0).choice(reloads)
    fewer = replace(plan, transfers=tuple(t for t in plan.transfers if t is not dropped))
    step = next(
        i
        for i in range(len(plan.order) - 1)
        if set(graph.operator[plan.order[i]].outputs)
        & set(graph.operator[plan.order[i + 1]].inputs)
    )
    order = (*plan.order[:step], plan.order[step + 1], plan.order[step], *plan.order[step + 2 :])
    victim, above = _neighbours(plan)
    shifted = tuple(
        replace(r, address=above.address) if r is victim else r for r in plan.residencies
    )
    for mutant in (fewer, replace(plan, order=order), replace(plan, residencies=shifted)):
        assert check_plan(graph, mutant, memory)
        assert not prove(imported, graph, mutant, memory).passed


def _neighbours(plan: Plan) -> tuple[Residency, Residency]:
    """Two residencies of which the second begins, elsewhere, while the first is still needed."""
    return next(
        (b, a)
        for a in plan.residencies
        for b in plan.residencies
        if a.address != b.address and a.reserved_from < b.start and b.start + 1 < a.end
    )


def test_a_model_too_large_to_run_says_so(tmp_path: Path) -> None:
    """Its weights are absent from the file and never made up: the sizes alone are too much."""
    weight = TensorProto(
        name="w",
        data_type=TensorProto.FLOAT,
        dims=[24_000, 24_000],
        data_location=TensorProto.EXTERNAL,
    )
    weight.external_data.add(key="location", value="absent.bin")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "huge",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 24_000))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 24_000))],
        [weight],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    path = tmp_path / "huge.onnx"
    path.write_bytes(model.SerializeToString())
    imported = import_model(path)
    plan, memory = plan_tightly(imported.graph)
    with pytest.raises(ModelError, match=r"2,304,000,000 bytes of weights .* 2 GiB.*prove a small"):
        prove(imported, imported.graph, plan, memory)


def small_model(
    folder: Path,
    nodes: list[onnx.NodeProto],
    outputs: list[str],
    constants: dict[str, npt.NDArray[Any]] | None = None,
) -> ImportedModel:
    """A model of one float32 input ``x`` whose values all have its shape."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (4, 6))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, (4, 6)) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    opset = [helper.make_opsetid("", 17)]
    path = folder / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return import_model(path)


@pytest.mark.parametrize("pipeline", ["", "canonicalise,fuse-elementwise,elide-views,in-place"])
def test_roundings_to_half_precision_are_kept(tmp_path: Path, pipeline: str) -> None:
    """ONNX Runtime computes halves in single precision and would drop the casts in between."""
    imported = small_model(
        tmp_path,
        [
            helper.make_node("Cast", ["x"], ["a"], to=TensorProto.FLOAT16),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Sigmoid", ["b"], ["c"]),
            helper.make_node("Cast", ["c"], ["y"], to=TensorProto.FLOAT),
        ],
        ["y"],
    )
    graph = run_pipeline(imported.graph, pipeline)
    plan, memory = plan_tightly(graph)
    given = imported.source.random_inputs(0)
    halves = run_whole(imported.source, given)["y"]
    np.testing.assert_array_equal(halves, halves.astype(np.float16).astype(np.float32))
    result = prove(imported, graph, plan, memory)
    result.require()
    assert [match.name for match in result.outputs] == ["y"]


def test_an_input_may_be_an_output_too(tmp_path: Path) -> None:
    imported = small_model(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], ["y", "x"])
    plan, memory = plan_tightly(imported.graph)
    result = prove(imported, imported.graph, plan, memory)
    result.require()
    assert [match.name for match in result.outputs] == ["y"]


@pytest.mark.parametrize(
    ("kind", "inputs"), [("RandomNormalLike", ["x"]), ("Dropout", ["x", "", "training"])]
)
def test_models_that_draw_random_numbers_say_so(
    tmp_path: Path, kind: str, inputs: list[str]
) -> None:
    imported = small_model(
        tmp_path,
        [
            helper.make_node(kind, inputs, ["a"]),
            helper.make_node(kind, inputs, ["b"]),
            helper.make_node("Sub", ["a", "b"], ["y"]),
        ],
        ["y"],
        {"training": np.array(True)},
    )
    plan, memory = plan_tightly(imported.graph)
    with pytest.raises(ModelError, match=rf"\({kind}\) draws random numbers"):
        prove(imported, imported.graph, plan, memory)
