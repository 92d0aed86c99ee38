"""Can these buffers be packed under this capacity? The decision problem, with proof."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from stowplan.ilp.allocate_heuristic import first_fit
from stowplan.ilp.allocate_instance import Sections, build_instance, fresh_state, sections
from stowplan.ilp.allocate_kernels import INFEASIBLE, OVERFLOW, SOLVED, Instance, Ints, search

SLICE_NODES = 2000


@dataclass(frozen=True, slots=True)
class Packing:
    """Answer to a packing question.

    Attributes:
        offsets: offset of each buffer [n], or None when none was found.
        proved: the answer is certain: offsets were found, or none exist.
        nodes: search nodes visited.
        wall_s: seconds used.
    """

    offsets: Ints | None
    proved: bool
    nodes: int
    wall_s: float


def pack(
    starts: ArrayLike,
    ends: ArrayLike,
    sizes: ArrayLike,
    capacity: int,
    time_limit_s: float = 10.0,
    seed_offsets: ArrayLike | None = None,
) -> Packing:
    """Find offsets under which buffers live together do not overlap and stay below ``capacity``.

    Args:
        starts: first moment each buffer is live [n].
        ends: one past the last moment [n]; an empty lifetime conflicts with nothing.
        sizes: units each buffer takes [n].
        capacity: greatest ``offset + size`` allowed.
        time_limit_s: after this time the answer is unproved.
        seed_offsets: offsets to try first [n], for instance of a nearby problem.
    """
    began = time.perf_counter()
    lower, upper, size = (np.ascontiguousarray(a, np.int64) for a in (starts, ends, sizes))
    offsets = np.zeros(len(size), np.int64)
    busy = np.flatnonzero((size > 0) & (upper > lower))
    if (size > capacity).any():
        return Packing(None, True, 0, time.perf_counter() - began)
    if not len(busy):
        return Packing(offsets, True, 0, time.perf_counter() - began)
    found = sections(lower[busy], upper[busy])
    seed = None if seed_offsets is None else np.ascontiguousarray(seed_offsets, np.int64)[busy]
    inner, proved, nodes = _pack_busy(found, size[busy], capacity, began + time_limit_s, seed)
    if inner is None:
        return Packing(None, proved, nodes, time.perf_counter() - began)
    offsets[busy] = inner
    return Packing(offsets, True, nodes, time.perf_counter() - began)


def _pack_busy(
    found: Sections, size: Ints, capacity: int, deadline: float, seed: Ints | None
) -> tuple[Ints | None, bool, int]:
    """Offsets, proof flag and nodes for buffers of positive size and lifetime."""
    change = np.zeros(found.count + 1, np.int64)
    np.add.at(change, found.first, size)
    np.add.at(change, found.last, -size)
    if int(np.cumsum(change).max()) > capacity:
        return None, True, 0
    free = np.full(len(size), -1, np.int64)
    orders = [_descending(size * (found.last - found.first)), _descending(size)]
    if seed is not None:
        orders.insert(0, np.argsort(seed, kind="stable").astype(np.int64))
    for order in orders:
        offsets = first_fit(found.first, found.last, size, free, order)
        if int((offsets + size).max()) <= capacity:
            return offsets, True, 0
    grain = int(np.gcd.reduce(size))
    units = size // grain
    ceiling = capacity // grain
    instance, order = build_instance(found, units, ceiling - units, free, ceiling)
    inner, proved, nodes = _search(instance, deadline)
    if inner is None:
        return None, proved, nodes
    offsets = np.empty(len(size), np.int64)
    offsets[order] = inner * grain
    return offsets, True, nodes


def _descending(key: Ints) -> Ints:
    """Indices by falling key, ties in index order."""
    return np.argsort(-key, kind="stable").astype(np.int64)


def _search(instance: Instance, deadline: float) -> tuple[Ints | None, bool, int]:
    """Depth-first search until solved, refuted or out of time."""
    width = instance.last - instance.first
    by_width = np.lexsort((-instance.size, -width))
    rank = np.empty(len(width), np.int64)
    rank[by_width] = np.arange(len(width))
    state = fresh_state(instance, rank)
    while True:
        status = search(instance, state, SLICE_NODES)
        nodes = int(state.cell[5])
        if status == SOLVED:
            return state.offset, True, nodes
        if status == INFEASIBLE:
            return None, True, nodes
        if status == OVERFLOW or time.perf_counter() > deadline:
            return None, False, nodes
