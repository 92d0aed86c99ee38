"""The DRAM model: published latencies, policies, and laws."""

from collections.abc import Callable

import numpy as np
import pytest
from tests.simulator.dram_cases import (
    DDR4,
    Trace,
    random_trace,
    trace,
    with_controller,
    with_timing,
)

from stowplan.errors import UsageError
from stowplan.simulator.dram import DramRun, simulate_requests
from stowplan.simulator.dram_energy import command_energy, dram_energy
from stowplan.simulator.dram_reference import step_through
from stowplan.targets.dram_presets import DramSpec, list_drams, load_dram

ROW, BANK_STRIDE = 1 << 17, 1 << 13
"""Bytes between rows of a bank, and between banks, of DDR4-2400 with its default map."""


def kernel(spec: DramSpec, asked: Trace) -> DramRun:
    return simulate_requests(spec, asked.addresses, asked.writes, asked.arrivals)


def plain(spec: DramSpec, asked: Trace) -> DramRun:
    return step_through(
        spec, asked.addresses.tolist(), asked.writes.tolist(), asked.arrivals.tolist()
    )


Model = Callable[[DramSpec, Trace], DramRun]
models = pytest.mark.parametrize("model", [kernel, plain])


@models
@pytest.mark.parametrize(
    ("second", "clocks"),
    [(64, 21), (BANK_STRIDE, 37), (ROW, 53)],
    ids=["hit", "closed", "conflict"],
)
def test_unloaded_read_latencies_are_those_of_dramsim3(
    model: Model, second: int, clocks: int
) -> None:
    """Source: DRAMsim3, one rank of DDR4-2400R: 21, 37 and 53 clocks."""
    run = model(DDR4, trace([0, second], arrivals=[0, 200]))
    assert (run.complete - run.accept).tolist() == [37, clocks]


@models
def test_writes_are_acknowledged_at_once_and_read_back_from_the_queue(model: Model) -> None:
    run = model(DDR4, trace([0, 0, 0, 64], "W-W-"))
    assert (run.complete - run.accept).tolist()[:3] == [1, 1, 1]
    assert (run.counts.forwarded, run.counts.merged) == (1, 1)
    assert (run.counts.reads, run.counts.writes) == (1, 1)


@models
def test_reads_of_one_block_share_a_command(model: Model) -> None:
    run = model(DDR4, trace([0, 0, 0]))
    assert run.complete.tolist() == [37, 37, 37]
    assert run.issue.tolist() == [17, -1, -1]
    assert run.counts.merged == 2


@models
def test_a_write_does_not_overtake_a_read_of_its_block(model: Model) -> None:
    run = model(with_controller(DDR4, write_queue=1), trace([ROW, 0, 0], "--W"))
    assert run.issue[2] > run.issue[1]


@models
def test_the_last_writes_reach_the_dram(model: Model) -> None:
    run = model(DDR4, trace([0, 64, 128], "WWW"))
    assert run.counts.writes == 3
    assert run.clocks == int(run.issue.max()) + DDR4.timing.cwl + DDR4.timing.burst


@models
def test_a_row_yields_after_its_limit_of_hits(model: Model) -> None:
    hits = [column * 64 for column in range(7)]
    other = trace([0, ROW, *hits[1:]])
    # With the preset's nine clocks from read to precharge the next hit always comes first.
    quick = with_timing(DDR4, rtp=4)
    patient = model(with_controller(quick, row_hit_limit=64), other)
    fair = model(with_controller(quick, row_hit_limit=2), other)
    assert patient.complete[1] > patient.complete[2:].max()
    assert fair.complete[1] < fair.complete[2:].max()


@models
def test_refreshes_come_once_per_interval(model: Model) -> None:
    interval = DDR4.timing.refi
    run = model(DDR4, trace([0, 64], arrivals=[0, 3 * interval + 900]))
    assert run.counts.refreshes == 3


def test_no_requests_take_no_time() -> None:
    run = kernel(DDR4, trace([]))
    assert (run.clocks, run.counts.activates, len(run.commands)) == (0, 0, 0)


@pytest.mark.parametrize("name", list_drams())
def test_streams_come_near_the_peak_and_never_above(name: str) -> None:
    """Sequential reads with the preset's map: bank groups or one group's column spacing decide."""
    spec = load_dram(name)
    count = 4000 * spec.organisation.channels
    addresses = np.arange(count) * spec.organisation.access_bytes
    run = simulate_requests(spec, addresses, np.zeros(count))
    peak = count / spec.organisation.channels * spec.timing.burst
    assert peak < run.clocks < 1.25 * peak * spec.timing.ccd_l / spec.timing.ccd_s


def test_channels_do_not_slow_each_other() -> None:
    spec = load_dram("hbm2")
    asked = random_trace(3, 2000, 1 << 26, 0.3, 0)
    run = kernel(spec, asked)
    channel = (asked.addresses // 64) % 8
    for c in range(8):
        own = channel == c
        alone = simulate_requests(spec, asked.addresses[own], asked.writes[own])
        np.testing.assert_array_equal(alone.complete, run.complete[own])


def test_waiting_longer_between_requests_shortens_no_schedule() -> None:
    spread = [kernel(DDR4, random_trace(5, 500, 1 << 24, 0.0, gap)).clocks for gap in (0, 8, 60)]
    assert spread == sorted(spread)


def test_energy_follows_the_data_sheet_currents() -> None:
    """Micron's formula by hand for eight DDR4-2400 devices at 1.2 V and 1/1.2 ns."""
    each = command_energy(DDR4)
    assert each.read_pj == pytest.approx((135 - 43) * 4 * 8)
    assert each.write_pj == pytest.approx((123 - 43) * 4 * 8)
    assert each.activate_pj == pytest.approx((48 * 55 - 43 * 39 - 34 * 16) * 8)
    assert each.refresh_pj == pytest.approx((250 - 43) * 421 * 8)
    run = kernel(DDR4, random_trace(1, 300, 1 << 22, 0.5, 2))
    energy = dram_energy(DDR4, run.counts, run.clocks)
    assert energy.read_pj == pytest.approx(run.counts.reads * each.read_pj)
    standby = run.clocks * each.closed_pj
    assert standby <= energy.standby_pj <= run.clocks * each.open_pj
    assert energy.total_pj > energy.standby_pj


@pytest.mark.parametrize(
    ("addresses", "writes", "arrivals"),
    [([0, 64], [0], None), ([-64], [0], None), ([0, 64], [0, 0], [5, 4]), ([0], [0], [-1])],
)
def test_wrong_requests_are_refused(
    addresses: list[int], writes: list[int], arrivals: list[int] | None
) -> None:
    with pytest.raises(UsageError, match="must"):
        simulate_requests(DDR4, addresses, writes, arrivals)
