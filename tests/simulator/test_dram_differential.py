"""The DRAM kernel against the clock-by-clock reference, and both against the checker."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.simulator.dram_cases import Trace, random_trace, specs, traces

from stowplan.simulator import dram_kernels as kernels
from stowplan.simulator.dram import (
    DramRun,
    empty_stream,
    new_state,
    pieces_of,
    simulate_requests,
)
from stowplan.simulator.dram_check import check_commands
from stowplan.simulator.dram_reference import step_through
from stowplan.simulator.dram_rules import rules_of
from stowplan.targets.dram_presets import DramSpec, list_drams, load_dram


def both(spec: DramSpec, asked: Trace) -> DramRun:
    """A run on which kernel and reference agree in everything and which obeys the device."""
    run = simulate_requests(spec, asked.addresses, asked.writes, asked.arrivals, log=True)
    plain = step_through(
        spec, asked.addresses.tolist(), asked.writes.tolist(), asked.arrivals.tolist()
    )
    for name in ("accept", "issue", "complete", "commands"):
        np.testing.assert_array_equal(getattr(run, name), getattr(plain, name), name)
    assert (run.counts, run.clocks) == (plain.counts, plain.clocks)
    assert check_commands(spec, run.commands, asked.addresses, asked.writes) == ()
    return run


@settings(max_examples=100, deadline=None)
@given(specs(), traces())
def test_event_driven_equals_clock_stepping_and_obeys_the_device(
    spec: DramSpec, asked: Trace
) -> None:
    run = both(spec, asked)
    counts = run.counts
    served = counts.reads + counts.writes
    assert served + counts.merged + counts.forwarded == len(asked.addresses)
    assert counts.row_hits + counts.row_misses + counts.row_conflicts == served
    assert (run.accept >= asked.arrivals).all()
    assert (run.complete > run.accept).all()
    assert counts.open_clocks <= run.clocks * spec.organisation.channels * spec.organisation.ranks


@pytest.mark.parametrize("name", list_drams())
@pytest.mark.parametrize("span", [1 << 13, 1 << 26])
def test_presets_agree_with_the_reference_past_a_refresh(name: str, span: int) -> None:
    spec = load_dram(name)
    gap = 2 * spec.timing.refi // 250
    run = both(spec, random_trace(7, 250, span, 0.4, gap))
    assert run.counts.refreshes > 0


@settings(max_examples=40, deadline=None)
@given(specs(), traces(), st.integers(0, 1 << 30))
def test_requests_pushed_while_it_runs_change_nothing(
    spec: DramSpec, asked: Trace, seed: int
) -> None:
    # A channel that knows it has seen its last request drains earlier; only one can know it here.
    assume(spec.controller.drain_above == 0 or spec.organisation.channels == 1)
    whole = simulate_requests(spec, asked.addresses, asked.writes, asked.arrivals)
    rules, state = rules_of(spec), new_state(spec)
    stream, pieces = empty_stream(spec, max(1, len(asked.addresses))), pieces_of(spec)
    organisation = spec.organisation
    rng = np.random.default_rng(seed)
    places = []
    for address, write, arrival in zip(
        asked.addresses.tolist(), asked.writes.tolist(), asked.arrivals.tolist(), strict=True
    ):
        block = address // organisation.access_bytes
        channel, wrapped, bank, row = kernels.decode(
            pieces, organisation.bank_groups, organisation.banks_per_group, block
        )
        for c in range(organisation.channels):
            # Any pauses up to the next arrival: the kernel may stop and go on at every clock.
            kernels.advance(rules, state, stream, c, int(rng.integers(0, arrival + 1)))
        request = (wrapped, bank, row, int(write))
        place = kernels.push(state, stream, channel, request, arrival)
        places.append((channel, place))
    kernels.drain(rules, state, stream)
    for name in ("accept", "issue", "complete"):
        got = [int(getattr(stream, name)[place]) for place in places]
        assert got == getattr(whole, name).tolist()


def test_a_full_stream_refuses_requests() -> None:
    spec = load_dram()
    state, stream = new_state(spec), empty_stream(spec, 1)
    assert kernels.push(state, stream, 0, (0, 0, 0, 0), 0) == 0
    assert kernels.push(state, stream, 0, (1, 0, 0, 0), 0) == -1


def test_kernels_are_compiled_for_one_signature_each() -> None:
    for name in list_drams():
        simulate_requests(load_dram(name), [0, 64], [0, 1])
    assert len(getattr(kernels.drain, "signatures")) == 1  # noqa: B009 - numba adds it
    # None when the cache held the kernel that calls it.
    assert len(getattr(kernels._simulate, "signatures")) <= 1  # noqa: B009
