"""Near-linear packing of very many buffers: first fit in the order of time.

Time is swept once; a buffer takes the lowest hole that holds it when it begins and gives it back
when it ends. Holes are kept by address in blocks of at most ``BLOCK`` with the longest hole of
each block, so that each event costs a scan of the block maxima and of one block.

Source: address-ordered first fit, P. Wilson et al., "Dynamic Storage Allocation: A Survey and
Critical Review", IWMM 1995, section 3.5.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

BLOCK = 256
FAR = 1 << 60


class Holes(NamedTuple):
    """Free address ranges in ascending order.

    Attributes:
        at: first address of each hole of a block [blocks, BLOCK].
        length: its length [blocks, BLOCK].
        used: holes in a block [blocks].
        longest: length of the longest of them [blocks].
        chain: blocks in address order [blocks].
        spare: unused blocks [blocks].
        counts: number of blocks in ``chain`` and in ``spare`` [2].
    """

    at: Ints
    length: Ints
    used: Ints
    longest: Ints
    chain: Ints
    spare: Ints
    counts: Ints


KERNEL = numba.njit(cache=True, _nrt=False)


def one_hole(blocks: int) -> Holes:
    """An empty memory without end, with room for ``blocks`` blocks."""
    holes = Holes(
        at=np.zeros((blocks, BLOCK), np.int64),
        length=np.zeros((blocks, BLOCK), np.int64),
        used=np.zeros(blocks, np.int64),
        longest=np.zeros(blocks, np.int64),
        chain=np.zeros(blocks, np.int64),
        spare=np.arange(blocks - 1, -1, -1, dtype=np.int64),
        counts=np.array([1, blocks - 1], np.int64),
    )
    holes.length[0, 0] = holes.longest[0] = FAR
    holes.used[0] = 1
    return holes


@KERNEL
def _measure(h: Holes, block: int) -> None:
    """Find the longest hole of a block anew."""
    longest = 0
    for i in range(h.used[block]):
        longest = max(longest, h.length[block, i])
    h.longest[block] = longest


@KERNEL
def _drop_block(h: Holes, link: int) -> None:
    """Take an emptied block out of the chain."""
    h.spare[h.counts[1]] = h.chain[link]
    h.counts[1] += 1
    h.counts[0] -= 1
    for other in range(link, h.counts[0]):
        h.chain[other] = h.chain[other + 1]


@KERNEL
def _join(h: Holes, link: int) -> None:
    """Move the holes of the next block here when both together fill half a block at most.

    So any two neighbours hold more than that, which bounds the number of blocks.
    """
    if link < 0 or link + 1 >= h.counts[0]:
        return
    block, other = h.chain[link], h.chain[link + 1]
    total = h.used[block] + h.used[other]
    if total > BLOCK // 2:
        return
    for i in range(h.used[other]):
        h.at[block, h.used[block] + i] = h.at[other, i]
        h.length[block, h.used[block] + i] = h.length[other, i]
    h.used[block] = total
    h.longest[block] = max(h.longest[block], h.longest[other])
    _drop_block(h, link + 1)


@KERNEL
def _remove(h: Holes, link: int, i: int) -> None:
    """Drop hole ``i`` of the block at ``chain[link]``."""
    block = h.chain[link]
    h.used[block] -= 1
    for j in range(i, h.used[block]):
        h.at[block, j] = h.at[block, j + 1]
        h.length[block, j] = h.length[block, j + 1]
    if h.used[block] == 0:
        _drop_block(h, link)
        _join(h, link - 1)
    else:
        _measure(h, block)
        _join(h, link)
        _join(h, link - 1)


@KERNEL
def _split(h: Holes, link: int) -> None:
    """Move the upper half of a full block to a new one after it."""
    block = h.chain[link]
    h.counts[1] -= 1
    new = h.spare[h.counts[1]]
    for other in range(h.counts[0], link + 1, -1):
        h.chain[other] = h.chain[other - 1]
    h.chain[link + 1] = new
    h.counts[0] += 1
    half = BLOCK // 2
    for i in range(half, BLOCK):
        h.at[new, i - half] = h.at[block, i]
        h.length[new, i - half] = h.length[block, i]
    h.used[block] = half
    h.used[new] = BLOCK - half
    _measure(h, block)
    _measure(h, new)


@KERNEL
def _take(h: Holes, size: int) -> int:
    """Lowest address of a hole of at least ``size`` units, which are taken from it."""
    link = 0
    while h.longest[h.chain[link]] < size:
        link += 1
    block = h.chain[link]
    i = 0
    while h.length[block, i] < size:
        i += 1
    address = h.at[block, i]
    length = h.length[block, i]
    h.at[block, i] += size
    h.length[block, i] -= size
    if length == size:
        _remove(h, link, i)
    elif length == h.longest[block]:
        _measure(h, block)
    return address


@KERNEL
def _locate(h: Holes, address: int) -> int:
    """Position in ``chain`` of the last block that begins below ``address``, or 0."""
    low, high = 0, h.counts[0]
    while high - low > 1:
        middle = (low + high) // 2
        if h.at[h.chain[middle], 0] < address:
            low = middle
        else:
            high = middle
    return low


@KERNEL
def _give(h: Holes, address: int, size: int) -> None:
    """Make ``[address, address + size)`` free, joining it with the holes that touch it."""
    link = _locate(h, address)
    block = h.chain[link]
    i = 0
    while i < h.used[block] and h.at[block, i] < address:
        i += 1
    end = address + size
    next_link, j = (link, i) if i < h.used[block] else (link + 1, 0)
    follows = next_link < h.counts[0] and h.at[h.chain[next_link], j] == end
    if i > 0 and h.at[block, i - 1] + h.length[block, i - 1] == address:
        if follows:
            size += h.length[h.chain[next_link], j]
        h.length[block, i - 1] += size
        h.longest[block] = max(h.longest[block], h.length[block, i - 1])
        if follows:
            _remove(h, next_link, j)
    elif follows:
        other = h.chain[next_link]
        h.at[other, j] = address
        h.length[other, j] += size
        h.longest[other] = max(h.longest[other], h.length[other, j])
    else:
        _insert(h, link, i, address, size)


@KERNEL
def _insert(h: Holes, link: int, i: int, address: int, size: int) -> None:
    """Add a hole as number ``i`` of the block at ``chain[link]``."""
    block = h.chain[link]
    for j in range(h.used[block], i, -1):
        h.at[block, j] = h.at[block, j - 1]
        h.length[block, j] = h.length[block, j - 1]
    h.at[block, i] = address
    h.length[block, i] = size
    h.used[block] += 1
    h.longest[block] = max(h.longest[block], size)
    if h.used[block] == BLOCK:
        _split(h, link)


@KERNEL
def sweep(h: Holes, events: Ints, size: Ints, offset: Ints) -> None:
    """Fill ``offset`` [n] by playing ``events`` [2n]: ``b`` begins, ``-1 - b`` ends."""
    for event in events:
        if event >= 0:
            offset[event] = _take(h, size[event])
        else:
            b = -1 - event
            _give(h, offset[b], size[b])


def sweep_fit(lower: Ints, upper: Ints, size: Ints) -> Ints:
    """Offsets [n] of first fit in the order of time; of those that begin together, long ones first.

    Args:
        lower: first moment each buffer is live [n].
        upper: one past the last, greater than ``lower`` [n].
        size: units it takes, positive [n].
    """
    n = len(size)
    buffers = np.arange(n, dtype=np.int64)
    moment = np.concatenate([upper, lower])
    begins = np.concatenate([np.zeros(n, np.int64), np.ones(n, np.int64)])
    length = upper - lower
    order = np.lexsort((np.concatenate([size, -size]), -np.tile(length, 2), begins, moment))
    events = np.concatenate([-1 - buffers, buffers])[order]
    offset = np.zeros(n, np.int64)
    peak = int(np.cumsum(np.where(events >= 0, 1, -1)).max())
    sweep(one_hole(8 + 4 * (peak + 1) // BLOCK), events, size, offset)
    return offset
