"""Tiled graphs: what is cut, what it needs, what it costs."""

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from tests.ir.onnx_models import save

import stowplan
from stowplan.errors import InfeasiblePlanError, UsageError
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.ir.memory import MemorySpec
from stowplan.ir.onnx_import import import_model
from stowplan.ir.verify import verify
from stowplan.passes.pipeline import default_pipeline, parse_pipeline, print_pipeline, run_pipeline
from stowplan.passes.problem import planning_problem
from stowplan.passes.tiling.demand import demands
from stowplan.passes.tiling.reshapes import relaid
from stowplan.passes.tiling.tile import Tile, fits, tile_graph
from stowplan.recipe import model_path
from stowplan.targets.cost import operator_cost
from stowplan.targets.load import load_target

MODEL = "light:squeezenet"


def fused(model: str = MODEL) -> Graph:
    graph = import_model(model_path(model)).graph
    return run_pipeline(graph, "canonicalise,fuse-conv,dead-code,precision")


@pytest.fixture(scope="module")
def graph() -> Graph:
    return fused()


@pytest.mark.parametrize(("size", "tracked"), [("32KiB", False), ("64KiB", True)])
def test_every_tile_fits_and_tiles_cover_what_they_cut(
    graph: Graph, size: str, tracked: bool
) -> None:
    target = load_target("edge-npu", (f"scratchpad.size={size}",))
    tiled = tile_graph(graph, target, tracked)
    verify(tiled)
    memory = target.memory_spec(tracked)
    assert not fits(graph, memory) and fits(tiled, memory)
    for name in {tensor.parent for tensor in tiled.tensors if tensor.parent}:
        owners = [t for t in tiled.tensors if name in (t.parent, t.name) and t.alias is None]
        assert sum(tensor.elements for tensor in owners) == graph.tensor[name].elements
    for parent in {op.parent for op in tiled.operators if op.parent}:
        regions = [op.region for op in tiled.operators if op.parent == parent]
        done = sum(prod(b - a for a, b in region or ()) for region in regions)
        assert done == graph.tensor[graph.operator[parent].outputs[0]].elements


def test_a_graph_that_fits_is_left_alone(graph: Graph) -> None:
    big = load_target("edge-npu")
    assert tile_graph(graph, big).operators == graph.operators
    only = Tile(capacity=8 << 20, fit=True).apply(graph)
    assert not only.modified and only.graph is graph


def test_tiling_is_deterministic_and_a_pass_like_any_other(graph: Graph) -> None:
    text = "tile{capacity=65536,track_weights=true}"
    assert print_pipeline(parse_pipeline(text)) == text
    assert run_pipeline(graph, text).hash == run_pipeline(graph, text).hash
    with pytest.raises(UsageError, match="capacity"):
        run_pipeline(graph, "tile")


def test_rows_of_a_tile_can_be_limited(graph: Graph) -> None:
    tiled = run_pipeline(graph, "tile{capacity=262144,most_rows=4}")
    rows = [op.region[2] for op in tiled.operators if op.region and len(op.region) == 4]
    convolutions = [op for op in tiled.operators if op.parent and op.kind == "Conv"]
    assert convolutions and rows
    alone = run_pipeline(graph, "tile{capacity=262144,most_rows=4,fuse=false}")
    regions = [op.region for op in alone.operators if op.region and len(op.region) == 4]
    assert regions and all(upper - lower <= 4 for *_, (lower, upper), _ in regions)


def test_array_shape_and_bursts_count(graph: Graph) -> None:
    free = run_pipeline(graph, "tile{capacity=65536,fuse=false}")
    target = load_target("edge-npu", ("scratchpad.size=64KiB",))
    shaped = tile_graph(graph, target, fuse=False)
    cycles = [
        sum(operator_cost(each, op, target).compute_cycles for op in each.operators)
        for each in (free, shaped)
    ]
    assert cycles[1] <= cycles[0]


def test_a_tile_that_cannot_be_cut_further_is_named() -> None:
    target = load_target("edge-npu", ("scratchpad.size=128B",))
    with pytest.raises(InfeasiblePlanError, match=r"tile '.*@smallest' of operator"):
        stowplan.compile(MODEL, target, "greedy", precision="int8", track_weights=True)


@pytest.mark.parametrize("shape", [(8, 4096), (3, 5, 1000)])
def test_the_smallest_scratchpad_named_is_enough(shape: tuple[int, ...]) -> None:
    tensors = (
        Tensor("x", shape, DType.FLOAT32, Role.INPUT),
        Tensor("y", shape, DType.FLOAT32),
        Tensor("z", shape, DType.FLOAT32, Role.OUTPUT),
    )
    operators = (
        Operator("relu", "Relu", ("x",), ("y",)),
        Operator("softmax", "Softmax", ("y",), ("z",), attributes=(("axis", -1),)),
    )
    graph = Graph("rows", tensors, operators)
    with pytest.raises(InfeasiblePlanError) as caught:
        Tile(capacity=4_096).apply(graph)
    misfit = caught.value.misfit
    row_bytes = shape[-1] * 4
    assert misfit.tile_of == "softmax" and misfit.needed_bytes >= 2 * row_bytes
    assert misfit.operands == (("y", row_bytes), ("z", row_bytes))
    memory = MemorySpec(misfit.smallest_capacity_bytes, 64)
    assert fits(Tile(capacity=memory.capacity_bytes).apply(graph).graph, memory)


@pytest.mark.parametrize("tracked", [False, True])
def test_demands_are_those_of_the_planning_problem(graph: Graph, tracked: bool) -> None:
    memory = MemorySpec(65_536, 64, not tracked)
    tiled = Tile(capacity=65_536, track_weights=tracked).apply(graph).graph
    problem = planning_problem(tiled, memory)
    assert demands(tiled, memory) == [problem.demand(o) for o in range(problem.operators)]


def test_tiles_multiply_as_much_as_their_parent(graph: Graph) -> None:
    target = load_target("edge-npu", ("scratchpad.size=64KiB",))
    tiled = tile_graph(graph, target)
    macs: dict[str, int] = {}
    for op in tiled.operators:
        cost = operator_cost(tiled, op, target)
        assert all(name in tiled.tensor for name, _ in (*cost.reads, *cost.writes))
        assert cost.compute_cycles >= 1
        macs[op.parent or op.name] = macs.get(op.parent or op.name, 0) + cost.macs
    for op in graph.operators:
        if op.name in macs:
            assert macs[op.name] == operator_cost(graph, op, target).macs


def test_depth_first_chains_move_less_than_layer_by_layer(graph: Graph) -> None:
    moved = []
    for fuse in (True, False):
        tile = Tile(capacity=64 << 10, track_weights=True, fuse=fuse)
        tiled = run_pipeline(graph, print_pipeline((tile,)))
        target = load_target("edge-npu", ("scratchpad.size=64KiB",))
        compiled = stowplan.compile(tiled, target, "greedy", track_weights=True)
        moved.append(compiled.plan.proof.value)
    assert moved[0] < moved[1]


def test_compile_tiles_when_asked_or_needed(tmp_path: Path) -> None:
    small = ["scratchpad.size=128KiB"]
    with pytest.raises(InfeasiblePlanError):
        stowplan.compile(MODEL, planner="greedy", overrides=small, tile="never")
    compiled = stowplan.compile(MODEL, planner="greedy", overrides=small, precision="int8")
    assert any(op.parent for op in compiled.graph.operators)
    path = compiled.save(tmp_path) / "plan.json"
    again = stowplan.reopen(MODEL, stowplan.Plan.load(path))
    assert again.graph.hash == compiled.graph.hash
    with pytest.raises(UsageError, match="tile"):
        stowplan.compile(MODEL, tile="perhaps")


def test_an_operator_that_cannot_be_split_stays_whole() -> None:
    shape = (1, 64, 64)
    tensors = (
        Tensor("x", shape, DType.INT8, Role.INPUT),
        Tensor("u", shape, DType.INT8, Role.INPUT),
        Tensor("y", shape, DType.INT8),
        Tensor("z", shape, DType.INT8, Role.OUTPUT),
    )
    operators = (
        Operator("strange", "Unheard", ("x",), ("y",)),
        Operator("sum", "Add", ("y", "u"), ("z",)),
    )
    graph = Graph("strange", tensors, operators)
    result = Tile(capacity=9_000).apply(graph).graph
    verify(result)
    assert sum(op.parent == "strange" for op in result.operators) == 1
    assert sum(op.parent == "sum" for op in result.operators) > 1
    assert fits(result, MemorySpec(9_000, 64)) and not fits(graph, MemorySpec(9_000, 64))
    with pytest.raises(InfeasiblePlanError, match="'strange', which tiles cannot cut,") as caught:
        Tile(capacity=6_000).apply(graph)
    assert caught.value.misfit.smallest_capacity_bytes == 2 * 64 * 64


@given(
    st.sampled_from(
        [((12, 10), (3, 4, 10)), ((2, 3, 4), (6, 4)), ((24,), (2, 3, 4)), ((6, 4), (24,))]
    ),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_reshaped_boxes_hold_every_element(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], data: st.DataObject
) -> None:
    source, result = shapes
    box = []
    for extent in result:
        lower = data.draw(st.integers(0, extent - 1))
        box.append((lower, data.draw(st.integers(lower + 1, extent))))
    wanted = np.arange(prod(result)).reshape(result)[tuple(slice(*side) for side in box)]
    found = relaid(source, result, tuple(box))
    held = np.arange(prod(source)).reshape(source)[tuple(slice(*side) for side in found)]
    assert set(wanted.reshape(-1)) <= set(held.reshape(-1))


def test_usual_pipeline_puts_tiling_before_views() -> None:
    passes = default_pipeline("int8", Tile(capacity=1 << 16)).split(",")
    assert passes.index("tile{capacity=65536}") < passes.index("elide-views")


def test_a_view_too_large_before_it_is_elided_cuts_nothing(tmp_path: Path) -> None:
    """Operand and result of a Reshape are two storages until they become one."""
    made = np.random.default_rng(0).standard_normal
    shapes = {"w": (16, 96), "v": (96, 8), "u": (8, 512)}
    constants = {name: made(shape, dtype=np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Reshape", ["a", "s"], ["b"]),
        helper.make_node("MatMul", ["b", "v"], ["c"]),
        helper.make_node("MatMul", ["c", "u"], ["y"]),
    ]
    wide: dict[str, Any] = {**constants, "s": np.array([1, 64, 96], np.int64)}
    model = save(tmp_path, nodes, {"x": (64, 16)}, {"y": None}, wide)
    compiled = stowplan.compile(
        model, "edge-npu", "greedy", overrides=[f"scratchpad.size={64 * 96 * 4 + 8192}"]
    )
    assert "a" in {tensor.name for tensor in compiled.graph.tensors}
    assert sum((op.parent or op.name) == "MatMul_3" for op in compiled.graph.operators) > 1
    compiled.prove()


def test_where_nothing_is_cut_views_make_no_storage_that_is_too_large(tmp_path: Path) -> None:
    """The parts of a Split would be read as one storage, which does not fit beside the table."""
    made = np.random.default_rng(0).standard_normal
    constants = {"w": made((16, 128), dtype=np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Split", ["a"], ["b", "c", "d"], axis=0),
        helper.make_node("MatMul", ["b", "t"], ["y"]),
        helper.make_node("Mul", ["c", "d"], ["z"]),
    ]
    inputs = {"x": (24, 16), "t": (128, 28)}
    model = save(tmp_path, nodes, inputs, {"y": None, "z": None}, constants)
    size = ["scratchpad.size=25600"]
    compiled = stowplan.compile(model, "edge-npu", "greedy", overrides=size, tile="always")
    assert not any(op.parent for op in compiled.graph.operators)
    compiled.prove()
