"""Numba kernels of the exact allocator: resumable depth-first search over canonical packings.

Sets: buffers ``b = 0..n-1``; sections ``s = 0..m-1``, the maximal sets of buffers live together,
in time order. Buffer ``b`` lives in sections ``[first[b], last[b])``.

State: ``floor[s]`` is a height below which nothing more is placed in section ``s``; ``solid[s]``
is the top of what is really placed there; ``load[s]`` is the total size of its unplaced buffers.

Search space: a packing is *canonical* when no buffer can be moved down, not even past others;
each feasible instance has a canonical packing (the one of least total offset). At each node one
section ``s`` is chosen such that no unplaced buffer of it reaches over a lower floor. Just above
``floor[s]`` lies either exactly one of the candidate buffers, or nothing; these branches exclude
each other, so no packing is visited twice.

Pruning, each rule justified by canonicity or by counting bytes:

1. *Load*: ``floor[s] + load[s] <= ceiling``.
2. *Floor inference*: ``floor[s]`` rises to the least start bound of the buffers unplaced in ``s``.
3. *Gap*: when nothing lies just above ``floor[s]``, every candidate will rest on a buffer not yet
   placed, so ``floor[s]`` rises to the least such support's top.
4. *Support*: a buffer is placed only on the top of another one or on the ground.
5. *Dominance*: no unplaced buffer would fit into the gaps left below the floors.
6. *Twins*: interchangeable buffers are placed in index order; so are buffers of equal lifetime
   stacked upon each other.
7. *Independence*: unplaced buffers that no chain of common sections connects are separate
   problems; a failure jumps back over the decisions of other ones.

Source: canonical solutions, section inference and dominance follow M. Moffitt, "MiniMalloc: A
Lightweight Memory Allocator for Hardware-Accelerated Machine Learning", ASPLOS 2023.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SOLVED, INFEASIBLE, RUNNING, OVERFLOW = 1, 2, 0, 3

# Indices into State.cell, the scalars a search keeps between calls.
DEPTH, TRAIL, POOL, PLACED, FOCUS, NODES, FAILED, PENDING = 0, 1, 2, 3, 4, 5, 6, 7
CELLS = 8

FAR = np.int64(1) << np.int64(60)


class Instance(NamedTuple):
    """One packing problem; buffers are sorted by first section.

    Attributes:
        first: first section of each buffer [n].
        last: one past its last section [n].
        size: units it takes, a multiple of the grain every offset keeps [n].
        limit: greatest offset it may have [n].
        fixed: offset it must have, or -1 [n].
        twin: another buffer that has to be placed earlier, or -1 [n].
        begin: first buffer whose first section is s [m + 1].
        ceiling: one-element array: greatest floor allowed [1].
    """

    first: Ints
    last: Ints
    size: Ints
    limit: Ints
    fixed: Ints
    twin: Ints
    begin: Ints
    ceiling: Ints


class State(NamedTuple):
    """Everything a paused search needs; see the module docstring."""

    floor: Ints
    solid: Ints
    load: Ints
    cross: Ints
    top: Ints
    offset: Ints
    start: Ints
    rank: Ints
    weight: Floats
    least: Ints
    second: Ints
    count: Ints
    reach: Ints
    level_trail: Ints
    level_pool: Ints
    level_next: Ints
    level_section: Ints
    level_low: Ints
    level_high: Ints
    pool: Ints
    trail_key: Ints
    trail_floor: Ints
    trail_solid: Ints
    trail_top: Ints
    cell: Ints


@numba.njit(cache=True)
def _raise(state: State, s: int, floor: int, solid: int, top: int) -> None:
    """Record section ``s`` on the trail, then give it a new floor, solid height and top buffer."""
    t = state.cell[TRAIL]
    state.trail_key[t] = s
    state.trail_floor[t] = state.floor[s]
    state.trail_solid[t] = state.solid[s]
    state.trail_top[t] = state.top[s]
    state.cell[TRAIL] = t + 1
    state.floor[s] = floor
    state.solid[s] = solid
    state.top[s] = top


@numba.njit(cache=True)
def _place(p: Instance, state: State, b: int) -> None:
    """Put ``b`` on its floor."""
    offset = state.start[b]
    top = offset + p.size[b]
    for s in range(p.first[b], p.last[b]):
        _raise(state, s, top, top, b)
        state.load[s] -= p.size[b]
        if s + 1 < p.last[b]:
            state.cross[s] -= 1
    state.offset[b] = offset
    t = state.cell[TRAIL]
    state.trail_key[t] = -1 - b
    state.cell[TRAIL] = t + 1
    state.cell[PLACED] += 1
    state.cell[FOCUS] = p.first[b]


@numba.njit(cache=True)
def _undo(p: Instance, state: State, mark: int) -> None:
    """Take back everything recorded on the trail since ``mark``."""
    t = state.cell[TRAIL]
    while t > mark:
        t -= 1
        key = state.trail_key[t]
        if key >= 0:
            state.floor[key] = state.trail_floor[t]
            state.solid[key] = state.trail_solid[t]
            state.top[key] = state.trail_top[t]
        else:
            b = -1 - key
            for s in range(p.first[b], p.last[b]):
                state.load[s] += p.size[b]
                if s + 1 < p.last[b]:
                    state.cross[s] += 1
            state.offset[b] = -1
            state.cell[PLACED] -= 1
    state.cell[TRAIL] = t


@numba.njit(cache=True)
def _component(state: State, m: int) -> tuple[int, int]:
    """Section interval of the sub-problem in focus, or of the next one that has work left."""
    s = state.cell[FOCUS]
    step = 0
    while state.load[s] == 0:
        s = s + 1 if s + 1 < m else 0
        step += 1
    low = s
    while low > 0 and state.cross[low - 1] > 0:
        low -= 1
    high = s + 1
    while high < m and state.cross[high - 1] > 0:
        high += 1
    return low, high


@numba.njit(cache=True)
def _bound_starts(p: Instance, state: State, low: int, high: int) -> int:
    """Start bounds of unplaced buffers, then floors (rule 2); a section that fails, or -1."""
    for s in range(low, high):
        state.least[s] = FAR
        state.second[s] = FAR
        state.count[s] = 0
        state.reach[s] = FAR
    for b in range(p.begin[low], p.begin[high]):
        if state.offset[b] >= 0:
            continue
        start = state.floor[p.first[b]]
        at = p.first[b]
        for s in range(p.first[b] + 1, p.last[b]):
            if state.floor[s] > start:
                start = state.floor[s]
                at = s
        if p.fixed[b] >= 0:
            if start > p.fixed[b]:
                return at
            start = p.fixed[b]
        if start > p.limit[b]:
            return at
        state.start[b] = start
        for s in range(p.first[b], p.last[b]):
            state.least[s] = min(state.least[s], start)
    for s in range(low, high):
        if state.load[s] > 0:
            if state.least[s] > state.floor[s]:
                _raise(state, s, state.least[s], state.solid[s], state.top[s])
            if state.floor[s] + state.load[s] > p.ceiling[0]:
                return s
    return -1


@numba.njit(cache=True)
def _survey(p: Instance, state: State, low: int, high: int) -> int:
    """Count candidates per section and find the least tops; a dominated section (rule 5), or -1.

    After it ``least`` and ``second`` hold the two least tops of unplaced buffers per section and
    ``reach`` the least floor any unplaced buffer of the section reaches over.
    """
    for s in range(low, high):
        state.least[s] = FAR
    for b in range(p.begin[low], p.begin[high]):
        if state.offset[b] >= 0:
            continue
        start = state.start[b]
        top = start + p.size[b]
        lowest = FAR
        solid = 0
        for s in range(p.first[b], p.last[b]):
            lowest = min(lowest, state.floor[s])
            solid = max(solid, state.solid[s])
        if p.fixed[b] < 0 and solid + p.size[b] <= lowest:
            return p.first[b]
        for s in range(p.first[b], p.last[b]):
            state.reach[s] = min(state.reach[s], lowest)
            if start == state.floor[s]:
                state.count[s] += 1
            if top < state.least[s]:
                state.second[s] = state.least[s]
                state.least[s] = top
            elif top < state.second[s]:
                state.second[s] = top
    return -1


@numba.njit(cache=True)
def _choose(p: Instance, state: State, low: int, high: int) -> int:
    """Section to branch on: fewest candidates for its conflict weight, then lowest floor."""
    best = -1
    best_score = 0.0
    for s in range(low, high):
        if state.load[s] == 0 or state.reach[s] < state.floor[s]:
            continue
        slack = p.ceiling[0] - state.floor[s] - state.load[s]
        options = state.count[s] + (1 if slack > 0 else 0)
        score = options / state.weight[s]
        if (
            best < 0
            or score < best_score
            or (score == best_score and state.floor[s] < state.floor[best])
        ):
            best = s
            best_score = score
    return best


@numba.njit(cache=True)
def _supported(p: Instance, state: State, b: int) -> bool:
    """Rules 4 and 6: ``b`` would rest on something, and not on an equal that should follow it."""
    if p.fixed[b] >= 0:
        return True
    if p.twin[b] >= 0 and state.offset[p.twin[b]] < 0:
        return False
    start = state.start[b]
    if start == 0:
        return True
    for s in range(p.first[b], p.last[b]):
        if state.solid[s] == start:
            below = state.top[s]
            return not (
                below > b
                and p.first[below] == p.first[b]
                and p.last[below] == p.last[b]
                and p.fixed[below] < 0
                and p.limit[below] + p.size[below] == p.limit[b] + p.size[b]
            )
    return False


@numba.njit(cache=True)
def _gap_floor(p: Instance, state: State, s: int, low: int) -> int:
    """Rule 3: the new floor of ``s`` if none of its candidates lies there."""
    found = FAR
    for b in range(p.begin[low], p.begin[s + 1]):
        if state.offset[b] >= 0 or p.last[b] <= s:
            continue
        start = state.start[b]
        if start == state.floor[s]:
            if p.fixed[b] >= 0:
                return FAR
            own = start + p.size[b]
            start = FAR
            for other in range(p.first[b], p.last[b]):
                top = state.least[other]
                if top == own:
                    top = state.second[other]
                start = min(start, top)
        found = min(found, start)
    return found


@numba.njit(cache=True)
def _branch(p: Instance, state: State, s: int, low: int, high: int) -> None:
    """Push a level with the options of section ``s``: candidates by rank, then the gap."""
    depth = state.cell[DEPTH]
    base = state.cell[POOL]
    end = base
    for b in range(p.begin[low], p.begin[s + 1]):
        if state.offset[b] >= 0 or p.last[b] <= s or state.start[b] != state.floor[s]:
            continue
        if not _supported(p, state, b):
            continue
        at = end
        while at > base and state.rank[state.pool[at - 1]] > state.rank[b]:
            state.pool[at] = state.pool[at - 1]
            at -= 1
        state.pool[at] = b
        end += 1
    gap = _gap_floor(p, state, s, low)
    if gap + state.load[s] <= p.ceiling[0]:
        state.pool[end] = -gap
        end += 1
    state.level_trail[depth] = state.cell[TRAIL]
    state.level_pool[depth] = base
    state.level_next[depth] = base
    state.level_section[depth] = s
    state.level_low[depth] = low
    state.level_high[depth] = high
    state.cell[POOL] = end
    state.cell[DEPTH] = depth + 1


@numba.njit(cache=True)
def _advance(p: Instance, state: State) -> bool:
    """Take the next option of the deepest level, dropping the level with its last one.

    False when the deepest level has no option left; the level is dropped then.
    """
    depth = state.cell[DEPTH] - 1
    at = state.level_next[depth]
    end = state.cell[POOL]
    if at >= end:
        state.cell[DEPTH] = depth
        state.cell[POOL] = state.level_pool[depth]
        return False
    option = state.pool[at]
    state.level_next[depth] = at + 1
    s = state.level_section[depth]
    if at + 1 == end:
        state.cell[DEPTH] = depth
        state.cell[POOL] = state.level_pool[depth]
    if option >= 0:
        state.start[option] = state.floor[s] if p.fixed[option] < 0 else p.fixed[option]
        _place(p, state, option)
    else:
        _raise(state, s, -option, state.solid[s], state.top[s])
        state.cell[FOCUS] = s
    return True


@numba.njit(cache=True)
def _backtrack(p: Instance, state: State, low: int, high: int) -> bool:
    """Return to the last level that shares sections with ``[low, high)``; False when none is."""
    while state.cell[DEPTH] > 0:
        depth = state.cell[DEPTH] - 1
        if state.level_low[depth] < high and low < state.level_high[depth]:
            _undo(p, state, state.level_trail[depth])
            return True
        state.cell[DEPTH] = depth
        state.cell[POOL] = state.level_pool[depth]
    return False


@numba.njit(cache=True)
def _expand(p: Instance, state: State) -> int:
    """Propagate at the current node and branch; RUNNING, SOLVED or INFEASIBLE."""
    m = len(state.floor)
    n = len(p.first)
    while True:
        if state.cell[PLACED] == n:
            return SOLVED
        low, high = _component(state, m)
        bad = _bound_starts(p, state, low, high)
        if bad < 0:
            bad = _survey(p, state, low, high)
        if bad < 0:
            s = _choose(p, state, low, high)
            _branch(p, state, s, low, high)
            if _advance(p, state):
                return RUNNING
            bad = s
        state.weight[bad] += 1.0
        state.cell[FAILED] += 1
        while True:
            if not _backtrack(p, state, low, high):
                return INFEASIBLE
            depth = state.cell[DEPTH] - 1
            low, high = state.level_low[depth], state.level_high[depth]
            if _advance(p, state):
                return RUNNING


@numba.njit(cache=True)
def search(p: Instance, state: State, budget: int) -> int:
    """Continue the search for at most ``budget`` nodes.

    Returns:
        SOLVED with ``state.offset`` filled, INFEASIBLE (proved), RUNNING when the budget is used
        up, or OVERFLOW when the work arrays are too small to go on.
    """
    room = len(state.trail_key) - 2 * len(state.floor) - 4
    space = len(state.pool) - len(p.first) - 2
    for _ in range(budget):
        if state.cell[TRAIL] > room or state.cell[POOL] > space:
            return OVERFLOW
        status = _expand(p, state)
        state.cell[NODES] += 1
        if status != RUNNING:
            return status
    return RUNNING
