"""Operators of a model as a pipeline, against stepping every clock edge and against arithmetic."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulator.pipeline_models import MODELS, pipeline_of, problem_of, residual

from stowplan.errors import UsageError
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.simulator.pipeline import Pipeline, build_pipeline, select_operators
from stowplan.simulator.pipeline_run import run_pipeline
from stowplan.simulator.pipeline_tokens import Tokens
from stowplan.simulator.streaming import Network, simulate, step_through, with_depths
from stowplan.simulator.streaming_network import pattern_at, pattern_of, pattern_sum
from stowplan.targets.cost import operator_cost


@pytest.fixture(scope="module", params=sorted(MODELS))
def pipeline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return pipeline_of(MODELS[request.param](tmp_path_factory.mktemp("models")))


def unbounded(network: Network) -> Network:
    return with_depths(network, {fifo.name: 10_000 for fifo in network.fifos})


def earliest_end(network: Network) -> int:
    """End of a network whose FIFOs never fill: each firing as soon as its tokens are there."""
    readable: dict[str, list[int]] = {fifo.name: [] for fifo in network.fifos}
    end = 0
    for process in network.processes:  # Reads, operators in order, writes: sources come first.
        free = 0
        taken = dict.fromkeys((rate.fifo for rate in process.takes), 0)
        for firing in range(process.firings):
            start = free
            for rate in process.takes:
                taken[rate.fifo] += pattern_at(rate.tokens, firing)
                if taken[rate.fifo]:
                    start = max(start, readable[rate.fifo][taken[rate.fifo] - 1])
            for rate in process.gives:
                given = pattern_at(rate.tokens, firing)
                readable[rate.fifo] += [start + process.latency_cycles] * given
            free = start + pattern_at(process.interval_cycles, firing)
            end = max(end, start + process.latency_cycles)
    return end


def test_engine_equals_stepping_at_any_depths(pipeline: Pipeline) -> None:
    rng = random.Random(5)
    for _ in range(6):
        most = rng.choice((1, 2, 4, 12))
        depths = {fifo.name: fifo.depth + rng.randrange(most) for fifo in pipeline.network.fifos}
        network = with_depths(pipeline.network, depths)
        assert simulate(network) == step_through(network)


def test_with_endless_fifos_every_firing_is_as_early_as_its_tokens(pipeline: Pipeline) -> None:
    network = unbounded(pipeline.network)
    assert simulate(network).end_ticks == earliest_end(network)


def test_smallest_fifos_keep_full_throughput_and_none_can_be_smaller(pipeline: Pipeline) -> None:
    best = run_pipeline(pipeline)
    assert best.deadlock is None
    assert best.cycles == simulate(unbounded(pipeline.network)).end_ticks
    assert best.bottleneck_cycles <= best.cycles <= best.sequential_cycles
    for channel in best.channels:
        least = next(f.depth for f in pipeline.network.fifos if f.name == channel.name)
        assert least <= channel.peak_tokens <= channel.depth
        if channel.depth > least:
            less = run_pipeline(pipeline, depths={channel.name: channel.depth - 1})
            assert less.deadlock is not None or less.cycles > best.cycles


def test_work_and_tokens_are_those_of_the_model(pipeline: Pipeline) -> None:
    network = pipeline.network
    writers, readers = network.writers(), network.readers()
    for fifo in network.fifos:
        (writer, gives), (reader, takes) = writers[fifo.name], readers[fifo.name]
        given = pattern_sum(pattern_of(gives.tokens), writer.firings)
        assert given == pattern_sum(pattern_of(takes.tokens), reader.firings)
    result = run_pipeline(pipeline)
    work = dict(pipeline.work_cycles)
    assert [(s.name, s.busy_cycles) for s in result.stages] == list(work.items())


def test_operators_take_the_cycles_of_the_cost_model(tmp_path: Path) -> None:
    problem = problem_of(residual(tmp_path))
    pipeline = pipeline_of(residual(tmp_path))
    for name, cycles in pipeline.work_cycles:
        if name in problem.graph.operator:
            cost = operator_cost(problem.graph, problem.graph.operator[name], problem.target)
            firings = next(p.firings for p in pipeline.network.processes if p.name == name)
            assert cycles == max(cost.compute_cycles, firings)


def test_inferences_follow_each_other_at_the_pace_of_the_bottleneck(pipeline: Pipeline) -> None:
    problem_cycles = []
    for count in (20, 40):
        processes = tuple(
            type(p)(p.name, p.firings * count, p.takes, p.gives, p.clock, p.interval_cycles,
                    p.latency_cycles, p.release_cycles)
            for p in pipeline.network.processes
        )  # fmt: skip
        network = Network(processes, unbounded(pipeline.network).fifos)
        problem_cycles.append(simulate(network).end_ticks)
    pace = max(cycles for _, cycles in pipeline.work_cycles)
    assert problem_cycles[1] - problem_cycles[0] == 20 * pace


def test_a_shallow_skip_connection_deadlocks_and_says_who_waits(tmp_path: Path) -> None:
    pipeline = pipeline_of(residual(tmp_path))
    skip = next(
        fifo.name
        for fifo in pipeline.network.fifos
        if fifo.name.startswith("s to ") and "conv_a" not in fifo.name
    )
    result = run_pipeline(pipeline, 64, {skip: 1})
    assert result.deadlock is not None
    assert f"waits for space on fifo `{skip}` (full, depth 1" in result.deadlock
    assert "`conv_a`" in result.deadlock and "`stem`" in result.deadlock
    enough = next(c.depth for c in run_pipeline(pipeline, "progress").channels if c.name == skip)
    assert enough > 1
    assert run_pipeline(pipeline, 64, {skip: enough}).deadlock is None


def test_a_range_reads_and_writes_what_crosses_its_ends(tmp_path: Path) -> None:
    problem = problem_of(residual(tmp_path))
    names = [operator.name for operator in problem.graph.operators]
    chosen = select_operators(problem.graph, names[1], names[-2])
    pipeline = build_pipeline(problem.graph, chosen, problem.target)
    found = [process.name for process in pipeline.network.processes]
    assert [name for name in found if name in names] == names[1:-1]
    assert [name for name in found if name not in names] == [
        "read s",
        f"write {chosen[-1].outputs[0]}",
    ]
    with pytest.raises(UsageError, match="no operator 'conv_x'"):
        select_operators(problem.graph, "conv_x")
    with pytest.raises(UsageError, match="nothing lies between"):
        select_operators(problem.graph, names[2], names[1])
    with pytest.raises(UsageError, match="has no fifo 'skip'"):
        run_pipeline(pipeline, depths={"skip": 2})


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3), st.integers(1, 20)
)
def test_a_window_waits_for_exactly_the_lines_it_covers(
    kernel: int, stride: int, dilation: int, pad: int, height: int
) -> None:
    reach = (kernel - 1) * dilation + 1
    lines = (height + 2 * pad - reach) // stride + 1
    if lines < 1 or pad >= reach:
        return
    tensors = (
        Tensor("x", (2, 3, height, 1), DType.INT8, Role.INPUT),
        Tensor("w", (3, 3, kernel, 1), DType.INT8, Role.WEIGHT),
        Tensor("y", (2, 3, lines, 1), DType.INT8, Role.OUTPUT),
    )
    attributes = (
        ("dilations", (dilation, 1)),
        ("kernel_shape", (kernel, 1)),
        ("pads", (pad, 0, pad, 0)),
        ("strides", (stride, 1)),
    )
    conv = Operator("conv", "Conv", ("x", "w"), ("y",), attributes)
    flow = Tokens(Graph("window", tensors, (conv,))).flow(conv)
    ((_, need),) = flow.needs
    assert flow.firings == 2 * lines
    for r in range(flow.firings):
        image, line = divmod(r, lines)
        positions = [line * stride - pad + tap * dilation for tap in range(kernel)]
        covered = [p for p in positions if 0 <= p < height]
        last = height if line == lines - 1 else max(covered, default=-1) + 1
        # Lines before the window that it never covers may be taken with it.
        assert need(r) >= image * height + last
        if line < lines - 1:
            assert need(r) <= image * height + min(height, max(0, positions[-1] + 1))
