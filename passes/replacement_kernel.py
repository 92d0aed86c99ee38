"""Numba kernel of furthest-next-use replacement; ``passes.greedy_gaps`` prepares its arrays.

The candidates for eviction wait in two heaps, one per cost (bytes moved per byte evicted, 1 or 2).
An entry is one integer, ``rank - next step * storages``: the least entry is the furthest next use,
then the least rank. Entries that no longer hold are dropped when they come up.
"""

from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Flags = NDArray[np.uint8]

_kernel = njit(cache=True)  # pyright: ignore[reportCallIssue]


class Uses(NamedTuple):
    """Uses of V storages over S steps, U in all, grouped by storage and ascending in each group.

    Attributes:
        begin: first use of each storage [V + 1].
        step: step of each use [U].
        writes: 1 where the use writes [U].
        size: bytes of each storage [V].
        rank: place of each storage by falling size, then index [V].
        ranked: the storage of each rank [V].
        last_write: its last use that writes, counted from its first, or -1 [V].
        clean: 1 where DRAM holds the content from the start [V].
        stored: 1 where DRAM must hold the content at the end [V].
        scratch: 1 for what never moves to or from DRAM [V].
        layer: layer of each step; nothing stays from one to another [S].
        shared: bytes that operands of a step share with results that replace them [S].
    """

    begin: Ints
    step: Ints
    writes: Flags
    size: Ints
    rank: Ints
    ranked: Ints
    last_write: Ints
    clean: Flags
    stored: Flags
    scratch: Flags
    layer: Ints
    shared: Ints


class State(NamedTuple):
    """Storages while the steps go by; uses are counted from a storage's first.

    Attributes:
        next_use: first use that is still to come [V].
        resident: 1 while in the scratchpad [V].
        dirty: 1 while the resident copy differs from DRAM's [V].
    """

    next_use: Ints
    resident: Flags
    dirty: Flags


@_kernel
def _by_step(uses: Uses) -> tuple[Ints, Ints]:
    """Storages that each step uses: first entry per step [S + 1], storages [U]."""
    begin = np.zeros(uses.layer.size + 1, np.int64)
    for step in uses.step:
        begin[step + 1] += 1
    begin = np.cumsum(begin)
    users = np.empty(uses.step.size, np.int64)
    filled = begin[:-1].copy()
    for v in range(uses.size.size):
        for use in range(uses.begin[v], uses.begin[v + 1]):
            users[filled[uses.step[use]]] = v
            filled[uses.step[use]] += 1
    return begin, users


@_kernel
def _next_step(uses: Uses, state: State, v: int) -> int:
    """Step of the next use, or one beyond all steps."""
    use = uses.begin[v] + state.next_use[v]
    return uses.step[use] if use < uses.begin[v + 1] else uses.layer.size + 1


@_kernel
def _cost(uses: Uses, state: State, v: int) -> int:
    """Bytes moved per byte evicted now."""
    stored_anyway = uses.last_write[v] < state.next_use[v] and uses.stored[v]
    return 2 if state.dirty[v] and not stored_anyway else 1


@_kernel
def _entry(uses: Uses, state: State, v: int) -> int:
    return uses.rank[v] - _next_step(uses, state, v) * uses.size.size


@_kernel
def _furthest(uses: Uses, state: State, heap: list[int], cost: int) -> int:
    """The storage on top of a heap once entries that no longer hold are dropped, or -1."""
    while len(heap) > 0:
        v = uses.ranked[heap[0] % uses.size.size]
        if (
            state.resident[v]
            and heap[0] == _entry(uses, state, v)
            and _cost(uses, state, v) == cost
        ):
            return v
        heappop(heap)
    return -1


@_kernel
def replace_furthest(uses: Uses, kept: Flags, free: int, write_aware: bool, direct: bool) -> None:
    """Evict the storage whose next use is furthest whenever space runs out.

    Args:
        uses: the accesses.
        kept: ones; 0 afterwards where the storage does not stay from a use to its next [U].
        free: bytes of the scratchpad.
        write_aware: divide the distance by the cost.
        direct: an operand may be evicted at its own use.
    """
    begin, users = _by_step(uses)
    count = uses.size.size
    state = State(np.zeros(count, np.int64), np.zeros(count, np.uint8), np.zeros(count, np.uint8))
    cheap, dear = [np.int64(0)], [np.int64(0)]
    cheap.clear()
    dear.clear()
    victims = np.empty(count, np.int64)
    for step in range(uses.layer.size):
        operands = users[begin[step] : begin[step + 1]]
        free += uses.shared[step]
        for v in operands:
            state.dirty[v] |= uses.writes[uses.begin[v] + state.next_use[v]]
            state.next_use[v] += 1
            if not state.resident[v]:
                state.resident[v] = 1
                free -= uses.size[v]
                if direct and not uses.scratch[v]:
                    heappush(dear if _cost(uses, state, v) == 2 else cheap, _entry(uses, state, v))
        found = 0
        while free < 0:
            v, other = _furthest(uses, state, cheap, 1), _furthest(uses, state, dear, 2)
            if v < 0 and other < 0:
                break
            if v < 0 or (
                other >= 0
                and (_next_step(uses, state, other) - step) / (2 if write_aware else 1)
                > _next_step(uses, state, v) - step
            ):
                v = other
                heappop(dear)
            else:
                heappop(cheap)
            victims[found] = v
            found += 1
            state.resident[v] = 0
            free += uses.size[v]
        # Later, larger victims may have made earlier ones unnecessary; nearest use first.
        for v in victims[:found][::-1]:
            if uses.size[v] <= free:
                free -= uses.size[v]
                state.resident[v] = 1
                heappush(dear if _cost(uses, state, v) == 2 else cheap, _entry(uses, state, v))
        for v in victims[:found]:
            if not state.resident[v] and _next_step(uses, state, v) <= uses.layer.size:
                kept[uses.begin[v] + state.next_use[v] - 1] = 0
                state.dirty[v] = 0
        for v in operands:
            if not state.resident[v]:
                continue
            following = _next_step(uses, state, v)
            last = following > uses.layer.size
            if last or uses.layer[following] != uses.layer[step]:
                if not last:
                    kept[uses.begin[v] + state.next_use[v] - 1] = 0
                    state.dirty[v] = 0
                state.resident[v] = 0
                free += uses.size[v]
            else:
                heappush(dear if _cost(uses, state, v) == 2 else cheap, _entry(uses, state, v))
        free -= uses.shared[step]


@_kernel
def moved_bytes(uses: Uses, kept: Flags) -> int:
    """Bytes moved when storages stay where ``kept`` [U] is 1 and leave everywhere else."""
    total = 0
    for v in range(uses.size.size):
        moves, dirty = np.int64(uses.clean[v]), np.int64(0)
        last = uses.begin[v + 1] - 1
        for use in range(uses.begin[v], last + 1):
            dirty |= uses.writes[use]
            if use < last and not kept[use]:
                moves += 1 + dirty
                dirty = np.int64(0)
        total += uses.size[v] * (moves + (dirty & uses.stored[v]))
    return total
