"""Arena allocation, the largest first, and what happens when a stay finds no hole."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from benchmarks.baselines.replacement import Choose, Gap, Victim, moved_bytes
from stowplan.passes.assemble import Stay
from stowplan.passes.problem import PlanningProblem

Uses = Sequence[Sequence[int]]


def allocate(
    problem: PlanningProblem, order: Sequence[int], uses: Uses, evicted: set[Gap], choose: Choose
) -> tuple[list[Stay], list[int]]:
    """Stays and their addresses; evicts further until the arena has a hole for every stay.

    Ends because each round evicts in at least one more gap, and a step whose operands have all
    just arrived holds nothing else.
    """
    evicted = set(evicted)
    while True:
        stays = stays_of(problem, order, uses, evicted)
        addresses, homeless = greedy_by_size(problem, stays)
        if not homeless:
            return stays, addresses
        evicted |= _make_room(problem, uses, evicted, stays, homeless, choose)


def stays_of(
    problem: PlanningProblem, order: Sequence[int], uses: Uses, evicted: set[Gap]
) -> list[Stay]:
    """Stays between evictions; a stay with a write is stored when its content is needed later."""
    writers: list[set[int]] = [set() for _ in problem.storages]
    for step, operator in enumerate(order):
        for v in problem.defines[operator] + problem.updates[operator]:
            writers[v].add(step)
    stays = []
    for v, steps in enumerate(uses):
        cuts = [i + 1 for i in range(len(steps) - 1) if (v, i) in evicted]
        for first, last in pairwise([0, *cuts, len(steps)]):
            written = not writers[v].isdisjoint(steps[first:last])
            needed = last < len(steps) or problem.kept(v)
            loaded = first > 0 or steps[0] not in writers[v] or problem.clean(v)
            stays.append(Stay(v, steps[first], steps[last - 1] + 1, loaded, written and needed))
    return stays


def greedy_by_size(problem: PlanningProblem, stays: Sequence[Stay]) -> tuple[list[int], list[int]]:
    """Place each stay, the largest first, at the bottom of the tightest hole of its whole span.

    Source: Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020.

    Returns:
        Addresses, and the stays that found no hole below the capacity.
    """
    sizes = [problem.size[stay.storage] for stay in stays]
    placed = np.zeros((4, len(stays)), dtype=np.int64)  # start, end, low, high
    addresses, homeless, count = [0] * len(stays), [], 0
    for i in sorted(range(len(stays)), key=lambda i: (-sizes[i], stays[i].start, i)):
        start, end, low, high = placed[:, :count]
        meets = (start < stays[i].end) & (end > stays[i].start)
        taken = sorted(zip(low[meets].tolist(), high[meets].tolist(), strict=True))
        address = _tightest_hole(taken, sizes[i], problem.memory.capacity_bytes)
        if address is None:
            homeless.append(i)
            continue
        addresses[i] = address
        placed[:, count] = stays[i].start, stays[i].end, address, address + sizes[i]
        count += 1
    return addresses, homeless


def _tightest_hole(taken: Sequence[tuple[int, int]], size: int, capacity: int) -> int | None:
    holes, reached = [], 0
    for low, high in [*taken, (capacity, capacity)]:
        if low - reached >= size:
            holes.append((low - reached, reached))
        reached = max(reached, high)
    return min(holes)[1] if holes else None


def _make_room(
    problem: PlanningProblem,
    uses: Uses,
    evicted: set[Gap],
    stays: Sequence[Stay],
    homeless: Sequence[int],
    choose: Choose,
) -> set[Gap]:
    """Further evictions: one for each homeless stay that no other one of the round reaches."""
    live = np.zeros(max(stay.end for stay in stays), dtype=np.int64)
    for stay in stays:
        live[stay.start : stay.end] += problem.size[stay.storage]
    found: set[Gap] = set()
    reached: list[Stay] = []
    for i in homeless:
        stay = stays[i]
        if any(stay.start < other.end and other.start < stay.end for other in reached):
            continue
        step = stay.start + int(live[stay.start : stay.end].argmax())
        alive = [other for other in stays if other.start <= step < other.end]
        gaps = _evict_idle(problem, uses, alive, step, problem.size[stay.storage], choose)
        gaps = gaps or _relocate(uses, evicted, [stay, *alive], step)
        found |= gaps
        storages = {v for v, _ in gaps} | {stay.storage}
        reached += [other for other in stays if other.storage in storages]
    return found


def _evict_idle(
    problem: PlanningProblem,
    uses: Uses,
    alive: Sequence[Stay],
    step: int,
    missing_bytes: int,
    choose: Choose,
) -> set[Gap]:
    """Evict one stay that waits at ``step``, as the policy has it; none if none waits."""
    victims = []
    for stay in alive:
        v = stay.storage
        if step not in uses[v]:
            following = next(use for use in uses[v] if use > step)
            moved = moved_bytes(problem, v, stored=stay.stored or stay.loaded)
            victims.append(Victim(v, problem.size[v], following, moved))
    if not victims:
        return set()
    chosen = choose(victims, missing_bytes)
    return {(chosen.storage, uses[chosen.storage].index(chosen.next_use) - 1)}


def _relocate(uses: Uses, evicted: set[Gap], alive: Sequence[Stay], step: int) -> set[Gap]:
    """Let one operand of the step come and go for it alone, so that it may lie elsewhere."""
    for stay in alive:
        v, at = stay.storage, uses[stay.storage].index(step)
        gaps = {(v, i) for i in (at - 1, at) if 0 <= i < len(uses[v]) - 1} - evicted
        if gaps:
            return gaps
    return set()
