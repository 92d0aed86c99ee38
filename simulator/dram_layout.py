"""DRAM addresses of everything a plan keeps off chip.

Storages lie one after another from address 0, each at a multiple of ``ALIGNMENT_BYTES``: first the
weights in the order in which the plan first needs them, so that a stream of weights walks through
memory, then inputs, outputs and whatever the plan spills, in the order of the graph. No two share a
byte and none moves during a run.
"""

from stowplan.ir.graph import Graph, Interval
from stowplan.ir.plan import Plan
from stowplan.ir.storage import StorageModel

ALIGNMENT_BYTES = 256
"""A multiple of what one access of any preset moves."""

Ranges = tuple[Interval, ...]


def dram_addresses(graph: Graph, plan: Plan, model: StorageModel) -> dict[str, int]:
    """First byte of every storage that is ever in DRAM."""
    index = {operator.name: i for i, operator in enumerate(graph.operators)}
    moved = {transfer.storage for transfer in plan.transfers}
    moved.update(access.storage for access in plan.direct)
    order: dict[str, int] = {}
    for name in plan.order:
        for access in model.accesses[index[name]]:
            storage = model.storages[access.storage]
            if storage.weight:
                order.setdefault(storage.name, storage.size_bytes)
    for storage in model.storages:
        if storage.starts_in_dram or storage.ends_in_dram or storage.name in moved:
            order.setdefault(storage.name, storage.size_bytes)
    addresses = {}
    free = 0
    for name, size in order.items():
        addresses[name] = free
        free += -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    return addresses


def shifted(ranges: Ranges, base: int) -> Ranges:
    """``ranges`` moved up by ``base``."""
    return tuple((base + lower, base + upper) for lower, upper in ranges)


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
