"""Clocks of their own for DMA and vector units: both engines agree, and closed forms hold."""

from dataclasses import replace
from fractions import Fraction
from math import ceil, floor

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulator.programs import (
    RATIOS,
    WIDE,
    compute,
    detailed_machines,
    detailed_programs,
    machines,
    programs,
    transfer,
    with_all,
    with_clocks,
)
from tests.simulator.test_lower import race
from tests.strategies import Case, random_case

from stowplan.errors import TargetError
from stowplan.ir.program import CommandKind, Engine, Program
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.planner import PlanOptions
from stowplan.simulator.engine import run
from stowplan.simulator.lower import lower
from stowplan.simulator.machine import Cause, Domain, Machine, Timing, machine_of
from stowplan.simulator.reference import step_through
from stowplan.targets.load import load_target
from stowplan.targets.target import DramMode

LOAD, STORE = CommandKind.LOAD, CommandKind.STORE
ARRAY, VECTOR, IN = Engine.ARRAY, Engine.VECTOR, Engine.DMA_IN
WORKING = (
    *(Cause.BUSY, Cause.SETUP, Cause.DELAY, Cause.BANK, Cause.DRAM, Cause.PRIORITY),
    Cause.CLOCK,
)
ratios = st.sampled_from(RATIOS)


def both(program: Program, machine: Machine) -> Timing:
    """Timing that both implementations agree on, every cycle accounted for."""
    timing = run(program, machine)
    assert timing == step_through(program, machine)
    assert all(sum(row) == timing.cycles for row in timing.causes)
    for i in range(len(program.commands)):
        working = sum(timing.spent[i][cause] for cause in WORKING)
        assert working == timing.end[i] - timing.start[i]
    return timing


@settings(max_examples=100, deadline=None)
@given(programs(), with_clocks(machines))
def test_event_driven_equals_cycle_stepping(program: Program, machine: Machine) -> None:
    both(program, machine)


@settings(max_examples=100, deadline=None)
@given(detailed_programs(), with_clocks(detailed_machines))
def test_so_it_does_with_full_dram_and_banks_by_address(program: Program, machine: Machine) -> None:
    both(program, machine)


@settings(max_examples=100, deadline=None)
@given(detailed_programs(), with_all(detailed_machines))
def test_so_it_does_with_everything(program: Program, machine: Machine) -> None:
    both(program, machine)


@settings(max_examples=60, deadline=None)
@given(detailed_programs(), detailed_machines)
def test_a_clock_as_fast_as_the_core_costs_nothing(program: Program, machine: Machine) -> None:
    same = Domain(Fraction(1))
    assert run(program, replace(machine, dma_clock=same, vector_clock=same)) == run(
        program, machine
    )


@settings(max_examples=150, deadline=None)
@given(ratios, st.integers(0, 3), st.integers(1, 40), st.integers(1, 200))
def test_a_computation_takes_its_own_cycles_between_two_edges(
    ratio: Fraction, sync: int, before: int, cycles: int
) -> None:
    """From the first own edge at or after its start, to the cycle that follows its last edge."""
    program = Program((compute(ARRAY, before), compute(VECTOR, cycles, (0,))))
    timing = both(program, replace(WIDE, vector_clock=Domain(ratio, sync)))
    assert timing.start[1] == before
    last = ceil(before * ratio) + sync + cycles
    assert timing.end[1] == ceil(last / ratio) + sync


@settings(max_examples=150, deadline=None)
@given(ratios, st.integers(0, 3), st.integers(1, 40), st.integers(0, 20), st.integers(1, 300))
def test_a_transfer_sets_up_on_its_clock_and_moves_on_that_of_dram(
    ratio: Fraction, sync: int, before: int, setup: int, size: int
) -> None:
    moved = replace(transfer(LOAD, size, (0,), delay=setup + 7), setup_cycles=setup)
    program = Program((compute(ARRAY, before), moved))
    timing = both(program, replace(WIDE, dma_clock=Domain(ratio, sync)))
    ready = ceil((ceil(before * ratio) + sync + setup) / ratio)
    done = max(ready, before) + 7 + ceil(size / 8)
    assert timing.end[1] == ceil(ceil(done * ratio) / ratio) + sync


def test_ratios_never_drift() -> None:
    """A million cycles of 933 MHz beside 1 GHz, and 7/5 after ten million."""
    for ratio, cycles in ((Fraction(933, 1000), 10**6), (Fraction(7, 5), 10**7)):
        timing = run(Program((compute(VECTOR, cycles),)), replace(WIDE, vector_clock=Domain(ratio)))
        assert timing.cycles == ceil(cycles / ratio)
        assert floor(timing.cycles * ratio) >= cycles


def test_a_vector_unit_twice_as_fast_asks_for_twice_the_banks() -> None:
    program = Program((compute(VECTOR, 20, rate=2),))
    fast = Domain(Fraction(2))
    assert both(program, replace(WIDE, vector_clock=fast)).cycles == 10
    narrow = Machine(8, 2, 4, vector_clock=fast)
    timing = both(program, narrow)
    assert timing.cycles == 20
    assert timing.causes[VECTOR][Cause.BANK] == 20


def test_the_core_waits_for_edges_and_synchronisers() -> None:
    program = Program((compute(ARRAY, 3), compute(VECTOR, 4, (0,)), compute(ARRAY, 1, (1,))))
    timing = both(program, replace(WIDE, vector_clock=Domain(Fraction(1, 4), 1)))
    # From the edge at 4 one cycle of four to be seen, four of four, one of the core.
    assert timing.end == (3, 25, 26)
    assert timing.causes[VECTOR][Cause.CLOCK] == 1 + 4 + 1


cases = st.builds(random_case, st.integers(0, 10**6), st.integers(1, 10))


@settings(max_examples=20, deadline=None)
@given(cases, st.sampled_from([None, "full"]), st.integers(1, 2))
def test_plans_run_without_races(case: Case, mode: DramMode | None, channels: int) -> None:
    target = msgspec.structs.replace(
        case.target,
        dma=msgspec.structs.replace(
            case.target.dma, clock_hz=1_500_000_000, sync_cycles=2, channels=channels
        ),
        vector=msgspec.structs.replace(case.target.vector, clock_hz=700_000_000, sync_cycles=1),
    )
    plan = plan_greedy(case.graph, case.target, PlanOptions(track_weights=case.track_weights))
    program = lower(case.graph, plan, target)
    timing = both(program, machine_of(target, mode))
    assert race(case, plan, program, timing) is None


def test_a_target_states_clocks_with_units() -> None:
    target = load_target(
        "edge-npu", ("dma.clock=750MHz", "vector.clock=1.5GHz", "vector.sync_cycles=2")
    )
    machine = machine_of(target)
    assert machine.dma_clock == Domain(Fraction(3, 4))
    assert machine.vector_clock == Domain(Fraction(3, 2), 2)
    assert target.core_cycles(10) == 7
    assert machine_of(load_target("edge-npu")).clocked is False
    with pytest.raises(TargetError, match=r"dma\.clock_hz"):
        load_target("edge-npu", ("dma.clock=0",))
    with pytest.raises(TargetError, match=r"give dma\.clock"):
        machine_of(load_target("edge-npu", ("dma.sync_cycles=2",)))
