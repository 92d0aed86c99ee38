"""Replacement for a fixed order: which storages stay between consecutive uses.

A *gap* lies between two consecutive uses of a storage; it is *kept* (the storage stays in the
scratchpad) or *evicted* (it leaves right after the use before the gap and returns right before the
use after it). Leaving early and returning late is dominant for traffic, so the kept gaps are all
there is to decide. Addresses are left out here; :mod:`stowplan.passes.greedy_place` finds them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from operator import sub

import numpy as np
from numpy.typing import NDArray

from stowplan.passes.assemble import Stay
from stowplan.passes.order import live_bytes
from stowplan.passes.problem import PlanningProblem
from stowplan.passes.replacement_kernel import Uses, moved_bytes, replace_furthest
from stowplan.passes.takeovers import Takeovers

Kept = list[bytearray]
"""Per storage, per gap: 1 when the storage stays."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The accesses of each storage under a fixed order.

    Attributes:
        problem: the indexed problem.
        order: operator indices in execution order.
        steps: per storage, the steps that use it, ascending.
        last_write: per storage, index into ``steps`` of its last write, or -1.
        writes: per storage, per use: 1 when the use writes it.
        layers: per step, the layer it is a part of, where nothing stays from one layer to the
            next; empty where anything may.
        shared: per step, bytes of results that lie where an operand of the step ends; empty where
            nothing is replaced in place.
    """

    problem: PlanningProblem
    order: tuple[int, ...]
    steps: tuple[tuple[int, ...], ...]
    last_write: tuple[int, ...]
    writes: tuple[bytes, ...]
    layers: tuple[int, ...] = ()
    shared: tuple[int, ...] = ()

    def live_bytes(self) -> int:
        """Most bytes live at a step when nothing is evicted."""
        live = live_bytes(self.problem, self.order)
        return max(map(sub, live, self.shared) if self.shared else live, default=0)

    def sharing(self, pairs: Takeovers) -> "Timeline":
        """The same with the space of a result that replaces an operand counted once."""
        return replace(self, shared=_shared(self.problem, self.order, pairs, self.steps))

    def gaps(self, value: int) -> Kept:
        """All gaps kept (1) or evicted (0); those between layers apart are always evicted."""
        if value and self.layers:
            return [
                bytearray(map(self.may_stay, steps, steps[1:])) if steps else bytearray()
                for steps in self.steps
            ]
        return [bytearray([value]) * max(0, len(steps) - 1) for steps in self.steps]

    def may_stay(self, step: int, following: int) -> bool:
        """Whether a storage used at ``step`` and next at ``following`` may stay between them."""
        return not self.layers or self.layers[step] == self.layers[following]

    def traffic(self, storage: int, kept: bytearray) -> int:
        """Bytes moved for ``storage`` when it stays in the kept gaps only."""
        clean, needed = self.problem.clean(storage), self.problem.kept(storage)
        writes = self.writes[storage]
        moves, first = int(clean), 0
        gap = kept.find(0)
        while gap >= 0:
            moves += 1 + (writes.find(1, first, gap + 1) >= 0)
            first = gap + 1
            gap = kept.find(0, first)
        moves += needed and writes.find(1, first) >= 0
        return self.problem.size[storage] * moves

    def scratch(self, storage: int) -> bool:
        """Whether it never moves to or from DRAM: used by one operator, content needed nowhere."""
        problem = self.problem
        single = len(self.steps[storage]) == 1
        return single and not problem.clean(storage) and not problem.kept(storage)

    def occupies(self, stay: Stay) -> bool:
        """Whether ``stay`` takes space.

        Where operators reach DRAM directly, a stay of a single step that loads or stores moves the
        same bytes as a direct access and would take space for nothing.
        """
        moves = stay.loaded or stay.stored
        return not (self.problem.memory.direct_dram and stay.end == stay.start + 1 and moves)

    def stays_of(self, storage: int, kept: bytearray) -> list[Stay]:
        """Stays of ``storage`` when it stays in the kept gaps only."""
        steps, writes = self.steps[storage], self.writes[storage]
        loaded, needed = self.problem.clean(storage), self.problem.kept(storage)
        stays, first = [], 0
        gap = kept.find(0)
        while gap >= 0:
            dirty = writes.find(1, first, gap + 1) >= 0
            stays.append(Stay(storage, steps[first], steps[gap] + 1, loaded, dirty))
            first, loaded = gap + 1, True
            gap = kept.find(0, first)
        stored = needed and writes.find(1, first) >= 0
        stays.append(Stay(storage, steps[first], steps[-1] + 1, loaded, stored))
        return stays

    def stays(self, kept: Kept) -> list[Stay]:
        """Stays of all storages."""
        return [stay for v in range(len(self.steps)) for stay in self.stays_of(v, kept[v])]


def timeline(
    problem: PlanningProblem,
    order: Sequence[int],
    layers: Sequence[int] = (),
    pairs: Takeovers = (),
) -> Timeline:
    """Index the accesses of each storage under ``order``.

    Args:
        problem: the indexed problem.
        order: operator indices in execution order.
        layers: per step, the layer it is a part of, to let nothing stay between layers.
        pairs: in-place pairs, to count the space of a result that replaces an operand once.
    """
    steps: list[list[int]] = [[] for _ in problem.storages]
    writes: list[bytearray] = [bytearray() for _ in problem.storages]
    for step, operator in enumerate(order):
        updated = problem.updates[operator]
        for storage in problem.needs[operator]:
            steps[storage].append(step)
            writes[storage].append(storage in updated)
        for storage in problem.defines[operator]:
            steps[storage].append(step)
            writes[storage].append(1)
    return Timeline(
        problem,
        tuple(order),
        tuple(map(tuple, steps)),
        tuple(flags.rfind(1) for flags in writes),
        tuple(map(bytes, writes)),
        tuple(layers),
        _shared(problem, order, pairs, steps),
    )


def _shared(
    problem: PlanningProblem,
    order: Sequence[int],
    pairs: Takeovers,
    steps: Sequence[Sequence[int]],
) -> tuple[int, ...]:
    """Bytes per step that results share with operands which nobody uses afterwards."""
    # A direct access takes no space that could be shared.
    if not pairs or problem.memory.direct_dram:
        return ()
    return tuple(
        sum(problem.size[output] for output, source in pairs[o] if steps[source][-1] == step)
        for step, o in enumerate(order)
    )


def fixed_order_residencies(problem: PlanningProblem, order: Sequence[int]) -> tuple[Stay, ...]:
    """Stays that fit the capacity at every step and move few bytes; addresses not considered.

    Every operator must fit the scratchpad alone (``problem.check_fits``).
    """
    accesses = timeline(problem, order)
    kept = best_gaps(accesses, problem.memory.capacity_bytes)
    return tuple(accesses.stays(kept))


def best_gaps(accesses: Timeline, capacity_bytes: int) -> Kept:
    """The better of plain and write-back-aware furthest-next-use, each improved."""
    candidates = []
    for write_aware in (True, False):
        kept = furthest_next_use(accesses, capacity_bytes, write_aware)
        keep_more(accesses, kept, capacity_bytes)
        candidates.append(kept)
    return min(candidates, key=lambda kept: total_traffic(accesses, kept))


def total_traffic(accesses: Timeline, kept: Kept) -> int:
    """Bytes moved for all storages, compulsory ones included."""
    return sum(accesses.traffic(v, gaps) for v, gaps in enumerate(kept))


def furthest_next_use(accesses: Timeline, capacity_bytes: int, write_aware: bool) -> Kept:
    """Evict the storage whose next use is furthest, when space runs out.

    With ``write_aware`` the distance is divided by the bytes each evicted byte costs: one when
    DRAM holds the content or must receive it anyway, two when it must be written and read back.
    On targets with direct DRAM access an operand may also be evicted at its own use: it then
    never occupies the scratchpad.

    Source: Belady, "A study of replacement algorithms for a virtual-storage computer", 1966; the
    weights are ours.
    """
    uses, kept = _replaced(accesses, capacity_bytes, write_aware)
    flags, begin = bytearray(kept), uses.begin.tolist()
    return [flags[first : max(first, last - 1)] for first, last in pairwise(begin)]


def replaced_traffic(accesses: Timeline, capacity_bytes: int) -> int:
    """Bytes moved under write-aware furthest-next-use replacement, compulsory ones included."""
    return int(moved_bytes(*_replaced(accesses, capacity_bytes, write_aware=True)))


def _replaced(
    accesses: Timeline, capacity_bytes: int, write_aware: bool
) -> tuple[Uses, NDArray[np.uint8]]:
    """The accesses as arrays, and per use whether the storage stays until its next."""
    uses = _uses(accesses)
    kept = np.ones(uses.step.size, dtype=np.uint8)
    direct = accesses.problem.memory.direct_dram
    replace_furthest(uses, kept, capacity_bytes, write_aware, direct)
    return uses, kept


def _uses(accesses: Timeline) -> Uses:
    """The accesses as arrays."""
    problem, steps = accesses.problem, accesses.steps
    count, nothing = len(steps), [0] * len(accesses.order)
    size = np.array(problem.size, dtype=np.int64)
    ranked = np.argsort(-size, kind="stable")
    rank = np.empty(count, dtype=np.int64)
    rank[ranked] = np.arange(count)
    begin = np.zeros(count + 1, dtype=np.int64)
    np.cumsum([len(each) for each in steps], out=begin[1:])
    return Uses(
        begin=begin,
        step=np.fromiter(chain.from_iterable(steps), np.int64, int(begin[-1])),
        writes=np.array(bytearray().join(accesses.writes), dtype=np.uint8),
        size=size,
        rank=rank,
        ranked=ranked,
        last_write=np.array(accesses.last_write, dtype=np.int64),
        clean=np.array([storage.starts_in_dram for storage in problem.storages], dtype=np.uint8),
        stored=np.array([storage.ends_in_dram for storage in problem.storages], dtype=np.uint8),
        scratch=np.array([accesses.scratch(v) for v in range(count)], dtype=np.uint8),
        layer=np.array(accesses.layers or nothing, dtype=np.int64),
        shared=np.array(accesses.shared or nothing, dtype=np.int64),
    )


def keep_more(accesses: Timeline, kept: Kept, capacity_bytes: int) -> None:
    """Keep evicted gaps that fit after all, those first that save most per byte and step.

    Changes ``kept``. Replacement decides step by step; bytes a later eviction set free again are
    found only in hindsight.
    """
    problem = accesses.problem
    usage = occupied_bytes(accesses, kept)
    gaps = []
    for v, flags in enumerate(kept):
        gap = flags.find(0)
        while gap >= 0:
            before, after = accesses.steps[v][gap : gap + 2]
            if accesses.may_stay(before, after):
                saved = _saved(accesses, v, flags, gap)
                gaps.append((-saved / (problem.size[v] * (after - before)), v, gap))
            gap = flags.find(0, gap + 1)
    for _, v, gap in sorted(gaps):
        low, high = _added(accesses, v, kept[v], gap)
        if low >= high or usage[low:high].max() + problem.size[v] <= capacity_bytes:
            kept[v][gap] = 1
            usage[low:high] += problem.size[v]


def _added(accesses: Timeline, storage: int, flags: bytearray, gap: int) -> tuple[int, int]:
    """Steps in which keeping ``gap`` makes ``storage`` take more space; half-open."""
    low, high = accesses.steps[storage][gap] + 1, accesses.steps[storage][gap + 1]
    if not accesses.problem.memory.direct_dram:
        return low, high
    # A use between two evicted gaps is a direct access and takes space only from now on.
    alone_before = gap == 0 or not flags[gap - 1]
    alone_after = gap + 1 == len(flags) or not flags[gap + 1]
    return low - alone_before, high + alone_after


def _saved(accesses: Timeline, storage: int, flags: bytearray, gap: int) -> int:
    """Bytes that keeping ``gap`` would save."""
    before = accesses.traffic(storage, flags)
    flags[gap] = 1
    saved = before - accesses.traffic(storage, flags)
    flags[gap] = 0
    return saved


def occupied_bytes(accesses: Timeline, kept: Kept) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Occupied bytes per step."""
    change = [0] * (len(accesses.order) + 1)
    for stay in accesses.stays(kept):
        if accesses.occupies(stay):
            change[stay.start] += accesses.problem.size[stay.storage]
            change[stay.end] -= accesses.problem.size[stay.storage]
    usage = np.cumsum(np.array(change, dtype=np.int64))[:-1]
    return usage - np.array(accesses.shared, dtype=np.int64) if accesses.shared else usage
