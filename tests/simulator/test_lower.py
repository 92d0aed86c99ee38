"""Lowering: worked examples, no races in random plans, and bytes that add up."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import Case, random_case, small_target

from stowplan.errors import UsageError
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.ir.plan import Plan, Proof, Residency, Transfer, TransferKind
from stowplan.ir.program import CommandKind, Program
from stowplan.ir.storage import storage_model
from stowplan.ir.traffic import traffic
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.planner import PlanOptions
from stowplan.simulator.dram_layout import dram_addresses
from stowplan.simulator.engine import run, simulate
from stowplan.simulator.lower import lower
from stowplan.simulator.machine import Timing, machine_of
from stowplan.simulator.placement import Placement
from stowplan.simulator.reference import step_through
from stowplan.simulator.result import step_spans
from stowplan.targets.target import Target, WeightBuffer

LOAD, STORE = TransferKind.LOAD, TransferKind.STORE
PROOF = Proof("offchip", 0, 0, "by hand", "by hand")


def chain_graph(weight_bytes: int = 0) -> Graph:
    """x -> a -> b -> y through three operators; the second may have weights."""
    tensors = [
        Tensor("x", (64,), DType.INT8, Role.INPUT),
        Tensor("a", (64,), DType.INT8),
        Tensor("b", (64,), DType.INT8),
        Tensor("y", (64,), DType.INT8, Role.OUTPUT),
    ]
    inputs: tuple[str, ...] = ("a",)
    if weight_bytes:
        tensors.append(Tensor("w", (weight_bytes,), DType.INT8, Role.WEIGHT))
        inputs = ("a", "w")
    operators = (
        Operator("one", "Relu", ("x",), ("a",)),
        Operator("two", "Add", inputs, ("b",)),
        Operator("three", "Relu", ("b",), ("y",)),
    )
    return Graph("chain", tuple(tensors), operators)


def chain_plan(graph: Graph, target: Target) -> Plan:
    """x and b share address 0, a and y address 64."""
    return Plan(
        model_hash=graph.hash,
        target_hash=target.hash,
        planner="by hand",
        track_weights=False,
        order=("one", "two", "three"),
        residencies=(
            Residency("x", 0, 1, 0, 0),
            Residency("a", 0, 2, 64, 0),
            Residency("b", 1, 3, 0, 1),
            Residency("y", 2, 3, 64, 2),
        ),
        transfers=(Transfer(LOAD, "x", 0, 0), Transfer(STORE, "y", 3, 3)),
        proof=PROOF,
    )


def test_a_chain_becomes_a_chain() -> None:
    graph, target = chain_graph(), small_target(128)
    program = lower(graph, chain_plan(graph, target), target)
    assert [(c.kind.value, c.label) for c in program.commands] == [
        ("load", "x"),
        ("compute", "one"),
        ("compute", "two"),
        ("compute", "three"),
        ("store", "y"),
    ]
    # Operators follow each other in one queue, so only other engines' commands are waited for.
    assert [c.waits for c in program.commands] == [(), (0,), (), (), (3,)]
    result = simulate(program, target)
    # 16 + 100 + 64/8 to load, three times 64/8 + 8 to compute, 16 + 64/8 to store.
    assert result.cycles == 124 + 3 * 16 + 24
    assert step_spans(program, result) == ((124, 140), (140, 156), (156, 172))


def test_weights_stream_ahead_as_far_as_the_buffer_allows() -> None:
    graph = chain_graph(weight_bytes=2500)
    target = small_target(128)
    program = lower(graph, chain_plan(graph, target), target)
    chunks = [i for i, c in enumerate(program.commands) if c.kind is CommandKind.WEIGHT]
    assert [program.commands[i].read_bytes for i in chunks] == [512, 512, 512, 512, 452]
    pieces = [i for i, c in enumerate(program.commands) if c.label == "two" and i not in chunks]
    assert len(pieces) == 5
    for i, (piece, chunk) in enumerate(zip(pieces, chunks, strict=True)):
        assert chunk in program.commands[piece].waits
        # Two chunks fit, so chunk i takes the place of chunk i - 2.
        assert program.commands[chunk].waits == ((pieces[i - 2],) if i >= 2 else ())
    result = simulate(program, target)
    first, second = chunks[:2]
    assert result.start[second] == result.end[first]
    assert result.start[pieces[0]] < result.end[second]


def test_small_weights_of_several_operators_wait_in_the_buffer_together() -> None:
    graph = chain_graph(weight_bytes=500)
    more = replace(graph.operators[2], kind="Add", inputs=("b", "v"))
    graph = graph.replace(
        tensors=(*graph.tensors, Tensor("v", (400,), DType.INT8, Role.WEIGHT)),
        operators=(*graph.operators[:2], more),
    )
    target = small_target(128)
    program = lower(graph, chain_plan(graph, target), target)
    chunks = [c for c in program.commands if c.kind is CommandKind.WEIGHT]
    assert [c.waits for c in chunks] == [(), ()]
    tight = msgspec.structs.replace(target, weight_buffer=WeightBuffer(size_bytes=800))
    program = lower(graph, chain_plan(graph, tight), tight)
    waits = [c.waits for c in program.commands if c.kind is CommandKind.WEIGHT]
    assert [bool(w) for w in waits] == [False, False, True]


def test_transfers_wait_for_their_issue_boundary_and_for_each_other() -> None:
    """a is stored after the first operator and loaded elsewhere for the last one."""
    graph, target = chain_graph(), small_target(256)
    graph = graph.replace(
        operators=(*graph.operators[:2], Operator("three", "Relu", ("x",), ("y",)))
    )
    plan = replace(
        chain_plan(graph, target),
        order=("one", "three", "two"),
        residencies=(
            Residency("x", 0, 2, 0, 0),
            Residency("a", 0, 1, 64, 0),
            Residency("y", 1, 2, 192, 1),
            Residency("a", 2, 3, 128, 1),
            Residency("b", 2, 3, 64, 2),
        ),
        transfers=(
            Transfer(LOAD, "x", 0, 0),
            Transfer(STORE, "a", 1, 1),
            Transfer(LOAD, "a", 1, 2),
        ),
    )
    program = lower(graph, plan, target)
    result = simulate(program, target)
    index = {(c.kind, c.label): i for i, c in enumerate(program.commands)}
    store, reload = index[CommandKind.STORE, "a"], index[CommandKind.LOAD, "a"]
    one, two = index[CommandKind.COMPUTE, "one"], index[CommandKind.COMPUTE, "two"]
    assert result.end[one] <= result.start[store]
    assert result.end[store] <= result.start[reload]
    assert result.end[reload] <= result.start[two]


def test_engines_of_the_plan_are_respected() -> None:
    graph, target = chain_graph(), small_target(128)
    plan = replace(chain_plan(graph, target), engines=(("one", "vector"),))
    assert lower(graph, plan, target) == lower(graph, chain_plan(graph, target), target)
    with pytest.raises(UsageError, match="runs one on 'array'"):
        lower(graph, replace(plan, engines=(("one", "array"),)), target)


def fork_graph() -> Graph:
    """Two independent operators and one that joins their results."""
    sizes = ("x", Role.INPUT), ("a", Role.ACTIVATION), ("b", Role.ACTIVATION), ("y", Role.OUTPUT)
    tensors = tuple(Tensor(name, (64,), DType.INT8, role) for name, role in sizes)
    operators = (
        Operator("left", "Relu", ("x",), ("a",)),
        Operator("right", "Relu", ("x",), ("b",)),
        Operator("join", "Add", ("a", "b"), ("y",)),
    )
    return Graph("fork", tensors, operators)


def test_independent_operators_run_at_once_on_several_cores() -> None:
    graph, one = fork_graph(), small_target(256)
    two = msgspec.structs.replace(one, cores=2)
    cycles = []
    for target in (one, two):
        plan = plan_greedy(graph, target, PlanOptions())
        program = lower(graph, plan, target)
        timing = run(program, machine_of(target))
        assert timing == step_through(program, machine_of(target))
        cycles.append(timing.cycles)
        computing = [i for i, c in enumerate(program.commands) if c.kind is CommandKind.COMPUTE]
        left, right, join = computing
        overlap = timing.start[right] < timing.end[left]
        assert overlap == (target.cores == 2)
        assert timing.start[join] >= max(timing.end[left], timing.end[right])
    assert cycles[0] - cycles[1] == 16


def test_the_core_that_a_plan_names_is_taken() -> None:
    graph = fork_graph()
    target = msgspec.structs.replace(small_target(256), cores=2)
    plan = plan_greedy(graph, target, PlanOptions())
    both_on_one = replace(plan, engines=(("left", "vector1"), ("right", "vector1")))
    program = lower(graph, both_on_one, target)
    cores = {c.label: c.core for c in program.commands if c.kind is CommandKind.COMPUTE}
    assert cores["left"] == cores["right"] == 1
    with pytest.raises(UsageError, match="of 2 cores"):
        lower(graph, replace(plan, engines=(("left", "vector2"),)), target)
    with pytest.raises(UsageError, match="names an engine 'dsp'"):
        lower(graph, replace(plan, engines=(("left", "dsp"),)), target)


@settings(max_examples=40, deadline=None)
@given(st.builds(random_case, st.integers(0, 10**6), st.integers(1, 12)), st.integers(2, 3))
def test_several_cores_do_not_race(case: Case, cores: int) -> None:
    many = replace(case, target=msgspec.structs.replace(case.target, cores=cores))
    plan, program, timing = planned(many)
    assert race(many, plan, program, timing) is None


@settings(max_examples=25, deadline=None)
@given(st.builds(random_case, st.integers(0, 10**6), st.integers(1, 10)))
def test_full_dram_mode_does_not_race_and_reads_what_the_plan_says(case: Case) -> None:
    plan, program, _ = planned(case)
    machine = machine_of(case.target, "full")
    timing = run(program, machine)
    assert race(case, plan, program, timing) is None
    for command in program.commands:
        assert sum(b - a for a, b in command.dram_reads) == command.read_bytes
        assert sum(b - a for a, b in command.dram_writes) == command.written_bytes
    offsets = dram_addresses(case.graph, plan, storage_model(case.graph))
    sizes = {s.name: s.size_bytes for s in storage_model(case.graph).storages}
    spans = sorted((base, base + sizes[name]) for name, base in offsets.items())
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


def planned(case: Case) -> tuple[Plan, Program, Timing]:
    plan = plan_greedy(case.graph, case.target, PlanOptions(track_weights=case.track_weights))
    program = lower(case.graph, plan, case.target)
    return plan, program, run(program, machine_of(case.target))


cases = st.builds(random_case, st.integers(0, 10**6), st.integers(1, 12))


@settings(max_examples=60, deadline=None)
@given(cases)
def test_bytes_are_those_of_the_plan(case: Case) -> None:
    plan, program, _ = planned(case)
    counted = traffic(case.graph, plan, case.target.memory_spec(case.track_weights))
    moved = simulate(program, case.target).bytes
    assert moved.load == counted.loaded_bytes
    assert moved.store == counted.stored_bytes
    assert moved.weight == counted.streamed_bytes
    assert moved.direct_read == counted.direct_read_bytes
    assert moved.direct_write == counted.direct_written_bytes


@settings(max_examples=15, deadline=None)
@given(cases)
def test_real_programs_take_the_same_time_in_both_engines(case: Case) -> None:
    _, program, timing = planned(case)
    assert timing == step_through(program, machine_of(case.target))


Place = tuple[str, str, int, int]
"""(``pad`` or ``dram``, storage, address or offset, byte of the storage)."""
Content = tuple[str, str, int]
"""(operator that wrote it or empty, storage, byte of the storage)."""
UNDEFINED: Content = ("nobody", "", 0)


@dataclass(frozen=True, slots=True)
class Action:
    """What a command does to memory at one moment.

    Phases within a cycle: reads are checked as a run ends (0), its values arrive (1), reads are
    checked as a run begins (2), then everything it is going to write is spoilt (3).
    """

    cycle: int
    phase: int
    operator: str
    reads: tuple[Place, ...]
    writes: tuple[Place, ...]
    copied: dict[tuple[str, int], Content]


@settings(max_examples=80, deadline=None)
@given(cases)
def test_no_overlap_of_commands_races(case: Case) -> None:
    """Each byte read, at any time of the reader's run, is what the reference order would give."""
    plan, program, timing = planned(case)
    assert race(case, plan, program, timing) is None


def test_dropping_a_dependence_is_noticed() -> None:
    """The test above sees what it should: without waits, some random programs race."""
    caught = 0
    for seed in range(30):
        case = random_case(seed, 8)
        plan, program, _ = planned(case)
        loose = Program(tuple(replace(c, waits=()) for c in program.commands), program.steps)
        caught += race(case, plan, loose, run(loose, machine_of(case.target))) is not None
    assert caught >= 15


def race(case: Case, plan: Plan, program: Program, timing: Timing) -> str | None:
    """First read of a wrong byte when memory operations happen at their simulated times."""
    expected = reference_contents(case.graph)
    memory: dict[tuple[str, str, int], Content] = {}
    for storage in storage_model(case.graph).storages:
        if storage.starts_in_dram:
            name = storage.name
            memory.update({("dram", name, b): ("", name, b) for b in range(storage.size_bytes)})
    moments = sorted(actions(case, plan, program, timing), key=lambda a: (a.cycle, a.phase))
    for action in moments:
        for place in action.reads:
            name, b = place[1], place[3]
            found = memory.get(key(place), UNDEFINED)
            wanted = expected.get((action.operator, name, b), UNDEFINED)
            if action.operator and wanted not in (UNDEFINED, found):
                return f"{action.operator} reads {found} for {wanted} in cycle {action.cycle}"
            action.copied[name, b] = found
        for place in action.writes:
            name, b = place[1], place[3]
            value = (action.operator, name, b)
            if not action.operator:
                value = action.copied[name, b]
            memory[key(place)] = UNDEFINED if action.phase == 3 else value
    return None


def key(place: Place) -> tuple[str, str, int]:
    """Where in memory a place is: scratchpad addresses belong to no storage."""
    return (place[0], place[1] if place[0] == "dram" else "", place[2])


def reference_contents(graph: Graph) -> dict[tuple[str, str, int], Content]:
    """(operator, storage, byte) -> what it reads there in graph order."""
    model = storage_model(graph)
    content: dict[tuple[str, int], Content] = {}
    for storage in model.storages:
        if storage.starts_in_dram:
            name = storage.name
            content.update({(name, b): ("", name, b) for b in range(storage.size_bytes)})
    found = {}
    for operator, accesses in zip(graph.operators, model.accesses, strict=True):
        for access in accesses:
            name = model.storages[access.storage].name
            for lower_, upper in access.reads:
                for b in range(lower_, upper):
                    found[operator.name, name, b] = content.get((name, b), UNDEFINED)
        for access in accesses:
            name = model.storages[access.storage].name
            for lower_, upper in access.writes:
                for b in range(lower_, upper):
                    content[name, b] = (operator.name, name, b)
    return found


def actions(case: Case, plan: Plan, program: Program, timing: Timing) -> Iterator[Action]:
    """Every moment at which a command touches memory."""
    spans: dict[int, tuple[int, int]] = {}
    transfers = {(t.kind.value, t.storage, t.issue): t for t in plan.transfers}
    placement = Placement(plan)
    sizes = {s.name: s.size_bytes for s in storage_model(case.graph).storages}
    for command, start, end in zip(program.commands, timing.start, timing.end, strict=True):
        if command.kind is CommandKind.COMPUTE:
            first, last = spans.get(command.step, (start, end))
            spans[command.step] = (min(first, start), max(last, end))
        elif command.kind is not CommandKind.WEIGHT:
            transfer = transfers[command.kind.value, command.label, command.step]
            base, name = placement.transfer_address(transfer), transfer.storage
            pad = tuple(("pad", name, base + b, b) for b in range(sizes[name]))
            dram = tuple(("dram", name, b, b) for b in range(sizes[name]))
            load = transfer.kind is LOAD
            yield from run_of(start, end, "", *((dram, pad) if load else (pad, dram)))
    for step, (start, end) in spans.items():
        name = plan.order[step]
        yield from run_of(start, end, name, *operator_bytes(case, placement, step, name))


def run_of(
    start: int, end: int, operator: str, reads: tuple[Place, ...], writes: tuple[Place, ...]
) -> Iterator[Action]:
    copied: dict[tuple[str, int], Content] = {}
    kept = {key(place) for place in reads}
    # An operator that updates in place reads before it writes: only other bytes are spoilt.
    fresh = tuple(place for place in writes if key(place) not in kept)
    yield Action(end, 0, operator, reads, (), copied)
    yield Action(end, 1, operator, (), writes, copied)
    yield Action(start, 2, operator, reads, (), copied)
    yield Action(start, 3, operator, (), fresh, copied)


def operator_bytes(
    case: Case, placement: Placement, step: int, name: str
) -> tuple[tuple[Place, ...], tuple[Place, ...]]:
    model = storage_model(case.graph)
    index = [operator.name for operator in case.graph.operators].index(name)
    reads: list[Place] = []
    writes: list[Place] = []
    for access in model.accesses[index]:
        storage = model.storages[access.storage]
        if storage.weight and not case.track_weights:
            continue
        direct = placement.direct(storage.name, step)
        base = 0 if direct else placement.address(storage.name, step)
        where = "dram" if direct else "pad"
        for ranges, found in ((access.reads, reads), (access.writes, writes)):
            for lower_, upper in ranges:
                found += [(where, storage.name, base + b, b) for b in range(lower_, upper)]
    return tuple(reads), tuple(writes)
