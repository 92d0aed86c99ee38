"""Large-neighbourhood search for tiled graphs: windows of the order, re-planned and placed again.

A schedule here is an order and the gaps between uses in which storages stay. Each trial destroys a
window of steps around an eviction, and repairs it by one of

* *keep*: gaps evicted in the window are kept after all, in random order, as far as space allows;
* *swap*: gaps kept across the most crowded step of the window give way to one that is evicted;
* *move*: an operator of the window moves within the bounds its neighbours in the graph set, and
  replacement (furthest next use) decides the gaps of the new order;
* *turn*: tiles of one layer that follow one another run in reverse order, so that what the layer
  before left last is read first.

The result is placed step by step, which may evict more where space is fragmented, and becomes the
current schedule when the objective does not grow. All of it is linear in the number of steps, so
that graphs of ten thousand tiles see some dozens of trials in a minute and small ones thousands.
"""

import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stowplan.ilp.crossings import BOUND_SOURCE, crossing_bound
from stowplan.ilp.incumbent import Incumbent
from stowplan.ir.plan import Plan, Proof
from stowplan.passes.assemble import assemble_plan
from stowplan.passes.greedy_gaps import (
    Kept,
    Timeline,
    furthest_next_use,
    occupied_bytes,
    timeline,
    total_traffic,
)
from stowplan.passes.greedy_pack import place_offline
from stowplan.passes.greedy_place import Placement, place_in_time
from stowplan.passes.takeovers import Takeovers, takeovers

WINDOW_SHARES = (0.02, 0.05, 0.15)
SMALLEST_WINDOW = 12
BOUND_SHARE = 0.3
METHOD = "windows of tiles"


@dataclass(frozen=True, slots=True)
class _Trial:
    """A placed schedule.

    Attributes:
        accesses: its order.
        kept: gaps kept, evictions of the placement included.
        placement: where stays lie.
        value: objective of the plan; for ``offchip`` up to a constant.
    """

    accesses: Timeline
    kept: Kept
    placement: Placement
    value: int


def improve_stripes(best: Incumbent) -> None:
    """Raise the bound, then improve the plan until time runs out or it is proven."""
    problem = best.problem
    if best.options.objective == "offchip" and not best.done():
        best.report("bound")
        bound = crossing_bound(problem, best.limits(BOUND_SHARE))
        best.raise_bound(bound + best.constant, BOUND_SOURCE)
    if not best.done():
        _Search(best).run()


class _Search:
    """The current schedule and what it is judged by; mutable."""

    def __init__(self, best: Incumbent) -> None:
        self._best = best
        self._problem = best.problem
        self._rng = random.Random(best.options.seed)
        self._pairs: Takeovers = takeovers(best.problem)
        memory = best.problem.memory
        self._capacity = memory.capacity_bytes - memory.capacity_bytes % memory.alignment_bytes
        self._layer = _layers(best)
        names = {op.name: o for o, op in enumerate(best.graph.operators)}
        order = tuple(names[name] for name in best.plan.order)
        self._current = self._start(order)

    def run(self) -> None:
        """Try windows until there is no time left."""
        self._settle(self._current)
        while not self._best.done():
            self._best.report("windows of tiles")
            trial = self._changed()
            if trial is None or trial.value > self._current.value:
                continue
            better = trial.value < self._current.value
            self._current = trial
            if better:
                self._settle(trial)

    def _start(self, order: tuple[int, ...]) -> _Trial:
        """The best placement of the first plan's order."""
        trials = []
        for pairs in (self._pairs, ()):
            accesses = timeline(self._problem, order, pairs=pairs)
            kept = furthest_next_use(accesses, self._capacity, write_aware=True)
            trials += [self._place(accesses, kept, by_lifetime) for by_lifetime in (False, True)]
        return min(trials, key=lambda trial: trial.value)

    def _changed(self) -> _Trial | None:
        """The current schedule with one window re-planned; None when there is nothing to do."""
        low, high = self._window()
        draw = self._rng.random()
        if draw < 0.3:
            return self._keep(low, high, crowd=False)
        if draw < 0.6:
            return self._keep(low, high, crowd=True)
        order = self._moved(low, high) if draw < 0.85 else self._turned(low, high)
        if order is None:
            return None
        pairs = self._pairs if self._rng.random() < 0.5 else ()
        accesses = timeline(self._problem, order, pairs=pairs)
        kept = furthest_next_use(accesses, self._capacity, write_aware=True)
        if total_traffic(accesses, kept) > self._current.placement.traffic_bytes:
            return None
        return self._place(accesses, kept, self._rng.random() < 0.5)

    def _window(self) -> tuple[int, int]:
        """Steps around an eviction, larger storages more often."""
        steps = len(self._current.accesses.order)
        size = max(SMALLEST_WINDOW, int(steps * self._rng.choice(WINDOW_SHARES)))
        moved = [stay for stay in self._current.placement.stays if stay.loaded or stay.stored]
        centre = self._rng.randrange(steps)
        if moved:
            drawn = [self._rng.choice(moved) for _ in range(3)]
            stay = max(drawn, key=lambda each: self._problem.size[each.storage])
            centre = stay.start if self._rng.random() < 0.5 else stay.end - 1
        low = max(0, centre - self._rng.randrange(size))
        return low, min(steps, low + size)

    def _keep(self, low: int, high: int, crowd: bool) -> _Trial | None:
        """Keep gaps evicted in the window; with ``crowd`` others give way to them."""
        accesses = self._current.accesses
        kept = [bytearray(flags) for flags in self._current.kept]
        gaps = _evicted(accesses, kept, low, high)
        if not gaps:
            return None
        self._rng.shuffle(gaps)
        usage = occupied_bytes(accesses, kept)
        chosen = gaps[: 1 + self._rng.randrange(4)] if crowd else gaps
        for v, gap in chosen:
            begin, end = accesses.steps[v][gap] + 1, accesses.steps[v][gap + 1]
            size = self._problem.size[v]
            if begin < end and crowd:
                self._give_way(accesses, kept, usage, (begin, end), size, v)
            if begin >= end or usage[begin:end].max() + size <= self._capacity:
                kept[v][gap] = 1
                usage[begin:end] += size
        return self._place(accesses, kept, self._rng.random() < 0.5)

    def _give_way(
        self,
        accesses: Timeline,
        kept: Kept,
        usage: "np.ndarray[tuple[int], np.dtype[np.int64]]",
        span: tuple[int, int],
        size_bytes: int,
        storage: int,
    ) -> None:
        """Evict kept gaps across the fullest steps of ``span`` until ``size_bytes`` fit."""
        begin, end = span
        for _ in range(4):
            at = begin + int(usage[begin:end].argmax())
            if usage[at] + size_bytes <= self._capacity:
                return
            crossing = _across(accesses, kept, at, storage)
            if not crossing:
                return
            v, gap = self._rng.choice(crossing)
            kept[v][gap] = 0
            usage[accesses.steps[v][gap] + 1 : accesses.steps[v][gap + 1]] -= self._problem.size[v]

    def _moved(self, low: int, high: int) -> tuple[int, ...] | None:
        """The order with one operator elsewhere, between its predecessors and its successors."""
        order = self._current.accesses.order
        at = self._rng.randrange(low, high)
        operator = order[at]
        before, after = self._problem.predecessors[operator], self._problem.successors[operator]
        first = max((i + 1 for i in range(low, at) if order[i] in before), default=low)
        last = min((i for i in range(at + 1, high) if order[i] in after), default=high) - 1
        if first >= last:
            return None
        to = self._rng.randrange(first, last + 1)
        rest = [*order[:at], *order[at + 1 :]]
        return (*rest[:to], operator, *rest[to:]) if to != at else None

    def _turned(self, low: int, high: int) -> tuple[int, ...] | None:
        """The order with a run of tiles of one layer reversed, where they do not depend."""
        order = self._current.accesses.order
        at = self._rng.randrange(low, high)
        begin = end = at
        while begin > 0 and self._layer[order[begin - 1]] == self._layer[order[at]]:
            begin -= 1
        while end < len(order) and self._layer[order[end]] == self._layer[order[at]]:
            end += 1
        run = order[begin:end]
        members = set(run)
        if len(run) < 2 or any(members & set(self._problem.predecessors[o]) for o in run):
            return None
        return (*order[:begin], *reversed(run), *order[end:])

    def _place(self, accesses: Timeline, kept: Kept, by_lifetime: bool) -> _Trial:
        if self._rng.random() < 0.25:
            packed = place_offline(accesses, kept, self._capacity, self._pairs, by_lifetime)
            if packed is not None:
                return self._trial(accesses, packed)
        placed = place_in_time(accesses, kept, self._capacity, self._pairs, by_lifetime)
        return self._trial(accesses, placed)

    def _trial(self, accesses: Timeline, placement: Placement) -> _Trial:
        value = placement.traffic_bytes
        # Which weights stream again depends on the order where the weight buffer keeps them.
        if self._best.options.objective != "offchip" or self._problem.memory.keeps_weights:
            value = self._best.measure(self._plan(accesses, placement))
        return _Trial(accesses, _kept(accesses, placement), placement, value)

    def _settle(self, trial: _Trial) -> None:
        """Take the trial as the best plan if it is."""
        plan = self._plan(trial.accesses, trial.placement)
        value = self._best.measure(plan)
        if value < self._best.value:
            self._best.plan, self._best.value, self._best.method = plan, value, METHOD

    def _plan(self, accesses: Timeline, placement: Placement) -> Plan:
        return assemble_plan(
            self._problem,
            self._best.target,
            accesses.order,
            placement.stays,
            placement.addresses,
            Proof(self._best.options.objective, 0, 0, METHOD, ""),
            self._best.planner,
            placement.direct,
        )


def _layers(best: Incumbent) -> list[int]:
    """Per operator, a number of the layer it is a tile of."""
    numbers: dict[str, int] = {}
    wholes = [op.parent or op.name for op in best.graph.operators]
    return [numbers.setdefault(name, len(numbers)) for name in wholes]


def _kept(accesses: Timeline, placement: Placement) -> Kept:
    """The gaps that the stays of a placement span."""
    kept = accesses.gaps(0)
    for stay in placement.stays:
        steps = accesses.steps[stay.storage]
        first, last = bisect_left(steps, stay.start), bisect_left(steps, stay.end)
        kept[stay.storage][first : last - 1] = b"\1" * (last - 1 - first)
    return kept


def _evicted(
    accesses: Timeline, kept: Sequence[bytearray], low: int, high: int
) -> list[tuple[int, int]]:
    """(storage, gap) of evicted gaps that meet steps ``[low, high)``."""
    found = []
    for v, flags in enumerate(kept):
        gap = flags.find(0)
        while gap >= 0:
            if accesses.steps[v][gap] < high and accesses.steps[v][gap + 1] > low:
                found.append((v, gap))
            gap = flags.find(0, gap + 1)
    return found


def _across(
    accesses: Timeline, kept: Sequence[bytearray], step: int, storage: int
) -> list[tuple[int, int]]:
    """(storage, gap) of kept gaps with ``step`` inside, those of ``storage`` left out."""
    found = []
    for v, flags in enumerate(kept):
        steps = accesses.steps[v]
        gap = bisect_left(steps, step) - 1
        inside = 0 <= gap < len(flags) and steps[gap] < step < steps[gap + 1]
        if v != storage and inside and flags[gap]:
            found.append((v, gap))
    return found
