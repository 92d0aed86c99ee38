"""The production-style heuristic: benefit per byte, in the manner of XLA's memory-space assignment.

Storages are taken in the order of the time that fast memory saves per byte. For each, its accesses
are walked in program order: a stay is lengthened to the next access where the space allows it;
otherwise the storage is evicted and prefetched again in a window in which other operators supply
the bandwidth; otherwise the access goes to DRAM. A storage whose eviction finds no window goes to
DRAM altogether. Space is a rectangle per stay in address x time, so later storages fill the gaps
that earlier ones leave.

Source: the algorithm as described in the documentation and the comments of XLA's memory space
assignment (sorted by memory-boundedness, no-copy before prefetch, an interval picker by the ratio
of elapsed time to copy time, chunks that stay free the longest); written from that description.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stowplan.ir.plan import Plan, Residency, Transfer, TransferKind
from stowplan.rl_mapper import game_kernels as kernels
from stowplan.rl_mapper.game import COPY, DROP, LOOKBACK_STEPS, NOCOPY, ON_CHIP, Instance
from stowplan.rl_mapper.mapping import OPEN_PROOF, plan_of_stays

OVERLAP_RATIOS = (1.5, 1.0, 2.0, 4.0)
"""Elapsed spare time over copy time of the windows tried, the preferred one first."""


@dataclass(slots=True)
class Stay:
    """One stay being built; mutable while its storage is walked."""

    storage: int
    address: int
    reserved: int
    start: int
    end: int
    loaded: bool
    store: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """What the heuristic decides.

    Attributes:
        wishes: per decision Copy, NoCopy or Drop [A].
        stays: where and when storages lie on chip.
    """

    wishes: kernels.Ints
    stays: tuple[Stay, ...]

    @property
    def on_chip(self) -> kernels.Ints:
        """The same choice with the way into fast memory left open [A]."""
        return np.where(self.wishes == DROP, DROP, ON_CHIP).astype(np.int64)


def assign(instance: Instance) -> Assignment:
    """Run the heuristic; time grows with the square of the number of stays at worst."""
    walk = _Walk(instance)
    for v in _by_benefit(instance):
        walk.storage(v)
    return Assignment(walk.wishes, tuple(walk.stays))


def heuristic_plan(instance: Instance, assignment: Assignment, planner: str = "rl") -> Plan:
    """The plan with the heuristic's own addresses and windows."""
    names = [storage.name for storage in instance.problem.storages]
    residencies = [
        Residency(names[s.storage], s.start, s.end, s.address, s.reserved) for s in assignment.stays
    ]
    transfers = [
        Transfer(TransferKind.LOAD, names[s.storage], s.reserved, s.start)
        for s in assignment.stays
        if s.loaded
    ] + [
        Transfer(TransferKind.STORE, names[s.storage], *s.store)
        for s in assignment.stays
        if s.store is not None
    ]
    return plan_of_stays(instance, assignment.wishes, residencies, transfers, OPEN_PROOF, planner)


def saved_cycles(instance: Instance) -> np.ndarray:
    """Per decision, the cycles that fast memory saves while all other accesses are in DRAM [A]."""
    rules = instance.rules
    direct = np.zeros(len(rules.step), dtype=np.int64)
    reads = np.zeros(len(rules.step), dtype=np.int64)
    step = rules.decision[:, kernels.STEP]
    np.add.at(direct, step, rules.decision[:, kernels.DIRECT_BYTES])
    np.add.at(reads, step, rules.decision[:, kernels.DIRECT_READ])
    direct += rules.step[:, kernels.STREAMED]
    without = direct[step] - rules.decision[:, kernels.DIRECT_BYTES]
    others = reads[step] - rules.decision[:, kernels.DIRECT_READ]
    before = _cycles(rules, step, direct[step], reads[step])
    return np.asarray(before - _cycles(rules, step, without, others))


def _cycles(
    rules: kernels.Rules, step: np.ndarray, direct: np.ndarray, reads: np.ndarray
) -> np.ndarray:
    rate, latency = rules.limits[kernels.BANDWIDTH], rules.limits[kernels.LATENCY]
    busy = np.maximum(rules.step[step, kernels.COMPUTE], -(-direct // rate))
    return np.asarray(busy + latency * (reads > 0))


def _by_benefit(instance: Instance) -> list[int]:
    rules = instance.rules
    saved = np.zeros(len(rules.storage))
    np.add.at(saved, rules.decision[:, kernels.STORAGE], saved_cycles(instance))
    moved = np.zeros(len(rules.storage))
    np.add.at(moved, rules.decision[:, kernels.STORAGE], rules.decision[:, kernels.DIRECT_BYTES])
    size = np.maximum(1, rules.storage[:, kernels.SIZE])
    order = np.lexsort((np.arange(len(size)), -moved / size, -saved / size))
    return [int(v) for v in order]


class _Walk:
    """Space, bandwidth and choices so far; mutable."""

    def __init__(self, instance: Instance) -> None:
        rules = instance.rules
        self._rules = rules
        self._steps = len(rules.step) - 1
        self._capacity = int(rules.limits[kernels.CAPACITY])
        self._rate = int(rules.limits[kernels.BANDWIDTH])
        self._direct = rules.step[:, kernels.STREAMED].copy()
        self._reads = np.zeros(len(rules.step), dtype=np.int64)
        step = rules.decision[:, kernels.STEP]
        np.add.at(self._direct, step, rules.decision[:, kernels.DIRECT_BYTES])
        np.add.at(self._reads, step, rules.decision[:, kernels.DIRECT_READ])
        self._used = np.zeros(len(rules.step), dtype=np.int64)
        self._of: list[list[int]] = [[] for _ in rules.storage]
        for a, v in enumerate(rules.decision[:, kernels.STORAGE].tolist()):
            self._of[v].append(a)
        self._taken = np.zeros((64, 4), dtype=np.int64)
        self._count = 0
        self.wishes = np.full(len(rules.decision), DROP, dtype=np.int64)
        self.stays: list[Stay] = []

    def storage(self, v: int) -> None:
        """Decide every access of one storage."""
        accesses = self._of[v]
        used = self._used.copy()
        found = self._walk(v, accesses)
        if found is None:
            self._used = used
            return
        choices, stays = found
        self.stays += stays
        size = int(self._rules.storage[v, kernels.SIZE])
        for stay in stays:
            self._take(stay.address, stay.address + size, stay.reserved, stay.end)
        for a, choice in zip(accesses, choices, strict=True):
            self.wishes[a] = choice
            if choice != DROP:
                row = self._rules.decision[a]
                self._direct[row[kernels.STEP]] -= row[kernels.DIRECT_BYTES]
                self._reads[row[kernels.STEP]] -= row[kernels.DIRECT_READ]

    def _walk(self, v: int, accesses: list[int]) -> tuple[list[int], list[Stay]] | None:
        """Choices and stays of ``v``; None when DRAM's copy cannot be kept current."""
        rules = self._rules
        valid = 0 if rules.storage[v, kernels.IN_DRAM] else -1
        written = -1
        current: Stay | None = None
        choices: list[int] = []
        stays: list[Stay] = []
        for k, a in enumerate(accesses):
            row = rules.decision[a]
            t = int(row[kernels.STEP])
            writes = bool(row[kernels.WRITES])
            choice = DROP
            if not (writes and rules.storage[v, kernels.OUT_DRAM]):
                if row[kernels.DEFINES]:
                    current = self._define(v, accesses[k:], t)
                elif current is not None and self._lengthen(v, current, t):
                    pass
                else:
                    if valid < 0:
                        valid = self._evict(v, current, written, t)
                        if valid < 0:
                            return None
                    since = max(valid, current.end if current else 0)
                    current = self._prefetch(v, accesses[k:], t, since)
                    choice = DROP if current is None else COPY
                if current is not None:
                    choice = NOCOPY if choice == DROP else choice
                    if current not in stays:
                        stays.append(current)
            elif current is not None:
                current = None
            if choice == DROP:
                if not row[kernels.DEFINES] and valid < 0:
                    return None
                current = None
                valid = t + 1 if writes else valid
            elif writes:
                valid, written = -1, t
            choices.append(choice)
        return choices, stays

    def _define(self, v: int, accesses: list[int], t: int) -> Stay | None:
        address = self._longest_free(v, accesses, t)
        return None if address is None else Stay(v, address, t, t, t + 1, loaded=False)

    def _lengthen(self, v: int, stay: Stay, t: int) -> bool:
        size = int(self._rules.storage[v, kernels.SIZE])
        spans = self._spans(stay.end, t + 1)
        if any(low < stay.address + size and stay.address < high for low, high in spans):
            return False
        stay.end = t + 1
        return True

    def _evict(self, v: int, stay: Stay | None, written: int, t: int) -> int:
        """Store in the earliest window after the last write; the boundary it is complete at."""
        if stay is None:
            return -1
        need = int(self._rules.storage[v, kernels.MOVED_BYTES])
        need += int(self._rules.limits[kernels.STORE_BYTES])
        for i in range(written + 1, t):
            taken = min(need, self._spare(i))
            self._used[i] += taken
            need -= taken
            if need == 0:
                if i + 1 > stay.end and not self._lengthen(v, stay, i):
                    return -1
                stay.store = (written + 1, i + 1)
                return i + 1
        return -1

    def _prefetch(self, v: int, accesses: list[int], t: int, since: int) -> Stay | None:
        charge = int(self._rules.storage[v, kernels.MOVED_BYTES])
        charge += int(self._rules.limits[kernels.LOAD_BYTES])
        for begin in self._windows(t, charge, since):
            address = self._longest_free(v, accesses, t, begin)
            if address is None:
                continue
            need = charge
            for i in range(t - 1, begin - 1, -1):
                taken = min(need, self._spare(i))
                self._used[i] += taken
                need -= taken
            return Stay(v, address, begin, t, t + 1, loaded=True)
        return None

    def _windows(self, t: int, charge: int, since: int) -> Iterator[int]:
        """First steps of windows that supply the bytes, by :data:`OVERLAP_RATIOS`."""
        supplied = 0
        reached: dict[float, int] = {}
        for i in range(t - 1, max(since, t - LOOKBACK_STEPS) - 1, -1):
            supplied += self._spare(i)
            for ratio in OVERLAP_RATIOS:
                if supplied >= ratio * charge:
                    reached.setdefault(ratio, i)
        yield from dict.fromkeys(reached[ratio] for ratio in OVERLAP_RATIOS if ratio in reached)

    def _spare(self, i: int) -> int:
        rules = self._rules
        busy = max(int(rules.step[i, kernels.COMPUTE]), -(-int(self._direct[i]) // self._rate))
        busy += int(rules.limits[kernels.LATENCY]) if self._reads[i] else 0
        return max(0, busy * self._rate - int(self._direct[i]) - int(self._used[i]))

    def _longest_free(
        self, v: int, accesses: list[int], t: int, begin: int | None = None
    ) -> int | None:
        """Address free from ``begin`` through as many of the accesses as possible."""
        begin = t if begin is None else begin
        ends = [int(self._rules.decision[a, kernels.STEP]) + 1 for a in accesses]
        size = int(self._rules.storage[v, kernels.SIZE])
        first = self._lowest(size, begin, ends[0])
        if first is None or len(ends) == 1:
            return first
        low, high = 0, len(ends) - 1
        best = first
        while low < high:
            middle = (low + high + 1) // 2
            address = self._lowest(size, begin, ends[middle])
            if address is None:
                high = middle - 1
            else:
                best, low = address, middle
        return best

    def _lowest(self, size: int, begin: int, end: int) -> int | None:
        reached = 0
        for low, high in self._spans(begin, end):
            if low - reached >= size:
                return reached
            reached = max(reached, high)
        return reached if reached + size <= self._capacity else None

    def _spans(self, begin: int, end: int) -> list[tuple[int, int]]:
        taken = self._taken[: self._count]
        rows = taken[(taken[:, 2] < end) & (taken[:, 3] > begin)]
        return sorted(zip(rows[:, 0].tolist(), rows[:, 1].tolist(), strict=True))

    def _take(self, low: int, high: int, begin: int, end: int) -> None:
        if self._count == len(self._taken):
            self._taken = np.concatenate([self._taken, np.zeros_like(self._taken)])
        self._taken[self._count] = low, high, begin, end
        self._count += 1
