"""The smallest FIFO depths: against trying everything, and on streaming attention."""

from dataclasses import replace
from math import gcd

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulator.streaming_cases import both, chain

from stowplan.errors import ModelError, UsageError
from stowplan.simulator.streaming import (
    AttentionStream,
    Fifo,
    Network,
    Process,
    Rate,
    attention_stream,
    iterate,
    minimum_depths,
    simulate,
    simulate_with_effort,
    step_through,
    with_depths,
)
from stowplan.simulator.streaming_attention import Variant
from stowplan.simulator.streaming_depths import Keep
from stowplan.simulator.streaming_network import least_depth

DEEP = 200
"""Deeper than anything these networks fill."""


@st.composite
def diamonds(draw: st.DrawFn) -> Network:
    """A source, two branches of different pace and a sink, of any rates and widths."""
    rate = st.integers(1, 3)
    rates = [(draw(rate), draw(rate)) for _ in range(3)]
    # The last fifo is balanced by construction: both ways give the same ratio of firings.
    forth = rates[0][0] * rates[1][0] * rates[2][1]
    back = rates[0][1] * rates[1][1] * rates[2][0]
    common = gcd(forth, back)
    processes = (
        Process("source", 0, (), (Rate("a", rates[0][0]), Rate("c", rates[2][0]))),
        Process("left", 0, (Rate("a", rates[0][1]),), (Rate("b", rates[1][0]),)),
        Process("right", 0, (Rate("c", rates[2][1]),), (Rate("d", forth // common),)),
        Process("sink", 0, (Rate("b", rates[1][1]), Rate("d", back // common)), ()),
    )
    shaped = tuple(
        replace(
            process,
            interval_cycles=draw(st.integers(1, 3)),
            latency_cycles=draw(st.integers(1, 3)),
        )
        for process in processes
    )
    fifos = tuple(Fifo(name, DEEP, draw(st.integers(1, 3))) for name in "abcd")
    network = Network(shaped, fifos)
    return iterate(network, draw(st.integers(1, 3)))


def cheaper(network: Network, bits: int) -> list[dict[str, int]]:
    """All depths that ``verify`` accepts and that take fewer than ``bits``."""
    found: list[tuple[dict[str, int], int]] = [({}, bits)]
    least = {fifo.name: least_depth(network, fifo) for fifo in network.fifos}
    for i, fifo in enumerate(network.fifos):
        later = sum(least[other.name] * other.width_bits for other in network.fifos[i + 1 :])
        found = [
            ({**depths, fifo.name: depth}, left - depth * fifo.width_bits)
            for depths, left in found
            for depth in range(least[fifo.name], (left - later - 1) // fifo.width_bits + 1)
        ]
    return [depths for depths, _ in found]


@settings(max_examples=120, deadline=None)
@given(diamonds(), st.sampled_from(("progress", "throughput")))
def test_no_fewer_bits_suffice(network: Network, keep: Keep) -> None:
    free = simulate(network)
    report = minimum_depths(network, keep)
    chosen = step_through(with_depths(network, dict(report.depths)))
    assert (chosen.deadlock, chosen.end_ticks) == (None, report.end_ticks)
    if keep == "throughput":
        assert report.end_ticks == free.end_ticks
    if not report.proven:
        return
    for depths in cheaper(network, report.total_bits)[:400]:
        result = simulate(with_depths(network, depths))
        late = keep == "throughput" and result.end_ticks > free.end_ticks
        assert result.deadlock is not None or late


@settings(max_examples=60, deadline=None)
@given(diamonds(), st.sampled_from(("progress", "throughput")))
def test_without_time_to_search_no_single_fifo_can_be_smaller(network: Network, keep: Keep) -> None:
    report = minimum_depths(network, keep, most_runs=0)
    best = minimum_depths(network, keep)
    assert not report.proven
    assert report.total_bits >= best.total_bits
    for name, depth in report.depths:
        smaller = with_depths(network, {**dict(report.depths), name: depth - 1})
        try:
            result = simulate(smaller)
        except ModelError:
            continue
        assert result.deadlock is not None or result.end_ticks > report.end_ticks


def test_two_slots_keep_a_chain_at_full_rate_and_one_keeps_it_going() -> None:
    assert minimum_depths(chain(20, depth=9)).depths == (("x", 1),)
    assert minimum_depths(chain(20, depth=9), "throughput").depths == (("x", 2),)
    assert minimum_depths(chain(20, latency=6), "throughput").depths == (("x", 7),)


def test_a_network_that_no_depth_saves_is_refused() -> None:
    network = Network((Process("p", 2, (Rate("x"),), (Rate("x"),)),), (Fifo("x", 5),))
    with pytest.raises(ModelError, match="no depth of the fifos avoids this deadlock: `p` waits"):
        minimum_depths(network)


def needed(variant: Variant, keys: int, keep: Keep) -> dict[str, int]:
    """Smallest depths of a stream of a few rows."""
    report = minimum_depths(attention_stream(AttentionStream(6, keys, head_dim=4), variant), keep)
    assert report.proven
    return dict(report.depths)


@pytest.mark.parametrize("keys", [8, 32, 128, 512])
def test_naive_attention_needs_a_row_in_two_fifos(keys: int) -> None:
    for keep, row in (("progress", keys), ("throughput", keys + 2)):
        depths = needed("naive", keys, "progress" if keep == "progress" else "throughput")
        assert {name for name, depth in depths.items() if depth > 2} == {"scores", "exponentials"}
        assert depths["scores"] == depths["exponentials"] == row


@pytest.mark.parametrize("keys", [8, 32, 128, 512])
def test_dividing_last_leaves_one_row(keys: int) -> None:
    depths = needed("reordered", keys, "throughput")
    assert depths.pop("scores") == keys + 2
    assert max(depths.values()) == 2


def test_online_attention_needs_the_same_few_tokens_for_any_row() -> None:
    for keep in ("progress", "throughput"):
        kept: Keep = "progress" if keep == "progress" else "throughput"
        depths = [needed("online", keys, kept) for keys in (8, 32, 128, 512)]
        assert all(each == depths[0] for each in depths)
        assert max(depths[0].values()) == (1 if keep == "progress" else 2)


def test_naive_attention_with_short_fifos_deadlocks_and_says_why() -> None:
    stream = AttentionStream(4, 16)
    result = both(attention_stream(stream, "naive"))
    assert str(result.deadlock).startswith(
        "deadlock: `dot` waits for space on fifo `scores` (full, depth 2, needs 1), which "
        "`exponential` reads; `exponential` waits for tokens on fifo `maxima` (empty, needs 1), "
        "which `row_maximum` writes; `row_maximum` waits for tokens on fifo `scores_to_maximum` "
        "(empty, needs 1), which `dot` writes"
    )
    half = both(attention_stream(stream, "naive", {"scores": 16}))
    assert half.deadlock is not None
    assert half.deadlock.cycle[0].fifo == "exponentials_to_sum" or any(
        wait.full and wait.fifo == "exponentials" for wait in half.deadlock.cycle
    )
    whole = both(attention_stream(stream, "naive", {"scores": 18, "exponentials": 18}))
    assert whole.deadlock is None


@pytest.mark.parametrize("variant", ["naive", "reordered", "online"])
@pytest.mark.parametrize("latency", [1, 3])
def test_attention_at_full_rate_takes_a_cycle_per_score(variant: Variant, latency: int) -> None:
    stream = AttentionStream(12, 20, latency_cycles=latency, depth=20 + 4 * latency)
    result = both(attention_stream(stream, variant))
    dot = result.process("dot")
    assert dot.full_cycles == 0
    assert dot.last_tick - dot.first_tick == 12 * 20 - 1


def test_long_attention_is_simulated_in_the_time_of_a_few_rows() -> None:
    stream = AttentionStream(queries=4096, keys=64)
    network = attention_stream(stream, "naive", {"scores": 66, "exponentials": 66})
    longer = attention_stream(
        replace(stream, queries=1 << 24), "naive", {"scores": 66, "exponentials": 66}
    )
    (one, few), (two, many) = simulate_with_effort(network), simulate_with_effort(longer)
    assert two.end_ticks - one.end_ticks == ((1 << 24) - 4096) * 64
    assert many.firings < 2 * few.firings


def test_attention_refuses_what_it_cannot_build() -> None:
    with pytest.raises(UsageError, match="no attention variant 'flash'; choose naive"):
        attention_stream(AttentionStream(4, 4), "flash")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"AttentionStream\.keys is 0"):
        attention_stream(AttentionStream(4, 0))
    with pytest.raises(UsageError, match="'online' attention has no fifo 'maxima'; it has queries"):
        attention_stream(AttentionStream(4, 4), "online", {"maxima": 2})
