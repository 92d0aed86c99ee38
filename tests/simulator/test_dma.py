"""Channels, prefetch queues and priorities: both engines agree, laws hold, worked examples."""

from dataclasses import replace
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulator.programs import (
    WIDE,
    compute,
    detailed_machines,
    detailed_programs,
    machines,
    priorities,
    programs,
    transfer,
    with_dma,
)
from tests.simulator.test_lower import race
from tests.strategies import Case, random_case

from stowplan.errors import TargetError
from stowplan.ir.program import Command, CommandKind, Engine, Program
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.planner import PlanOptions
from stowplan.simulator.counters import buckets
from stowplan.simulator.engine import run
from stowplan.simulator.lower import lower
from stowplan.simulator.machine import Cause, DramLink, Machine, Timing, machine_of
from stowplan.simulator.reference import step_through
from stowplan.targets.dram_presets import load_dram
from stowplan.targets.load import load_target
from stowplan.targets.target import DramMode, Priority

LOAD, STORE, WEIGHT = CommandKind.LOAD, CommandKind.STORE, CommandKind.WEIGHT
ARRAY, VECTOR = Engine.ARRAY, Engine.VECTOR
IN, OUT = Engine.DMA_IN, Engine.DMA_OUT
WORKING = (*(Cause.BUSY, Cause.SETUP, Cause.DELAY, Cause.BANK, Cause.DRAM, Cause.PRIORITY),)


def both(program: Program, machine: Machine = WIDE) -> Timing:
    """Timing that both implementations agree on."""
    timing = run(program, machine)
    assert timing == step_through(program, machine)
    assert all(sum(row) == timing.cycles for row in timing.causes)
    return timing


@settings(max_examples=100, deadline=None)
@given(programs(), with_dma(machines))
def test_event_driven_equals_cycle_stepping(program: Program, machine: Machine) -> None:
    both(program, machine)


@settings(max_examples=150, deadline=None)
@given(detailed_programs(), with_dma(detailed_machines))
def test_so_it_does_with_full_dram_and_banks_by_address(program: Program, machine: Machine) -> None:
    both(program, machine)


@settings(max_examples=60, deadline=None)
@given(programs(), machines)
def test_one_channel_shared_without_limit_is_the_machine_of_the_small_kernel(
    program: Program, machine: Machine
) -> None:
    """A queue deeper than the program and a class of all are no different from none."""
    plain = run(program, machine)
    assert run(program, replace(machine, queue_depth=len(program.commands) + 1)) == plain
    if all(command.kind is not STORE for command in program.commands):
        assert run(program, replace(machine, priority="load_first")) == plain


@settings(max_examples=60, deadline=None)
@given(detailed_programs(), with_dma(detailed_machines))
def test_laws_of_room_order_and_accounting(program: Program, machine: Machine) -> None:
    timing = run(program, machine)
    for number, queue in enumerate(program.queues()[:2]):
        starts = [timing.start[i] for i in queue]
        assert starts == sorted(starts)
        for start in starts:
            under_way = sum(timing.start[i] <= start < timing.end[i] for i in queue)
            assert under_way <= machine.channels
        assert sum(timing.causes[number]) == timing.cycles
    for i, command in enumerate(program.commands):
        assert all(timing.end[wait] <= timing.start[i] for wait in command.waits)
        working = sum(timing.spent[i][cause] for cause in WORKING)
        assert working == timing.end[i] - timing.start[i]
        assert timing.spent[i][Cause.SETUP] == command.setup_cycles
        compute_ = command.kind is CommandKind.COMPUTE
        assert not (compute_ and timing.spent[i][Cause.QUEUE])
        assert machine.queue_depth or not timing.spent[i][Cause.QUEUE]
        assert machine.priority != "shared" or not timing.spent[i][Cause.PRIORITY]
        if machine.queue_depth and not compute_:
            ahead = _ahead(program, timing, i)
            assert ahead <= machine.queue_depth


def _ahead(program: Program, timing: Timing, index: int) -> int:
    """Transfers of its direction that run ahead of computation when transfer ``index`` starts."""
    now = timing.start[index]
    own = [i for i in program.queues()[program.commands[index].queues[0]] if i <= index]
    unfinished = [
        i
        for i, command in enumerate(program.commands)
        if timing.end[i] > now and (command.kind is CommandKind.COMPUTE or i in own)
    ]
    return sum(i >= min(unfinished) for i in own)


@settings(max_examples=60, deadline=None)
@given(programs(), machines, st.integers(1, 3), priorities)
def test_bandwidth_is_conserved(
    program: Program, machine: Machine, channels: int, priority: Priority
) -> None:
    timing = run(program, replace(machine, channels=channels, priority=priority))
    moved = sum(command.dram_bytes for command in program.commands)
    assert moved <= machine.bytes_per_cycle * timing.cycles


def test_channels_overlap_set_up_and_share_bandwidth() -> None:
    program = Program(tuple(replace(transfer(LOAD, 80, delay=5), setup_cycles=5) for _ in range(2)))
    assert both(program).end == (15, 30)
    assert both(program, replace(WIDE, channels=2)).end == (25, 25)
    staggered = Program((transfer(LOAD, 80), replace(transfer(LOAD, 80, delay=10))))
    timing = both(staggered, replace(WIDE, channels=2))
    assert timing.end == (10, 20)
    # The direction is shown as the transfer under way that started first.
    assert timing.causes[IN][Cause.BUSY] == 20


def test_a_transfer_may_end_before_one_that_started_earlier() -> None:
    program = Program((transfer(LOAD, 80), transfer(LOAD, 8), transfer(LOAD, 8)))
    timing = both(program, replace(WIDE, channels=2))
    assert timing.start == (0, 0, 2)
    assert timing.end == (12, 2, 4)


def test_a_full_queue_holds_back_what_runs_too_far_ahead() -> None:
    loads = tuple(transfer(LOAD, 8) for _ in range(3))
    program = Program((compute(ARRAY, 50), *loads, compute(ARRAY, 5, (1, 2, 3))))
    assert both(program).start == (0, 0, 1, 2, 50)
    timing = both(program, replace(WIDE, queue_depth=2))
    # Two may start while the first computation runs; then entries come back at once.
    assert timing.start == (0, 0, 1, 50, 51)
    assert timing.causes[IN][Cause.QUEUE] == 48
    assert timing.spent[3][Cause.QUEUE] == 48
    one = both(program, replace(WIDE, queue_depth=1))
    assert one.start == (0, 0, 50, 51, 52)


def test_a_queue_of_one_never_deadlocks() -> None:
    """A computation needs more operands than the queue has entries; they precede it in the list."""
    loads = tuple(transfer(LOAD, 8) for _ in range(4))
    program = Program((*loads, compute(ARRAY, 5, (0, 1, 2, 3)), transfer(STORE, 8, (4,))))
    timing = both(program, replace(WIDE, queue_depth=1))
    assert timing.cycles == 4 + 5 + 1


def test_demand_goes_before_prefetch_and_write_back() -> None:
    """The array waits for one LOAD while the next one and a STORE move, too."""
    program = Program(
        (transfer(STORE, 80), transfer(LOAD, 80), transfer(LOAD, 80), compute(ARRAY, 4, (1,)))
    )
    two = replace(WIDE, channels=2)
    assert both(program, two).end == (30, 30, 30, 34)
    timing = both(program, replace(two, priority="demand"))
    # Alone for ten cycles, then the others by halves.
    assert timing.end == (30, 10, 30, 14)
    assert timing.spent[0][Cause.PRIORITY] == timing.spent[2][Cause.PRIORITY] == 10
    assert timing.causes[OUT][Cause.PRIORITY] == 10


@pytest.mark.parametrize(("priority", "end"), [("load_first", (20, 10)), ("store_first", (10, 20))])
def test_one_direction_goes_first(priority: Priority, end: tuple[int, int]) -> None:
    program = Program((transfer(STORE, 80), transfer(LOAD, 80)))
    assert both(program, replace(WIDE, priority=priority)).end == end


def test_what_the_banks_keep_from_the_first_class_is_left_to_the_second() -> None:
    # The LOAD takes the only bank, 2 of 8 bytes per cycle; weights need no bank.
    machine = Machine(8, 1, 2, channels=2, priority="demand")
    program = Program((transfer(LOAD, 20), transfer(WEIGHT, 60), compute(ARRAY, 1, (0,))))
    timing = both(program, machine)
    assert timing.end[:2] == (10, 10)
    assert timing.spent[0][Cause.BANK] == 10
    assert timing.spent[1][Cause.PRIORITY] == 10


DDR4 = Machine(16, 64, 64, dram=DramLink(load_dram("ddr4-2400"), Fraction(1)))


def load(lower_: int, size: int) -> Command:
    return replace(transfer(LOAD, size), dram_reads=((lower_, lower_ + size),))


def test_channels_hide_the_round_trip_to_dram() -> None:
    program = Program(tuple(load(64 * i, 64) for i in range(4)))
    one, four = both(program, DDR4), both(program, replace(DDR4, channels=4))
    # A closed bank, then rows that are open.
    assert one.cycles == 39 + 3 * 23
    # Column commands of one bank group are six clocks apart.
    assert four.end == (39, 45, 51, 57)


def test_what_is_needed_first_comes_first_from_full_dram() -> None:
    later, now = load(0, 1 << 14), load(1 << 20, 1 << 14)
    program = Program((later, now, compute(ARRAY, 4, (1,))))
    machine = replace(DDR4, channels=2)
    shared, demand = both(program, machine), both(program, replace(machine, priority="demand"))
    assert demand.end[1] < shared.end[1] / 1.5
    assert demand.spent[0][Cause.PRIORITY] > 0
    assert demand.end[1] < both(Program((now,)), DDR4).cycles * 1.1


def test_channels_share_the_requests_under_way() -> None:
    program = Program(tuple(load(i << 13, 2048) for i in range(3)))
    few = [both(program, _with(outstanding=2, channels=n)).cycles for n in (1, 3)]
    # Two requests under way are the limit whoever has them.
    assert abs(few[0] - few[1]) < few[0] / 10


def _with(outstanding: int, channels: int) -> Machine:
    link = DDR4.dram or _fail()
    return replace(DDR4, channels=channels, dram=replace(link, outstanding=outstanding))


def _fail() -> DramLink:
    raise AssertionError


cases = st.builds(random_case, st.integers(0, 10**6), st.integers(1, 10))


@settings(max_examples=25, deadline=None)
@given(cases, st.integers(1, 3), st.integers(0, 3), priorities, st.sampled_from(["full", None]))
def test_plans_run_without_races(
    case: Case, channels: int, depth: int, priority: Priority, mode: DramMode | None
) -> None:
    plan = plan_greedy(case.graph, case.target, PlanOptions(track_weights=case.track_weights))
    dma = msgspec.structs.replace(
        case.target.dma, channels=channels, queue_depth=depth, priority=priority
    )
    target = msgspec.structs.replace(case.target, dma=dma)
    program = lower(case.graph, plan, target)
    timing = both(program, machine_of(target, mode))
    assert race(case, plan, program, timing) is None
    for queue, own in enumerate(buckets(program, timing)[0].active if timing.cycles else ()):
        assert 0 <= own <= 1, queue


def test_settings_of_a_target_and_their_mistakes() -> None:
    target = load_target("edge-npu", ("dma.channels=4", "dma.queue_depth=8", "dma.priority=demand"))
    machine = machine_of(target)
    assert (machine.channels, machine.queue_depth, machine.priority) == (4, 8, "demand")
    assert machine.detailed and not machine_of(load_target("edge-npu")).detailed
    for override, message in (
        ("dma.channels=0", "dma.channels"),
        ("dma.queue_depth=-1", "dma.queue_depth"),
        ("dma.priority=mine", "one of shared, demand, load_first, store_first"),
    ):
        with pytest.raises(TargetError, match=message):
            load_target("edge-npu", (override,))
