"""The kernel of streaming networks against stepping every clock edge."""

import pytest
from hypothesis import given, settings
from tests.simulator.streaming_cases import balanced, both, chain, networks, pipelines

from stowplan.simulator import streaming_kernels as kernels
from stowplan.simulator.streaming_engine import simulate_with_effort
from stowplan.simulator.streaming_network import Fifo, Network, Process, Rate


@settings(max_examples=200, deadline=None)
@given(networks())
def test_firing_by_firing_equals_edge_by_edge(network: Network) -> None:
    result = both(network)
    for fifo in network.fifos:
        assert result.fifo(fifo.name).peak_tokens <= fifo.depth
        assert result.fifo(fifo.name).peak_slots <= fifo.depth


@settings(max_examples=200, deadline=None)
@given(pipelines())
def test_jumps_over_steady_periods_equal_edge_by_edge(network: Network) -> None:
    both(network)


@pytest.mark.parametrize("first", range(0, 600, 150))
def test_balanced_graphs_equal_edge_by_edge(first: int) -> None:
    graphs = [network for seed in range(first, first + 150) if (network := balanced(seed))]
    results = [both(network) for network in graphs]
    deadlocks = sum(result.deadlock is not None for result in results)
    assert 10 < deadlocks < len(results) - 10


@pytest.mark.parametrize("zeros", range(252, 259))
def test_rows_are_not_jumped_over_when_a_fifo_runs_dry_inside_one(zeros: int) -> None:
    # In each row of 280 writer firings the fifo is drained by 36 and more, and filled by 39; the
    # reader takes 40. The level sinks by one per row, and in row 11 it is empty inside a jump.
    bursts = ((zeros, 0), (3, 13), (277 - zeros, 0))
    network = Network(
        (
            Process("writer", 280 * 30, gives=(Rate("x", bursts),)),
            Process("reader", 40 * 14 + 10, (Rate("x"),), interval_cycles=7),
        ),
        (Fifo("x", 1000, initial_tokens=46),),
    )
    result = both(network)
    assert result.process("reader").empty_cycles > 0
    assert simulate_with_effort(network)[1].firings < 500


@pytest.mark.parametrize("zeros", range(252, 259))
def test_peaks_inside_rows_that_are_jumped_over_count(zeros: int) -> None:
    # The mirror image: a row adds 40 tokens one by one and takes 39 in a burst, so the highest
    # point rises by one per row up to row 10; the writer ends before that of row 11.
    bursts = ((zeros, 0), (3, 13), (277 - zeros, 0))
    network = Network(
        (
            Process("writer", 40 * 10 + 5, gives=(Rate("x"),), interval_cycles=7),
            Process("reader", 280 * 14, (Rate("x", bursts),)),
        ),
        (Fifo("x", 1000, initial_tokens=200),),
    )
    assert both(network).fifo("x").peak_slots == 246
    assert simulate_with_effort(network)[1].firings < 500


def test_kernel_is_compiled_for_one_signature() -> None:
    both(chain(5))
    both(chain(3, interval=2))
    assert len(getattr(kernels, "run").signatures) == 1  # noqa: B009 (a dispatcher, not a function)
