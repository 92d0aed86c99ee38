"""Numba kernels of the exact allocator: depth-first search over canonical packings.

Sets: buffers ``b = 0..n-1``; sections ``s = 0..m-1``, the maximal sets of buffers live together,
in time order. Buffer ``b`` lives in sections ``[first[b], last[b])``.

State: ``start[b]`` is a lower bound of the offset of unplaced buffer ``b``; ``floor[s]`` is the
least bound in section ``s`` and ``count[s]`` how many buffers have it; ``solid[s]`` is the top of
what is placed there; ``load[s]`` is the total size of its unplaced buffers.

Search space: a packing is *canonical* when no buffer can be moved down, not even past others.
Every feasible instance has a canonical packing: one of least ``sum(size * offset)``. Packings are
built bottom-up. A node takes an unplaced buffer ``b`` that starts no higher than any other one live
together with it; either ``b`` lies at ``start[b]`` or it does not, and then its bound rises. Which
such buffer is free to choose: the lowest of all, or one in the section where most is left to place;
equals go by ``rank``.

Inference, each rule justified by canonicity or by counting:

1. *Load*: ``floor[s] + load[s] <= ceiling``.
2. *Support*: a buffer rests on the top of another one or on the ground. One that does not lie at
   its bound will rest on a buffer not placed yet: its bound rises to the least such top.
3. *Dominance*: no unplaced buffer fits into the gaps left for good below the floors.
4. *Twins*: interchangeable buffers are placed in index order, and so are buffers of equal lifetime
   stacked upon each other.
5. *Forcing*: a section without slack must be continued by its only candidate.
6. *Backjumping*: every bound carries the decisions it follows from (``why``). A failure returns to
   the latest decision among its reasons, skipping those of other times and other buffers.

Sources: canonical solutions, section inference and dominance follow M. Moffitt, "MiniMalloc: A
Lightweight Memory Allocator for Hardware-Accelerated Machine Learning", ASPLOS 2023, section 5;
rule 6 is conflict-directed backjumping, P. Prosser, "Hybrid Algorithms for the Constraint
Satisfaction Problem", Computational Intelligence 9(3), 1993.

The kernels never allocate, so they are compiled without reference counting of their arrays
(``_nrt=False``): counting a few dozen arrays at each call took nine tenths of the time.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Words = NDArray[np.uint64]

RUNNING, SOLVED, INFEASIBLE, OVERFLOW = 0, 1, 2, 3

# Indices into State.cell, the scalars a search keeps between calls.
DEPTH, TRAIL, REASONS, PLACED, FOCUS, NODES, FAILED_AT, GROUP, BRANCHING = range(9)
CELLS = 9

# Values of State.cell[BRANCHING]: where to place the next buffer.
LOWEST, FULLEST = 0, 1

FAR = 1 << 60


class Instance(NamedTuple):
    """One packing problem; buffers are sorted by first section.

    Attributes:
        first: first section of each buffer [n].
        last: one past its last section [n].
        size: units it takes [n].
        limit: greatest offset it may have [n].
        fixed: offset it must have, or -1 [n].
        twin: interchangeable buffer that has to lie below it, or -1 [n].
        begin: first buffer whose first section is s or later [m + 1].
        live_at: where the buffers of section s begin in ``live`` [m + 1].
        live: buffers of each section, ascending [live_at[m]].
        ceiling: greatest top allowed, rounded up to whole units [1].
    """

    first: Ints
    last: Ints
    size: Ints
    limit: Ints
    fixed: Ints
    twin: Ints
    begin: Ints
    live_at: Ints
    live: Ints
    ceiling: Ints


class State(NamedTuple):
    """Everything a paused search needs.

    Attributes:
        floor: least start bound of the unplaced buffers of a section, FAR without any [m].
        count: unplaced buffers that have it [m].
        solid: top of the highest placed buffer [m].
        top: that buffer, or -1 [m].
        load: total size of the unplaced buffers [m].
        cross: unplaced buffers that live in sections s and s + 1 [m].
        change: scratch for difference sums [m + 1].
        weight: failures seen per section, decayed by the caller [m].
        offset: offset of a placed buffer, -1 of others [n].
        start: lower bound of the offset of an unplaced buffer [n].
        why: decision levels the bound follows from, as bits [n, words].
        level: decision level of a placed buffer [n].
        rank: the less, the rather a buffer is chosen among equals [n].
        zone: sections of a lesser zone are filled first [m].
        level_trail: trail length before each decision [n + 1].
        level_buffer: buffer of each decision [n + 1].
        trail_key: what changed: start of a buffer, then floor of a section, then its solid, then
            placement of a buffer, in one numbering [room].
        trail_a: old value [room].
        trail_b: second old value [room].
        trail_why: old reasons of changed starts [reasons, words].
        clash: decision levels that made the last failure [words].
        cell: scalars, see the indices above [CELLS].
    """

    floor: Ints
    count: Ints
    solid: Ints
    top: Ints
    load: Ints
    cross: Ints
    change: Ints
    weight: Floats
    offset: Ints
    start: Ints
    why: Words
    level: Ints
    rank: Ints
    zone: Ints
    level_trail: Ints
    level_buffer: Ints
    trail_key: Ints
    trail_a: Ints
    trail_b: Ints
    trail_why: Words
    clash: Words
    cell: Ints


KERNEL = numba.njit(cache=True, _nrt=False)
INLINE = numba.njit(cache=True, _nrt=False, inline="always")


@INLINE
def _note_section(state: State, s: int) -> None:
    """Record floor and count of section ``s`` on the trail."""
    n = len(state.offset)
    t = state.cell[TRAIL]
    state.trail_key[t] = n + s
    state.trail_a[t] = state.floor[s]
    state.trail_b[t] = state.count[s]
    state.cell[TRAIL] = t + 1


@INLINE
def _note_start(state: State, b: int) -> None:
    """Record start bound and reasons of ``b`` on the trail."""
    t, r = state.cell[TRAIL], state.cell[REASONS]
    state.trail_key[t] = b
    state.trail_a[t] = state.start[b]
    for w in range(len(state.clash)):
        state.trail_why[r, w] = state.why[b, w]
    state.cell[TRAIL] = t + 1
    state.cell[REASONS] = r + 1


@KERNEL
def _undo(p: Instance, state: State, mark: int) -> None:
    """Take back what the trail recorded since it was ``mark`` long."""
    n, m = len(state.offset), len(state.floor)
    r = state.cell[REASONS]
    for t in range(state.cell[TRAIL] - 1, mark - 1, -1):
        key = state.trail_key[t]
        if key < n:
            r -= 1
            state.start[key] = state.trail_a[t]
            for w in range(len(state.clash)):
                state.why[key, w] = state.trail_why[r, w]
        elif key < n + m:
            state.floor[key - n] = state.trail_a[t]
            state.count[key - n] = state.trail_b[t]
        elif key < n + 2 * m:
            state.solid[key - n - m] = state.trail_a[t]
            state.top[key - n - m] = state.trail_b[t]
        else:
            b = key - n - 2 * m
            for s in range(p.first[b], p.last[b]):
                state.load[s] += p.size[b]
            for s in range(p.first[b], p.last[b] - 1):
                state.cross[s] += 1
            state.offset[b] = -1
            state.cell[PLACED] -= 1
    state.cell[REASONS] = r
    state.cell[TRAIL] = mark


@INLINE
def _forget(state: State) -> None:
    """Begin a new explanation."""
    for w in range(len(state.clash)):
        state.clash[w] = 0


@INLINE
def _blame_start(state: State, b: int) -> None:
    """Explain by the start bound of ``b``."""
    for w in range(len(state.clash)):
        state.clash[w] |= state.why[b, w]


@INLINE
def _bit(state: State, level: int) -> tuple[int, int]:
    """Word and bit of a decision level; with many levels, neighbours share a bit."""
    group = level // state.cell[GROUP]
    return group >> 6, np.uint64(1) << np.uint64(group & 63)


@INLINE
def _blame_level(state: State, level: int) -> None:
    """Explain by a decision."""
    word, bit = _bit(state, level)
    state.clash[word] |= bit


@KERNEL
def _blame_around(p: Instance, state: State, b: int) -> None:
    """Explain by where ``b`` and all buffers live together with it lie, or may lie at lowest."""
    low, high = p.first[b], p.last[b]
    for i in range(p.live_at[low], p.live_at[low + 1]):
        d = p.live[i]
        if state.offset[d] < 0:
            _blame_start(state, d)
        else:
            _blame_level(state, state.level[d])
    for d in range(p.begin[low + 1], p.begin[high]):
        if state.offset[d] < 0:
            _blame_start(state, d)
        else:
            _blame_level(state, state.level[d])


@KERNEL
def _blame_section(p: Instance, state: State, s: int) -> None:
    """Explain why section ``s`` overflows, by as few of its buffers as suffice."""
    _forget(state)
    spare = state.floor[s] + state.load[s] - p.ceiling[0] - 1
    for i in range(p.live_at[s], p.live_at[s + 1]):
        d = p.live[i]
        if state.offset[d] < 0:
            if p.size[d] <= spare:
                spare -= p.size[d]
            else:
                _blame_start(state, d)


@KERNEL
def _wasted(p: Instance, state: State, s: int) -> bool:
    """Rule 3 for the buffers of section ``s``, explained when it is broken."""
    gap = state.floor[s] - state.solid[s]
    for i in range(p.live_at[s], p.live_at[s + 1]):
        b = p.live[i]
        if state.offset[b] < 0 and p.size[b] <= gap and p.fixed[b] < 0:
            solid = 0
            floor = FAR
            for other in range(p.first[b], p.last[b]):
                solid = max(solid, state.solid[other])
                floor = min(floor, state.floor[other])
            if solid + p.size[b] <= floor:
                _forget(state)
                _blame_around(p, state, b)
                state.cell[FAILED_AT] = s
                return True
    return False


@KERNEL
def _settle(p: Instance, state: State, s: int) -> bool:
    """New floor of a section whose last candidate is gone; False when it fails (rules 1, 3)."""
    if state.load[s] == 0:
        state.floor[s] = FAR
        return True
    least = FAR
    count = 0
    for i in range(p.live_at[s], p.live_at[s + 1]):
        b = p.live[i]
        if state.offset[b] < 0:
            start = state.start[b]
            if start < least:
                least = start
                count = 1
            elif start == least:
                count += 1
    state.floor[s] = least
    state.count[s] = count
    if least + state.load[s] > p.ceiling[0]:
        _blame_section(p, state, s)
        state.cell[FAILED_AT] = s
        return False
    return not (least > state.solid[s] and _wasted(p, state, s))


@INLINE
def _lose_candidate(state: State, low: int, high: int, old: int, height: int) -> None:
    """A buffer's bound leaves ``old`` in sections ``[low, high)``; at ``height`` by differences."""
    if low >= high:
        return
    if old == height:
        state.change[low] += 1
        state.change[high] -= 1
        return
    for s in range(low, high):
        if state.floor[s] == old:
            _note_section(state, s)
            state.count[s] -= 1


@INLINE
def _stack(p: Instance, state: State, b: int, d: int) -> bool:
    """Raise unplaced ``d`` onto ``b``, just placed; False when it cannot lie that high."""
    height = state.offset[b]
    top = height + p.size[b]
    old = state.start[d]
    if old > top:
        return True
    low, high = p.first[d], p.last[d]
    state.change[max(low, p.first[b])] += 1
    state.change[min(high, p.last[b])] -= 1
    if old == top:
        return True
    level = state.level[b]
    if top > p.limit[d] or (p.fixed[d] >= 0 and top > p.fixed[d]):
        _forget(state)
        _blame_start(state, d)
        _blame_level(state, level)
        state.cell[FAILED_AT] = low
        return False
    _note_start(state, d)
    state.start[d] = top
    word, bit = _bit(state, level)
    state.why[d, word] |= bit
    _lose_candidate(state, low, p.first[b], old, height)
    _lose_candidate(state, p.last[b], high, old, height)
    return True


@KERNEL
def _occupy(p: Instance, state: State, b: int) -> None:
    """Put ``b`` at its start bound, leaving the bounds of others as they are."""
    n, m = len(p.first), len(state.floor)
    t = state.cell[TRAIL]
    state.trail_key[t] = n + 2 * m + b
    t += 1
    top = state.start[b] + p.size[b]
    for s in range(p.first[b], p.last[b]):
        state.trail_key[t] = n + m + s
        state.trail_a[t] = state.solid[s]
        state.trail_b[t] = state.top[s]
        t += 1
        state.trail_key[t] = n + s
        state.trail_a[t] = state.floor[s]
        state.trail_b[t] = state.count[s]
        t += 1
        state.solid[s] = top
        state.top[s] = b
        state.load[s] -= p.size[b]
    for s in range(p.first[b], p.last[b] - 1):
        state.cross[s] -= 1
    state.cell[TRAIL] = t
    state.offset[b] = state.start[b]
    state.level[b] = state.cell[DEPTH] - 1
    state.cell[PLACED] += 1
    state.cell[FOCUS] = p.first[b]


@KERNEL
def _place(p: Instance, state: State, b: int, begin: int, end: int) -> bool:
    """Put ``b`` at its start bound and propagate within sections ``[begin, end)``.

    Returns:
        False when that fails; the trail then holds the part that was done.
    """
    low, high = p.first[b], p.last[b]
    _occupy(p, state, b)
    for s in range(begin, end + 1):
        state.change[s] = 0
    for i in range(p.live_at[low], p.live_at[low + 1]):
        d = p.live[i]
        if state.offset[d] < 0 and not _stack(p, state, b, d):
            return False
    for d in range(p.begin[low + 1], p.begin[high]):
        if state.offset[d] < 0 and not _stack(p, state, b, d):
            return False
    return _refloor(p, state, b, begin, end)


@KERNEL
def _refloor(p: Instance, state: State, b: int, begin: int, end: int) -> bool:
    """Floors after ``b`` was placed: ``change`` sums to the candidates gained in its sections."""
    low, high = p.first[b], p.last[b]
    height = state.offset[b]
    total = 0
    for s in range(begin, end):
        total += state.change[s]
        if low <= s < high:
            state.floor[s] = height + p.size[b]
            state.count[s] = total
        elif total > 0 and state.floor[s] == height:
            _note_section(state, s)
            state.count[s] -= total
    for s in range(begin, end):
        if state.count[s] == 0 and state.floor[s] != FAR:
            if s < low or s >= high:
                _note_section(state, s)
            if not _settle(p, state, s):
                return False
    return True


@KERNEL
def _lift(p: Instance, state: State, b: int, to: int) -> bool:
    """Raise the start bound of ``b`` for the reasons in ``clash``; False when that fails."""
    old = state.start[b]
    if to > p.limit[b] or p.fixed[b] >= 0:
        _blame_start(state, b)
        state.cell[FAILED_AT] = p.first[b]
        return False
    _note_start(state, b)
    state.start[b] = to
    for w in range(len(state.clash)):
        state.why[b, w] |= state.clash[w]
    for s in range(p.first[b], p.last[b]):
        if state.floor[s] == old:
            _note_section(state, s)
            state.count[s] -= 1
    for s in range(p.first[b], p.last[b]):
        if state.count[s] == 0 and state.floor[s] == old and not _settle(p, state, s):
            return False
    return True


@KERNEL
def _next_support(p: Instance, state: State, b: int) -> int:
    """Lowest top that any buffer not placed yet can offer to ``b`` (rule 2)."""
    low, high = p.first[b], p.last[b]
    found = FAR
    for i in range(p.live_at[low], p.live_at[low + 1]):
        d = p.live[i]
        if state.offset[d] < 0 and d != b:
            found = min(found, state.start[d] + p.size[d])
    for d in range(p.begin[low + 1], p.begin[high]):
        if state.offset[d] < 0:
            found = min(found, state.start[d] + p.size[d])
    return found


@KERNEL
def _reject(p: Instance, state: State, b: int) -> bool:
    """``b`` does not lie at its bound, for the reasons in ``clash``; False when that fails."""
    _blame_around(p, state, b)
    return _lift(p, state, b, _next_support(p, state, b))


@KERNEL
def _supported(p: Instance, state: State, b: int) -> bool:
    """Rules 2 and 4: ``b`` would rest on something, and not on an equal that should follow it."""
    if p.fixed[b] >= 0 or state.start[b] == 0:
        return True
    for s in range(p.first[b], p.last[b]):
        if state.solid[s] == state.start[b]:
            below = state.top[s]
            return not (
                below > b
                and p.first[below] == p.first[b]
                and p.last[below] == p.last[b]
                and p.fixed[below] < 0
                and p.limit[below] + p.size[below] == p.limit[b] + p.size[b]
            )
    return False


@KERNEL
def _component(state: State) -> tuple[int, int]:
    """Sections linked by unplaced buffers, around the last change or the next with work left."""
    m = len(state.floor)
    s = state.cell[FOCUS]
    while state.load[s] == 0:
        s = s + 1 if s + 1 < m else 0
    low = s
    while low > 0 and state.cross[low - 1] > 0:
        low -= 1
    high = s + 1
    while high < m and state.cross[high - 1] > 0:
        high += 1
    return low, high


@KERNEL
def _lowest_section(p: Instance, state: State, low: int, high: int) -> int:
    """Section in ``[low, high)`` where the preferred lowest buffer begins, or a forced one (5)."""
    lowest = FAR
    for s in range(low, high):
        lowest = min(lowest, state.floor[s])
    found = low
    least = FAR
    for s in range(low, high):
        if state.floor[s] != lowest:
            continue
        if state.count[s] == 1 and lowest + state.load[s] == p.ceiling[0]:
            return s
        for i in range(p.live_at[s], p.live_at[s + 1]):
            b = p.live[i]
            better = state.rank[b] < least and state.start[b] == lowest
            if better and state.offset[b] < 0:
                least = state.rank[b]
                found = s
    return found


@KERNEL
def _fullest_section(state: State, low: int, high: int) -> int:
    """Section in ``[low, high)``, of the least zone, with most left to place."""
    found = -1
    for s in range(low, high):
        if state.load[s] > 0 and (
            found < 0
            or state.zone[s] < state.zone[found]
            or (state.zone[s] == state.zone[found] and state.load[s] > state.load[found])
        ):
            found = s
    return found


@KERNEL
def _choose(p: Instance, state: State, low: int, high: int) -> int:
    """Buffer to decide on in sections ``[low, high)``.

    The preferred one among those on the floor of a section and of all others they live in. Where
    every buffer on the floor also lives in a lower section, that one comes first.
    """
    if state.cell[BRANCHING] == LOWEST:
        at = _lowest_section(p, state, low, high)
    else:
        at = _fullest_section(state, low, high)
    while True:
        floor = state.floor[at]
        found = -1
        lower = at
        for i in range(p.live_at[at], p.live_at[at + 1]):
            b = p.live[i]
            if state.offset[b] >= 0 or state.start[b] != floor:
                continue
            deepest = at
            for s in range(p.first[b], p.last[b]):
                if state.floor[s] < state.floor[deepest]:
                    deepest = s
            if deepest != at:
                if state.floor[deepest] < state.floor[lower]:
                    lower = deepest
            elif found < 0 or state.rank[b] < state.rank[found]:
                found = b
        if found >= 0:
            return found
        at = lower


@KERNEL
def _lowest_twin(p: Instance, state: State, b: int) -> int:
    """``b``, or an unplaced twin below it that starts no higher (rule 4)."""
    twin = p.twin[b]
    while twin >= 0 and state.offset[twin] < 0 and state.start[twin] <= state.start[b]:
        b = twin
        twin = p.twin[b]
    return b


@KERNEL
def _latest(state: State) -> int:
    """Latest decision level in ``clash``, -1 without any."""
    word = len(state.clash) - 1
    while word >= 0 and state.clash[word] == 0:
        word -= 1
    if word < 0:
        return -1
    bit = 63
    while (state.clash[word] >> np.uint64(bit)) & np.uint64(1) == 0:
        bit -= 1
    return min((word * 64 + bit + 1) * state.cell[GROUP], state.cell[DEPTH]) - 1


@KERNEL
def _backjump(p: Instance, state: State) -> bool:
    """Turn the latest decision that the failure follows from (rule 6); False without any."""
    while True:
        state.weight[state.cell[FAILED_AT]] += 1.0
        level = _latest(state)
        if level < 0:
            return False
        state.cell[DEPTH] = level
        _undo(p, state, state.level_trail[level])
        if level % state.cell[GROUP] == 0:
            word, bit = _bit(state, level)
            state.clash[word] &= ~bit
        b = state.level_buffer[level]
        state.cell[FOCUS] = p.first[b]
        if _reject(p, state, b):
            return True


@KERNEL
def _step(p: Instance, state: State) -> bool:
    """Decide on one buffer; False with ``clash`` set when that fails."""
    low, high = _component(state)
    b = _lowest_twin(p, state, _choose(p, state, low, high))
    twin = p.twin[b]
    if twin >= 0 and state.offset[twin] < 0:
        _forget(state)
        _blame_start(state, twin)
        return _lift(p, state, b, state.start[twin] + p.size[twin])
    if not _supported(p, state, b):
        _forget(state)
        return _reject(p, state, b)
    depth = state.cell[DEPTH]
    state.level_trail[depth] = state.cell[TRAIL]
    state.level_buffer[depth] = b
    state.cell[DEPTH] = depth + 1
    return _place(p, state, b, low, high)


@KERNEL
def search(p: Instance, state: State, budget: int) -> int:
    """Continue the search for at most ``budget`` nodes.

    Returns:
        SOLVED with ``state.offset`` filled, INFEASIBLE (proved), RUNNING when the budget is used
        up, or OVERFLOW when the trail is too short to go on.
    """
    n, m = len(p.first), len(state.floor)
    room = len(state.trail_key) - 3 * n - 8 * m - len(p.live)
    reasons = len(state.trail_why) - 3 * n
    for _ in range(budget):
        if state.cell[PLACED] == n:
            return SOLVED
        if state.cell[TRAIL] > room or state.cell[REASONS] > reasons:
            return OVERFLOW
        state.cell[NODES] += 1
        if not _step(p, state) and not _backjump(p, state):
            return INFEASIBLE
    return RUNNING


@KERNEL
def restart(p: Instance, state: State) -> None:
    """Back to the root; weights and the node count stay."""
    _undo(p, state, 0)
    state.cell[DEPTH] = 0
