"""Furthest-next-use replacement in plain Python, to hold the kernel to."""

from heapq import heappop, heappush

from stowplan.passes.greedy_gaps import Kept, Timeline


def reference_gaps(accesses: Timeline, capacity_bytes: int, write_aware: bool) -> Kept:
    """What ``furthest_next_use`` must find."""
    state = Replacement(accesses, capacity_bytes, write_aware)
    for step in range(len(accesses.order)):
        state.run(step)
    return state.kept


class Replacement:
    """Which storages are resident while the steps go by; mutable."""

    def __init__(self, accesses: Timeline, capacity_bytes: int, write_aware: bool) -> None:
        self.kept = accesses.gaps(1)
        self._accesses = accesses
        self._direct = accesses.problem.memory.direct_dram
        self._free = capacity_bytes
        self._write_aware = write_aware
        count = len(accesses.steps)
        self._resident = bytearray(count)
        self._dirty = bytearray(count)
        self._next_use = [0] * count
        # Per cost (bytes moved per byte evicted, 1 or 2): (-next step, -size, storage).
        self._heaps: tuple[list[tuple[int, int, int]], ...] = ([], [], [])

    def run(self, step: int) -> None:
        """Make the operands of ``step`` resident, evicting others."""
        problem = self._accesses.problem
        operands = problem.uses(self._accesses.order[step])
        shared = self._accesses.shared[step] if self._accesses.shared else 0
        self._free += shared
        entering = [v for v in operands if not self._resident[v]]
        for v in operands:
            self._dirty[v] |= self._accesses.writes[v][self._next_use[v]]
            self._next_use[v] += 1
        for v in entering:
            self._resident[v] = 1
            self._free -= problem.size[v]
            if self._direct and not self._accesses.scratch(v):
                self._offer(v)
        if self._free < 0:
            self._make_room(step)
        for v in operands:
            if self._resident[v] and self._leaves(v, step):
                self._resident[v] = 0
                self._free += problem.size[v]
            elif self._resident[v]:
                self._offer(v)
        self._free -= shared

    def _leaves(self, storage: int, step: int) -> bool:
        """Whether the use at ``step`` is the last for which ``storage`` may be resident."""
        use, steps = self._next_use[storage], self._accesses.steps[storage]
        if use == len(steps):
            return True
        if self._accesses.may_stay(step, steps[use]):
            return False
        self._dirty[storage] = 0
        return True

    def _offer(self, storage: int) -> None:
        """Enter ``storage`` as a candidate for eviction until its next use."""
        use, steps = self._next_use[storage], self._accesses.steps[storage]
        if use == len(steps):
            # Only with direct access: an operand that is not used again need not enter at all.
            steps = (*steps, len(self._accesses.order) + 1)
        entry = (-steps[use], -self._accesses.problem.size[storage], storage)
        heappush(self._heaps[self._cost(storage)], entry)

    def _cost(self, storage: int) -> int:
        accesses = self._accesses
        final = accesses.last_write[storage] < self._next_use[storage]
        stored_anyway = final and accesses.problem.kept(storage)
        return 2 if self._dirty[storage] and not stored_anyway else 1

    def _top(self, cost: int) -> tuple[int, int, int] | None:
        """Furthest candidate of a cost; entries that no longer hold are dropped."""
        heap = self._heaps[cost]
        while heap:
            entry = heap[0]
            storage = entry[2]
            steps, use = self._accesses.steps[storage], self._next_use[storage]
            current = steps[use] if use < len(steps) else len(self._accesses.order) + 1
            if self._resident[storage] and -entry[0] == current and self._cost(storage) == cost:
                return entry
            heappop(heap)
        return None

    def _make_room(self, step: int) -> None:
        victims = []
        while self._free < 0:
            tops = [(cost, top) for cost in (1, 2) if (top := self._top(cost)) is not None]
            if not tops:
                break
            cost, entry = max(
                tops,
                key=lambda item: (
                    (-item[1][0] - step) / (item[0] if self._write_aware else 1),
                    -item[0],
                ),
            )
            heappop(self._heaps[cost])
            victims.append(entry[2])
            self._resident[entry[2]] = 0
            self._free += -entry[1]
        self._return_spare(victims)
        for v in victims:
            if not self._resident[v] and self._next_use[v] < len(self._accesses.steps[v]):
                self.kept[v][self._next_use[v] - 1] = 0
                self._dirty[v] = 0

    def _return_spare(self, victims: list[int]) -> None:
        """Take back victims that later, larger ones made unnecessary; nearest use first."""
        for v in reversed(victims):
            size = self._accesses.problem.size[v]
            if size <= self._free:
                self._free -= size
                self._resident[v] = 1
                self._offer(v)
