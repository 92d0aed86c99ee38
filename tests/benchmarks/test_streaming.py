"""The benchmark of streaming networks: its networks are what it says, its page is a page."""

from benchmarks.streaming import attention, crossing, irregular, markdown
from rich.table import Table

from stowplan.simulator.streaming import simulate, simulate_with_effort, step_through


def test_irregular_network_never_repeats_and_its_cycles_scale() -> None:
    small, effort = simulate_with_effort(irregular(2_000, 1))
    large, same = simulate_with_effort(irregular(2_000, 1000))
    assert effort == same
    assert (effort.jumps, effort.firings) == (0, 16_000)
    assert large.end_ticks > 900 * small.end_ticks


def test_networks_run_to_their_end_as_when_stepped() -> None:
    for network in (irregular(300, 2), crossing(500), attention(12, "naive")):
        result = simulate(network)
        assert result.deadlock is None
        assert result == step_through(network)


def test_attention_runs_at_full_throughput() -> None:
    for variant in ("naive", "online"):
        network = attention(24, "naive" if variant == "naive" else "online")
        assert simulate(network).process("dot").full_cycles == 0


def test_page_holds_every_row() -> None:
    table = Table("network", "cycles", title="Speed")
    table.add_row("a", "1")
    table.add_row("b", "2")
    page = markdown([table])
    assert "## Speed\n\n| network | cycles |\n| --- | --- |\n| a | 1 |\n| b | 2 |\n" in page
