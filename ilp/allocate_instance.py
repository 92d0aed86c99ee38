"""From lifetimes to the arrays of the exact allocator's kernels."""

from dataclasses import dataclass

import numpy as np

from stowplan.ilp.allocate_kernels import CELLS, GROUP, Instance, Ints, State

MAX_WORDS = 8
"""Words of decision levels per reason; with more levels than bits, neighbours share one."""


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


@dataclass(frozen=True, slots=True)
class Boxes:
    """Buffers of one packing question, in units.

    Attributes:
        found: their sections.
        lifetime: how long each is live [n].
        size: units each takes, so that the next may begin right above [n].
        spare: units of ``size`` that only round it up [n].
        fixed: offset each must have, or -1 [n].
    """

    found: Sections
    lifetime: Ints
    size: Ints
    spare: Ints
    fixed: Ints

    def take(self, chosen: Ints) -> "Boxes":
        """The chosen buffers alone, in that order, with sections counted from their first."""
        first, last = self.found.first[chosen], self.found.last[chosen]
        base = int(first.min())
        return Boxes(
            Sections(first - base, last - base, int(last.max()) - base),
            self.lifetime[chosen],
            self.size[chosen],
            self.spare[chosen],
            self.fixed[chosen],
        )

    def section_loads(self) -> Ints:
        """Units live in each section [found.count]."""
        change = np.zeros(self.found.count + 1, np.int64)
        np.add.at(change, self.found.first, self.size)
        np.add.at(change, self.found.last, -self.size)
        return np.cumsum(change)[:-1]


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
    before = np.concatenate([[0], np.cumsum(starts & ends[1:])]).astype(np.int64)
    return Sections(before[begin], before[end], int(before[-1]))


def components(found: Sections) -> list[Ints]:
    """Buffers in groups of which no two are live together, in time order."""
    order = np.argsort(found.first, kind="stable")
    reached = np.maximum.accumulate(found.last[order])
    cuts = np.flatnonzero(found.first[order][1:] >= reached[:-1]) + 1
    return [np.sort(group) for group in np.split(order, cuts)]


def build_instance(boxes: Boxes, capacity: int) -> tuple[Instance, Ints]:
    """Kernel arrays and the permutation that sorts the buffers into kernel order.

    Args:
        boxes: buffers whose sizes and fixed offsets are multiples of one grain.
        capacity: greatest top of a buffer without its spare; any number.
    """
    grain = int(np.gcd.reduce(np.concatenate([boxes.size, np.maximum(boxes.fixed, 0)])))
    order = np.lexsort((boxes.spare, boxes.size, boxes.found.last, boxes.found.first))
    first, last = boxes.found.first[order], boxes.found.last[order]
    fixed = np.where(boxes.fixed[order] >= 0, boxes.fixed[order] // grain, -1)
    size = boxes.size[order] // grain
    limit = (capacity - boxes.size[order] + boxes.spare[order]) // grain
    begin = np.searchsorted(first, np.arange(boxes.found.count + 1)).astype(np.int64)
    live_at, live = _live(first, last, boxes.found.count)
    ceiling = np.array([int((limit + size).max())], np.int64)
    twin = _twins(first, last, size, limit, fixed)
    return Instance(first, last, size, limit, fixed, twin, begin, live_at, live, ceiling), order


def _twins(first: Ints, last: Ints, size: Ints, limit: Ints, fixed: Ints) -> Ints:
    """The buffer before each one where the two are interchangeable, else -1 [n]."""
    twin = np.full(len(first), -1, np.int64)
    same = (fixed[1:] < 0) & (fixed[:-1] < 0)
    for column in (first, last, size, limit):
        same &= column[1:] == column[:-1]
    twin[1:][same] = np.flatnonzero(same)
    return twin


def _live(first: Ints, last: Ints, count: int) -> tuple[Ints, Ints]:
    """Buffers of each section in compressed rows: row starts [count + 1] and buffers."""
    width = last - first
    buffer = np.repeat(np.arange(len(first), dtype=np.int64), width)
    begin = np.repeat(np.cumsum(width) - width, width)
    section = np.repeat(first, width) + np.arange(len(buffer)) - begin
    order = np.argsort(section, kind="stable")
    rows = np.searchsorted(section[order], np.arange(count + 1)).astype(np.int64)
    return rows, buffer[order]


def fresh_state(p: Instance, room_factor: int = 1) -> State:
    """State of a search that has not begun; ``room_factor`` lengthens the trail."""
    n, m = len(p.first), len(p.begin) - 1
    words = min(MAX_WORDS, -(-n // 64))
    widths = len(p.live)
    room = room_factor * (4 * widths + 16 * n + 32 * m)
    reasons = room_factor * (2 * widths + 8 * n)
    start = np.maximum(p.fixed, 0)
    floor = np.minimum.reduceat(start[p.live], p.live_at[:-1])
    section = np.repeat(np.arange(m), np.diff(p.live_at))
    count = np.bincount(section[start[p.live] == floor[section]], minlength=m)
    cross = np.zeros(m + 1, np.int64)
    np.add.at(cross, p.first, 1)
    np.add.at(cross, p.last - 1, -1)
    cell = np.zeros(CELLS, np.int64)
    cell[GROUP] = -(-n // (64 * words))

    def ints(length: int, fill: int = 0) -> Ints:
        return np.full(length, fill, np.int64)

    return State(
        floor=floor.astype(np.int64),
        count=count.astype(np.int64),
        solid=ints(m),
        top=ints(m, -1),
        load=np.add.reduceat(p.size[p.live], p.live_at[:-1]).astype(np.int64),
        cross=np.cumsum(cross)[:m],
        change=ints(m + 1),
        weight=np.ones(m),
        offset=ints(n, -1),
        start=start.astype(np.int64),
        why=np.zeros((n, words), np.uint64),
        level=ints(n, -1),
        rank=np.arange(n, dtype=np.int64),
        zone=ints(m),
        level_trail=ints(n + 1),
        level_buffer=ints(n + 1),
        trail_key=np.empty(room, np.int64),
        trail_a=np.empty(room, np.int64),
        trail_b=np.empty(room, np.int64),
        trail_why=np.empty((reasons, words), np.uint64),
        clash=np.zeros(words, np.uint64),
        cell=cell,
    )
