"""Numba kernel of the machine model with full DRAM, banks by address, channels and priorities.

``stowplan.simulator.machine`` states the model. Between two events (a start, the end of a delay, an
access that starts or completes, a byte that moves over a port) nothing changes, so the kernel jumps
to the next event; while walks through interleaved banks go on, every cycle is one.
"""

from typing import NamedTuple

import numba

from stowplan.simulator import dram_kernels as dram
from stowplan.simulator.kernels import (
    BANK,
    BUSY,
    CLOCK,
    DELAY,
    DONE,
    DRAM,
    HELD,
    PRIORITY,
    SETUP,
    STORE,
    UNITS,
    WEIGHT,
    Ints,
    Queues,
    State,
    account,
    awaited,
    finish,
    second,
    share_banks,
    start,
)

_kernel = numba.njit(cache=True, _nrt=False)  # pyright: ignore[reportCallIssue]
_inlined = numba.njit(  # pyright: ignore[reportCallIssue]
    cache=True, _nrt=False, inline="always"
)


class Numbers(NamedTuple):
    """The machine.

    Attributes:
        bytes_per_cycle: DRAM bandwidth in bandwidth mode.
        banks: scratchpad banks.
        width: bytes of a word of theirs.
        ports: ports of a bank.
        interleaved: 1 when banks go by address.
        full: 1 in full DRAM mode.
        clocks: DRAM clocks that take as long as ``cycles`` core cycles.
        cycles: see ``clocks``; both are the lowest terms.
        path: cycles between DMA and controller.
        outstanding: accesses under way per command.
        per_cycle: accesses a command starts in a cycle.
        port: bytes per cycle between a DMA engine and the scratchpad.
        access: bytes of an access.
        groups: bank groups of a rank of the DRAM.
        group_banks: banks of a group.
        channels: engines of each DMA direction, dma-in first; computing units follow.
        priority: 0 shared, 1 demand, 2 loads first, 3 stores first.
        clocked: 1 when some engine has a clock of its own.
    """

    bytes_per_cycle: int
    banks: int
    width: int
    ports: int
    interleaved: int
    full: int
    clocks: int
    cycles: int
    path: int
    outstanding: int
    per_cycle: int
    port: int
    access: int
    groups: int
    group_banks: int
    channels: int
    priority: int
    clocked: int


class Detail(NamedTuple):
    """What commands do to memories; C commands, S segments, W walks, E queues, N banks.

    Attributes:
        segment_begin: first segment of each command [C + 1].
        segment_block: first DRAM access of each segment [S].
        segment_count: accesses of it [S].
        segment_write: 1 where it is written [S].
        walk_begin: first walk of each command [C + 1].
        walk_word: first word of each walk [W].
        walk_extent: words after which it begins again [W].
        walk_rate: words of a cycle [W].
        walk_left: words left that no cycle has asked for [W].
        walk_need: words the present cycle still lacks [W].
        walk_next: next word, counted from the first one [W].
        base: first scratchpad byte of a transfer, -1 if it touches none [C].
        segment: next segment of the command on each queue [E].
        offset: accesses of it that have started [E].
        left: accesses left to start [E].
        flying: accesses under way [E].
        inbox: bytes waiting to be written to the scratchpad [E].
        unfetched: bytes of a STORE still in the scratchpad [E].
        staged: bytes of it fetched and not started [E].
        issue: accesses that start in this cycle [E].
        move: bytes (units in bandwidth mode) that move in this cycle [E].
        moved: the same since the command started [E].
        whole: 1 if every walk gets its words in this cycle, rounds that do with other clocks; where
            banks are spread 1 if there are ports for whatever computations could use [E].
        taken: ports of each bank taken in this cycle [N].
        later: 1 where others go first [E].
        rest: cycles of delay after the set-up of descriptors [C].
        setup: set-up in cycles of a clock of its own [C].
        crosses: 1 for engines with a clock of their own [E].
        over: their cycles in as many core cycles as ``under`` says, in lowest terms [E].
        under: see ``over`` [E].
        sync: cycles of synchronisers, each way [E].
        owed: own cycles before the delay begins: alignment, synchroniser, set-up [E].
        lag: core cycles until the core sees the end, 0 before there is one [E].
        own: own cycles that end in this core cycle [E].
        budget: those of them left to work in [E].
        halted: 1 while nothing else is done [E].
    """

    segment_begin: Ints
    segment_block: Ints
    segment_count: Ints
    segment_write: Ints
    walk_begin: Ints
    walk_word: Ints
    walk_extent: Ints
    walk_rate: Ints
    walk_left: Ints
    walk_need: Ints
    walk_next: Ints
    base: Ints
    segment: Ints
    offset: Ints
    left: Ints
    flying: Ints
    inbox: Ints
    unfetched: Ints
    staged: Ints
    issue: Ints
    move: Ints
    moved: Ints
    whole: Ints
    taken: Ints
    later: Ints
    rest: Ints
    setup: Ints
    crosses: Ints
    over: Ints
    under: Ints
    sync: Ints
    owed: Ints
    lag: Ints
    own: Ints
    budget: Ints
    halted: Ints


class Memory(NamedTuple):
    """The DRAM.

    Attributes:
        rules: its timing.
        state: its controllers.
        stream: requests.
        link: who waits for them.
        pieces: address map [P, 4].
    """

    rules: dram.Rules
    state: dram.State
    stream: dram.Stream
    link: dram.Link
    pieces: Ints


@_kernel
def run(queues: Queues, state: State, numbers: Numbers, detail: Detail, memory: Memory) -> int:
    """Simulate to the end; the number of cycles, or -1 when nothing can go on."""
    left = queues.kind.shape[0]
    now = 0
    while left > 0:
        if numbers.full:
            _deliver(queues, state, numbers, detail, memory, now)
        if numbers.channels > 1:
            _start_channels(queues, state, numbers, now)
            start(queues, state, now, 2 * numbers.channels, 2 * numbers.channels - 2)
        else:
            start(queues, state, now, 0, 0)
        _prepare(queues, state, numbers, detail, now)
        if numbers.priority:
            _rank(queues, state, numbers, detail)
        if numbers.clocked:
            _tick(detail, now)
        _grant(queues, state, numbers, detail, now)
        span = _span(queues, state, numbers, detail, now)
        if numbers.full and span != 1:
            span = _look_ahead(numbers, detail, memory, now, span)
        if span < 0:
            return -1
        if numbers.channels == 1:
            account(queues, state, span)
        else:
            _account_channels(queues, state, numbers.channels, span)
        _issue(state, numbers, detail, memory, now)
        now += span
        left -= _advance(queues, state, numbers, detail, now, span)
    return now


@_inlined
def _edges(detail: Detail, engine: int, now: int) -> int:
    """Own cycles of an engine that have ended by the beginning of core cycle ``now``."""
    return now * detail.over[engine] // detail.under[engine]


@_inlined
def _until_edges(detail: Detail, engine: int, now: int, count: int) -> int:
    """Core cycles from ``now`` in which ``count`` own cycles end."""
    last = count + _edges(detail, engine, now)
    return -(-last * detail.under[engine] // detail.over[engine]) - now


@_kernel
def _tick(detail: Detail, now: int) -> None:
    """Own cycles of engines in this core cycle, what they owe first."""
    for engine in range(detail.own.shape[0]):
        own = _edges(detail, engine, now + 1) - _edges(detail, engine, now)
        detail.own[engine] = own
        detail.budget[engine] = max(0, own - detail.owed[engine])
        owing = detail.owed[engine] > 0 and detail.budget[engine] == 0
        detail.halted[engine] = owing or detail.lag[engine] > 0


@_kernel
def _start_channels(queues: Queues, state: State, numbers: Numbers, now: int) -> None:
    """Start transfers on free channels, in the order of each direction."""
    for engine in range(2 * numbers.channels):
        if state.command[engine] >= 0:
            continue
        line = engine // numbers.channels
        if state.position[line] == queues.queue_begin[line + 1]:
            state.cause[engine] = DONE
            continue
        command = int(queues.queue[state.position[line]])
        state.cause[engine] = awaited(queues, state, command)
        if state.cause[engine] < 0:
            state.command[engine] = command
            state.start[command] = now
            state.position[line] += 1


@_inlined
def _end(
    queues: Queues, state: State, numbers: Numbers, engine: int, command: int, now: int
) -> None:
    """End a command and free its engines."""
    if numbers.channels == 1 or engine >= 2 * numbers.channels:
        finish(queues, state, engine, command, now, 2 * numbers.channels - 2)
    else:
        state.end[command] = now
        state.command[engine] = -1


@_inlined
def _line(engine: int, channels: int) -> int:
    """Queue of an engine."""
    return engine // channels if engine < 2 * channels else engine - 2 * channels + 2


@_kernel
def _account_channels(queues: Queues, state: State, channels: int, span: int) -> None:
    """Book ``span`` cycles; a direction spends them as the transfer that has run longest does."""
    engines = state.command.shape[0]
    engine = 0
    while engine < engines:
        line = _line(engine, channels)
        shown, waiting = engine, -1
        while engine < engines and _line(engine, channels) == line:
            command = int(state.command[engine])
            if command < 0:
                waiting = engine if waiting < 0 else waiting
            else:
                if not second(queues, engine, command):
                    state.spent[command, state.cause[engine]] += span
                oldest = int(state.command[shown])
                if oldest < 0 or state.start[command] < state.start[oldest]:
                    shown = engine
            engine += 1
        state.causes[line, state.cause[shown]] += span
        if waiting >= 0 and state.cause[waiting] != DONE:
            command = int(queues.queue[state.position[line]])
            if not second(queues, waiting, command):
                state.spent[command, state.cause[waiting]] += span


@_kernel
def _rank(queues: Queues, state: State, numbers: Numbers, detail: Detail) -> None:
    """Decide which transfers go first."""
    first = 2 * numbers.channels
    for engine in range(first):
        stores = engine >= numbers.channels
        detail.later[engine] = numbers.priority == 1 or stores == (numbers.priority == 2)
    if numbers.priority != 1:
        return
    for engine in range(first, state.command.shape[0]):
        line = _line(engine, numbers.channels)
        if state.command[engine] >= 0 or state.position[line] == queues.queue_begin[line + 1]:
            continue
        command = queues.queue[state.position[line]]
        for wait in range(state.met[command], queues.wait_begin[command + 1]):
            for other in range(first):
                if state.command[other] == queues.waits[wait]:
                    detail.later[other] = 0


@_inlined
def _flying(detail: Detail) -> bool:
    flying = 0
    for engine in range(detail.flying.shape[0]):
        flying += detail.flying[engine]
    return flying > 0


@_inlined
def _clock_seen(numbers: Numbers, now: int) -> int:
    """Last DRAM clock whose completions a core sees in cycle ``now``."""
    return (now - numbers.path) * numbers.clocks // numbers.cycles


@_inlined
def _deliver(
    queues: Queues, state: State, numbers: Numbers, detail: Detail, memory: Memory, now: int
) -> None:
    """Let accesses complete that have by now."""
    if not _flying(detail):
        return
    link = memory.link
    seen = _clock_seen(numbers, now)
    dram.seek(memory.rules, memory.state, memory.stream, link, seen, False)
    slots = link.calendar.shape[0]
    while link.marks[dram.FIRST] <= seen:
        clock = link.marks[dram.FIRST]
        for engine in range(detail.flying.shape[0]):
            count = link.calendar[clock & (slots - 1), engine]
            if count:
                link.calendar[clock & (slots - 1), engine] = 0
                link.marks[dram.PENDING] -= count
                detail.flying[engine] -= count
                if engine < numbers.channels and queues.kind[state.command[engine]] != WEIGHT:
                    detail.inbox[engine] += count * numbers.access
        link.marks[dram.FIRST] = _next_pending(link, clock)


@_inlined
def _next_pending(link: dram.Link, clock: int) -> int:
    if link.marks[dram.PENDING] == 0:
        return dram.NEVER
    mask = link.calendar.shape[0] - 1
    while True:
        clock += 1
        for engine in range(link.calendar.shape[1]):
            if link.calendar[clock & mask, engine]:
                return clock


@_inlined
def _prepare(queues: Queues, state: State, numbers: Numbers, detail: Detail, now: int) -> None:
    """Set up what has just started."""
    for engine in range(state.command.shape[0]):
        command = state.command[engine]
        if command < 0 or state.start[command] != now or second(queues, engine, command):
            continue
        detail.moved[engine] = 0
        detail.staged[engine] = 0
        detail.inbox[engine] = 0
        first, last = detail.segment_begin[command], detail.segment_begin[command + 1]
        detail.segment[engine] = first
        detail.offset[engine] = 0
        total = 0
        for segment in range(first, last):
            total += detail.segment_count[segment]
        detail.left[engine] = total if numbers.full else 0
        fetches = numbers.full and queues.kind[command] == STORE
        detail.unfetched[engine] = total * numbers.access if fetches else 0
        if detail.crosses[engine]:
            aligned = now * detail.over[engine] % detail.under[engine] == 0
            detail.owed[engine] = detail.sync[engine] + detail.setup[command]
            detail.owed[engine] += 0 if aligned else 1
        if numbers.interleaved:
            _next_words(detail, command)


@_kernel
def _next_words(detail: Detail, command: int) -> None:
    """What the walks of a computation need in its next cycle."""
    for walk in range(detail.walk_begin[command], detail.walk_begin[command + 1]):
        detail.walk_need[walk] = min(detail.walk_rate[walk], detail.walk_left[walk])
        detail.walk_left[walk] -= detail.walk_need[walk]


@_inlined
def _active(queues: Queues, state: State, detail: Detail, engine: int) -> int:
    """The command ``engine`` runs, as its first engine and past its delay, or -1."""
    command = state.command[engine]
    if command < 0 or second(queues, engine, command) or state.delay[command] > 0:
        return -1
    if detail.halted[engine]:
        return -1
    return command


@_inlined
def _grant(queues: Queues, state: State, numbers: Numbers, detail: Detail, now: int) -> None:
    """What everything that runs gets in this cycle, and its cause."""
    engines = state.command.shape[0]
    first = 2 * numbers.channels
    for engine in range(engines):
        state.flow[engine] = 0
        state.grant[engine] = 0
        detail.issue[engine] = 0
        detail.move[engine] = 0
        detail.whole[engine] = 0
        command = state.command[engine]
        if command >= 0:
            state.cause[engine] = DELAY if state.delay[command] > 0 else BUSY
            if state.delay[command] > detail.rest[command]:
                state.cause[engine] = SETUP
    if numbers.interleaved:
        detail.taken[:] = 0
    if numbers.full:
        free = _serve_full(queues, state, numbers, detail, now)
    else:
        free = _serve_bandwidth(queues, state, numbers, detail)
    if numbers.clocked:
        _serve_clocked(queues, state, numbers, detail, now, free)
        return
    if not numbers.interleaved:
        share_banks(queues, state, free)
        return
    for turn in range(engines - first):
        engine = first + (now + turn) % (engines - first)
        command = int(state.command[engine])
        if command >= 0 and second(queues, engine, command):
            state.cause[engine] = HELD
        elif command >= 0 and state.delay[command] == 0 and state.accesses[command] > 0:
            detail.whole[engine] = _take_walks(numbers, detail, command)
            if not detail.whole[engine]:
                state.cause[engine] = BANK


@_kernel
def _serve_clocked(
    queues: Queues, state: State, numbers: Numbers, detail: Detail, now: int, free: int
) -> None:
    """What computations get where clocks differ; causes of engines between two clocks."""
    first = 2 * numbers.channels
    engines = state.command.shape[0]
    if numbers.interleaved:
        for turn in range(engines - first):
            engine = first + (now + turn) % (engines - first)
            command = _active(queues, state, detail, engine)
            if command >= 0 and state.accesses[command] > 0:
                _take_rounds(state, numbers, detail, engine, command)
    else:
        _share_clocked(queues, state, numbers, detail, free)
    for engine in range(engines):
        command = state.command[engine]
        if command < 0:
            continue
        if second(queues, engine, command):
            state.cause[engine] = HELD
        elif detail.owed[engine] > 0:
            sets_up = detail.owed[engine] <= detail.setup[command]
            state.cause[engine] = SETUP if sets_up else CLOCK
        elif detail.lag[engine] > 0:
            state.cause[engine] = CLOCK


@_inlined
def _take_rounds(state: State, numbers: Numbers, detail: Detail, engine: int, command: int) -> None:
    """Own cycles of a computation whose walks get their words in this core cycle."""
    wanted = min(detail.budget[engine], state.accesses[command])
    while detail.whole[engine] < wanted:
        if not _take_walks(numbers, detail, command):
            state.cause[engine] = BANK
            break
        detail.whole[engine] += 1
        _next_words(detail, command)


@_inlined
def _wanted_ports(queues: Queues, state: State, detail: Detail, engine: int, own: int) -> int:
    """Ports of spread banks that the computation on ``engine`` could use in ``own`` cycles."""
    command = _active(queues, state, detail, engine)
    if command < 0 or state.accesses[command] == 0:
        return 0
    return int(queues.rate[command]) * own


@_kernel
def _share_clocked(
    queues: Queues, state: State, numbers: Numbers, detail: Detail, free: int
) -> None:
    """Rule 3 of the spread banks, with as many times the rate as own cycles."""
    first = 2 * numbers.channels
    engines = state.command.shape[0]
    wanting, wanted, most = 0, 0, 0
    for engine in range(first, engines):
        rate = _wanted_ports(queues, state, detail, engine, detail.budget[engine])
        wanting += rate > 0
        wanted += rate
        fastest = -(-detail.over[engine] // detail.under[engine])
        most += _wanted_ports(queues, state, detail, engine, fastest)
    for engine in range(first, engines):
        detail.whole[engine] = most <= free
    for engine in range(first, engines):
        rate = _wanted_ports(queues, state, detail, engine, detail.budget[engine])
        if rate:
            wanted -= rate
            state.grant[engine] = min(rate, max(free - wanted, -(-free // wanting)))
            free -= state.grant[engine]
            wanting -= 1
            if state.grant[engine] < rate:
                state.cause[engine] = BANK


@_inlined
def _serve_full(queues: Queues, state: State, numbers: Numbers, detail: Detail, now: int) -> int:
    """Full mode: accesses that start, bytes that move; ports left."""
    channels = numbers.channels
    pending = False
    for engine in range(state.command.shape[0]):
        command = _active(queues, state, detail, engine)
        if command >= 0 and not detail.later[engine] and detail.left[engine] > 0:
            pending = True
        if command >= 0 and engine >= 2 * channels:
            count = min(numbers.per_cycle * detail.budget[engine], detail.left[engine])
            detail.issue[engine] = min(count, numbers.outstanding - detail.flying[engine])
            if state.accesses[command] == 0:
                state.cause[engine] = DRAM
    free = numbers.banks * numbers.ports
    for later in range(2 if numbers.priority else 1):
        for turn in range(2 * channels):
            direction = turn // channels
            engine = direction * channels + (now + turn) % channels
            command = _active(queues, state, detail, engine)
            if command < 0 or detail.later[engine] != later:
                continue
            if not (later and pending):
                _choose_accesses(queues, state, numbers, detail, engine, command)
            if detail.issue[engine] == 0:
                held = later and pending and detail.left[engine] > 0
                state.cause[engine] = PRIORITY if held else DRAM
            free -= _move_full(queues, state, numbers, detail, engine, command, free)
    return free


@_inlined
def _of_direction(values: Ints, engine: int, channels: int) -> int:
    """Sum over the channels beside ``engine``, itself included."""
    begin = engine // channels * channels
    total = 0
    for other in range(begin, begin + channels):
        total += values[other]
    return total


@_inlined
def _choose_accesses(
    queues: Queues, state: State, numbers: Numbers, detail: Detail, engine: int, command: int
) -> None:
    """Full mode: accesses of a transfer that start in this cycle."""
    started = _of_direction(detail.issue, engine, numbers.channels)
    flying = _of_direction(detail.flying, engine, numbers.channels)
    count = min(numbers.per_cycle * detail.own[engine] - started, detail.left[engine])
    count = min(count, numbers.per_cycle * detail.budget[engine])
    count = min(count, numbers.outstanding - flying - started)
    if queues.kind[command] == STORE:
        count = min(count, detail.staged[engine] // numbers.access)
    detail.issue[engine] = count


@_kernel
def _serve_bandwidth(queues: Queues, state: State, numbers: Numbers, detail: Detail) -> int:
    """Bandwidth mode: units offered and moved; ports left."""
    free = numbers.banks * numbers.ports
    units = UNITS * numbers.bytes_per_cycle
    ahead = 0
    for later in range(2 if numbers.priority else 1):
        sharers = 0
        for engine in range(state.command.shape[0]):
            sharers += _shares(queues, state, detail, engine, later)
        offered = units
        for engine in range(state.command.shape[0]):
            if not _shares(queues, state, detail, engine, later):
                continue
            command = state.command[engine]
            transfer = engine < 2 * numbers.channels
            state.flow[engine] = offered // sharers
            if ahead:
                state.cause[engine] = PRIORITY
            elif state.accesses[command] == 0 and not (sharers == 1 and transfer):
                state.cause[engine] = DRAM
            if transfer and queues.kind[command] != WEIGHT:
                free -= _move_share(state, numbers, detail, offered, sharers, engine, command, free)
            units -= state.flow[engine]
        ahead += sharers
    return free


@_inlined
def _shares(queues: Queues, state: State, detail: Detail, engine: int, later: int) -> bool:
    """Whether a command of that class on ``engine`` shares the bandwidth."""
    command = _active(queues, state, detail, engine)
    if command < 0 or detail.owed[engine] > 0:
        return False
    return bool(state.units[command] > 0 and detail.later[engine] == later)


@_kernel
def _move_share(
    state: State,
    numbers: Numbers,
    detail: Detail,
    offered: int,
    sharers: int,
    engine: int,
    command: int,
    free: int,
) -> int:
    """Bandwidth mode: limit the flow of a LOAD or STORE to its banks; ports taken when spread."""
    if numbers.interleaved:
        wanted = min(state.flow[engine], state.units[command])
        width = UNITS * numbers.width
        got = _take_span(numbers, detail, engine, command, wanted, width)
        if got < wanted:
            state.cause[engine] = BANK
        state.flow[engine] = got
        detail.move[engine] = got
        return 0
    wanted = -(-offered // (UNITS * sharers * numbers.width))
    taken = min(wanted, free)
    if taken < wanted:
        state.flow[engine] = min(state.flow[engine], UNITS * taken * numbers.width)
        state.cause[engine] = BANK
    return taken


@_inlined
def _move_full(
    queues: Queues,
    state: State,
    numbers: Numbers,
    detail: Detail,
    engine: int,
    command: int,
    free: int,
) -> int:
    """Full mode: bytes between port and scratchpad in this cycle; ports taken when spread."""
    port = numbers.port * detail.own[engine]
    port -= _of_direction(detail.move, engine, numbers.channels)
    port = min(port, numbers.port * detail.budget[engine])
    wanted = min(detail.inbox[engine], port)
    if queues.kind[command] == STORE:
        room = numbers.per_cycle * detail.own[engine] * numbers.access
        ready = detail.staged[engine] >= room
        wanted = 0 if ready else min(detail.unfetched[engine], port)
    if wanted == 0:
        return 0
    taken = 0
    if numbers.interleaved:
        got = _take_span(numbers, detail, engine, command, wanted, numbers.width)
    else:
        taken = min(free, -(-wanted // numbers.width))
        got = min(wanted, taken * numbers.width)
    detail.move[engine] = got
    state.cause[engine] = BANK if got < wanted else BUSY
    return taken


@_kernel
def _take_span(
    numbers: Numbers, detail: Detail, engine: int, command: int, wanted: int, width: int
) -> int:
    """Move ``wanted`` bytes or units, words being ``width`` of them, up to the first taken bank."""
    base = detail.base[command]
    if base < 0:
        return wanted
    unit = width // numbers.width
    at = base * unit + detail.moved[engine]
    word = at // width
    while word * width < at + wanted:
        bank = word % numbers.banks
        if detail.taken[bank] >= numbers.ports:
            return max(0, word * width - at)
        detail.taken[bank] += 1
        word += 1
    return wanted


@_kernel
def _take_walks(numbers: Numbers, detail: Detail, command: int) -> int:
    """Take words of every walk; 1 if none lacks any."""
    whole = 1
    for walk in range(detail.walk_begin[command], detail.walk_begin[command + 1]):
        while detail.walk_need[walk] > 0:
            step = detail.walk_next[walk] % detail.walk_extent[walk]
            bank = (detail.walk_word[walk] + step) % numbers.banks
            if detail.taken[bank] >= numbers.ports:
                whole = 0
                break
            detail.taken[bank] += 1
            detail.walk_next[walk] += 1
            detail.walk_need[walk] -= 1
    return whole


@_inlined
def _crossing(detail: Detail, engine: int, command: int, now: int) -> int:
    """Core cycles until what an engine between two clocks does changes; 0 if it is not."""
    if detail.lag[engine] > 0:
        return int(detail.lag[engine])
    owed = detail.owed[engine]
    if owed == 0:
        return 0
    # In the cycle in which the last of it is paid there may be time left to work.
    until = _until_edges(detail, engine, now, owed) - 1
    if owed > detail.setup[command]:
        until = min(until, _until_edges(detail, engine, now, owed - detail.setup[command]))
    return max(1, until)


@_inlined
def _computing(
    queues: Queues, state: State, numbers: Numbers, detail: Detail, engine: int, now: int
) -> int:
    """Core cycles until a computation has made its accesses at the rate of now, or of its clock."""
    command = state.command[engine]
    if numbers.interleaved:
        if _walking(detail, command):
            return 1
        left = int(state.accesses[command])
        return _until_edges(detail, engine, now, left) if numbers.clocked else left
    if numbers.clocked:
        if not detail.whole[engine]:
            return 1
        left = int(-(-state.accesses[command] // queues.rate[command]))
        return _until_edges(detail, engine, now, left)
    grant = state.grant[engine]
    return -(-state.accesses[command] // grant) if grant > 0 else -1


@_inlined
def _span(queues: Queues, state: State, numbers: Numbers, detail: Detail, now: int) -> int:
    """Cycles until the next event other than a completion, or -1 when none will come."""
    span = -1
    for engine in range(state.command.shape[0]):
        command = state.command[engine]
        if command < 0 or second(queues, engine, command):
            continue
        until = _crossing(detail, engine, command, now) if detail.crosses[engine] else 0
        busy = detail.left[engine] > 0 or detail.inbox[engine] > 0 or detail.unfetched[engine] > 0
        if until > 0:
            span = until if span < 0 else min(span, until)
            continue
        until = -1
        if state.delay[command] > 0:
            rest = detail.rest[command]
            until = state.delay[command] - (rest if state.delay[command] > rest else 0)
        elif detail.issue[engine] or detail.move[engine] or (detail.crosses[engine] and busy):
            until = 1
        elif state.units[command] > 0:
            flow = state.flow[engine]
            until = -(-state.units[command] // flow) if flow > 0 else -1
        elif not (detail.left[engine] or detail.flying[engine] or state.accesses[command]):
            # Nothing to do at all, or nothing but to end.
            until = 1
        if until > 0 and (span < 0 or until < span):
            span = until
        if state.delay[command] > 0 or state.accesses[command] == 0:
            continue
        until = _computing(queues, state, numbers, detail, engine, now)
        if until > 0 and (span < 0 or until < span):
            span = until
    return int(span)


@_inlined
def _walking(detail: Detail, command: int) -> bool:
    """Whether a walk of the command has words left to take, this cycle's included."""
    for walk in range(detail.walk_begin[command], detail.walk_begin[command + 1]):
        if detail.walk_left[walk] > 0 or detail.walk_need[walk] > 0:
            return True
    return False


@_inlined
def _look_ahead(numbers: Numbers, detail: Detail, memory: Memory, now: int, span: int) -> int:
    """Shorten ``span`` to the next completion that is seen, if there is one before its end."""
    if not _flying(detail):
        return span
    until = dram.NEVER if span < 0 else _clock_seen(numbers, now + span)
    dram.seek(memory.rules, memory.state, memory.stream, memory.link, until, True)
    first = memory.link.marks[dram.FIRST]
    if first == dram.NEVER:
        return span
    seen = -(-first * numbers.cycles // numbers.clocks) + numbers.path
    if span < 0 or seen - now < span:
        return seen - now
    return span


@_inlined
def _issue(state: State, numbers: Numbers, detail: Detail, memory: Memory, now: int) -> None:
    """Full mode: hand the accesses that start in this cycle to the controller."""
    arrival = -(-(now + 1 + numbers.path) * numbers.clocks // numbers.cycles)
    for engine in range(detail.issue.shape[0]):
        for _ in range(detail.issue[engine]):
            segment = detail.segment[engine]
            block = detail.segment_block[segment] + detail.offset[engine]
            write = int(detail.segment_write[segment])
            _request(numbers, memory, engine, block, write, arrival)
            detail.offset[engine] += 1
            if detail.offset[engine] == detail.segment_count[segment]:
                detail.segment[engine] += 1
                detail.offset[engine] = 0
        detail.left[engine] -= detail.issue[engine]
        detail.flying[engine] += detail.issue[engine]
        if numbers.channels <= engine < 2 * numbers.channels:
            detail.staged[engine] -= detail.issue[engine] * numbers.access


@_inlined
def _request(
    numbers: Numbers, memory: Memory, engine: int, block: int, write: int, arrival: int
) -> None:
    state, stream, link = memory.state, memory.stream, memory.link
    channel, own, bank, row = dram.decode(memory.pieces, numbers.groups, numbers.group_banks, block)
    if state.scalar[channel, dram.COUNT] == stream.block.shape[1]:
        dram.compact(state, stream, link, channel)
    i = dram.push(state, stream, channel, (own, bank, row, write), arrival)
    link.owner[channel, i] = engine
    state.scalar[channel, dram.CLOCK] = min(state.scalar[channel, dram.CLOCK], arrival)


@_inlined
def _advance(
    queues: Queues, state: State, numbers: Numbers, detail: Detail, now: int, span: int
) -> int:
    """Let ``span`` cycles pass up to ``now``; the number of commands that finished."""
    finished = 0
    for engine in range(state.command.shape[0]):
        command = state.command[engine]
        if command < 0 or second(queues, engine, command):
            continue
        if detail.lag[engine] > 0:
            detail.lag[engine] -= span
            if detail.lag[engine] == 0:
                finished += 1
                _end(queues, state, numbers, engine, command, now)
            continue
        halted = detail.halted[engine]
        if detail.owed[engine] > 0:
            paid = _edges(detail, engine, now) - _edges(detail, engine, now - span)
            detail.owed[engine] = max(0, detail.owed[engine] - paid)
            halted = halted or state.delay[command] > 0
        elif state.delay[command] > 0:
            state.delay[command] -= span
            halted = 1
        if not halted:
            _work(queues, state, numbers, detail, engine, command, now, span)
        if detail.owed[engine]:
            continue
        if state.delay[command] or state.accesses[command] or state.units[command]:
            continue
        if detail.left[engine] or detail.flying[engine]:
            continue
        if detail.inbox[engine] or detail.unfetched[engine]:
            continue
        if detail.crosses[engine]:
            detail.lag[engine] = detail.sync[engine]
            if engine < 2 * numbers.channels:
                edge = -(-now * detail.over[engine] // detail.under[engine])
                seen = -(-edge * detail.under[engine] // detail.over[engine])
                detail.lag[engine] += seen - now
            if detail.lag[engine] > 0:
                continue
        finished += 1
        _end(queues, state, numbers, engine, command, now)
    return finished


@_inlined
def _work(
    queues: Queues,
    state: State,
    numbers: Numbers,
    detail: Detail,
    engine: int,
    command: int,
    now: int,
    span: int,
) -> None:
    """What the command on ``engine`` gets done in ``span`` cycles up to ``now``."""
    moved = detail.move[engine]
    detail.moved[engine] += moved * span
    if numbers.full and queues.kind[command] == STORE:
        detail.unfetched[engine] -= moved
        detail.staged[engine] += moved
    elif numbers.full:
        detail.inbox[engine] -= moved
    else:
        state.units[command] = max(0, state.units[command] - span * state.flow[engine])
    if numbers.clocked:
        own = _edges(detail, engine, now) - _edges(detail, engine, now - span)
        if numbers.interleaved:
            done = detail.whole[engine] if span == 1 else own
        else:
            done = state.grant[engine] if span == 1 else own * queues.rate[command]
        state.accesses[command] = max(0, state.accesses[command] - done)
    elif not numbers.interleaved:
        state.accesses[command] = max(0, state.accesses[command] - span * state.grant[engine])
    elif detail.whole[engine] and state.accesses[command] > 0:
        state.accesses[command] -= span
        _next_words(detail, command)
