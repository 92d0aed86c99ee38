"""Scratchpads whose data come some cycles after their address."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import random_graph, small_target

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.latency import latency_model
from stowplan.passes.planner import PlanOptions
from stowplan.simulator.engine import run
from stowplan.simulator.lower import lower
from stowplan.simulator.machine import machine_of
from stowplan.simulator.reference import step_through
from stowplan.targets.cost import operator_cost
from stowplan.targets.gemm_cost import Gemm, gemm_cost
from stowplan.targets.load import load_target
from stowplan.targets.target import Array, Target

extents = st.integers(1, 30)
products = st.builds(Gemm, extents, extents, extents)
arrays = st.builds(
    Array,
    rows=st.integers(1, 6),
    cols=st.integers(1, 6),
    dataflow=st.sampled_from(("output_stationary", "weight_stationary", "input_stationary")),
    fold_mode=st.sampled_from(("drained", "pipelined")),
    element_stages=st.integers(0, 3),
    double_buffered=st.booleans(),
)


def cycles(gemm: Gemm, array: Array, latency: int) -> int:
    return gemm_cost(gemm, array, read_latency=latency).cycles


@settings(max_examples=200, deadline=None)
@given(products, arrays, st.integers(0, 4))
def test_with_stationary_outputs_it_is_a_stage_in_front_of_every_element(
    gemm: Gemm, array: Array, latency: int
) -> None:
    outputs = msgspec.structs.replace(array, dataflow="output_stationary")
    staged = msgspec.structs.replace(outputs, element_stages=outputs.stages + latency)
    assert cycles(gemm, outputs, latency) == cycles(gemm, staged, 0)


@settings(max_examples=200, deadline=None)
@given(products, arrays, st.integers(0, 4))
def test_every_fold_waits_once(gemm: Gemm, array: Array, latency: int) -> None:
    tall, wide = {
        "output_stationary": (gemm.m, gemm.n),
        "weight_stationary": (gemm.k, gemm.n),
        "input_stationary": (gemm.k, gemm.m),
    }[array.dataflow]
    folds = -(-tall // array.rows) * -(-wide // array.cols)
    if array.dataflow == "output_stationary" and array.fold_mode == "pipelined":
        folds = 1
    assert cycles(gemm, array, latency) - cycles(gemm, array, 0) == folds * latency


def slow(target: Target, latency: int) -> Target:
    pad = msgspec.structs.replace(target.scratchpad, read_latency_cycles=latency)
    return msgspec.structs.replace(target, scratchpad=pad)


def test_operators_on_the_vector_unit_wait_once() -> None:
    shape = (1, 4, 8, 8)
    tensors = (
        Tensor("x", shape, DType.INT8, Role.INPUT),
        Tensor("y", shape, DType.INT8, Role.OUTPUT),
    )
    graph = Graph("relu", tensors, (Operator("relu", "Relu", ("x",), ("y",)),))
    target = small_target(4096)
    found = [
        operator_cost(graph, graph.operators[0], slow(target, n)).compute_cycles for n in (0, 3)
    ]
    assert found[1] == found[0] + 3
    read = load_target("edge-npu", ("scratchpad.read_latency_cycles=2",))
    assert read.scratchpad == slow(load_target("edge-npu"), 2).scratchpad


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("track", [True, False])
def test_engine_equals_stepping_and_takes_no_less(seed: int, track: bool) -> None:
    graph, target = random_graph(seed, 6, 256), small_target(1 << 13)
    plan = plan_greedy(graph, target, PlanOptions(track_weights=track))
    before = run(lower(graph, plan, target), machine_of(target)).cycles
    late = slow(target, 1 + seed % 3)
    program, machine = lower(graph, plan, late), machine_of(late)
    timing = run(program, machine)
    assert timing == step_through(program, machine)
    assert timing.cycles > before
    model = latency_model(graph, late, late.memory_spec(track))
    assert sum(model.compute_cycles.values()) <= timing.cycles
