"""The checker of command streams: it accepts legal ones and sees every kind of fault."""

import numpy as np
import pytest
from tests.simulator.dram_cases import DDR4, random_trace, with_timing

from stowplan.simulator.dram import simulate_requests
from stowplan.simulator.dram_check import check_commands
from stowplan.targets.dram_presets import DramSpec

LOCAL = random_trace(1, 400, 1 << 15, 0.4, 0)
SPREAD = random_trace(2, 600, 1 << 22, 0.3, 0)
ROWS = random_trace(3, 300, 1 << 30, 0.3, 0)
LONG = random_trace(5, 300, 1 << 20, 0.2, 40)
TRACES = (LOCAL, SPREAD, ROWS, LONG)


def faults(spec: DramSpec, judge: DramSpec) -> tuple[str, ...]:
    """What the checker, told ``judge``, says of streams made for ``spec``."""
    found: tuple[str, ...] = ()
    for asked in TRACES:
        run = simulate_requests(spec, asked.addresses, asked.writes, asked.arrivals, log=True)
        found += check_commands(judge, run.commands, asked.addresses, asked.writes)
    return found


def test_streams_of_the_model_are_legal() -> None:
    assert faults(DDR4, DDR4) == ()


@pytest.mark.parametrize(
    ("field", "slack"),
    [
        ("rcd", 1),
        ("rp", 1),
        ("ras", 12),
        ("rc", 12),
        ("ccd_s", 1),
        ("ccd_l", 1),
        ("rrd_s", 1),
        ("rrd_l", 1),
        ("faw", 1),
        ("wr", 1),
        ("rtp", 1),
        ("wtr_s", 1),
        ("wtr_l", 1),
        ("rtrs", 1),
        ("ppd", 2),
        ("burst", 1),
        ("cwl", 1),
        ("rfc", 1),
    ],
)
def test_a_device_slower_in_one_parameter_is_seen(field: str, slack: int) -> None:
    """Streams made for the faster device break the slower one's rule, so no rule is vacuous."""
    slower = with_timing(DDR4, **{field: getattr(DDR4.timing, field) + slack})
    assert faults(DDR4, slower)


def test_a_longer_read_latency_is_seen_on_the_data_bus() -> None:
    assert any("data of WR" in fault for fault in faults(DDR4, with_timing(DDR4, cl=18)))


@pytest.mark.parametrize(
    ("kind", "says"),
    [(0, "the bank is closed|row is not open"), (1, "still open"), (2, "")],
    ids=["no activate", "no precharge", "no read"],
)
def test_a_missing_command_is_seen(kind: int, says: str) -> None:
    run = simulate_requests(DDR4, ROWS.addresses, ROWS.writes, log=True)
    victim = np.flatnonzero(run.commands[:, 2] == kind)[3]
    stream = np.delete(run.commands, victim, axis=0)
    found = check_commands(DDR4, stream, ROWS.addresses, ROWS.writes)
    if says:
        assert any(part in fault for fault in found for part in says.split("|"))
    else:
        assert found == ()


def test_wrong_row_direction_repetition_and_shared_clock_are_seen() -> None:
    run = simulate_requests(DDR4, LOCAL.addresses, LOCAL.writes, log=True)
    column = np.flatnonzero(run.commands[:, 2] == 2)[5]
    moved = LOCAL.addresses.copy()
    moved[run.commands[column, 4]] += 1 << 20
    assert any("elsewhere" in f for f in check_commands(DDR4, run.commands, moved, LOCAL.writes))
    turned = ~LOCAL.writes
    assert any(
        "other way" in f for f in check_commands(DDR4, run.commands, LOCAL.addresses, turned)
    )
    twice = np.insert(run.commands, column, run.commands[column], axis=0)
    found = check_commands(DDR4, twice, LOCAL.addresses, LOCAL.writes)
    assert any("twice" in fault for fault in found)
    assert any("is not after" in fault for fault in found)


def test_a_rank_left_without_refresh_is_seen() -> None:
    lazy = with_timing(DDR4, refi=1 << 20)
    asked = random_trace(4, 50, 1 << 20, 0.0, 2 * DDR4.timing.refi)
    run = simulate_requests(lazy, asked.addresses, asked.writes, asked.arrivals, log=True)
    found = check_commands(DDR4, run.commands, asked.addresses, asked.writes)
    assert any("no refresh" in fault for fault in found)
