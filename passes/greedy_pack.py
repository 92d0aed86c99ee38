"""Offline placement of chosen stays, in-place outputs joined to the input they replace."""

from bisect import bisect_left
from collections.abc import Sequence

from stowplan.passes.assemble import Stay
from stowplan.passes.greedy_gaps import Kept, Timeline, total_traffic
from stowplan.passes.greedy_place import Placement, split_direct
from stowplan.passes.place import Rectangle, pack_by_size
from stowplan.passes.takeovers import Takeovers


def place_offline(
    accesses: Timeline, kept: Kept, capacity_bytes: int, pairs: Takeovers, rigid_first: bool
) -> Placement | None:
    """Place the stays of ``kept`` knowing all lifetimes, evicting those that find no place.

    Args:
        accesses: the fixed order's accesses.
        kept: gaps to keep; further ones are evicted where no place is found.
        capacity_bytes: size of the scratchpad.
        pairs: in-place pairs.
        rigid_first: place what has no gap to evict before everything else.

    Returns:
        None when a stay without a gap finds no place.
    """
    packer = _Packer(accesses, kept, pairs, rigid_first)
    packing = pack_by_size(packer.rectangles(), capacity_bytes, packer.split)
    if packing is None:
        return None
    address_of = {}
    for number, address in packing.addresses:
        for stay in packer.chains[number]:
            address_of[stay.storage, stay.start] = address
    stays, direct = split_direct(accesses, accesses.stays(packer.kept))
    return Placement(
        tuple(stays),
        tuple(address_of[stay.storage, stay.start] for stay in stays),
        tuple(direct),
        total_traffic(accesses, packer.kept),
        packing.height_bytes,
    )


class _Packer:
    """Chains of stays under placement, and the gaps they keep; mutable.

    Attributes:
        kept: the gaps given less those evicted since.
        chains: per rectangle number, the stays that lie there one after another.
    """

    def __init__(self, accesses: Timeline, kept: Kept, pairs: Takeovers, rigid_first: bool) -> None:
        self.kept = [bytearray(flags) for flags in kept]
        self._accesses = accesses
        self._rigid_first = rigid_first
        stays = split_direct(accesses, accesses.stays(kept))[0]
        self.chains = [[stays[i] for i in chain] for chain in _chains(accesses, stays, pairs)]

    def rectangles(self) -> list[Rectangle]:
        """One rectangle per chain."""
        return [self._rectangle(chain) for chain in self.chains]

    def split(self, number: int) -> list[Rectangle] | None:
        """Evict the longest gap inside the chain; a chain of several stays comes apart first."""
        chain = self.chains[number]
        parts = chain if len(chain) > 1 else self._evict_longest(chain[0])
        if not parts:
            return None
        alone = [[stay] for stay in parts if self._accesses.occupies(stay)]
        self.chains.extend(alone)
        return [self._rectangle(part) for part in alone]

    def _rectangle(self, chain: Sequence[Stay]) -> Rectangle:
        accesses = self._accesses
        rigid = len(chain) == 1 and len(self._steps(chain[0])) <= 1
        rank = 0 if rigid or not self._rigid_first else 1
        size = accesses.problem.size[chain[0].storage]
        return Rectangle(size, chain[0].start, chain[-1].end, rank)

    def _steps(self, stay: Stay) -> tuple[int, ...]:
        """Steps of ``stay`` that use its storage."""
        steps = self._accesses.steps[stay.storage]
        return steps[bisect_left(steps, stay.start) : bisect_left(steps, stay.end)]

    def _evict_longest(self, stay: Stay) -> list[Stay]:
        """The stays left when the longest gap of ``stay`` is evicted; none when it has no gap."""
        steps = self._steps(stay)
        if len(steps) < 2:
            return []
        longest = max(range(len(steps) - 1), key=lambda i: (steps[i + 1] - steps[i], -i))
        first = bisect_left(self._accesses.steps[stay.storage], stay.start)
        kept = self.kept[stay.storage]
        kept[first + longest] = 0
        left = self._accesses.stays_of(stay.storage, kept)
        return [part for part in left if stay.start <= part.start < stay.end]


def _chains(accesses: Timeline, stays: Sequence[Stay], pairs: Takeovers) -> list[list[int]]:
    """Indices of stays that share an address, each chain in order of time."""
    first = {(stay.storage, stay.start): i for i, stay in enumerate(stays)}
    last = {(stay.storage, stay.end): i for i, stay in enumerate(stays)}
    follows: dict[int, int] = {}
    for step, operator in enumerate(accesses.order):
        for output, source in pairs[operator]:
            before, after = last.get((source, step + 1)), first.get((output, step))
            dead = accesses.steps[source][-1] == step
            if dead and before is not None and after is not None:
                follows[before] = after
    followers = set(follows.values())
    chains = []
    for i in range(len(stays)):
        if i in followers:
            continue
        chain = [i]
        while chain[-1] in follows:
            chain.append(follows[chain[-1]])
        chains.append(chain)
    return chains
