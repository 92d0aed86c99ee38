"""Stalls of SCALE-Sim's double-buffered memories, to the cycle.

A comparison, not a machine of ours: it shows that array and program agree with SCALE-Sim once its
buffers are modelled as it models them. Let an array of ``R`` rows and ``C`` columns multiply ``[m,
k]`` by ``[k, n]`` in drained folds (``targets.gemm_cost``). In every cycle of a fold the array asks
both operands' buffers for a *line* of elements and gives one to the results' buffer; it stands
still for the longest of the three delays.

**Order of fetching.** The folds of an operand that differ are stacked on each other, each padded to
the width of the array. Elements are fetched along the anti-diagonals of that stack, lowest row
first; a stationary operand row by row. Fetching goes round: after the last element comes the first.

**Read buffer** of ``S`` elements, filled at ``b`` per cycle. The order of fetching is cut into
*sets* of ``ceil(S / 100)`` elements, padding left out. ``ceil(S / 2)`` elements' worth of sets is
in the buffer, at first the beginning of the order, fetched before the first cycle. An element that
is not there makes the buffer drop the oldest sets, as many as fit in the other half, and take in as
many new ones, until it comes by; each time the fetching is ``ceil(h / b) + 1`` cycles further,
``h`` being the elements of that half. If it is then behind the clock the array waits.

**Write buffer** of ``S`` elements, emptied at ``b`` per cycle in lines of ``b``. Once less than
half is free, half a buffer of lines is written, which takes as many cycles as lines; meanwhile
results wait only if nothing is free. A line that was not full when writing began counts as full,
unless it is the last one written.

SCALE-Sim adds every wait for a read buffer to the delay twice, and a lead, which is a negative
wait, once (``counts_twice``). With that corrected, waits count once and leads not at all.

Source: behaviour of SCALE-Sim 3.0.0 (Samajdar et al., "A systematic methodology for characterizing
scalability of DNN accelerators using SCALE-Sim", ISPASS 2020); ``docs/validation.md`` compares.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stowplan.targets.gemm_cost import Gemm
from stowplan.targets.target import Array

Ints = NDArray[np.int64]

NONE = -1
"""Where a line asks for no element."""
_SETS = 100
_CACHED_LINES = 1024
"""Full lines that the write buffer gathers before they may be written."""


@dataclass(frozen=True, slots=True)
class ScaleSimMemory:
    """Buffers of the left operand, the right operand and the result.

    Attributes:
        elements: capacity of each.
        rates: elements each exchanges with DRAM per cycle.
        counts_twice: as published; otherwise corrected.
    """

    elements: tuple[int, int, int]
    rates: tuple[int, int, int]
    counts_twice: bool = False


def stall_cycles(gemm: Gemm, array: Array, memory: ScaleSimMemory) -> int:
    """Cycles the array stands still for memory, on one product."""
    elements, rates = memory.elements, memory.rates
    if array.dataflow == "input_stationary":
        # The transposed product with stationary weights.
        gemm = Gemm(gemm.n, gemm.k, gemm.m)
        elements = (elements[1], elements[0], elements[2])
        rates = (rates[1], rates[0], rates[2])
    folds = _Folds(gemm, array)
    left, right = (
        _ReadBuffer.of(order, size, rate, memory.counts_twice)
        for order, size, rate in zip(folds.orders(), elements, rates, strict=False)
    )
    result = _WriteBuffer(elements[2], rates[2])
    stalls = 0
    for cycle, (asked_left, asked_right, given) in enumerate(folds.lines()):
        now = cycle + stalls
        stalls += max(
            left.delay(asked_left, now), right.delay(asked_right, now), result.delay(given, now)
        )
    return stalls


class _Folds:
    """What the array asks for, elements numbered row by row."""

    def __init__(self, gemm: Gemm, array: Array) -> None:
        self.rows, self.cols = array.rows, array.cols
        self.outputs = array.dataflow == "output_stationary"
        self.gemm = gemm
        self.left = np.arange(gemm.m * gemm.k).reshape(gemm.m, gemm.k)
        self.right = np.arange(gemm.k * gemm.n).reshape(gemm.k, gemm.n)
        self.result = np.arange(gemm.m * gemm.n).reshape(gemm.m, gemm.n)
        self.streamed = self.left.T if self.outputs else self.left

    def orders(self) -> tuple[Ints, Ints]:
        """In which order the operands are fetched, padding included."""
        right = _stacked(self.right, self.cols)
        return (
            _by_diagonals(_stacked(self.streamed, self.rows)),
            _by_diagonals(right) if self.outputs else right.ravel(),
        )

    def lines(self) -> Iterator[tuple[list[int], list[int], list[int]]]:
        """Elements of the left and right operand and the result in every cycle."""
        tall = self.gemm.m if self.outputs else self.gemm.k
        for column in range(0, self.gemm.n, self.cols):
            for row in range(0, tall, self.rows):
                fold = self._outputs(row, column) if self.outputs else self._weights(row, column)
                yield from zip(*map(_elements, fold), strict=True)

    def _outputs(self, row: int, column: int) -> tuple[Ints, Ints, Ints]:
        """Both operands stream; results leave bottom row first."""
        rows, cols, terms = self.rows, self.cols, self.gemm.k
        left = _part(self.streamed, 0, row, terms, rows)
        right = _part(self.right, 0, column, terms, cols)
        result = np.flip(_part(self.result, row, column, rows, cols), 0)
        return (
            _skewed(left, after=cols - 1),
            _skewed(right, after=rows - 1),
            _skewed(result, before=terms - 1),
        )

    def _weights(self, row: int, column: int) -> tuple[Ints, Ints, Ints]:
        """The right operand is loaded bottom row first, then the left one streams."""
        rows, cols, streamed = self.rows, self.cols, self.gemm.m
        left = _part(self.left, 0, row, streamed, rows)
        right = np.flip(_part(self.right, row, column, rows, cols), 0)
        result = _part(self.result, 0, column, streamed, cols)
        return (
            _skewed(left, before=rows, after=cols - 1),
            np.pad(right, ((0, rows + cols + streamed - 2), (0, 0)), constant_values=NONE),
            _skewed(result, before=2 * rows - 1),
        )


def _part(matrix: Ints, row: int, column: int, rows: int, cols: int) -> Ints:
    """A block of ``matrix``, padded to its full size."""
    found = np.full((rows, cols), NONE)
    part = matrix[row : row + rows, column : column + cols]
    found[: part.shape[0], : part.shape[1]] = part
    return found


def _stacked(matrix: Ints, width: int) -> Ints:
    """Blocks of ``width`` columns below each other."""
    rows, cols = matrix.shape
    return np.concatenate([_part(matrix, 0, at, rows, width) for at in range(0, cols, width)])


def _by_diagonals(matrix: Ints) -> Ints:
    """Elements along the anti-diagonals, each from its lowest row up."""
    rows, cols = np.indices(matrix.shape)
    return matrix.ravel()[np.lexsort((-rows.ravel(), (rows + cols).ravel()))]


def _skewed(matrix: Ints, before: int = 0, after: int = 0) -> Ints:
    """Every column a line later than the one before it, and empty lines around."""
    rows, cols = matrix.shape
    found = np.full((before + rows + after + cols - 1, cols), NONE)
    for col in range(cols):
        found[before + col : before + col + rows, col] = matrix[:, col]
    return found


def _elements(lines: Ints) -> list[list[int]]:
    """The elements of each line, padding left out."""
    return [[element for element in line if element != NONE] for line in lines.tolist()]


@dataclass(slots=True)
class _ReadBuffer:
    """Which sets of the order of fetching are in the buffer; mutable.

    Attributes:
        sets: of each element, the sets it belongs to.
        total: sets in all.
        held: sets in the buffer.
        replaced: sets that one fetch replaces.
        fetch_cycles: cycles of a fetch.
        counts_twice: see ``ScaleSimMemory``.
        begin: first set in the buffer.
        fetched_at: cycle the last fetch was over; -1 before the first cycle.
    """

    sets: dict[int, list[int]]
    total: int
    held: int
    replaced: int
    fetch_cycles: int
    counts_twice: bool
    begin: int = 0
    fetched_at: int = -1

    @classmethod
    def of(cls, order: Ints, elements: int, rate: int, counts_twice: bool) -> "_ReadBuffer":
        per_set = -(-elements // _SETS)
        active = -(-elements // 2)
        spare = elements - active
        sets: dict[int, list[int]] = {}
        wanted = order[order != NONE].tolist()
        for place, element in enumerate(wanted):
            sets.setdefault(element, []).append(place // per_set)
        total = len(wanted) // per_set + 1
        held = min(-(-active // per_set), total)
        replaced = min(-(-spare // per_set), total - held)
        return cls(sets, total, held, replaced, -(-spare // rate) + 1, counts_twice)

    def holds(self, element: int) -> bool:
        end = (self.begin + self.held) % self.total
        for number in self.sets[element]:
            if self.begin < end:
                if self.begin <= number < end:
                    return True
            elif number >= self.begin or number < end:
                return True
        return False

    def delay(self, line: list[int], now: int) -> int:
        """Cycles until all elements of a line asked for in cycle ``now`` have been there."""
        late = 0
        for element in line:
            while not self.holds(element):
                self.begin = (self.begin + self.replaced) % self.total
                self.fetched_at += self.fetch_cycles
                behind = self.fetched_at - (now + 1 + late)
                late += behind if self.counts_twice else 0
                late += max(0, behind)
        return late


@dataclass(slots=True)
class _WriteBuffer:
    """Results on their way to DRAM; mutable.

    Attributes:
        elements: capacity.
        rate: elements of a line.
        taken: elements that take space.
        partial: elements of the line being filled.
        gathered: full lines not yet among those that may be written.
        lines: elements of the lines that may be written.
        writing_until: cycle in which the present writing is over.
    """

    elements: int
    rate: int
    taken: int = 0
    partial: int = 0
    gathered: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    writing_until: int = 0

    def delay(self, line: list[int], now: int) -> int:
        """Cycles until all results given in cycle ``now`` have a place."""
        at = now
        for _ in line:
            self._store()
            if at < self.writing_until:
                if self.taken >= self.elements:
                    at = self.writing_until
            elif self.elements - self.taken < -(-self.elements // 2):
                self._write(at)
        return at - now

    def _store(self) -> None:
        self.taken += 1
        self.partial += 1
        if self.partial == self.rate:
            self.gathered.append(self.partial)
            self.partial = 0
        if len(self.gathered) == _CACHED_LINES:
            self._release()

    def _release(self) -> None:
        self.lines += self.gathered
        self.gathered = []

    def _write(self, now: int) -> None:
        """Begin to write half a buffer of lines, the one being filled closed as it is."""
        if self.partial:
            self.gathered.append(self.partial)
            self.partial = 0
        self._release()
        count = min(-(-(self.elements // 2) // self.rate), len(self.lines))
        self.taken -= (count - 1) * self.rate + self.lines[count - 1]
        del self.lines[:count]
        self.writing_until = now + count - 1
