"""Regions: parts of a problem in the array form of ``ilp.search_kernels``.

A region is a set of sequences that run one after another while nothing else runs, from a given
state of the scratchpad on. The whole problem is one; so is the part between two operators that
every order runs at the same step, and a window of an order.

Storages with one user come and go with it in every plan: parameters mostly, and outputs nobody
reads. They count in the operator's demand and nowhere else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stowplan.ilp import chains
from stowplan.ilp.inplace import in_place_pairs
from stowplan.ilp.search_kernels import Region
from stowplan.passes.problem import PlanningProblem

Pairs = tuple[tuple[int, int], ...]


class Space:
    """What regions are cut from: a problem, its sequences, and who shares which storage."""

    def __init__(self, problem: PlanningProblem, fuse: bool = True) -> None:
        count = problem.operators
        self.problem = problem
        self.users = problem.users()
        self.uses = [
            tuple(v for v in problem.uses(o) if len(self.users[v]) > 1) for o in range(count)
        ]
        self.writers: list[list[int]] = [[] for _ in problem.storages]
        for o in range(count):
            for v in problem.defines[o] + problem.updates[o]:
                self.writers[v].append(o)
        self.matchings = [_matchings(pairs) for pairs in in_place_pairs(problem)]
        self.sequences = chains.sequences(problem) if fuse else tuple((o,) for o in range(count))
        self.home = [0] * count
        for i, members in enumerate(self.sequences):
            for o in members:
                self.home[o] = i

    def before(self, sequence: int) -> set[int]:
        """Sequences that must run before one."""
        members = self.sequences[sequence]
        found = {self.home[p] for o in members for p in self.problem.predecessors[o]}
        return found - {sequence}

    def after(self, sequence: int) -> set[int]:
        """Sequences that must run after one."""
        members = self.sequences[sequence]
        found = {self.home[s] for o in members for s in self.problem.successors[o]}
        return found - {sequence}


@dataclass(frozen=True, slots=True)
class State:
    """What the scratchpad and DRAM hold: storages in use now or later.

    Attributes:
        resident: storages in the scratchpad.
        copied: storages whose current content DRAM holds.
    """

    resident: frozenset[int] = frozenset()
    copied: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Cut:
    """A region with the names of what it numbers from 0.

    Attributes:
        arrays: the region.
        operators: problem operator of each of the region's.
        storages: problem storage of each of the region's.
        matchings: in-place pairs (problem storages) of each of the region's matchings.
        done: [WO] operators done at the start.
        ready: [WS] sequences that can run at the start.
        resident: [WV] what is resident at the start.
        copied: [WV] what DRAM holds at the start.
    """

    arrays: Region
    operators: tuple[int, ...]
    storages: tuple[int, ...]
    matchings: tuple[Pairs, ...]
    done: NDArray[np.uint64]
    ready: NDArray[np.uint64]
    resident: NDArray[np.uint64]
    copied: NDArray[np.uint64]

    @property
    def sequences(self) -> int:
        """Number of sequences."""
        return int(self.arrays.extra.shape[0])

    def key(self) -> bytes:
        """Equal for regions that differ in names alone."""
        parts = (*self.arrays, self.done, self.ready, self.resident, self.copied)
        return b"".join(np.array(part.shape, np.int64).tobytes() + part.tobytes() for part in parts)


def cut_region(
    space: Space,
    chosen: Sequence[int],
    start: State | None = None,
    done: Iterable[int] = (),
    fixed: bool = False,
) -> Cut:
    """The region of the sequences ``chosen``.

    Args:
        space: the problem.
        chosen: sequence indices, in a legal order.
        start: state at its start; nothing resident and every clean storage copied by default.
        done: operators that have run before it.
        fixed: keep the order in which the sequences are given.
    """
    builder = _Builder(space, chosen, start, done)
    return builder.build(*(builder.fixed_order() if fixed else builder.order()))


class _Builder:
    """Builds one region; mutable."""

    def __init__(
        self, space: Space, chosen: Sequence[int], start: State | None, done: Iterable[int]
    ) -> None:
        problem = space.problem
        self.space, self.problem, self.chosen = space, problem, chosen
        self.operators = [o for i in chosen for o in space.sequences[i]]
        self.at = {o: k for k, o in enumerate(self.operators)}
        self.past = set(done)
        used = {v for o in self.operators for v in space.uses[o]}
        if start is None:
            start = State(frozenset(), frozenset(v for v in used if problem.clean(v)))
        self.start = start
        self.storages = sorted(used | start.resident)
        self.index = {v: k for k, v in enumerate(self.storages)}
        self.words_o = (len(self.operators) + 2 + 63) // 64
        self.words_v = max(1, (len(self.storages) + 63) // 64)

    def build(self, before: list[list[int]], following: list[list[int]]) -> Cut:
        """The region under such a precedence of its sequences."""
        space, problem, index = self.space, self.problem, self.index
        count = len(self.operators)
        use = [[index[v] for v in space.uses[o]] for o in self.operators]
        written = [
            [index[v] for v in problem.defines[o] + problem.updates[o] if v in index]
            for o in self.operators
        ]
        matchings = [pairs for o in self.operators for pairs in space.matchings[o]]
        taken = [[index[v] for _, v in pairs if v in index] for pairs in matchings]
        sequences = [[self.at[o] for o in space.sequences[i]] for i in self.chosen]
        shapes = [self._shape(i) for i in self.chosen]
        results = [shape[3] for shape in shapes]
        kept = [problem.kept(v) for v in self.storages]
        arrays = Region(
            demand=_ints(problem.demand(o) for o in self.operators),
            use=_masks(use, self.words_v),
            written=_masks(written, self.words_v),
            use_start=_starts(use),
            use_list=_flat(use),
            match_start=_starts([space.matchings[o] for o in self.operators]),
            saved=_ints(sum(problem.size[new] for new, _ in pairs) for pairs in matchings),
            taken=_masks(taken, self.words_v),
            size=_ints(problem.size[v] for v in self.storages),
            cost=_ints(problem.storages[v].size_bytes for v in self.storages),
            kept=_ints(map(int, kept)),
            users=_masks([self._touched(space.users[v]) for v in self.storages], self.words_o),
            writers=_masks([self._touched(space.writers[v]) for v in self.storages], self.words_o),
            seq_start=_starts(sequences),
            seq_list=_flat(sequences),
            members=_masks(sequences, self.words_o),
            before=_masks(before, self.words_o),
            next_start=_starts(following),
            next_list=_flat(following),
            need=_masks([shape[0] for shape in shapes], self.words_v),
            updated=_masks([shape[1] for shape in shapes], self.words_v),
            extra=_ints(shape[2] for shape in shapes),
            result_start=_starts(results),
            result_list=_flat(results),
        )
        first = [k for k, mask in enumerate(before) if not mask]
        return Cut(
            arrays,
            tuple(self.operators),
            tuple(self.storages),
            tuple(matchings),
            _masks([[count + 1]], self.words_o)[0],
            _masks([first], (len(self.chosen) + 63) // 64)[0],
            _masks([[index[v] for v in self.start.resident]], self.words_v)[0],
            _masks([[index[v] for v in self.start.copied if v in index]], self.words_v)[0],
        )

    def _touched(self, operators: Sequence[int]) -> list[int]:
        """Operators as the region numbers them; the two bits past them are later and earlier."""
        count = len(self.operators)
        found = [self.at[o] for o in operators if o in self.at]
        outside = [o for o in operators if o not in self.at]
        if any(o not in self.past for o in outside):
            found.append(count)
        if any(o in self.past for o in outside):
            found.append(count + 1)
        return found

    def fixed_order(self) -> tuple[list[list[int]], list[list[int]]]:
        """Each sequence waits for the one before it."""
        last = [self.at[self.space.sequences[i][-1]] for i in self.chosen]
        before = [[last[k - 1]] if k else [] for k in range(len(last))]
        return before, [[k + 1] if k + 1 < len(last) else [] for k in range(len(last))]

    def order(self) -> tuple[list[list[int]], list[list[int]]]:
        """Per sequence, operators before it and sequences after it, inside the region."""
        position = {i: k for k, i in enumerate(self.chosen)}
        before, following = [], []
        for i in self.chosen:
            members = self.space.sequences[i]
            needed = {p for o in members for p in self.problem.predecessors[o]} - set(members)
            before.append(sorted(self.at[p] for p in needed if p in self.at))
            following.append(sorted(position[j] for j in self.space.after(i) if j in position))
        return before, following

    def _shape(self, i: int) -> tuple[list[int], list[int], int, list[int]]:
        """Storages needed from outside, those updated, most bytes beyond them, results."""
        space, problem, members = self.space, self.problem, self.space.sequences[i]
        inside: set[int] = set()
        live: set[int] = set()
        need: set[int] = set()
        updated: set[int] = set()
        extra = 0
        for k, o in enumerate(members):
            alone = sum(problem.size[v] for v in problem.uses(o) if len(space.users[v]) == 1)
            need.update(v for v in space.uses[o] if v in problem.needs[o] and v not in inside)
            inside.update(problem.defines[o])
            live.update(v for v in problem.defines[o] if len(space.users[v]) > 1)
            updated.update(v for v in problem.updates[o] if v not in inside)
            extra = max(extra, alone + sum(problem.size[v] for v in live))
            run = set(members[: k + 1])
            live = {v for v in live if set(space.users[v]) - run}
        local = [sorted(self.index[v] for v in found) for found in (need, updated, live)]
        return local[0], local[1], extra, local[2]


def _ints(values: Iterable[int]) -> NDArray[np.int64]:
    return np.fromiter(values, np.int64)


def _starts(lists: Sequence[Sequence[object]]) -> NDArray[np.int64]:
    return np.cumsum([0, *map(len, lists)], dtype=np.int64)


def _flat(lists: Iterable[Iterable[int]]) -> NDArray[np.int64]:
    return np.array([value for values in lists for value in values], np.int64)


def _masks(rows: Sequence[Iterable[int]], words: int) -> NDArray[np.uint64]:
    found = np.zeros((len(rows), max(words, 1)), np.uint64)
    for row, bits in enumerate(rows):
        for bit in bits:
            found[row, bit >> 6] |= np.uint64(1 << (bit & 63))
    return found


def _matchings(pairs: Sequence[tuple[int, int]]) -> tuple[Pairs, ...]:
    """Every set of pairs in which no output and no source occurs twice; the empty set first."""
    found: list[Pairs] = [()]
    for output, source in pairs:
        found += [
            (*chosen, (output, source))
            for chosen in found
            if all(output != a and source != b for a, b in chosen)
        ]
    return tuple(found)
