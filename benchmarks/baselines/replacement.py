"""Replacement on demand by bytes: load what the next operator needs, evict when space runs out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stowplan.passes.problem import PlanningProblem

Gap = tuple[int, int]
"""(storage, i): the time between its i-th and its next use, in which it may leave."""


@dataclass(frozen=True, slots=True)
class Victim:
    """A storage that could be evicted now.

    Attributes:
        storage: index into the problem's storages.
        size_bytes: space it frees.
        next_use: step of its next use.
        moved_bytes: bytes its eviction and its return move.
    """

    storage: int
    size_bytes: int
    next_use: int
    moved_bytes: int


Choose = Callable[[Sequence[Victim], int], Victim]
"""Picks one of several victims when so many bytes are missing."""


def furthest_next_use(victims: Sequence[Victim], missing_bytes: int) -> Victim:
    """The one needed last; of several, the largest.

    Source: Belady, "A study of replacement algorithms for a virtual-storage computer", 1966.
    """
    return max(victims, key=lambda v: (v.next_use, v.size_bytes, -v.storage))


def fewest_bytes(victims: Sequence[Victim], missing_bytes: int) -> Victim:
    """The one that moves the fewest bytes of those that free enough; the largest if none does."""
    enough = [victim for victim in victims if victim.size_bytes >= missing_bytes]
    if enough:
        return min(enough, key=lambda v: (v.moved_bytes, -v.next_use, v.storage))
    return max(victims, key=lambda v: (v.size_bytes, v.next_use, -v.storage))


def use_steps(problem: PlanningProblem, order: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Per storage, the steps that use it, ascending."""
    found: list[list[int]] = [[] for _ in problem.storages]
    for step, operator in enumerate(order):
        for storage in problem.uses(operator):
            found[storage].append(step)
    return tuple(map(tuple, found))


def evictions(
    problem: PlanningProblem,
    order: Sequence[int],
    uses: Sequence[Sequence[int]],
    choose: Choose,
) -> set[Gap]:
    """Gaps in which storages are evicted so that every step fits by bytes."""
    state = _Contents(problem, uses)
    for operator in order:
        state.run(operator, choose)
    return state.evicted


class _Contents:
    """What the scratchpad holds while the order runs; mutable."""

    def __init__(self, problem: PlanningProblem, uses: Sequence[Sequence[int]]) -> None:
        self.problem = problem
        self.uses = uses
        self.resident: set[int] = set()
        self.seen = [0] * len(problem.storages)
        self.copied = {v for v in range(len(problem.storages)) if problem.clean(v)}
        self.evicted: set[Gap] = set()

    def run(self, operator: int, choose: Choose) -> None:
        """Make room for ``operator``, bring in what it needs, drop what is used up."""
        problem, used = self.problem, self.problem.uses(operator)
        self.resident.update(used)
        missing = sum(problem.size[v] for v in self.resident) - problem.memory.capacity_bytes
        while missing > 0:
            chosen = choose(self._victims(used), missing)
            self.resident.remove(chosen.storage)
            self.copied.add(chosen.storage)
            self.evicted.add((chosen.storage, self.seen[chosen.storage] - 1))
            missing -= chosen.size_bytes
        self.copied.difference_update(problem.defines[operator], problem.updates[operator])
        for v in used:
            self.seen[v] += 1
            if self.seen[v] == len(self.uses[v]):
                self.resident.remove(v)

    def _victims(self, used: Sequence[int]) -> list[Victim]:
        return [
            Victim(
                v,
                self.problem.size[v],
                self.uses[v][self.seen[v]],
                moved_bytes(self.problem, v, stored=v in self.copied),
            )
            for v in sorted(self.resident.difference(used))
        ]


def moved_bytes(problem: PlanningProblem, storage: int, stored: bool) -> int:
    """Avoidable bytes of one eviction: the reload, and the store unless it is made or due."""
    size = problem.storages[storage].size_bytes
    return size if stored or problem.kept(storage) else 2 * size
