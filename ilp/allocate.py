"""Static memory allocation: offsets for buffers of fixed lifetime, in least or in given memory.

Buffers live in half-open intervals ``[lower, upper)`` and two that are live together may not share
a byte. With a capacity the question is whether they fit; without one the height, the greatest
``offset + size``, is minimised: heuristics give an upper bound, the bytes live at once a lower one,
and the exact packer decides heights in between, in rounds of growing effort.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from stowplan.errors import InternalError, UsageError
from stowplan.ilp.allocate_check import packing_faults
from stowplan.ilp.allocate_heuristic import quick_packings
from stowplan.ilp.allocate_instance import Boxes, components, sections
from stowplan.ilp.allocate_kernels import Ints
from stowplan.ilp.allocate_pack import least_height, pack_boxes
from stowplan.ilp.allocate_portfolio import Limits

MAX_TOTAL = 1 << 58
"""Bytes of all buffers together up to which sums of offsets cannot overflow."""

FIRST_NODES, NODES_GROWTH = 20_000, 4
"""Search nodes per height in the first round of minimising, and their growth per round."""


class AllocationStatus(StrEnum):
    """What an allocation found."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"
    TIME_LIMIT = "time_limit"


@dataclass(frozen=True, slots=True)
class Reserved:
    """Memory ``[offset, offset + size_bytes)`` that no buffer may use during ``[lower, upper)``."""

    lower: int
    upper: int
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Allocation:
    """Outcome of an allocation.

    Attributes:
        offsets: byte offset of each buffer in input order; empty when none were found.
        height: greatest ``offset + size`` of a buffer; 0 when none were found.
        lower_bound: no allocation is lower.
        status: optimal when the height meets the bound; feasible with offsets; infeasible when it
            is proved that none fit the capacity; time_limit when that is open.
        wall_s: seconds used.
        nodes: search nodes visited.
    """

    offsets: tuple[int, ...]
    height: int
    lower_bound: int
    status: AllocationStatus
    wall_s: float
    nodes: int


@dataclass(frozen=True, slots=True)
class _Task:
    """A checked allocation question: buffers first, then reserved regions.

    Attributes:
        lower: first moment each is live [n].
        upper: one past the last [n].
        size: bytes [n].
        fixed: offset each must have, or -1 [n].
        buffers: how many of them are buffers.
        alignment: every offset is a multiple of it.
    """

    lower: Ints
    upper: Ints
    size: Ints
    fixed: Ints
    buffers: int
    alignment: int


@dataclass(frozen=True, slots=True)
class _Answer:
    """Offsets of the buffers of a task, or None; whether that is certain; search nodes."""

    offsets: Ints | None
    proved: bool
    nodes: int


def allocate(
    lower: ArrayLike,
    upper: ArrayLike,
    size: ArrayLike,
    capacity: int | None = None,
    time_limit_s: float = 60.0,
    alignment: int = 1,
    fixed: ArrayLike | None = None,
    reserved: Sequence[Reserved] = (),
    cancelled: Callable[[], bool] = lambda: False,
) -> Allocation:
    """Find offsets for buffers of fixed lifetime.

    Args:
        lower: first moment each buffer is live [n].
        upper: one past the last moment [n]; an empty lifetime conflicts with nothing.
        size: bytes each buffer takes [n].
        capacity: bytes of memory; None asks for the smallest memory.
        time_limit_s: after this time the best answer so far is returned.
        alignment: every offset is a multiple of it.
        fixed: offset a buffer must have, -1 where it is free [n].
        reserved: regions no buffer may use.
        cancelled: polled now and then; true asks for the best answer so far.

    Raises:
        UsageError: a number is out of range, or fixed and reserved regions overlap.
    """
    began = time.perf_counter()
    task = _task(lower, upper, size, alignment, fixed, reserved)
    if not time_limit_s > 0:
        raise UsageError(f"the time limit is {time_limit_s}; it must be positive")
    if capacity is not None and capacity < 0:
        raise UsageError(f"the capacity is {capacity}; it must not be negative")
    deadline = began + time_limit_s
    if capacity is None:
        found, bound = _minimise(task, deadline, cancelled)
    else:
        bound = _bound(task)
        found = _decide(task, capacity, Limits(deadline, cancelled))
    return _report(task, capacity, found, bound, time.perf_counter() - began)


def _report(
    task: _Task, capacity: int | None, found: _Answer, bound: int, wall_s: float
) -> Allocation:
    """Check what was found and say what it means."""
    if found.offsets is None:
        status = AllocationStatus.INFEASIBLE if found.proved else AllocationStatus.TIME_LIMIT
        return Allocation((), 0, bound, status, wall_s, found.nodes)
    offsets = found.offsets.tolist()
    regions = task.fixed[task.buffers :].tolist()
    columns = (task.lower.tolist(), task.upper.tolist(), task.size.tolist(), offsets + regions)
    faults = packing_faults(*columns, None, task.alignment)
    height = _height(task, found.offsets)
    if faults or (capacity is not None and height > capacity):
        raise InternalError(f"the allocator made a wrong packing: {', '.join(faults[:3])}")
    optimal = height <= bound
    status = AllocationStatus.OPTIMAL if optimal else AllocationStatus.FEASIBLE
    return Allocation(tuple(offsets), height, bound, status, wall_s, found.nodes)


def _task(
    lower: ArrayLike,
    upper: ArrayLike,
    size: ArrayLike,
    alignment: int,
    fixed: ArrayLike | None,
    reserved: Sequence[Reserved],
) -> _Task:
    """Normalise and check the arguments of :func:`allocate`."""
    free = np.full(np.shape(lower), -1) if fixed is None else fixed
    columns = [
        _column(name, value)
        for name, value in zip(
            ("lower", "upper", "size", "fixed"), (lower, upper, size, free), strict=True
        )
    ]
    if len({len(column) for column in columns}) != 1:
        raise UsageError(f"lower, upper, size and fixed have {[len(c) for c in columns]} elements")
    regions = [[r.lower, r.upper, r.size_bytes, r.offset] for r in reserved]
    table = np.array(regions, np.int64).reshape(-1, 4).T
    joined = [np.concatenate(pair) for pair in zip(columns, table, strict=True)]
    begin, end, units, place = joined
    task = _Task(begin, end, units, place, len(columns[0]), alignment)
    _check(task)
    return task


def _column(name: str, value: ArrayLike) -> Ints:
    """One argument as 64-bit integers."""
    array = np.asarray(value)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise UsageError(f"{name} must be a sequence of integers")
    try:
        return array.astype(np.int64, casting="safe" if array.size else "unsafe")
    except TypeError as error:
        raise UsageError(f"{name} holds numbers beyond 64 bits") from error


def _check(task: _Task) -> None:
    """Raise UsageError for numbers out of range and fixed regions that overlap."""
    if task.alignment < 1:
        raise UsageError(f"the alignment is {task.alignment}; it must be positive")
    for wrong, what in (
        (task.size < 0, "a negative size"),
        (task.upper < task.lower, "a lifetime that ends before it begins"),
        (task.fixed < -1, "a negative fixed offset"),
        ((task.fixed > 0) & (task.fixed % task.alignment != 0), "an unaligned fixed offset"),
    ):
        if wrong.any():
            raise UsageError(f"{_name(task, int(np.flatnonzero(wrong)[0]))} has {what}")
    if float(task.size.sum(dtype=np.float64)) + float(task.fixed.max(initial=0)) > MAX_TOTAL:
        raise UsageError(f"the buffers take more than {MAX_TOTAL:,} bytes together")
    at = np.flatnonzero(task.fixed >= 0)
    columns = (a[at].tolist() for a in (task.lower, task.upper, task.size, task.fixed))
    if faults := packing_faults(*columns):
        names = ", ".join(_name(task, int(b)) for b in at[:8])
        raise UsageError(f"fixed buffers or reserved regions overlap (of {names}): {faults[0]}")


def _name(task: _Task, b: int) -> str:
    return f"buffer {b}" if b < task.buffers else f"reserved region {b - task.buffers}"


def _boxes(task: _Task, capacity: int | None) -> tuple[Boxes, Ints]:
    """What takes room at some moment below ``capacity``, and its positions in the task."""
    size = task.size
    if capacity is not None:
        region = np.arange(len(size)) >= task.buffers
        size = np.where(region, np.clip(capacity - task.fixed, 0, size), size)
    busy = np.flatnonzero((size > 0) & (task.upper > task.lower))
    rounded = -(-size[busy] // task.alignment) * task.alignment
    lower, upper = task.lower[busy], task.upper[busy]
    found = sections(lower, upper)
    return Boxes(found, upper - lower, rounded, rounded - size[busy], task.fixed[busy]), busy


def _bound(task: _Task) -> int:
    """Bytes of buffers live at once, and the tops of fixed ones."""
    own = replace(
        task,
        lower=task.lower[: task.buffers],
        upper=task.upper[: task.buffers],
        size=task.size[: task.buffers],
        fixed=task.fixed[: task.buffers],
    )
    tops = np.where(own.fixed >= 0, own.fixed, 0) + own.size
    boxes, busy = _boxes(own, None)
    return max(least_height(boxes) if len(busy) else 0, int(tops.max(initial=0)))


def _idle(task: _Task) -> Ints:
    """Offsets to begin with: fixed ones in place, all others on the ground [buffers]."""
    return np.maximum(task.fixed[: task.buffers], 0)


def _height(task: _Task, offsets: Ints) -> int:
    return int((offsets + task.size[: task.buffers]).max(initial=0))


def _spread(task: _Task, busy: Ints, inner: Ints) -> Ints:
    """Offsets of all buffers from those of the busy boxes."""
    offsets = _idle(task)
    own = busy < task.buffers
    offsets[busy[own]] = inner[own]
    return offsets


def _decide(task: _Task, capacity: int, limits: Limits) -> _Answer:
    """Do the buffers fit ``capacity``?"""
    if _height(task, _idle(task)) > capacity:
        return _Answer(None, True, 0)
    boxes, busy = _boxes(task, capacity)
    if not len(busy):
        return _Answer(_idle(task), True, 0)
    verdict = pack_boxes(boxes, capacity, limits)
    if verdict.offsets is None:
        return _Answer(None, verdict.proved, verdict.nodes)
    return _Answer(_spread(task, busy, verdict.offsets), True, verdict.nodes)


def _greedy(task: _Task) -> Ints:
    """Offsets of the lowest heuristic packing."""
    boxes, busy = _boxes(task, None)
    inner = np.zeros(len(busy), np.int64)
    for group in components(boxes.found) if len(busy) else []:
        own = busy[group] < task.buffers
        size = task.size[busy[group]]
        lowest = -1
        for offsets in quick_packings(boxes.take(group)):
            height = int((offsets + size)[own].max(initial=0))
            if lowest < 0 or height < lowest:
                lowest = height
                inner[group] = offsets
    return _spread(task, busy, inner)


def _grain(task: _Task) -> int:
    """Every height worth trying is a multiple of it: offsets are sums of sizes, or fixed."""
    aligned = [task.alignment] if task.alignment > 1 else []
    fixed = np.maximum(task.fixed, 0)
    return max(1, int(np.gcd.reduce(np.concatenate([task.size, fixed, aligned]).astype(np.int64))))


def _minimise(task: _Task, deadline: float, cancelled: Callable[[], bool]) -> tuple[_Answer, int]:
    """Lowest packing found and the proved lower bound.

    Rounds of growing node limits: each tries the bound itself, then bisects the heights above it,
    taking what is not found for too low. Heights below ``bound`` are refuted; those below
    ``tried`` were tried in this round.
    """
    grain = _grain(task)
    bound = -(-_bound(task) // grain) * grain
    best = _greedy(task)
    height, nodes, allowed = _height(task, best), 0, FIRST_NODES
    while bound < height:
        tried = target = bound
        while tried < height:
            if time.perf_counter() > deadline or cancelled():
                return _Answer(best, True, nodes), bound
            answer = _decide(task, target, Limits(deadline, cancelled, allowed))
            nodes += answer.nodes
            if answer.offsets is not None:
                best, height = answer.offsets, _height(task, answer.offsets)
            else:
                tried = target + grain
                bound = tried if answer.proved else bound
            target = max(tried, (tried + height - 1) // 2 // grain * grain)
        allowed *= NODES_GROWTH
    return _Answer(best, True, nodes), min(bound, height)
