"""Where a tensor's real bytes lie in its storage when planned and real element widths differ.

A float model planned at int8 sizes is executed in float32. Every planned byte then stands for
``factor`` real ones: addresses and sizes are multiplied by it, so two storages overlap in the
execution exactly where they overlap in the plan. A storage's content fills the first bytes of its
widened range.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from stowplan.errors import InternalError
from stowplan.ir.check_facts import Facts
from stowplan.ir.graph import Graph


@dataclass(frozen=True, slots=True)
class Layout:
    """Real places of tensors in storages.

    Attributes:
        factor: real bytes per planned byte of scratchpad.
        real_bits: per storage, real width of one element of planned width ``planned_bits``.
        planned_bits: per storage, planned width of one element.
    """

    graph: Graph
    factor: int
    real_bits: dict[str, int]
    planned_bits: dict[str, int]

    def size_bytes(self, storage: str, planned_bytes: int) -> int:
        """Real bytes of a storage's content."""
        if storage not in self.real_bits:
            return planned_bytes * self.factor
        return -(-planned_bytes * self.real_bits[storage] // self.planned_bits[storage])

    def place(self, tensor: str) -> tuple[str, int]:
        """Storage of a tensor and the real offset of its first byte in it.

        Raises:
            InternalError: the view does not start at a whole real byte.
        """
        storage, offset = self.graph.resolve(tensor)
        if storage not in self.real_bits:
            return storage, offset
        bits = offset * self.real_bits[storage]
        if bits % self.planned_bits[storage]:
            raise InternalError(f"view {tensor!r} starts inside a byte of {storage!r}")
        return storage, bits // self.planned_bits[storage]


def layout_of(facts: Facts, operands: Iterable[tuple[str, int]]) -> Layout:
    """Layout from the real element width in bits of each tensor an operator touches.

    Raises:
        InternalError: tensors of one storage differ in how much wider than planned they are.
    """
    graph = facts.graph
    real: dict[str, int] = {}
    planned: dict[str, int] = {}
    for name, bits in operands:
        storage, _ = graph.resolve(name)
        planned_bits = graph.tensor[name].dtype.bits
        known = storage in real
        if known and real[storage] * planned_bits != bits * planned[storage]:
            raise InternalError(
                f"storage {storage!r}: its tensors are widened by different factors"
            )
        real[storage], planned[storage] = bits, planned_bits
    factor = max((-(-real[name] // planned[name]) for name in real), default=1)
    return Layout(graph, max(1, factor), real, planned)
