"""Space rules: geometry of residencies, capacity, alignment, and no two at one place and time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from stowplan.ir.check_facts import Facts, Violation
from stowplan.ir.memory import MemorySpec
from stowplan.ir.plan import Plan, Residency

MAX_OVERLAPS_LISTED = 10_000
_ADDRESSABLE_BYTES = 1 << 62


@dataclass(frozen=True, slots=True)
class Space:
    """Where residencies meet.

    Attributes:
        violations: overlaps that are not allowed.
        overwritten: residencies whose address an in-place output takes over at their last step.
    """

    violations: tuple[Violation, ...]
    overwritten: frozenset[Residency]


def describe(residency: Residency) -> str:
    """A residency in words."""
    return (
        f"{residency.storage!r} at address {residency.address} during steps "
        f"[{residency.reserved_from}, {residency.end})"
    )


def check_geometry(facts: Facts, plan: Plan, residency: Residency) -> Iterator[Violation]:
    """A known storage that the plan may place, and 0 <= reserved_from <= start < end <= steps."""
    steps = len(plan.order)
    if residency.storage not in facts.size_bytes:
        yield Violation("unknown", f"residency: no storage {residency.storage!r} in the graph")
    elif facts.streamed(residency.storage, plan.track_weights):
        yield Violation(
            "streamed",
            f"{describe(residency)}: weights are streamed, a plan that places them "
            f"must set track_weights",
        )
    if not 0 <= residency.reserved_from <= residency.start < residency.end <= steps:
        yield Violation(
            "geometry",
            f"{describe(residency)}: reserved_from {residency.reserved_from} <= start "
            f"{residency.start} < end {residency.end} <= {steps} steps does not hold",
        )


def check_address(facts: Facts, memory: MemorySpec, residency: Residency) -> Iterator[Violation]:
    """The residency lies inside the scratchpad at an aligned address."""
    top = residency.address + facts.size_bytes[residency.storage]
    if residency.address < 0 or top > memory.capacity_bytes:
        yield Violation(
            "capacity",
            f"{describe(residency)} occupies bytes [{residency.address}, {top}), "
            f"the scratchpad has {memory.capacity_bytes}",
        )
    if residency.address % max(1, memory.alignment_bytes):
        yield Violation(
            "alignment",
            f"{describe(residency)}: address is no multiple of {memory.alignment_bytes} bytes",
        )


def check_disjoint(stays: Sequence[Residency]) -> Iterator[Violation]:
    """Residencies of one storage, sorted by reserved_from, follow one another."""
    for earlier, later in pairwise(stays):
        if later.reserved_from < earlier.end:
            yield Violation(
                "overlap", f"{describe(earlier)} and {describe(later)}: two copies at once"
            )


def check_overlap(facts: Facts, plan: Plan, residencies: Sequence[Residency]) -> Space:
    """No two residencies share a byte during a step, but for outputs that replace an input."""
    placed = sorted(
        (r for r in residencies if 0 <= r.address < _ADDRESSABLE_BYTES),
        key=lambda r: (r.reserved_from, r.end),
    )
    violations: list[Violation] = []
    overwritten: set[Residency] = set()
    for earlier, later in _meetings(placed, facts.size_bytes):
        for old, new in ((earlier, later), (later, earlier)):
            if takes_over(facts, plan, old, new):
                overwritten.add(old)
                break
        else:
            if len(violations) == MAX_OVERLAPS_LISTED:
                violations.append(Violation("overlap", "there are more overlaps than are listed"))
                break
            violations.append(
                Violation("overlap", f"{describe(earlier)} overlaps {describe(later)}")
            )
    return Space(tuple(violations), frozenset(overwritten))


def _meetings(
    placed: Sequence[Residency], size_bytes: Mapping[str, int]
) -> Iterator[tuple[Residency, Residency]]:
    """Pairs of different storages that share a byte during a step; sorted by reserved_from."""
    start = np.array([r.reserved_from for r in placed], dtype=np.int64)
    low = np.array([r.address for r in placed], dtype=np.int64)
    high = low + np.array([size_bytes[r.storage] for r in placed], dtype=np.int64)
    lasts = np.searchsorted(start, [r.end for r in placed]).tolist()
    for i, (residency, last) in enumerate(zip(placed, lasts, strict=True)):
        window = slice(i + 1, last)
        meets = (low[window] < high[i]) & (high[window] > low[i])
        for j in np.flatnonzero(meets):
            other = placed[i + 1 + int(j)]
            if other.storage != residency.storage:
                yield residency, other


def takes_over(facts: Facts, plan: Plan, old: Residency, new: Residency) -> bool:
    """Whether ``new`` is an output that legally replaces the input ``old`` byte for byte.

    Every operand through which the operator reads ``old`` must be one that the output may replace;
    an operand outside that list may still be read after the output's first bytes are written.
    """
    step = new.start
    if not (old.end == step + 1 and new.reserved_from == step and old.address == new.address):
        return False
    if facts.size_bytes[new.storage] > facts.size_bytes[old.storage]:
        return False
    op = facts.graph.operator.get(plan.order[step])
    if op is None:
        return False
    touches = {touch.storage: touch for touch in facts.touches[op.name]}
    if new.storage not in touches or not touches[new.storage].defines:
        return False
    if old.storage in touches and touches[old.storage].writes:
        return False
    inputs = [facts.graph.resolve(name) for name in op.inputs]
    outputs = [facts.graph.resolve(name) for name in op.outputs]
    replaceable = {
        source
        for output, source in op.in_place
        if outputs[output][0] == new.storage and outputs[output][1] == inputs[source][1]
    }
    readers = {i for i, (storage, _) in enumerate(inputs) if storage == old.storage}
    return bool(readers) and readers <= replaceable
