"""Schedules: an order and the stays of storages, before addresses.

Traffic counts real bytes (``cost[v]``, the storage's size); space counts bytes rounded up to the
alignment (``problem.size[v]``).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stowplan.passes.assemble import Stay
from stowplan.passes.problem import PlanningProblem


@dataclass(frozen=True, slots=True)
class Schedule:
    """An order with residencies but without addresses.

    Attributes:
        order: operator indices in execution order.
        stays: stays of storages, half-open in steps.
        reuses: pairs (source stay, output stay): the output starts in the source's last step at
            the source's address (in place).
    """

    order: tuple[int, ...]
    stays: tuple[Stay, ...]
    reuses: tuple[tuple[int, int], ...] = ()


def storage_bytes(problem: PlanningProblem) -> tuple[int, ...]:
    """Bytes that cross the off-chip boundary when a storage is moved."""
    return tuple(storage.size_bytes for storage in problem.storages)


def space_bytes(problem: PlanningProblem) -> int:
    """Capacity that rounded sizes may fill: the last storage's padding may lie past the end."""
    return problem.memory.aligned(problem.memory.capacity_bytes)


def top_address(problem: PlanningProblem, storage: int) -> int:
    """Largest address at which ``storage`` ends inside the scratchpad."""
    spare = problem.memory.capacity_bytes - problem.storages[storage].size_bytes
    return spare // problem.memory.alignment_bytes * problem.memory.alignment_bytes


def compulsory_bytes(problem: PlanningProblem) -> int:
    """Bytes of planned storages read or written once whatever the plan."""
    used = {v for o in range(problem.operators) for v in problem.uses(o)}
    written = {v for o in range(problem.operators) for v in problem.defines[o] + problem.updates[o]}
    return sum(
        storage.size_bytes * (storage.starts_in_dram + (storage.ends_in_dram and v in written))
        for v, storage in enumerate(problem.storages)
        if v in used
    )


def traffic_bytes(problem: PlanningProblem, stays: Iterable[Stay]) -> int:
    """Non-compulsory bytes the stays move, streamed weights left out."""
    moved = sum(
        problem.storages[stay.storage].size_bytes * (stay.loaded + stay.stored) for stay in stays
    )
    return moved - compulsory_bytes(problem)


def stays_from_spans(
    problem: PlanningProblem, order: Sequence[int], spans: Sequence[tuple[int, int, int]]
) -> tuple[Stay, ...]:
    """Derive loads and stores of (storage, start, end) spans.

    A span loads unless the storage is defined at its first step. A span that writes is stored when
    the storage is loaded again later or must end in DRAM, for no other content is ever needed.
    """
    writes: list[list[int]] = [[] for _ in problem.storages]
    defined: dict[int, int] = {}
    for step, operator in enumerate(order):
        for v in problem.defines[operator]:
            defined[v] = step
        for v in problem.defines[operator] + problem.updates[operator]:
            writes[v].append(step)
    last: dict[int, int] = {}
    for v, start, _ in spans:
        last[v] = max(last.get(v, -1), start)
    stays = []
    for v, start, end in sorted(spans, key=lambda span: (span[1], span[0])):
        dirty = any(start <= step < end for step in writes[v])
        stored = dirty and (start != last[v] or problem.kept(v))
        stays.append(Stay(v, start, end, loaded=defined.get(v) != start, stored=stored))
    return tuple(stays)


def occupancy(problem: PlanningProblem, schedule: Schedule) -> list[tuple[int, int, int]]:
    """Per stay, (start, end, size) of the space it takes on its own.

    Of two stays that share an address in place, the smaller gives up the common step, and the
    larger covers both.
    """
    spans = [[stay.start, stay.end, problem.size[stay.storage]] for stay in schedule.stays]
    for source, output in schedule.reuses:
        if spans[source][2] <= spans[output][2]:
            spans[source][1] -= 1
        else:
            spans[output][0] += 1
    return [(start, end, size) for start, end, size in spans]


def load_bytes(problem: PlanningProblem, schedule: Schedule) -> list[int]:
    """Bytes occupied at each step."""
    change = [0] * (len(schedule.order) + 1)
    for start, end, size in occupancy(problem, schedule):
        if start < end:
            change[start] += size
            change[end] -= size
    load, current = [], 0
    for step in range(len(schedule.order)):
        current += change[step]
        load.append(current)
    return load


def retained_spans(
    problem: PlanningProblem, order: Sequence[int]
) -> tuple[tuple[int, int, int], ...]:
    """(storage, first use, last use + 1) of every storage: what is held when nothing is evicted."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for step, operator in enumerate(order):
        for v in problem.uses(operator):
            first.setdefault(v, step)
            last[v] = step + 1
    return tuple((v, first[v], last[v]) for v in first)
