"""Numba kernel of streaming networks: from firing to firing, and over whole steady periods.

``stowplan.simulator.streaming_network`` states the model. The two ends of a FIFO are *ports*: a
reader's port counts readable tokens, a writer's free slots; a firing takes units from its ports and
sends as many to the opposite ones, where they arrive later. The process with the earliest next
firing fires; as everything sent arrives later than it is sent, that order is safe.

**Jumps.** At every *beat* (a firing of one chosen process) the state, with times relative to now,
is compared with an earlier one, the *anchor*. If all agree but for counts, what happened since
will happen again, shifted in time, as long as every comparison of a count comes out as it did:

* a port whose count changed over the period must have had enough each time it was asked, and have
  enough in every repetition (``margin`` is the least excess), or have been waited on throughout;
* a process must reach neither its last firing nor the end of the run of its pattern it is in,
  unless the period covers whole cycles of the pattern.

As many periods as these rules allow are skipped at once; counts, times and statistics change
linearly. Anchors are renewed at powers of two of the beats. Two levels look for periods: one at
firings, one at cycles of the pattern with the fewest cycles, so that a row made of jumps is in turn
found to repeat.

Source: the anchors are Brent, "An improved Monte Carlo factorization algorithm", BIT 20, 1980,
section 2; that self-timed executions become periodic: Ghamarian et al., "Throughput analysis of
synchronous data flow graphs", ACSD 2006, section 4.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

NEVER = 1 << 62
LATEST = 1 << 61
LEVELS = 2
NOW, FIRINGS, JUMPS, SCALARS = 0, 1, 2, 3
DONE, DEADLOCK, TOO_LATE = 0, 1, 2
STEPS, POWER, PACER, AT, RATIO = 0, 1, 2, 3, 4
LEVEL_SCALARS = 5

# Nothing here allocates; without reference counts on the arrays the kernel runs far faster.
_kernel = numba.njit(cache=True, _nrt=False)  # pyright: ignore[reportCallIssue]
_inlined = numba.njit(  # pyright: ignore[reportCallIssue]
    cache=True, _nrt=False, inline="always"
)


class Wiring(NamedTuple):
    """A network in arrays; P processes, S ports, R runs of patterns, V rates. Times in ticks.

    Attributes:
        period: of each process's clock [P].
        firings: to do [P].
        port_begin: first port of each process, inputs before outputs [P + 1].
        run_begin: first run of each process [P + 1].
        run_firings: length of each run [R].
        interval: in clock cycles, per run [R].
        rate_begin: first entry in ``rates`` of each run, one per port [R].
        rates: units taken per firing [V].
        owner: process of each port [S].
        partner: port at the other end [S].
        delay: from a firing until what it sends from this port arrives [S].
        sync: what the port's owner waits beyond its first edge after an arrival [S].
        is_output: 1 for a writer's port [S].
        ring_begin: first entry of each port's ring of arrivals [S + 1].
        leaves: number of leaves of the tournament tree, a power of two of at least P [1].
    """

    period: Ints
    firings: Ints
    port_begin: Ints
    run_begin: Ints
    run_firings: Ints
    interval: Ints
    rate_begin: Ints
    rates: Ints
    owner: Ints
    partner: Ints
    delay: Ints
    sync: Ints
    is_output: Ints
    ring_begin: Ints
    leaves: Ints


class State(NamedTuple):
    """Work arrays; the caller owns them. Q ring entries, T tree nodes.

    Attributes:
        scalar: now, firings simulated one by one, jumps [3].
        tree: earliest next firing below each node; leaf ``leaves + p`` is process p [T].
        ready: edge from which each process's stalls are not yet charged [P].
        run: run of the next firing, -1 when done [P].
        left: firings left in it [P].
        todo: firings left [P].
        busy: cycles within intervals [P].
        first: start of the first firing, -1 before [P].
        last: start of the last firing, -1 before [P].
        held: units at each port [S].
        met: edge at which the next firing's need was met, 0 if at once, NEVER if not yet [S].
        head: oldest entry of each ring [S].
        length: entries in each ring [S].
        stall: cycles charged to each port [S].
        peak: most units at an input; greatest negated number of units left at an output [S].
        due: arrival of each ring entry [Q].
        units: amount of each ring entry [Q].
    """

    scalar: Ints
    tree: Ints
    ready: Ints
    run: Ints
    left: Ints
    todo: Ints
    busy: Ints
    first: Ints
    last: Ints
    held: Ints
    met: Ints
    head: Ints
    length: Ints
    stall: Ints
    peak: Ints
    due: Ints
    units: Ints


class Anchors(NamedTuple):
    """The state at each level's anchor, and what was observed since; L = 2 levels.

    Attributes:
        scalar: beats since, beats until renewal, process that beats, instant, 1 if active [L, 5].
        ready, run, left, todo, busy: as in State, ``ready`` relative to the instant [L, P].
        crossed: whether the process entered another run since [L, P].
        held, met, length, stall: as in State, ``met`` relative [L, S].
        margin: least excess of a port over a need it met at once, since [L, S].
        waited: whether a need was not met at once, since [L, S].
        peak: as in State, but since [L, S].
        due, units: as in State, in order of arrival, ``due`` relative [L, Q].
    """

    scalar: Ints
    ready: Ints
    run: Ints
    left: Ints
    todo: Ints
    busy: Ints
    crossed: Ints
    held: Ints
    met: Ints
    length: Ints
    stall: Ints
    margin: Ints
    waited: Ints
    peak: Ints
    due: Ints
    units: Ints


@_kernel
def run(wiring: Wiring, state: State, anchors: Anchors) -> int:
    """Simulate until nothing can fire; DONE, DEADLOCK or TOO_LATE."""
    for p in range(wiring.period.shape[0]):
        if state.todo[p] > 0:
            _ask(wiring, state, anchors, p)
            _schedule(wiring, state, p)
    _choose_pacers(wiring, state, anchors)
    while state.tree[1] < LATEST:
        p = 1
        while p < wiring.leaves[0]:
            p = 2 * p + (state.tree[2 * p] != state.tree[p])
        p -= wiring.leaves[0]
        state.scalar[NOW] = state.tree[1]
        state.scalar[FIRINGS] += 1
        wrapped = _fire(wiring, state, anchors, p)
        if p == anchors.scalar[1, PACER] and wrapped and anchors.scalar[1, RATIO]:
            if _beat(wiring, state, anchors, 1):
                anchors.scalar[0, POWER] = 0
        elif p == anchors.scalar[0, PACER]:
            _beat(wiring, state, anchors, 0)
        if state.todo[p] == 0:
            _choose_pacers(wiring, state, anchors)
    if state.tree[1] < NEVER:
        return TOO_LATE
    for p in range(wiring.period.shape[0]):
        if state.todo[p] > 0:
            return DEADLOCK
    return DONE


@_kernel
def settle(wiring: Wiring, state: State, until: int) -> None:
    """Charge all stalls before ``until``, and let everything due by then arrive."""
    for p in range(wiring.period.shape[0]):
        if state.todo[p] > 0:
            period = wiring.period[p]
            edge = -(-until // period) * period
            if edge > state.ready[p]:
                _charge(wiring, state, p, edge)
        for s in range(wiring.port_begin[p], wiring.port_begin[p + 1]):
            _arrive(wiring, state, s, until)


@_kernel
def arrive_all(wiring: Wiring, state: State) -> None:
    """Let everything arrive, whenever it is due."""
    for s in range(wiring.owner.shape[0]):
        _arrive(wiring, state, s, NEVER)


@_inlined
def _charge(wiring: Wiring, state: State, p: int, until: int) -> None:
    """Charge the stalls of ``p`` at its edges from ``ready`` up to ``until``."""
    start = state.ready[p]
    for s in range(wiring.port_begin[p], wiring.port_begin[p + 1]):
        if state.met[s] > start and start < until:
            stop = min(state.met[s], until)
            state.stall[s] += (stop - start) // wiring.period[p]
            start = stop
    state.ready[p] = max(until, state.ready[p])


@_inlined
def _arrive(wiring: Wiring, state: State, s: int, until: int) -> None:
    """Count what has arrived at port ``s`` by ``until``."""
    begin = wiring.ring_begin[s]
    size = wiring.ring_begin[s + 1] - begin
    while state.length[s] > 0 and state.due[begin + state.head[s]] <= until:
        state.held[s] += state.units[begin + state.head[s]]
        state.head[s] = (state.head[s] + 1) % size
        state.length[s] -= 1


@_inlined
def _meet(wiring: Wiring, state: State, s: int, need: int) -> None:
    """Set ``met`` to the owner's edge at which ``need`` units are there, if that is known."""
    begin = wiring.ring_begin[s]
    size = wiring.ring_begin[s + 1] - begin
    last = 0
    while state.held[s] < need and state.length[s] > 0:
        last = state.due[begin + state.head[s]]
        state.held[s] += state.units[begin + state.head[s]]
        state.head[s] = (state.head[s] + 1) % size
        state.length[s] -= 1
    if state.held[s] >= need:
        period = wiring.period[wiring.owner[s]]
        state.met[s] = -(-last // period) * period
    else:
        state.met[s] = NEVER


@_inlined
def _ask(wiring: Wiring, state: State, anchors: Anchors, p: int) -> None:
    """Look for the needs of the next firing of ``p``, and note by how much they are met."""
    rates = wiring.rate_begin[state.run[p]] - wiring.port_begin[p]
    for s in range(wiring.port_begin[p], wiring.port_begin[p + 1]):
        need = int(wiring.rates[rates + s])
        if need == 0:
            state.met[s] = 0
            continue
        _arrive(wiring, state, s, state.ready[p])
        if state.held[s] >= need:
            state.met[s] = 0
            for level in range(LEVELS):
                anchors.margin[level, s] = min(anchors.margin[level, s], state.held[s] - need)
        else:
            for level in range(LEVELS):
                anchors.waited[level, s] = 1
            _meet(wiring, state, s, need)


@_inlined
def _schedule(wiring: Wiring, state: State, p: int) -> None:
    """Put the next firing of ``p`` in the tree."""
    at = state.ready[p]
    for s in range(wiring.port_begin[p], wiring.port_begin[p + 1]):
        at = max(at, state.met[s])
    if state.todo[p] == 0:
        at = NEVER
    node = wiring.leaves[0] + p
    state.tree[node] = at
    while node > 1:
        node //= 2
        least = min(state.tree[2 * node], state.tree[2 * node + 1])
        if state.tree[node] == least:
            break
        state.tree[node] = least


@_inlined
def _send(wiring: Wiring, state: State, s: int, units: int) -> None:
    """Send ``units`` from port ``s`` to its partner, and wake the partner's owner."""
    now = state.scalar[NOW]
    other = wiring.partner[s]
    q = int(wiring.owner[other])
    due = now + wiring.delay[s]
    if wiring.sync[other] > 0:
        due = -(-due // wiring.period[q]) * wiring.period[q] + wiring.sync[other]
    _arrive(wiring, state, other, now)
    begin = wiring.ring_begin[other]
    size = wiring.ring_begin[other + 1] - begin
    place = begin + (state.head[other] + state.length[other]) % size
    state.due[place] = due
    state.units[place] = units
    state.length[other] += 1
    if state.met[other] == NEVER:
        need = int(wiring.rates[wiring.rate_begin[state.run[q]] + other - wiring.port_begin[q]])
        _meet(wiring, state, other, need)
        if state.met[other] != NEVER:
            _schedule(wiring, state, q)


@_kernel
def _fire(wiring: Wiring, state: State, anchors: Anchors, p: int) -> bool:
    """Fire ``p`` now; whether its pattern came to its end."""
    now = state.scalar[NOW]
    if now > state.ready[p]:
        _charge(wiring, state, p, now)
    fired = state.run[p]
    rates = wiring.rate_begin[fired] - wiring.port_begin[p]
    for s in range(wiring.port_begin[p], wiring.port_begin[p + 1]):
        units = int(wiring.rates[rates + s])
        if units > 0:
            _arrive(wiring, state, s, now)
            seen = units - state.held[s] if wiring.is_output[s] else state.held[s]
            state.peak[s] = max(state.peak[s], seen)
            for level in range(LEVELS):
                anchors.peak[level, s] = max(anchors.peak[level, s], seen)
            state.held[s] -= units
    state.busy[p] += wiring.interval[fired]
    state.ready[p] = now + wiring.interval[fired] * wiring.period[p]
    if state.first[p] < 0:
        state.first[p] = now
    state.last[p] = now
    wrapped = _next_run(wiring, state, anchors, p)
    if state.todo[p] > 0:
        _ask(wiring, state, anchors, p)
    else:
        state.run[p] = -1
        for s in range(wiring.port_begin[p], wiring.port_begin[p + 1]):
            state.met[s] = 0
    _schedule(wiring, state, p)
    for s in range(wiring.port_begin[p], wiring.port_begin[p + 1]):
        units = int(wiring.rates[rates + s])
        if units > 0:
            _send(wiring, state, s, units)
    return wrapped


@_inlined
def _next_run(wiring: Wiring, state: State, anchors: Anchors, p: int) -> bool:
    """Count a firing of ``p``; whether its pattern came to its end."""
    state.todo[p] -= 1
    if wiring.run_begin[p + 1] - wiring.run_begin[p] == 1:
        return True
    state.left[p] -= 1
    if state.left[p] > 0:
        return False
    for level in range(LEVELS):
        anchors.crossed[level, p] = 1
    state.run[p] += 1
    wrapped = state.run[p] == wiring.run_begin[p + 1]
    if wrapped:
        state.run[p] = wiring.run_begin[p]
    state.left[p] = wiring.run_firings[state.run[p]]
    return wrapped


@_kernel
def _choose_pacers(wiring: Wiring, state: State, anchors: Anchors) -> None:
    """Choose the processes whose firings are beats; forget the anchors."""
    most, fewest = -1, NEVER
    for p in range(wiring.period.shape[0]):
        if state.todo[p] == 0:
            continue
        cycle = 0
        for r in range(wiring.run_begin[p], wiring.run_begin[p + 1]):
            cycle += wiring.run_firings[r]
        if state.todo[p] > most:
            most = state.todo[p]
            anchors.scalar[0, PACER] = p
        if state.todo[p] // cycle < fewest:
            fewest = state.todo[p] // cycle
            anchors.scalar[1, PACER] = p
    anchors.scalar[1, RATIO] = fewest < most
    for level in range(LEVELS):
        anchors.scalar[level, POWER] = 0


@_kernel
def _beat(wiring: Wiring, state: State, anchors: Anchors, level: int) -> bool:
    """Compare with the anchor, and jump if all agree; whether it jumped."""
    now = state.scalar[NOW]
    settle(wiring, state, now)
    power = anchors.scalar[level, POWER]
    if power == 0:
        _drop_anchor(wiring, state, anchors, level, 1)
        return False
    if _agrees(wiring, state, anchors, level):
        periods = _allowed(wiring, state, anchors, level)
        if periods > 0:
            _jump(wiring, state, anchors, level, periods)
            _drop_anchor(wiring, state, anchors, level, 1)
            return True
    anchors.scalar[level, STEPS] += 1
    if anchors.scalar[level, STEPS] == power:
        _drop_anchor(wiring, state, anchors, level, 2 * power)
    return False


@_kernel
def _drop_anchor(wiring: Wiring, state: State, anchors: Anchors, level: int, power: int) -> None:
    """Make the present state the anchor."""
    now = state.scalar[NOW]
    anchors.scalar[level, STEPS] = 0
    anchors.scalar[level, POWER] = power
    anchors.scalar[level, AT] = now
    for p in range(wiring.period.shape[0]):
        anchors.ready[level, p] = state.ready[p] - now
        anchors.run[level, p] = state.run[p]
        anchors.left[level, p] = state.left[p]
        anchors.todo[level, p] = state.todo[p]
        anchors.busy[level, p] = state.busy[p]
        anchors.crossed[level, p] = 0
    for s in range(wiring.owner.shape[0]):
        anchors.held[level, s] = state.held[s]
        anchors.met[level, s] = _relative(state.met[s], now)
        anchors.length[level, s] = state.length[s]
        anchors.stall[level, s] = state.stall[s]
        anchors.margin[level, s] = NEVER
        anchors.waited[level, s] = 0
        anchors.peak[level, s] = -NEVER
        begin = wiring.ring_begin[s]
        size = wiring.ring_begin[s + 1] - begin
        for i in range(state.length[s]):
            place = begin + (state.head[s] + i) % size
            anchors.due[level, begin + i] = state.due[place] - now
            anchors.units[level, begin + i] = state.units[place]


@_inlined
def _relative(met: int, now: int) -> int:
    """``met`` from ``now`` on; whatever is past is 0, NEVER stays."""
    if met == NEVER:
        return NEVER
    return max(0, met - now)


@_kernel
def _agrees(wiring: Wiring, state: State, anchors: Anchors, level: int) -> bool:
    """Whether the state is that of the anchor, but for counts."""
    now = state.scalar[NOW]
    for p in range(wiring.period.shape[0]):
        if anchors.run[level, p] != state.run[p]:
            return False
        if state.todo[p] > 0 and anchors.ready[level, p] != state.ready[p] - now:
            return False
    for s in range(wiring.owner.shape[0]):
        if anchors.length[level, s] != state.length[s]:
            return False
        if anchors.met[level, s] != _relative(state.met[s], now):
            return False
        begin = wiring.ring_begin[s]
        size = wiring.ring_begin[s + 1] - begin
        for i in range(state.length[s]):
            place = begin + (state.head[s] + i) % size
            if anchors.due[level, begin + i] != state.due[place] - now:
                return False
            if anchors.units[level, begin + i] != state.units[place]:
                return False
    return True


@_kernel
def _allowed(wiring: Wiring, state: State, anchors: Anchors, level: int) -> int:
    """How many more periods pass just as the one since the anchor."""
    span = state.scalar[NOW] - anchors.scalar[level, AT]
    # One period short of the latest time, so that no time of the next period exceeds NEVER.
    most = (LATEST - state.scalar[NOW]) // span - 1
    for p in range(wiring.period.shape[0]):
        fired = anchors.todo[level, p] - state.todo[p]
        if state.todo[p] == 0 or fired == 0:
            continue
        most = min(most, (state.todo[p] - 1) // fired)
        if wiring.run_begin[p + 1] - wiring.run_begin[p] > 1:
            if anchors.crossed[level, p] == 0:
                most = min(most, (state.left[p] - 1) // fired)
            elif state.left[p] != anchors.left[level, p]:
                return 0
    for s in range(wiring.owner.shape[0]):
        drift = state.held[s] - anchors.held[level, s]
        if drift == 0 or state.todo[wiring.owner[s]] == 0:
            continue
        if anchors.waited[level, s]:
            return 0
        if state.met[s] == NEVER:
            q = wiring.owner[s]
            need = wiring.rates[wiring.rate_begin[state.run[q]] + s - wiring.port_begin[q]]
            most = min(most, (need - 1 - state.held[s]) // drift)
        elif drift < 0:
            most = min(most, anchors.margin[level, s] // -drift)
    return most


@_kernel
def _jump(wiring: Wiring, state: State, anchors: Anchors, level: int, periods: int) -> None:
    """Let ``periods`` more periods pass."""
    shift = periods * (state.scalar[NOW] - anchors.scalar[level, AT])
    state.scalar[NOW] += shift
    state.scalar[JUMPS] += 1
    for p in range(wiring.period.shape[0]):
        if state.todo[p] == 0:
            continue
        fired = anchors.todo[level, p] - state.todo[p]
        state.todo[p] -= periods * fired
        if anchors.crossed[level, p] == 0:
            state.left[p] -= periods * fired
        state.busy[p] += periods * (state.busy[p] - anchors.busy[level, p])
        state.ready[p] += shift
        if fired > 0:
            state.last[p] += shift
        if state.tree[wiring.leaves[0] + p] != NEVER:
            state.tree[wiring.leaves[0] + p] += shift
    for node in range(wiring.leaves[0] - 1, 0, -1):
        state.tree[node] = min(state.tree[2 * node], state.tree[2 * node + 1])
    for s in range(wiring.owner.shape[0]):
        _jump_port(wiring, state, anchors, level, periods, shift, s)


@_inlined
def _jump_port(
    wiring: Wiring,
    state: State,
    anchors: Anchors,
    level: int,
    periods: int,
    shift: int,
    s: int,
) -> None:
    """Let ``periods`` periods of ``shift`` ticks in all pass at port ``s``."""
    drift = state.held[s] - anchors.held[level, s]
    state.held[s] += periods * drift
    if 0 < state.met[s] < NEVER:
        state.met[s] += shift
    state.stall[s] += periods * (state.stall[s] - anchors.stall[level, s])
    begin = wiring.ring_begin[s]
    size = wiring.ring_begin[s + 1] - begin
    for i in range(state.length[s]):
        state.due[begin + (state.head[s] + i) % size] += shift
    rise = -drift if wiring.is_output[s] else drift
    margin, peak = anchors.margin[level, s], anchors.peak[level, s]
    if peak > -NEVER:
        peak += max(0, rise) * periods
        state.peak[s] = max(state.peak[s], peak)
    if margin < NEVER:
        margin += min(0, drift) * periods
    for other in range(LEVELS):
        anchors.margin[other, s] = min(anchors.margin[other, s], margin)
        anchors.peak[other, s] = max(anchors.peak[other, s], peak)
