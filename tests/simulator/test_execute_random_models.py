"""From file to proof: random models, every pipeline, tight scratchpads, spills on purpose."""

import tempfile
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulator.random_models import random_model

from stowplan.ir.check_plan import check_plan
from stowplan.ir.graph import Graph
from stowplan.ir.memory import MemorySpec
from stowplan.ir.onnx_import import ImportedModel, import_model
from stowplan.ir.plan import Plan, Residency, Transfer, TransferKind
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.pipeline import default_pipeline, run_pipeline
from stowplan.passes.planner import PlanOptions
from stowplan.passes.problem import planning_problem
from stowplan.passes.tiling.tile import Tile
from stowplan.simulator.execute import prove
from stowplan.targets.load import load_target

pytest.importorskip("onnxruntime")

PIPELINES = (
    "",
    "elide-views,in-place",
    "elide-views,precision,in-place",
    default_pipeline(),
    default_pipeline("int8"),
    default_pipeline("int4"),
    default_pipeline(None, Tile(capacity=800, partly=True)),
    default_pipeline("int8", Tile(capacity=1600, partly=True)),
)


def imported_model(seed: int, steps: int = 12) -> ImportedModel:
    with tempfile.TemporaryDirectory() as folder:
        return import_model(random_model(seed, Path(folder), steps))


def plan_tightly(graph: Graph, tracked: bool) -> tuple[Plan, MemorySpec]:
    base = load_target("edge-npu")
    problem = planning_problem(graph, base.memory_spec(tracked))
    needed = max(map(problem.demand, range(problem.operators)))
    scratchpad = msgspec.structs.replace(base.scratchpad, size_bytes=needed)
    target = msgspec.structs.replace(base, scratchpad=scratchpad)
    return plan_greedy(graph, target, PlanOptions(track_weights=tracked)), target.memory_spec(
        tracked
    )


def thrashing(graph: Graph, plan: Plan, tracked: bool) -> tuple[Plan, MemorySpec]:
    """In the order of ``plan``, every operator loads what it needs and stores what it wrote."""
    memory = MemorySpec(1 << 40, stream_weights=not tracked)
    problem = planning_problem(graph, memory)
    index = {op.name: i for i, op in enumerate(graph.operators)}
    stays: list[Residency] = []
    moves: list[Transfer] = []
    for step, name in enumerate(plan.order):
        operator, address = index[name], 0
        for v in reversed(problem.uses(operator)):
            storage = problem.storages[v].name
            stays.append(Residency(storage, step, step + 1, address, step))
            address += problem.size[v]
            if v in problem.needs[operator]:
                moves.append(Transfer(TransferKind.LOAD, storage, step, step))
            if v in problem.defines[operator] + problem.updates[operator]:
                moves.append(Transfer(TransferKind.STORE, storage, step + 1, step + 1))
    return replace(plan, residencies=tuple(stays), transfers=tuple(moves)), memory


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    pipeline=st.sampled_from(PIPELINES),
    tracked=st.booleans(),
    spill_all=st.booleans(),
)
def test_random_models_are_proved(seed: int, pipeline: str, tracked: bool, spill_all: bool) -> None:
    imported = imported_model(seed)
    graph = run_pipeline(imported.graph, pipeline)
    plan, memory = plan_tightly(graph, tracked)
    if spill_all:
        plan, memory = thrashing(graph, plan, tracked)
    assert check_plan(graph, plan, memory) == ()
    result = prove(imported, graph, plan, memory)
    result.require()
    assert result.operators == len(graph.operators)
    assert {match.name for match in result.outputs} == set(imported.source.output_names)


def test_the_models_cover_views_spills_and_every_width() -> None:
    widened, views, spilled = set(), 0, 0
    for seed in range(6):
        imported = imported_model(seed)
        for pipeline in PIPELINES[2:6]:
            graph = run_pipeline(imported.graph, pipeline)
            plan, memory = plan_tightly(graph, tracked=False)
            widened.add(prove(imported, graph, plan, memory).widened_by)
            views += any(tensor.alias is not None for tensor in graph.tensors)
            spilled += plan.proof.value > 0
    assert widened == {1, 4, 8}
    assert min(views, spilled) >= 6


@pytest.mark.parametrize("seed", [9, 15])
def test_tiles_of_a_value_that_others_cut_elsewhere(seed: int) -> None:
    """Seed 9 has pieces joined along one axis only; seed 15 a tile that reads a part of a join."""
    imported = imported_model(seed)
    graph = run_pipeline(imported.graph, default_pipeline(None, Tile(capacity=800, partly=True)))
    assert any(op.parent is not None for op in graph.operators)
    plan, memory = plan_tightly(graph, tracked=False)
    assert check_plan(graph, plan, memory) == ()
    prove(imported, graph, plan, memory).require()


@pytest.mark.parametrize("seed", [6, 8])
def test_an_odd_number_of_half_bytes_fills_its_last_byte(seed: int) -> None:
    imported = imported_model(seed)
    graph = run_pipeline(imported.graph, default_pipeline("int4"))
    assert any(tensor.elements % 2 for tensor in graph.tensors)
    plan, memory = plan_tightly(graph, tracked=True)
    prove(imported, graph, plan, memory).require()
