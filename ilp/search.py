"""Exact search over orders and residencies: dynamic programming on what has run and what stays.

A *label* is (done, resident, copied, cost): the operators that have run, the live storages in the
scratchpad, the live storages whose current content DRAM holds, and the off-chip bytes so far beyond
the compulsory ones. A label is dropped when another one of the same ``done`` can imitate it at no
higher cost: keeping a superset, or paying for what it lacks.

Storages are loaded only when an operator needs them and evicted only when it needs the space, and
then an inclusion-minimal set of them: postponing either never costs more. Space is counted in
bytes; addresses are left to ``ilp.packing``, so the optimum is a lower bound for the joint problem.

*Sequences* (``ilp.chains``): operators that some optimal plan runs back to back are appended
together.

*Free moves*: a sequence that is ready, whose operands are resident, that fits without evicting,
dirties nothing DRAM holds, and whose results are no larger, no dearer to reload and no dearer to
spill than each operand that dies with it, is run at once; any plan that runs it later can be
changed to run it now, holding its results in place of the operands.

The cost of a label includes the reload of every live storage that is not resident, for it is
certain to come; with it the dominance test reads, in these costs,

    cost' + reload(resident' - resident) + store(copied - copied') <= cost.

Width limits the labels kept per layer (a beam); once a layer is crowded, labels that could not be
among the kept ones are not made at all. The least cost ever cut off remains a valid lower
bound, so every run yields a plan and a bound, and a run that cut off nothing is exact.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from stowplan.ilp.chains import sequences
from stowplan.ilp.inplace import in_place_pairs
from stowplan.ilp.precedence import bits
from stowplan.ilp.schedule import Schedule, stays_from_spans
from stowplan.passes.problem import PlanningProblem

NOTHING_LOST = 1 << 62
MAX_EVICTION_SETS = 4096
MIN_EVICTION_SETS = 8
CROWD = 4


class Label(NamedTuple):
    """A partial plan; ``operator`` and ``reuses`` tell how it arose from ``parent``."""

    resident: int
    copied: int
    cost: int
    parent: "Label | None"
    operator: int
    reuses: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Window:
    """Part of an order that may be changed.

    Attributes:
        order: sequence indices in execution order.
        low: first position that may change.
        high: one past the last position that may change.
    """

    order: tuple[int, ...]
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How far to search.

    Attributes:
        capacity_bytes: bytes that may be occupied at once.
        below: only plans that cost less are of interest.
        width: labels kept per layer.
        free_moves: use the free-move rule.
        stopped: polled now and then.
        window: keep a given order of the sequences but for a window of it.
    """

    capacity_bytes: int
    below: int
    width: int
    free_moves: bool
    stopped: Callable[[], bool]
    window: "Window | None" = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found.

    Attributes:
        schedule: cheapest schedule below the limit, if any.
        cost: its cost, or the limit.
        bound: no schedule costs less.
        finished: the search was not stopped.
        labels: labels created.
    """

    schedule: Schedule | None
    cost: int
    bound: int
    finished: bool
    labels: int


@dataclass(frozen=True, slots=True)
class Block:
    """A sequence seen from outside.

    Attributes:
        members: mask of its operators.
        before: mask of the operators that must run before it.
        need: mask of the storages it needs from outside.
        updated: mask of the outside storages it changes.
        results: storages it defines that outlive it.
        extra_bytes: most bytes it holds at once beyond the storages it needs from outside.
    """

    members: int
    before: int
    need: int
    updated: int
    results: tuple[int, ...]
    extra_bytes: int


class Tables:
    """Masks and sizes of a problem; bit ``v`` stands for storage v, bit ``o`` for operator o."""

    def __init__(self, problem: PlanningProblem, fuse: bool = True) -> None:
        count = problem.operators
        self.problem = problem
        self.size = problem.size
        self.cost = tuple(storage.size_bytes for storage in problem.storages)
        self.users = [0] * len(self.size)
        self.writers = [0] * len(self.size)
        for o in range(count):
            for v in problem.uses(o):
                self.users[v] |= 1 << o
            for v in problem.defines[o] + problem.updates[o]:
                self.writers[v] |= 1 << o
        self.uses = [problem.uses(o) for o in range(count)]
        self.need = [_mask(problem.needs[o]) for o in range(count)]
        self.use = [_mask(problem.uses(o)) for o in range(count)]
        self.updated = [_mask(problem.updates[o]) for o in range(count)]
        self.written = [_mask(problem.updates[o] + problem.defines[o]) for o in range(count)]
        self.before = [_mask(problem.predecessors[o]) for o in range(count)]
        self.demand = [problem.demand(o) for o in range(count)]
        self.clean = _mask(v for v in range(len(self.size)) if problem.clean(v))
        self.kept = _mask(v for v in range(len(self.size)) if problem.kept(v))
        self.matchings = [_matchings(pairs) for pairs in in_place_pairs(problem)]
        self.sequences = sequences(problem) if fuse else tuple((o,) for o in range(count))
        self.blocks = [self._block(sequence) for sequence in self.sequences]
        home = {o: i for i, sequence in enumerate(self.sequences) for o in sequence}
        after: list[set[int]] = [set() for _ in self.sequences]
        for o in range(count):
            after[home[o]].update(home[x] for x in problem.successors[o])
        self.successors = tuple(tuple(sorted(found - {i})) for i, found in enumerate(after))
        self._bytes: dict[int, int] = {0: 0}
        self._costs: dict[int, int] = {0: 0}

    def _block(self, sequence: tuple[int, ...]) -> "Block":
        members = _mask(sequence)
        inside = _mask(v for o in sequence for v in self.problem.defines[o])
        need = _mask(v for o in sequence for v in self.problem.needs[o]) & ~inside
        before, live, extra, done = 0, 0, 0, 0
        for o in sequence:
            before |= self.before[o]
            live |= _mask(self.problem.defines[o])
            extra = max(extra, sum(self.size[v] for v in bits(live)))
            done |= 1 << o
            live &= ~_mask(v for v in bits(live) if not self.users[v] & ~done)
        updated = _mask(v for o in sequence for v in self.problem.updates[o]) & ~inside
        return Block(members, before & ~members, need, updated, tuple(bits(live)), extra)

    def bytes_of(self, storages: int) -> int:
        """Space of a set of storages."""
        found = self._bytes.get(storages)
        if found is None:
            found = self._bytes[storages] = sum(self.size[v] for v in bits(storages))
        return found

    def cost_of(self, storages: int) -> int:
        """Bytes to move a set of storages once."""
        found = self._costs.get(storages)
        if found is None:
            found = self._costs[storages] = sum(self.cost[v] for v in bits(storages))
        return found

    def forget(self) -> None:
        """Drop the memory of sums when it has grown large."""
        for table in (self._bytes, self._costs):
            if len(table) > 1_000_000:
                table.clear()
                table[0] = 0

    def store_is_free(self, storage: int, done: int) -> bool:
        """Storing it now is the one compulsory store: it is an output in its final form."""
        return bool(self.kept >> storage & 1) and not self.writers[storage] & ~done

    def final(self, done: int) -> int:
        """Outputs that no operator will write any more."""
        return _mask([v for v in bits(self.kept) if not self.writers[v] & ~done])

    def dead(self, operator: int, after: int) -> int:
        """Operands of ``operator`` without further uses once ``after`` has run."""
        return _mask(v for v in self.uses[operator] if not self.users[v] & ~after)


def _mask(positions: Iterator[int] | Sequence[int] | set[int]) -> int:
    found = 0
    for position in positions:
        found |= 1 << position
    return found


def _matchings(pairs: Sequence[tuple[int, int]]) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Every set of pairs in which no output and no source occurs twice; the empty set first."""
    found: list[tuple[tuple[int, int], ...]] = [()]
    for output, source in pairs:
        found += [
            (*chosen, (output, source))
            for chosen in found
            if all(output != a and source != b for a, b in chosen)
        ]
    return tuple(found)


def eviction_sets(
    candidates: Sequence[tuple[int, int, int]], excess: int, budget: int, most: int
) -> tuple[list[tuple[int, ...]], bool]:
    """Inclusion-minimal sets that free ``excess`` bytes and cost less than ``budget``.

    Args:
        candidates: (size, cost, storage) of what may be evicted, largest first.
        excess: bytes to free.
        budget: cost that is too much.
        most: sets to list at most.

    Returns:
        The sets, and whether there may be more.
    """
    rest = [0]
    for size, _, _ in reversed(candidates):
        rest.append(rest[-1] + size)
    rest.reverse()
    found: list[tuple[int, ...]] = []
    stack: list[tuple[int, tuple[int, ...], int, int, int]] = [(0, (), excess, 0, 0)]
    steps = 0
    while stack:
        at, chosen, left, cost, smallest = stack.pop()
        if left <= 0:
            # Largest first, so the last one chosen is the smallest: minimal if it is needed.
            if left + smallest > 0:
                found.append(chosen)
            continue
        if left > rest[at]:
            continue
        steps += 1
        if len(found) >= most or steps > 64 * most:
            return found, True
        size, price, v = candidates[at]
        stack.append((at + 1, chosen, left, cost, smallest))
        if cost + price < budget:
            stack.append((at + 1, (*chosen, v), left - size, cost + price, size))
    return found, False


Layer = dict[int, list[Label]]
Ready = dict[int, tuple[int, ...]]


class _Search:
    """One run; mutable."""

    def __init__(self, tables: Tables, options: SearchOptions) -> None:
        self.tables = tables
        self.options = options
        self.lost = NOTHING_LOST
        self.labels = 0
        self.expanded = 0
        self.before = [block.before for block in tables.blocks]
        self.successors: Sequence[Sequence[int]] = tables.successors
        if options.window is not None:
            self._pin(options.window)
        self._most_sets = max(MIN_EVICTION_SETS, min(options.width // 8, MAX_EVICTION_SETS))
        self._limit = options.below
        self._next: Layer = {}
        self._next_ready: Ready = {}

    def _pin(self, window: Window) -> None:
        """Add the precedence of a fixed order outside a window."""
        order, low, high = window.order, window.low, window.high
        members = [block.members for block in self.tables.blocks]
        successors = [set(found) for found in self.tables.successors]
        inside = order[low:high]
        for earlier, later in pairwise([*order[:low], -1, *order[high:]]):
            for a in inside if earlier < 0 else (earlier,):
                for b in inside if later < 0 else (later,):
                    self.before[b] |= members[a]
                    successors[a].add(b)
        if not inside and 0 < low < len(order):
            self.before[order[low]] |= members[order[low - 1]]
            successors[order[low - 1]].add(order[low])
        self.successors = [sorted(found) for found in successors]

    def run(self) -> SearchResult:
        tables, options = self.tables, self.options
        blocks = tables.blocks
        first = tuple(i for i in range(len(blocks)) if not self.before[i])
        layer: Layer = {0: [Label(0, tables.clean, 0, None, -1, ())]}
        ready: Ready = {0: first}
        for _ in blocks:
            if not self._advance(layer, ready):
                return SearchResult(None, options.below, 0, False, self.labels)
            layer, ready = self._narrow(self._next), self._next_ready
            tables.forget()
        ends = [label for labels in layer.values() for label in labels]
        best = min(ends, key=lambda label: label.cost, default=None)
        cost = options.below if best is None else best.cost
        schedule = None if best is None else schedule_of(tables.problem, best)
        return SearchResult(schedule, cost, min(cost, self.lost), True, self.labels)

    def _advance(self, layer: Layer, ready: Ready) -> bool:
        """Append one sequence to every label of a layer; false when stopped."""
        tables = self.tables
        self._next, self._next_ready = {}, {}
        self._limit, before = self.options.below, self.labels
        for done, labels in layer.items():
            for label in labels:
                self.expanded += 1
                if not self.expanded & 127 and self.options.stopped():
                    return False
                if self.labels - before > CROWD * self.options.width:
                    self._cut()
                    before = self.labels
                for i in self._candidates(label, done, ready[done]):
                    after = done | tables.blocks[i].members
                    self._run_block(label, i, done, self._next.setdefault(after, []))
                    if after not in self._next_ready:
                        rest = tuple(x for x in ready[done] if x != i)
                        self._next_ready[after] = rest + tuple(
                            x for x in self.successors[i] if not self.before[x] & ~after
                        )
        return True

    def _cut(self) -> None:
        """Stop making labels that more than ``width`` labels of the layer already undercut."""
        costs = sorted(label.cost for labels in self._next.values() for label in labels)
        if len(costs) > self.options.width:
            self._limit = min(self._limit, costs[self.options.width] + 1)
            self.lost = min(self.lost, self._limit)
            for labels in self._next.values():
                labels[:] = [label for label in labels if label.cost < self._limit]

    def _candidates(self, label: Label, done: int, ready: tuple[int, ...]) -> tuple[int, ...]:
        if self.options.free_moves:
            for i in ready:
                if self._is_free(label, self.tables.blocks[i], done):
                    return (i,)
        return ready

    def _is_free(self, label: Label, block: Block, done: int) -> bool:
        tables = self.tables
        resident = label.resident
        if block.need & ~resident or block.updated & label.copied:
            return False
        if tables.bytes_of(resident) + block.extra_bytes > self.options.capacity_bytes:
            return False
        after = done | block.members
        results = block.results
        if not results:
            return True
        operands = [v for v in bits(block.need) if not tables.users[v] & ~after]
        if not operands or sum(tables.size[v] for v in results) > sum(
            tables.size[v] for v in operands
        ):
            return False
        reload = sum(tables.cost[v] for v in results)
        spill = sum(tables.cost[v] * (2 - tables.store_is_free(v, after)) for v in results)
        return all(
            reload <= tables.cost[v]
            and spill
            <= tables.cost[v] * (1 if label.copied >> v & 1 or tables.store_is_free(v, done) else 2)
            for v in operands
        )

    def _run_block(self, label: Label, i: int, done: int, bucket: list[Label]) -> None:
        """Append the labels that follow from running sequence ``i`` next."""
        sequence = self.tables.sequences[i]
        front = [label]
        for o in sequence[:-1]:
            inner: list[Label] = []
            for at in front:
                self._run_operator(at, o, done, inner)
            front, done = inner, done | 1 << o
        for at in front:
            self._run_operator(at, sequence[-1], done, bucket)

    def _run_operator(self, label: Label, o: int, done: int, bucket: list[Label]) -> None:
        """Append every useful label that follows from running ``o`` next."""
        tables, options = self.tables, self.options
        after = done | 1 << o
        cost = label.cost
        limit = self._limit
        if cost >= limit:
            return
        others = label.resident & ~tables.use[o]
        excess = tables.demand[o] + tables.bytes_of(others) - options.capacity_bytes
        dead = tables.dead(o, after)
        if excess <= 0:
            state = (label.resident | tables.use[o]) & ~dead
            copied = label.copied & ~(tables.written[o] | dead)
            self._add(bucket, Label(state, copied, cost, label, o, ()), after)
            return
        candidates = [
            (tables.size[v], self._eviction_cost(label.copied, v, done), v) for v in bits(others)
        ]
        candidates.sort(key=lambda item: (-item[0], item[1]))
        for reuses in tables.matchings[o]:
            taken = _mask([source for _, source in reuses]) & ~dead
            paid = cost + sum(self._eviction_cost(label.copied, v, done) for v in bits(taken))
            left = excess - sum(tables.size[output] for output, _ in reuses)
            sets: list[tuple[int, ...]] = [()]
            if left > 0:
                sets, more = eviction_sets(candidates, left, limit - paid, self._most_sets)
                if more:
                    self.lost = min(self.lost, paid)
            for chosen in sets if paid < limit else ():
                evicted = _mask(chosen)
                total = paid + sum(self._eviction_cost(label.copied, v, done) for v in chosen)
                state = (label.resident & ~evicted | tables.use[o]) & ~dead & ~taken
                copied = (label.copied | evicted | taken) & ~(tables.written[o] | dead)
                self._add(bucket, Label(state, copied, total, label, o, reuses), after)

    def _eviction_cost(self, copied: int, storage: int, done: int) -> int:
        """Bytes that evicting it moves: back again in any case, out unless that is free."""
        tables = self.tables
        free = copied >> storage & 1 or tables.store_is_free(storage, done)
        return tables.cost[storage] * (1 if free else 2)

    def _add(self, bucket: list[Label], new: Label, done: int) -> None:
        """Keep ``new`` unless it is dominated; drop what it dominates."""
        tables = self.tables
        if not bucket:
            bucket.append(new)
            self.labels += 1
            return
        paid_once = ~tables.final(done)
        resident, copied, cost = new.resident, new.copied, new.cost
        for old in bucket:
            if old.cost <= cost and (
                old.cost
                + tables.cost_of(old.resident & ~resident)
                + tables.cost_of(copied & ~old.copied & paid_once)
                <= cost
            ):
                return
        bucket[:] = [
            old
            for old in bucket
            if cost > old.cost
            or cost
            + tables.cost_of(resident & ~old.resident)
            + tables.cost_of(old.copied & ~copied & paid_once)
            > old.cost
        ]
        bucket.append(new)
        self.labels += 1

    def _narrow(self, layer: dict[int, list[Label]]) -> dict[int, list[Label]]:
        """Keep the ``width`` most promising labels; remember the least that is cut off."""
        width = self.options.width
        if sum(map(len, layer.values())) <= width:
            return {done: labels for done, labels in layer.items() if labels}
        ranked = sorted(
            (
                (label.cost, -self.tables.bytes_of(label.resident), done, i)
                for done, labels in layer.items()
                for i, label in enumerate(labels)
            )
        )
        self.lost = min(self.lost, ranked[width][0])
        narrowed: dict[int, list[Label]] = {}
        for _, _, done, i in ranked[:width]:
            narrowed.setdefault(done, []).append(layer[done][i])
        return narrowed


def schedule_of(problem: PlanningProblem, label: Label) -> Schedule:
    """Order, stays and reuses of a complete label."""
    path: list[Label] = []
    at: Label | None = label
    while at is not None and at.parent is not None:
        path.append(at)
        at = at.parent
    path.reverse()
    order = tuple(step.operator for step in path)
    spans: list[tuple[int, int, int]] = []
    started: dict[int, int] = {}
    last_use: dict[int, int] = {}
    for t, step in enumerate(path):
        used = problem.uses(step.operator)
        previous = step.parent.resident if step.parent is not None else 0
        left = previous & ~step.resident
        for v in bits(left & ~_mask(used)):
            spans.append((v, started.pop(v), last_use[v] + 1))
        for v in used:
            started.setdefault(v, t)
            last_use[v] = t
            if not step.resident >> v & 1:
                spans.append((v, started.pop(v), t + 1))
    stays = stays_from_spans(problem, order, spans)
    ends = {(stay.storage, stay.end - 1): i for i, stay in enumerate(stays)}
    starts = {(stay.storage, stay.start): i for i, stay in enumerate(stays)}
    reuses = tuple(
        (ends[source, t], starts[output, t])
        for t, step in enumerate(path)
        for output, source in step.reuses
    )
    return Schedule(order, stays, reuses)


def search(tables: Tables, options: SearchOptions) -> SearchResult:
    """Search orders and residencies; see the module docstring."""
    return _Search(tables, options).run()


def widths(largest: int) -> Iterator[int]:
    """Beam widths to try in turn."""
    width = 4
    while width < largest:
        yield width
        width *= 8
    yield largest


def timed(seconds: float, cancelled: Callable[[], bool]) -> Callable[[], bool]:
    """A stop test for a span of time from now."""
    end = time.monotonic() + seconds
    return lambda: cancelled() or time.monotonic() > end
