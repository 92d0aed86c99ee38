"""DRAM addresses of everything a plan keeps off chip.

Storages lie one after another from address 0, each at a multiple of ``ALIGNMENT_BYTES``: first the
weights in the order in which the plan first needs them, so that a stream of weights walks through
memory, then inputs, outputs and whatever the plan spills, in the order of the graph. No two share a
byte and none moves during a run.

Where DMA descriptors have dimensions (``dma.dimensions``), tiles other than weights lie where the
tensor they are part of has them, row by row: strided regions of the smallest box from the origin
that holds all tiles of the tensor. Weights are constants that a compiler packs tile by tile, and
elements smaller than a byte cannot be cut out, so both stay packed, as do tiles that overlap.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from math import prod

from stowplan.ir.graph import Graph, Interval, Tensor
from stowplan.ir.plan import Plan
from stowplan.ir.storage import Storage, StorageModel
from stowplan.simulator.descriptors import Ranges, Region, region_of

ALIGNMENT_BYTES = 256
"""A multiple of what one access of any preset moves."""


def dram_regions(
    graph: Graph, plan: Plan, model: StorageModel, dimensions: int = 0
) -> dict[str, Region]:
    """Where every storage lies that is ever in DRAM; ``dimensions`` as in ``dma.dimensions``."""
    kept = _kept(graph, plan, model)
    shapes = _parents(graph, [s for s in kept if not s.weight]) if dimensions else {}
    regions: dict[str, Region] = {}
    begins: dict[str, int] = {}
    free = 0
    for storage in kept:
        tensor = graph.tensor.get(storage.name)
        parent = tensor.parent if tensor is not None and not storage.weight else None
        shape = shapes.get(parent) if parent is not None else None
        if tensor is None or tensor.region is None or parent is None or shape is None:
            regions[storage.name] = Region(free, storage.size_bytes)
            free += _aligned(storage.size_bytes)
            continue
        item = tensor.dtype.bits // 8
        if parent not in begins:
            begins[parent] = free
            free += _aligned(prod(shape) * item)
        regions[storage.name] = region_of(shape, tensor.region, item, begins[parent])
    return regions


def dram_addresses(graph: Graph, plan: Plan, model: StorageModel) -> dict[str, int]:
    """First byte of every storage that is ever in DRAM, all of them packed."""
    return {name: region.address for name, region in dram_regions(graph, plan, model).items()}


def _kept(graph: Graph, plan: Plan, model: StorageModel) -> list[Storage]:
    """Storages that are ever in DRAM, in the order in which they lie there."""
    index = {operator.name: i for i, operator in enumerate(graph.operators)}
    moved = {transfer.storage for transfer in plan.transfers}
    moved.update(access.storage for access in plan.direct)
    order: dict[str, Storage] = {}
    for name in plan.order:
        for access in model.accesses[index[name]]:
            storage = model.storages[access.storage]
            if storage.weight:
                order.setdefault(storage.name, storage)
    for storage in model.storages:
        if storage.starts_in_dram or storage.ends_in_dram or storage.name in moved:
            order.setdefault(storage.name, storage)
    return list(order.values())


def _parents(graph: Graph, storages: Sequence[Storage]) -> Mapping[str, tuple[int, ...]]:
    """Shapes of the tensors whose tiles lie in them row by row."""
    tiles: dict[str, list[Tensor]] = {}
    for storage in storages:
        tensor = graph.tensor.get(storage.name)
        if tensor is not None and tensor.parent is not None and tensor.region is not None:
            tiles.setdefault(tensor.parent, []).append(tensor)
    extents: dict[str, list[tuple[int, ...]]] = {}
    for tensor in graph.tensors:
        if tensor.parent in tiles and tensor.region is not None:
            extents.setdefault(tensor.parent, []).append(tuple(b for _, b in tensor.region))
    return {
        name: tuple(map(max, zip(*extents[name], strict=True)))
        for name, found in tiles.items()
        if len({len(upper) for upper in extents[name]}) == 1
        and len({tile.dtype for tile in found}) == 1
        and found[0].dtype.bits % 8 == 0
        and _disjoint([tile.region for tile in found if tile.region])
    }


def _disjoint(boxes: Sequence[tuple[Interval, ...]]) -> bool:
    """Whether no two boxes share an element."""
    sides = list(zip(*boxes, strict=True))
    bounds = [sorted({bound for side in axis for bound in side}) for axis in sides]
    cells: Counter[tuple[int, ...]] = Counter()
    for box in boxes:
        numbers = (
            [i for i, (a, b) in enumerate(pairwise(own)) if lower <= a and b <= upper]
            for own, (lower, upper) in zip(bounds, box, strict=True)
        )
        cells.update(product(*numbers))
    return all(count == 1 for count in cells.values())


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def located(region: Region, ranges: Ranges) -> Ranges:
    """DRAM addresses of byte ranges of a storage that lies in ``region``."""
    if not region.repeats:
        base = region.address
        return tuple((base + lower, base + upper) for lower, upper in ranges)
    if ranges == ((0, region.size_bytes),):
        return region.runs
    return tuple(piece for lower, upper in ranges for piece in cut(region.runs, lower, upper))


def cut(ranges: Ranges, begin: int, end: int) -> Ranges:
    """The bytes from number ``begin`` up to ``end`` of ranges laid end to end."""
    found = []
    passed = 0
    for lower, upper in ranges:
        first, last = max(begin - passed, 0), min(end - passed, upper - lower)
        if first < last:
            found.append((lower + first, lower + last))
        passed += upper - lower
    return tuple(found)
