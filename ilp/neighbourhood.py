"""Large-neighbourhood search: re-plan windows of the order, keep the rest of it.

A window is a run of consecutive sequences. It starts from the state the path has there, and what
follows it goes on as planned: the search of ``ilp.search`` pays for whatever it takes to reach the
state that the rest relies on. So a window costs the same however large the graph. Windows are drawn
where the path evicts most; equal costs are accepted, which lets the search drift along plateaus. A
round of windows without gain ends it.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stowplan.ilp.gaps import best_residencies
from stowplan.ilp.incumbent import Incumbent
from stowplan.ilp.path import Milestone, Path, Walker, path_of
from stowplan.ilp.region import Space, cut_region
from stowplan.ilp.schedule import Schedule, space_bytes, traffic_bytes
from stowplan.ilp.search import SearchOptions, Step, schedule_of, search, timed

WINDOW_SIZES = (8, 12, 16, 24, 36)
WIDTH = 256
IDLE_WINDOWS = 100
GAPS_S = 5.0
MAX_GAP_OPERATORS = 5_000

Settle = Callable[[Schedule], None]


def improve_locally(
    best: Incumbent, space: Space, steps: Sequence[Step], free_moves: bool, settle: Settle
) -> Path:
    """Improve a path until a round of windows gains nothing; ``settle`` takes what is better."""
    rng = random.Random(best.options.seed)
    path = path_of(space, steps)
    _polish(best, schedule_of(best.problem, path.flat()), path.cost, settle)
    idle = 0
    while idle < IDLE_WINDOWS and not best.done():
        best.report("windows")
        low, high = _window(path, rng)
        stopped = timed(best.left_s, best.options.cancelled)
        how = Replanning(space_bytes(best.problem), WIDTH, free_moves, stopped)
        found = replan(space, path, low, high, how)
        idle += 1
        if found is None:
            continue
        if found.cost < path.cost:
            idle = 0
        path = found
        if path.cost + best.constant < best.value and not idle:
            settle(schedule_of(best.problem, path.flat()))
    return path


def _polish(best: Incumbent, schedule: Schedule, cost: int, settle: Settle) -> None:
    """Better residencies for the same order, which the search may have cut off."""
    if best.problem.operators > MAX_GAP_OPERATORS:
        return
    best.report("residency gaps")
    found = best_residencies(best.problem, schedule.order, best.limits(0.2, GAPS_S))
    if found.schedule is None:
        return
    better = traffic_bytes(best.problem, found.schedule.stays)
    if better < cost and better + best.constant < best.value:
        settle(found.schedule)


@dataclass(frozen=True, slots=True)
class Replanning:
    """How windows are planned; see ``ilp.search.SearchOptions``."""

    capacity_bytes: int
    width: int
    free_moves: bool
    stopped: Callable[[], bool]


def replan(space: Space, path: Path, low: int, high: int, how: Replanning) -> Path | None:
    """The path with sequences [low, high) planned anew, if that costs no more."""
    before, after = path.milestones[low], path.milestones[high]
    done = [o for i in path.order[:low] for o in space.sequences[i]]
    cut = cut_region(space, path.order[low:high], before.state, done)
    below = after.cost - before.cost + 1
    options = SearchOptions(
        how.capacity_bytes, below, how.width, how.free_moves, how.stopped, after.state
    )
    outcome = search(cut, options)
    if outcome.steps is None:
        return None
    found = _spliced(space, path, low, high, outcome.steps, done)
    return found if found.cost <= path.cost else None


def _spliced(
    space: Space, path: Path, low: int, high: int, steps: Sequence[Step], done: Sequence[int]
) -> Path:
    """The path with other steps in [low, high); behind it, what is too much there is evicted."""
    order, groups, at = list(path.order[:low]), list(path.steps[:low]), 0
    milestones = list(path.milestones[: low + 1])
    walker = Walker(space, path.milestones[low], done)
    while at < len(steps):
        i = space.home[steps[at].operator]
        group = tuple(steps[at : at + len(space.sequences[i])])
        order.append(i)
        groups.append(group)
        walker.run(group)
        milestones.append(walker.milestone())
        at += len(group)
    surplus = milestones[-1].state.resident - path.milestones[high].state.resident
    for k in range(high, len(path.order)):
        group = path.steps[k]
        if surplus:
            first = group[0]
            more = {*first.evicted, *surplus} - set(space.uses[first.operator])
            group = (Step(first.operator, tuple(sorted(more)), first.reuses), *group[1:])
            surplus = frozenset()
        order.append(path.order[k])
        groups.append(group)
        walker.run(group)
        milestones.append(walker.milestone())
        if milestones[-1].state == path.milestones[k + 1].state:
            gain = path.milestones[k + 1].cost - milestones[-1].cost
            later = path.milestones[k + 2 :]
            order += path.order[k + 1 :]
            groups += path.steps[k + 1 :]
            milestones += [Milestone(stone.state, stone.cost - gain) for stone in later]
            break
    return Path(tuple(order), tuple(groups), tuple(milestones))


def _window(path: Path, rng: random.Random) -> tuple[int, int]:
    """Positions [low, high) of a window around one at which something is evicted."""
    count = len(path.order)
    size = min(rng.choice(WINDOW_SIZES), count)
    busy = [k for k in range(count) if path.milestones[k].cost < path.milestones[k + 1].cost]
    centre = rng.choice(busy) if busy and rng.random() < 0.9 else rng.randrange(count)
    low = max(0, min(count - size, centre - rng.randrange(size)))
    return low, low + size
