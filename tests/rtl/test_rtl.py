"""Whole programs on the RTL machine, clock by clock beside the simulator; needs Verilator."""

from dataclasses import replace

import pytest
from benchmarks import rtl_machine
from benchmarks.rtl import array_clocks
from benchmarks.rtl_machine import Hardware
from benchmarks.rtl_outcome import Outcome, judge
from benchmarks.rtl_programs import random_case, streamed_case

from stowplan.ir.program import CommandKind

pytestmark = pytest.mark.skipif(not rtl_machine.available(), reason=rtl_machine.MISSING)

OUTPUTS = Hardware(4, 4, pipelined=True, stages=2)
WEIGHTS = Hardware(8, 8, "weight_stationary", pipelined=True, stages=3, scratchpad_bytes=32768)


@pytest.mark.parametrize("hardware", [OUTPUTS, WEIGHTS], ids=lambda hardware: hardware.name)
def test_programs_agree_with_the_simulator_and_with_numpy(hardware: Hardware) -> None:
    outcomes = [judge(random_case(seed, hardware)) for seed in range(6)]
    assert [outcome.differing for outcome in outcomes] == [()] * len(outcomes)
    assert [outcome.wrong for outcome in outcomes] == [()] * len(outcomes)
    assert sum(outcome.overlapped for outcome in outcomes) > 0


def test_arrays_take_the_published_clocks() -> None:
    assert array_clocks(OUTPUTS, 4, 16, 4) == 28
    assert array_clocks(OUTPUTS, 32, 16, 4) == 140
    assert array_clocks(WEIGHTS, 8, 8, 8) == 46 + 8
    assert array_clocks(WEIGHTS, 8, 32, 8) == 184 + 32


@pytest.mark.parametrize("hardware", [OUTPUTS, WEIGHTS], ids=lambda hardware: hardware.name)
def test_weights_in_several_chunks_take_the_time_of_their_parts(hardware: Hardware) -> None:
    outcomes = [judge(streamed_case(seed, hardware)) for seed in range(4)]
    kinds = [[c.kind for c in o.case.tiles.program.commands] for o in outcomes]
    assert all(own.count(CommandKind.WEIGHT) > 1 for own in kinds)
    assert [outcome.differing for outcome in outcomes] == [()] * len(outcomes)
    assert [outcome.wrong for outcome in outcomes] == [()] * len(outcomes)


def test_a_wrong_instruction_shows() -> None:
    """The comparison can fail: another address gives other numbers, a lost wait other cycles."""
    case = random_case(3, OUTPUTS)
    numbers = [i for i, c in enumerate(case.tiles.program.commands) if c.waits]
    commands = list(case.tiles.program.commands)
    for number in numbers:
        commands[number] = replace(commands[number], waits=())
    hasty = replace(case.tiles, program=replace(case.tiles.program, commands=tuple(commands)))
    trace = rtl_machine.run(OUTPUTS, hasty, case.memory)
    assert trace.cycles < judge(case).trace.cycles
    moved = [
        replace(work, address=work.address + 16) if command.kind is CommandKind.LOAD else work
        for command, work in zip(case.tiles.program.commands, case.tiles.work, strict=True)
    ]
    outcome = judge(replace(case, tiles=replace(case.tiles, work=tuple(moved))))
    assert outcome.wrong and not outcome.differing


def test_both_streams_share_the_lanes_to_memory() -> None:
    """Some clock of the compared programs has a LOAD and a STORE moving at the same time."""
    assert any(_streams_meet(judge(random_case(seed, OUTPUTS))) for seed in range(6))


def _streams_meet(outcome: Outcome) -> bool:
    commands, trace = outcome.case.tiles.program.commands, outcome.trace
    spans = [
        (command.kind, trace.start[i] + command.delay_cycles, trace.end[i])
        for i, command in enumerate(commands)
        if command.kind is not CommandKind.COMPUTE
    ]
    loads = [span for span in spans if span[0] is not CommandKind.STORE]
    stores = [span for span in spans if span[0] is CommandKind.STORE]
    return any(a < d and c < b for _, a, b in loads for _, c, d in stores)
