"""Restarts of the exact search under several preferences, in one process.

Ascents, the second exact search, are continued between the runs: they solve most tight instances
soon or never.

Times to a solution are heavy-tailed, so many short runs with different preferences beat one long
one. Run lengths follow the Luby sequence; since they grow without bound, the portfolio stays
complete. What is learned from one run for the next is where it failed: sections gather weight with
each failure, and some preferences put buffers of heavy sections first.

Source: M. Luby, A. Sinclair, D. Zuckerman, "Optimal Speedup of Las Vegas Algorithms", Information
Processing Letters 47(4), 1993; weights as in F. Boussemart et al., "Boosting Systematic Search by
Weighting Constraints", ECAI 2004.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stowplan.ilp.allocate_ascent import PREFERENCES, Ascents, ascents, greatest
from stowplan.ilp.allocate_kernels import (
    BRANCHING,
    FULLEST,
    INFEASIBLE,
    LOWEST,
    NODES,
    OVERFLOW,
    RUNNING,
    SOLVED,
    Instance,
    Ints,
    State,
    restart,
    search,
)

RUN_NODES = 2000
ASCENT_NODES = 8000
LEARNING_NODES = 5000
SLICE_NODES = 2000
NOISE = 0.1
WEIGHT_DECAY = 0.9
FIRST_ROOM_FACTOR, MAX_ROOM_FACTOR = 8, 64
ROOMY_MEMBERSHIPS = 100_000
UNLIMITED = 1 << 62


@dataclass(frozen=True, slots=True)
class Limits:
    """When a search gives up.

    Attributes:
        deadline: by ``time.perf_counter``.
        cancelled: polled now and then; true ends the search.
        nodes: search nodes allowed; unlike time, the same on every machine.
    """

    deadline: float
    cancelled: Callable[[], bool] = lambda: False
    nodes: int = UNLIMITED

    def reached(self) -> bool:
        """Whether time is over, or someone asked to stop."""
        return time.perf_counter() > self.deadline or self.cancelled()

    def less(self, nodes: int) -> "Limits":
        """What is left after ``nodes``."""
        return replace(self, nodes=self.nodes - nodes)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of a decision.

    Attributes:
        offsets: offsets in units [n], None when none were found.
        proved: offsets were found, or none exist.
        nodes: search nodes visited.
    """

    offsets: Ints | None
    proved: bool
    nodes: int


@dataclass(frozen=True, slots=True)
class Traits:
    """What preferences are made of, per buffer.

    Attributes:
        lifetime: how long it is live [n].
        size: its size [n].
        crowd: greatest load of a section it lives in [n].
        trouble: greatest weight of a section it lives in [n].
    """

    lifetime: Ints
    size: Ints
    crowd: Ints
    trouble: NDArray[np.float64]


Preference = Callable[[Traits], tuple[NDArray[np.generic], ...]]
"""Sort keys of the buffers, most significant first; greater comes first."""


def _lifetime(t: Traits) -> tuple[NDArray[np.generic], ...]:
    return t.lifetime, t.lifetime * t.size, t.crowd


def _troubled_lifetime(t: Traits) -> tuple[NDArray[np.generic], ...]:
    return t.trouble * t.lifetime, t.lifetime * t.size


def _softly_troubled_lifetime(t: Traits) -> tuple[NDArray[np.generic], ...]:
    return np.log2(1.0 + t.trouble) * t.lifetime, t.lifetime * t.size


STRATEGIES: tuple[tuple[int, Preference], ...] = (
    (FULLEST, _lifetime),
    (FULLEST, _troubled_lifetime),
    (LOWEST, _softly_troubled_lifetime),
)
"""Where to place the next buffer, and which one; runs take turns."""


def luby(i: int) -> int:
    """Member ``i >= 1`` of the sequence 1, 1, 2, 1, 1, 2, 4, ..."""
    while i & (i + 1):
        i -= (1 << (i.bit_length() - 1)) - 1
    return (i + 1) >> 1


def decide(
    instance: Instance,
    lifetime: Ints,
    make_state: Callable[[Instance, int], State],
    limits: Limits,
    seed: int = 0,
) -> Verdict:
    """Search until solved, refuted, or beyond the limits."""
    rng = np.random.default_rng(seed)
    factor = FIRST_ROOM_FACTOR if len(instance.live) < ROOMY_MEMBERSHIPS else 1
    state = make_state(instance, factor)
    loads = state.load.copy()
    roomy = len(instance.live) < ROOMY_MEMBERSHIPS
    climbers = ascents(instance, lifetime, greatest(instance, loads), seed + 1, roomy)
    done = 0
    run = 0
    while True:
        length = luby(1 + run // len(STRATEGIES))
        if run % len(STRATEGIES) == 0:
            restarted = done + int(state.cell[NODES])
            verdict = _climb(climbers, length, restarted, limits)
            if verdict is not None:
                return verdict
        branching, preference = STRATEGIES[run % len(STRATEGIES)]
        traits = Traits(
            lifetime, instance.size, greatest(instance, loads), greatest(instance, state.weight)
        )
        order = _order(preference(traits), NOISE if run >= len(STRATEGIES) else 0.0, rng)
        state.rank[order] = np.arange(len(order))
        state.cell[BRANCHING] = branching
        spent = done + int(state.cell[NODES]) + climbers.nodes
        budget = min(RUN_NODES * length, limits.nodes - spent)
        status = _run(instance, state, budget, limits)
        spent = done + int(state.cell[NODES]) + climbers.nodes
        if status in (SOLVED, INFEASIBLE):
            return Verdict(state.offset if status == SOLVED else None, True, spent)
        if spent >= limits.nodes or limits.reached():
            return Verdict(None, False, spent)
        if status == OVERFLOW and factor < MAX_ROOM_FACTOR:
            factor *= 2
            done = spent - climbers.nodes
            weight = state.weight
            state = make_state(instance, factor)
            state.weight[:] = weight
        restart(instance, state)
        np.maximum(state.weight * WEIGHT_DECAY, 1.0, out=state.weight)
        run += 1


def _climb(climbers: Ascents, length: int, restarted: int, limits: Limits) -> Verdict | None:
    """Continue the ascents, after ``restarted`` nodes of the other search."""
    if not climbers.paused:
        return None
    share = (limits.nodes - restarted - climbers.nodes) // len(climbers.paused)
    status, offsets = climbers.advance(min(ASCENT_NODES * length, share), limits.reached)
    if status == RUNNING:
        share = (limits.nodes - restarted - climbers.nodes) // PREFERENCES
        status, offsets = climbers.learn(min(LEARNING_NODES * length, share), limits.reached)
    if status == RUNNING:
        return None
    return Verdict(offsets, True, restarted + climbers.nodes)


def _run(instance: Instance, state: State, budget: int, limits: Limits) -> int:
    """One run in slices short enough to notice the deadline."""
    while budget > 0:
        status = int(search(instance, state, min(budget, SLICE_NODES)))
        if status != RUNNING or limits.reached():
            return status
        budget -= SLICE_NODES
    return RUNNING


def _order(keys: tuple[NDArray[Any], ...], noise: float, rng: np.random.Generator) -> Ints:
    """Buffers by falling keys, each moved at random by a share of all places."""
    order = np.lexsort(tuple(-key for key in reversed(keys)))
    if noise:
        place = np.arange(len(order)) + rng.random(len(order)) * (len(order) * noise)
        order = order[np.argsort(place, kind="stable")]
    return order.astype(np.int64)
