"""Numba kernel of the machine model: from event to event instead of cycle by cycle.

Between two events (a start, the end of a delay, of DRAM work, of bank accesses) every rate is
constant, so the kernel jumps to the next event. ``stowplan.simulator.machine`` states the model;
rules and cause numbers here are those of that docstring. Engines: 0 dma-in, 1 dma-out, 2 array,
3 vector. Kinds: 0 load, 1 weight, 2 store, 3 compute.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

ENGINES = 4
BUSY, DELAY, BANK, DRAM, HELD = 0, 1, 2, 3, 4
WAIT_LOAD, WAIT_WEIGHT, WAIT_STORE, WAIT_COMPUTE, WAIT_ENGINE, DONE = 5, 6, 7, 8, 9, 10
CAUSES = 11
LOAD, WEIGHT, STORE, COMPUTE = 0, 1, 2, 3
UNITS = 12


class Queues(NamedTuple):
    """A program in arrays; C commands, W waits, Q queue entries.

    Attributes:
        kind: number of each command's kind [C].
        both: 1 for a command on array and vector unit [C].
        delay: cycles before it is active [C].
        units: twelfths of a byte of DRAM work [C].
        accesses: bank accesses [C].
        rate: most accesses in one cycle [C].
        wait_begin: first entry of ``waits`` of each command [C + 1].
        waits: commands waited for, ascending per command [W].
        queue_begin: first entry of ``queue`` of each engine [5].
        queue: commands of each engine in order [Q].
    """

    kind: Ints
    both: Ints
    delay: Ints
    units: Ints
    accesses: Ints
    rate: Ints
    wait_begin: Ints
    waits: Ints
    queue_begin: Ints
    queue: Ints


class State(NamedTuple):
    """Work arrays; the caller owns them.

    Attributes:
        start: first cycle of each command, -1 before [C].
        end: cycle after its last, -1 before [C].
        delay: delay left [C].
        units: DRAM units left [C].
        accesses: accesses left [C].
        met: next entry of ``waits`` not known to be met [C].
        position: next entry of ``queue`` per engine [4].
        command: command each engine runs, or -1 [4].
        flow: units granted per cycle, per engine [4].
        grant: accesses granted per cycle, per engine [4].
        cause: cause of each engine's current cycle [4].
        causes: cycles per engine and cause [4, 11].
    """

    start: Ints
    end: Ints
    delay: Ints
    units: Ints
    accesses: Ints
    met: Ints
    position: Ints
    command: Ints
    flow: Ints
    grant: Ints
    cause: Ints
    causes: Ints


@numba.njit(cache=True)
def run(
    queues: Queues, state: State, bytes_per_cycle: int, banks: int, bank_width_bytes: int
) -> int:
    """Simulate to the end; the number of cycles, or -1 when nothing can go on."""
    left = queues.kind.shape[0]
    now = 0
    while left > 0:
        _start(queues, state, now)
        _grant(queues, state, bytes_per_cycle, banks, bank_width_bytes)
        span = _span(state)
        if span < 0:
            return -1
        for engine in range(ENGINES):
            state.causes[engine, state.cause[engine]] += span
        now += span
        left -= _advance(queues, state, now, span)
    return now


@numba.njit(cache=True)
def _start(queues: Queues, state: State, now: int) -> None:
    """Start every first command whose waits are met; set the causes of idle engines."""
    for engine in range(ENGINES):
        if state.command[engine] >= 0:
            continue
        if state.position[engine] == queues.queue_begin[engine + 1]:
            state.cause[engine] = DONE
            continue
        command = queues.queue[state.position[engine]]
        met, last = state.met[command], queues.wait_begin[command + 1]
        while met < last and state.end[queues.waits[met]] >= 0:
            met += 1
        state.met[command] = met
        if met < last:
            state.cause[engine] = WAIT_LOAD + queues.kind[queues.waits[met]]
            continue
        if queues.both[command]:
            other = 5 - engine
            free = state.command[other] < 0
            if not free or queues.queue[state.position[other]] != command:
                state.cause[engine] = WAIT_ENGINE
                continue
            state.command[other] = command
            state.start[command] = now
        state.command[engine] = command
        state.start[command] = now


@numba.njit(cache=True)
def _moves(queues: Queues, state: State, engine: int) -> bool:
    """Whether ``engine`` runs, as its first engine, a command with DRAM work to do now."""
    command = state.command[engine]
    if command < 0 or (engine == 3 and queues.both[command]):
        return False
    return bool(state.delay[command] == 0 and state.units[command] > 0)


@numba.njit(cache=True)
def _rate(queues: Queues, state: State, engine: int) -> int:
    """Banks that the computation on ``engine`` could use now."""
    command = state.command[engine]
    if command < 0 or (engine == 3 and queues.both[command]):
        return 0
    if state.delay[command] > 0 or state.accesses[command] == 0:
        return 0
    return int(queues.rate[command])


@numba.njit(cache=True)
def _grant(
    queues: Queues, state: State, bytes_per_cycle: int, banks: int, bank_width_bytes: int
) -> None:
    """Rates of everything that runs, and its cause."""
    sharers = 0
    for engine in range(ENGINES):
        sharers += _moves(queues, state, engine)
    free = banks
    for engine in range(ENGINES):
        state.flow[engine] = 0
        state.grant[engine] = 0
        command = state.command[engine]
        if command < 0:
            continue
        state.cause[engine] = DELAY if state.delay[command] > 0 else BUSY
        if not _moves(queues, state, engine):
            continue
        state.flow[engine] = UNITS * bytes_per_cycle // sharers
        alone = sharers == 1 and engine < 2
        if state.accesses[command] == 0 and not alone:
            state.cause[engine] = DRAM
        if engine < 2 and queues.kind[command] != WEIGHT:
            wanted = -(-bytes_per_cycle // (sharers * bank_width_bytes))
            taken = min(wanted, free)
            if taken < wanted:
                limit = UNITS * taken * bank_width_bytes
                state.flow[engine] = min(state.flow[engine], limit)
                state.cause[engine] = BANK
            free -= taken
    on_array, on_vector = _rate(queues, state, 2), _rate(queues, state, 3)
    state.grant[2] = min(on_array, max(free - on_vector, free - free // 2))
    state.grant[3] = min(on_vector, free - state.grant[2])
    if state.grant[2] < on_array:
        state.cause[2] = BANK
    if state.grant[3] < on_vector:
        state.cause[3] = BANK
    if state.command[3] >= 0 and queues.both[state.command[3]]:
        state.cause[3] = HELD


@numba.njit(cache=True)
def _span(state: State) -> int:
    """Cycles until the next event, or -1 when none will come."""
    span = -1
    for engine in range(ENGINES):
        command = state.command[engine]
        if command < 0:
            continue
        if state.delay[command] > 0:
            until = state.delay[command]
            span = until if span < 0 else min(span, until)
            continue
        if state.flow[engine] > 0:
            until = -(-state.units[command] // state.flow[engine])
            span = until if span < 0 else min(span, until)
        if state.grant[engine] > 0:
            until = -(-state.accesses[command] // state.grant[engine])
            span = until if span < 0 else min(span, until)
    return int(span)


@numba.njit(cache=True)
def _advance(queues: Queues, state: State, now: int, span: int) -> int:
    """Let ``span`` cycles pass up to ``now``; the number of commands that finished."""
    finished = 0
    for engine in range(ENGINES):
        command = state.command[engine]
        if command < 0 or (engine == 3 and queues.both[command]):
            continue
        if state.delay[command] > 0:
            state.delay[command] -= span
        else:
            flow, grant = state.flow[engine], state.grant[engine]
            state.units[command] = max(0, state.units[command] - span * flow)
            state.accesses[command] = max(0, state.accesses[command] - span * grant)
        if state.delay[command] or state.units[command] or state.accesses[command]:
            continue
        finished += 1
        state.end[command] = now
        state.position[engine] += 1
        state.command[engine] = -1
        if queues.both[command]:
            state.position[3] += 1
            state.command[3] = -1
    return finished
