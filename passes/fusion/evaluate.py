"""Latency of a schedule by walking every step of every group: the reference evaluator.

A group's sinks share one grid of output tiles. At tile (r, c) and reduction step j each operator
makes the slices its consumers in the group ask for: a point-wise operator asks for the same slice
of its operands; a MatMul that is a sink asks for the j-th slice of the reduction, one inside the
group for the whole reduction. Slices of tensors from outside the group are moved unless they were
held in the step before or the whole tensor is retained. A step takes the longer of its compute and
its transfers.

Source: the contest's problem statement, sections "Execution Model" and "Granularity", and worked
examples 1 to 5.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stowplan.passes.fusion.instance import FusionInstance, FusionStep

Slice = tuple[int, int, int, int, int]
"""Tensor, first row, end row, first column, end column."""


class InvalidScheduleError(ValueError):
    """The schedule breaks a rule; the message says which group and why."""


@dataclass(frozen=True, slots=True)
class Group:
    """Operators fused into one unit.

    Attributes:
        operators: members in topological order.
        sources: tensors read from outside.
        sinks: tensors made and not consumed inside; all others made are ephemeral.
    """

    operators: tuple[int, ...]
    sources: tuple[int, ...]
    sinks: tuple[int, ...]


def group_of(instance: FusionInstance, operators: Sequence[int]) -> Group:
    """Boundary of a set of operators given in topological order."""
    made = {tensor for op in operators for tensor in instance.outputs[op]}
    read = {tensor for op in operators for tensor in instance.inputs[op]}
    return Group(tuple(operators), tuple(sorted(read - made)), tuple(sorted(made - read)))


@dataclass(frozen=True, slots=True)
class Piece:
    """A slice some operator of the group makes in one step.

    Attributes:
        extent: the slice.
        split_rows: its rows are one reduction step of a MatMul that is a sink.
        split_columns: its columns are.
    """

    extent: Slice
    split_rows: bool = False
    split_columns: bool = False


def demands(
    instance: FusionInstance, group: Group, tile: tuple[int, int, int, int], k: tuple[int, int]
) -> tuple[set[Slice], dict[int, set[Piece]]]:
    """Slices moved in from outside, and slices made per operator, in one step.

    Args:
        instance: the problem.
        group: the group.
        tile: first row, end row, first column, end column of the output tile.
        k: half-open reduction range of the sinks.
    """
    producer = {t: op for op in group.operators for t in instance.outputs[op]}
    wanted = [Piece((sink, *tile)) for sink in group.sinks]
    sources: set[Slice] = set()
    made: dict[int, set[Piece]] = {op: set() for op in group.operators}
    while wanted:
        piece = wanted.pop()
        tensor = piece.extent[0]
        op = producer.get(tensor)
        if op is None:
            sources.add(piece.extent)
        elif piece not in made[op]:
            made[op].add(piece)
            wanted += _operands(instance, op, piece, k if tensor in group.sinks else None)
    return sources, made


def _operands(
    instance: FusionInstance, op: int, piece: Piece, k: tuple[int, int] | None
) -> list[Piece]:
    """Slices ``op`` reads to make ``piece``; ``k`` is the reduction range of a sink."""
    _, row, row_end, col, col_end = piece.extent
    rows, columns = piece.split_rows, piece.split_columns
    if not instance.is_matmul(op):
        return [Piece((t, row, row_end, col, col_end), rows, columns) for t in instance.inputs[op]]
    left, right = instance.inputs[op]
    start, end = k or (0, instance.widths[left])
    return [
        Piece((left, row, row_end, start, end), rows, k is not None),
        Piece((right, start, end, col, col_end), k is not None, columns),
    ]


def compute_time(
    instance: FusionInstance, group: Group, made: dict[int, set[Piece]], k: int
) -> float:
    """Compute of one step.

    A native tile costs the base cost, a smaller one as much; a MatMul pays per native width of
    reduction. A MatMul that makes a slice for one reduction step of another pays in proportion to
    the slice (worked example 5).
    """
    native_width, native_height = instance.native_granularity
    total = 0.0
    for op, pieces in made.items():
        for piece in pieces:
            tensor, row, row_end, col, col_end = piece.extent
            rows, columns = (row_end - row) / native_height, (col_end - col) / native_width
            matmul = instance.is_matmul(op)
            tiles = (rows if matmul and piece.split_rows else math.ceil(rows)) * (
                columns if matmul and piece.split_columns else math.ceil(columns)
            )
            depth = 1.0
            if matmul:
                whole = instance.widths[instance.inputs[op][0]]
                depth = (k if tensor in group.sinks else whole) / native_width
            total += instance.base_costs[op] * tiles * depth
    return total


def step_latency(instance: FusionInstance, step: FusionStep, before: frozenset[int]) -> float:
    """Latency of one group when the tensors ``before`` are already in fast memory.

    Raises:
        InvalidScheduleError: the sinks have no common grid, the traversal is no permutation, or
            the working set exceeds the capacity.
    """
    group = group_of(instance, step.operators)
    width, height, k = step.granularity
    columns, rows, depth = _grid(instance, group)
    tiles_across, tiles_down = -(-columns // width), -(-rows // height)
    traversal = step.traversal or range(tiles_across * tiles_down)
    if sorted(traversal) != list(range(tiles_across * tiles_down)):
        raise InvalidScheduleError(f"group {step.operators}: traversal is no permutation of tiles")
    kept = before | frozenset(step.retained)
    resident = sum(instance.size(t) for t in kept)
    held: set[Slice] = set()
    latency = 0.0
    for tile in traversal:
        row, col = tile // tiles_across * height, tile % tiles_across * width
        area = (row, min(row + height, rows), col, min(col + width, columns))
        for start in range(0, depth, k):
            end = min(start + k, depth)
            sources, made = demands(instance, group, area, (start, end))
            moving = {piece for piece in sources if piece[0] not in before}
            sinks = [t for t in group.sinks if t not in step.retained]
            out = len(sinks) * (area[1] - area[0]) * (area[3] - area[2])
            streamed = sum(_elements(piece) for piece in moving if piece[0] not in kept)
            if resident + streamed + out > instance.fast_memory_capacity:
                raise InvalidScheduleError(
                    f"group {step.operators} at {step.granularity}: working set "
                    f"{resident + streamed + out:,} exceeds {instance.fast_memory_capacity:,}"
                )
            moved = sum(map(_elements, moving - held)) + (out if end == depth else 0)
            compute = compute_time(instance, group, made, end - start)
            latency += max(compute, moved / instance.slow_memory_bandwidth)
            held = moving
    return latency


def _grid(instance: FusionInstance, group: Group) -> tuple[int, int, int]:
    """Columns and rows of the sinks and the depth of their reduction (1 for point-wise sinks)."""
    producer = {t: op for op in group.operators for t in instance.outputs[op]}
    grids = {
        (
            instance.widths[t],
            instance.heights[t],
            instance.widths[instance.inputs[producer[t]][0]]
            if instance.is_matmul(producer[t])
            else 1,
        )
        for t in group.sinks
    }
    if len(grids) != 1:
        raise InvalidScheduleError(f"group {group.operators}: its outputs share no common grid")
    return next(iter(grids))


def _elements(piece: Slice) -> int:
    return (piece[2] - piece[1]) * (piece[4] - piece[3])


def evaluate(instance: FusionInstance, steps: Sequence[FusionStep]) -> tuple[float, ...]:
    """Latency of each group of a schedule.

    A tensor is available when it is a model input, was written back by an earlier group, or has
    been retained ever since it was made.

    Raises:
        InvalidScheduleError: an operand is not available, an operator never runs, a model output
            never reaches slow memory, or a group is invalid.
    """
    produced = instance.producers()
    slow = {t for t in range(len(instance.widths)) if t not in produced}
    before: frozenset[int] = frozenset()
    latencies = []
    for step in steps:
        group = group_of(instance, step.operators)
        missing = [t for t in group.sources if t not in slow and t not in before]
        if missing:
            raise InvalidScheduleError(f"group {step.operators} reads {missing} before it is made")
        unknown = set(step.retained) - before - set(group.sources) - set(group.sinks)
        if unknown:
            raise InvalidScheduleError(f"group {step.operators} retains {sorted(unknown)} unmade")
        latencies.append(step_latency(instance, step, before))
        slow |= set(group.sinks) - set(step.retained)
        before = frozenset(step.retained)
    done = {op for step in steps for op in step.operators}
    if len(done) != instance.operators:
        raise InvalidScheduleError(f"operators {set(range(instance.operators)) - done} never run")
    consumers = instance.consumers()
    lost = [t for t in produced if not consumers[t] and t not in slow]
    if lost:
        raise InvalidScheduleError(f"model outputs {lost} never reach slow memory")
    return tuple(latencies)
