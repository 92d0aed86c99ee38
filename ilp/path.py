"""Paths: a whole plan as steps that evict, run and reuse, with the state between sequences.

Costs are those of ``ilp.search``: a reload is paid when its storage is evicted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stowplan.ilp.region import Space, State
from stowplan.ilp.search import Step


@dataclass(frozen=True, slots=True)
class Milestone:
    """Where a path stands between two sequences.

    Attributes:
        state: what is resident and copied, as far as it is used again.
        cost: bytes moved so far beyond the compulsory ones.
    """

    state: State
    cost: int


@dataclass(frozen=True, slots=True)
class Path:
    """Sequences in order, the steps of each, and the milestones around them.

    Attributes:
        order: sequence indices.
        steps: per sequence of the order, its steps.
        milestones: one before each sequence of the order and one after the last.
    """

    order: tuple[int, ...]
    steps: tuple[tuple[Step, ...], ...]
    milestones: tuple[Milestone, ...]

    @property
    def cost(self) -> int:
        """Bytes moved beyond the compulsory ones."""
        return self.milestones[-1].cost

    def flat(self) -> tuple[Step, ...]:
        """All steps."""
        return tuple(step for steps in self.steps for step in steps)


def path_of(space: Space, steps: Sequence[Step]) -> Path:
    """Group steps by sequence and work out the milestones."""
    order, groups, at = [], [], 0
    while at < len(steps):
        i = space.home[steps[at].operator]
        size = len(space.sequences[i])
        order.append(i)
        groups.append(tuple(steps[at : at + size]))
        at += size
    clean = frozenset(v for v, users in enumerate(space.users) if len(users) > 1)
    clean = frozenset(v for v in clean if space.problem.clean(v))
    walker = Walker(space, Milestone(State(frozenset(), clean), 0), ())
    milestones = [walker.milestone()]
    for group in groups:
        walker.run(group)
        milestones.append(walker.milestone())
    return Path(tuple(order), tuple(groups), tuple(milestones))


class Walker:
    """Follows steps; mutable."""

    def __init__(self, space: Space, start: Milestone, done: Sequence[int]) -> None:
        self.space, self.problem = space, space.problem
        self.resident, self.copied = set(start.state.resident), set(start.state.copied)
        self.cost = start.cost
        self.done = set(done)

    def milestone(self) -> Milestone:
        """Where it stands."""
        return Milestone(State(frozenset(self.resident), frozenset(self.copied)), self.cost)

    def run(self, steps: Sequence[Step]) -> None:
        """Follow steps; what they evict is ignored where it is not resident."""
        for step in steps:
            self._step(step)

    def _step(self, step: Step) -> None:
        space, problem, o = self.space, self.problem, step.operator
        used = space.uses[o]
        for v in step.evicted:
            if v in self.resident and v not in used:
                self.evict(v)
        dead = {v for v in used if all(u == o or u in self.done for u in space.users[v])}
        self.resident.update(used)
        for _, v in step.reuses:
            if v in self.resident and v not in dead:
                self.evict(v)
        written = problem.defines[o] + problem.updates[o]
        self.copied.difference_update(written, dead)
        self.resident -= dead
        self.done.add(o)

    def evict(self, v: int) -> None:
        """Drop ``v``: it comes back, and goes out first unless DRAM has it or must get it."""
        problem = self.problem
        final = problem.kept(v) and all(w in self.done for w in self.space.writers[v])
        free = v in self.copied or final
        self.cost += problem.storages[v].size_bytes * (1 if free else 2)
        self.resident.discard(v)
        self.copied.add(v)
