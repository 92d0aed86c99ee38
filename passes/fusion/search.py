"""Schedules for limited fast memory: fuse, order, retain.

A candidate is an ordered list of groups; for a given list retention is solved by dynamic
programming (``retention``) and granularities come in closed form (``granularity``). Simulated
annealing changes the list: a group moves, two groups fuse (with recomputation when others still
need the producer's result), a group splits.
"""

import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median

from stowplan.errors import InfeasiblePlanError, Misfit
from stowplan.passes.fusion.evaluate import Group, evaluate
from stowplan.passes.fusion.granularity import TileChoice, smallest_working_set
from stowplan.passes.fusion.instance import FusionInstance, FusionStep, topological
from stowplan.passes.fusion.retention import Candidate, Operators, RetentionSolver, State

RELATIVE_ROUNDING = 1e-12
WALK_SECONDS_PER_STEP = 25e-6
"""Allowance for the reference evaluator, which walks every step of the final schedule."""
RISES_SAMPLED = 40
FIRST_ACCEPTED = 0.3
"""Annealing starts at this share of the median rise of its first worsening moves."""


@dataclass(frozen=True, slots=True)
class FusionSchedule:
    """A schedule with its proof.

    Attributes:
        steps: groups in execution order.
        latency: total time units, from the reference evaluator.
        lower_bound: no schedule is faster.
        wall_s: search time.
    """

    steps: tuple[FusionStep, ...]
    latency: float
    lower_bound: float
    wall_s: float

    @property
    def gap(self) -> float:
        """(latency - bound) / latency; rounding never makes it negative."""
        return max(0.0, 1 - self.lower_bound / self.latency) if self.latency else 0.0

    @property
    def proven(self) -> bool:
        """The bound meets the latency up to rounding."""
        return self.gap < RELATIVE_ROUNDING


def lower_bound(instance: FusionInstance) -> float:
    """Larger of: every operator once at native tiles; every input and output moved once.

    Inside a group a MatMul may make slices narrower than a native tile at a proportional price, so
    fractions of native tiles count as such for it.
    """
    native_w, native_h = instance.native_granularity
    compute = 0.0
    for op in range(instance.operators):
        out = instance.outputs[op][0]
        across, down = instance.widths[out] / native_w, instance.heights[out] / native_h
        if instance.is_matmul(op):
            depth = instance.widths[instance.inputs[op][0]] / native_w
            compute += instance.base_costs[op] * across * down * depth
        else:
            compute += instance.base_costs[op] * math.ceil(across) * math.ceil(down)
    made, consumers = instance.producers(), instance.consumers()
    moved = sum(
        instance.size(t)
        for t in range(len(instance.widths))
        if (t not in made and consumers[t]) or (t in made and not consumers[t])
    )
    return max(compute, moved / instance.slow_memory_bandwidth)


def plan_fusion(
    instance: FusionInstance,
    time_limit_s: float = 10.0,
    seed: int = 0,
    on_progress: Callable[[float, float, float], None] = lambda best, bound, elapsed_s: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> FusionSchedule:
    """Schedule ``instance``; stops at the time limit or when the bound is met.

    Raises:
        InfeasiblePlanError: an operator does not fit at any granularity.
    """
    began = time.perf_counter()
    search = _Search(instance, random.Random(seed))
    bound = lower_bound(instance)
    best = search.descend(search.start(), time_limit_s / 2)
    on_progress(best.latency, bound, time.perf_counter() - began)
    while best.latency > bound * (1 + RELATIVE_ROUNDING):
        left = time_limit_s - search.walk_s(best) - (time.perf_counter() - began)
        if left <= 0 or cancelled():
            break
        found = search.anneal(best, min(left, max(0.5, time_limit_s / 4)), cancelled)
        if found.latency < best.latency:
            best = found
            on_progress(best.latency, bound, time.perf_counter() - began)
        if search.exhausted:
            break
    steps = search.steps(best)
    latencies = evaluate(instance, steps)
    steps = tuple(
        replace(step, latency=latency) for step, latency in zip(steps, latencies, strict=True)
    )
    return FusionSchedule(steps, math.fsum(latencies), bound, time.perf_counter() - began)


class _Search:
    """Annealing over group lists of one instance; holds its caches."""

    def __init__(self, instance: FusionInstance, rng: random.Random) -> None:
        self.instance = instance
        self.rng = rng
        self.retention = RetentionSolver(instance)
        self.rank = {op: i for i, op in enumerate(topological(instance))}
        self.exhausted = instance.operators < 2

    def start(self) -> Candidate:
        """One operator per group, in topological order."""
        order = sorted(range(self.instance.operators), key=self.rank.__getitem__)
        for op in order:
            if self.retention.tile((op,), frozenset(), frozenset()) is None:
                raise InfeasiblePlanError(self._misfit(op))
        candidate = self.retention.solve(tuple((op,) for op in order), ())
        assert candidate is not None, "every operator fits alone"
        return candidate

    def _misfit(self, op: int) -> Misfit:
        shape = self.retention.shape((op,))
        assert shape is not None
        needed = smallest_working_set(self.instance, shape)
        tensors = (*self.instance.inputs[op], *self.instance.outputs[op])
        return Misfit(
            operator=f"operator {op}",
            needed_bytes=needed,
            capacity_bytes=int(self.instance.fast_memory_capacity),
            operands=tuple((f"tensor {t}", self.instance.size(t)) for t in tensors),
            smallest_capacity_bytes=needed,
        )

    def descend(self, start: Candidate, seconds: float) -> Candidate:
        """Fuse maker and reader wherever that helps, until it helps nowhere."""
        began = time.perf_counter()
        best, improved = start, True
        while improved:
            improved = False
            pairs = [
                (groups[maker], groups[reader])
                for groups in (best.groups,)
                for reader in range(len(groups))
                for maker in self._makers(groups, reader)
            ]
            for maker, reader in pairs:
                if time.perf_counter() - began > seconds:
                    return best
                if maker not in best.groups or reader not in best.groups:
                    continue
                positions = best.groups.index(maker), best.groups.index(reader)
                groups, first = self._fuse(best.groups, *positions)
                found = self.retention.solve(groups, ()) if first >= 0 else None
                if found is not None and found.latency < best.latency * (1 - 1e-12):
                    best, improved = found, True
        return best

    def anneal(self, start: Candidate, seconds: float, cancelled: Callable[[], bool]) -> Candidate:
        """Best candidate found within ``seconds`` from ``start``."""
        began = time.perf_counter()
        current = best = start
        rises: list[float] = []
        while (spent := time.perf_counter() - began) < seconds and not cancelled():
            changed = self._neighbour(current)
            if changed is None:
                continue
            rise = changed.latency - current.latency
            if rise > 0 and len(rises) < RISES_SAMPLED:
                rises.append(rise)
                continue
            temperature = FIRST_ACCEPTED * median(rises or [0.0]) * (1 - spent / seconds) ** 2
            if rise <= 0 or self.rng.random() < math.exp(-rise / (temperature + 1e-12)):
                current = changed
            if current.latency < best.latency * (1 - RELATIVE_ROUNDING):
                best = current
        return best

    def _neighbour(self, candidate: Candidate) -> Candidate | None:
        move = self.rng.random()
        if move < 0.5:
            groups, first = self._relocated(candidate.groups)
        elif move < 0.8:
            groups, first = self._fused(candidate.groups)
        else:
            groups, first = self._split(candidate.groups)
        if first < 0:
            return None
        return self.retention.solve(groups, self._valid_prefix(candidate, groups, first))

    def _valid_prefix(
        self, candidate: Candidate, groups: tuple[Operators, ...], first: int
    ) -> tuple[tuple[State, ...], ...]:
        """Boundaries unaffected by a change at ``first``.

        A boundary's states depend on which tensors are still read later, which a change further
        on can alter only through fusion or splitting; those start over one tensor earlier.
        """
        affected = set(candidate.groups[first:]) ^ set(groups[first:])
        touched = {t for ops in affected for op in ops for t in self.instance.inputs[op]}
        for position in range(first):
            shape = self.retention.shape(groups[position])
            assert shape is not None
            if touched & {*shape.group.sources, *shape.group.sinks}:
                return candidate.boundaries[: position + 1]
        return candidate.boundaries[: first + 1]

    def walk_s(self, candidate: Candidate) -> float:
        """Seconds to allow for the reference evaluator on ``candidate``."""
        tiles = (tile for state in candidate.boundaries[-1][:1] for tile in _tiles(state))
        walked = sum(tile.steps for tile in tiles)
        return WALK_SECONDS_PER_STEP * walked

    def _relocated(self, groups: tuple[Operators, ...]) -> tuple[tuple[Operators, ...], int]:
        """Move a group next to a group that shares a tensor with it, or anywhere near."""
        source = self.rng.randrange(len(groups))
        moved = groups[source]
        rest = groups[:source] + groups[source + 1 :]
        if self.rng.random() < 0.7:
            own = self._boundary(moved)
            near = [
                i
                for i, operators in enumerate(rest)
                for other in (self._boundary(operators),)
                if {*own.sources, *own.sinks} & {*other.sources, *other.sinks}
            ]
            if not near:
                return groups, -1
            target = self.rng.choice(near) + self.rng.randrange(2)
        else:
            target = self.rng.randrange(len(groups))
        if target == source:
            return groups, -1
        return (*rest[:target], moved, *rest[target:]), min(source, target)

    def _fused(self, groups: tuple[Operators, ...]) -> tuple[tuple[Operators, ...], int]:
        """Fuse a random reader with a random maker of one of its operands."""
        reader = self.rng.randrange(len(groups))
        makers = self._makers(groups, reader)
        return self._fuse(groups, self.rng.choice(makers), reader) if makers else (groups, -1)

    def _makers(self, groups: tuple[Operators, ...], reader: int) -> list[int]:
        """Groups that make an operand of group ``reader``."""
        wanted = set(self._boundary(groups[reader]).sources)
        return [
            i
            for i, operators in enumerate(groups)
            if i != reader and wanted & set(self._boundary(operators).sinks)
        ]

    def _fuse(
        self, groups: tuple[Operators, ...], maker: int, reader: int
    ) -> tuple[tuple[Operators, ...], int]:
        """Pull a maker into one of its readers; drop it when nobody else needs it."""
        merged = tuple(sorted({*groups[maker], *groups[reader]}, key=self.rank.__getitem__))
        shape = self.retention.shape(merged)
        if shape is None or shape.group.sinks != self._boundary(groups[reader]).sinks:
            return groups, -1
        made = set(self._boundary(groups[maker]).sinks)
        needed = any(
            made & set(self._boundary(operators).sources)
            for i, operators in enumerate(groups)
            if i not in (maker, reader)
        )
        changed = list(groups)
        changed[reader] = merged
        if not needed:
            del changed[maker]
        return tuple(changed), min(maker, reader)

    def _boundary(self, operators: Operators) -> Group:
        shape = self.retention.shape(operators)
        assert shape is not None, "a group of the current list always has a grid"
        return shape.group

    def _split(self, groups: tuple[Operators, ...]) -> tuple[tuple[Operators, ...], int]:
        """Give a member of a group, with all it needs inside, a group of its own."""
        large = [i for i, ops in enumerate(groups) if len(ops) > 1]
        if not large:
            return groups, -1
        position = self.rng.choice(large)
        operators = groups[position]
        member = self.rng.choice(operators[:-1])
        inside = {member}
        for op in reversed(operators[: operators.index(member)]):
            if any(
                set(self.instance.outputs[op]) & set(self.instance.inputs[user]) for user in inside
            ):
                inside.add(op)
        head = tuple(op for op in operators if op in inside)
        made = {t for op in head for t in self.instance.outputs[op]}
        tail = self._without(operators, made)
        changed = (*groups[:position], head, tail, *groups[position + 1 :])
        return changed, position

    def _without(self, operators: Operators, made: set[int]) -> Operators:
        """Members still needed when ``made`` comes from outside."""
        whole = self.retention.shape(operators)
        assert whole is not None
        wanted = set(whole.group.sinks) - made
        kept: set[int] = set()
        for op in reversed(operators):
            if set(self.instance.outputs[op]) & wanted:
                kept.add(op)
                wanted |= set(self.instance.inputs[op]) - made
        return tuple(op for op in operators if op in kept)

    def steps(self, candidate: Candidate) -> tuple[FusionStep, ...]:
        """Decode the best chain of states."""
        tiles = reversed(list(_tiles(candidate.boundaries[-1][0])))
        states = reversed(list(_chain(candidate.boundaries[-1][0])))
        return tuple(
            FusionStep(
                operators,
                tile.granularity,
                tuple(sorted(state.retained)),
                tile.traversal(),
                tile.latency,
            )
            for operators, state, tile in zip(candidate.groups, states, tiles, strict=True)
        )


def _chain(state: State) -> Iterator[State]:
    """States from the last boundary back to the one after the first group."""
    while state.previous is not None:
        yield state
        state = state.previous


def _tiles(state: State) -> Iterator[TileChoice]:
    return (reached.tile for reached in _chain(state) if reached.tile is not None)
