"""Transitive precedence of a planning problem as bitsets, and what follows from it.

Bit ``o`` of a mask stands for operator ``o``. All masks are Python integers.
"""

from dataclasses import dataclass

from stowplan.passes.problem import PlanningProblem


@dataclass(frozen=True, slots=True)
class Precedence:
    """Strict ancestors and descendants of every operator.

    Attributes:
        before: per operator, mask of the operators that must run before it.
        after: per operator, mask of the operators that must run after it.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def operators(self) -> int:
        """Number of operators."""
        return len(self.before)

    def earliest(self, operator: int) -> int:
        """First step at which ``operator`` can run."""
        return self.before[operator].bit_count()

    def latest(self, operator: int) -> int:
        """Last step at which ``operator`` can run."""
        return self.operators - 1 - self.after[operator].bit_count()

    def fixed(self, operator: int) -> bool:
        """Whether every order runs ``operator`` at the same step."""
        return self.earliest(operator) == self.latest(operator)

    def ordered(self, first: int, second: int) -> bool:
        """Whether ``first`` must run before ``second``."""
        return bool(self.after[first] >> second & 1)


def precedence(problem: PlanningProblem) -> Precedence:
    """Transitive closure; operators are numbered in a topological order."""
    count = problem.operators
    before, after = [0] * count, [0] * count
    for o in range(count):
        for p in problem.predecessors[o]:
            before[o] |= before[p] | 1 << p
    for o in reversed(range(count)):
        for s in problem.successors[o]:
            after[o] |= after[s] | 1 << s
    return Precedence(tuple(before), tuple(after))


def direct_edges(problem: PlanningProblem, closure: Precedence) -> tuple[tuple[int, int], ...]:
    """Pairs (earlier, later) of the transitive reduction."""
    edges = []
    for o in range(problem.operators):
        covered = 0
        for p in problem.predecessors[o]:
            covered |= closure.before[p]
        edges += [(p, o) for p in problem.predecessors[o] if not covered >> p & 1]
    return tuple(edges)


def bits(mask: int) -> list[int]:
    """Positions of the set bits, ascending."""
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found
