"""A weight buffer that keeps weights: what it holds, and that all who count agree."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowplan.api import Problem, plan_problem, prepare
from stowplan.errors import UsageError
from stowplan.ir.graph import Role
from stowplan.ir.memory import MemorySpec
from stowplan.ir.onnx_import import import_model
from stowplan.ir.plan import Plan, Proof
from stowplan.ir.program import CommandKind
from stowplan.ir.traffic import traffic
from stowplan.ir.weight_ring import fetches, same_stream
from stowplan.passes.energy import energy_model
from stowplan.passes.latency import latency_model
from stowplan.passes.pipeline import run_pipeline
from stowplan.passes.planner import PlanOptions
from stowplan.passes.tile_groups import groups_of, parse_cuts
from stowplan.passes.tiling.build import build, jobs_of
from stowplan.passes.tiling.network import Network
from stowplan.passes.tiling.pieces import Pieces
from stowplan.passes.tiling.replay import Replay
from stowplan.recipe import Recipe, model_path
from stowplan.simulator.engine import simulate
from stowplan.simulator.lower import lower
from stowplan.targets.load import load_target
from stowplan.targets.target import WeightBuffer

streams = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=40).map(
    lambda found: [(key, 3 * key + 1 if size else 0) for key, size in found]
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(streams, st.integers(0, 40))
def test_blocks_stay_until_younger_ones_need_their_room(
    steps: list[tuple[int, int]], room: int
) -> None:
    """What is held are the youngest blocks fetched that fit together."""
    fetched: list[tuple[int, int]] = []
    for (key, size), needed in zip(steps, fetches(steps, room), strict=True):
        held, used = [], 0
        for other, other_size in reversed(fetched):
            used += other_size
            if used > room:
                break
            held.append(other)
        assert needed == (size > 0 and key not in held)
        if needed:
            fetched.append((key, size))


def test_streams_of_the_same_bytes_are_the_same() -> None:
    whole = same_stream([("w", [(0, 8)]), ("b", [(0, 2)])])
    assert whole == same_stream([("b", [(0, 2)]), ("w", [(4, 8), (0, 5)])])
    assert whole != same_stream([("w", [(0, 7)]), ("b", [(0, 2)])])


@pytest.fixture(scope="module")
def problem() -> Problem:
    recipe = Recipe(overrides=("scratchpad.size=48KiB",), precision="int8", tile="always")
    return prepare("light:squeezenet", recipe)


@pytest.mark.parametrize(("buffer_bytes", "cores"), [(2 << 10, 1), (40 << 10, 2), (512 << 10, 1)])
def test_program_prediction_and_traffic_fetch_the_same(
    problem: Problem, buffer_bytes: int, cores: int
) -> None:
    kept = msgspec.structs.replace(
        load_target("edge-npu", ("scratchpad.size=48KiB",)),
        weight_buffer=WeightBuffer(size_bytes=buffer_bytes, keeps=True),
        cores=cores,
    )
    plain = msgspec.structs.replace(kept, weight_buffer=WeightBuffer(size_bytes=buffer_bytes))
    found = {}
    for target in (plain, kept):
        compiled = plan_problem(replace(problem, target=target), "greedy", PlanOptions())
        graph, plan, memory = compiled.graph, compiled.plan, target.memory_spec()
        moved = traffic(graph, plan, memory)
        program = lower(graph, plan, target)
        chunks = [c for c in program.commands if c.kind is CommandKind.WEIGHT]
        assert sum(chunk.read_bytes for chunk in chunks) == moved.streamed_bytes
        result = simulate(program, target)
        assert result.bytes.weight == moved.streamed_bytes
        assert compiled.plan.proof.lower_bound <= moved.noncompulsory_bytes
        found[target.weight_buffer.keeps] = moved, result.cycles
        if cores == 1:
            assert latency_model(graph, target, memory).predict(plan) >= result.cycles // 2
            assert energy_model(graph, target).predict(moved) == pytest.approx(result.total_pj)
    assert found[True][0].streamed_bytes <= found[False][0].streamed_bytes
    assert found[True][0].compulsory_bytes == found[False][0].compulsory_bytes
    if buffer_bytes > 100 << 10:
        assert found[True][0].streamed_bytes < found[False][0].streamed_bytes


@pytest.mark.parametrize("cores", [1, 2])
def test_no_block_is_overwritten_before_its_last_use(problem: Problem, cores: int) -> None:
    room = 40 << 10
    target = msgspec.structs.replace(
        problem.target, weight_buffer=WeightBuffer(size_bytes=room, keeps=True), cores=cores
    )
    compiled = plan_problem(replace(problem, target=target), "greedy", PlanOptions())
    program = lower(compiled.graph, compiled.plan, target)
    result = simulate(program, target)
    done: dict[int, int] = {}
    begun: dict[int, int] = {}
    for number, command in enumerate(program.commands):
        if command.kind is CommandKind.COMPUTE:
            done[command.step] = max(result.end[number], done.get(command.step, 0))
            begun[command.step] = min(result.start[number], begun.get(command.step, 1 << 60))
    weights = {t.name for t in compiled.graph.by_role(Role.WEIGHT)}
    inputs = [compiled.graph.operator[name].inputs for name in compiled.plan.order]
    streams = [tuple(sorted(weights.intersection(names))) for names in inputs]
    fetched: dict[tuple[str, ...], list[int]] = {}
    held: list[tuple[int, int, list[int]]] = []
    chunks: dict[int, list[int]] = {}
    for number, command in enumerate(program.commands):
        if command.kind is CommandKind.WEIGHT:
            chunks.setdefault(command.step, []).append(number)
    used, shared = 0, 0
    for step, stream in enumerate(streams):
        if step not in chunks:
            for number in fetched.get(stream, ()):
                assert result.end[number] <= begun[step]
            users = next((users for _, at, users in reversed(held) if streams[at] == stream), [])
            users.append(step)
            shared += bool(stream)
            continue
        fetched[stream] = chunks[step]
        users = [step]
        for number in chunks[step]:
            used += program.commands[number].read_bytes
            while used > room:
                size, at, others = held.pop(0)
                used -= size
                # Of several chunks that none shares, each may go once its own piece is done.
                if at != step and (len(chunks[at]) == 1 or len(others) > 1):
                    assert max(done[other] for other in others) <= result.start[number]
            held.append((program.commands[number].read_bytes, step, users))
    assert shared > 10


def test_planners_that_count_on_one_amount_of_weights_say_so() -> None:
    recipe = Recipe(overrides=("weight_buffer.keeps=true",), precision="int8")
    problem = prepare("light:squeezenet", recipe)
    for planner in ("exact", "cosma", "rl"):
        with pytest.raises(UsageError, match=r"weight_buffer\.keeps"):
            plan_problem(problem, planner, PlanOptions(time_limit_s=1))
    assert plan_problem(problem, "lns", PlanOptions(time_limit_s=1)).plan.planner == "lns"


@pytest.mark.parametrize("buffer_bytes", [0, 6 << 10, 512 << 10])
def test_a_replay_streams_what_the_built_graph_does(buffer_bytes: int) -> None:
    clean = "canonicalise,fuse-conv,dead-code,precision"
    whole = run_pipeline(import_model(model_path("light:squeezenet")).graph, clean)
    network = Network(whole, track_weights=False)
    memory = MemorySpec(1 << 20, 64, kept_weights_bytes=buffer_bytes)
    rest = range(3, len(network.units))
    text = ";".join(["0-3/8@2/2@3", *(f"{i}:1x2" if i == 4 else str(i) for i in rest)])
    jobs = jobs_of(network, groups_of(network, parse_cuts(text)))
    replayed = Replay(network, memory).run(jobs)
    graph = build(network, jobs, Pieces(network, jobs, memory))
    order = tuple(op.name for op in graph.operators)
    still = Plan(graph.hash, "", "", False, order, (), (), Proof("offchip", 0, 0, "", ""))
    assert sum(replayed.streamed.values()) == traffic(graph, still, memory).streamed_bytes


def test_tiles_of_a_buffer_that_keeps_weights_move_fewer_bytes() -> None:
    """Finer tiles cost no more weights, so results need not leave."""
    moved = []
    for keeps in ("false", "true"):
        sizes = ("scratchpad.size=32KiB", f"weight_buffer.keeps={keeps}")
        recipe = Recipe(overrides=sizes, precision="int8", tile="always")
        compiled = plan_problem(prepare("light:squeezenet", recipe), "greedy", PlanOptions())
        memory = compiled.target.memory_spec()
        moved.append(traffic(compiled.graph, compiled.plan, memory))
    assert moved[1].streamed_bytes < moved[0].streamed_bytes
    assert moved[1].offchip_bytes < moved[0].offchip_bytes
