"""Large-neighbourhood search: re-plan windows of the order, keep the rest of it.

A window is a run of consecutive sequences whose order is free while the order of all others stays;
residencies are free everywhere. The search of ``ilp.search`` solves such a neighbourhood in time
about linear in the graph, for outside the window only one set of operators can have run.
Windows are drawn where the schedule evicts most; equal costs are accepted, which lets the search
drift along plateaus.
"""

import random

from stowplan.ilp.gaps import best_residencies
from stowplan.ilp.incumbent import Incumbent
from stowplan.ilp.packing import pack
from stowplan.ilp.repair import place_with_evictions
from stowplan.ilp.schedule import Schedule, space_bytes, traffic_bytes
from stowplan.ilp.search import SearchOptions, Tables, Window, search, timed

WINDOW_SIZES = (10, 16, 24, 36)
WIDTH = 400
WINDOW_SHARE = 0.3
PACK_S = 5.0
GAPS_S = 5.0


def improve_locally(
    best: Incumbent, tables: Tables, start: Schedule | None, free_moves: bool
) -> None:
    """Improve the best plan until time runs out or it is proven."""
    rng = random.Random(best.options.seed)
    order = sequence_order(tables, _order_of(best) if start is None else start.order)
    unlimited = 1 << 60
    current = _solve(best, tables, Window(order, 0, 0), unlimited, free_moves)
    if current is None:
        return
    schedule, cost = _polish(best, *current)
    while not best.done():
        best.report("windows")
        low, high = _window(tables, schedule, order, rng)
        found = _solve(best, tables, Window(order, low, high), cost + 1, free_moves)
        if found is None:
            continue
        schedule, cost = found
        order = sequence_order(tables, schedule.order)
        if cost + best.constant < best.value:
            _settle(best, schedule)


def _polish(best: Incumbent, schedule: Schedule, cost: int) -> tuple[Schedule, int]:
    """Better residencies for the same order, which the search may have cut off."""
    best.report("residency gaps")
    found = best_residencies(best.problem, schedule.order, best.limits(0.2, GAPS_S))
    if found.schedule is None:
        return schedule, cost
    better = traffic_bytes(best.problem, found.schedule.stays)
    if better >= cost:
        return schedule, cost
    _settle(best, found.schedule)
    return found.schedule, better


def _settle(best: Incumbent, schedule: Schedule) -> None:
    packing = pack(best.problem, schedule, best.limits(0.2, PACK_S))
    if packing.addresses is None or not best.offer(schedule, packing.addresses, "windows"):
        place_with_evictions(best, schedule, "windows, repaired")


def _order_of(best: Incumbent) -> tuple[int, ...]:
    index = {op.name: o for o, op in enumerate(best.graph.operators)}
    return tuple(index[name] for name in best.plan.order)


def sequence_order(tables: Tables, order: tuple[int, ...]) -> tuple[int, ...]:
    """Sequences in the order in which their last members run.

    Nothing but its own sequence follows a member that is not the last, so waiting is legal.
    """
    last = {sequence[-1]: i for i, sequence in enumerate(tables.sequences)}
    return tuple(last[o] for o in order if o in last)


def _solve(
    best: Incumbent, tables: Tables, window: Window, below: int, free_moves: bool
) -> tuple[Schedule, int] | None:
    seconds = best.left_s * WINDOW_SHARE
    outcome = search(
        tables,
        SearchOptions(
            capacity_bytes=space_bytes(best.problem),
            below=below,
            width=WIDTH,
            free_moves=free_moves,
            stopped=timed(seconds, best.options.cancelled),
            window=window,
        ),
    )
    if outcome.schedule is None:
        return None
    return outcome.schedule, traffic_bytes(best.problem, outcome.schedule.stays)


def _window(
    tables: Tables, schedule: Schedule, order: tuple[int, ...], rng: random.Random
) -> tuple[int, int]:
    """Positions [low, high) of a window around a step at which something is moved."""
    position: dict[int, int] = {}
    step = 0
    for at, i in enumerate(order):
        for _ in tables.sequences[i]:
            position[step] = at
            step += 1
    moved = [stay for stay in schedule.stays if stay.loaded or stay.stored]
    size = min(rng.choice(WINDOW_SIZES), len(order))
    if moved and rng.random() < 0.9:
        stay = rng.choice(moved)
        centre = position[stay.start if rng.random() < 0.5 else stay.end - 1]
    else:
        centre = rng.randrange(len(order))
    low = max(0, min(len(order) - size, centre - rng.randrange(size)))
    return low, low + size
