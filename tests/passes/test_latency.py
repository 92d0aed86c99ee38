"""The planners' clock: what it says of an operator is what its commands take in a program."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import random_graph, small_target

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.ir.program import CommandKind
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.latency import latency_model
from stowplan.passes.planner import PlanOptions
from stowplan.simulator.lower import lower
from stowplan.targets.cost import operator_cost
from stowplan.targets.target import Array, Scratchpad, Target, WeightBuffer


def machine(array: Array, buffer_bytes: int) -> Target:
    """Banks so wide that none holds up a computation."""
    return msgspec.structs.replace(
        small_target(1 << 16),
        array=array,
        scratchpad=Scratchpad(size_bytes=1 << 16, alignment_bytes=1, bank_width_bytes=1 << 12),
        weight_buffer=WeightBuffer(size_bytes=buffer_bytes),
    )


def cycles_by_operator(graph: Graph, target: Target, track: bool) -> tuple[dict[str, int], ...]:
    """Cycles of each operator as predicted, and of its commands in the program of a plan."""
    plan = plan_greedy(graph, target, PlanOptions(track_weights=track))
    model = latency_model(graph, target, target.memory_spec(plan.track_weights))
    programmed = dict.fromkeys(model.compute_cycles, 0)
    for command in lower(graph, plan, target).commands:
        if command.kind is CommandKind.COMPUTE:
            programmed[command.label] += -(-command.bank_accesses // command.bank_rate)
    return model.compute_cycles, programmed


def product(m: int, k: int, n: int, epilogue: tuple[str, ...]) -> Graph:
    """``x w`` with streamed weights."""
    tensors = (
        Tensor("x", (m, k), DType.INT8, Role.INPUT),
        Tensor("w", (k, n), DType.INT8, Role.WEIGHT),
        Tensor("y", (m, n), DType.INT8, Role.OUTPUT),
    )
    operator = Operator("product", "MatMul", ("x", "w"), ("y",), epilogue=epilogue)
    return Graph("product", tensors, (operator,))


extents = st.integers(1, 60)


@settings(max_examples=80, deadline=None)
@given(
    st.builds(
        Array,
        rows=st.integers(1, 9),
        cols=st.integers(1, 9),
        dataflow=st.sampled_from(("output_stationary", "weight_stationary", "input_stationary")),
        fold_mode=st.sampled_from(("drained", "pipelined")),
    ),
    st.tuples(extents, extents, extents),
    st.integers(8, 800),
    st.sampled_from(((), ("Relu",))),
    st.booleans(),
)
def test_predicted_computation_is_that_of_the_program(
    array: Array,
    shape: tuple[int, int, int],
    buffer_bytes: int,
    epilogue: tuple[str, ...],
    track: bool,
) -> None:
    graph = product(*shape, epilogue)
    predicted, programmed = cycles_by_operator(graph, machine(array, buffer_bytes), track)
    assert predicted == programmed


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("track", [True, False])
def test_the_same_on_random_graphs(seed: int, track: bool) -> None:
    graph = random_graph(seed, 8, 512)
    predicted, programmed = cycles_by_operator(graph, machine(Array(4, 4), 64), track)
    assert predicted == programmed


def test_chunks_that_leave_part_of_the_array_idle_cost_more_than_the_operator() -> None:
    graph, target = product(16, 16, 64, ()), machine(Array(rows=8, cols=8), 96)
    predicted, _ = cycles_by_operator(graph, target, False)
    whole = operator_cost(graph, graph.operators[0], target).compute_cycles
    assert predicted["product"] > whole
    assert cycles_by_operator(graph, target, True)[0]["product"] == whole
