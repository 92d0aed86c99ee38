"""Live ranges of storages under an order, and the bytes alive at each step."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from stowplan.errors import UsageError
from stowplan.ir.graph import Graph
from stowplan.ir.storage import StorageModel, storage_model


@dataclass(frozen=True, slots=True)
class LiveRange:
    """Steps during which a storage is needed on chip if nothing is ever spilled.

    Attributes:
        storage: name of the storage.
        start: step that defines or first uses it.
        end: one past the step that last uses it.
        size_bytes: its size.
        weight: whether it holds weights.
    """

    storage: str
    start: int
    end: int
    size_bytes: int
    weight: bool


@dataclass(frozen=True, slots=True)
class Liveness:
    """Live ranges under one order; candidates for in-place reuse count as separate storages.

    Attributes:
        ranges: one per storage, by (start, storage order).
        bytes_per_step: bytes alive while each step runs.
        operator_bytes: per step, bytes of the storages its operator touches.
    """

    ranges: tuple[LiveRange, ...]
    bytes_per_step: tuple[int, ...]
    operator_bytes: tuple[int, ...]

    @property
    def peak_bytes(self) -> int:
        """Most bytes alive at a step: what the order needs without spilling or fragmentation."""
        return max(self.bytes_per_step, default=0)

    @property
    def largest_operator_bytes(self) -> int:
        """Most bytes one operator touches: no order and no spilling needs less."""
        return max(self.operator_bytes, default=0)


def liveness(graph: Graph, order: Sequence[str] | None = None, weights: bool = False) -> Liveness:
    """Live ranges of ``graph`` under ``order``.

    Args:
        graph: a valid graph.
        order: operator names; graph order when None. It is not checked against the precedence.
        weights: count weights, which otherwise stream past the scratchpad.

    Raises:
        UsageError: ``order`` does not name every operator once.
    """
    model = storage_model(graph)
    steps = _steps(graph, order)
    ranges = tuple(
        each for each in _ranges(model, steps) if each.size_bytes and (weights or not each.weight)
    )
    change = [0] * (len(steps) + 1)
    for each in ranges:
        change[each.start] += each.size_bytes
        change[each.end] -= each.size_bytes
    return Liveness(ranges, tuple(accumulate(change[:-1])), _operator_bytes(model, steps, weights))


def _steps(graph: Graph, order: Sequence[str] | None) -> list[int]:
    """Operator index per step."""
    if order is None:
        return list(range(len(graph.operators)))
    if sorted(order) != sorted(op.name for op in graph.operators):
        raise UsageError("the order must name every operator of the graph exactly once")
    index = {op.name: i for i, op in enumerate(graph.operators)}
    return [index[name] for name in order]


def _ranges(model: StorageModel, steps: list[int]) -> list[LiveRange]:
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for step, operator in enumerate(steps):
        for access in model.accesses[operator]:
            first.setdefault(access.storage, step)
            last[access.storage] = step
    found = []
    for index, start in sorted(first.items(), key=lambda item: (item[1], item[0])):
        storage = model.storages[index]
        end = last[index] + 1
        found.append(LiveRange(storage.name, start, end, storage.size_bytes, storage.weight))
    return found


def _operator_bytes(model: StorageModel, steps: list[int], weights: bool) -> tuple[int, ...]:
    return tuple(
        sum(
            model.storages[access.storage].size_bytes
            for access in model.accesses[operator]
            if weights or not model.storages[access.storage].weight
        )
        for operator in steps
    )
