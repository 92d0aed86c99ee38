"""The allocator on a CSV file of buffers, as ``stowplan allocate`` offers it.

The file has the columns ``id,lower,upper,size`` in any order, half-open lifetimes and one buffer
per line. The result is the same table with a column ``offset``.

Source: the file format of minimalloc (Moffitt, "MiniMalloc: A Lightweight Memory Allocator for
Hardware-Accelerated Machine Learning", ASPLOS 2023).
"""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stowplan.errors import UsageError
from stowplan.ilp.allocate import AllocationStatus, allocate
from stowplan.ir.files import write_atomic

NUMBERS = ("lower", "upper", "size")
COLUMNS = ("id", *NUMBERS)
MAX_NUMBER = 1 << 58


@dataclass(frozen=True, slots=True)
class Buffer:
    """A buffer live during the half-open interval ``[lower, upper)``."""

    id: str
    lower: int
    upper: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Load:
    """Bytes live at once: no memory below that can do.

    Attributes:
        live_bytes: most bytes live at one moment.
        moment: the first such moment; None without buffers.
        buffers: how many are live then.
    """

    live_bytes: int
    moment: int | None
    buffers: int


@dataclass(frozen=True, slots=True)
class FileAllocation:
    """Outcome of the allocation of a file.

    Attributes:
        status: optimal (no lower peak exists), feasible, infeasible (proved: nothing fits the
            capacity) or time_limit (neither offsets nor a proof that there are none).
        buffers: number of buffers.
        capacity_bytes: memory they had to fit; None when the smallest memory was asked for.
        load: bytes live at once.
        lower_bound_bytes: proved bound of the peak.
        peak_bytes: highest byte in use, plus one; None without offsets.
        offsets: (buffer, offset) in the file's order; empty without offsets.
        nodes: search nodes visited.
        wall_s: seconds of search.
    """

    status: AllocationStatus
    buffers: int
    capacity_bytes: int | None
    load: Load
    lower_bound_bytes: int
    peak_bytes: int | None
    offsets: tuple[tuple[str, int], ...]
    nodes: int
    wall_s: float

    @property
    def placed(self) -> bool:
        """Whether there are offsets."""
        return self.peak_bytes is not None


def allocate_csv(
    source: Path,
    capacity: int | None = None,
    output: Path | None = None,
    time_limit_s: float = 60.0,
    cancelled: Callable[[], bool] = lambda: False,
) -> FileAllocation:
    """Place the buffers of a file in a memory.

    Args:
        source: CSV file.
        capacity: bytes of memory; None asks for the smallest memory.
        output: where to write the buffers with their offsets, if any were found.
        time_limit_s: after this time the search gives up.
        cancelled: polled now and then; true ends the search with what there is.

    Raises:
        UsageError: the file cannot be read or is no table of buffers.
    """
    buffers = read_buffers(source)
    found = allocate(
        [buffer.lower for buffer in buffers],
        [buffer.upper for buffer in buffers],
        [buffer.size_bytes for buffer in buffers],
        capacity,
        time_limit_s,
        cancelled=cancelled,
    )
    placed = found.status in (AllocationStatus.OPTIMAL, AllocationStatus.FEASIBLE)
    if placed and output is not None:
        write_atomic(output, _table(buffers, found.offsets).encode("utf-8"))
    names = [buffer.id for buffer in buffers] if placed else []
    return FileAllocation(
        status=found.status,
        buffers=len(buffers),
        capacity_bytes=capacity,
        load=greatest_load(buffers),
        lower_bound_bytes=found.lower_bound,
        peak_bytes=found.height if placed else None,
        offsets=tuple(zip(names, found.offsets, strict=True)),
        nodes=found.nodes,
        wall_s=found.wall_s,
    )


def read_buffers(source: Path) -> tuple[Buffer, ...]:
    """Read a table of buffers.

    Raises:
        UsageError: with file and line of the mistake.
    """
    try:
        text = source.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{source}: cannot read the buffers: {error}") from error
    reader = csv.reader(io.StringIO(text), skipinitialspace=True)
    at = _columns(source, [name.strip() for name in next(reader, [])])
    lines: dict[str, int] = {}
    buffers = []
    for row in reader:
        if not row:
            continue
        place = f"{source}:{reader.line_num}"
        if len(row) != len(at):
            raise UsageError(f"{place}: {len(row)} fields; the header names {len(at)}")
        buffer = _buffer([row[i].strip() for i in map(at.index, COLUMNS)], place)
        if buffer.id in lines:
            raise UsageError(
                f"{place}: {buffer.id!r} is already the buffer of line "
                f"{lines[buffer.id]}; every id must occur once"
            )
        lines[buffer.id] = reader.line_num
        buffers.append(buffer)
    return tuple(buffers)


def _columns(source: Path, names: list[str]) -> list[str]:
    """The header, once it is known to name each column once; an old offset is ignored."""
    if sorted(name for name in names if name != "offset") != sorted(COLUMNS):
        raise UsageError(
            f"{source}:1: the columns are {', '.join(names) or 'missing'}; "
            f"expected {', '.join(COLUMNS)}"
        )
    return names


def _buffer(fields: list[str], place: str) -> Buffer:
    name, *texts = fields
    numbers = []
    for column, text in zip(NUMBERS, texts, strict=True):
        try:
            numbers.append(int(text))
        except ValueError as error:
            raise UsageError(f"{place}: {column} is {text!r}; it must be an integer") from error
        if abs(numbers[-1]) > MAX_NUMBER:
            raise UsageError(f"{place}: {column} is {text}; the limit is {MAX_NUMBER}")
    lower, upper, size = numbers
    if lower < 0:
        raise UsageError(f"{place}: lower is {lower}; it must not be negative")
    if size < 0:
        raise UsageError(f"{place}: size is {size}; it must not be negative")
    if lower >= upper:
        raise UsageError(
            f"{place}: the lifetime [{lower}, {upper}) is empty; lower must be less than upper"
        )
    return Buffer(name, lower, upper, size)


def greatest_load(buffers: tuple[Buffer, ...]) -> Load:
    """Most bytes live at one moment, and when."""
    change: dict[int, tuple[int, int]] = {}
    for buffer in buffers:
        for moment, sign in ((buffer.lower, 1), (buffer.upper, -1)):
            size, count = change.get(moment, (0, 0))
            change[moment] = size + sign * buffer.size_bytes, count + sign
    live = count = 0
    best = Load(0, None, 0)
    for moment in sorted(change):
        live += change[moment][0]
        count += change[moment][1]
        if best.moment is None or live > best.live_bytes:
            best = Load(live, moment, count)
    return best


def _table(buffers: tuple[Buffer, ...], offsets: tuple[int, ...]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow((*COLUMNS, "offset"))
    for buffer, offset in zip(buffers, offsets, strict=True):
        writer.writerow((buffer.id, buffer.lower, buffer.upper, buffer.size_bytes, offset))
    return stream.getvalue()
