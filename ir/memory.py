"""What a plan must respect of a target's memory; the part of a target the IR layer knows."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemorySpec:
    """Scratchpad as planners and the checker see it.

    Attributes:
        capacity_bytes: bytes available to planned storages.
        alignment_bytes: every address is a multiple of it.
        stream_weights: weights pass through a dedicated double buffer outside the scratchpad at
            each use and are no storages of the plan; otherwise they are planned like any other.
        kept_weights_bytes: size of that buffer if it keeps weights until others need the room
            (``ir.weight_ring``); 0 if it keeps none.
        direct_dram: operators may read and write operands in DRAM without a resident copy.
    """

    capacity_bytes: int
    alignment_bytes: int = 1
    stream_weights: bool = True
    direct_dram: bool = False
    kept_weights_bytes: int = 0

    @property
    def keeps_weights(self) -> bool:
        """Whether the bytes that stream depend on the order of operators."""
        return self.stream_weights and self.kept_weights_bytes > 0

    def aligned(self, size_bytes: int) -> int:
        """``size_bytes`` rounded up to the alignment."""
        return -(-size_bytes // self.alignment_bytes) * self.alignment_bytes
