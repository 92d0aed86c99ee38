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
changed to run it now, holding its results in place of the operands. Parameters that only it reads
are no operands here: they come and go with it whenever it runs.

The cost of a label includes the reload of every live storage that is not resident, for it is
certain to come; with it the dominance test reads, in these costs,

    cost' + reload(resident' - resident) + store(copied - copied') <= cost.

Width limits the labels kept per layer (a beam), the cheapest first, then those with the fewest live
bytes; labels that could not be among the kept ones are not made at all. The least cost ever cut off
remains a valid lower bound, so every run yields a bound, and a run that cut off nothing is exact.

The kernels are in ``ilp.search_kernels``; a layer's labels are kept only as (parent, sequence,
hash), and the labels of the path found are made again from those.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stowplan.errors import InternalError
from stowplan.ilp import search_kernels as kernels
from stowplan.ilp.region import Cut, Pairs, State
from stowplan.ilp.schedule import Schedule, stays_from_spans
from stowplan.ilp.search_kernels import Layer, Region, Scratch
from stowplan.passes.clock import planning_seconds
from stowplan.passes.problem import PlanningProblem

NOTHING_LOST = 1 << 62
MAX_EVICTION_SETS = 4096
MIN_EVICTION_SETS = 8
CROWD = 4
CHUNK = 512
MEMORY_BYTES = 1 << 29
HISTORY = 1 << 24
"""Labels remembered before those without descendants are forgotten."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How far to search.

    Attributes:
        capacity_bytes: bytes that may be occupied at once.
        below: only plans that cost less are of interest.
        width: labels kept per layer.
        free_moves: use the free-move rule.
        stopped: polled now and then.
        end: state that what follows the region relies on; what it takes to get there is paid.
    """

    capacity_bytes: int
    below: int
    width: int
    free_moves: bool
    stopped: Callable[[], bool]
    end: State | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One operator of a path.

    Attributes:
        operator: problem index.
        evicted: storages evicted before it.
        reuses: (output, source) pairs in place.
    """

    operator: int
    evicted: tuple[int, ...]
    reuses: Pairs


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found.

    Attributes:
        steps: cheapest path below the limit, if any.
        cost: its cost, or the limit.
        bound: no path costs less.
        finished: the search was not stopped.
        labels: labels made.
        state: storages resident and copied at the path's end.
    """

    steps: tuple[Step, ...] | None
    cost: int
    bound: int
    finished: bool
    labels: int
    state: State = field(default_factory=State)


def search(cut: Cut, options: SearchOptions) -> SearchResult:
    """Search orders and residencies of a region; see the module docstring."""
    return _Search(cut, options).run()


@dataclass(frozen=True, slots=True)
class _Past:
    """How the labels of one layer arose."""

    parent: NDArray[np.int64]
    sequence: NDArray[np.int64]
    mark: NDArray[np.uint64]


class _Search:
    """One run; mutable."""

    def __init__(self, cut: Cut, options: SearchOptions) -> None:
        self.cut, self.options = cut, options
        self.region: Region = cut.arrays
        most = max(MIN_EVICTION_SETS, min(options.width // 8, MAX_EVICTION_SETS))
        self.state = np.zeros(kernels.STATE, np.int64)
        self.state[kernels.LOST] = NOTHING_LOST
        self.state[kernels.LIMIT] = options.below
        self.state[kernels.CAPACITY] = options.capacity_bytes
        self.state[kernels.MOST_SETS] = most
        self.state[kernels.FREE_MOVES] = options.free_moves
        self.scratch = _scratch(self.region, 4 * most)
        words = self.region.use.shape[1] * 2 + self.region.users.shape[1] * 2 + 24
        width = min(options.width, MEMORY_BYTES // (words * 8 * 2 * CROWD))
        self.state[kernels.WIDTH] = width
        room = CROWD * width + 2 * len(self.scratch.cost)
        self.layers = [_layer(self.region, room), _layer(self.region, room)]
        self.past: list[_Past] = []
        self.remembered = 0

    def run(self) -> SearchResult:
        source, target = self.layers
        self._first(source)
        for _ in range(self.cut.sequences):
            if not self._advance(source, target):
                return self._failed(finished=False)
            if not target.counters[kernels.ALIVE]:
                return self._failed(finished=True)
            source, target = target, source
        return self._finish(source)

    def _failed(self, finished: bool) -> SearchResult:
        """No path: either none is cheap enough, or they were cut off, or time was up."""
        below, lost = self.options.below, int(self.state[kernels.LOST])
        bound = min(below, lost) if finished else 0
        return SearchResult(None, below, bound, finished, int(self.state[kernels.MADE]))

    def _first(self, layer: Layer) -> None:
        cut = self.cut
        layer.resident[0], layer.copied[0] = cut.resident, cut.copied
        layer.cost[0] = 0
        layer.bytes[0] = sum(self.region.size[v] for v in _bits(cut.resident))
        layer.next[0], layer.bucket[0] = -1, 0
        layer.done[0], layer.ready[0] = cut.done, cut.ready
        layer.head[0], layer.live[0] = 0, layer.bytes[0]
        layer.counters[:] = 1, 1, 1, -1
        layer.place[0] = 0
        layer.table[0] = 0

    def _advance(self, source: Layer, target: Layer) -> bool:
        """Append one sequence to every label of a layer; false when stopped."""
        kernels.clear_table(target)
        target.counters[:] = 0, 0, 0, -1
        self.state[kernels.LIMIT] = self.options.below
        count = int(source.counters[kernels.SLOTS])
        low = 0
        while low < count:
            if self.options.stopped():
                return False
            high = min(count, low + CHUNK)
            low = kernels.expand(self.region, source, target, self.scratch, self.state, low, high)
            if low < high:
                kernels.make_room(target, self.state)
        kernels.narrow(target, self.state)
        self._remember(target)
        return True

    def _remember(self, layer: Layer) -> None:
        count = int(layer.counters[kernels.SLOTS])
        parent, sequence, mark = layer.parent, layer.sequence, layer.mark
        past = _Past(parent[:count].copy(), sequence[:count].copy(), mark[:count].copy())
        self.past.append(past)
        self.remembered += count
        if self.remembered > HISTORY:
            self._forget()

    def _forget(self) -> None:
        """Drop remembered labels that have no descendant in the newest layer."""
        for k in range(len(self.past) - 1, 0, -1):
            newer, older = self.past[k], self.past[k - 1]
            used, place = np.unique(newer.parent, return_inverse=True)
            self.past[k] = _Past(place.astype(np.int64), newer.sequence, newer.mark)
            self.past[k - 1] = _Past(older.parent[used], older.sequence[used], older.mark[used])
        self.remembered = sum(len(past.parent) for past in self.past)

    def _finish(self, layer: Layer) -> SearchResult:
        best, cost = -1, self.options.below
        for n in range(int(layer.counters[kernels.SLOTS])):
            paid = int(layer.cost[n]) + self._settlement(layer, n)
            if paid < cost:
                best, cost = n, paid
        bound = min(cost, int(self.state[kernels.LOST]))
        made = int(self.state[kernels.MADE])
        if best < 0:
            return SearchResult(None, cost, bound, True, made)
        resident = frozenset(self.cut.storages[v] for v in _bits(layer.resident[best]))
        copied = frozenset(self.cut.storages[v] for v in _bits(layer.copied[best]))
        return SearchResult(self._steps(best), cost, bound, True, made, State(resident, copied))

    def _settlement(self, layer: Layer, n: int) -> int:
        """Bytes to move before what follows the region can go on as it was planned."""
        end = self.options.end
        if end is None:
            return 0
        storages, cost = self.cut.storages, self.region.cost
        paid = 0
        for v in _bits(layer.resident[n]):
            if storages[v] not in end.resident:
                paid += cost[v]
        copied = {storages[v] for v in _bits(layer.copied[n])}
        done = layer.done[layer.bucket[n]]
        for v, storage in enumerate(storages):
            if storage in end.copied and storage not in copied and self._lives(v, done):
                final = self.region.kept[v] and not np.any(self.region.writers[v] & ~done)
                paid += 0 if final else cost[v]
        return int(paid)

    def _lives(self, v: int, done: NDArray[np.uint64]) -> bool:
        return bool(np.any(self.region.users[v] & ~done))

    def _steps(self, label: int) -> tuple[Step, ...]:
        """Operators, evictions and reuses on the way to a label of the last layer."""
        chain = []
        for past in reversed(self.past):
            chain.append((int(past.sequence[label]), past.mark[label]))
            label = int(past.parent[label])
        layer = self.layers[0]
        self._first(layer)
        self.state[kernels.LIMIT] = NOTHING_LOST
        self.state[kernels.MOST_SETS] *= 64
        self.scratch = _scratch(self.region, 64 * len(self.scratch.cost))
        kernels.load(self.scratch, layer, 0)
        done = self.cut.done.copy()
        steps: list[Step] = []
        for sequence, mark in reversed(chain):
            steps += self._replay(sequence, mark, done)
            done |= self.region.members[sequence]
        return tuple(steps)

    def _replay(self, sequence: int, mark: np.uint64, done: NDArray[np.uint64]) -> list[Step]:
        """Run a sequence on row 0 of the scratch, leaving there the label with such a mark."""
        region, scratch = self.region, self.scratch
        scratch.done[kernels.AFTER] = done
        first, end = kernels.run_sequence(region, scratch, sequence, self.state)
        for row in range(first, end):
            if kernels.mark_of(scratch, row) == mark:
                break
        else:
            raise InternalError(f"label search: sequence {sequence} cannot be replayed")
        members = region.seq_list[region.seq_start[sequence] : region.seq_start[sequence + 1]]
        steps: list[Step] = []
        at = row
        for o in reversed(members.tolist()):
            parent = int(scratch.parent[at])
            gone = scratch.resident[parent] & ~scratch.resident[at] & ~region.use[o]
            k = int(scratch.matching[at])
            steps.append(
                Step(
                    self.cut.operators[o],
                    tuple(self.cut.storages[v] for v in _bits(gone)),
                    self.cut.matchings[k] if k >= 0 else (),
                )
            )
            at = parent
        for part in (scratch.resident, scratch.copied, scratch.cost, scratch.bytes):
            part[0] = part[row]
        return steps[::-1]


def _layer(region: Region, room: int) -> Layer:
    words_o, words_v = region.users.shape[1], region.use.shape[1]
    words_s = (region.extra.shape[0] + 63) // 64
    table = 1 << (2 * room).bit_length()

    def ints() -> NDArray[np.int64]:
        return np.empty(room, np.int64)

    def words(count: int) -> NDArray[np.uint64]:
        return np.empty((room, count), np.uint64)

    return Layer(
        resident=words(words_v),
        copied=words(words_v),
        cost=ints(),
        bytes=ints(),
        next=ints(),
        bucket=ints(),
        parent=ints(),
        sequence=ints(),
        mark=np.empty(room, np.uint64),
        done=words(words_o),
        ready=words(words_s),
        head=ints(),
        live=ints(),
        place=ints(),
        table=np.full(table, -1, np.int64),
        counters=np.zeros(kernels.COUNTERS, np.int64),
    )


def _scratch(region: Region, rows: int) -> Scratch:
    words_o, words_v = region.users.shape[1], region.use.shape[1]
    storages = region.size.shape[0]
    return Scratch(
        resident=np.empty((rows, words_v), np.uint64),
        copied=np.empty((rows, words_v), np.uint64),
        cost=np.empty(rows, np.int64),
        bytes=np.empty(rows, np.int64),
        parent=np.empty(rows, np.int64),
        matching=np.empty(rows, np.int64),
        done=np.empty((2, words_o), np.uint64),
        sets=np.empty((2, words_o), np.uint64),
        dead=np.empty(words_v, np.uint64),
        mask=np.empty(words_v, np.uint64),
        candidates=np.empty((storages + 1, 3), np.int64),
        rest=np.empty(storages + 2, np.int64),
        stack=np.empty((storages + 3, 5), np.int64),
        chosen=np.empty(storages + 1, np.int64),
    )


def _bits(mask: NDArray[np.uint64]) -> list[int]:
    """Positions of the set bits, ascending."""
    found = []
    for w, word in enumerate(mask.tolist()):
        while word:
            low = word & -word
            found.append(64 * w + low.bit_length() - 1)
            word ^= low
    return found


def schedule_of(problem: PlanningProblem, steps: Sequence[Step]) -> Schedule:
    """Order, stays and reuses of a path through the whole problem."""
    order = tuple(step.operator for step in steps)
    left = [len(users) for users in problem.users()]
    spans: list[tuple[int, int, int]] = []
    started: dict[int, int] = {}
    last_use: dict[int, int] = {}
    for t, step in enumerate(steps):
        spans += [(v, started.pop(v), last_use[v] + 1) for v in step.evicted if v in started]
        replaced = {source for _, source in step.reuses}
        for v in problem.uses(step.operator):
            started.setdefault(v, t)
            last_use[v] = t
            left[v] -= 1
            if not left[v] or v in replaced:
                spans.append((v, started.pop(v), t + 1))
    stays = stays_from_spans(problem, order, spans)
    ends = {(stay.storage, stay.end - 1): i for i, stay in enumerate(stays)}
    starts = {(stay.storage, stay.start): i for i, stay in enumerate(stays)}
    reuses = tuple(
        (ends[source, t], starts[output, t])
        for t, step in enumerate(steps)
        for output, source in step.reuses
    )
    return Schedule(order, stays, reuses)


def widths(largest: int) -> Iterator[int]:
    """Beam widths to try in turn."""
    width = 4
    while width < largest:
        yield width
        width *= 4
    yield largest


def timed(seconds: float, cancelled: Callable[[], bool]) -> Callable[[], bool]:
    """A stop test for a span of time from now."""
    end = planning_seconds() + seconds
    return lambda: cancelled() or planning_seconds() > end
