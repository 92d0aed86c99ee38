"""Addresses for a schedule that cannot be packed: keep its order, evict more where necessary."""

from dataclasses import replace

from stowplan.ilp.incumbent import Incumbent
from stowplan.ilp.schedule import Schedule
from stowplan.ir.plan import Proof
from stowplan.passes.assemble import assemble_plan
from stowplan.passes.greedy_gaps import Kept, timeline
from stowplan.passes.greedy_place import place_in_time
from stowplan.passes.takeovers import takeovers


def place_with_evictions(best: Incumbent, schedule: Schedule, method: str) -> bool:
    """Offer the schedule placed in order of time; true when it became the best plan."""
    problem = best.problem
    accesses = timeline(problem, schedule.order)
    guide = _kept(schedule, accesses.gaps(1), accesses.steps)
    improved = False
    for by_lifetime in (False, True):
        placed = place_in_time(
            accesses, guide, problem.memory.capacity_bytes, takeovers(problem), by_lifetime
        )
        plan = assemble_plan(
            problem,
            best.target,
            schedule.order,
            placed.stays,
            placed.addresses,
            Proof(best.options.objective, 0, 0, method, ""),
            best.planner,
            placed.direct,
        )
        value = best.measure(plan)
        if value < best.value:
            best.plan, best.value, best.method = replace(plan), value, method
            improved = True
    return improved


def _kept(schedule: Schedule, kept: Kept, steps: tuple[tuple[int, ...], ...]) -> Kept:
    """Per storage and gap between uses, whether one stay spans it."""
    spans: dict[int, list[tuple[int, int]]] = {}
    for stay in schedule.stays:
        spans.setdefault(stay.storage, []).append((stay.start, stay.end))
    for v, uses in enumerate(steps):
        for gap in range(len(uses) - 1):
            kept[v][gap] = any(
                start <= uses[gap] and uses[gap + 1] < end for start, end in spans.get(v, ())
            )
    return kept
