"""Ascents under several preorders.

Three fixed ones are each paused and continued in turn, so no node is seen twice. Between them go
short runs that learn: sections gather weight with each failure, and buffers of heavy ones go first.

Source: M. Moffitt, "MiniMalloc: A Lightweight Memory Allocator for Hardware-Accelerated Machine
Learning", ASPLOS 2023, section 5: the three preorders, and turns of growing length.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
from stowplan.ilp.allocate_kernels import Floats, Instance, Ints

TRAIL_FACTOR = 32
SLICE_NODES = 10_000
PREFERENCES = 6
NOISES = 0.0, 0.02, 0.06
MAX_WEIGHT, WEIGHT_DECAY = 1000.0, 0.9


@dataclass(slots=True)
class Ascents:
    """Ascents of one instance that are not given up, and what they have done.

    Attributes:
        instance: whose buffers none has a fixed offset.
        paused: states of the fixed ascents; without any there are no runs either.
        lifetime: how long each buffer is live [n].
        crowd: greatest load of a section it lives in [n].
        weight: failures seen per section, decayed [m].
        rng: of the noise.
        nodes: search nodes visited by all of them.
        runs: how many runs have learned.
    """

    instance: Instance
    paused: list[Ascent]
    lifetime: Ints
    crowd: Ints
    weight: Floats
    rng: np.random.Generator
    nodes: int = 0
    runs: int = 0

    def learn(self, budget: int, reached: Callable[[], bool]) -> tuple[int, Ints | None]:
        """One run per learned preference, of up to ``budget`` nodes each; as ``advance``."""
        for _ in range(PREFERENCES if self.paused else 0):
            state = fresh_ascent(self.instance, self._learned_rank())
            state.weight[:] = self.weight
            status = self._continue(state, budget, reached)
            if status in (SOLVED, INFEASIBLE):
                return status, state.offset if status == SOLVED else None
            scale = max(float(state.weight.max()) / MAX_WEIGHT, 1.0)
            self.weight = np.maximum(state.weight / scale * WEIGHT_DECAY, 1.0)
            self.runs += 1
        return RUNNING, None

    def _learned_rank(self) -> Ints:
        """Preorder of the next run: preferences in turn, with growing noise, none at first."""
        turn, which = divmod(self.runs, PREFERENCES)
        p, crowd, lifetime = self.instance, self.crowd, self.lifetime
        area = lifetime * p.size
        trouble = greatest(p, self.weight)
        mild = np.log2(1.0 + trouble)
        keys: tuple[NDArray[Any], ...] = (
            (trouble * lifetime, area),
            (mild * lifetime, area),
            (mild * crowd, lifetime, area),
            (mild * crowd, area, lifetime),
            (crowd, mild * lifetime, area),
            (crowd, trouble * lifetime, area),
        )[which]
        return ranks(keys, NOISES[turn % len(NOISES)], self.rng)

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


def ascents(p: Instance, lifetime: Ints, crowd: Ints, seed: int = 1, roomy: bool = True) -> Ascents:
    """Ascents from the root, by life span, crowd and area, or by crowd first.

    Args:
        p: instance; with fixed offsets it gets no ascents.
        lifetime: how long each buffer is live [n].
        crowd: greatest load of a section it lives in [n].
        seed: of the noise in runs that learn.
        roomy: there is room for the trails; without it there are no ascents.
    """
    area = lifetime * p.size
    preorders = ((lifetime, area, crowd), (crowd, area, lifetime), (crowd, lifetime, area))
    usable = roomy and not (p.fixed >= 0).any()
    rng = np.random.default_rng(seed)
    paused = [fresh_ascent(p, ranks(keys, 0.0, rng)) for keys in preorders] if usable else []
    return Ascents(p, paused, lifetime, crowd, np.ones(len(p.begin) - 1), rng)


def ranks(keys: tuple[NDArray[Any], ...], noise: float, rng: np.random.Generator) -> Ints:
    """Place of each buffer by falling keys, most significant first [n].

    With noise each is moved down at random by up to that share of all places.
    """
    count = len(keys[0])
    order = np.lexsort(tuple(-key for key in reversed(keys)))
    if noise:
        place = np.arange(count) + rng.random(count) * (count * noise)
        order = order[np.argsort(place, kind="stable")]
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    return rank


def greatest(p: Instance, value: NDArray[Any]) -> NDArray[Any]:
    """Greatest value of the sections of each buffer [n]."""
    bounds = np.column_stack((p.first, p.last)).ravel()
    return np.maximum.reduceat(np.append(value, 0), bounds)[::2]


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
        weight=np.ones(m),
        trail_key=np.empty(room, np.int64),
        trail_old=np.empty(room, np.int64),
        cell=ints(CELLS),
    )
    begin(state)
    return state
