"""Numba kernel of the DRAM controller: from event to event instead of clock by clock.

``stowplan.simulator.dram`` states the model; ``stowplan.simulator.dram_reference`` is the same in
plain Python, clock by clock. A clock in which no request is accepted, no refresh falls due, no
command is ready and no request moves to a bank queue changes nothing, so the kernel skips it.

Each command only moves later the earliest clock of commands that follow it. These clocks are kept
where they apply: per bank, per bank group and per rank; a command is ready at the latest of the
three. A bank is *classified* when its queue or row changes: which queued request could use the open
row, and whether the row may be closed for the oldest one. Because clocks only move later, the one
at which a bank had nothing ready yet is a bound until it is classified anew, and banks with empty
queues are not looked at. Of the reads and writes that wait for a bank queue with room, those before
the first that may have some are not looked at again until one of their queues gets room.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

ACT, PRE, READ, WRITE, REF = 0, 1, 2, 3, 4
COMMANDS = 5
SEVERAL = 5
"""What a bank wants that could use more than one kind of command."""
HIT, MISS, CONFLICT, MERGED, FORWARDED, OPEN_CLOCKS = 5, 6, 7, 8, 9, 10
COUNTERS = 11

CLOCK, NEXT, COUNT, READS, WRITES, DRAINING, READ_FROM, WRITE_FROM = 0, 1, 2, 3, 4, 5, 6, 7
POINTER, QUEUED, COMMAND_AT, REF_TICK, REF_PENDING, REF_RANK = 8, 9, 10, 11, 12, 13
CLOSED, LOGGED, OUTSTANDING, UNTIL, DONE, ACTIVE = 14, 15, 16, 17, 18, 19
READ_FREED, WRITE_FREED, READ_HEAD, WRITE_HEAD, TURN = 20, 21, 22, 23, 24
SCALARS = 25

FIRST, PENDING = 0, 1

SPARE = 4
"""Times the room of a queue that its arrays have: entries move to the front only now and then."""

NEVER = 1 << 62
_BUCKETS = 1024
_HASH = 0x9E3779B1

# Nothing here allocates. Without reference counts on the arrays of a State, and with the frequent
# helpers inlined into one loop, the kernel runs 30 times faster.
_kernel = numba.njit(cache=True, _nrt=False)  # pyright: ignore[reportCallIssue]
_inlined = numba.njit(  # pyright: ignore[reportCallIssue]
    cache=True, _nrt=False, inline="always"
)


class Rules(NamedTuple):
    """Sizes, limits, and least distances between commands in clocks.

    ``X_Y`` is the distance from X to Y in the same bank; ``_group``: same bank group, any bank;
    ``_rank``: same rank; ``_other``: another rank.
    """

    ranks: int
    groups: int
    banks: int
    read_queue: int
    write_queue: int
    bank_queue: int
    drain_above: int
    row_hit_limit: int
    read_latency: int
    write_latency: int
    act_column: int
    act_pre: int
    act_act: int
    act_act_group: int
    act_act_rank: int
    act_window: int
    pre_act: int
    pre_pre: int
    read_read_group: int
    read_read_rank: int
    read_read_other: int
    read_write: int
    read_pre: int
    write_read_group: int
    write_read_rank: int
    write_read_other: int
    write_write_group: int
    write_write_rank: int
    write_write_other: int
    write_pre: int
    ref_act: int
    ref_ref: int
    ref_interval: int


class Stream(NamedTuple):
    """Requests of every channel in the order they are offered, and what became of them [C, N].

    Attributes:
        arrival: first clock a request may be accepted.
        block: address divided by the bytes of an access.
        bank: bank within the channel, ranks and bank groups included.
        row: row.
        write: 1 for a write.
        accept: clock the controller took it, -1 before.
        issue: clock of its column command; -1 before, or if it never needed one.
        complete: clock its data are there (reads) or it is acknowledged (writes), -1 before.
        follower: next read of the same block served by the same command, or -1.
    """

    arrival: Ints
    block: Ints
    bank: Ints
    row: Ints
    write: Ints
    accept: Ints
    issue: Ints
    complete: Ints
    follower: Ints


class State(NamedTuple):
    """Controller state; the caller owns it. C channels, B banks, G groups and R ranks each.

    Attributes:
        scalar: counters and pointers [C, SCALARS].
        counters: events of each kind [C, COUNTERS].
        read_queue: stream positions of waiting reads, from READ_HEAD on [C, SPARE read_queue].
        read_bank: their banks [C, SPARE read_queue].
        write_queue: of waiting writes, from WRITE_HEAD on [C, SPARE write_queue].
        write_bank: their banks [C, SPARE write_queue].
        queue: stream positions in each bank's queue, from its head on [C, B, SPARE bank_queue].
        queue_row: their rows [C, B, SPARE bank_queue].
        queue_write: 1 for writes [C, B, SPARE bank_queue].
        head: place of the first entry of each bank's queue [C, B].
        length: entries of each bank's queue [C, B].
        active: banks with entries, ascending, the first ACTIVE entries; TURN is the place of the
            first one after the bank POINTER, which was served last [C, B].
        idle_to: clock before which none of a bank's requests has a ready command [C, B].
        wants: the one kind of command a bank's requests could use, or SEVERAL [C, B].
        row: open row or -1 [C, B].
        hits: column commands since the row was opened [C, B].
        reopened: 1 if the row was closed for another request, not for a refresh [C, B].
        first: first entry that reads from, and first that writes to the open row, or -1; whether
            the row may be closed for the oldest entry [C, B, 3].
        bank_at: earliest clock per command as far as the bank is concerned [C, B, COMMANDS].
        group_at: the same for bank groups [C, G, COMMANDS].
        rank_at: the same for ranks; 0 for SEVERAL [C, R, COMMANDS + 1].
        group_of: bank group of each bank [C, B].
        rank_of: rank of each bank [C, B].
        acts: clocks of the last four activates of each rank, and the oldest one's place [C, R, 5].
        open_banks: open banks of each rank, and since when there is one [C, R, 2].
        filter: queued reads and writes by hash of their block [C, 2, 1024].
        log: clock, command, bank (first one of the rank for a refresh), and row or stream position
            (column commands) of each command [C, L, 4]; commands beyond L are only counted.
        done: stream positions whose completion became known, the first DONE entries [C, D]; D is 0
            where nobody asks.
    """

    scalar: Ints
    counters: Ints
    read_queue: Ints
    read_bank: Ints
    write_queue: Ints
    write_bank: Ints
    queue: Ints
    queue_row: Ints
    queue_write: Ints
    head: Ints
    length: Ints
    active: Ints
    idle_to: Ints
    wants: Ints
    row: Ints
    hits: Ints
    reopened: Ints
    first: Ints
    bank_at: Ints
    group_at: Ints
    rank_at: Ints
    group_of: Ints
    rank_of: Ints
    acts: Ints
    open_banks: Ints
    filter: Ints
    log: Ints
    done: Ints


class Link(NamedTuple):
    """Who waits for which request; C channels, N requests each, M masters, S slots.

    Attributes:
        owner: master of each request in the stream [C, N].
        calendar: completions by clock, modulo S, and master; S is a power of two above the latency
            of a read [S, M].
        marks: FIRST pending completion's clock or NEVER, and PENDING, how many there are [2].
        place: work array of ``compact`` [N].
    """

    owner: Ints
    calendar: Ints
    marks: Ints
    place: Ints


@_inlined
def _channel_state(state: State, c: int) -> State:
    """The state of one channel: views without the first axis."""
    return State(
        state.scalar[c],
        state.counters[c],
        state.read_queue[c],
        state.read_bank[c],
        state.write_queue[c],
        state.write_bank[c],
        state.queue[c],
        state.queue_row[c],
        state.queue_write[c],
        state.head[c],
        state.length[c],
        state.active[c],
        state.idle_to[c],
        state.wants[c],
        state.row[c],
        state.hits[c],
        state.reopened[c],
        state.first[c],
        state.bank_at[c],
        state.group_at[c],
        state.rank_at[c],
        state.group_of[c],
        state.rank_of[c],
        state.acts[c],
        state.open_banks[c],
        state.filter[c],
        state.log[c],
        state.done[c],
    )


@_inlined
def _channel_stream(stream: Stream, c: int) -> Stream:
    return Stream(
        stream.arrival[c],
        stream.block[c],
        stream.bank[c],
        stream.row[c],
        stream.write[c],
        stream.accept[c],
        stream.issue[c],
        stream.complete[c],
        stream.follower[c],
    )


@_inlined
def _bucket(block: int) -> int:
    return ((block * _HASH) >> 16) & (_BUCKETS - 1)


@_kernel
def _queued(s: State, q: Stream, block: int, bank: int, write: int) -> int:
    """Stream position of the queued read or write of a block, or -1."""
    head = s.head[bank]
    for p in range(head, head + s.length[bank]):
        i = s.queue[bank, p]
        if q.block[i] == block and q.write[i] == write:
            return i
    waiting, banks = (s.write_queue, s.write_bank) if write else (s.read_queue, s.read_bank)
    head = s.scalar[WRITE_HEAD] if write else s.scalar[READ_HEAD]
    for p in range(head, head + (s.scalar[WRITES] if write else s.scalar[READS])):
        if banks[p] == bank and q.block[waiting[p]] == block:
            return waiting[p]
    return -1


@_inlined
def _append(waiting: Ints, banks: Ints, v: Ints, ends: tuple[int, int], i: int, bank: int) -> None:
    """Add a request to the read or write queue, whose head and size are ``v[ends]``."""
    head, size = v[ends[0]], v[ends[1]]
    if head + size == waiting.shape[0]:
        for p in range(size):
            waiting[p] = waiting[head + p]
            banks[p] = banks[head + p]
        v[ends[0]] = head = 0
    waiting[head + size] = i
    banks[head + size] = bank
    v[ends[1]] = size + 1


@_inlined
def _remove(waiting: Ints, banks: Ints, v: Ints, ends: tuple[int, int], place: int) -> None:
    """Take entry ``place`` from the read or write queue, moving the fewer of the others."""
    head, size = v[ends[0]], v[ends[1]] - 1
    v[ends[1]] = size
    if 2 * place <= size:
        for p in range(head + place, head, -1):
            waiting[p] = waiting[p - 1]
            banks[p] = banks[p - 1]
        v[ends[0]] = head + 1
    else:
        for p in range(head + place, head + size):
            waiting[p] = waiting[p + 1]
            banks[p] = banks[p + 1]


@_inlined
def _complete(s: State, q: Stream, i: int, clock: int) -> None:
    q.complete[i] = clock
    n = s.scalar[DONE]
    if n < s.done.shape[0]:
        s.done[n] = i
        s.scalar[DONE] = n + 1


@_inlined
def _accept(rules: Rules, s: State, q: Stream, clock: int) -> None:
    """Take the next request of the stream if it has arrived and its queue has room."""
    v = s.scalar
    i: int = v[NEXT]
    if i >= v[COUNT] or q.arrival[i] > clock:
        return
    write = q.write[i]
    if write:
        if v[WRITES] >= rules.write_queue:
            return
    elif v[READS] >= rules.read_queue:
        return
    v[NEXT] += 1
    q.accept[i] = clock
    held = -1
    if s.filter[1, _bucket(q.block[i])]:
        held = _queued(s, q, q.block[i], q.bank[i], 1)
    if write or held >= 0:
        # A write is acknowledged; a read of a block that waits to be written gets its data.
        _complete(s, q, i, clock + 1)
        if not write:
            s.counters[FORWARDED] += 1
            return
    if held >= 0:
        s.counters[MERGED] += 1
        return
    if write:
        _append(s.write_queue, s.write_bank, v, (WRITE_HEAD, WRITES), i, q.bank[i])
    else:
        v[OUTSTANDING] += 1
        if s.filter[0, _bucket(q.block[i])]:
            held = _queued(s, q, q.block[i], q.bank[i], 0)
        if held >= 0:
            s.counters[MERGED] += 1
            q.follower[i] = q.follower[held]
            q.follower[held] = i
            return
        _append(s.read_queue, s.read_bank, v, (READ_HEAD, READS), i, q.bank[i])
    s.filter[write, _bucket(q.block[i])] += 1


@_inlined
def _classify(rules: Rules, s: State, bank: int) -> None:
    """What the bank's queue asks of its open row."""
    s.first[bank, 0] = _first_from(s, bank, 0, 0)
    s.first[bank, 1] = _first_from(s, bank, 1, 0)
    _classify_close(rules, s, bank)


@_inlined
def _first_from(s: State, bank: int, write: int, place: int) -> int:
    """First entry from ``place`` on that reads from (or writes to) the open row, or -1."""
    row, head = s.row[bank], s.head[bank]
    for p in range(head + place, head + s.length[bank]):
        if s.queue_row[bank, p] == row and s.queue_write[bank, p] == write:
            return p - head
    return -1


@_inlined
def _classify_close(rules: Rules, s: State, bank: int) -> None:
    """Whether the row may be closed for the oldest entry, and what the bank wants in all."""
    row = s.row[bank]
    reads, writes = s.first[bank, 0] >= 0, s.first[bank, 1] >= 0
    close = (
        row >= 0
        and s.length[bank] > 0
        and s.queue_row[bank, s.head[bank]] != row
        and (not (reads or writes) or s.hits[bank] >= rules.row_hit_limit)
    )
    s.first[bank, 2] = close
    if row < 0:
        s.wants[bank] = ACT
    elif (reads and writes) or (close and (reads or writes)):
        s.wants[bank] = SEVERAL
    else:
        s.wants[bank] = READ if reads else WRITE if writes else PRE


@_inlined
def _join(s: State, bank: int) -> None:
    """Enter a bank among those with entries."""
    n = s.scalar[ACTIVE]
    while n > 0 and s.active[n - 1] > bank:
        s.active[n] = s.active[n - 1]
        n -= 1
    s.active[n] = bank
    s.scalar[ACTIVE] += 1
    s.scalar[TURN] += bank <= s.scalar[POINTER]


@_inlined
def _leave(s: State, bank: int) -> None:
    """Take a bank from among those with entries."""
    n = 0
    while s.active[n] != bank:
        n += 1
    s.scalar[ACTIVE] -= 1
    for p in range(n, s.scalar[ACTIVE]):
        s.active[p] = s.active[p + 1]
    s.scalar[TURN] -= n < s.scalar[TURN]


@_inlined
def _ready_at(s: State, bank: int) -> int:
    """Earliest clock at which a queued request of the bank makes a command ready."""
    g, r = s.group_of[bank], s.rank_of[bank]
    if s.row[bank] < 0:
        return max(s.bank_at[bank, ACT], s.group_at[g, ACT], s.rank_at[r, ACT])
    at = NEVER
    if s.first[bank, 2]:
        at = max(s.bank_at[bank, PRE], s.rank_at[r, PRE])
    if s.first[bank, 0] >= 0:
        at = min(at, max(s.bank_at[bank, READ], s.group_at[g, READ], s.rank_at[r, READ]))
    if s.first[bank, 1] >= 0:
        at = min(at, max(s.bank_at[bank, WRITE], s.group_at[g, WRITE], s.rank_at[r, WRITE]))
    return at


@_inlined
def _log(s: State, clock: int, command: int, bank: int, detail: int) -> None:
    s.counters[command] += 1
    n = s.scalar[LOGGED]
    if n < s.log.shape[0]:
        s.log[n, 0], s.log[n, 1], s.log[n, 2], s.log[n, 3] = clock, command, bank, detail
    s.scalar[LOGGED] = n + 1


@_inlined
def _raise(at: Ints, command: int, clock: int) -> None:
    if at[command] < clock:
        at[command] = clock


@_inlined
def _activate(rules: Rules, s: State, clock: int, bank: int, row: int) -> None:
    r = s.rank_of[bank]
    own, group, rank = s.bank_at[bank], s.group_at[s.group_of[bank]], s.rank_at[r]
    own[READ] = own[WRITE] = clock + rules.act_column
    own[ACT] = clock + rules.act_act
    _raise(own, PRE, clock + rules.act_pre)
    group[ACT] = clock + rules.act_act_group
    _raise(rank, REF, clock + rules.act_act)
    acts = s.acts[r]
    acts[acts[4]] = clock
    acts[4] = (acts[4] + 1) & 3
    rank[ACT] = max(clock + rules.act_act_rank, acts[acts[4]] + rules.act_window)
    s.row[bank] = row
    s.hits[bank] = 0
    if s.open_banks[r, 0] == 0:
        s.open_banks[r, 1] = clock
    s.open_banks[r, 0] += 1
    _log(s, clock, ACT, bank, row)


@_inlined
def _precharge(rules: Rules, s: State, clock: int, bank: int, reopened: int) -> None:
    r = s.rank_of[bank]
    _raise(s.bank_at[bank], ACT, clock + rules.pre_act)
    _raise(s.rank_at[r], PRE, clock + rules.pre_pre)
    _raise(s.rank_at[r], REF, clock + rules.pre_act)
    s.row[bank] = -1
    s.reopened[bank] = reopened
    s.open_banks[r, 0] -= 1
    if s.open_banks[r, 0] == 0:
        s.counters[OPEN_CLOCKS] += clock - s.open_banks[r, 1]
    _log(s, clock, PRE, bank, -1)


@_inlined
def _column_times(rules: Rules, s: State, clock: int, bank: int, write: int) -> None:
    r = s.rank_of[bank]
    group, rank = s.group_at[s.group_of[bank]], s.rank_at[r]
    if write:
        group[READ] = clock + rules.write_read_group
        group[WRITE] = clock + rules.write_write_group
        _raise(rank, READ, clock + rules.write_read_rank)
        _raise(rank, WRITE, clock + rules.write_write_rank)
        _raise(s.bank_at[bank], PRE, clock + rules.write_pre)
    else:
        _raise(group, READ, clock + rules.read_read_group)
        _raise(rank, READ, clock + rules.read_read_rank)
        _raise(rank, WRITE, clock + rules.read_write)
        _raise(s.bank_at[bank], PRE, clock + rules.read_pre)
    for other in range(rules.ranks):
        if other != r:
            at = s.rank_at[other]
            _raise(at, READ, clock + (rules.write_read_other if write else rules.read_read_other))
            _raise(at, WRITE, clock + (rules.write_write_other if write else rules.read_write))


@_inlined
def _column(rules: Rules, s: State, q: Stream, clock: int, bank: int, place: int) -> None:
    """Read or write for the entry at ``place`` of the bank's queue, which leaves it."""
    v = s.scalar
    head = s.head[bank]
    i: int = s.queue[bank, head + place]
    write: int = s.queue_write[bank, head + place]
    _column_times(rules, s, clock, bank, write)
    s.counters[HIT if s.hits[bank] else CONFLICT if s.reopened[bank] else MISS] += 1
    s.hits[bank] += 1
    s.reopened[bank] = 0
    s.filter[write, _bucket(q.block[i])] -= 1
    _log(s, clock, WRITE if write else READ, bank, i)
    _unlink(rules, s, bank, write, place)
    v[QUEUED] -= 1
    q.issue[i] = clock
    while not write and i >= 0:
        _complete(s, q, i, clock + rules.read_latency)
        v[OUTSTANDING] -= 1
        i = q.follower[i]


@_inlined
def _unlink(rules: Rules, s: State, bank: int, write: int, place: int) -> None:
    """Take entry ``place``, the first of its kind for the open row, from the bank's queue."""
    v, head = s.scalar, s.head[bank]
    if s.length[bank] == rules.bank_queue:
        _free(v, READ_FREED, READ_FROM, bank)
        _free(v, WRITE_FREED, WRITE_FROM, bank)
    for p in range(head + place, head, -1):
        s.queue[bank, p] = s.queue[bank, p - 1]
        s.queue_row[bank, p] = s.queue_row[bank, p - 1]
        s.queue_write[bank, p] = s.queue_write[bank, p - 1]
    s.head[bank] = head + 1
    s.length[bank] -= 1
    if s.length[bank] == 0:
        s.head[bank] = 0
        _leave(s, bank)
    s.first[bank, write] = _first_from(s, bank, write, place)
    other = s.first[bank, 1 - write]
    s.first[bank, 1 - write] = other - (other > place)
    _classify_close(rules, s, bank)


@_inlined
def _free(v: Ints, freed: int, start: int, bank: int) -> None:
    """Note that a full bank queue has room; after a second one all that wait are looked at."""
    if v[freed] >= 0 and v[freed] != bank:
        v[start] = 0
        v[freed] = -1
    elif v[start] > 0:
        v[freed] = bank


@_kernel
def _refresh(rules: Rules, s: State, clock: int) -> int:
    """Serve the pending refresh: ``clock`` if a command was issued, else when one is ready."""
    rank = s.scalar[REF_RANK]
    at = s.rank_at[rank]
    banks = rules.banks // rules.ranks
    first = rank * banks
    if s.open_banks[rank, 0]:
        earliest = NEVER
        for bank in range(first, first + banks):
            if s.row[bank] >= 0:
                ready = max(s.bank_at[bank, PRE], at[PRE])
                if ready <= clock:
                    _precharge(rules, s, clock, bank, 0)
                    _classify(rules, s, bank)
                    s.idle_to[bank] = 0
                    return clock
                earliest = min(earliest, ready)
        return earliest
    if at[REF] > clock:
        return at[REF]
    at[REF] = clock + rules.ref_ref
    _raise(at, ACT, clock + rules.ref_act)
    s.scalar[REF_PENDING] -= 1
    s.scalar[REF_RANK] = (rank + 1) % rules.ranks
    _log(s, clock, REF, first, -1)
    return clock


@_inlined
def _serve(rules: Rules, s: State, q: Stream, clock: int, bank: int) -> None:
    """Issue the ready command of the bank's oldest request that has one."""
    g, r = s.group_of[bank], s.rank_of[bank]
    first = s.first[bank]
    if s.row[bank] < 0:
        _activate(rules, s, clock, bank, s.queue_row[bank, s.head[bank]])
        _classify(rules, s, bank)
    elif first[2] and max(s.bank_at[bank, PRE], s.rank_at[r, PRE]) <= clock:
        _precharge(rules, s, clock, bank, 1)
        _classify(rules, s, bank)
    else:
        column = s.bank_at[bank, READ]
        place, other = first[0], first[1]
        read_at = max(column, s.group_at[g, READ], s.rank_at[r, READ])
        if place < 0 or read_at > clock:
            place = other
        elif 0 <= other < place:
            write_at = max(column, s.group_at[g, WRITE], s.rank_at[r, WRITE])
            place = other if write_at <= clock else place
        _column(rules, s, q, clock, bank, place)


@_inlined
def _command(rules: Rules, s: State, q: Stream, clock: int, refreshing: int) -> None:
    """Issue one command, bank queues in turn after the last one served."""
    v = s.scalar
    place, count = v[TURN], v[ACTIVE]
    earliest = NEVER
    for _ in range(count):
        place = place if place < count else 0
        bank = s.active[place]
        place += 1
        if s.rank_of[bank] == refreshing:
            continue
        ready = s.idle_to[bank]
        if ready <= clock:
            ready = s.rank_at[s.rank_of[bank], s.wants[bank]]
            if ready <= clock:
                ready = _ready_at(s, bank)
                if ready <= clock:
                    v[POINTER], v[TURN] = bank, place
                    v[COMMAND_AT] = clock + 1
                    _serve(rules, s, q, clock, bank)
                    s.idle_to[bank] = 0
                    return
            s.idle_to[bank] = ready
        earliest = min(earliest, ready)
    v[COMMAND_AT] = earliest


@_inlined
def _enqueue(rules: Rules, s: State, q: Stream, clock: int, place: int, write: int) -> None:
    """Move entry ``place`` of the read or write queue to its bank's queue."""
    v = s.scalar
    if write:
        first: int = v[WRITE_HEAD]
        i: int = s.write_queue[first + place]
        _remove(s.write_queue, s.write_bank, v, (WRITE_HEAD, WRITES), place)
    else:
        first = v[READ_HEAD]
        i = s.read_queue[first + place]
        _remove(s.read_queue, s.read_bank, v, (READ_HEAD, READS), place)
    bank: int = q.bank[i]
    n, head = s.length[bank], s.head[bank]
    if head + n == s.queue.shape[1]:
        for p in range(n):
            s.queue[bank, p] = s.queue[bank, head + p]
            s.queue_row[bank, p] = s.queue_row[bank, head + p]
            s.queue_write[bank, p] = s.queue_write[bank, head + p]
        s.head[bank] = head = 0
    s.queue[bank, head + n] = i
    s.queue_row[bank, head + n] = q.row[i]
    s.queue_write[bank, head + n] = write
    s.length[bank] = n + 1
    v[QUEUED] += 1
    if n == 0:
        _join(s, bank)
    if s.first[bank, write] < 0 and q.row[i] == s.row[bank]:
        s.first[bank, write] = n
    _classify_close(rules, s, bank)
    s.idle_to[bank] = ready = _ready_at(s, bank)
    v[COMMAND_AT] = min(v[COMMAND_AT], max(clock + 1, ready))


@_inlined
def _choose_drain(rules: Rules, s: State) -> None:
    """Begin to drain writes if there are too many, or nothing else to do."""
    v = s.scalar
    if v[DRAINING] == 0 and v[WRITES] > 0:
        last = v[CLOSED] and v[NEXT] == v[COUNT] and v[READS] == 0
        above = 0 if last else rules.drain_above
        if v[WRITES] >= rules.write_queue or (v[WRITES] > above and v[QUEUED] == 0):
            v[DRAINING] = v[WRITES]


@_inlined
def _movable(
    rules: Rules, s: State, banks: Ints, ends: tuple[int, int], known: tuple[int, int]
) -> int:
    """Oldest entry of the read or write queue whose bank queue has room, or -1.

    The bank queues of all entries before ``v[known[1]]`` are full, but perhaps that of the bank
    ``v[known[0]]``, which was full when they were looked at.
    """
    v = s.scalar
    head, size, start = v[ends[0]], v[ends[1]], v[known[1]]
    bank = v[known[0]]
    if bank >= 0:
        v[known[0]] = -1
        if s.length[bank] < rules.bank_queue:
            for p in range(head, head + start):
                if banks[p] == bank:
                    # Its queue may have room for more than this one.
                    if s.length[bank] + 1 < rules.bank_queue:
                        v[known[0]] = bank
                    return p - head
    for p in range(head + start, head + size):
        if s.length[banks[p]] < rules.bank_queue:
            return p - head
    v[known[1]] = size
    return -1


@_inlined
def _schedule(rules: Rules, s: State, q: Stream, clock: int) -> bool:
    """Move the oldest request whose bank queue has room; whether there was one."""
    v = s.scalar
    _choose_drain(rules, s)
    place, write = -1, 0
    if v[DRAINING] > 0:
        place = _movable(rules, s, s.write_bank, (WRITE_HEAD, WRITES), (WRITE_FREED, WRITE_FROM))
        if place < 0:
            return False
        write = 1
        first: int = v[WRITE_HEAD]
        oldest: int = s.write_queue[first + place]
        if (
            s.filter[0, _bucket(q.block[oldest])]
            and _queued(s, q, q.block[oldest], q.bank[oldest], 0) >= 0
        ):
            # The older read comes first; reads go on until it is served.
            v[DRAINING] = 0
            v[WRITE_FROM] = min(v[WRITE_FROM], place)
            place, write = -1, 0
        else:
            v[DRAINING] -= 1
    if not write:
        place = _movable(rules, s, s.read_bank, (READ_HEAD, READS), (READ_FREED, READ_FROM))
    if place >= 0:
        start = WRITE_FROM if write else READ_FROM
        v[start] = v[start] - 1 if place < v[start] else place
        _enqueue(rules, s, q, clock, place, write)
    return place >= 0


@_inlined
def _step(rules: Rules, s: State, q: Stream, clock: int) -> int:
    """One clock; returns the next clock in which anything can happen."""
    v = s.scalar
    _accept(rules, s, q, clock)
    if clock == v[REF_TICK]:
        v[REF_PENDING] += 1
        v[REF_TICK] += rules.ref_interval
    after = NEVER
    issued = False
    refreshing = -1
    if v[REF_PENDING] > 0:
        refreshing = v[REF_RANK]
        after = _refresh(rules, s, clock)
        issued = after == clock
        if issued:
            after = clock + 1
            v[COMMAND_AT] = clock + 1
    if not issued and v[QUEUED] > 0 and v[COMMAND_AT] <= clock:
        _command(rules, s, q, clock, refreshing)
    if _schedule(rules, s, q, clock):
        after = clock + 1
    if v[QUEUED] > 0:
        after = min(after, max(clock + 1, v[COMMAND_AT]))
    i = v[NEXT]
    if i < v[COUNT]:
        full = v[WRITES] >= rules.write_queue if q.write[i] else v[READS] >= rules.read_queue
        if not full:
            after = min(after, max(clock + 1, q.arrival[i]))
    return min(after, v[REF_TICK])


@_inlined
def _busy(s: State) -> bool:
    """Whether the channel still has work, given that no further request comes."""
    v = s.scalar
    return v[NEXT] < v[COUNT] or v[READS] + v[WRITES] + v[QUEUED] > 0


@_kernel
def _simulate(rules: Rules, state: State, stream: Stream, channel: int) -> None:
    """Simulate a channel to the end of its work if it is closed, else to clock UNTIL."""
    s = _channel_state(state, channel)
    q = _channel_stream(stream, channel)
    finish = s.scalar[CLOSED] != 0
    clock = s.scalar[CLOCK]
    end = clock if finish else s.scalar[UNTIL]
    while _busy(s) if finish else clock < end:
        if finish:
            end = clock + 1
        clock = _step(rules, s, q, clock)
    s.scalar[CLOCK] = end


@_kernel
def advance(rules: Rules, state: State, stream: Stream, channel: int, until: int) -> None:
    """Simulate a channel up to, not including, clock ``until``; more requests may follow."""
    state.scalar[channel, CLOSED] = 0
    if until > state.scalar[channel, CLOCK]:
        state.scalar[channel, UNTIL] = until
        _simulate(rules, state, stream, channel)


@_kernel
def drain(rules: Rules, state: State, stream: Stream) -> None:
    """Simulate every channel until all requests of the stream, writes too, are in the DRAM."""
    for channel in range(state.scalar.shape[0]):
        state.scalar[channel, CLOSED] = 1
        _simulate(rules, state, stream, channel)


@_inlined
def seek(
    rules: Rules, state: State, stream: Stream, link: Link, until: int, until_completion: bool
) -> None:
    """Simulate all channels, up to, not including, clock ``until``.

    Completions are entered in ``link.calendar``. CLOCK of a channel is the next clock in which
    anything can happen there.

    Args:
        rules: least distances.
        state: controller state; more requests may follow.
        stream: requests.
        link: owners of the requests and their completions.
        until: first clock not simulated.
        until_completion: stop before the first pending completion too.
    """
    bound = min(until, link.marks[FIRST]) if until_completion else until
    for c in range(state.scalar.shape[0]):
        if state.scalar[c, CLOCK] < bound:
            _seek(rules, state, stream, link, until, until_completion)
            return


@_kernel
def _seek(
    rules: Rules, state: State, stream: Stream, link: Link, until: int, until_completion: bool
) -> None:
    """What ``seek`` does once a channel has something to do.

    No channel gets ahead of completions that another one may still have: data come a read's latency
    after a command, but a request that waits may be accepted, and done with, in the next clock.
    """
    mask = link.calendar.shape[0] - 1
    while True:
        least, following, channel, own = NEVER, NEVER, 0, NEVER
        for c in range(state.scalar.shape[0]):
            clock = state.scalar[c, CLOCK]
            waiting = state.scalar[c, NEXT] < state.scalar[c, COUNT]
            promised = clock + (1 if waiting else rules.read_latency)
            if clock < least:
                following = min(following, own)
                least, channel, own = clock, c, promised
            else:
                following = min(following, promised)
        bound = min(until, link.marks[FIRST]) if until_completion else until
        if least >= bound:
            return
        s = _channel_state(state, channel)
        q = _channel_stream(stream, channel)
        v = s.scalar
        v[CLOSED] = 0
        bound = min(bound, following)
        clock = least
        while clock < bound:
            clock = _step(rules, s, q, clock)
            for n in range(v[DONE]):
                i = s.done[n]
                at = q.complete[i]
                link.calendar[at & mask, link.owner[channel, i]] += 1
                link.marks[PENDING] += 1
                link.marks[FIRST] = min(link.marks[FIRST], at)
                if until_completion:
                    bound = min(bound, at)
            v[DONE] = 0
        v[CLOCK] = clock


@_kernel
def compact(state: State, stream: Stream, link: Link, channel: int) -> int:
    """Forget requests of a channel that are done with; the number of those left."""
    s = _channel_state(state, channel)
    q = _channel_stream(stream, channel)
    v = s.scalar
    place, owner = link.place, link.owner[channel]
    for i in range(v[COUNT]):
        place[i] = i - v[NEXT]
    for p in range(v[READ_HEAD], v[READ_HEAD] + v[READS]):
        _keep(q, place, s.read_queue[p])
    for p in range(v[WRITE_HEAD], v[WRITE_HEAD] + v[WRITES]):
        place[s.write_queue[p]] = 0
    for bank in range(s.length.shape[0]):
        for p in range(s.head[bank], s.head[bank] + s.length[bank]):
            _keep(q, place, s.queue[bank, p])
    left, next_left = 0, 0
    for i in range(v[COUNT]):
        if i == v[NEXT]:
            next_left = left
        if place[i] >= 0:
            place[i] = left
            _move(q, owner, i, left)
            left += 1
    v[NEXT] = left if v[NEXT] == v[COUNT] else next_left
    v[COUNT] = left
    for i in range(left):
        if q.follower[i] >= 0:
            q.follower[i] = place[q.follower[i]]
    for p in range(v[READ_HEAD], v[READ_HEAD] + v[READS]):
        s.read_queue[p] = place[s.read_queue[p]]
    for p in range(v[WRITE_HEAD], v[WRITE_HEAD] + v[WRITES]):
        s.write_queue[p] = place[s.write_queue[p]]
    for bank in range(s.length.shape[0]):
        for p in range(s.head[bank], s.head[bank] + s.length[bank]):
            s.queue[bank, p] = place[s.queue[bank, p]]
    return left


@_inlined
def _keep(q: Stream, place: Ints, i: int) -> None:
    """Mark a queued request and those served with it."""
    while i >= 0:
        place[i] = 0
        i = q.follower[i]


@_inlined
def _move(q: Stream, owner: Ints, old: int, new: int) -> None:
    q.arrival[new] = q.arrival[old]
    q.block[new] = q.block[old]
    q.bank[new] = q.bank[old]
    q.row[new] = q.row[old]
    q.write[new] = q.write[old]
    q.accept[new] = q.accept[old]
    q.issue[new] = q.issue[old]
    q.complete[new] = q.complete[old]
    q.follower[new] = q.follower[old]
    owner[new] = owner[old]


@_inlined
def push(
    state: State,
    stream: Stream,
    channel: int,
    request: tuple[int, int, int, int],
    arrival: int,
) -> int:
    """Append a request to a channel's stream; returns its position, or -1 if the stream is full.

    Args:
        state: controller state.
        stream: requests.
        channel: channel of the request.
        request: block, bank within the channel and row as ``decode`` gives them, 1 for a write.
        arrival: first clock it may be accepted; not before the channel's clock.
    """
    i = state.scalar[channel, COUNT]
    if i >= stream.block.shape[1]:
        return -1
    stream.block[channel, i] = request[0]
    stream.bank[channel, i] = request[1]
    stream.row[channel, i] = request[2]
    stream.write[channel, i] = request[3]
    stream.arrival[channel, i] = arrival
    stream.accept[channel, i] = -1
    stream.issue[channel, i] = -1
    stream.complete[channel, i] = -1
    stream.follower[channel, i] = -1
    state.scalar[channel, COUNT] = i + 1
    return i


@_inlined
def decode(pieces: Ints, groups: int, banks: int, block: int) -> tuple[int, int, int, int]:
    """Channel, block wrapped into the memory, bank within the channel, and row of a block.

    Args:
        pieces: field, shift, bits and place of each piece of the address map [P, 4].
        groups: bank groups per rank.
        banks: banks per bank group.
        block: address divided by the bytes of an access.
    """
    channel, rank, group, bank, row, bits = 0, 0, 0, 0, 0, 0
    for p in range(pieces.shape[0]):
        part = ((block >> pieces[p, 1]) & ((1 << pieces[p, 2]) - 1)) << pieces[p, 3]
        bits += pieces[p, 2]
        field = pieces[p, 0]
        if field == 0:
            channel |= part
        elif field == 1:
            rank |= part
        elif field == 2:
            group |= part
        elif field == 3:
            bank |= part
        elif field == 4:
            row |= part
    return channel, block & ((1 << bits) - 1), (rank * groups + group) * banks + bank, row
