"""Objective ``peak``: the smallest scratchpad in which nothing is ever evicted.

With evictions any plan could shrink to its largest operator, so the peak compared is that of plans
without avoidable off-chip traffic, as in the literature on arena planning. The least number of
bytes live at once over all orders is found by bisection, each question answered by ``ilp.search``
with no byte to spend; then the schedule is packed as low as possible. The bound holds for the
joint problem, because addresses can only add to the bytes live.
"""

from stowplan.ilp.incumbent import Incumbent
from stowplan.ilp.inplace import in_place_pairs
from stowplan.ilp.packing import pack
from stowplan.ilp.schedule import Schedule, space_bytes
from stowplan.ilp.search import SearchOptions, Tables, search, timed, widths
from stowplan.passes.problem import PlanningProblem

PACK_S = 5.0


def improve_peak(best: Incumbent) -> None:
    """Replace greedy's plan by one of smaller peak, and bound the peak from below."""
    problem = best.problem
    floor = largest_operator(problem)
    best.raise_bound(floor - _padding(problem), "largest operator")
    if best.moves_bytes:
        # Greedy evicts: any plan that does not is preferred, whatever its peak.
        best.value = problem.memory.capacity_bytes + 1
    tables = Tables(problem)
    low, high = floor, min(space_bytes(problem), problem.memory.aligned(best.value))
    for width in widths(100_000):
        low, found, exact = _bisect(best, tables, low, high, width)
        best.raise_bound(low - _padding(problem), "minimum bytes live over all orders")
        for schedule in found:
            _lower(best, schedule, low)
        if exact or best.done():
            break
    if best.value > problem.memory.capacity_bytes:
        best.restore(floor - _padding(problem), "largest operator")


def largest_operator(problem: PlanningProblem) -> int:
    """Bytes no plan goes below: the largest operator with every reuse in place."""
    return max(
        problem.demand(o) - sum(problem.size[v] for v in {output for output, _ in pairs})
        for o, pairs in enumerate(in_place_pairs(problem))
    )


def _padding(problem: PlanningProblem) -> int:
    """Most bytes of alignment that the highest storage may save."""
    pairs = zip(problem.size, problem.storages, strict=True)
    return max((size - storage.size_bytes for size, storage in pairs), default=0)


def _bisect(
    best: Incumbent, tables: Tables, low: int, high: int, width: int
) -> tuple[int, list[Schedule], bool]:
    """Least space proven necessary, schedules found (smallest last), and whether they meet."""
    found: list[Schedule] = []
    exact = True
    grain = best.problem.memory.alignment_bytes
    proven = low
    while low < high and not best.done():
        middle = (low + high) // 2 // grain * grain if high - low > grain else low
        best.report(f"peak {middle:,}")
        options = SearchOptions(middle, 1, width, True, timed(best.left_s, best.options.cancelled))
        outcome = search(tables, options)
        if not outcome.finished:
            return proven, found, False
        if outcome.schedule is not None:
            found.append(outcome.schedule)
            high = middle
        else:
            low = middle + grain
            if outcome.bound >= 1 and exact:
                proven = low
            else:
                exact = False
    return proven, found, exact


def _lower(best: Incumbent, schedule: Schedule, low: int) -> None:
    """Pack ``schedule`` into as little as possible."""
    high = min(best.value - 1, best.problem.memory.capacity_bytes)
    grain = best.problem.memory.alignment_bytes
    low = min(low, high)
    while low <= high and not best.options.cancelled() and best.left_s > 0:
        middle = low if high - low < grain else (low + high) // 2
        limits = best.limits(0.2, PACK_S)
        packing = pack(best.problem, schedule, limits, capacity_bytes=middle)
        if packing.addresses is not None:
            best.offer(schedule, packing.addresses, "minimum peak order")
            high = min(middle, best.value) - 1
        else:
            low = middle + 1
