"""Instances and schedules of the limited-fast-memory scheduling problem, and their JSON.

Source: "MLSys 2026 contest, Google track: DAG scheduling with limited fast memory" (problem
statement of the contest).
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from stowplan.errors import ModelError
from stowplan.ir.files import write_atomic

Granularity = tuple[int, int, int]
"""Width and height of an output tile and the reduction step, in elements."""


@dataclass(frozen=True, slots=True)
class FusionInstance:
    """A DAG of matrix products and point-wise operators on a two-level memory.

    Attributes:
        widths: [tensors] columns of each tensor in elements.
        heights: [tensors] rows.
        inputs: [operators] tensors read; for a MatMul the left operand first.
        outputs: [operators] tensors written.
        base_costs: [operators] time units per native tile and native width of reduction.
        op_types: [operators] ``MatMul`` or ``Pointwise``.
        fast_memory_capacity: elements.
        slow_memory_bandwidth: elements per time unit.
        native_granularity: width and height of the tile the compute units take at once.
    """

    widths: tuple[int, ...]
    heights: tuple[int, ...]
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    base_costs: tuple[float, ...]
    op_types: tuple[str, ...]
    fast_memory_capacity: float
    slow_memory_bandwidth: float
    native_granularity: tuple[int, int]

    @property
    def operators(self) -> int:
        """Number of operators."""
        return len(self.inputs)

    def is_matmul(self, operator: int) -> bool:
        """Whether ``operator`` reduces."""
        return self.op_types[operator] == "MatMul"

    def size(self, tensor: int) -> int:
        """Elements of ``tensor``."""
        return self.widths[tensor] * self.heights[tensor]

    def producers(self) -> dict[int, int]:
        """Producing operator of each tensor that has one."""
        return {tensor: op for op, made in enumerate(self.outputs) for tensor in made}

    def consumers(self) -> tuple[tuple[int, ...], ...]:
        """Per tensor, the operators that read it."""
        found: list[list[int]] = [[] for _ in self.widths]
        for op, read in enumerate(self.inputs):
            for tensor in dict.fromkeys(read):
                found[tensor].append(op)
        return tuple(map(tuple, found))


@dataclass(frozen=True, slots=True)
class FusionStep:
    """One group of operators executed as a unit.

    Attributes:
        operators: members in topological order.
        granularity: tile width, tile height, reduction step.
        retained: tensors kept in fast memory when the group ends.
        traversal: order of the raster-numbered output tiles; ``None`` is raster order.
        latency: time units.
    """

    operators: tuple[int, ...]
    granularity: Granularity
    retained: tuple[int, ...]
    traversal: tuple[int, ...] | None
    latency: float


@dataclass(frozen=True, slots=True)
class _SolutionFile:
    subgraphs: list[list[int]]
    granularities: list[list[int]]
    tensors_to_retain: list[list[int]]
    traversal_orders: list[list[int] | None]
    subgraph_latencies: list[float]


def is_fusion_instance(data: bytes) -> bool:
    """Whether ``data`` looks like an instance of this problem rather than anything else."""
    head = data.lstrip()[:1]
    return head == b"{" and b'"fast_memory_capacity"' in data


def load_instance(path: Path) -> FusionInstance:
    """Read an instance file.

    Raises:
        ModelError: the file is missing, not an instance, or inconsistent; names the field.
    """
    try:
        instance = msgspec.json.decode(path.read_bytes(), type=FusionInstance)
    except OSError as error:
        raise ModelError(f"{path}: cannot read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ModelError(f"{path}: not a scheduling instance: {error}") from error
    problem = _first_problem(instance)
    if problem:
        raise ModelError(f"{path}: {problem}")
    return instance


def _first_problem(instance: FusionInstance) -> str:
    """What is wrong with ``instance``, empty when nothing is."""
    tensors = len(instance.widths)
    if len(instance.heights) != tensors:
        return f"'heights' has {len(instance.heights)} entries, 'widths' has {tensors}"
    for field in ("outputs", "base_costs", "op_types"):
        if len(getattr(instance, field)) != instance.operators:
            return f"{field!r} must have one entry per operator ({instance.operators})"
    if min((*instance.widths, *instance.heights, *instance.native_granularity), default=1) < 1:
        return "'widths', 'heights' and 'native_granularity' must be positive"
    if instance.fast_memory_capacity <= 0 or instance.slow_memory_bandwidth <= 0:
        return "'fast_memory_capacity' and 'slow_memory_bandwidth' must be positive"
    made: set[int] = set()
    for op, (read, written) in enumerate(zip(instance.inputs, instance.outputs, strict=True)):
        if any(not 0 <= tensor < tensors for tensor in (*read, *written)):
            return f"operator {op} names a tensor outside 0..{tensors - 1}"
        if instance.op_types[op] not in ("MatMul", "Pointwise"):
            return f"operator {op}: unknown op_type {instance.op_types[op]!r}"
        if instance.is_matmul(op) and len(read) != 2:
            return f"operator {op}: a MatMul reads two tensors, this one {len(read)}"
        if not written or made & set(written):
            return f"operator {op} writes nothing or a tensor another operator writes"
        made |= set(written)
        shape_problem = _shape_problem(instance, op)
        if shape_problem:
            return shape_problem
    if len(topological(instance)) != instance.operators:
        return "the operators form a cycle"
    return ""


def _shape_problem(instance: FusionInstance, op: int) -> str:
    shapes = [(instance.heights[t], instance.widths[t]) for t in instance.inputs[op]]
    out = (instance.heights[instance.outputs[op][0]], instance.widths[instance.outputs[op][0]])
    if instance.is_matmul(op):
        (rows, inner), (inner_right, cols) = shapes
        if inner != inner_right or out != (rows, cols):
            return f"operator {op}: MatMul of {shapes[0]} and {shapes[1]} cannot give {out}"
    elif any(shape != out for shape in shapes):
        return f"operator {op}: Pointwise operands {shapes} differ from the output {out}"
    return ""


def topological(instance: FusionInstance) -> tuple[int, ...]:
    """Operators in a topological order, lowest index first; shorter if there is a cycle."""
    producer, consumers = instance.producers(), instance.consumers()
    waiting = [len({producer[t] for t in read if t in producer}) for read in instance.inputs]
    ready = sorted((op for op, count in enumerate(waiting) if not count), reverse=True)
    order: list[int] = []
    while ready:
        op = ready.pop()
        order.append(op)
        for reader in {r for tensor in instance.outputs[op] for r in consumers[tensor]}:
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    return tuple(order)


def load_solution(path: Path) -> tuple[FusionStep, ...]:
    """Read a solution file. Raises ModelError when it is not one."""
    try:
        solution = msgspec.json.decode(path.read_bytes(), type=_SolutionFile)
    except OSError as error:
        raise ModelError(f"{path}: cannot read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ModelError(f"{path}: not a solution: {error}") from error
    columns = (
        solution.subgraphs,
        solution.granularities,
        solution.tensors_to_retain,
        solution.traversal_orders,
        solution.subgraph_latencies,
    )
    if len({len(column) for column in columns}) != 1:
        raise ModelError(f"{path}: the lists of the solution differ in length")
    return tuple(
        FusionStep(
            tuple(operators),
            (granularity[0], granularity[1], granularity[2]),
            tuple(retained),
            None if traversal is None else tuple(traversal),
            latency,
        )
        for operators, granularity, retained, traversal, latency in zip(*columns, strict=True)
    )


def save_solution(path: Path, steps: tuple[FusionStep, ...]) -> None:
    """Write a solution file; it appears complete or not at all."""
    solution = _SolutionFile(
        [list(step.operators) for step in steps],
        [list(step.granularity) for step in steps],
        [list(step.retained) for step in steps],
        [None if step.traversal is None else list(step.traversal) for step in steps],
        [step.latency for step in steps],
    )
    write_atomic(path, msgspec.json.encode(solution))
