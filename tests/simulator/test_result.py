"""Counters derived from a run."""

from dataclasses import replace

import pytest
from tests.simulator.programs import compute, transfer
from tests.strategies import small_target

from stowplan.ir.program import Command, CommandKind, Engine, Program, Work
from stowplan.simulator.engine import simulate
from stowplan.simulator.result import step_spans
from stowplan.targets.load import load_target

TARGET = small_target(1 << 20)


def test_utilisation_is_the_share_of_slots_used() -> None:
    work = Work(macs=320, mac_slots=320, array_cycles=40)
    program = Program((replace(compute(Engine.ARRAY, 40), work=work),))
    # 16 units for 40 cycles, 320 of 640 slots.
    assert simulate(program, TARGET).utilisation == pytest.approx(0.5)


def test_energy_adds_up_by_component() -> None:
    work = Work(macs=10, vector_elements=20, onchip_bytes=30)
    load = replace(transfer(CommandKind.LOAD, 64), read_bytes=50)
    program = Program((load, replace(compute(Engine.ARRAY, 4, (0,)), work=work)))
    result = simulate(program, TARGET)
    assert dict(result.energy_pj) == pytest.approx(
        {"mac": 10.0, "vector": 2.0, "scratchpad": 80.0, "dram": 5000.0}
    )
    assert result.total_pj == pytest.approx(5092.0)


def test_the_longest_active_engine_bounds_the_time() -> None:
    slow_load = Program((transfer(CommandKind.LOAD, 800), compute(Engine.ARRAY, 4, (0,))))
    assert simulate(slow_load, TARGET).bound_by == "dma-in"
    long_product = Program((transfer(CommandKind.LOAD, 8), compute(Engine.ARRAY, 40, (0,))))
    result = simulate(long_product, TARGET)
    assert result.bound_by == "array"
    name, share = result.busy[0]
    assert (name, share) == ("array", 40 / 41)


def test_the_vector_unit_behind_the_array_counts_its_own_work_only() -> None:
    command = replace(compute(Engine.ARRAY, 40, joint=True), work=Work(vector_cycles=6))
    engines = {engine.name: engine for engine in simulate(Program((command,)), TARGET).engines}
    assert engines["array"].active_cycles == 40
    assert engines["vector"].active_cycles == 6
    assert dict(engines["vector"].causes)["held"] == 40


def test_bytes_by_kind() -> None:
    direct = replace(compute(Engine.VECTOR, 3, direct=16), read_bytes=5, written_bytes=6)
    commands: tuple[Command, ...] = (
        replace(transfer(CommandKind.LOAD, 8), read_bytes=1),
        replace(transfer(CommandKind.WEIGHT, 8), read_bytes=2),
        replace(transfer(CommandKind.STORE, 8), written_bytes=4),
        direct,
    )
    moved = simulate(Program(commands), TARGET).bytes
    assert (moved.load, moved.weight, moved.store) == (1, 2, 4)
    assert (moved.direct_read, moved.direct_write, moved.total) == (5, 6, 18)


def test_spans_join_the_pieces_of_a_step() -> None:
    pieces = tuple(replace(compute(Engine.ARRAY, n), step=n // 5) for n in (3, 4, 5, 6))
    program = Program(pieces, ("first", "second"))
    assert step_spans(program, simulate(program, TARGET)) == ((0, 7), (7, 18))


def test_an_empty_program_has_a_result() -> None:
    result = simulate(Program(()), load_target("eyeriss"))
    assert (result.cycles, result.utilisation, result.total_pj) == (0, 0.0, 0.0)
    assert all(share == 0.0 for _, share in result.busy)
