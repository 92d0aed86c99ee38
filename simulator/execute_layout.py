"""Where a tensor's real bytes lie in its storage when planned and real element widths differ.

A float model planned at int8 sizes is executed in float32, and members of one storage may differ
in how much wider than planned they are. So every planned byte stands for the same number of real
ones, ``factor``, wherever it is: addresses, offsets and sizes are multiplied by it, and two ranges
overlap in the execution exactly where they overlap in the plan. An element takes a *slot* of
``factor`` times its planned width; its real bytes come first in the slot, the rest is padding.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from stowplan.errors import InternalError
from stowplan.ir.graph import Graph

Bytes = npt.NDArray[np.uint8]
PADDING = 0
"""Differs from the poison of free space, so that a tensor of poison is told from poison."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Real places of tensors in storages.

    Attributes:
        graph: the planned graph.
        factor: real bytes per planned byte.
    """

    graph: Graph
    factor: int

    def place(self, tensor: str) -> tuple[str, int]:
        """Storage of a tensor and the real offset of its first byte in it."""
        storage, offset = self.graph.resolve(tensor)
        return storage, offset * self.factor

    def size_bytes(self, tensor: str) -> int:
        """Real bytes of a tensor, whole planned bytes."""
        return self.graph.tensor[tensor].size_bytes * self.factor

    def slot_bytes(self, tensor: str, real_bytes: int) -> int:
        """Bytes from one element of ``tensor`` to the next, ``real_bytes`` being its real width.

        Raises:
            InternalError: the width is not one of those the layout was made for.
        """
        slot, rest = divmod(self.graph.tensor[tensor].dtype.bits * self.factor, 8)
        if rest or slot < real_bytes:
            raise InternalError(
                f"tensor {tensor!r}: elements of {real_bytes} bytes do not fit slots of "
                f"{slot} bytes and {rest} bits"
            )
        return slot

    def spread(self, tensor: str, value: npt.NDArray[Any]) -> Bytes:
        """Bytes of ``tensor`` that hold ``value``, slot by slot."""
        width = value.dtype.itemsize
        packed = np.frombuffer(np.ascontiguousarray(value).tobytes(), dtype=np.uint8)
        slot = self.slot_bytes(tensor, width)
        size = self.size_bytes(tensor)
        if packed.size == size:
            return packed
        content = np.full(size, PADDING, dtype=np.uint8)
        slots = content[: value.size * slot].reshape(value.size, slot)
        slots[:, :width] = packed.reshape(value.size, width)
        return content

    def gather(
        self, tensor: str, found: Bytes, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> npt.NDArray[Any]:
        """The value that :meth:`spread` made ``found`` of."""
        count, slot = prod(shape), self.slot_bytes(tensor, dtype.itemsize)
        slots = found[: count * slot].reshape(count, slot)
        packed = np.ascontiguousarray(slots[:, : dtype.itemsize])
        return np.frombuffer(packed.tobytes(), dtype).reshape(shape)


def layout_of(graph: Graph, operands: Iterable[tuple[str, int]]) -> Layout:
    """Layout from the real element width in bytes of each tensor an operator touches."""
    planned = graph.tensor
    factors = (-(-8 * width // planned[name].dtype.bits) for name, width in operands)
    return Layout(graph, max((1, *factors)))
