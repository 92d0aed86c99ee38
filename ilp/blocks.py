"""Exact decomposition: parts of a problem between operators that every order runs at the same step.

Where everything in use on both sides of such an operator was just written by it, nothing of the
past matters but that: the storages are resident and DRAM has no copy. The parts, *blocks*, are then
independent problems; least costs and bounds add up. Blocks that differ in names alone are solved
once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stowplan.ilp.path import Path
from stowplan.ilp.region import Cut, Space, State, cut_region
from stowplan.ilp.search import SearchOptions, SearchResult, Step, search

UNLIMITED = 1 << 60
Stop = Callable[[], bool]


@dataclass(slots=True)
class Block:
    """One kind of block; mutable.

    Attributes:
        cuts: the regions of this kind, the first one is searched.
        chosen: per region, its sequences.
        starts: per region, the state it starts from.
        steps: cheapest path found through the first one.
        cost: its cost, ``UNLIMITED`` without one.
        bound: no path costs less.
        labels: labels made for it.
    """

    cuts: list[Cut] = field(default_factory=list)
    chosen: list[tuple[int, ...]] = field(default_factory=list)
    starts: list[State] = field(default_factory=list)
    steps: tuple[Step, ...] | None = None
    cost: int = UNLIMITED
    bound: int = 0
    labels: int = 0

    @property
    def solved(self) -> bool:
        """Whether the path is proven to be cheapest."""
        return self.bound >= self.cost

    def take(self, result: SearchResult) -> None:
        """Keep what a search found."""
        self.labels += result.labels
        if result.finished:
            self.bound = max(self.bound, result.bound)
        self.improve(result)

    def improve(self, result: SearchResult) -> None:
        """Keep a cheaper path; the result's bound need not hold for the block."""
        if result.steps is not None and result.cost < self.cost:
            self.steps, self.cost = result.steps, result.cost


class Blocks:
    """The blocks of a problem and what is known of each; mutable."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.order: list[tuple[Block, int]] = []
        kinds: dict[bytes, Block] = {}
        for chosen, start in _partition(space):
            inside = {o for i in chosen for o in space.sequences[i]}
            cut = cut_region(space, chosen, start, _past(space, start, inside))
            block = kinds.setdefault(cut.key(), Block())
            self.order.append((block, len(block.cuts)))
            block.cuts.append(cut)
            block.chosen.append(chosen)
            block.starts.append(start)
        self.kinds = list(kinds.values())

    @property
    def cost(self) -> int:
        """Cost of the best paths together."""
        return min(UNLIMITED, sum(block.cost for block, _ in self.order))

    @property
    def bound(self) -> int:
        """No path through the problem costs less."""
        return sum(block.bound for block, _ in self.order)

    @property
    def solved(self) -> bool:
        """Whether every block is solved."""
        return all(block.solved for block in self.kinds)

    def steps(self) -> tuple[Step, ...] | None:
        """Best path through the problem, once every block has one."""
        found: list[Step] = []
        for block, which in self.order:
            if block.steps is None:
                return None
            found += _translated(block.steps, block.cuts[0], block.cuts[which])
        return tuple(found)

    def adopt(self, path: Path) -> None:
        """Take from a path through the problem what is cheaper than the blocks' own paths."""
        low = 0
        for block, which in self.order:
            high = low + len(block.chosen[which])
            cost = path.milestones[high].cost - path.milestones[low].cost
            if cost < block.cost:
                steps = [step for group in path.steps[low:high] for step in group]
                block.steps = _translated(steps, block.cuts[which], block.cuts[0])
                block.cost = cost
            low = high

    def search(
        self, width: int, capacity_bytes: int, limit: int, free_moves: bool, stopped: Stop
    ) -> bool:
        """Search every block that is not solved; false when stopped.

        Args:
            width: labels per layer.
            capacity_bytes: bytes that may be occupied at once.
            limit: only paths through the problem that cost less are of interest.
            free_moves: use the free-move rule.
            stopped: polled now and then.
        """
        for block in self.kinds:
            if block.solved:
                continue
            others = self.bound - block.bound * len(block.cuts)
            # Blocks of one kind cost the same in some cheapest path: equal shares of what is left.
            most = -(-(limit - others) // len(block.cuts))
            below = min(block.cost, max(most, block.bound))
            if below <= block.bound:
                continue
            options = SearchOptions(capacity_bytes, below, width, free_moves, stopped)
            result = search(block.cuts[0], options)
            if not result.finished:
                return False
            block.take(result)
        return True

    def follow(self, order: Sequence[int], width: int, capacity_bytes: int, stopped: Stop) -> None:
        """Best residencies for an order of the operators, block by block."""
        position = {o: t for t, o in enumerate(order)}
        for block in self.kinds:
            if block.solved:
                continue
            last = {i: position[self.space.sequences[i][-1]] for i in block.chosen[0]}
            chosen = sorted(block.chosen[0], key=lambda i: last[i])
            inside = {o for i in chosen for o in self.space.sequences[i]}
            past = _past(self.space, block.starts[0], inside)
            cut = cut_region(self.space, chosen, block.starts[0], past, fixed=True)
            options = SearchOptions(capacity_bytes, block.cost, width, True, stopped)
            block.improve(search(cut, options))


def _past(space: Space, start: State, inside: set[int]) -> set[int]:
    """Users of the resident storages that ran before a block."""
    first = min(inside, default=0)
    return {o for v in start.resident for o in space.users[v] if o not in inside and o < first}


def _translated(steps: Sequence[Step], source: Cut, target: Cut) -> tuple[Step, ...]:
    """A path through one region in the names of another one of its kind."""
    if source is target:
        return tuple(steps)
    operator = dict(zip(source.operators, target.operators, strict=True))
    storage = dict(zip(source.storages, target.storages, strict=True))
    pairs: dict[tuple[int, int], tuple[int, int]] = {}
    for old, new in zip(source.matchings, target.matchings, strict=True):
        pairs.update(zip(old, new, strict=True))
    return tuple(
        Step(
            operator[step.operator],
            tuple(storage[v] for v in step.evicted),
            tuple(pairs[pair] for pair in step.reuses),
        )
        for step in steps
    )


def _partition(space: Space) -> list[tuple[tuple[int, ...], State]]:
    """Sequences of each block, and the state it starts from."""
    problem = space.problem
    order = sorted(range(len(space.sequences)), key=lambda i: space.sequences[i][-1])
    found: list[tuple[tuple[int, ...], State]] = []
    low, resident = 0, frozenset[int]()
    for high, held in _closed(space, order):
        chosen = tuple(order[low:high])
        used = {v for i in chosen for o in space.sequences[i] for v in space.uses[o]}
        clean = frozenset(v for v in used if problem.clean(v)) - resident
        found.append((chosen, State(resident, clean)))
        low, resident = high, held
    return found


def _closed(space: Space, order: Sequence[int]) -> list[tuple[int, frozenset[int]]]:
    """Ends of blocks in ``order``, and what is held there; chains stay in one block."""
    place = {i: k for k, i in enumerate(order)}
    fixed = _fixed(space, order, place)
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for k, i in enumerate(order):
        for o in space.sequences[i]:
            for v in space.uses[o]:
                first.setdefault(v, k)
                last[v] = k
    crossing = [0] * (len(order) + 1)
    for v, k in first.items():
        crossing[k] += 1
        crossing[last[v]] -= 1
    ends, live, start = [], 0, 0
    for k, i in enumerate(order):
        live += crossing[k]
        o = space.sequences[i][-1]
        written = space.problem.defines[o] + space.problem.updates[o]
        held = frozenset(v for v in written if v in last and last[v] > k)
        branches = not all(fixed[start : k + 1])
        worth = branches or (k + 1 < len(order) and not fixed[k + 1])
        if k + 1 == len(order) or (fixed[k] and len(held) == live and worth):
            ends.append((k + 1, held))
            start = k + 1
    return ends


def _fixed(space: Space, order: Sequence[int], place: dict[int, int]) -> list[bool]:
    """Per position, whether every order has the same sequence there."""
    count = len(order)
    before, after = [0] * count, [0] * count
    for k, i in enumerate(order):
        for p in space.before(i):
            before[k] |= before[place[p]] | 1 << place[p]
    for k in range(count - 1, -1, -1):
        for s in space.after(order[k]):
            after[k] |= after[place[s]] | 1 << place[s]
    return [
        before[k].bit_count() == k and after[k].bit_count() == count - 1 - k for k in range(count)
    ]
