"""Numba kernels of the second exact search: packings built in order of rising offsets.

Sets and names are those of ``allocate_kernels``: buffers ``b``, sections ``s``, ``start[b]`` the
lowest offset left to an unplaced buffer, ``floor[s]`` the least of them in section ``s``,
``load[s]`` the units still to place there.

Search space: every feasible instance has a packing in which no buffer can be moved down. Placing
its buffers by rising offset, equals by rank, each one lies at its ``start`` when its turn comes. A
node belongs to a component, a range of sections that no unplaced buffer links to others; its
children are the buffers of the component that may come next.

Inference:

1. *Load*: ``floor[s] + load[s] <= ceiling``; what is left lies no lower than the buffer placed now.
2. *Dominance*: a buffer that starts no lower than some unplaced one could end leaves it a gap.
3. *Hatless*: a placement that raises no other buffer is never the reason of a failure, so the
   failure is one of the whole node.
4. *Twins*: interchangeable buffers are placed in index order.
5. *Support*: a buffer tried in vain will lie on one placed later; its start rises to the least
   top of those, and it waits until it lies on something.
6. *Decomposition*: components are solved one after the other; one that fails refutes the placement
   that made it, whatever was found for its siblings.

Source: M. Moffitt, "MiniMalloc: A Lightweight Memory Allocator for Hardware-Accelerated Machine
Learning", ASPLOS 2023, section 5.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from stowplan.ilp.allocate_kernels import Floats, Instance, Ints

RUNNING, SOLVED, INFEASIBLE, OVERFLOW = 0, 1, 2, 3

# Indices into Ascent.cell.
DEPTH, TRAIL, PARTS, NEXT_PART, NODES = range(5)
CELLS = 5

FAR = 1 << 60

Flags = NDArray[np.bool_]


class Ascent(NamedTuple):
    """Everything a paused search needs. Parts are components to solve, solved or being solved.

    Attributes:
        floor: least start of the unplaced buffers of a section, FAR without any [m].
        load: total size of the unplaced buffers [m].
        cross: unplaced buffers that live in sections s and s + 1 [m].
        dirty: sections whose floor may have changed; scratch [m].
        offset: offset of a placed buffer, -1 of others [n].
        start: lowest offset left to an unplaced buffer [n].
        base: top of what is placed below it; where ``start`` is higher, it waits for support [n].
        rank: the less, the earlier a buffer is tried among equals [n].
        part_low: first section of each part [n + m + 2].
        part_high: one past its last section [n + m + 2].
        part_parent: node whose placement made it, or -1 [n + m + 2].
        part_next: part to solve after it, or -1 [n + m + 2].
        node_part: part each node belongs to [n + 2].
        node_parts: number of parts when the node began [n + 2].
        node_trail: trail length before its last placement [n + 2].
        node_buffer: buffer it has placed, or -1 [n + 2].
        node_start: start of the last buffer tried; the next one starts no lower [n + 2].
        node_rank: rank of that buffer [n + 2].
        node_tried: the last buffer it tried [n + 2].
        node_hatless: its placement raised no other buffer [n + 2].
        weight: failures seen per section, decayed by the caller [m].
        trail_key: what changed: start of a buffer, then floor of a section, then base of a
            buffer, in one numbering [room].
        trail_old: old value [room].
        cell: scalars, see the indices above [CELLS].
    """

    floor: Ints
    load: Ints
    cross: Ints
    dirty: Flags
    offset: Ints
    start: Ints
    base: Ints
    rank: Ints
    part_low: Ints
    part_high: Ints
    part_parent: Ints
    part_next: Ints
    node_part: Ints
    node_parts: Ints
    node_trail: Ints
    node_buffer: Ints
    node_start: Ints
    node_rank: Ints
    node_tried: Ints
    node_hatless: Flags
    weight: Floats
    trail_key: Ints
    trail_old: Ints
    cell: Ints


KERNEL = numba.njit(cache=True, _nrt=False)
INLINE = numba.njit(cache=True, _nrt=False, inline="always")


@KERNEL
def _undo(state: Ascent, mark: int) -> None:
    """Take back what the trail recorded since it was ``mark`` long."""
    n, m = len(state.offset), len(state.floor)
    for t in range(state.cell[TRAIL] - 1, mark - 1, -1):
        key = state.trail_key[t]
        if key < n:
            state.start[key] = state.trail_old[t]
        elif key < n + m:
            state.floor[key - n] = state.trail_old[t]
        else:
            state.base[key - n - m] = state.trail_old[t]
    state.cell[TRAIL] = mark


@KERNEL
def _unplace(p: Instance, state: Ascent, node: int) -> None:
    """Take back the placement of a node."""
    _undo(state, state.node_trail[node])
    b = state.node_buffer[node]
    for s in range(p.first[b], p.last[b]):
        state.load[s] += p.size[b]
    for s in range(p.first[b], p.last[b] - 1):
        state.cross[s] += 1
    state.offset[b] = -1
    state.node_buffer[node] = -1


@INLINE
def _note(state: Ascent, key: int, old: int) -> None:
    """Record a change on the trail."""
    t = state.cell[TRAIL]
    state.trail_key[t] = key
    state.trail_old[t] = old
    state.cell[TRAIL] = t + 1


@KERNEL
def _lift(p: Instance, state: Ascent, b: int, to: int) -> None:
    """Raise the start of ``b`` and mark the sections whose floor it was."""
    old = state.start[b]
    _note(state, b, old)
    state.start[b] = to
    for s in range(p.first[b], p.last[b]):
        if state.floor[s] == old:
            state.dirty[s] = True


@INLINE
def _stack(p: Instance, state: Ascent, d: int, top: int) -> int:
    """Put ``d`` no lower than ``top``: 1 when that changes it, 0 when not, -1 when it is full."""
    if state.offset[d] >= 0 or state.base[d] >= top:
        return 0
    if top > p.limit[d]:
        return -1
    _note(state, len(state.offset) + len(state.floor) + d, state.base[d])
    state.base[d] = top
    if state.start[d] < top:
        _lift(p, state, d, top)
    return 1


@KERNEL
def _refloor(p: Instance, state: Ascent, low: int, high: int) -> bool:
    """New floors of the dirty sections; False when one overflows (rule 1)."""
    n = len(state.offset)
    good = True
    for s in range(low, high):
        if not state.dirty[s]:
            continue
        state.dirty[s] = False
        if not good:
            continue
        least = FAR
        for i in range(p.live_at[s], p.live_at[s + 1]):
            d = p.live[i]
            if state.offset[d] < 0 and state.start[d] < least:
                least = state.start[d]
        if least != state.floor[s]:
            _note(state, n + s, state.floor[s])
            state.floor[s] = least
            if least < FAR and least + state.load[s] > p.ceiling[0]:
                good = False
                state.weight[s] += 1.0
    return good


@KERNEL
def _occupy(p: Instance, state: Ascent, node: int, b: int) -> None:
    """Put ``b`` at its start, leaving the starts of others as they are."""
    first, last = p.first[b], p.last[b]
    state.node_trail[node] = state.cell[TRAIL]
    state.node_buffer[node] = b
    state.node_tried[node] = b
    state.node_start[node] = state.start[b]
    state.node_rank[node] = state.rank[b]
    state.offset[b] = state.start[b]
    for s in range(first, last):
        state.load[s] -= p.size[b]
        state.dirty[s] = True
    for s in range(first, last - 1):
        state.cross[s] -= 1


@KERNEL
def _place(p: Instance, state: Ascent, node: int, b: int, low: int, high: int) -> bool:
    """Put ``b`` at its start and propagate within sections ``[low, high)``; False on failure."""
    _occupy(p, state, node, b)
    first, last = p.first[b], p.last[b]
    top = state.offset[b] + p.size[b]
    least, greatest = 0, 0
    for i in range(p.live_at[first], p.live_at[first + 1]):
        change = _stack(p, state, p.live[i], top)
        least, greatest = min(least, change), max(greatest, change)
    for d in range(p.begin[first + 1], p.begin[last]):
        change = _stack(p, state, d, top)
        least, greatest = min(least, change), max(greatest, change)
    state.node_hatless[node] = least == greatest
    good = _refloor(p, state, low, high)
    return good and least == 0


@KERNEL
def _choose(p: Instance, state: Ascent, node: int, low: int, high: int) -> int:
    """Next buffer to try, by start and rank; -1 when no other may come first (rules 1, 2, 4)."""
    after, tie = state.node_start[node], state.node_rank[node]
    least_top = FAR
    found = -1
    least = FAR
    rank = FAR
    for b in range(p.begin[low], p.begin[high]):
        if state.offset[b] >= 0:
            continue
        start = state.start[b]
        least_top = min(least_top, state.base[b] + p.size[b])
        if (
            start > state.base[b]
            or start < after
            or start > least
            or (start == after and state.rank[b] <= tie)
        ):
            continue
        if start == least and state.rank[b] > rank:
            continue
        if p.twin[b] >= 0 and state.offset[p.twin[b]] < 0:
            continue
        found = b
        least = start
        rank = state.rank[b]
    if found < 0 or least >= least_top:
        return -1
    for s in range(low, high):
        if state.load[s] > 0 and least + state.load[s] > p.ceiling[0]:
            return -1
    return found


@KERNEL
def _split(state: Ascent, node: int, low: int, high: int) -> None:
    """Parts left in ``[low, high)`` after the placement of a node, longest first (rule 6)."""
    mark = state.cell[PARTS]
    parts = mark
    s = low
    while s < high:
        begin = s
        while state.cross[s] > 0:
            s += 1
        s += 1
        if state.load[begin] == 0:
            continue
        at = parts
        while at > mark and s - begin < state.part_high[at - 1] - state.part_low[at - 1]:
            state.part_low[at], state.part_high[at] = (
                state.part_low[at - 1],
                state.part_high[at - 1],
            )
            at -= 1
        state.part_low[at], state.part_high[at] = begin, s
        parts += 1
    for part in range(mark, parts):
        state.part_parent[part] = node
        state.part_next[part] = state.cell[NEXT_PART]
        state.cell[NEXT_PART] = part
    state.cell[PARTS] = parts


@KERNEL
def _next_support(p: Instance, state: Ascent, b: int) -> int:
    """Lowest top that a buffer placed later can offer to ``b`` (rule 5)."""
    low, high = p.first[b], p.last[b]
    at = state.start[b]
    found = FAR
    for i in range(p.live_at[low], p.live_at[low + 1]):
        d = p.live[i]
        if state.offset[d] < 0 and d != b:
            found = min(found, max(at, state.start[d]) + p.size[d])
    for d in range(p.begin[low + 1], p.begin[high]):
        if state.offset[d] < 0:
            found = min(found, max(at, state.start[d]) + p.size[d])
    return found


@KERNEL
def _reject(p: Instance, state: Ascent, node: int) -> bool:
    """The buffer tried last does not lie at its start (rule 5); False when the node fails."""
    b, part = state.node_tried[node], state.node_part[node]
    support = _next_support(p, state, b)
    if state.node_hatless[node] or support > p.limit[b]:
        return False
    _lift(p, state, b, support)
    return _refloor(p, state, state.part_low[part], state.part_high[part])


@KERNEL
def _open(state: Ascent) -> bool:
    """Begin the node of the next component; False without any."""
    part = state.cell[NEXT_PART]
    if part < 0:
        return False
    node = state.cell[DEPTH]
    state.cell[DEPTH] = node + 1
    state.cell[NEXT_PART] = state.part_next[part]
    state.node_part[node] = part
    state.node_parts[node] = state.cell[PARTS]
    parent = state.part_parent[part]
    if parent >= 0:
        state.node_start[node] = state.node_start[parent]
        state.node_rank[node] = state.node_rank[parent]
    else:
        state.node_start[node] = -1
        state.node_rank[node] = -1
    state.node_buffer[node] = -1
    return True


@KERNEL
def _fail(p: Instance, state: Ascent) -> bool:
    """Return to the parent's next candidate; False without any."""
    while True:
        node = state.cell[DEPTH] - 1
        parent = state.part_parent[state.node_part[node]]
        if parent < 0:
            return False
        for above in range(node, parent - 1, -1):
            if state.node_buffer[above] >= 0:
                _unplace(p, state, above)
        state.cell[DEPTH] = parent + 1
        state.cell[PARTS] = state.node_parts[parent]
        if _reject(p, state, parent):
            return True


@KERNEL
def begin(state: Ascent) -> None:
    """First node of a search; there is at least one buffer."""
    state.cell[NEXT_PART] = -1
    _split(state, -1, 0, len(state.floor))
    _open(state)


@KERNEL
def ascend(p: Instance, state: Ascent, budget: int) -> int:
    """Continue the search for at most ``budget`` nodes.

    Returns:
        SOLVED with ``state.offset`` filled, INFEASIBLE (proved), RUNNING when the budget is used
        up, or OVERFLOW when the trail is too short to go on.
    """
    stop = state.cell[NODES] + budget
    room = len(state.trail_key) - 3 * len(state.offset) - 2 * len(state.floor)
    while state.cell[NODES] < stop:
        node = state.cell[DEPTH] - 1
        part = state.node_part[node]
        low, high = state.part_low[part], state.part_high[part]
        b = _choose(p, state, node, low, high)
        if b < 0:
            if not _fail(p, state):
                return INFEASIBLE
            continue
        if state.cell[TRAIL] > room:
            return OVERFLOW
        state.cell[NODES] += 1
        if not _place(p, state, node, b, low, high):
            _unplace(p, state, node)
            if not _reject(p, state, node) and not _fail(p, state):
                return INFEASIBLE
            continue
        state.cell[NEXT_PART] = state.part_next[part]
        _split(state, node, low, high)
        if not _open(state):
            return SOLVED
    return RUNNING
