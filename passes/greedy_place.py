"""Addresses for chosen gaps, step by step, with further evictions where fragmentation blocks.

The sweep follows the kept gaps it is given. Where an operand finds no hole it evicts the cheapest
run of neighbouring blocks; where operands of the running operator stand in the way it moves some of
them (evict, reload elsewhere), which always succeeds because the operands alone fit.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from stowplan.errors import InternalError
from stowplan.passes.assemble import Stay
from stowplan.passes.greedy_gaps import Kept, Timeline, total_traffic
from stowplan.passes.place import tightest_hole


@dataclass(frozen=True, slots=True)
class Placement:
    """Stays with addresses.

    Attributes:
        stays: every stay that occupies the scratchpad.
        addresses: byte address per stay.
        direct: (storage, step) pairs accessed in DRAM.
        traffic_bytes: bytes moved for planned storages, compulsory ones included.
        peak_bytes: highest byte used.
    """

    stays: tuple[Stay, ...]
    addresses: tuple[int, ...]
    direct: tuple[tuple[int, int], ...]
    traffic_bytes: int
    peak_bytes: int


def split_direct(
    accesses: Timeline, stays: Sequence[Stay]
) -> tuple[list[Stay], list[tuple[int, int]]]:
    """Stays that take space, and the (storage, step) accesses that go to DRAM instead."""
    direct = [(stay.storage, stay.start) for stay in stays if not accesses.occupies(stay)]
    return [stay for stay in stays if accesses.occupies(stay)], direct


def place_in_time(
    accesses: Timeline,
    guide: Kept,
    capacity_bytes: int,
    takeovers: Sequence[tuple[tuple[int, int], ...]],
    by_lifetime: bool,
) -> Placement:
    """Place the stays of ``guide`` in order of time; always succeeds.

    Args:
        accesses: the fixed order's accesses.
        guide: gaps to keep; further ones are evicted where no place is found.
        capacity_bytes: size of the scratchpad; every operator must fit alone, unless operators
            reach DRAM directly.
        takeovers: per operator, (output, input) storages that may share an address.
        by_lifetime: short stays go to the top, long ones to the bottom; else the tightest hole.
    """
    sweep = _Sweep(accesses, guide, capacity_bytes, takeovers, by_lifetime)
    for step in range(len(accesses.order)):
        sweep.run(step)
    stays, direct = split_direct(accesses, accesses.stays(sweep.kept))
    stays = [stay for stay in stays if stay.storage not in sweep.outside]
    direct += [(v, accesses.steps[v][0]) for v in sweep.outside]
    addresses = tuple(sweep.address_of[stay.storage, stay.start] for stay in stays)
    sizes = accesses.problem.size
    return Placement(
        tuple(stays),
        addresses,
        tuple(direct),
        total_traffic(accesses, sweep.kept) + sum(sizes[v] for v in sweep.outside),
        max((a + sizes[s.storage] for a, s in zip(addresses, stays, strict=True)), default=0),
    )


class _Sweep:
    """Blocks in the scratchpad while the steps go by; mutable.

    Attributes:
        kept: the guide less the gaps evicted since.
        address_of: address by (storage, first step of the stay).
        outside: storages of a single use that go to DRAM for want of space.
    """

    def __init__(
        self,
        accesses: Timeline,
        guide: Kept,
        capacity_bytes: int,
        takeovers: Sequence[tuple[tuple[int, int], ...]],
        by_lifetime: bool,
    ) -> None:
        self.kept = [bytearray(flags) for flags in guide]
        self.address_of: dict[tuple[int, int], int] = {}
        self.outside: list[int] = []
        self._accesses = accesses
        self._size = accesses.problem.size
        self._direct = accesses.problem.memory.direct_dram
        self._capacity = capacity_bytes
        self._takeovers = takeovers
        lengths = [stay.end - stay.start for stay in accesses.stays(guide)]
        self._short = sum(lengths) // max(1, len(lengths)) if by_lifetime else 0
        self._use = [-1] * len(self._size)
        self._dirty = bytearray(len(self._size))
        # Blocks by address: their bytes, and the storages that lie there.
        self._spans: list[tuple[int, int]] = []
        self._blocks: list[int] = []
        self._low: dict[int, int] = {}

    def run(self, step: int) -> None:
        """Place what ``step`` needs, then release what leaves after it."""
        operator = self._accesses.order[step]
        operands = self._accesses.problem.uses(operator)
        for v in operands:
            self._use[v] += 1
            dirty = self._dirty[v] and v in self._low
            self._dirty[v] = dirty or self._accesses.writes[v][self._use[v]]
        entering = [v for v in operands if v not in self._low and self._occupies(v)]
        outputs = dict(self._takeovers[operator])
        waiting = {v for v in entering if v in outputs and self._dead(outputs[v])}
        entering.sort(key=lambda v: (-self._size[v], v))
        for v in entering:
            if v not in waiting and v not in self._low and self._occupies(v):
                self._enter(v, step, operands)
        for v in entering:
            if v in waiting:
                self._replace(outputs[v], v, step, operands)
        for v in operands:
            if v in self._low and self._leaves(v):
                self._remove(v)

    def _occupies(self, storage: int) -> bool:
        """Whether a stay that begins now takes space; direct accesses do not."""
        return not (self._direct and self._leaves(storage)) or self._accesses.scratch(storage)

    def _leaves(self, storage: int) -> bool:
        """Whether its stay ends with the current use."""
        kept, use = self.kept[storage], self._use[storage]
        return use >= len(kept) or not kept[use]

    def _dead(self, storage: int) -> bool:
        """Whether nobody uses it after the current step."""
        return self._use[storage] == len(self.kept[storage])

    def _replace(self, source: int, output: int, step: int, operands: Sequence[int]) -> None:
        """Give the place of ``source``, which is not needed any more, to ``output``."""
        if source not in self._low:
            self._enter(output, step, operands)
            return
        address = self._low[source]
        self._remove(source)
        self._insert(output, address, step)

    def _insert(self, storage: int, address: int, step: int) -> None:
        span = (address, address + self._size[storage])
        at = bisect_left(self._spans, span)
        self._spans.insert(at, span)
        self._blocks.insert(at, storage)
        self._low[storage] = address
        self.address_of[storage, step] = address

    def _remove(self, storage: int) -> None:
        at = bisect_left(self._spans, (self._low.pop(storage),))
        del self._spans[at]
        del self._blocks[at]

    def _enter(self, storage: int, step: int, operands: Sequence[int]) -> None:
        address = self._hole(storage)
        if address is None:
            address = self._evict_run(storage, step, operands)
        if address is not None:
            self._insert(storage, address, step)
        elif self._accesses.scratch(storage) and self._direct:
            self.outside.append(storage)
        elif self._direct:
            self.kept[storage][self._use[storage]] = 0
        else:
            self._move_operands(storage, step, operands)

    def _hole(self, storage: int) -> int | None:
        size = self._size[storage]
        if self._length(storage) >= self._short:
            return tightest_hole(self._spans, size, self._capacity)
        ceiling = self._capacity
        for low, high in reversed(self._spans):
            if ceiling - high >= size:
                break
            ceiling = low
        return ceiling - size if ceiling >= size else None

    def _length(self, storage: int) -> int:
        """Steps the stay that begins now will last."""
        use = self._use[storage]
        end = self.kept[storage].find(0, use)
        steps = self._accesses.steps[storage]
        return steps[end if end >= 0 else -1] - steps[use] + 1

    def _evict_run(self, storage: int, step: int, operands: Sequence[int]) -> int | None:
        """Evict the cheapest neighbouring blocks whose place is large enough; its address."""
        size = self._size[storage]
        costs = [self._cost(v, step) if v not in operands else None for v in self._blocks]
        best: tuple[float, int, int, int] | None = None
        floor = 0
        for first, span in enumerate(self._spans):
            total = 0.0
            for last in range(first, len(self._blocks)):
                cost = costs[last]
                if cost is None:
                    break
                total += cost
                if best is not None and total >= best[0]:
                    break
                above = last + 1 < len(self._spans)
                ceiling = self._spans[last + 1][0] if above else self._capacity
                if ceiling - floor >= size:
                    best = (total, floor, first, last)
                    break
            floor = span[1]
        if best is None or (self._direct and self._cost(storage, step) <= best[0]):
            return None
        for v in self._blocks[best[2] : best[3] + 1]:
            self._evict(v)
        return best[1]

    def _evict(self, storage: int) -> None:
        """Evict after its last use; the space is free from now on."""
        self.kept[storage][self._use[storage]] = 0
        self._remove(storage)

    def _cost(self, storage: int, step: int) -> float:
        """Bytes that evicting moves, over the steps for which it frees the space."""
        accesses, use = self._accesses, self._use[storage]
        if accesses.scratch(storage):
            return float(self._size[storage])
        final = accesses.last_write[storage] <= use and accesses.problem.kept(storage)
        times = 2 if self._dirty[storage] and not final else 1
        return times * self._size[storage] / (accesses.steps[storage][use + 1] - step)

    def _move_operands(self, entering: int, step: int, operands: Sequence[int]) -> None:
        """Keep as many resident operands in place as possible and place the others around them.

        With none in place the operands stand side by side, which fits.
        """
        fresh = [v for v in operands if self.address_of.get((v, step)) == self._low.get(v, -1)]
        settled = [v for v in operands if v in self._low and v not in fresh]
        settled.sort(key=lambda v: (-self._size[v], v))
        for anchored in range(len(settled), -1, -1):
            moving = sorted(
                [entering, *fresh, *settled[anchored:]], key=lambda v: (-self._size[v], v)
            )
            addresses = self._around(settled[:anchored], moving)
            if addresses is not None:
                break
        else:
            raise InternalError("operands that fit alone do not fit side by side")
        for v in settled[anchored:]:
            self.kept[v][self._use[v] - 1] = 0
        for v in (*fresh, *settled[anchored:]):
            self._remove(v)
        spans = [(a, a + self._size[v]) for v, a in zip(moving, addresses, strict=True)]
        for v in [v for v in self._blocks if v not in operands]:
            low, high = self._low[v], self._low[v] + self._size[v]
            if any(a < high and low < b for a, b in spans):
                self._evict(v)
        for v, address in zip(moving, addresses, strict=True):
            self._insert(v, address, step)

    def _around(self, anchored: Sequence[int], moving: Sequence[int]) -> list[int] | None:
        spans = sorted((self._low[v], self._low[v] + self._size[v]) for v in anchored)
        addresses = []
        for v in moving:
            address = tightest_hole(spans, self._size[v], self._capacity)
            if address is None:
                return None
            addresses.append(address)
            spans = sorted([*spans, (address, address + self._size[v])])
        return addresses
