"""Objective ``peak``: the smallest scratchpad in which nothing is ever evicted.

With evictions any plan could shrink to its largest operator, so the peak compared is that of plans
without avoidable off-chip traffic, as in the literature on arena planning. The least number of
bytes live at once over all orders is found by bisection, block by block (``ilp.blocks``), each
question answered by ``ilp.search`` with no byte to spend; then the schedule is packed as low as
possible. The bound holds for the joint problem, because addresses can only add to the bytes live.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from stowplan.ilp.blocks import Block, Blocks
from stowplan.ilp.incumbent import Incumbent
from stowplan.ilp.inplace import in_place_pairs
from stowplan.ilp.packing import FIRST_EFFORT, pack
from stowplan.ilp.region import Space
from stowplan.ilp.schedule import Schedule, space_bytes
from stowplan.ilp.search import SearchOptions, schedule_of, search, timed, widths
from stowplan.passes.problem import PlanningProblem

MAX_WIDTH = 100_000


@dataclass(frozen=True, slots=True)
class Range:
    """What is known of a block's least peak.

    Attributes:
        low: it is no smaller.
        high: it is no larger, or that is of no interest.
    """

    low: int
    high: int


def improve_peak(best: Incumbent) -> None:
    """Replace greedy's plan by one of smaller peak, and bound the peak from below."""
    problem = best.problem
    floor = largest_operator(problem)
    best.raise_bound(floor - _padding(problem), "largest operator")
    if best.moves_bytes:
        # Greedy evicts: any plan that does not is preferred, whatever its peak.
        best.value = problem.memory.capacity_bytes + 1
    blocks = Blocks(Space(problem))
    ranges = [Range(floor, min(space_bytes(problem), problem.memory.aligned(best.value)))]
    ranges *= len(blocks.kinds)
    for width in widths(MAX_WIDTH):
        ranges = _bisected(best, blocks, ranges, width)
        low = max(found.low for found in ranges)
        best.raise_bound(low - _padding(problem), "minimum bytes live over all orders")
        steps = blocks.steps()
        if steps is not None:
            _lower(best, schedule_of(problem, steps), low)
        if best.done() or all(found.high <= low for found in ranges):
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


def _bisected(best: Incumbent, blocks: Blocks, ranges: Sequence[Range], width: int) -> list[Range]:
    """Narrower ranges of the blocks' peaks; each block keeps its path of the lowest peak."""
    found = list(ranges)
    floor = max(known.low for known in found)
    for k, block in enumerate(blocks.kinds):
        # Peaks below what another block needs are of no use.
        low = max(found[k].low, floor)
        if low < found[k].high or block.steps is None:
            found[k] = _bisect(best, block, Range(low, max(found[k].high, low)), width)
        floor = max(floor, found[k].low)
    return found


def _bisect(best: Incumbent, block: Block, known: Range, width: int) -> Range:
    """The range of a block's least peak that a search of such a width can tell."""
    arrays = block.cuts[0].arrays
    grain = gcd(*arrays.size.tolist(), *arrays.demand.tolist()) or 1
    low, high, proven = -(-known.low // grain), known.high // grain, known.low
    if block.steps is None:
        _fits(best, block, known.high, width)
    middle = high - 1
    while low < high and not _over(best):
        found, proof = _fits(best, block, middle * grain, width)
        if found:
            high = middle
        else:
            proven = max(proven, (middle + 1) * grain) if proof else proven
            if middle == high - 1:
                # Where the beam finds nothing a grain below, it hardly finds it further down.
                break
            low = middle + 1
        middle = (low + high) // 2
    top = min(high * grain, known.high)
    return Range(min(proven, max(top, known.low)), top)


def _over(best: Incumbent) -> bool:
    return best.left_s <= 0 or best.options.cancelled()


def _fits(best: Incumbent, block: Block, capacity: int, width: int) -> tuple[bool, bool]:
    """Whether the block was found to fit, and whether it was proven that it does not."""
    best.report(f"peak {capacity:,}")
    stopped = timed(best.left_s, best.options.cancelled)
    outcome = search(block.cuts[0], SearchOptions(capacity, 1, width, True, stopped))
    if outcome.steps is not None:
        block.steps, block.cost = outcome.steps, 0
        return True, False
    return False, outcome.finished and outcome.bound >= 1


def _lower(best: Incumbent, schedule: Schedule, low: int) -> None:
    """Pack ``schedule`` into as little as possible."""
    high = min(best.value - 1, best.problem.memory.capacity_bytes)
    grain = best.problem.memory.alignment_bytes
    low = min(low, high)
    while low <= high and not best.options.cancelled() and best.left_s > 0:
        middle = low if high - low < grain else (low + high) // 2
        packing = pack(best.problem, schedule, best.limits(0.2), middle, FIRST_EFFORT)
        if packing.addresses is not None:
            best.offer(schedule, packing.addresses, "minimum peak order")
            high = min(middle, best.value) - 1
        else:
            low = middle + 1
