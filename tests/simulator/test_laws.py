"""Laws every simulation obeys: conservation, bounds, and monotonicity where it holds."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulator.programs import WIDE, machines, programs

from stowplan.ir.program import Command, CommandKind, Engine, Program
from stowplan.simulator.engine import run
from stowplan.simulator.machine import Machine

law = settings(max_examples=100, deadline=None)


def alone(command: Command, machine: Machine) -> int:
    """Cycles of a command with the machine to itself."""
    return run(Program((replace(command, waits=()),)), machine).cycles


@law
@given(programs(), machines)
def test_order_is_kept(program: Program, machine: Machine) -> None:
    timing = run(program, machine)
    for index, command in enumerate(program.commands):
        assert all(timing.end[wait] <= timing.start[index] for wait in command.waits)
    for engine in Engine:
        queue = program.queue(engine)
        for earlier, later in pairwise(queue):
            assert timing.end[earlier] <= timing.start[later]


@law
@given(programs(), machines)
def test_bandwidth_is_conserved(program: Program, machine: Machine) -> None:
    cycles = run(program, machine).cycles
    moved = sum(command.dram_bytes for command in program.commands)
    accesses = sum(command.bank_accesses for command in program.commands)
    assert moved <= machine.bytes_per_cycle * cycles
    assert accesses <= machine.banks * cycles


@law
@given(programs(), machines)
def test_no_command_beats_having_the_machine_to_itself(program: Program, machine: Machine) -> None:
    timing = run(program, machine)
    for index, command in enumerate(program.commands):
        assert timing.end[index] - timing.start[index] >= alone(command, machine)


@law
@given(programs(), machines)
def test_some_engine_works_in_every_cycle(program: Program, machine: Machine) -> None:
    timing = run(program, machine)
    busy = sorted(zip(timing.start, timing.end, strict=True))
    covered = 0
    for start, end in busy:
        assert start <= covered
        covered = max(covered, end)
    assert covered == timing.cycles


@law
@given(programs(sharing=False), st.integers(1, 20), st.integers(0, 9))
def test_more_bandwidth_is_never_slower_when_it_is_not_shared(
    program: Program, bytes_per_cycle: int, more: int
) -> None:
    slow = run(program, replace(WIDE, bytes_per_cycle=bytes_per_cycle))
    fast = run(program, replace(WIDE, bytes_per_cycle=bytes_per_cycle + more))
    assert all(a <= b for a, b in zip(fast.end, slow.end, strict=True))


@law
@given(programs(sharing=False), st.data())
def test_less_work_is_never_slower_when_nothing_is_shared(
    program: Program, data: st.DataObject
) -> None:
    if not program.commands:
        return
    index = data.draw(st.integers(0, len(program.commands) - 1))
    old = program.commands[index]
    compute = old.kind is CommandKind.COMPUTE
    lighter = replace(
        old,
        delay_cycles=data.draw(st.integers(0, old.delay_cycles)),
        setup_cycles=0,
        waits=data.draw(st.sampled_from([old.waits, old.waits[1:], ()])),
        dram_bytes=0 if compute else data.draw(st.integers(1, old.dram_bytes)),
        bank_accesses=data.draw(st.integers(1, old.bank_accesses)) if compute else 0,
    )
    commands = (*program.commands[:index], lighter, *program.commands[index + 1 :])
    before, after = run(program, WIDE), run(Program(commands), WIDE)
    assert all(a <= b for a, b in zip(after.end, before.end, strict=True))


@law
@given(programs(most=8), machines)
def test_one_command_after_another_takes_the_sum(program: Program, machine: Machine) -> None:
    serial = [
        replace(command, waits=(index - 1,) if index else ())
        for index, command in enumerate(program.commands)
    ]
    cycles = run(Program(tuple(serial)), machine).cycles
    assert cycles == sum(alone(command, machine) for command in program.commands)
