"""Laws of full DRAM mode, interleaved banks and several cores: conservation, bounds, anchors."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulator.programs import detailed_machines, detailed_programs, transfer

from stowplan.errors import TargetError
from stowplan.ir.program import Command, CommandKind, Engine, Program, Walk
from stowplan.simulator import detail, detail_kernels
from stowplan.simulator.accesses import segments_of
from stowplan.simulator.engine import run
from stowplan.simulator.machine import Cause, DramLink, Machine
from stowplan.simulator.reference import step_through
from stowplan.targets.dram_presets import load_dram

law = settings(max_examples=60, deadline=None)
DDR4 = load_dram("ddr4-2400")
LOAD, STORE = CommandKind.LOAD, CommandKind.STORE
WORKING = (Cause.BUSY, Cause.SETUP, Cause.DELAY, Cause.BANK, Cause.DRAM)


def ddr4(clocks: Fraction = Fraction(1), **fields: int) -> Machine:
    """A machine with one channel of DDR4 and plenty of banks."""
    return Machine(16, 64, 64, dram=DramLink(DDR4, clocks, **fields))


def load(*ranges: tuple[int, int], walks: tuple[Walk, ...] = ()) -> Command:
    return replace(transfer(LOAD, 64), dram_reads=ranges, walks=walks)


def store(*ranges: tuple[int, int], waits: tuple[int, ...] = ()) -> Command:
    return replace(transfer(STORE, 64, waits), dram_writes=ranges)


def both(program: Program, machine: Machine) -> int:
    """Cycles that both implementations agree on."""
    timing = run(program, machine)
    assert timing == step_through(program, machine)
    return timing.cycles


@law
@given(detailed_programs(), detailed_machines)
def test_every_access_asked_for_is_served_once(program: Program, machine: Machine) -> None:
    timing = run(program, machine)
    if machine.dram is None or timing.dram is None:
        return
    segments = [s for c in program.commands for s in segments_of(c, machine.dram)]
    reads = sum(count for _, count, write in segments if not write)
    writes = sum(count for _, count, write in segments if write)
    counts = timing.dram
    assert counts.reads <= reads and counts.writes <= writes
    assert counts.reads + counts.writes + counts.merged + counts.forwarded == reads + writes
    assert (
        counts.row_hits + counts.row_misses + counts.row_conflicts == counts.reads + counts.writes
    )
    assert timing.dram_clocks >= timing.cycles * machine.dram.clock_ratio


@law
@given(detailed_programs(), detailed_machines)
def test_cycles_of_queues_and_of_commands_add_up(program: Program, machine: Machine) -> None:
    timing = run(program, machine)
    for queue, row in enumerate(timing.causes):
        assert sum(row) == timing.cycles
        own = [i for i, c in enumerate(program.commands) if c.queues[0] == queue]
        shared = [i for i, c in enumerate(program.commands) if queue in c.queues[1:]]
        if not shared:
            for cause in Cause:
                spent = sum(timing.spent[i][cause] for i in own)
                assert spent == row[cause] or cause is Cause.DONE
    for i, command in enumerate(program.commands):
        working = sum(timing.spent[i][cause] for cause in WORKING)
        assert timing.spent[i][Cause.SETUP] == command.setup_cycles
        assert working == timing.end[i] - timing.start[i], command


@law
@given(detailed_programs(), detailed_machines)
def test_order_is_kept_on_every_core(program: Program, machine: Machine) -> None:
    timing = run(program, machine)
    for index, command in enumerate(program.commands):
        assert all(timing.end[wait] <= timing.start[index] for wait in command.waits)
    for queue in program.queues():
        for earlier, later in pairwise(queue):
            assert timing.end[earlier] <= timing.start[later]


def test_one_read_takes_the_latency_of_a_closed_bank() -> None:
    # Arrives at clock 1, is scheduled, opens its row and comes back 37 clocks after acceptance;
    # the next cycle moves it to the scratchpad.
    assert both(Program((load((0, 64)),)), ddr4()) == 1 + 37 + 1
    far = replace(ddr4(), dram=DramLink(DDR4, Fraction(1), path_cycles=10))
    assert both(Program((load((0, 64)),)), far) == 1 + 37 + 1 + 2 * 10


@pytest.mark.parametrize("ratio", [Fraction(6, 5), Fraction(3, 4), Fraction(2000, 1333)])
def test_clocks_keep_their_exact_ratio(ratio: Fraction) -> None:
    program = Program((load((0, 1 << 16)),))
    timing = run(program, ddr4(ratio))
    assert timing == step_through(program, ddr4(ratio))
    # Column commands are four clocks apart in different bank groups, six in the same one.
    clocks = timing.cycles * ratio
    assert 1024 * 4 <= clocks <= 1024 * 6


def test_too_few_requests_under_way_cost_bandwidth() -> None:
    program = Program((load((0, 1 << 15)),))
    cycles = [both(program, ddr4(outstanding=n)) for n in (1, 2, 4, 8, 32)]
    assert cycles == sorted(cycles, reverse=True)
    assert cycles[0] > 4 * cycles[-1]


def test_bursts_widen_ranges() -> None:
    link = DramLink(DDR4, Fraction(1), burst_bytes=256)
    assert list(segments_of(load((100, 200)), link)) == [(0, 4, False)]
    assert list(segments_of(load((250, 260), (0, 0)), link)) == [(0, 8, False)]
    fine = DramLink(DDR4, Fraction(1), burst_bytes=16)
    assert list(segments_of(load((100, 200)), fine)) == [(1, 3, False)]


def test_a_load_of_what_was_just_stored_gets_it_from_the_write_queue() -> None:
    program = Program((store((0, 512)), replace(load((0, 512)), waits=(0,))))
    timing = run(program, ddr4())
    assert timing == step_through(program, ddr4())
    assert timing.dram is not None
    assert timing.dram.forwarded > 0


def test_addresses_beyond_the_dram_are_refused() -> None:
    capacity = DDR4.organisation.capacity_bytes
    with pytest.raises(TargetError, match="bytes of DRAM"):
        run(Program((load((capacity - 64, capacity + 64)),)), ddr4())


def test_a_stream_longer_than_its_buffer_is_no_different(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(
        tuple(
            load((i * 640, i * 640 + 9000)) if i % 3 else store((i * 512, i * 512 + 7000))
            for i in range(24)
        )
    )
    machine = ddr4(Fraction(5, 4), outstanding=4)
    long = run(program, machine)
    monkeypatch.setattr(detail, "STREAM", 1)
    assert run(program, machine) == long == step_through(program, machine)
    asked = sum(n for c in program.commands for _, n, _ in segments_of(c, machine.dram or fail()))
    link = machine.dram or fail()
    held = 32 + 32 + 16 * 8
    assert asked > 4 * (link.outstanding * 4 + held)


def fail() -> DramLink:
    raise AssertionError


def compute(*walks: Walk, cycles: int = 8, core: int = 0) -> Command:
    return Command(
        *(CommandKind.COMPUTE, (Engine.ARRAY,), "compute", 0),
        bank_accesses=cycles,
        core=core,
        walks=walks,
    )


BANKS = Machine(bytes_per_cycle=8, banks=4, bank_width_bytes=4, interleaved=True)


def test_walks_through_different_banks_go_side_by_side() -> None:
    # Two words per cycle: words 0, 1, 2, ... and 2, 3, 0, ... of four banks.
    apart = compute(Walk(0, 16, 32), Walk(8, 16, 32))
    assert both(Program((apart,)), BANKS) == 8
    same = compute(Walk(0, 16, 32), Walk(16, 16, 32))
    assert both(Program((same,)), BANKS) == 16
    assert both(Program((same,)), replace(BANKS, ports=2)) == 8


def test_a_stride_of_all_banks_would_hit_one_bank() -> None:
    narrow = compute(Walk(0, 4, 64), cycles=4)
    # Four accesses per cycle to the one word there is: one port serves one of them at a time.
    assert both(Program((narrow,)), BANKS) == 16


def test_conflicts_between_transfer_and_computation_stall_the_computation() -> None:
    machine = replace(BANKS, bytes_per_cycle=4)
    moving = replace(transfer(LOAD, 64), walks=(Walk(0, 64, 64),))
    timing = run(Program((moving, compute(Walk(0, 64, 64), cycles=16))), machine)
    # The LOAD walks in front; both begin at the same word, so the computation is one behind.
    assert timing.causes[Engine.ARRAY][Cause.BANK] == 1
    assert timing.causes[Engine.DMA_IN][Cause.BANK] == 0


def test_cores_work_at_the_same_time() -> None:
    own = (compute(cycles=10, core=0), compute(cycles=10, core=1))
    assert both(Program(own, cores=2), BANKS) == 10
    assert both(Program((own[0], own[0]), cores=2), BANKS) == 20
    spread = Machine(bytes_per_cycle=8, banks=2, bank_width_bytes=4)
    both_rates = tuple(replace(c, bank_rate=2, bank_accesses=20) for c in own)
    # Two banks for two computations that could use two each.
    assert both(Program(both_rates, cores=2), spread) == 20


@law
@given(st.integers(1, 4), st.lists(st.tuples(st.integers(0, 60), st.integers(4, 60)), max_size=4))
def test_more_ports_are_never_slower_for_one_computation(
    ports: int, walks: list[tuple[int, int]]
) -> None:
    command = compute(*(Walk(address, 32, size) for address, size in walks), cycles=6)
    few = run(Program((command,)), replace(BANKS, ports=ports))
    more = run(Program((command,)), replace(BANKS, ports=ports + 1))
    assert more.cycles <= few.cycles


@law
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=4), st.integers(1, 20))
def test_more_outstanding_requests_move_the_same_bytes(sizes: list[int], outstanding: int) -> None:
    program = Program(tuple(load((4096 * i, 4096 * i + n)) for i, n in enumerate(sizes)))
    few, more = (run(program, ddr4(outstanding=n)) for n in (outstanding, 2 * outstanding))
    assert few.dram is not None and more.dram is not None
    assert few.dram.reads == more.dram.reads
    assert more.cycles <= few.cycles


def test_the_kernel_is_compiled_once() -> None:
    both(Program((load((0, 64)),)), ddr4())
    both(Program((compute(Walk(0, 4, 4)),)), BANKS)
    both(Program(()), ddr4())
    assert len(getattr(detail_kernels.run, "signatures")) == 1  # noqa: B009 - numba adds it
