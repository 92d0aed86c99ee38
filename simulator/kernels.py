"""Numba kernel of the machine model: from event to event instead of cycle by cycle.

Between two events (a start, the end of a delay, of DRAM work, of bank accesses) every rate is
constant, so the kernel jumps to the next event. ``stowplan.simulator.machine`` states the model;
rules and cause numbers here are those of that docstring. Queues: 0 dma-in, 1 dma-out, then array
(even) and vector unit (odd) of each core; engines likewise, with as many for each of the first two
queues as the DMA has channels (only ``detail_kernels`` knows more than one). Kinds: 0 load,
1 weight, 2 store, 3 compute.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

FIRST_UNIT = 2
BUSY, DELAY, BANK, DRAM, HELD = 0, 1, 2, 3, 4
WAIT_LOAD, WAIT_WEIGHT, WAIT_STORE, WAIT_COMPUTE, WAIT_ENGINE, DONE = 5, 6, 7, 8, 9, 10
SETUP, QUEUE, PRIORITY, CLOCK = 11, 12, 13, 14
CAUSES = 15
LOAD, WEIGHT, STORE, COMPUTE = 0, 1, 2, 3
UNITS = 12

# Nothing here allocates; without reference counts on the arrays of a State calls are cheap.
_kernel = numba.njit(cache=True, _nrt=False)  # pyright: ignore[reportCallIssue]
_inlined = numba.njit(  # pyright: ignore[reportCallIssue]
    cache=True, _nrt=False, inline="always"
)


class Queues(NamedTuple):
    """A program in arrays; C commands, W waits, Q queue entries, L queues, E engines.

    An engine is a queue's unit, or one of the channels of a DMA queue.

    Attributes:
        kind: number of each command's kind [C].
        both: 1 for a command on array and vector unit [C].
        delay: cycles before it is active [C].
        units: twelfths of a byte of DRAM work [C].
        accesses: bank accesses [C].
        rate: most accesses in one cycle [C].
        wait_begin: first entry of ``waits`` of each command [C + 1].
        gate: first entry of ``waits`` that stands for room in the command's queue [C].
        waits: commands waited for, ascending per command up to ``gate`` [W].
        queue_begin: first entry of ``queue`` of each queue [L + 1].
        queue: commands of each queue in order [Q].
        setup: the first cycles of ``delay``, which set up descriptors [C].
    """

    kind: Ints
    both: Ints
    delay: Ints
    units: Ints
    accesses: Ints
    rate: Ints
    wait_begin: Ints
    gate: Ints
    waits: Ints
    queue_begin: Ints
    queue: Ints
    setup: Ints


class State(NamedTuple):
    """Work arrays; the caller owns them.

    Attributes:
        start: first cycle of each command, -1 before [C].
        end: cycle after its last, -1 before [C].
        delay: delay left [C].
        units: DRAM units left [C].
        accesses: accesses left [C].
        met: next entry of ``waits`` not known to be met [C].
        position: next entry of ``queue`` that has not finished, per queue; with several channels
            the next of a DMA queue that has not started [L].
        command: command each engine runs, or -1 [E].
        flow: units granted per cycle, per engine [E].
        grant: accesses granted per cycle, per engine [E].
        cause: cause of each engine's current cycle [E].
        causes: cycles per queue and cause [L, CAUSES].
        spent: cycles per command and cause, of the first of its queues [C, CAUSES].
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
    spent: Ints


@_kernel
def run(
    queues: Queues, state: State, bytes_per_cycle: int, banks: int, bank_width_bytes: int
) -> int:
    """Simulate to the end; the number of cycles, or -1 when nothing can go on."""
    left = queues.kind.shape[0]
    now = 0
    while left > 0:
        start(queues, state, now, 0, 0)
        _grant(queues, state, bytes_per_cycle, banks, bank_width_bytes)
        span = _span(state)
        if span < 0:
            return -1
        account(queues, state, span)
        now += span
        left -= _advance(queues, state, now, span)
    return now


@_inlined
def second(queues: Queues, engine: int, command: int) -> bool:
    """Whether ``engine`` is the vector unit behind the array that runs ``command``."""
    return bool(engine > FIRST_UNIT and engine & 1 and queues.both[command])


@_inlined
def account(queues: Queues, state: State, span: int) -> None:
    """Book ``span`` cycles under the cause of every engine, each the only one of its queue."""
    for engine in range(state.command.shape[0]):
        cause = state.cause[engine]
        state.causes[engine, cause] += span
        if cause == DONE:
            continue
        command = int(queues.queue[state.position[engine]])
        if not second(queues, engine, command):
            state.spent[command, cause] += span


@_inlined
def awaited(queues: Queues, state: State, command: int) -> int:
    """Cause that keeps a command from starting, -1 if all that it waits for has finished."""
    met, last = state.met[command], queues.wait_begin[command + 1]
    while met < last and state.end[queues.waits[met]] >= 0:
        met += 1
    state.met[command] = met
    if met == last:
        return -1
    if met >= queues.gate[command]:
        return QUEUE
    return int(WAIT_LOAD + queues.kind[queues.waits[met]])


@_inlined
def start(queues: Queues, state: State, now: int, first: int, shift: int) -> None:
    """Start every first command whose waits are met; set the causes of idle engines.

    Engine ``first`` and those after it; the queue of each has the number of the engine less
    ``shift``.
    """
    for engine in range(first, state.command.shape[0]):
        if state.command[engine] >= 0:
            continue
        line = engine - shift
        if state.position[line] == queues.queue_begin[line + 1]:
            state.cause[engine] = DONE
            continue
        command = int(queues.queue[state.position[line]])
        cause = awaited(queues, state, command)
        if cause >= 0:
            state.cause[engine] = cause
            continue
        if queues.both[command]:
            other = engine ^ 1
            free = state.command[other] < 0
            if not free or queues.queue[state.position[line ^ 1]] != command:
                state.cause[engine] = WAIT_ENGINE
                continue
            state.command[other] = command
        state.command[engine] = command
        state.start[command] = now


@_inlined
def _moves(queues: Queues, state: State, engine: int) -> bool:
    """Whether ``engine`` runs, as its first engine, a command with DRAM work to do now."""
    command = state.command[engine]
    if command < 0 or second(queues, engine, command):
        return False
    return bool(state.delay[command] == 0 and state.units[command] > 0)


@_inlined
def _rate(queues: Queues, state: State, engine: int) -> int:
    """Banks that the computation on ``engine`` could use now."""
    command = state.command[engine]
    if command < 0 or second(queues, engine, command):
        return 0
    if state.delay[command] > 0 or state.accesses[command] == 0:
        return 0
    return int(queues.rate[command])


@_kernel
def _grant(
    queues: Queues, state: State, bytes_per_cycle: int, banks: int, bank_width_bytes: int
) -> None:
    """Rates of everything that runs, and its cause."""
    sharers = 0
    engines = state.command.shape[0]
    for engine in range(engines):
        sharers += _moves(queues, state, engine)
    free = banks
    for engine in range(engines):
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
    share_banks(queues, state, free)


@_inlined
def share_banks(queues: Queues, state: State, free: int) -> None:
    """Rule 3 of the banks: what computations get of the ``free`` ones."""
    wanting, wanted = 0, 0
    for engine in range(FIRST_UNIT, state.command.shape[0]):
        rate = _rate(queues, state, engine)
        wanting += rate > 0
        wanted += rate
    for engine in range(FIRST_UNIT, state.command.shape[0]):
        rate = _rate(queues, state, engine)
        if rate:
            wanted -= rate
            state.grant[engine] = min(rate, max(free - wanted, -(-free // wanting)))
            free -= state.grant[engine]
            wanting -= 1
            if state.grant[engine] < rate:
                state.cause[engine] = BANK
        command = state.command[engine]
        if command >= 0 and second(queues, engine, command):
            state.cause[engine] = HELD


@_kernel
def _span(state: State) -> int:
    """Cycles until the next event, or -1 when none will come."""
    span = -1
    for engine in range(state.command.shape[0]):
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


@_kernel
def _advance(queues: Queues, state: State, now: int, span: int) -> int:
    """Let ``span`` cycles pass up to ``now``; the number of commands that finished."""
    finished = 0
    for engine in range(state.command.shape[0]):
        command = state.command[engine]
        if command < 0 or second(queues, engine, command):
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
        finish(queues, state, engine, command, now, 0)
        setup = queues.setup[command]
        if setup > 0:
            # Booked as delay, which spares an event.
            state.spent[command, DELAY] -= setup
            state.spent[command, SETUP] += setup
            state.causes[engine, DELAY] -= setup
            state.causes[engine, SETUP] += setup
    return finished


@_inlined
def finish(queues: Queues, state: State, engine: int, command: int, now: int, shift: int) -> None:
    """End a command and free its engines; ``shift`` as in :func:`start`."""
    state.end[command] = now
    state.command[engine] = -1
    state.position[engine - shift] += 1
    if queues.both[command]:
        state.position[engine - shift + 1] += 1
        state.command[engine + 1] = -1
