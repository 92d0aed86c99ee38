"""Ascents under several preorders, each paused and continued in turn, so no node is seen twice.

Source: M. Moffitt, "MiniMalloc: A Lightweight Memory Allocator for Hardware-Accelerated Machine
Learning", ASPLOS 2023, section 5: the three preorders, and turns of growing length.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stowplan.ilp.allocate_ascent_kernels import (
    CELLS,
    INFEASIBLE,
    NODES,
    OVERFLOW,
    RUNNING,
    SOLVED,
    Ascent,
    ascend,
    begin,
)
from stowplan.ilp.allocate_kernels import Instance, Ints

TRAIL_FACTOR = 32
SLICE_NODES = 10_000


@dataclass(slots=True)
class Ascents:
    """Ascents of one instance that are not given up, and what they have done.

    Attributes:
        instance: whose buffers none has a fixed offset.
        paused: states of the ascents.
        nodes: search nodes visited by all of them.
    """

    instance: Instance
    paused: list[Ascent]
    nodes: int = 0

    def advance(self, budget: int, reached: Callable[[], bool]) -> tuple[int, Ints | None]:
        """Give each ascent up to ``budget`` nodes; the outcome and, when solved, the offsets."""
        for state in tuple(self.paused):
            status = self._continue(state, budget, reached)
            if status in (SOLVED, INFEASIBLE):
                return status, state.offset if status == SOLVED else None
            if status == OVERFLOW:
                self.paused = [other for other in self.paused if other is not state]
        return RUNNING, None

    def _continue(self, state: Ascent, budget: int, reached: Callable[[], bool]) -> int:
        """One ascent in slices short enough to notice the deadline."""
        status = RUNNING
        while budget > 0 and status == RUNNING and not reached():
            before = int(state.cell[NODES])
            status = int(ascend(self.instance, state, min(budget, SLICE_NODES)))
            self.nodes += int(state.cell[NODES]) - before
            budget -= SLICE_NODES
        return status


def ascents(p: Instance, lifetime: Ints, crowd: Ints) -> Ascents:
    """Ascents from the root, by life span, crowd and area, or by crowd first.

    Args:
        p: instance; with fixed offsets it gets no ascents.
        lifetime: how long each buffer is live [n].
        crowd: greatest load of a section it lives in [n].
    """
    area = lifetime * p.size
    preorders = ((lifetime, area, crowd), (crowd, area, lifetime), (crowd, lifetime, area))
    if (p.fixed >= 0).any():
        return Ascents(p, [])
    return Ascents(p, [fresh_ascent(p, _ranks(keys)) for keys in preorders])


def _ranks(keys: tuple[Ints, ...]) -> Ints:
    """Place of each buffer by falling keys, most significant first [n]."""
    rank = np.empty(len(keys[0]), np.int64)
    rank[np.lexsort(tuple(-key for key in reversed(keys)))] = np.arange(len(rank))
    return rank


def fresh_ascent(p: Instance, rank: Ints) -> Ascent:
    """State of an ascent that has not begun."""
    n, m = len(p.first), len(p.begin) - 1
    cross = np.zeros(m + 1, np.int64)
    np.add.at(cross, p.first, 1)
    np.add.at(cross, p.last - 1, -1)
    room = TRAIL_FACTOR * (len(p.live) + n + m)

    def ints(length: int, fill: int = 0) -> Ints:
        return np.full(length, fill, np.int64)

    def flags(length: int) -> NDArray[np.bool_]:
        return np.zeros(length, np.bool_)

    parts, nodes = n + m + 2, n + 2
    state = Ascent(
        floor=ints(m),
        load=np.add.reduceat(p.size[p.live], p.live_at[:-1]).astype(np.int64),
        cross=np.cumsum(cross)[:m],
        dirty=flags(m),
        offset=ints(n, -1),
        start=ints(n),
        base=ints(n),
        rank=rank,
        part_low=ints(parts),
        part_high=ints(parts),
        part_parent=ints(parts),
        part_next=ints(parts),
        node_part=ints(nodes),
        node_parts=ints(nodes),
        node_trail=ints(nodes),
        node_buffer=ints(nodes, -1),
        node_start=ints(nodes, -1),
        node_rank=ints(nodes, -1),
        node_tried=ints(nodes, -1),
        node_hatless=flags(nodes),
        trail_key=np.empty(room, np.int64),
        trail_old=np.empty(room, np.int64),
        cell=ints(CELLS),
    )
    begin(state)
    return state
