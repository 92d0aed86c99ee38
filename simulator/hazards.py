"""Which earlier commands a command must wait for because they touch the same bytes."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from stowplan.ir.graph import Interval


@dataclass(frozen=True, slots=True)
class _Segment:
    """Last command that wrote a range of bytes, and those that have read it since."""

    writer: int
    readers: tuple[int, ...]


_UNTOUCHED = _Segment(-1, ())


class Hazards:
    """Accesses to one address space in program order; mutable.

    Read after write, write after read and write after write are dependences; read after read is
    none. A write over bytes that have been read waits for the readers, who waited for the writer.
    The space is kept as segments ``[_starts[i], _starts[i + 1])`` of equal history.
    """

    def __init__(self) -> None:
        self._starts = [0]
        self._segments = [_UNTOUCHED]

    def before(self, reads: Iterable[Interval], writes: Iterable[Interval]) -> set[int]:
        """Commands that an access to these ranges must wait for."""
        found: set[int] = set()
        for lower, upper in reads:
            found.update(segment.writer for segment in self._between(lower, upper))
        for lower, upper in writes:
            for segment in self._between(lower, upper):
                found.update(segment.readers or (segment.writer,))
        return found - {-1}

    def record(self, command: int, reads: Iterable[Interval], writes: Iterable[Interval]) -> None:
        """Enter an access; where ``command`` reads and writes, the write counts."""
        for lower, upper in reads:
            first, last = self._cut(lower), self._cut(upper)
            for i in range(first, last):
                old = self._segments[i]
                self._segments[i] = _Segment(old.writer, (*old.readers, command))
        for lower, upper in writes:
            if lower < upper:
                first, last = self._cut(lower), self._cut(upper)
                self._starts[first:last] = [lower]
                self._segments[first:last] = [_Segment(command, ())]

    def _cut(self, at: int) -> int:
        """Index of the segment that begins at ``at``, split off if need be."""
        i = bisect_left(self._starts, at)
        if i == len(self._starts) or self._starts[i] != at:
            self._starts.insert(i, at)
            self._segments.insert(i, self._segments[i - 1])
        return i

    def _between(self, lower: int, upper: int) -> list[_Segment]:
        if lower >= upper:
            return []
        first = self._cut(lower)
        return self._segments[first : bisect_left(self._starts, upper, first)]
