"""Off-chip traffic of a plan, split into what any plan must move and the rest.

Compulsory bytes are each model input and each weight read once and each model output written once;
everything else that crosses the boundary to DRAM is non-compulsory: spills, reloads, re-reads.
Storages move whole, so a storage that is loaded at all counts whole; one that is only streamed or
read directly counts the bytes that some operator reads. Outputs likewise.
"""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass

from stowplan.ir.check_facts import Facts, facts_of, union_bytes
from stowplan.ir.graph import Graph, Interval
from stowplan.ir.memory import MemorySpec
from stowplan.ir.plan import Plan, TransferKind
from stowplan.ir.weight_ring import fetches, same_stream


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes between DRAM and chip.

    Attributes:
        loaded_bytes: LOADs.
        stored_bytes: STOREs.
        streamed_bytes: weights through the weight buffer, at each use unless it keeps them.
        direct_read_bytes: operands that operators read in DRAM.
        direct_written_bytes: results that operators write to DRAM.
        compulsory_bytes: inputs and weights once, outputs once.
    """

    loaded_bytes: int
    stored_bytes: int
    streamed_bytes: int
    direct_read_bytes: int
    direct_written_bytes: int
    compulsory_bytes: int

    @property
    def offchip_bytes(self) -> int:
        """All bytes that cross the off-chip boundary."""
        return (
            self.loaded_bytes
            + self.stored_bytes
            + self.streamed_bytes
            + self.direct_read_bytes
            + self.direct_written_bytes
        )

    @property
    def noncompulsory_bytes(self) -> int:
        """Off-chip bytes beyond the compulsory ones."""
        return self.offchip_bytes - self.compulsory_bytes


def traffic(graph: Graph, plan: Plan, memory: MemorySpec) -> Traffic:
    """Count the off-chip bytes of a valid plan.

    Args:
        graph: the planned graph.
        plan: a plan that passes the checker.
        memory: the memory planned for; weights stream only where both it and the plan say so.
    """
    facts = facts_of(graph)
    loaded, stored = _moved(facts, plan, TransferKind.LOAD), _moved(facts, plan, TransferKind.STORE)
    streamed, streamed_ranges = _streamed(facts, plan, memory)
    reads, writes, read_ranges, written_ranges = _direct(facts, plan)
    for storage, ranges in streamed_ranges.items():
        read_ranges.setdefault(storage, []).extend(ranges)
    compulsory = sum(
        facts.size_bytes[name] if name in loaded else union_bytes(read_ranges.get(name, []))
        for name in facts.initial
    ) + sum(
        facts.size_bytes[name] if name in stored else union_bytes(written_ranges.get(name, []))
        for name in facts.final
    )
    return Traffic(
        loaded_bytes=sum(n * facts.size_bytes[storage] for storage, n in loaded.items()),
        stored_bytes=sum(n * facts.size_bytes[storage] for storage, n in stored.items()),
        streamed_bytes=streamed,
        direct_read_bytes=reads,
        direct_written_bytes=writes,
        compulsory_bytes=compulsory,
    )


def peak_bytes(graph: Graph, plan: Plan) -> int:
    """Smallest scratchpad in which the plan's addresses fit: the highest byte in use, plus one."""
    sizes = facts_of(graph).size_bytes
    return max((r.address + sizes.get(r.storage, 0) for r in plan.residencies), default=0)


def _moved(facts: Facts, plan: Plan, kind: TransferKind) -> Counter[str]:
    """How often each storage is moved."""
    moved = Counter(transfer.storage for transfer in plan.transfers if transfer.kind is kind)
    return Counter({storage: n for storage, n in moved.items() if storage in facts.size_bytes})


def _streamed(
    facts: Facts, plan: Plan, memory: MemorySpec
) -> tuple[int, dict[str, list[Interval]]]:
    """Bytes streamed, and per weight the ranges read."""
    ranges: dict[str, list[Interval]] = {}
    if plan.track_weights or not memory.stream_weights:
        return 0, ranges
    streams: list[tuple[Hashable, int]] = []
    # Only a buffer that keeps weights makes the order count.
    for name in plan.order if memory.kept_weights_bytes else facts.touches:
        read = [touch for touch in facts.touches[name] if touch.storage in facts.weights]
        for touch in read:
            ranges.setdefault(touch.storage, []).extend(touch.reads)
        size = sum(union_bytes(list(touch.reads)) for touch in read)
        streams.append((same_stream([(touch.storage, touch.reads) for touch in read]), size))
    fetched = fetches(streams, memory.kept_weights_bytes)
    total = sum(size for (_, size), needed in zip(streams, fetched, strict=True) if needed)
    return total, ranges


def _direct(
    facts: Facts, plan: Plan
) -> tuple[int, int, dict[str, list[Interval]], dict[str, list[Interval]]]:
    """Bytes read and written in DRAM by operators, and per storage the ranges of each."""
    reads, writes = 0, 0
    read_ranges: dict[str, list[Interval]] = {}
    written_ranges: dict[str, list[Interval]] = {}
    for access in plan.direct:
        for touch in facts.touches[plan.order[access.step]]:
            if touch.storage == access.storage:
                reads += union_bytes(list(touch.reads))
                writes += union_bytes(list(touch.writes))
                read_ranges.setdefault(touch.storage, []).extend(touch.reads)
                written_ranges.setdefault(touch.storage, []).extend(touch.writes)
    return reads, writes, read_ranges, written_ranges
