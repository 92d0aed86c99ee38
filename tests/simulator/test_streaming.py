"""Streaming networks: worked examples, exact clock crossings, deadlocks in words, errors."""

from dataclasses import replace
from fractions import Fraction
from math import lcm

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulator.streaming_cases import both, chain, crossing, networks

from stowplan.errors import ModelError
from stowplan.simulator.streaming import (
    Clock,
    Fifo,
    Network,
    Process,
    Rate,
    first_of,
    iterate,
    last_of,
    phases,
    repetitions,
    simulate,
    simulate_with_effort,
)
from stowplan.simulator.streaming_network import grid_of, pattern_at, pattern_sum

BILLION = 10**9


def test_two_slots_are_enough_for_a_token_every_cycle() -> None:
    result = both(chain(10, depth=2))
    # The writer fires in cycles 0 to 9, the reader one later, and is done one cycle after that.
    assert (result.cycles(), result.process("reader").first_tick) == (11, 1)
    assert result.process("reader").empty_cycles == 1
    assert result.fifo("x").full_cycles == 0


def test_one_slot_allows_a_token_every_other_cycle() -> None:
    result = both(chain(10, depth=1))
    assert result.process("writer").last_tick == 18
    assert result.fifo("x").full_cycles == 9
    assert result.fifo("x").empty_cycles == 10


def test_a_slow_reader_holds_its_writer_back_once_the_fifo_is_full() -> None:
    result = both(chain(10, depth=4, interval=3))
    # Reader: cycles 1, 4, ...; the writer fires 0 to 3, then whenever a slot is free: 4?, 5, 8, ...
    assert result.process("reader").last_tick == 28
    assert result.process("writer").last_tick == 1 + 3 * 5 + 1
    assert result.fifo("x").full_cycles == result.process("writer").last_tick - 9
    assert result.fifo("x").peak_slots == 4


def test_depth_covers_the_latency_of_the_writer() -> None:
    assert both(chain(50, depth=5, latency=4)).fifo("x").full_cycles == 0
    assert both(chain(50, depth=4, latency=4)).fifo("x").full_cycles > 0


def test_stalls_are_charged_to_the_first_fifo_in_order() -> None:
    network = Network(
        (
            Process("soon", 1, gives=(Rate("a"),), latency_cycles=2),
            Process("late", 1, gives=(Rate("b"),), latency_cycles=5),
            Process("join", 1, takes=(Rate("b"), Rate("a"))),
        ),
        (Fifo("a", 1), Fifo("b", 1)),
    )
    result = both(network)
    assert (result.fifo("b").empty_cycles, result.fifo("a").empty_cycles) == (5, 0)
    join = replace(network.processes[2], takes=(Rate("a"), Rate("b")))
    result = both(replace(network, processes=(*network.processes[:2], join)))
    assert (result.fifo("a").empty_cycles, result.fifo("b").empty_cycles) == (2, 3)


def test_a_result_belongs_to_the_firing_that_ends_a_row() -> None:
    network = Network(
        (
            Process("source", 12, gives=(Rate("x"),)),
            Process("sum", 12, (Rate("x"),), (Rate("sums", last_of(4)),)),
            Process("sink", 3, (Rate("sums"),)),
        ),
        (Fifo("x", 2), Fifo("sums", 1)),
    )
    result = both(network)
    # Element 3 leaves the source in cycle 3 and enters the sum in 4; the sink sees it in 5.
    assert result.process("sink").first_tick == 5
    assert result.process("sink").last_tick == 13


def test_synchronisers_delay_tokens_and_slots() -> None:
    writer, reader = Clock("w", 1), Clock("r", 1)
    plain = both(crossing(20, writer, reader, 8))
    slow = both(crossing(20, writer, reader, 8, sync=2))
    assert plain.process("reader").first_tick == 1
    assert slow.process("reader").first_tick == 3
    starved = both(crossing(20, writer, reader, 4, sync=2))
    # A slot comes back 1 + 2 + 1 + 2 cycles after it was claimed: 4 tokens in 6 cycles.
    assert starved.process("writer").last_tick == 4 * 6 + 3


def test_a_slower_reader_is_exact_over_a_billion_cycles() -> None:
    network = crossing(BILLION, Clock("w", 1000), Clock("r", 933), depth=4)
    result, effort = simulate_with_effort(network)
    assert dict(result.period_ticks) == {"w": 933, "r": 1000}
    # The reader takes token k at its edge k + 1; token n - 1 needs the slot of token n - 5.
    assert result.end_ticks == (BILLION + 1) * 1000
    assert result.time == Fraction(BILLION + 1, 933)
    writer = -(-(BILLION - 3) * 1000 // 933)
    assert result.process("writer").last_tick == writer * 933
    assert result.fifo("x").full_cycles == writer - (BILLION - 1)
    assert result.fifo("x").empty_cycles == 1
    assert effort.firings < 20_000


def test_a_faster_reader_is_exact_over_a_billion_cycles() -> None:
    result, effort = simulate_with_effort(
        crossing(BILLION, Clock("w", 933, 1000), Clock("r", 1), depth=4)
    )
    last = -(-BILLION * 1000 // 933)
    assert result.process("reader").last_tick == last * 933
    assert result.fifo("x").empty_cycles == last - (BILLION - 1)
    assert result.fifo("x").full_cycles == 0
    # A period rounded to whole picoseconds, as 1072 for 1000/933 ns, would be off by this much.
    assert abs(result.time - Fraction(1072 * BILLION, 1000)) > 100_000
    assert effort.firings < 20_000


@pytest.mark.parametrize("clocks", [(933, 1000), (1000, 933), (7, 3), (3, 7), (1, 1)])
@pytest.mark.parametrize("depth", [1, 3, 40])
def test_crossings_equal_stepping(clocks: tuple[int, int], depth: int) -> None:
    both(crossing(3000, Clock("w", clocks[0]), Clock("r", clocks[1]), depth, sync=depth % 2))


def test_work_does_not_grow_with_the_cycles_of_a_steady_network() -> None:
    efforts = {simulate_with_effort(chain(n, depth=3, interval=2))[1] for n in (10**3, 10**12)}
    assert len(efforts) == 1


def test_a_filling_fifo_is_jumped_over_up_to_the_cycle_it_is_full() -> None:
    network = chain(10**9, depth=10**6, interval=2)
    result, effort = simulate_with_effort(network)
    # It gains a token every two cycles and is full after about two million.
    assert result.fifo("x").peak_slots == 10**6
    assert result.process("writer").last_tick == 2 * (10**9 - 10**6)
    assert effort.jumps >= 2
    assert effort.firings < 1000
    both(chain(3000, depth=100, interval=2))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_steady_pace_of_a_ring_is_its_largest_cycle_ratio(data: st.DataObject) -> None:
    # Reiter, "Scheduling parallel computations", JACM 15(4), 1968: each firing depends on earlier
    # ones; the pace is the most delay per token over all cycles of dependences.
    count, small = data.draw(st.integers(3, 5)), st.integers(1, 9)
    latency, release, interval, depth = ([data.draw(small) for _ in range(count)] for _ in range(4))
    initial = [data.draw(st.integers(0, each)) for each in depth]
    slots = [each - taken for each, taken in zip(depth, initial, strict=True)]
    if sum(initial) == 0 or sum(slots) == 0:
        return
    ratios = [Fraction(sum(latency), sum(initial)), Fraction(sum(release), sum(slots))]
    ratios += [Fraction(each) for each in interval]
    ratios += [Fraction(latency[i] + release[(i + 1) % count], depth[i]) for i in range(count)]

    def run(firings: int) -> int:
        processes = tuple(
            Process(
                f"p{i}",
                firings,
                (Rate(f"f{(i - 1) % count}"),),
                (Rate(f"f{i}"),),
                "clock",
                interval[i],
                latency[i],
                release[i],
            )
            for i in range(count)
        )
        fifos = tuple(Fifo(f"f{i}", depth[i], initial_tokens=initial[i]) for i in range(count))
        return simulate(Network(processes, fifos)).end_ticks

    # The pattern of firings repeats after a common multiple of the tokens of all cycles.
    more = 10**9 * lcm(sum(initial), sum(slots), *depth)
    assert run(10**6 + more) - run(10**6) == more * max(ratios)


def test_grid_is_the_coarsest_that_holds_all_edges() -> None:
    grid = grid_of((Clock("a", 3, 2), Clock("b", 1, 1), Clock("c", 9, 4)))
    assert grid.period_ticks == {"a": 6, "b": 9, "c": 4}
    assert grid.tick == Fraction(1, 9)


@settings(max_examples=150, deadline=None)
@given(networks())
def test_every_cycle_up_to_the_last_firing_is_busy_or_a_stall(network: Network) -> None:
    result = simulate(network)
    periods = dict(result.period_ticks)
    for process, activity in zip(network.processes, result.processes, strict=True):
        if activity.firings == process.firings > 0:
            spent = activity.busy_cycles + activity.empty_cycles + activity.full_cycles
            last = pattern_at(process.interval_cycles, process.firings - 1)
            assert activity.last_tick == (spent - last) * periods[process.clock]


@settings(max_examples=100, deadline=None)
@given(networks())
def test_deeper_fifos_never_delay(network: Network) -> None:
    result = simulate(network)
    deeper = replace(network, fifos=tuple(replace(f, depth=f.depth + 1) for f in network.fifos))
    other = simulate(deeper)
    for before, after in zip(result.processes, other.processes, strict=True):
        assert after.firings >= before.firings
    if result.deadlock is None:
        assert other.end_ticks <= result.end_ticks


def test_deadlock_names_who_waits_for_whom() -> None:
    network = Network(
        (
            Process("qk", 64, gives=(Rate("scores"), Rate("v"))),
            Process("softmax", 8, takes=(Rate("scores", 8),), gives=(Rate("weights", 8),)),
            Process("pv", 64, takes=(Rate("weights"), Rate("v"))),
            Process("other", 1, takes=(Rate("never"),), gives=(Rate("never"),)),
        ),
        (Fifo("scores", 8), Fifo("v", 4), Fifo("weights", 8), Fifo("never", 1)),
    )
    deadlock = both(network).deadlock
    assert str(deadlock) == (
        "deadlock: `qk` waits for space on fifo `v` (full, depth 4, needs 1), which `pv` reads; "
        "`pv` waits for tokens on fifo `weights` (empty, needs 1), which `softmax` writes; "
        "`softmax` waits for tokens on fifo `scores` (4 there, needs 8), which `qk` writes. "
        "Also held up: `other` (fifo `never`)"
    )


def test_process_that_waits_for_itself_is_a_deadlock() -> None:
    network = Network(
        (Process("loop", 5, (Rate("state"),), (Rate("state"),)),), (Fifo("state", 2),)
    )
    deadlock = both(network).deadlock
    assert deadlock is not None
    assert [wait.process for wait in deadlock.cycle] == ["loop"]
    primed = replace(network, fifos=(Fifo("state", 2, initial_tokens=1),))
    assert both(primed).cycles() == 5


def test_repetitions_solve_the_balance_equations() -> None:
    network = Network(
        (
            Process("a", 0, gives=(Rate("x", 2),)),
            Process("b", 0, (Rate("x", 3),), (Rate("y", phases(1, 0)),)),
            Process("c", 0, (Rate("y"),)),
            Process("apart", 0),
        ),
        (Fifo("x", 6), Fifo("y", 2)),
    )
    assert repetitions(network) == {"a": 3, "b": 2, "c": 1, "apart": 1}
    run = simulate(iterate(network, 5))
    assert [process.firings for process in run.processes] == [15, 10, 5, 5]
    assert run.deadlock is None


def test_inconsistent_rates_name_the_fifo() -> None:
    network = Network(
        (
            Process("a", 1, gives=(Rate("x"), Rate("y"))),
            Process("b", 1, (Rate("x"), Rate("y", 2))),
        ),
        (Fifo("x", 2), Fifo("y", 2)),
    )
    with pytest.raises(ModelError, match=r"inconsistent at fifo 'y': for each firing of 'a'"):
        repetitions(network)
    silent = replace(network.processes[1], takes=(Rate("x"), Rate("y", 0)))
    with pytest.raises(ModelError, match="fifo 'y' cannot be balanced"):
        repetitions(replace(network, processes=(network.processes[0], silent)))


def test_patterns_count_as_written() -> None:
    pattern = phases(2, 2, 0, 1)
    assert pattern == ((2, 2), (1, 0), (1, 1))
    assert [pattern_at(pattern, k) for k in range(6)] == [2, 2, 0, 1, 2, 2]
    assert [pattern_sum(pattern, k) for k in range(6)] == [0, 2, 4, 4, 5, 7]
    assert first_of(1) == last_of(1) == ((1, 1),)
    assert first_of(3, 5) == ((1, 5), (2, 0))


GOOD = chain(4)
WRITER, READER = GOOD.processes


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (replace(GOOD, clocks=(Clock("c", 0),)), "clock 'c': numerator is 0; .* at least 1"),
        (replace(GOOD, clocks=(Clock("c"),)), "'writer' runs on clock 'clock'; there are only: c"),
        (replace(GOOD, clocks=(Clock(), Clock())), "clock 'clock'; rename one"),
        (replace(GOOD, processes=(WRITER, WRITER)), "process 'writer'; rename one"),
        (replace(GOOD, processes=(WRITER,)), "fifo 'x': exactly one process reads it, not none"),
        (
            replace(GOOD, processes=(WRITER, READER, replace(READER, name="b"))),
            "exactly one process reads it, not reader, b",
        ),
        (replace(GOOD, fifos=()), "process 'writer' writes fifo 'x': there is no such"),
        (replace(GOOD, fifos=(Fifo("x", 0),)), "fifo 'x': depth is 0"),
        (replace(GOOD, fifos=(Fifo("x", 1, initial_tokens=2),)), "less than the 2 tokens it holds"),
        (replace(GOOD, fifos=(Fifo("x", 2, initial_tokens=-1),)), "initial_tokens is -1"),
        (
            replace(GOOD, processes=(replace(WRITER, gives=(Rate("x", 3),)), READER)),
            "fifo 'x': depth 2 is less than the 3 tokens 'writer' gives in one firing",
        ),
        (
            replace(GOOD, processes=(WRITER, replace(READER, firings=6))),
            "'reader' takes 6 in 6, and 0 are there initially: 2 too few",
        ),
        (
            replace(GOOD, processes=(WRITER, replace(READER, firings=1))),
            "3 left, but only 2 fit",
        ),
        (
            replace(GOOD, processes=(replace(WRITER, latency_cycles=0), READER)),
            "process 'writer': latency_cycles is 0",
        ),
        (
            replace(GOOD, processes=(replace(WRITER, gives=(Rate("x", ()),)), READER)),
            "tokens on fifo 'x': the pattern is empty",
        ),
        (
            replace(GOOD, processes=(replace(WRITER, interval_cycles=((2, 0),)), READER)),
            r"interval_cycles: run \(2, 0\) needs at least 1 repeat of at least 1",
        ),
    ],
)
def test_malformed_networks_are_refused_with_a_reason(network: Network, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        simulate(network)


def test_runs_beyond_64_bits_are_refused() -> None:
    with pytest.raises(ModelError, match="runs for more than"):
        simulate(crossing(10**17, Clock("w", 1000), Clock("r", 933), depth=4))
    with pytest.raises(ModelError, match="cycles are too long"):
        simulate(chain(4, interval=1 << 60))
    with pytest.raises(ModelError, match=r"more than .* tokens"):
        simulate(chain(1 << 62))


def test_patterns_that_hardly_ever_repeat_are_refused() -> None:
    odd, even = tuple((1, i % 2) for i in range(9973)), tuple((1, i % 2) for i in range(9967))

    def writes(firings: int) -> Network:
        tokens = [pattern_sum(pattern, firings) for pattern in (odd, even)]
        source = Process("a", firings, gives=(Rate("x", odd), Rate("y", even)))
        sink = Process("b", 0, takes=(Rate("x"), Rate("y")))
        return Network((source, sink), (Fifo("x", tokens[0]), Fifo("y", tokens[1])))

    assert both(writes(50)).cycles() == 50
    with pytest.raises(ModelError, match="process 'a': its patterns together repeat only after"):
        simulate(writes(10**8))
