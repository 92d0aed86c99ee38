"""The allocator on a CSV file of buffers, as ``stowplan allocate`` offers it.

The file has the columns ``id,lower,upper,size`` in any order, half-open lifetimes and one buffer
per line. The result is the same table with a column ``offset``.

Source: the file format of minimalloc (Moffitt, "MiniMalloc: A Lightweight Memory Allocator for
Hardware-Accelerated Machine Learning", ASPLOS 2023).
"""

import csv
import io
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from stowplan.errors import UsageError
from stowplan.ilp.allocate_pack import pack
from stowplan.ir.files import write_atomic

NUMBERS = ("lower", "upper", "size")
COLUMNS = ("id", *NUMBERS)


@dataclass(frozen=True, slots=True)
class Buffer:
    """A buffer live during the half-open interval ``[lower, upper)``."""

    id: str
    lower: int
    upper: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Allocation:
    """Outcome of an allocation.

    Attributes:
        status: ``ok``, ``does_not_fit`` (proved), or ``time_limit`` (neither found nor excluded).
        buffers: number of buffers.
        capacity_bytes: memory they had to fit.
        live_bytes: most bytes live at once; no smaller memory can do.
        peak_bytes: highest byte in use, plus one; None without offsets.
        offsets: (buffer, offset) in the file's order; empty without offsets.
        nodes: search nodes visited.
        wall_s: seconds of search.
    """

    status: str
    buffers: int
    capacity_bytes: int
    live_bytes: int
    peak_bytes: int | None
    offsets: tuple[tuple[str, int], ...]
    nodes: int
    wall_s: float


def allocate_csv(
    source: Path, capacity: int, output: Path | None = None, time_limit_s: float = 60.0
) -> Allocation:
    """Place the buffers of a file in a memory.

    Args:
        source: CSV file.
        capacity: bytes of memory.
        output: where to write the buffers with their offsets, if any were found.
        time_limit_s: after this time the search gives up.

    Raises:
        UsageError: the file cannot be read or is no table of buffers.
    """
    buffers = read_buffers(source)
    packing = pack(
        [buffer.lower for buffer in buffers],
        [buffer.upper for buffer in buffers],
        [buffer.size_bytes for buffer in buffers],
        capacity,
        time_limit_s,
    )
    offsets = () if packing.offsets is None else tuple(packing.offsets.tolist())
    found = packing.offsets is not None
    if found and output is not None:
        write_atomic(output, _table(buffers, offsets).encode("utf-8"))
    return Allocation(
        status="ok" if found else "does_not_fit" if packing.proved else "time_limit",
        buffers=len(buffers),
        capacity_bytes=capacity,
        live_bytes=live_bytes(buffers),
        peak_bytes=_peak_bytes(buffers, offsets) if found else None,
        offsets=tuple(
            (buffer.id, offset) for buffer, offset in zip(buffers, offsets, strict=found)
        ),
        nodes=packing.nodes,
        wall_s=packing.wall_s,
    )


def read_buffers(source: Path) -> tuple[Buffer, ...]:
    """Read a table of buffers.

    Raises:
        UsageError: with file and line of the mistake.
    """
    try:
        text = source.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{source}: cannot read the buffers: {error}") from error
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    columns = [name.strip() for name in reader.fieldnames or ()]
    if sorted(set(columns) - {"offset"}) != sorted(COLUMNS):
        raise UsageError(
            f"{source}:1: the columns are {', '.join(columns) or 'missing'}; "
            f"expected {', '.join(COLUMNS)}"
        )
    reader.fieldnames = columns
    return tuple(_buffer(row, f"{source}:{reader.line_num}") for row in reader)


def _buffer(row: dict[str, str], place: str) -> Buffer:
    try:
        lower, upper, size = (int(row[name]) for name in NUMBERS)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{place}: lower, upper and size must be integers") from error
    if size < 0 or upper < lower:
        raise UsageError(f"{place}: the size or the lifetime of {row['id']!r} is negative")
    return Buffer(row["id"], lower, upper, size)


def live_bytes(buffers: tuple[Buffer, ...]) -> int:
    """Most bytes live at one moment."""
    change: dict[int, int] = {}
    for buffer in buffers:
        change[buffer.lower] = change.get(buffer.lower, 0) + buffer.size_bytes
        change[buffer.upper] = change.get(buffer.upper, 0) - buffer.size_bytes
    return max(accumulate((change[moment] for moment in sorted(change)), initial=0))


def _peak_bytes(buffers: tuple[Buffer, ...], offsets: tuple[int, ...]) -> int:
    ends = (offset + b.size_bytes for b, offset in zip(buffers, offsets, strict=True))
    return max(ends, default=0)


def _table(buffers: tuple[Buffer, ...], offsets: tuple[int, ...]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow((*COLUMNS, "offset"))
    for buffer, offset in zip(buffers, offsets, strict=True):
        writer.writerow((buffer.id, buffer.lower, buffer.upper, buffer.size_bytes, offset))
    return stream.getvalue()
