"""What a weight buffer that keeps weights still holds: streams in, first in, first out.

All that an operator streams is one block of the buffer. A block stays, as a whole, until what is
streamed after it needs the room; an operator that streams the very same bytes meanwhile fetches
nothing. A stream larger than the buffer passes through it and leaves nothing that could be used.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Sequence

from stowplan.ir.graph import Interval


def same_stream(reads: Iterable[tuple[str, Sequence[Interval]]]) -> Hashable:
    """Equal for operators that stream the same bytes; ``reads`` are ranges of storages."""
    return tuple(sorted((storage, _merged(ranges)) for storage, ranges in reads))


def _merged(ranges: Sequence[Interval]) -> tuple[Interval, ...]:
    found: list[Interval] = []
    for lower, upper in sorted(ranges):
        if found and lower <= found[-1][1]:
            found[-1] = found[-1][0], max(upper, found[-1][1])
        else:
            found.append((lower, upper))
    return tuple(found)


def fetches(streams: Iterable[tuple[Hashable, int]], room_bytes: int) -> Iterator[bool]:
    """Per step, whether what its operator streams comes from DRAM.

    Args:
        streams: per step, which bytes its operator streams and how many; none stream no bytes.
        room_bytes: size of a buffer that keeps weights; 0 for one that does not.
    """
    held: OrderedDict[Hashable, int] = OrderedDict()
    free = room_bytes
    for stream, size in streams:
        if not size or stream in held:
            yield size > 0 and stream not in held
            continue
        yield True
        while held and free < size:
            free += held.popitem(last=False)[1]
        if size <= free:
            held[stream] = size
            free -= size
