"""From stays and addresses to a plan: residencies, transfers and their slack.

A *stay* is what a planner decides: a storage occupies the scratchpad during some steps, begins by
being defined or loaded, and is stored or not. Assembly adds what follows from the decision alone:

* A STORE is issued after the stay's last write. When the space stays free after the stay, the
  residency is extended, so that the STORE overlaps with later operators.
* A LOAD is issued (and its space reserved) as early as the space is free and DRAM's copy is
  written, at most ``LOOKAHEAD_STEPS`` before its use.
* Where a STORE and a later LOAD compete for the same free span of address x time, they meet in its
  middle.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stowplan.ir.plan import DirectAccess, Plan, Proof, Residency, Transfer, TransferKind
from stowplan.passes.problem import PlanningProblem
from stowplan.targets.target import Target

LOOKAHEAD_STEPS = 8
"""Longest prefetch: LOADs queue in issue order, so a far earlier one would delay urgent ones."""


@dataclass(frozen=True, slots=True)
class Stay:
    """One stay of a storage in the scratchpad.

    Attributes:
        storage: index into the problem's storages.
        start: first step at which its content is needed or defined.
        end: one past the last step; half-open.
        loaded: it begins with a LOAD; otherwise the operator at ``start`` defines the storage.
        stored: after its last write the content goes to DRAM.
    """

    storage: int
    start: int
    end: int
    loaded: bool
    stored: bool


def assemble_plan(
    problem: PlanningProblem,
    target: Target,
    order: Sequence[int],
    stays: Sequence[Stay],
    addresses: Sequence[int],
    proof: Proof,
    planner: str,
    direct: Sequence[tuple[int, int]] = (),
) -> Plan:
    """Build the plan in which each stay occupies its address.

    Args:
        problem: the indexed problem.
        target: the machine planned for.
        order: operator indices in execution order.
        stays: stays that do not overlap in address x time; an in-place output may start at the
            last step of the stay whose address it takes over.
        addresses: byte address per stay.
        proof: what is known of the objective.
        planner: registry name of the planner.
        direct: (storage, step) pairs accessed in DRAM.
    """
    reserved, released = _slack(problem, len(order), stays, addresses)
    _part_from_direct(stays, reserved, released, direct)
    last_write = _last_writes(problem, order, stays)
    names = [storage.name for storage in problem.storages]
    residencies, transfers = [], []
    for i, stay in enumerate(stays):
        name = names[stay.storage]
        residencies.append(
            Residency(name, stay.start, released[i], addresses[i], reserved_from=reserved[i])
        )
        if stay.loaded:
            transfers.append(Transfer(TransferKind.LOAD, name, reserved[i], stay.start))
        if stay.stored:
            ready = max(stay.start, last_write[i] + 1)
            transfers.append(Transfer(TransferKind.STORE, name, ready, released[i]))
    accesses = [DirectAccess(names[storage], step) for storage, step in direct]
    return plan_in_order(problem, target, order, residencies, transfers, accesses, proof, planner)


def plan_in_order(
    problem: PlanningProblem,
    target: Target,
    order: Sequence[int],
    residencies: Iterable[Residency],
    transfers: Iterable[Transfer],
    accesses: Iterable[DirectAccess],
    proof: Proof,
    planner: str,
) -> Plan:
    """The plan with its parts in the order that ``Plan`` asks for.

    Args:
        problem: the indexed problem.
        target: the machine planned for.
        order: operator indices in execution order.
        residencies: in any order, as are the two that follow.
        transfers: LOADs and STOREs.
        accesses: operands reached in DRAM.
        proof: what is known of the objective.
        planner: registry name of the planner.
    """
    return Plan(
        model_hash=problem.graph.hash,
        target_hash=target.hash,
        planner=planner,
        track_weights=not problem.memory.stream_weights,
        order=tuple(problem.graph.operators[o].name for o in order),
        residencies=tuple(sorted(residencies, key=lambda r: (r.start, r.address, r.storage))),
        transfers=tuple(
            sorted(transfers, key=lambda t: (t.issue, t.deadline, t.kind.value, t.storage))
        ),
        direct=tuple(sorted(accesses, key=lambda a: (a.step, a.storage))),
        proof=proof,
    )


def _slack(
    problem: PlanningProblem, steps: int, stays: Sequence[Stay], addresses: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Per stay, the boundary its space is reserved from and the one it is released at."""
    reserved = [max(0, s.start - LOOKAHEAD_STEPS) if s.loaded else s.start for s in stays]
    released = [steps if s.stored else s.end for s in stays]
    by_start = sorted(
        range(len(stays)), key=lambda i: (stays[i].start, stays[i].end, not stays[i].loaded)
    )
    latest: dict[int, int] = {}
    skyline = _Skyline()
    for i in by_start:
        stay = stays[i]
        low = addresses[i]
        before = skyline.cover(low, low + problem.size[stay.storage], i)
        if stay.storage in latest:
            before.append(latest[stay.storage])
        latest[stay.storage] = i
        for earlier in before:
            meeting = _meeting(stays[earlier], stay)
            released[earlier] = max(stays[earlier].end, min(released[earlier], meeting))
            reserved[i] = min(stay.start, max(reserved[i], meeting))
    return reserved, released


def _part_from_direct(
    stays: Sequence[Stay],
    reserved: list[int],
    released: list[int],
    direct: Sequence[tuple[int, int]],
) -> None:
    """Complete STOREs before, and issue LOADs after, the direct accesses of the same storage."""
    steps: dict[int, list[int]] = {}
    for storage, step in sorted(direct):
        steps.setdefault(storage, []).append(step)
    for i, stay in enumerate(stays):
        accesses = steps.get(stay.storage, [])
        after = bisect_left(accesses, stay.end)
        if after < len(accesses):
            released[i] = max(stay.end, min(released[i], accesses[after]))
        before = bisect_left(accesses, stay.start)
        if before:
            reserved[i] = min(stay.start, max(reserved[i], accesses[before - 1] + 1))


def _meeting(earlier: Stay, later: Stay) -> int:
    """Boundary that parts two stays which follow one another in the same space."""
    if not earlier.stored:
        return earlier.end
    if not later.loaded:
        return later.start
    return (earlier.end + later.start) // 2


class _Skyline:
    """Which stay occupied each address last; mutable."""

    def __init__(self) -> None:
        self._starts = [0]
        self._owners = [-1]

    def cover(self, low: int, high: int, owner: int) -> list[int]:
        """Give ``[low, high)`` to ``owner``; the owners it had before, -1 left out."""
        first = bisect_right(self._starts, low) - 1
        last = bisect_left(self._starts, high, first)
        before = self._owners[first:last]
        starts, owners = [low], [owner]
        if self._starts[first] < low:
            starts.insert(0, self._starts[first])
            owners.insert(0, before[0])
        if last == len(self._starts) or self._starts[last] > high:
            starts.append(high)
            owners.append(before[-1])
        self._starts[first:last] = starts
        self._owners[first:last] = owners
        return [owner for owner in dict.fromkeys(before) if owner >= 0]


def _last_writes(
    problem: PlanningProblem, order: Sequence[int], stays: Sequence[Stay]
) -> list[int]:
    """Per stay, the last step in it that writes its storage, or -1."""
    writes: dict[int, list[int]] = {}
    for step, operator in enumerate(order):
        for storage in problem.defines[operator] + problem.updates[operator]:
            writes.setdefault(storage, []).append(step)
    found = []
    for stay in stays:
        steps = writes.get(stay.storage, [])
        at = bisect_left(steps, stay.end) - 1
        found.append(steps[at] if at >= 0 and steps[at] >= stay.start else -1)
    return found
