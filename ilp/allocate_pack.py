"""Can these buffers be packed under this capacity? The decision problem, with proof."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from stowplan.ilp.allocate_heuristic import quick_packings
from stowplan.ilp.allocate_instance import (
    Boxes,
    build_instance,
    components,
    fresh_state,
    sections,
)
from stowplan.ilp.allocate_kernels import Ints
from stowplan.ilp.allocate_portfolio import UNLIMITED, Limits, Verdict, decide

MAX_MEMBERSHIPS = 2_000_000
"""Buffers times sections they live in up to which the exact search is tried."""


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
    cancelled: Callable[[], bool] = lambda: False,
    node_limit: int = UNLIMITED,
) -> Packing:
    """Find offsets under which buffers live together do not overlap and stay below ``capacity``.

    Args:
        starts: first moment each buffer is live [n].
        ends: one past the last moment [n]; an empty lifetime conflicts with nothing.
        sizes: units each buffer takes [n].
        capacity: greatest ``offset + size`` allowed.
        time_limit_s: after this time the answer is unproved.
        seed_offsets: offsets to try first [n], for instance of a nearby problem.
        cancelled: polled now and then; true ends the search.
        node_limit: search nodes after which the answer is unproved; unlike a time limit, it gives
            the same answer on every machine.
    """
    began = time.perf_counter()
    lower, upper, size = (np.ascontiguousarray(a, np.int64) for a in (starts, ends, sizes))
    offsets = np.zeros(len(size), np.int64)
    busy = np.flatnonzero((size > 0) & (upper > lower))
    if (size > capacity).any():
        return Packing(None, True, 0, time.perf_counter() - began)
    if not len(busy):
        return Packing(offsets, True, 0, time.perf_counter() - began)
    zeros = np.zeros(len(busy), np.int64)
    boxes = Boxes(
        sections(lower[busy], upper[busy]), upper[busy] - lower[busy], size[busy], zeros, zeros - 1
    )
    seed = None if seed_offsets is None else np.ascontiguousarray(seed_offsets, np.int64)[busy]
    limits = Limits(began + time_limit_s, cancelled, node_limit)
    verdict = pack_boxes(boxes, capacity, limits, seed)
    if verdict.offsets is not None:
        offsets[busy] = verdict.offsets
    return Packing(
        None if verdict.offsets is None else offsets,
        verdict.proved,
        verdict.nodes,
        time.perf_counter() - began,
    )


def pack_boxes(boxes: Boxes, capacity: int, limits: Limits, seed: Ints | None = None) -> Verdict:
    """Decide each group of buffers that no others are live together with."""
    if least_height(boxes) > capacity:
        return Verdict(None, True, 0)
    offsets = np.zeros(len(boxes.size), np.int64)
    nodes = 0
    for group in components(boxes.found):
        part = boxes.take(group)
        hint = None if seed is None else seed[group]
        verdict = _pack_part(part, capacity, limits.less(nodes), hint)
        nodes += verdict.nodes
        if verdict.offsets is None:
            return Verdict(None, verdict.proved, nodes)
        offsets[group] = verdict.offsets
    return Verdict(offsets, True, nodes)


def least_height(boxes: Boxes) -> int:
    """Units live at once: no packing is lower. Its topmost buffer needs no room for its spare."""
    return int(boxes.section_loads().max() - boxes.spare.max())


def _pack_part(part: Boxes, capacity: int, limits: Limits, seed: Ints | None) -> Verdict:
    """Heuristics first, then the exact search unless there are far too many buffers for it."""
    for offsets in quick_packings(part, seed):
        if int((offsets + part.size - part.spare).max()) <= capacity:
            return Verdict(offsets, True, 0)
    if int((part.found.last - part.found.first).sum()) > MAX_MEMBERSHIPS:
        return Verdict(None, False, 0)
    instance, order = build_instance(part, capacity)
    verdict = decide(instance, part.lifetime[order], fresh_state, limits)
    if verdict.offsets is None:
        return verdict
    offsets = np.empty_like(part.size)
    offsets[order] = verdict.offsets * (part.size[order[0]] // instance.size[0])
    return Verdict(offsets, True, verdict.nodes)
