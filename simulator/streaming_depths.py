"""The smallest FIFOs with which a streaming network completes, or completes as early as it can.

Deeper FIFOs never delay a firing, so what a depth vector achieves, any larger one achieves too. The
search rests on three consequences:

1. a FIFO needs at least the depth at which the network succeeds with all other FIFOs unbounded;
2. in a deadlock, whoever lets the network go on must enlarge a FIFO of the waiting cycle that is
   full, by at least as many slots as its writer lacks;
3. a run that is only too late becomes no earlier unless a FIFO that stalled its writer grows.

From the vector of bounds (1) on, vectors are tried in the order of their bits; (2) and (3) give
the successors of one that fails. The first that succeeds is therefore the smallest.

Source: the same space explored for throughput in Stuijk, Geilen, Basten, "Exploring trade-offs
in buffer requirements and throughput constraints for synchronous dataflow graphs", DAC 2006.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Literal

from stowplan.errors import ModelError
from stowplan.simulator.streaming_engine import simulate
from stowplan.simulator.streaming_network import (
    Network,
    least_depth,
    most_tokens,
    with_depths,
)
from stowplan.simulator.streaming_result import StreamResult

Keep = Literal["progress", "throughput"]


@dataclass(frozen=True, slots=True)
class DepthReport:
    """Depths that suffice.

    Attributes:
        depths: (FIFO, depth) in the network's order.
        total_bits: bits of all FIFOs at these depths.
        end_ticks: the end with them.
        proven: no vector of fewer bits suffices; otherwise only no single FIFO can be smaller.
        runs: simulations it took.
    """

    depths: tuple[tuple[str, int], ...]
    total_bits: int
    end_ticks: int
    proven: bool
    runs: int


@dataclass(slots=True)
class _Search:
    """A network, the end to keep, and the simulations made so far; mutable."""

    network: Network
    latest_ticks: int | None = None
    runs: int = 0
    known: dict[tuple[int, ...], StreamResult] = field(default_factory=dict)

    def run(self, depths: tuple[int, ...]) -> StreamResult:
        if depths not in self.known:
            names = (fifo.name for fifo in self.network.fifos)
            sized = with_depths(self.network, dict(zip(names, depths, strict=True)))
            self.known[depths] = simulate(sized)
            self.runs += 1
        return self.known[depths]

    def suffices(self, depths: tuple[int, ...]) -> bool:
        result = self.run(depths)
        on_time = self.latest_ticks is None or result.end_ticks <= self.latest_ticks
        return result.deadlock is None and on_time

    def bits(self, depths: tuple[int, ...]) -> int:
        widths = (fifo.width_bits for fifo in self.network.fifos)
        return sum(width * depth for width, depth in zip(widths, depths, strict=True))

    def shrunk(self, depths: tuple[int, ...], index: int, least: int) -> tuple[int, ...]:
        """``depths``, which suffice, with the smallest depth from ``least`` on at ``index``."""
        low, high = least, depths[index]
        while low < high:
            middle = (low + high) // 2
            if self.suffices(_replaced(depths, index, middle)):
                high = middle
            else:
                low = middle + 1
        return _replaced(depths, index, low)


def minimum_depths(network: Network, keep: Keep = "progress", most_runs: int = 2000) -> DepthReport:
    """The smallest FIFOs, in bits together, for ``network``; its own depths do not matter.

    Args:
        network: what to size.
        keep: ``"progress"``: it does not deadlock; ``"throughput"``: it ends as early as with
            unbounded FIFOs.
        most_runs: simulations after which the search for the optimum gives way to a descent.

    Raises:
        ModelError: the network is malformed, or deadlocks whatever the depths.
    """
    unbounded = tuple(most_tokens(network, fifo) for fifo in network.fifos)
    names = [fifo.name for fifo in network.fifos]
    network = with_depths(network, dict(zip(names, unbounded, strict=True)))
    search = _Search(network)
    free = search.run(unbounded)
    if free.deadlock is not None:
        raise ModelError(
            f"no depth of the fifos avoids this {free.deadlock}. Give a fifo of the cycle initial "
            "tokens, or change the rates"
        )
    search.latest_ticks = free.end_ticks if keep == "throughput" else None
    least = [least_depth(network, fifo) for fifo in network.fifos]
    peaks = tuple(map(max, least, (activity.peak_slots for activity in free.fifos)))
    bounds = _bounds(search, unbounded, peaks, least)
    found = _cheapest(search, bounds, most_runs)
    proven = found is not None
    if found is None:
        found = _descended(search, peaks, bounds)
    return DepthReport(
        tuple(zip(names, found, strict=True)),
        search.bits(found),
        search.run(found).end_ticks,
        proven,
        search.runs,
    )


def _bounds(
    search: _Search, unbounded: tuple[int, ...], peaks: tuple[int, ...], least: list[int]
) -> tuple[int, ...]:
    """Per FIFO, the depth it needs with the others unbounded (consequence 1)."""
    # A FIFO as deep as its peak in the unbounded run changes nothing, so the peak suffices.
    return tuple(
        search.shrunk(_replaced(unbounded, i, peak), i, least[i])[i] for i, peak in enumerate(peaks)
    )


def _cheapest(search: _Search, start: tuple[int, ...], most_runs: int) -> tuple[int, ...] | None:
    """The vector of fewest bits that suffices, or None if ``most_runs`` do not reach it."""
    heap = [(search.bits(start), start)]
    seen = {start}
    while heap and search.runs < most_runs:
        _, depths = heappop(heap)
        if search.suffices(depths):
            return depths
        for larger in _successors(search.run(depths), depths):
            if larger not in seen:
                seen.add(larger)
                heappush(heap, (search.bits(larger), larger))
    return None


def _successors(result: StreamResult, depths: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Vectors one of which lies below every vector that does better (consequences 2 and 3)."""
    if result.deadlock is not None:
        place = {fifo.name: i for i, fifo in enumerate(result.fifos)}
        for wait in result.deadlock.cycle:
            if wait.full:
                i = place[wait.fifo]
                yield _replaced(depths, i, depths[i] + wait.needs - wait.has)
        return
    for i, fifo in enumerate(result.fifos):
        if fifo.full_cycles > 0:
            yield _replaced(depths, i, depths[i] + 1)


def _descended(search: _Search, peaks: tuple[int, ...], bounds: tuple[int, ...]) -> tuple[int, ...]:
    """Depths of which none can be smaller alone, those of the most bits shrunk first."""
    depths = peaks
    widths = [fifo.width_bits for fifo in search.network.fifos]
    for i in sorted(range(len(depths)), key=lambda i: (-depths[i] * widths[i], i)):
        depths = search.shrunk(depths, i, bounds[i])
    return depths


def _replaced(depths: tuple[int, ...], index: int, depth: int) -> tuple[int, ...]:
    return (*depths[:index], depth, *depths[index + 1 :])
