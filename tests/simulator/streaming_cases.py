"""Random and hand-made streaming networks for tests of the simulator."""

from bisect import bisect_right
from dataclasses import replace
from math import lcm
from random import Random

from hypothesis import strategies as st

from stowplan.errors import ModelError
from stowplan.simulator.streaming_engine import simulate
from stowplan.simulator.streaming_network import (
    Clock,
    Fifo,
    Network,
    Pattern,
    Process,
    Rate,
    pattern_of,
    pattern_sum,
)
from stowplan.simulator.streaming_reference import step_through
from stowplan.simulator.streaming_result import StreamResult

CLOCKS = (Clock("fast", 7, 2), Clock("slow", 3, 2), Clock("unit", 1, 1))


def both(network: Network) -> StreamResult:
    """Result on which both engines agree in everything."""
    result = simulate(network)
    assert result == step_through(network)
    return result


def chain(firings: int, depth: int = 2, latency: int = 1, interval: int = 1) -> Network:
    """A writer and a reader on one clock; ``interval`` is the reader's."""
    return Network(
        (
            Process("writer", firings, gives=(Rate("x"),), latency_cycles=latency),
            Process("reader", firings, takes=(Rate("x"),), interval_cycles=interval),
        ),
        (Fifo("x", depth),),
    )


def crossing(firings: int, writer: Clock, reader: Clock, depth: int, sync: int = 0) -> Network:
    """A writer and a reader on two clocks."""
    return Network(
        (
            Process("writer", firings, gives=(Rate("x"),), clock=writer.name),
            Process("reader", firings, takes=(Rate("x"),), clock=reader.name),
        ),
        (Fifo("x", depth, sync_cycles=sync),),
        (writer, reader),
    )


@st.composite
def patterns(draw: st.DrawFn, length: int, least: int, most: int) -> Pattern:
    """A pattern over ``length`` firings, now and then in long runs."""
    cut = draw(st.integers(0, length - 1)) if length > 1 else 0
    values = st.integers(least, most)
    if cut == 0:
        return ((length, draw(values)),)
    return ((cut, draw(values)), (length - cut, draw(values)))


def _firings_for(pattern: Pattern, tokens: int) -> int:
    """Most firings that together use no more than ``tokens``."""
    return bisect_right(range(401), tokens, key=lambda firings: pattern_sum(pattern, firings)) - 1


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Any network of at most five processes that ``verify`` accepts; many of them deadlock."""
    count = draw(st.integers(1, 5))
    lengths = [draw(st.sampled_from((1, 1, 2, 3, 7, 30))) for _ in range(count)]
    takes: list[list[Rate]] = [[] for _ in range(count)]
    gives: list[list[Rate]] = [[] for _ in range(count)]
    firings = [draw(st.integers(0, 160)) for _ in range(count)]
    edges = []
    for index in range(draw(st.integers(0, 7))):
        writer, reader = draw(st.integers(0, count - 1)), draw(st.integers(0, count - 1))
        name = f"f{index}"
        given_ = draw(patterns(lengths[writer], 0, 4))
        taken = draw(patterns(lengths[reader], 0, 4))
        gives[writer].append(Rate(name, given_))
        takes[reader].append(Rate(name, taken))
        edges.append((name, writer, given_, reader, taken, draw(st.sampled_from((0, 0, 1, 3, 9)))))
    # Firings shrink until no reader takes more than it is given.
    for _ in range(3 * count * len(edges)):
        for _, writer, given_, reader, taken, initial in edges:
            supply = initial + pattern_sum(given_, firings[writer])
            firings[reader] = min(firings[reader], _firings_for(taken, supply))
    fifos = []
    for name, writer, given_, reader, taken, initial in edges:
        made, used = pattern_sum(given_, firings[writer]), pattern_sum(taken, firings[reader])
        firings[reader] = firings[reader] if used <= made + initial else 0
        most = max(v for pattern in (given_, taken) for _, v in pattern_of(pattern))
        least = max(1, most, initial, initial + made - used)
        depth = least + draw(st.sampled_from((0, 0, 1, 2, 5, 40)))
        fifos.append(Fifo(name, depth, 8, initial, draw(st.sampled_from((0, 0, 0, 1, 2)))))
    names = [clock.name for clock in CLOCKS] if draw(st.booleans()) else ["unit"]
    processes = tuple(
        Process(
            f"p{i}",
            firings[i],
            tuple(takes[i]),
            tuple(gives[i]),
            draw(st.sampled_from(names)),
            draw(patterns(lengths[i], 1, 5)),
            draw(st.integers(1, 9)),
            draw(st.integers(1, 4)),
        )
        for i in range(count)
    )
    network = Network(processes, tuple(fifos), CLOCKS)
    return replace(network, fifos=tuple(_with_room(network, fifo) for fifo in network.fifos))


def _with_room(network: Network, fifo: Fifo) -> Fifo:
    """``fifo`` deep enough for what is left in it at the end."""
    (writer, given_), (reader, taken) = network.writers()[fifo.name], network.readers()[fifo.name]
    made = pattern_sum(pattern_of(given_.tokens), writer.firings)
    used = pattern_sum(pattern_of(taken.tokens), reader.firings)
    return replace(fifo, depth=max(fifo.depth, fifo.initial_tokens + made - used))


@st.composite
def pipelines(draw: st.DrawFn) -> Network:
    """A balanced chain with side branches that is long enough for several steady periods."""
    row = draw(st.integers(1, 12))
    rows = draw(st.integers(1, 14))
    total = row * rows
    clocks = [draw(st.sampled_from(CLOCKS)).name for _ in range(4)]
    intervals = [draw(patterns(draw(st.sampled_from((1, row))), 1, 3)) for _ in range(4)]
    latencies = [draw(st.integers(1, 6)) for _ in range(4)]
    last: Pattern = ((row - 1, 0), (1, 1)) if row > 1 else ((1, 1),)
    first: Pattern = ((1, 1), (row - 1, 0)) if row > 1 else ((1, 1),)
    ends: tuple[tuple[tuple[Rate, ...], tuple[Rate, ...]], ...] = (
        ((), (Rate("values"), Rate("to_sum"))),
        ((Rate("to_sum"),), (Rate("sums", last),)),
        ((Rate("values"), Rate("sums", first)), (Rate("out"),)),
        ((Rate("out"),), ()),
    )
    processes = tuple(
        Process(f"p{i}", total, takes, gives, clocks[i], intervals[i], latencies[i])
        for i, (takes, gives) in enumerate(ends)
    )
    depth = st.integers(1, 2 * row + 6)
    fifos = tuple(
        Fifo(name, draw(depth), sync_cycles=draw(st.integers(0, 1)))
        for name in ("values", "to_sum", "sums", "out")
    )
    return Network(processes, fifos, CLOCKS)


def balanced(seed: int) -> Network | None:
    """A random connected graph whose rates balance, or None if ``verify`` refuses it."""
    random = Random(seed)
    count = random.randint(2, 5)
    lengths = [random.choice((1, 1, 2, 3, 8, 20)) for _ in range(count)]
    rounds = [random.choice((1, 1, 1, 2, 3)) for _ in range(count)]
    takes: list[list[Rate]] = [[] for _ in range(count)]
    gives: list[list[Rate]] = [[] for _ in range(count)]
    fifos = []
    for index in range(random.randint(count - 1, count + 3)):
        tree = index < count - 1
        reader = index + 1 if tree else random.randrange(count)
        writer = random.randint(0, index) if tree else random.randrange(count)
        made = _random_pattern(random, lengths[writer], 0, 4)
        used = _random_pattern(random, lengths[reader], 0, 4)
        total_made = rounds[writer] * pattern_sum(made, lengths[writer])
        total_used = rounds[reader] * pattern_sum(used, lengths[reader])
        whole = lcm(total_made, total_used)
        if whole == 0 or whole > 12 * min(total_made, total_used):
            continue
        made = tuple((repeats, value * whole // total_made) for repeats, value in made)
        used = tuple((repeats, value * whole // total_used) for repeats, value in used)
        back = (whole // 2, whole, 2 * whole)
        initial = random.choice((0, 0, 0, 1, 5, whole) if reader > writer else back)
        least = max(1, initial, *(value for _, value in (*made, *used)))
        depth = least + random.choice((0, 1, 2, whole, 3 * whole, 10 * whole))
        name = f"f{index}"
        fifos.append(Fifo(name, depth, 8, initial, random.choice((0, 0, 0, 1, 2))))
        gives[writer].append(Rate(name, made))
        takes[reader].append(Rate(name, used))
    iterations = random.randint(1, 30)
    clocks = random.choice((("unit",), ("fast", "slow", "unit")))
    processes = tuple(
        Process(
            f"p{i}",
            lengths[i] * rounds[i] * iterations,
            tuple(takes[i]),
            tuple(gives[i]),
            random.choice(clocks),
            _random_pattern(random, lengths[i], 1, random.choice((1, 1, 4))),
            random.randint(1, 8),
            random.randint(1, 5),
        )
        for i in range(count)
    )
    network = Network(processes, tuple(fifos), CLOCKS)
    try:
        network.verify()
    except ModelError:
        return None
    return network


def _random_pattern(random: Random, length: int, least: int, most: int) -> Pattern:
    cuts = sorted(random.sample(range(1, length), min(random.choice((0, 0, 1, 2)), length - 1)))
    ends = zip([0, *cuts], [*cuts, length], strict=True)
    return tuple((end - begin, random.randint(least, most)) for begin, end in ends)
