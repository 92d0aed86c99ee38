"""Storages fixed before tiles are cut: tensors in blocks, so that neighbours cannot burden a tile.

Where a tensor is cut wherever a tile of its producer or of a reader begins or ends, tiles of one
operator decide how many pieces, each rounded up to the alignment, those of another must hold. In a
very small scratchpad that fails although every operator alone could be cut finely enough. Here the
storages of a tensor are decided first, boxes of a few bytes, and tiles read and write views of
them. What a tile holds then depends on its own size alone, and so does the smallest scratchpad that
will do.
"""

from collections.abc import Iterator, Sequence
from itertools import product

from stowplan.ir.graph import Tensor
from stowplan.passes.tiling.boxes import Box

Steps = tuple[int, ...]
"""Extents of a tensor's storages."""


def runs_of_bytes(tensor: Tensor, alignment_bytes: int, limit_bytes: int) -> Steps:
    """Storages of at most ``limit_bytes`` that are runs of a tensor's bytes."""
    return _grown(tensor, tuple(reversed(range(len(tensor.shape)))), alignment_bytes, limit_bytes)


def channels_first(tensor: Tensor, alignment_bytes: int, limit_bytes: int) -> Steps:
    """Storages of at most ``limit_bytes`` that hold all channels of few positions, or a part."""
    if len(tensor.shape) < 3:
        return runs_of_bytes(tensor, alignment_bytes, limit_bytes)
    others = (axis for axis in reversed(range(len(tensor.shape))) if axis != 1)
    return _grown(tensor, (1, *others), alignment_bytes, limit_bytes)


def columns_first(tensor: Tensor, alignment_bytes: int, limit_bytes: int) -> Steps:
    """Storages of at most ``limit_bytes`` of as many rows as possible, as tables are read."""
    return _grown(tensor, tuple(range(len(tensor.shape))), alignment_bytes, limit_bytes)


def _grown(tensor: Tensor, axes: Sequence[int], alignment_bytes: int, limit_bytes: int) -> Steps:
    """Boxes that grow along ``axes`` one after another; the last takes what wastes least.

    Elements are whole bytes.
    """
    steps, size = [1] * len(tensor.shape), tensor.dtype.bits // 8
    for axis in axes:
        extent = tensor.shape[axis]
        if size * extent > limit_bytes:
            # Of all that waste least by alignment, the largest.
            steps[axis] = min(
                range(1, max(1, limit_bytes // size) + 1),
                key=lambda n: (-(-extent // n) * -(-n * size // alignment_bytes), -n),
            )
            break
        steps[axis] = extent
        size *= extent
    return tuple(steps)


def boxes(tensor: Tensor, steps: Steps, box: Box) -> Iterator[Box]:
    """Storages that share an element with ``box``."""
    sides = []
    for extent, step, (lower, upper) in zip(tensor.shape, steps, box, strict=True):
        starts = range(lower - lower % step, upper, step)
        sides.append([(start, min(start + step, extent)) for start in starts])
    yield from product(*sides)


def runs(storage: Box, box: Box) -> Iterator[Box]:
    """The parts of ``box`` in a storage, each one run of bytes; they share an element."""
    inside = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(storage, box, strict=True))
    partial = [axis for axis, side in enumerate(inside) if side != storage[axis]]
    last = partial[-1] if partial else 0
    singles = [[(i, i + 1) for i in range(*side)] for side in inside[:last]]
    for prefix in product(*singles):
        yield (*prefix, *inside[last:])
