"""The kernel of streaming networks against stepping every clock edge."""

from hypothesis import given, settings
from tests.simulator.streaming_cases import both, chain, networks, pipelines

from stowplan.simulator import streaming_kernels as kernels
from stowplan.simulator.streaming_network import Network


@settings(max_examples=300, deadline=None)
@given(networks())
def test_firing_by_firing_equals_edge_by_edge(network: Network) -> None:
    result = both(network)
    for fifo in network.fifos:
        assert result.fifo(fifo.name).peak_tokens <= fifo.depth
        assert result.fifo(fifo.name).peak_slots <= fifo.depth


@settings(max_examples=300, deadline=None)
@given(pipelines())
def test_jumps_over_steady_periods_equal_edge_by_edge(network: Network) -> None:
    both(network)


def test_kernel_is_compiled_for_one_signature() -> None:
    both(chain(5))
    both(chain(3, interval=2))
    assert len(getattr(kernels, "run").signatures) == 1  # noqa: B009 (a dispatcher, not a function)
