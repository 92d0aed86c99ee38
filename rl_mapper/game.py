"""The memory-mapping game: each access of each operator goes to fast memory or to DRAM.

*Decisions.* Operators run in a fixed order. For each storage an operator touches, operands before
results, the player chooses

* **Copy**: an asynchronous LOAD brings the storage into fast memory, complete when the operator
  starts. Its window is the latest in which DRAM has the bandwidth to spare; the operator waits for
  what no spare hides. Not for results.
* **NoCopy**: an operand stays where it has been since it was last used or defined; a result comes
  into being in fast memory, in place of an operand where the operator allows it.
* **Drop**: the operator accesses the storage in DRAM.

Addresses follow from the choices: where it costs least of what is on chip and used again, and of
such places the lowest.

*Legality is exact.* A choice is legal when the space is free during the whole window and DRAM's
copy is current. Where that copy is needed and stale, a STORE is put into the earliest window after
the last write; if there is no spare for it, the next operator waits. What DRAM must hold at the end
is always written there. In the published game (``hidden_only``) transfers may not make anybody
wait; a play can then get stuck, and *Drop-backup* goes back to where the storage was written and
Drops it there.

*Latency.* Operators run one after another. Each takes the longest of its computation, its accesses
to fast memory and the bytes it moves through DRAM, which LOADs that are under way share; DRAM's
latency comes on top if it reads there, and so does the wait for unhidden transfers. Weights that
stream are computed on chunk by chunk, at the price of ``targets.streamed_cost``. The reward of a
decision is what it takes off the sum; the game starts with every access in DRAM.

Targets without direct DRAM operands cannot Drop and have no game.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stowplan.errors import UsageError
from stowplan.ir.graph import Graph
from stowplan.ir.storage import Access, StorageModel, storage_model
from stowplan.passes.problem import PlanningProblem, planning_problem
from stowplan.rl_mapper import game_kernels as kernels
from stowplan.targets.cost import operator_cost
from stowplan.targets.streamed_cost import streamed_cycles
from stowplan.targets.target import Target

COPY, NOCOPY, DROP = kernels.COPY, kernels.NOCOPY, kernels.DROP
ON_CHIP = kernels.ON_CHIP
"""Wish for fast memory in whichever way is legal; see :func:`game_kernels.follow`."""
LOOKBACK_STEPS = 64
"""Longest LOAD window: far longer ones only hold space."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One game to play.

    Attributes:
        problem: the planning problem; storages are numbered as in it.
        target: the machine.
        order: operator indices in execution order.
        rules: the game in arrays.
        all_drop_cycles: latency with every access in DRAM.
        bound_cycles: no play of the game is faster.
    """

    problem: PlanningProblem
    target: Target
    order: tuple[int, ...]
    rules: kernels.Rules
    all_drop_cycles: int
    bound_cycles: int

    @property
    def decisions(self) -> int:
        """Number of decisions of a whole play."""
        return len(self.rules.decision)

    @property
    def scale_cycles(self) -> int:
        """What perfect play could gain at most; at least 1."""
        return max(1, self.all_drop_cycles - self.bound_cycles)


def build_instance(
    graph: Graph,
    target: Target,
    track_weights: bool = True,
    order: Sequence[int] | None = None,
    hidden_only: bool = False,
) -> Instance:
    """Set up the game of ``graph`` on ``target``.

    Args:
        graph: a valid graph.
        target: a machine whose operators reach DRAM.
        track_weights: weights are decided like any other storage rather than streamed.
        order: operator indices in a legal execution order; graph order when None.
        hidden_only: transfers must be hidden entirely, as in the published game.

    Raises:
        UsageError: the target has no direct DRAM operands.
    """
    memory = target.memory_spec(track_weights)
    if not memory.direct_dram:
        raise UsageError(
            f"target {target.name!r} has no direct DRAM operands, so nothing can be dropped: "
            "set dram.direct_operands = true or use another planner"
        )
    problem = planning_problem(graph, memory)
    sequence = tuple(range(problem.operators)) if order is None else tuple(order)
    rules = _rules(problem, target, sequence, hidden_only)
    state = new_state(rules)
    kernels.reset(rules, state)
    instance = Instance(
        problem, target, sequence, rules, int(state.scalar[0, kernels.CYCLES]), bound_cycles=0
    )
    return replace(instance, bound_cycles=_bound(instance))


def new_state(rules: kernels.Rules) -> kernels.State:
    """Work arrays of a play; :func:`game_kernels.reset` comes first."""
    decisions = max(1, len(rules.decision))
    storages = max(1, len(rules.storage))
    steps = len(rules.step)
    segments = 8 * decisions + 2 * kernels.WAITING_STAYS

    def table(rows: int, columns: int) -> kernels.Ints:
        return np.zeros((rows, columns), dtype=np.int64)

    return kernels.State(
        scalar=table(1, kernels.SCALARS),
        hold=table(storages, kernels.HOLD_COLUMNS),
        time=table(steps, kernels.TIME_COLUMNS),
        stay=table(decisions, kernels.STAY_COLUMNS),
        segment=table(segments, kernels.SEGMENT_COLUMNS),
        load=table(decisions, 2),
        action=np.zeros(decisions, dtype=np.int64),
        forced=np.zeros(decisions, dtype=np.int64),
        log=table(6 * kernels.LOG_PER_DECISION * decisions + 8 * steps, 4),
        marks=np.zeros(decisions + 1, dtype=np.int64),
        length=np.zeros(1, dtype=np.int64),
        hint=np.full(decisions + 1, -1, dtype=np.int64),
        low=np.zeros(segments, dtype=np.int64),
        high=np.zeros(segments, dtype=np.int64),
        cost=np.zeros(segments, dtype=np.float64),
        taken=np.zeros(steps, dtype=np.int64),
    )


class Game:
    """A play in progress; mutable."""

    def __init__(self, instance: Instance) -> None:
        """Start at the first decision."""
        self.instance = instance
        self.state = new_state(instance.rules)
        self._mask = np.zeros(kernels.ACTIONS, dtype=np.bool_)
        self.reset()

    def reset(self) -> None:
        """Back to the first decision; forced Drops are forgotten."""
        kernels.reset(self.instance.rules, self.state)

    def copy(self) -> "Game":
        """An independent play at the same position."""
        twin = Game(self.instance)
        for own, other in zip(twin.state, self.state, strict=True):
            own[...] = other
        return twin

    @property
    def cursor(self) -> int:
        """Number of decisions made."""
        return int(self.state.scalar[0, kernels.CURSOR])

    @property
    def done(self) -> bool:
        """Whether all is decided."""
        return self.cursor >= self.instance.decisions

    @property
    def cycles(self) -> int:
        """Latency if everything undecided is Dropped."""
        return int(self.state.scalar[0, kernels.CYCLES])

    @property
    def actions(self) -> kernels.Ints:
        """Decisions made so far, a copy."""
        return self.state.action[: self.cursor].copy()

    def legal(self) -> NDArray[np.bool_]:
        """Legality of Copy, NoCopy and Drop at the next decision [3], a copy."""
        kernels.legal(self.instance.rules, self.state, self._mask)
        return self._mask.copy()

    def play(self, action: int) -> int:
        """Decide; cycles gained.

        Raises:
            UsageError: the action is not legal here.
        """
        gained = kernels.play(self.instance.rules, self.state, action)
        if gained == kernels.ILLEGAL:
            raise UsageError(f"action {action} is not legal at decision {self.cursor}")
        return int(gained)

    def undo(self) -> None:
        """Take back the last decision."""
        kernels.undo(self.state)

    def back_up(self) -> int:
        """Drop-backup at a dead end; the number of decisions taken back."""
        return int(kernels.back_up(self.instance.rules, self.state))

    def follow(self, wishes: Sequence[int] | kernels.Ints) -> int:
        """Play wishes from here to the end; the number of decisions made."""
        limit = (self.instance.decisions + 1) * (self.instance.decisions + 1)
        array = np.ascontiguousarray(wishes, dtype=np.int64)
        return int(kernels.follow(self.instance.rules, self.state, array, limit))


def _rules(
    problem: PlanningProblem, target: Target, order: tuple[int, ...], hidden_only: bool
) -> kernels.Rules:
    decisions = _Decisions(problem, target, order)
    burst = target.dma.burst_bytes
    storages = [
        (size, -(-storage.size_bytes // burst) * burst, problem.clean(v), problem.kept(v))
        for v, (size, storage) in enumerate(zip(problem.size, problem.storages, strict=True))
    ]
    rate, pad = target.dram.bytes_per_cycle, target.scratchpad
    setup, latency = target.dma.setup_cycles, target.dram.latency_cycles
    limits = [
        pad.size_bytes - pad.size_bytes % pad.alignment_bytes,
        rate,
        latency,
        # A queue moves nothing while a transfer is set up; that time is bandwidth it cannot use.
        (setup + latency) * rate,
        setup * rate,
        pad.banks * pad.bank_width_bytes,
        LOOKBACK_STEPS,
        int(hidden_only),
        0,
    ]
    return kernels.Rules(
        decision=_table(decisions.rows, kernels.DECISION_COLUMNS),
        storage=_table(storages, kernels.STORAGE_COLUMNS),
        step=_table(decisions.steps, kernels.STEP_COLUMNS),
        limits=np.array(limits, dtype=np.int64),
    )


def _table(rows: Sequence[Sequence[int]], columns: int) -> kernels.Ints:
    return np.array(rows, dtype=np.int64).reshape(len(rows), columns)


class _Decisions:
    """Rows of the decision and step tables."""

    def __init__(self, problem: PlanningProblem, target: Target, order: tuple[int, ...]) -> None:
        self.rows: list[list[int]] = []
        self.steps: list[tuple[int, int, int]] = []
        self._problem = problem
        self._model: StorageModel = storage_model(problem.graph)
        self._index = {storage.name: v for v, storage in enumerate(problem.storages)}
        for step, operator in enumerate(order):
            self._step(target, step, operator)
        self.steps.append((0, 0, len(self.rows)))
        self._link()

    def _step(self, target: Target, step: int, operator: int) -> None:
        graph = self._problem.graph
        op = graph.operators[operator]
        cost = operator_cost(graph, op, target)
        onchip: dict[str, int] = {}
        for tensor, size in (*cost.reads, *cost.writes):
            base = graph.resolve(tensor)[0]
            onchip[base] = onchip.get(base, 0) + size
        streamed, first = 0, len(self.rows)
        found = []
        for access in self._model.accesses[operator]:
            storage = self._model.storages[access.storage]
            if storage.name in self._index:
                found.append((access, self._index[storage.name], onchip.get(storage.name, 0)))
            elif storage.weight:
                streamed += _bytes(access.reads)
        # Operands first; of two, the larger first.
        found.sort(key=lambda item: (bool(item[0].defines), -self._problem.size[item[1]], item[1]))
        for access, v, touched in found:
            self.rows.append(self._row(access, v, step, operator, touched))
        compute_cycles = streamed_cycles(graph, op, target, streamed)
        self.steps.append((compute_cycles, streamed, first))

    def _row(self, access: Access, v: int, step: int, operator: int, onchip: int) -> list[int]:
        size = self._problem.size
        takes = [
            w
            for out, w in self._problem.in_place[operator]
            if out == v and access.defines and size[v] <= size[w] and not self._problem.kept(w)
        ]
        read, written = _bytes(access.reads), _bytes(access.writes)
        source = max(takes, key=lambda w: (size[w], -w), default=-1)
        return [
            v,
            step,
            int(access.defines),
            int(bool(access.writes)),
            read + written,
            int(read > 0),
            onchip,
            source,
            -1,
            -1,
        ]

    def _link(self) -> None:
        """Number each decision's neighbours on the same storage; only dead operands give way."""
        latest: dict[int, int] = {}
        for a, row in enumerate(self.rows):
            v = row[kernels.STORAGE]
            row[kernels.PREVIOUS] = latest.get(v, -1)
            if v in latest:
                self.rows[latest[v]][kernels.NEXT] = a
            latest[v] = a
        last_step = {v: self.rows[a][kernels.STEP] for v, a in latest.items()}
        for row in self.rows:
            source = row[kernels.TAKES]
            if source >= 0 and last_step.get(source) != row[kernels.STEP]:
                row[kernels.TAKES] = -1


def _bytes(ranges: Sequence[tuple[int, int]]) -> int:
    """Bytes in the union of half-open ranges."""
    total, reached = 0, 0
    for low, high in sorted(ranges):
        total += max(0, high - max(low, reached))
        reached = max(reached, high)
    return total


def _bound(instance: Instance) -> int:
    """Cycles no play undercuts: each step's computation, and bytes that must cross DRAM.

    A step takes at least its computation, and the time of what it must move directly: results that
    DRAM must hold, and streamed weights. All bytes that enter or leave for good take time:
    inputs, outputs and weights once.
    """
    rules = instance.rules
    rate = int(rules.limits[kernels.BANDWIDTH])
    steps = len(rules.step) - 1
    forced = rules.step[:-1, kernels.STREAMED].copy()
    smallest: dict[int, int] = {}
    for row in rules.decision:
        v = int(row[kernels.STORAGE])
        if row[kernels.WRITES] and rules.storage[v, kernels.OUT_DRAM]:
            forced[row[kernels.STEP]] += row[kernels.DIRECT_BYTES]
        elif rules.storage[v, kernels.IN_DRAM]:
            # Its first access reads it in DRAM or loads it whole.
            smallest.setdefault(v, int(row[kernels.DIRECT_BYTES]))
    alone = np.maximum(rules.step[:-1, kernels.COMPUTE], -(-forced // rate)) if steps else forced
    crossing = int(forced.sum()) + sum(smallest.values())
    return max(int(alone.sum()), -(-crossing // rate))
