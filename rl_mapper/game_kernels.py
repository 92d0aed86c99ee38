"""Numba state machine of the memory-mapping game; ``rl_mapper.game`` states the rules.

Everything is integers in a few tables. Each write to a table goes through a log, so that a decision
is undone by playing the log backwards; segments, stays and loads are only ever appended, and their
counts are logged like everything else.

*Segments* are rectangles of address x time that are taken. They are appended in the order of
decisions and end no later than one step after the one being decided, so those that reach beyond
boundary ``s`` all lie behind the count noted when step ``s`` began.

*Spare* of a step is the bytes that DRAM could still move while it runs. A LOAD takes it from the
latest steps before its use. LOADs run first in, first out, in the order of their decisions: what a
new one takes far back moves those before it to earlier windows, which need their space earlier.

In a *pooled* game only the bytes in use count, not where they are: memory that repacks itself at
will. ``packing`` looks for addresses afterwards, which become hints of a game that has addresses.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

COPY, NOCOPY, DROP = 0, 1, 2
ACTIONS = 3
ON_CHIP = 3
ILLEGAL = -(1 << 62)

# Columns of Rules.decision.
STORAGE, STEP, DEFINES, WRITES, DIRECT_BYTES, DIRECT_READ, ONCHIP_BYTES, TAKES, NEXT, PREVIOUS = (
    range(10)
)
DECISION_COLUMNS = 10
# Columns of Rules.storage.
SIZE, MOVED_BYTES, IN_DRAM, OUT_DRAM = range(4)
STORAGE_COLUMNS = 4
# Columns of Rules.step.
COMPUTE, STREAMED, FIRST = range(3)
STEP_COLUMNS = 3
# Entries of Rules.limits.
CAPACITY, BANDWIDTH, LATENCY, LOAD_BYTES, STORE_BYTES, BANK_BYTES, LOOKBACK, HIDDEN_ONLY = range(8)
POOLED = 8
LIMITS = 9

# Tables of State by number in the log.
T_SCALAR, T_HOLD, T_TIME, T_STAY = range(4)
# Columns of State.scalar[0].
CURSOR, SEGMENTS, STAYS, LOADS, CYCLES = range(5)
SCALARS = 5
# Columns of State.hold, per storage.
ADDRESS, UNTIL, STAY, VALID, WRITTEN, SEEN = range(6)
HOLD_COLUMNS = 6
# Columns of State.time, per step.
DIRECT, READS, ONCHIP, CYCLES_OF, SPARE = range(5)
LOADED_BYTES, STALLED, QUEUED, WAITED, SEGMENTS_BEFORE = range(5, 10)
TIME_COLUMNS = 10
# Columns of State.stay.
S_STORAGE, S_ADDRESS, S_RESERVED, S_START, S_END, S_LOADED, S_ISSUE, S_DEADLINE, S_FLOOR = range(9)
STAY_COLUMNS = 9
# Columns of State.segment.
LOW, HIGH, BEGIN, END, OWNER = range(5)
SEGMENT_COLUMNS = 5
LOG_PER_DECISION = 24
"""Log entries kept free for each decision to come."""
SEGMENTS_PER_DECISION = 4
"""More than a decision takes whose LOAD has no window."""
WAITING_STAYS = 96
"""Most recent stays whose space is spared for their next use."""


class Rules(NamedTuple):
    """An instance of the game: A decisions, V storages, N steps; nothing here changes.

    Attributes:
        decision: one row per decision [A, 10].
        storage: one row per storage [V, 4].
        step: one row per step, ``FIRST`` being its first decision [N + 1, 3].
        limits: the machine and the variant played [9].
    """

    decision: Ints
    storage: Ints
    step: Ints
    limits: Ints


class State(NamedTuple):
    """A position of the game; the caller owns the arrays.

    Attributes:
        scalar: counts and the latency so far [1, 5].
        hold: where each storage is [V, 6].
        time: what each step does [N + 1, 10].
        stay: stays on chip, in order of decision [A, 9].
        segment: taken address x time, in order of decision [S, 5].
        load: stay and bytes charged of each LOAD, first in first out [A, 2].
        action: decisions made [A].
        forced: decisions that must be Drop; undoing leaves them [A].
        log: (table, row, column, old value) [K, 4].
        marks: length of the log before each decision [A + 1].
        length: length of the log [1].
        hint: address each decision's stay takes if it is free there, or -1 [A].
        low: scratch for placement [S].
        high: scratch for placement [S].
        cost: scratch for placement [S].
        taken: scratch, bytes a LOAD takes from each step [N + 1].
    """

    scalar: Ints
    hold: Ints
    time: Ints
    stay: Ints
    segment: Ints
    load: Ints
    action: Ints
    forced: Ints
    log: Ints
    marks: Ints
    length: Ints
    hint: Ints
    low: Ints
    high: Ints
    cost: NDArray[np.float64]
    taken: Ints


@numba.njit(cache=True)
def reset(rules: Rules, state: State) -> None:
    """The position before the first decision; every access counts as Drop."""
    state.scalar[:] = 0
    state.length[0] = 0
    state.forced[:] = 0
    for v in range(rules.storage.shape[0]):
        state.hold[v, ADDRESS] = -1
        state.hold[v, UNTIL] = 0
        state.hold[v, STAY] = -1
        state.hold[v, VALID] = 0 if rules.storage[v, IN_DRAM] else -1
        state.hold[v, WRITTEN] = -1
        state.hold[v, SEEN] = -1
    state.time[:] = 0
    for a in range(rules.decision.shape[0]):
        t = rules.decision[a, STEP]
        state.time[t, DIRECT] += rules.decision[a, DIRECT_BYTES]
        state.time[t, READS] += rules.decision[a, DIRECT_READ]
    for t in range(rules.step.shape[0] - 1):
        state.time[t, CYCLES_OF] = _cycles(rules, state, t)
        state.scalar[0, CYCLES] += state.time[t, CYCLES_OF]
    _enter(rules, state, 0)
    state.length[0] = 0


@numba.njit(cache=True)
def play(rules: Rules, state: State, action: int) -> int:
    """Decide the next access; cycles gained, or ILLEGAL with the position unchanged."""
    a = state.scalar[0, CURSOR]
    if a >= rules.decision.shape[0]:
        return ILLEGAL
    before = state.length[0]
    state.marks[a] = before
    old = state.scalar[0, CYCLES]
    if not _decide(rules, state, a, action):
        _rewind(state, before)
        return ILLEGAL
    state.action[a] = action
    _set(state, T_HOLD, rules.decision[a, STORAGE], SEEN, a)
    _set(state, T_SCALAR, 0, CURSOR, a + 1)
    _enter(rules, state, rules.decision[a, STEP] + 1)
    return old - state.scalar[0, CYCLES]


@numba.njit(cache=True)
def undo(state: State) -> None:
    """Take back the last decision."""
    a = state.scalar[0, CURSOR]
    if a > 0:
        _rewind(state, state.marks[a - 1])


@numba.njit(cache=True)
def legal(rules: Rules, state: State, mask: NDArray[np.bool_]) -> int:
    """Which actions the next decision has; their number. ``mask`` is [3].

    Where transfers may make an operator wait, no windows need be tried: a STORE always fits, and a
    LOAD does if there is space for it while the step runs. A LOAD in no earlier window is as legal
    as any, and longer windows need that space, too.
    """
    a = state.scalar[0, CURSOR]
    mask[:] = False
    if a >= rules.decision.shape[0]:
        return 0
    ample = state.scalar[0, SEGMENTS] + SEGMENTS_PER_DECISION <= state.segment.shape[0]
    if rules.limits[HIDDEN_ONLY] or not ample or not _room(rules, state):
        return _try_all(rules, state, a, mask)
    v, t = rules.decision[a, STORAGE], rules.decision[a, STEP]
    address, valid = state.hold[v, ADDRESS], state.hold[v, VALID]
    defines = rules.decision[a, DEFINES] > 0
    current = valid >= 0 or address >= 0
    mask[DROP] = defines or current
    if not state.forced[a] and not (rules.decision[a, WRITES] and rules.storage[v, OUT_DRAM]):
        size = rules.storage[v, SIZE]
        if defines:
            mask[NOCOPY] = _take_over(rules, state, a) >= 0 or _fits(rules, state, size, t)
        else:
            stay = state.hold[v, STAY]
            gone = valid <= t and (stay < 0 or state.stay[stay, S_END] <= t)
            mask[COPY] = current and gone and _fits(rules, state, size, t)
            until = state.hold[v, UNTIL]
            mask[NOCOPY] = address >= 0 and (
                until > t or _free(rules, state, address, address + size, until, t + 1, -1)
            )
    return int(mask[COPY]) + int(mask[NOCOPY]) + int(mask[DROP])


@numba.njit(cache=True)
def _try_all(rules: Rules, state: State, a: int, mask: NDArray[np.bool_]) -> int:
    count = 0
    for action in range(ACTIONS):
        before = state.length[0]
        mask[action] = _decide(rules, state, a, action)
        _rewind(state, before)
        count += mask[action]
    return count


@numba.njit(cache=True)
def _fits(rules: Rules, state: State, size: int, t: int) -> bool:
    """Whether ``size`` bytes in a row are free during step ``t``."""
    if rules.limits[POOLED]:
        return _spacious(rules, state, size, t, t + 1, -1)
    low, high = state.low, state.high
    count = 0
    for n in range(state.time[t, SEGMENTS_BEFORE], state.scalar[0, SEGMENTS]):
        row = state.segment[n]
        if row[END] > t and row[BEGIN] <= t:
            # Sorted by address as they come.
            i = count
            while i > 0 and low[i - 1] > row[LOW]:
                low[i] = low[i - 1]
                high[i] = high[i - 1]
                i -= 1
            low[i] = row[LOW]
            high[i] = row[HIGH]
            count += 1
    reached = 0
    for i in range(count):
        if low[i] - reached >= size:
            return True
        reached = max(reached, high[i])
    return bool(rules.limits[CAPACITY] - reached >= size)


@numba.njit(cache=True)
def back_up(rules: Rules, state: State) -> int:
    """At a dead end: go back to where the stuck storage was written, and Drop it there.

    Decisions after that point are taken back. Returns the number of decisions taken back.
    """
    v = rules.decision[state.scalar[0, CURSOR], STORAGE]
    count = 0
    while state.scalar[0, CURSOR] > 0:
        undo(state)
        count += 1
        a = state.scalar[0, CURSOR]
        if rules.decision[a, STORAGE] == v and rules.decision[a, WRITES]:
            state.forced[a] = 1
            if play(rules, state, DROP) != ILLEGAL:
                return count
    return count


@numba.njit(cache=True)
def follow(rules: Rules, state: State, wishes: Ints, limit: int) -> int:
    """Play ``wishes`` to the end; what is not legal becomes the nearest legal action.

    ``wishes`` holds actions, or ``ON_CHIP``: NoCopy where legal, Copy where that loses nothing,
    else Drop. NoCopy and Copy stand in for each other, then Drop; for Drop, NoCopy and then Copy.
    Dead ends are backed up.

    Args:
        rules: the game.
        state: any position; play goes on from there.
        wishes: one per decision [A].
        limit: most decisions made, those taken back included.

    Returns:
        The number of decisions made; the game has not ended if that is ``limit``.
    """
    total = rules.decision.shape[0]
    made = 0
    while state.scalar[0, CURSOR] < total and made < limit:
        made += 1
        if not _grant(rules, state, wishes[state.scalar[0, CURSOR]]):
            back_up(rules, state)
    return made


@numba.njit(cache=True)
def _grant(rules: Rules, state: State, wish: int) -> bool:
    if wish == ON_CHIP:
        if play(rules, state, NOCOPY) != ILLEGAL:
            return True
        gained = play(rules, state, COPY)
        if gained >= 0:
            return True
        if gained != ILLEGAL:
            undo(state)
        wish = DROP
    if play(rules, state, wish) != ILLEGAL:
        return True
    second = COPY if wish == NOCOPY else NOCOPY
    if play(rules, state, second) != ILLEGAL:
        return True
    return play(rules, state, COPY + NOCOPY + DROP - wish - second) != ILLEGAL


@numba.njit(cache=True)
def rollout(rules: Rules, state: State, weights: NDArray[np.float64], seed: int) -> int:
    """Play at random to the end; the number of decisions made, those taken back included.

    Args:
        rules: the game.
        state: any position.
        weights: chance of Copy, NoCopy and Drop relative to each other [3].
        seed: of the choices.
    """
    np.random.seed(seed)
    total = rules.decision.shape[0]
    mask = np.zeros(ACTIONS, dtype=np.bool_)
    made = 0
    while state.scalar[0, CURSOR] < total:
        if legal(rules, state, mask) == 0:
            back_up(rules, state)
            continue
        mass = 0.0
        for action in range(ACTIONS):
            mass += weights[action] * mask[action]
        chosen = -1
        at = np.random.random() * mass
        for action in range(ACTIONS):
            if mask[action]:
                chosen = action
                at -= weights[action]
                if at < 0.0 and mass > 0.0:
                    break
        play(rules, state, chosen)
        made += 1
    return made


@numba.njit(cache=True)
def _set(state: State, table: int, row: int, column: int, value: int) -> None:
    n = state.length[0]
    state.log[n, 0] = table
    state.log[n, 1] = row
    state.log[n, 2] = column
    if table == T_SCALAR:
        state.log[n, 3] = state.scalar[row, column]
        state.scalar[row, column] = value
    elif table == T_HOLD:
        state.log[n, 3] = state.hold[row, column]
        state.hold[row, column] = value
    elif table == T_TIME:
        state.log[n, 3] = state.time[row, column]
        state.time[row, column] = value
    else:
        state.log[n, 3] = state.stay[row, column]
        state.stay[row, column] = value
    state.length[0] = n + 1


@numba.njit(cache=True)
def _rewind(state: State, length: int) -> None:
    for n in range(state.length[0] - 1, length - 1, -1):
        table, row = state.log[n, 0], state.log[n, 1]
        column, old = state.log[n, 2], state.log[n, 3]
        if table == T_SCALAR:
            state.scalar[row, column] = old
        elif table == T_HOLD:
            state.hold[row, column] = old
        elif table == T_TIME:
            state.time[row, column] = old
        else:
            state.stay[row, column] = old
    state.length[0] = length


@numba.njit(cache=True)
def _cycles(rules: Rules, state: State, t: int) -> int:
    """Cycles of step ``t``: computation, fast memory and DRAM overlap, after stall and latency.

    LOADs that are under way share DRAM evenly with direct accesses: while these last, they move as
    much again. Before the first answer arrives they have it to themselves.
    """
    rate = rules.limits[BANDWIDTH]
    latency = rules.limits[LATENCY] if state.time[t, READS] else 0
    direct = state.time[t, DIRECT]
    queued = max(0, state.time[t, QUEUED] - latency * rate)
    longest = max(
        rules.step[t, COMPUTE],
        -(-(direct + min(direct, queued) + rules.step[t, STREAMED]) // rate),
        -(-state.time[t, ONCHIP] // rules.limits[BANK_BYTES]),
    )
    waited = state.time[t, STALLED] + state.time[t, WAITED]
    return -(-waited // rate) + latency + longest


@numba.njit(cache=True)
def _recount(rules: Rules, state: State, t: int) -> None:
    """Bring the latency up to date after a change to step ``t``."""
    old, new = state.time[t, CYCLES_OF], _cycles(rules, state, t)
    if new != old:
        _set(state, T_TIME, t, CYCLES_OF, new)
        _set(state, T_SCALAR, 0, CYCLES, state.scalar[0, CYCLES] - old + new)


@numba.njit(cache=True)
def _enter(rules: Rules, state: State, t: int) -> None:
    """Close the steps that have no decision left, up to the one decided next."""
    total = rules.decision.shape[0]
    a = state.scalar[0, CURSOR]
    steps = rules.step.shape[0] - 1
    current = rules.decision[a, STEP] if a < total else steps
    for closed in range(t - 1, current):
        if closed >= 0:
            supply = state.time[closed, CYCLES_OF] * rules.limits[BANDWIDTH]
            used = state.time[closed, DIRECT] + rules.step[closed, STREAMED]
            spare = supply - used - state.time[closed, STALLED] - state.time[closed, WAITED]
            _set(state, T_TIME, closed, SPARE, max(0, spare))
        _set(state, T_TIME, closed + 1, SEGMENTS_BEFORE, state.scalar[0, SEGMENTS])


@numba.njit(cache=True)
def _decide(rules: Rules, state: State, a: int, action: int) -> bool:
    if state.forced[a] and action != DROP:
        return False
    v = rules.decision[a, STORAGE]
    writes = rules.decision[a, WRITES] > 0
    if action == DROP:
        return _drop(rules, state, a)
    if writes and rules.storage[v, OUT_DRAM]:
        return False
    if action == COPY:
        if not _copy(rules, state, a):
            return False
    elif not _keep(rules, state, a):
        return False
    if writes:
        _set(state, T_HOLD, v, VALID, -1)
        _set(state, T_HOLD, v, WRITTEN, rules.decision[a, STEP])
    _on_chip(rules, state, a)
    return True


@numba.njit(cache=True)
def _on_chip(rules: Rules, state: State, a: int) -> None:
    """The step no longer moves this operand through DRAM."""
    t = rules.decision[a, STEP]
    time = state.time
    _set(state, T_TIME, t, DIRECT, time[t, DIRECT] - rules.decision[a, DIRECT_BYTES])
    _set(state, T_TIME, t, READS, time[t, READS] - rules.decision[a, DIRECT_READ])
    _set(state, T_TIME, t, ONCHIP, time[t, ONCHIP] + rules.decision[a, ONCHIP_BYTES])
    _recount(rules, state, t)


@numba.njit(cache=True)
def _drop(rules: Rules, state: State, a: int) -> bool:
    v, t = rules.decision[a, STORAGE], rules.decision[a, STEP]
    stale = not rules.decision[a, DEFINES] and state.hold[v, VALID] < 0
    if stale and not _store(rules, state, v, t):
        return False
    _set(state, T_HOLD, v, ADDRESS, -1)
    if rules.decision[a, WRITES]:
        _set(state, T_HOLD, v, VALID, t + 1)
    return True


@numba.njit(cache=True)
def _keep(rules: Rules, state: State, a: int) -> bool:
    """NoCopy: an output comes into being on chip, an operand stays where it is."""
    v, t = rules.decision[a, STORAGE], rules.decision[a, STEP]
    if rules.decision[a, DEFINES]:
        address = _take_over(rules, state, a)
        if address >= 0 and rules.limits[POOLED]:
            # During this step the operand's bytes count for both.
            return _begin(rules, state, v, address, 0, t, t, 0, t)
        if address < 0:
            address = _place(rules, state, rules.storage[v, SIZE], t, t + 1)
        return address >= 0 and _begin(rules, state, v, address, rules.storage[v, SIZE], t, t, 0, t)
    address, until = state.hold[v, ADDRESS], state.hold[v, UNTIL]
    if address < 0:
        return False
    return until > t or _extend(rules, state, v, until, t + 1)


@numba.njit(cache=True)
def _take_over(rules: Rules, state: State, a: int) -> int:
    """Address of the operand that this output may replace in place, or -1."""
    w, t = rules.decision[a, TAKES], rules.decision[a, STEP]
    if w < 0 or state.hold[w, ADDRESS] < 0 or state.hold[w, UNTIL] != t + 1:
        return -1
    low = state.hold[w, ADDRESS]
    high = low + rules.storage[rules.decision[a, STORAGE], SIZE]
    return low if _free(rules, state, low, high, t, t + 1, w) else -1


@numba.njit(cache=True)
def _copy(rules: Rules, state: State, a: int) -> bool:
    """A LOAD that is complete when the step begins, in the latest window that hides most of it.

    The window begins no earlier than it must to hide all of the LOAD. If the space is not free for
    so long, it begins at the first step from which it is; what no spare hides stalls the step.
    """
    v, t = rules.decision[a, STORAGE], rules.decision[a, STEP]
    if rules.decision[a, DEFINES] or not _room(rules, state):
        return False
    if state.hold[v, VALID] < 0 and not _store(rules, state, v, t):
        return False
    floor = state.hold[v, VALID]
    if state.hold[v, STAY] >= 0:
        floor = max(floor, state.stay[state.hold[v, STAY], S_END])
    if floor > t:
        return False
    charge = rules.storage[v, MOVED_BYTES] + rules.limits[LOAD_BYTES]
    begin = max(_hiding(rules, state, t, charge), floor)
    near = max(_behind_direct(rules, state, begin, t), floor)
    before = state.length[0]
    if near == begin:
        return _load_from(rules, state, a, charge, begin, floor)
    least = ILLEGAL
    if _load_from(rules, state, a, charge, near, floor):
        least = state.scalar[0, CYCLES]
    _rewind(state, before)
    found = _load_from(rules, state, a, charge, begin, floor)
    if found and (least == ILLEGAL or state.scalar[0, CYCLES] <= least):
        return True
    _rewind(state, before)
    return least != ILLEGAL and _load_from(rules, state, a, charge, near, floor)


@numba.njit(cache=True)
def _behind_direct(rules: Rules, state: State, begin: int, t: int) -> int:
    """The first step of [begin, t) after the last whose direct accesses a LOAD would slow down."""
    for i in range(t - 1, begin - 1, -1):
        busy = state.time[i, CYCLES_OF] * rules.limits[BANDWIDTH]
        if 2 * state.time[i, DIRECT] > busy:
            return i + 1
    return begin


@numba.njit(cache=True)
def _load_from(rules: Rules, state: State, a: int, charge: int, begin: int, floor: int) -> bool:
    """Load from step ``begin`` on, or from the first later one from which the space is free."""
    t = rules.decision[a, STEP]
    before = state.length[0]
    if _load(rules, state, a, charge, begin, floor):
        return True
    _rewind(state, before)
    blocked, free = begin, t
    while free - blocked > 1:
        middle = (free + blocked) // 2
        if _load(rules, state, a, charge, middle, floor):
            free = middle
        else:
            blocked = middle
        _rewind(state, before)
    return begin < t and _load(rules, state, a, charge, free, floor)


@numba.njit(cache=True)
def _hiding(rules: Rules, state: State, t: int, charge: int) -> int:
    """The latest step from which spare hides ``charge`` bytes, or the earliest looked at."""
    earliest = max(0, t - rules.limits[LOOKBACK])
    need = charge
    for i in range(t - 1, earliest - 1, -1):
        need -= state.time[i, SPARE]
        if need <= 0:
            return i
    return earliest


@numba.njit(cache=True)
def _load(rules: Rules, state: State, a: int, charge: int, begin: int, floor: int) -> bool:
    """Load with the spare of steps from ``begin`` on; changes must be rewound if this fails."""
    v, t = rules.decision[a, STORAGE], rules.decision[a, STEP]
    first = _take_spare(rules, state, begin, t, charge)
    if first < 0:
        return False
    issue = _queue(state, t, charge)
    if issue < floor or not _move_loads(rules, state, t, charge, first):
        return False
    _share(rules, state, first, t, issue, charge)
    address = _place(rules, state, rules.storage[v, SIZE], issue, t + 1)
    size = rules.storage[v, SIZE]
    if address < 0 or not _begin(rules, state, v, address, size, issue, t, 1, floor):
        return False
    n = state.scalar[0, LOADS]
    state.load[n, 0] = state.hold[v, STAY]
    state.load[n, 1] = charge
    _set(state, T_SCALAR, 0, LOADS, n + 1)
    return True


@numba.njit(cache=True)
def _take_spare(rules: Rules, state: State, begin: int, t: int, charge: int) -> int:
    """Take ``charge`` bytes from the latest steps in [begin, t), stalling ``t`` for the rest.

    Returns the first step taken from, ``t`` if there is none, -1 if stalls are not allowed.
    """
    need = charge
    first = t
    for i in range(t - 1, begin - 1, -1):
        taken = min(need, state.time[i, SPARE])
        state.taken[i] = taken
        if taken:
            _set(state, T_TIME, i, SPARE, state.time[i, SPARE] - taken)
            _set(state, T_TIME, i, LOADED_BYTES, state.time[i, LOADED_BYTES] + taken)
            need -= taken
            first = i
        if need == 0:
            return first
    if rules.limits[HIDDEN_ONLY]:
        return -1
    _set(state, T_TIME, t, STALLED, state.time[t, STALLED] + need)
    return first


@numba.njit(cache=True)
def _share(rules: Rules, state: State, first: int, t: int, issue: int, charge: int) -> None:
    """Count the bytes queued in each step, after what a new LOAD took from [first, t).

    From its issue on the LOAD itself is in the queue with what it has left. Before, those in front
    of it, which it moved to earlier windows, have that much less left.
    """
    later = charge
    for i in range(first, t):
        change = later if i >= issue else later - charge
        later -= state.taken[i]
        if change:
            _set(state, T_TIME, i, QUEUED, state.time[i, QUEUED] + change)
            if state.time[i, DIRECT]:
                _recount(rules, state, i)


@numba.njit(cache=True)
def _queue(state: State, t: int, charge: int) -> int:
    """The last boundary before any of the last ``charge`` loaded bytes due at ``t`` moves."""
    need = charge - state.time[t, STALLED]
    i = t
    while need > 0 and i > 0:
        i -= 1
        need -= state.time[i, LOADED_BYTES]
        if need > 0:
            need -= state.time[i, STALLED]
    return i


@numba.njit(cache=True)
def _move_loads(rules: Rules, state: State, t: int, charge: int, first: int) -> bool:
    """Move earlier LOADs in front of a new one that took spare back to step ``first``."""
    behind = charge
    i = t
    left = state.time[t, STALLED]
    for n in range(state.scalar[0, LOADS] - 1, -1, -1):
        stay = state.load[n, 0]
        reserved = state.stay[stay, S_RESERVED]
        if reserved <= first:
            return True
        behind += state.load[n, 1]
        while left < behind and i > 0:
            i -= 1
            left += state.time[i, LOADED_BYTES] + state.time[i, STALLED]
        if i < reserved:
            if i < state.stay[stay, S_FLOOR]:
                return False
            v = state.stay[stay, S_STORAGE]
            low = state.stay[stay, S_ADDRESS]
            high = low + rules.storage[v, SIZE]
            if not _free(rules, state, low, high, i, reserved, -1):
                return False
            if not _append(state, low, high, i, reserved, v):
                return False
            _set(state, T_STAY, stay, S_RESERVED, i)
    return True


@numba.njit(cache=True)
def _store(rules: Rules, state: State, v: int, t: int) -> bool:
    """A STORE in the earliest window after the last write, complete at boundary ``t`` or before.

    If spare does not hide it while the stay lasts, the stay is lengthened. If that is not possible,
    the step after the stay's last use waits for the rest.
    """
    if state.hold[v, ADDRESS] < 0 or not _room(rules, state):
        return False
    begin = state.hold[v, WRITTEN] + 1
    until = min(state.hold[v, UNTIL], t)
    charge = rules.storage[v, MOVED_BYTES] + rules.limits[STORE_BYTES]
    before = state.length[0]
    done = _give(rules, state, begin, t, charge, False)
    if done < 0 or (done > until and not _extend(rules, state, v, until, done)):
        _rewind(state, before)
        if rules.limits[HIDDEN_ONLY]:
            return False
        _give(rules, state, begin, until, charge, True)
        done = until
    stay = state.hold[v, STAY]
    _set(state, T_STAY, stay, S_ISSUE, begin)
    _set(state, T_STAY, stay, S_DEADLINE, done)
    _set(state, T_HOLD, v, VALID, done)
    return True


@numba.njit(cache=True)
def _give(rules: Rules, state: State, begin: int, end: int, charge: int, stall: bool) -> int:
    """Give a STORE the spare of [begin, end) from the earliest on; the boundary it ends at, or -1.

    With ``stall``, step ``end`` waits for what is left.
    """
    need = charge
    for i in range(begin, end):
        taken = min(need, state.time[i, SPARE])
        _set(state, T_TIME, i, QUEUED, state.time[i, QUEUED] + need)
        if state.time[i, DIRECT]:
            _recount(rules, state, i)
        if taken:
            _set(state, T_TIME, i, SPARE, state.time[i, SPARE] - taken)
            need -= taken
        if need == 0:
            return i + 1
    if not stall:
        return -1
    _set(state, T_TIME, end, WAITED, state.time[end, WAITED] + need)
    _recount(rules, state, end)
    return end


@numba.njit(cache=True)
def _extend(rules: Rules, state: State, v: int, begin: int, end: int) -> bool:
    """Lengthen the stay of ``v``, which ends at ``begin``, to ``end`` if the space is free."""
    low = state.hold[v, ADDRESS]
    high = low + rules.storage[v, SIZE]
    if not _free(rules, state, low, high, begin, end, -1):
        return False
    if not _append(state, low, high, begin, end, v):
        return False
    _set(state, T_HOLD, v, UNTIL, end)
    _set(state, T_STAY, state.hold[v, STAY], S_END, end)
    return True


@numba.njit(cache=True)
def _begin(
    rules: Rules,
    state: State,
    v: int,
    address: int,
    size: int,
    reserved: int,
    t: int,
    loaded: int,
    floor: int,
) -> bool:
    """A new stay of ``v`` from ``reserved`` to the end of step ``t`` that takes ``size`` bytes."""
    if not _append(state, address, address + size, reserved, t + 1, v):
        return False
    n = state.scalar[0, STAYS]
    row = state.stay[n]
    row[S_STORAGE] = v
    row[S_ADDRESS] = address
    row[S_RESERVED] = reserved
    row[S_START] = t
    row[S_END] = t + 1
    row[S_LOADED] = loaded
    row[S_ISSUE] = -1
    row[S_DEADLINE] = -1
    row[S_FLOOR] = floor
    _set(state, T_SCALAR, 0, STAYS, n + 1)
    _set(state, T_HOLD, v, ADDRESS, address)
    _set(state, T_HOLD, v, UNTIL, t + 1)
    _set(state, T_HOLD, v, STAY, n)
    return True


@numba.njit(cache=True)
def _room(rules: Rules, state: State) -> bool:
    """Whether the log can take a transfer that touches every step, and simple decisions after."""
    left = rules.decision.shape[0] - state.scalar[0, CURSOR]
    needed = (
        state.length[0]
        + 5 * min(rules.step.shape[0], rules.limits[LOOKBACK])
        + 2 * rules.step.shape[0]
        + LOG_PER_DECISION * left
    )
    return bool(needed <= state.log.shape[0])


@numba.njit(cache=True)
def _append(state: State, low: int, high: int, begin: int, end: int, owner: int) -> bool:
    n = state.scalar[0, SEGMENTS]
    if n == state.segment.shape[0]:
        return False
    row = state.segment[n]
    row[LOW] = low
    row[HIGH] = high
    row[BEGIN] = begin
    row[END] = end
    row[OWNER] = owner
    _set(state, T_SCALAR, 0, SEGMENTS, n + 1)
    return True


@numba.njit(cache=True)
def _free(
    rules: Rules, state: State, low: int, high: int, begin: int, end: int, ignored: int
) -> bool:
    """Whether nobody but ``ignored`` takes a byte of [low, high) during [begin, end)."""
    if rules.limits[POOLED]:
        return _spacious(rules, state, high - low, begin, end, ignored)
    for n in range(state.scalar[0, SEGMENTS] - 1, state.time[begin, SEGMENTS_BEFORE] - 1, -1):
        row = state.segment[n]
        meets = row[LOW] < high and row[HIGH] > low and row[END] > begin and row[BEGIN] < end
        if meets and row[OWNER] != ignored:
            return False
    return True


@numba.njit(cache=True)
def _spacious(rules: Rules, state: State, size: int, begin: int, end: int, ignored: int) -> bool:
    """Whether ``size`` bytes are free at every time in [begin, end), what ``ignored`` takes too."""
    first = state.time[begin, SEGMENTS_BEFORE]
    for t in range(begin, end):
        left = rules.limits[CAPACITY] - size
        for n in range(first, state.scalar[0, SEGMENTS]):
            row = state.segment[n]
            if row[BEGIN] <= t and row[END] > t and row[OWNER] != ignored:
                left -= row[HIGH] - row[LOW]
        if left < 0:
            return False
    return True


@numba.njit(cache=True)
def _place(rules: Rules, state: State, size: int, begin: int, end: int) -> int:
    """Address free during [begin, end): the hint, else what costs the least, the lowest; or -1.

    What lies on chip and is used again could stay there until then if nobody takes its place. Doing
    so costs its bytes over the steps until that use, as in furthest-next-use replacement.
    """
    if rules.limits[POOLED]:
        return 0 if _spacious(rules, state, size, begin, end, -1) else -1
    hint = state.hint[state.scalar[0, CURSOR]]
    if hint >= 0 and _free(rules, state, hint, hint + size, begin, end, -1):
        return int(hint)
    low, high = state.low, state.high
    count = 0
    for n in range(state.time[begin, SEGMENTS_BEFORE], state.scalar[0, SEGMENTS]):
        row = state.segment[n]
        if row[END] > begin and row[BEGIN] < end:
            low[count] = row[LOW]
            high[count] = row[HIGH]
            count += 1
    total = _waiting(rules, state, count)
    capacity = rules.limits[CAPACITY]
    best = -1
    least = np.inf
    for n in range(-1, 2 * total):
        address = 0
        if n >= 0:
            address = high[n] if n < total else low[n - total] - size
        if address < 0 or address + size > capacity:
            continue
        cost = _overlap(state, address, address + size, count, total, least)
        if cost < least or (cost == least and address < best):
            best = address
            least = cost
    return best if least < np.inf else -1


@numba.njit(cache=True)
def _waiting(rules: Rules, state: State, count: int) -> int:
    """List the storages on chip that are used again behind the first ``count`` intervals."""
    now = rules.decision[state.scalar[0, CURSOR], STEP]
    newest = state.scalar[0, STAYS]
    total = count
    for n in range(newest - 1, max(-1, newest - 1 - WAITING_STAYS), -1):
        v = state.stay[n, S_STORAGE]
        if state.hold[v, STAY] != n or state.hold[v, ADDRESS] < 0:
            continue
        after = rules.decision[state.hold[v, SEEN], NEXT]
        if after < 0:
            continue
        state.low[total] = state.hold[v, ADDRESS]
        state.high[total] = state.hold[v, ADDRESS] + rules.storage[v, SIZE]
        distance = max(1, rules.decision[after, STEP] - now)
        state.cost[total] = rules.storage[v, SIZE] / distance
        total += 1
    return total


@numba.njit(cache=True)
def _overlap(state: State, low: int, high: int, count: int, total: int, least: float) -> float:
    """Cost of taking [low, high): infinite where one of the first ``count`` intervals lies.

    Costs above ``least`` are not counted to the end.
    """
    for n in range(count):
        if state.low[n] < high and state.high[n] > low:
            return np.inf
    cost = 0.0
    for n in range(count, total):
        if state.low[n] < high and state.high[n] > low:
            cost += state.cost[n]
            if cost > least:
                return cost
    return cost
