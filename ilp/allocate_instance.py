"""From lifetimes to the arrays of the exact allocator's kernels, and back."""

from dataclasses import dataclass

import numpy as np

from stowplan.ilp.allocate_kernels import CELLS, Instance, Ints, State


@dataclass(frozen=True, slots=True)
class Sections:
    """Which maximal sets of live-together buffers each buffer belongs to.

    Attributes:
        first: first section of each buffer [n].
        last: one past its last section [n].
        count: number of sections.
    """

    first: Ints
    last: Ints
    count: int


def sections(lower: Ints, upper: Ints) -> Sections:
    """Maximal cliques of the interval graph of ``[lower, upper)``, in time order.

    A moment's live set is maximal exactly when a buffer begins at its start and one ends at its
    end; two buffers are live together exactly when they share such a set. Empty lifetimes are
    not allowed.
    """
    times = np.unique(np.concatenate([lower, upper]))
    begin = np.searchsorted(times, lower)
    end = np.searchsorted(times, upper)
    starts = np.zeros(len(times), np.bool_)
    ends = np.zeros(len(times) + 1, np.bool_)
    starts[begin] = True
    ends[end] = True
    maximal = starts & ends[1:]
    before = np.concatenate([[0], np.cumsum(maximal)]).astype(np.int64)
    return Sections(before[begin], before[end], int(before[-1]))


def build_instance(
    found: Sections, size: Ints, limit: Ints, fixed: Ints, ceiling: int
) -> tuple[Instance, Ints]:
    """Kernel arrays and the permutation that sorts the buffers into kernel order."""
    order = np.lexsort((limit, size, found.last, found.first))
    first, last = found.first[order], found.last[order]
    size, limit, fixed = size[order], limit[order], fixed[order]
    twin = np.full(len(order), -1, np.int64)
    if len(order) > 1:
        same = (
            (first[1:] == first[:-1])
            & (last[1:] == last[:-1])
            & (size[1:] == size[:-1])
            & (limit[1:] == limit[:-1])
            & (fixed[1:] < 0)
            & (fixed[:-1] < 0)
        )
        twin[1:][same] = np.flatnonzero(same)
    begin = np.searchsorted(first, np.arange(found.count + 1)).astype(np.int64)
    top = np.array([ceiling], np.int64)
    return Instance(first, last, size, limit, fixed, twin, begin, top), order


def fresh_state(instance: Instance, rank: Ints, weight: np.ndarray | None = None) -> State:
    """State of a search that has not begun; ``rank`` orders a node's candidates [n]."""
    n, m = len(instance.first), len(instance.begin) - 1
    change = np.zeros(m + 1, np.int64)
    np.add.at(change, instance.first, instance.size)
    np.add.at(change, instance.last, -instance.size)
    cross = np.zeros(m + 1, np.int64)
    np.add.at(cross, instance.first, 1)
    np.add.at(cross, instance.last - 1, -1)
    widths = int((instance.last - instance.first).sum())
    trail = 4 * widths + 16 * m + 64
    pool = widths + 4 * n + 64

    def ints(length: int, fill: int = 0) -> Ints:
        return np.full(length, fill, np.int64)

    return State(
        floor=ints(m),
        solid=ints(m),
        load=np.cumsum(change)[:m],
        cross=np.cumsum(cross)[:m],
        top=ints(m, -1),
        offset=ints(n, -1),
        start=ints(n),
        rank=np.ascontiguousarray(rank, np.int64),
        weight=np.ones(m) if weight is None else weight,
        least=ints(m),
        second=ints(m),
        count=ints(m),
        reach=ints(m),
        level_trail=ints(n + 1),
        level_pool=ints(n + 1),
        level_next=ints(n + 1),
        level_section=ints(n + 1),
        level_low=ints(n + 1),
        level_high=ints(n + 1),
        pool=ints(pool),
        trail_key=ints(trail),
        trail_floor=ints(trail),
        trail_solid=ints(trail),
        trail_top=ints(trail),
        cell=ints(CELLS),
    )
