"""The machine model: worked examples, and the Numba engine against cycle stepping."""

import pytest
from hypothesis import given, settings
from tests.simulator.programs import WIDE, compute, machines, programs, transfer

from stowplan.errors import InternalError
from stowplan.ir.program import Command, CommandKind, Engine, Program
from stowplan.simulator import kernels
from stowplan.simulator.engine import run
from stowplan.simulator.machine import Cause, Machine, Timing
from stowplan.simulator.reference import step_through

LOAD, STORE, WEIGHT = CommandKind.LOAD, CommandKind.STORE, CommandKind.WEIGHT
ARRAY, VECTOR = Engine.ARRAY, Engine.VECTOR


def both(program: Program, machine: Machine = WIDE) -> Timing:
    """Timing that both implementations agree on."""
    timing = run(program, machine)
    assert timing == step_through(program, machine)
    return timing


@settings(max_examples=150, deadline=None)
@given(programs(), machines)
def test_event_driven_equals_cycle_stepping(program: Program, machine: Machine) -> None:
    timing = both(program, machine)
    assert all(sum(row) == timing.cycles for row in timing.causes)


def test_an_empty_program_takes_no_time() -> None:
    assert both(Program(())).cycles == 0


def test_a_load_pays_its_delay_then_moves_at_full_bandwidth() -> None:
    timing = both(Program((transfer(LOAD, 80, delay=5),)))
    assert (timing.start, timing.end) == ((0,), (15,))
    assert timing.causes[Engine.DMA_IN][Cause.DELAY] == 5
    assert timing.causes[Engine.DMA_IN][Cause.BUSY] == 10


def test_a_chain_waits_and_says_for_what() -> None:
    chain = Program(
        (
            transfer(LOAD, 80),
            compute(ARRAY, 7, (0,)),
            compute(VECTOR, 3, (1,)),
            transfer(STORE, 16, (2,)),
        )
    )
    timing = both(chain)
    assert timing.start == (0, 10, 17, 20)
    assert timing.cycles == 22
    assert timing.causes[ARRAY][Cause.WAIT_LOAD] == 10
    assert timing.causes[VECTOR][Cause.WAIT_COMPUTE] == 17
    assert timing.causes[Engine.DMA_OUT][Cause.WAIT_COMPUTE] == 20
    assert timing.causes[ARRAY][Cause.DONE] == 5


def test_in_and_out_share_the_bandwidth_evenly() -> None:
    timing = both(Program((transfer(LOAD, 80), transfer(STORE, 40))))
    # Four bytes per cycle each until the STORE ends at 10; then eight for the other 40.
    assert timing.end == (15, 10)
    assert timing.causes[Engine.DMA_IN][Cause.DRAM] == 10


def test_three_sharers_get_a_third_each() -> None:
    program = Program((transfer(WEIGHT, 24), transfer(STORE, 24), compute(VECTOR, 1, direct=24)))
    assert both(program).end == (9, 9, 9)


def test_direct_access_overlaps_with_computation() -> None:
    timing = both(Program((compute(ARRAY, 4, direct=80),)))
    assert timing.cycles == 10
    assert timing.causes[ARRAY][Cause.BUSY] == 4
    assert timing.causes[ARRAY][Cause.DRAM] == 6
    assert both(Program((compute(ARRAY, 40, direct=80),))).cycles == 40


def test_a_load_takes_banks_from_the_array() -> None:
    # The LOAD occupies 2 of 4 banks for 10 cycles; the array could use 4.
    machine = Machine(bytes_per_cycle=8, banks=4, bank_width_bytes=4)
    timing = both(Program((transfer(LOAD, 80), compute(ARRAY, 20, rate=4))), machine)
    assert timing.end == (10, 25)
    assert timing.causes[ARRAY][Cause.BANK] == 10


def test_weight_streams_take_no_banks() -> None:
    machine = Machine(bytes_per_cycle=8, banks=4, bank_width_bytes=4)
    timing = both(Program((transfer(WEIGHT, 80), compute(ARRAY, 20, rate=4))), machine)
    assert timing.end == (10, 20)


def test_too_few_banks_slow_the_transfer_itself() -> None:
    machine = Machine(bytes_per_cycle=8, banks=1, bank_width_bytes=2)
    timing = both(Program((transfer(LOAD, 80),)), machine)
    assert timing.cycles == 40
    assert timing.causes[Engine.DMA_IN][Cause.BANK] == 40


def test_array_and_vector_unit_split_scarce_banks() -> None:
    machine = Machine(bytes_per_cycle=8, banks=4, bank_width_bytes=4)
    timing = both(Program((compute(ARRAY, 10, rate=4), compute(VECTOR, 10, rate=4))), machine)
    assert timing.end == (20, 20)
    modest = both(Program((compute(ARRAY, 10, rate=3), compute(VECTOR, 10, rate=1))), machine)
    assert modest.end == (10, 10)


def test_a_joint_command_needs_both_engines() -> None:
    program = Program((compute(VECTOR, 6), compute(ARRAY, 5, joint=True), compute(VECTOR, 1)))
    timing = both(program)
    assert timing.start == (0, 6, 11)
    assert timing.causes[ARRAY][Cause.WAIT_ENGINE] == 6
    assert timing.causes[VECTOR][Cause.HELD] == 5


def test_more_bandwidth_may_be_slower() -> None:
    """A known anomaly of shared bandwidth, as with any greedy arbiter.

    The faster LOAD lets an uncritical STORE begin earlier, where it takes half of the bandwidth
    from the transfer that everything waits for.
    """
    program = Program(
        (
            transfer(LOAD, 180),
            compute(VECTOR, 10, (0,)),
            compute(ARRAY, 25),
            transfer(STORE, 90, (1,)),
            transfer(LOAD, 45, (2,)),
            compute(ARRAY, 100, (4,)),
        )
    )
    assert both(program, Machine(9, 64, 64)).cycles == 130
    assert both(program, Machine(10, 64, 64)).cycles == 131


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (Command(LOAD, (ARRAY,), "x", 0, dram_bytes=1), "cannot run on array"),
        (Command(LOAD, (Engine.DMA_IN,), "x", 0, (0,), dram_bytes=1), "not before it"),
        (Command(LOAD, (Engine.DMA_IN,), "x", 0), "transfers nothing"),
        (Command(CommandKind.COMPUTE, (ARRAY,), "x", 0), "computes nothing"),
        (Command(LOAD, (Engine.DMA_IN,), "x", 0, (), -1, 1), "negative"),
    ],
)
def test_programs_that_cannot_run_are_refused(command: Command, message: str) -> None:
    with pytest.raises(InternalError, match=message):
        run(Program((command,)), WIDE)


def test_the_kernel_is_compiled_once() -> None:
    both(Program((transfer(LOAD, 80),)))
    both(Program(()))
    both(Program((compute(ARRAY, 3, joint=True), transfer(STORE, 2, (0,)))))
    assert len(getattr(kernels.run, "signatures")) == 1  # noqa: B009 - numba adds it
