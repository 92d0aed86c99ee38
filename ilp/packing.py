"""Addresses for the stays of a schedule: two-dimensional packing with fixed time intervals.

Stays that replace one another in place share one address and are placed as one *group*. The stays'
space in time is ``schedule.occupancy``: of two stays sharing a step in place only the larger
counts. The groups fall into components that never live at the same time; each is packed on its own:
best-fit in several orders, the depth-first packer of ``ilp.allocate_pack``, then CP-SAT's
two-dimensional no-overlap.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import gcd

from ortools.sat.python import cp_model

from stowplan.ilp import allocate_pack
from stowplan.ilp.cpsat import run_cpsat
from stowplan.ilp.milp import Limits
from stowplan.ilp.schedule import Schedule, load_bytes, occupancy
from stowplan.passes.clock import planning_seconds
from stowplan.passes.problem import PlanningProblem

FIRST_EFFORT = 0.1
FINAL_EFFORT = 10.0
LONG_EFFORT = 1.0
"""Of CP-SAT before the depth-first packer is let run for long."""
CPSAT_UNITS = 1.0
"""Deterministic time of CP-SAT, about seconds, per unit of effort."""
NODES = 500_000
"""Nodes of the depth-first packer per unit of effort."""

Box = tuple[int, int, int]
"""(start, end, size) of one stay's space."""


@dataclass(frozen=True, slots=True)
class Packing:
    """Outcome of a packing attempt.

    Attributes:
        addresses: byte address per stay, None when none was found.
        proven: without addresses: there are none.
    """

    addresses: tuple[int, ...] | None
    proven: bool = False


@dataclass(frozen=True, slots=True)
class _Group:
    """Stays with one common address, their boxes, and the largest address allowed."""

    stays: tuple[int, ...]
    boxes: tuple[Box, ...]
    top: int

    @property
    def size(self) -> int:
        return max(size for _, _, size in self.boxes)

    @property
    def start(self) -> int:
        return min(start for start, _, _ in self.boxes)

    @property
    def end(self) -> int:
        return max(end for _, end, _ in self.boxes)


def pack(
    problem: PlanningProblem,
    schedule: Schedule,
    limits: Limits,
    capacity_bytes: int | None = None,
    effort: float = FINAL_EFFORT,
) -> Packing:
    """Find addresses, or prove that there are none.

    Args:
        problem: the indexed problem.
        schedule: stays to place.
        limits: time, workers, seed and cancellation of the search.
        capacity_bytes: space to pack into; the scratchpad's by default.
        effort: how long to search where best-fit fails, 0 for not at all. It counts what the
            searches do, not seconds, so that the outcome is the same on every run.
    """
    memory = problem.memory
    real = memory.capacity_bytes if capacity_bytes is None else capacity_bytes
    space = memory.aligned(real)
    if max(load_bytes(problem, schedule), default=0) > space:
        return Packing(None, proven=True)
    groups = _groups(problem, schedule, real)
    if any(group.top < 0 for group in groups):
        return Packing(None, proven=True)
    addresses = [0] * len(schedule.stays)
    end = planning_seconds() + limits.seconds
    for component in _components(groups):
        found, proven = _pack_component(problem, component, space, effort, limits, end)
        if found is None:
            return Packing(None, proven)
        for group, address in zip(component, found, strict=True):
            for stay in group.stays:
                addresses[stay] = address
    return Packing(tuple(addresses))


def _components(groups: Sequence[_Group]) -> Iterator[list[_Group]]:
    """Groups that are linked by common steps."""
    component: list[_Group] = []
    reached = 0
    for group in sorted(groups, key=lambda g: (g.start, g.end)):
        if component and group.start >= reached:
            yield component
            component = []
        component.append(group)
        reached = max(reached, group.end)
    if component:
        yield component


def _pack_component(
    problem: PlanningProblem,
    groups: list[_Group],
    space: int,
    effort: float,
    limits: Limits,
    end: float,
) -> tuple[list[int] | None, bool]:
    """Addresses of the groups, or None and whether there are none."""
    position = {group.stays: i for i, group in enumerate(groups)}
    for ranked in _orders(groups):
        found = _best_fit(ranked)
        if found is not None:
            addresses = [0] * len(groups)
            for group, address in zip(ranked, found, strict=True):
                addresses[position[group.stays]] = address
            return addresses, True
    brief, plain = min(effort, FIRST_EFFORT), _plain(groups, space)
    stages = [(_allocate, brief)] if plain else [(_search, brief)]
    if effort > brief:
        stages += [(_search, LONG_EFFORT), *([(_allocate, effort)] if plain else [])]
        stages.append((_search, effort))
    for stage, units in stages if effort > 0 else []:
        left = end - planning_seconds()
        if left <= 0 or limits.cancelled():
            break
        solved, proven = stage(problem, groups, space, replace(limits, seconds=left), units)
        if proven:
            return solved, True
    return None, False


def _plain(groups: Sequence[_Group], space: int) -> bool:
    """Whether every group is one box that may lie anywhere."""
    return all(len(g.boxes) == 1 and g.top >= space - g.size for g in groups)


def _allocate(
    problem: PlanningProblem, groups: Sequence[_Group], space: int, limits: Limits, effort: float
) -> tuple[list[int] | None, bool]:
    """The depth-first packer, for plain groups."""
    boxes = [group.boxes[0] for group in groups]
    starts, ends, sizes = zip(*boxes, strict=True)
    nodes = int(NODES * effort)
    found = allocate_pack.pack(
        starts, ends, sizes, space, limits.seconds, cancelled=limits.cancelled, node_limit=nodes
    )
    if found.offsets is None:
        return None, found.proved
    return [int(offset) for offset in found.offsets], True


def _groups(problem: PlanningProblem, schedule: Schedule, capacity: int) -> list[_Group]:
    boxes = occupancy(problem, schedule)
    leader = list(range(len(boxes)))
    for source, output in sorted(schedule.reuses, key=lambda pair: schedule.stays[pair[0]].start):
        leader[output] = leader[source]
    members: dict[int, list[int]] = {}
    for stay, group in enumerate(leader):
        while leader[group] != group:
            group = leader[group]
        members.setdefault(group, []).append(stay)
    step = problem.memory.alignment_bytes
    groups = []
    for stays in members.values():
        top = min(
            (capacity - problem.storages[schedule.stays[i].storage].size_bytes) // step * step
            for i in stays
        )
        taken = tuple(boxes[i] for i in stays if boxes[i][0] < boxes[i][1])
        groups.append(_Group(tuple(stays), taken, top))
    return groups


def _orders(groups: Sequence[_Group]) -> Iterator[list[_Group]]:
    """Placement orders; the first two are enough for most networks."""
    yield sorted(groups, key=lambda g: (-(g.end - g.start), -g.size, g.start))
    yield sorted(groups, key=lambda g: (-g.size, g.start, g.stays))
    yield sorted(groups, key=lambda g: (-g.size * (g.end - g.start), g.start))
    yield sorted(groups, key=lambda g: (g.start, -g.size, g.stays))
    yield sorted(groups, key=lambda g: (-g.end, -g.size, g.stays))


def _best_fit(ranked: Sequence[_Group]) -> list[int] | None:
    """Lowest address of the tightest gap for each group in turn; None when one finds no place."""
    placed: list[tuple[Box, int]] = []
    found = []
    for group in ranked:
        address = _lowest(group, placed)
        if address is None:
            return None
        found.append(address)
        placed += [(box, address) for box in group.boxes]
    return found


def _lowest(group: _Group, placed: Sequence[tuple[Box, int]]) -> int | None:
    """Address of the smallest gap that holds ``group``, the lowest of equal ones."""
    blocked = []
    for start, end, size in group.boxes:
        for (other_start, other_end, other_size), address in placed:
            if other_start < end and start < other_end:
                blocked.append((address - size, address + other_size))
    blocked.sort()
    best: tuple[int, int] | None = None
    free = 0
    for low, high in [*blocked, (group.top, group.top + 1)]:
        # ``low`` is the last address below the obstacle at which the group still fits.
        if low >= free and free <= group.top:
            slack = min(low, group.top) - free
            if best is None or slack < best[0]:
                best = (slack, free)
        free = max(free, high)
    return None if best is None else best[1]


def _search(
    problem: PlanningProblem, groups: Sequence[_Group], space: int, limits: Limits, effort: float
) -> tuple[list[int] | None, bool]:
    unit = gcd(*problem.size) or 1
    model = cp_model.CpModel()
    offsets, times, places = [], [], []
    for i, group in enumerate(groups):
        top = min(group.top, space - group.size) // unit
        offset = model.new_int_var(0, top, f"place[{i}]")
        offsets.append(offset)
        for j, (start, end, size) in enumerate(group.boxes):
            scaled = size // unit
            times.append(model.new_fixed_size_interval_var(start, end - start, f"time[{i},{j}]"))
            places.append(model.new_fixed_size_interval_var(offset, scaled, f"space[{i},{j}]"))
    model.add_no_overlap_2d(times, places)
    _mirror(model, groups, offsets, space // unit, unit)
    # One worker: of several, whichever is first would decide.
    units = CPSAT_UNITS * effort
    outcome = run_cpsat(model, replace(limits, workers=1), max_deterministic_time=units)
    if outcome.found:
        return [outcome.value(offset) * unit for offset in offsets], True
    return None, outcome.infeasible


def _mirror(
    model: cp_model.CpModel,
    groups: Sequence[_Group],
    offsets: Sequence[cp_model.IntVar],
    space: int,
    unit: int,
) -> None:
    """Address mirror symmetry: the largest group lies in the lower half.

    Only where every group may lie anywhere and has one size, so that a mirrored packing is one.
    """
    free = all(group.top // unit == space - group.size // unit for group in groups)
    plain = all(len({size for _, _, size in group.boxes}) == 1 for group in groups)
    if free and plain and groups:
        i = max(range(len(groups)), key=lambda i: groups[i].size)
        model.add(2 * offsets[i] <= space - groups[i].size // unit)


def overlapping(problem: PlanningProblem, schedule: Schedule, addresses: Sequence[int]) -> bool:
    """Whether two boxes share a byte during a step."""
    boxes = occupancy(problem, schedule)
    rows = sorted(
        (start, end, addresses[i], addresses[i] + size)
        for i, (start, end, size) in enumerate(boxes)
        if start < end
    )
    active: list[tuple[int, int, int, int]] = []
    for row in rows:
        active = [other for other in active if other[1] > row[0]]
        if any(other[2] < row[3] and row[2] < other[3] for other in active):
            return True
        active.append(row)
    return False
