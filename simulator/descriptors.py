"""Strided regions of DRAM and the DMA descriptors that move them.

A tile of a tensor that lies in DRAM row by row is a box in a larger box: *runs* of consecutive
bytes, all equally long, repeated at one stride per dimension. A descriptor of ``n`` dimensions
moves one run, or repeats it along up to ``n - 1`` dimensions; a region that has more of them takes
several descriptors.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import gcd, prod

from stowplan.ir.graph import Interval

Ranges = tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """Equally long runs of bytes at regular distances.

    Attributes:
        address: first byte.
        run_bytes: bytes of a run.
        repeats: (times, bytes from one to the next) per further dimension, the outermost first;
            every dimension steps over all that those after it touch.
    """

    address: int
    run_bytes: int
    repeats: tuple[tuple[int, int], ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes in all runs."""
        return self.run_bytes * prod(times for times, _ in self.repeats)

    @property
    def runs(self) -> Ranges:
        """The runs in the order of their addresses."""
        offsets = (
            [i * stride for i in range(times)] if times else [] for times, stride in self.repeats
        )
        starts = (self.address + sum(steps) for steps in product(*offsets))
        return tuple((start, start + self.run_bytes) for start in starts if self.run_bytes)

    def descriptors(self, dimensions: int) -> int:
        """Fewest descriptors of at most ``dimensions`` dimensions that move the region.

        A descriptor covers at most the product of the ``dimensions - 1`` largest numbers of
        repeats, and as many boxes of that size fill the region exactly.
        """
        times = sorted(times for times, _ in self.repeats)
        return prod(times[: max(0, len(times) - (dimensions - 1))])

    def widened_bytes(self, burst_bytes: int) -> int:
        """Bytes moved when every run takes whole bursts, from their boundaries on.

        How much a run takes depends on where in a burst it begins, which repeats along every
        dimension, so that runs need not be looked at one by one.
        """
        return sum(
            count * (-(-(begin + self.run_bytes) // burst_bytes) * burst_bytes)
            for begin, count in self._begins(burst_bytes).items()
            if self.run_bytes
        )

    def _begins(self, burst_bytes: int) -> dict[int, int]:
        """How many runs begin at each byte of a burst."""
        found = {self.address % burst_bytes: 1}
        for times, stride in self.repeats:
            period = burst_bytes // gcd(burst_bytes, stride)
            begins: dict[int, int] = {}
            for first in range(min(period, times)):
                often = -(-(times - first) // period)
                for begin, count in found.items():
                    place = (begin + first * stride) % burst_bytes
                    begins[place] = begins.get(place, 0) + count * often
            found = begins if times else {}
        return found


def region_of(shape: Sequence[int], box: Sequence[Interval], item_bytes: int, base: int) -> Region:
    """The region of ``box`` in a tensor of ``shape`` that lies at ``base`` row by row.

    Dimensions that the box fills join the one before them, those of extent one disappear, so that
    runs are as long and repeats as few as they can be.
    """
    run, stride, address = item_bytes, item_bytes, base
    repeats: list[tuple[int, int]] = []
    for extent, (lower, upper) in zip(reversed(shape), reversed(box), strict=True):
        address += lower * stride
        times = upper - lower
        if not repeats and run == stride:
            run *= times
        elif repeats and repeats[0][0] * repeats[0][1] == stride:
            repeats[0] = (repeats[0][0] * times, repeats[0][1])
        elif times != 1:
            repeats.insert(0, (times, stride))
        stride *= extent
    return Region(address, run, tuple(repeats))


def joined(ranges: Sequence[Interval]) -> Iterator[Interval]:
    """The same bytes in the same order, neighbours that follow one another as one range."""
    begin = end = 0
    for lower, upper in ranges:
        if begin < end == lower:
            end = upper
            continue
        if begin < end:
            yield begin, end
        begin, end = lower, upper
    if begin < end:
        yield begin, end


def regions_of(ranges: Iterable[Interval]) -> Iterator[Region]:
    """Every range as a region of its own."""
    return (Region(lower, upper - lower) for lower, upper in ranges)
