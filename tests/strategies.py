"""Random graphs and targets that tests of planners, passes and solvers share."""

import random
from dataclasses import dataclass, replace

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Alias, Graph, Operator, Role, Tensor
from stowplan.passes.order import live_bytes
from stowplan.passes.problem import planning_problem
from stowplan.targets.target import (
    Array,
    Dma,
    Dram,
    Energy,
    Scratchpad,
    Target,
    Vector,
    WeightBuffer,
)


def small_target(
    size_bytes: int, alignment_bytes: int = 1, direct_operands: bool = False
) -> Target:
    """A machine whose scratchpad has the given size."""
    return Target(
        name="small",
        description="a small machine for tests",
        clock_hz=1_000_000_000,
        array=Array(rows=4, cols=4, macs_per_unit={"8": 1.0}),
        vector=Vector(lanes=8),
        scratchpad=Scratchpad(size_bytes=size_bytes, alignment_bytes=alignment_bytes),
        weight_buffer=WeightBuffer(size_bytes=1024),
        dma=Dma(),
        dram=Dram(bytes_per_cycle=8, direct_operands=direct_operands),
        energy=Energy(mac_pj=1.0, scratchpad_pj_per_byte=1.0, dram_pj_per_byte=100.0),
    )


class GraphSampler:
    """Grows a random graph: views, storages of several writers, weights, workspaces, in-place."""

    def __init__(self, rng: random.Random, largest_bytes: int = 64) -> None:
        self._rng = rng
        self._largest = largest_bytes
        self._tensors: list[Tensor] = []
        self._operators: list[Operator] = []
        self._readable: list[str] = []

    def sample(self, operators: int) -> Graph:
        """A graph of ``operators`` operators."""
        for _ in range(self._rng.randint(1, 2)):
            self._readable.append(self._tensor(self._size(), Role.INPUT))
        while len(self._operators) < operators:
            self._rng.choice((self._compute,) * 4 + (self._split, self._concat, self._accumulate))()
        del self._operators[operators:]
        return self._finish()

    def _finish(self) -> Graph:
        used = {name for op in self._operators for name in (*op.inputs, *op.outputs)}
        needed = set(used)
        for t in reversed(self._tensors):
            if t.name in needed and t.alias is not None:
                needed.add(t.alias.base)
        read = {name for op in self._operators for name in op.inputs}
        written = {name for op in self._operators for name in op.outputs}
        outputs = {
            name
            for name in written
            # Most results nobody reads are outputs, a few are dead; some outputs are read later.
            if self._rng.random() < (0.1 if name in read else 0.9)
        } or {self._operators[-1].outputs[0]}
        tensors = tuple(
            replace(t, role=Role.OUTPUT) if t.name in outputs and t.role is Role.ACTIVATION else t
            for t in self._tensors
            if t.name in needed
        )
        return Graph("random", tensors, tuple(self._operators))

    def _size(self) -> int:
        return self._rng.randint(1, self._largest)

    def _tensor(self, size: int, role: Role = Role.ACTIVATION, alias: Alias | None = None) -> str:
        name = f"t{len(self._tensors)}"
        self._tensors.append(Tensor(name, (size,), DType.INT8, role, alias))
        return name

    def _operands(self, most: int) -> list[str]:
        recent = self._readable[-8:]
        found = self._rng.sample(recent, min(len(recent), self._rng.randint(1, most)))
        if self._rng.random() < 0.2:
            found.append(self._rng.choice(self._readable))
        return list(dict.fromkeys(found))

    def _operator(self, inputs: list[str], outputs: list[str], in_place: bool = False) -> None:
        self._operators.append(
            Operator(
                f"o{len(self._operators)}",
                "Add",
                tuple(inputs),
                tuple(outputs),
                workspace_bytes=self._size() if self._rng.random() < 0.15 else 0,
                in_place=((0, 0),) if in_place else (),
            )
        )

    def _compute(self) -> None:
        inputs = self._operands(3)
        if self._rng.random() < 0.3:
            weights = [t.name for t in self._tensors if t.role is Role.WEIGHT]
            fresh = not weights or self._rng.random() < 0.7
            weight = self._tensor(self._size(), Role.WEIGHT) if fresh else weights[-1]
            inputs.append(weight)
        in_place = self._rng.random() < 0.4
        sizes = {t.name: t.size_bytes for t in self._tensors}
        outputs = [self._tensor(sizes[inputs[0]] if in_place else self._size())]
        if self._rng.random() < 0.2:
            outputs.append(self._tensor(self._size()))
        self._operator(inputs, outputs, in_place)
        self._readable.extend(outputs)

    def _split(self) -> None:
        """A view that later operators read in place of the whole."""
        base = self._rng.choice(self._readable[-4:])
        size = next(t.size_bytes for t in self._tensors if t.name == base)
        offset = self._rng.randint(0, size - 1)
        length = self._rng.randint(1, size - offset)
        self._readable.append(self._tensor(length, alias=Alias(base, offset)))

    def _concat(self) -> None:
        """An elided Concat: several operators write their part of one storage."""
        sizes = [self._size() for _ in range(self._rng.randint(2, 3))]
        whole = self._tensor(sum(sizes))
        offset = 0
        for size in sizes:
            self._operator(self._operands(2), [self._tensor(size, alias=Alias(whole, offset))])
            offset += size
        self._operator([whole], [self._tensor(self._size())])
        self._readable.extend([whole, self._operators[-1].outputs[0]])

    def _accumulate(self) -> None:
        """Partial sums: the second operator reads and writes what the first wrote."""
        size = self._size()
        total = self._tensor(size)
        updated = self._tensor(size, alias=Alias(total))
        self._operator(self._operands(2), [total])
        self._operator([total, *self._operands(2)], [updated])
        self._readable.append(updated)


@dataclass(frozen=True, slots=True)
class Case:
    """A graph, a machine that can run it, and whether weights are planned."""

    graph: Graph
    target: Target
    track_weights: bool


def random_graph(seed: int, operators: int, largest_bytes: int = 64) -> Graph:
    """A random graph; the same for the same arguments."""
    return GraphSampler(random.Random(seed), largest_bytes).sample(operators)


def random_case(seed: int, operators: int, direct_operands: bool | None = None) -> Case:
    """A random graph on a scratchpad between its largest operator and its peak.

    Args:
        seed: the same seed gives the same case.
        operators: number of operators.
        direct_operands: whether operators reach DRAM directly; random when None.
    """
    rng = random.Random(seed)
    graph = GraphSampler(rng).sample(operators)
    direct = rng.random() < 0.25 if direct_operands is None else direct_operands
    track = rng.random() < 0.5
    alignment = rng.choice((1, 1, 4, 16))
    target = small_target(1 << 20, alignment, direct)
    problem = planning_problem(graph, target.memory_spec(track))
    least = largest_operator_bytes(graph, target, track)
    peak = max(live_bytes(problem, range(problem.operators)), default=1)
    tightness = rng.choice((0.0, 0.0, 0.2, 0.5, 1.0))
    size = least + int(tightness * (peak - least))
    if direct and rng.random() < 0.5:
        size = max(alignment, size // 2)
    return Case(graph, small_target(size, alignment, direct), track)


def largest_operator_bytes(graph: Graph, target: Target, track_weights: bool) -> int:
    """The smallest scratchpad in which each operator fits alone; at least one byte."""
    problem = planning_problem(graph, target.memory_spec(track_weights))
    return max([1, *map(problem.demand, range(problem.operators))])
