"""Which tensors stay in fast memory between the groups of an ordered list.

Dynamic programming over the boundaries between groups: a state is the set of retained tensors and,
of these, the ones slow memory has no copy of; the best few states are kept per boundary. A tensor
made and retained stays until its last reader, so no result is lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from stowplan.passes.fusion.granularity import GroupShape, TileChoice, best_tile, group_shape
from stowplan.passes.fusion.instance import FusionInstance

Operators = tuple[int, ...]
STATES_PER_BOUNDARY = 6
CANDIDATES_PER_BOUNDARY = 5


@dataclass(frozen=True, slots=True)
class State:
    """Best way to reach a boundary with a set of tensors retained."""

    latency: float
    retained: frozenset[int]
    lost: frozenset[int]
    previous: "State | None"
    tile: TileChoice | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """Ordered groups with the dynamic programming table of each boundary."""

    groups: tuple[Operators, ...]
    boundaries: tuple[tuple[State, ...], ...]

    @property
    def latency(self) -> float:
        return self.boundaries[-1][0].latency


START = State(0.0, frozenset(), frozenset(), None, None)


class RetentionSolver:
    """Solves retention for group lists of one instance; caches shapes and granularities."""

    def __init__(self, instance: FusionInstance) -> None:
        self.instance = instance
        self.producer = instance.producers()
        self.readers = instance.consumers()
        self._shapes: dict[Operators, GroupShape | None] = {}
        self._tiles: dict[tuple[Operators, frozenset[int], frozenset[int]], TileChoice | None] = {}

    def shape(self, operators: Operators) -> GroupShape | None:
        """Cached group shape."""
        if operators not in self._shapes:
            self._shapes[operators] = group_shape(self.instance, operators)
        return self._shapes[operators]

    def tile(
        self, operators: Operators, before: frozenset[int], retained: frozenset[int]
    ) -> TileChoice | None:
        """Cached best granularity."""
        key = (operators, before, retained)
        if key not in self._tiles:
            shape = self.shape(operators)
            found = None if shape is None else best_tile(self.instance, shape, before, retained)
            self._tiles[key] = found
        return self._tiles[key]

    def solve(
        self, groups: tuple[Operators, ...], prefix: Sequence[tuple[State, ...]]
    ) -> Candidate | None:
        """Retention by dynamic programming; ``prefix`` holds boundaries that are still valid."""
        last_use = self._last_use(groups)
        if last_use is None:
            return None
        boundaries = list(prefix) or [(START,)]
        for position in range(len(boundaries) - 1, len(groups)):
            states = self._advance(groups[position], position, boundaries[position], last_use)
            if not states:
                return None
            boundaries.append(states)
        return Candidate(groups, tuple(boundaries))

    def _last_use(self, groups: tuple[Operators, ...]) -> dict[int, int] | None:
        """Last group reading each tensor, or None when some operand is not made before."""
        made: set[int] = set()
        last: dict[int, int] = {}
        for position, operators in enumerate(groups):
            shape = self.shape(operators)
            if shape is None:
                return None
            for tensor in shape.group.sources:
                if tensor in self.producer and tensor not in made:
                    return None
                last[tensor] = position
            made.update(shape.group.sinks)
        outputs = [t for t in self.producer if not self.readers[t]]
        return last if all(t in made for t in outputs) else None

    def _advance(
        self,
        operators: Operators,
        position: int,
        states: tuple[State, ...],
        last_use: dict[int, int],
    ) -> tuple[State, ...]:
        shape = self.shape(operators)
        assert shape is not None
        group = shape.group
        found: dict[tuple[frozenset[int], frozenset[int]], State] = {}
        for state in states:
            live = [t for t in state.retained if last_use.get(t, -1) > position]
            must = frozenset(t for t in live if t in state.lost)
            optional = {t for t in live if t not in state.lost}
            optional |= {
                t
                for t in (*group.sources, *group.sinks)
                if last_use.get(t, -1) > position
                and t not in must
                and self.instance.size(t) < self.instance.fast_memory_capacity
            }
            for retained in _subsets(must, self._ranked(optional, last_use)):
                tile = self.tile(operators, state.retained, retained)
                if tile is None:
                    continue
                lost = must | (retained & frozenset(group.sinks))
                latency = state.latency + tile.latency
                key = (retained, lost)
                if key not in found or latency < found[key].latency:
                    found[key] = State(latency, retained, lost, state, tile)
        ranked = sorted(found.values(), key=lambda s: (s.latency, len(s.retained)))
        if not ranked:
            return ()
        kept = ranked[:STATES_PER_BOUNDARY]
        empty = next((s for s in ranked if not s.retained), None)
        if empty is not None and empty not in kept:
            kept[-1] = empty
        return tuple(kept)

    def _ranked(self, tensors: set[int], last_use: dict[int, int]) -> list[int]:
        """Most promising tensors to retain: soon to be used, then large."""
        order = sorted(tensors, key=lambda t: (last_use[t], -self.instance.size(t)))
        return order[:CANDIDATES_PER_BOUNDARY]


def _subsets(must: frozenset[int], optional: list[int]) -> list[frozenset[int]]:
    return [
        must | frozenset(chosen)
        for count in range(min(3, len(optional)) + 1)
        for chosen in combinations(optional, count)
    ]
