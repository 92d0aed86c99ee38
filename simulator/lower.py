"""From a plan to a program: one command per transfer, weight chunk and piece of an operator.

*Pieces.* An operator whose weights stream is cut into as many pieces as its weights have chunks
(half of the weight buffer each at most); piece ``j`` waits for chunk ``j`` and takes the time of
the part of the product that the chunk holds (``targets.streamed_cost``). Every other operator is
one piece.

*Weight buffer.* Chunks pass through it first in, first out. A chunk waits for the piece that
frees enough room for it, so that streams run ahead of computation, across operators, as far as the
buffer allows.

*Dependences.* In the order of the plan, every access to a byte range of the scratchpad, and of a
storage's copy in DRAM, waits for earlier accesses it conflicts with. Besides, a transfer waits for
all operators before its ``issue`` boundary. A deadline adds nothing to that: whoever needs the
loaded bytes or the freed space waits for the transfer because it touches the same bytes.

*Descriptors.* A transfer pays the set-up of every descriptor it takes before its first byte. Where
``dma.dimensions`` limits descriptors, tiles are strided regions of DRAM, and every run of
consecutive bytes takes whole bursts (``simulator.descriptors``); otherwise a transfer is one
descriptor. A chunk of a weight stream takes one per range.

*Cores.* An operator runs on the core that the plan names, else on the one that can start it first
by an estimate. Operators on different cores run at the same time unless one waits for the other's
bytes.

*List order.* After each piece come the STOREs, LOADs and chunks that it was the last to hold up,
the transfer whose data is needed first in front. Everything waits only for commands before it.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from stowplan.errors import InternalError
from stowplan.ir.graph import Graph
from stowplan.ir.plan import Plan, Transfer, TransferKind
from stowplan.ir.program import Command, CommandKind, Engine, Program, Walk, Work
from stowplan.ir.storage import storage_model
from stowplan.ir.weight_ring import fetches
from stowplan.simulator.cores import CoreClock
from stowplan.simulator.descriptors import Ranges, Region, joined, regions_of
from stowplan.simulator.dram_layout import cut, dram_regions
from stowplan.simulator.hazards import Hazards
from stowplan.simulator.placement import Placement
from stowplan.simulator.steps import Step, steps_of
from stowplan.targets.cost import OperatorCost
from stowplan.targets.streamed_cost import Part
from stowplan.targets.target import Dma, Target


@dataclass(frozen=True, slots=True)
class _Pending:
    """A transfer or a chunk before it has a place in the list.

    Attributes:
        after: piece that holds it up last, -1 when none does.
        needed_by: first piece that needs it.
        transfer: the transfer, or None for a chunk.
        step: its plan step.
        size_bytes: bytes of a chunk.
        chunk: number of the chunk in the whole program.
        source: DRAM addresses of a chunk.
    """

    after: int
    needed_by: int
    transfer: Transfer | None
    step: int
    size_bytes: int = 0
    chunk: int = -1
    source: Ranges = ()


def lower(graph: Graph, plan: Plan, target: Target) -> Program:
    """Lower a valid plan of ``graph`` to a program for ``target``.

    Raises:
        UsageError: the plan assigns an operator to an engine that cannot run it.
    """
    model = storage_model(graph)
    regions = dram_regions(graph, plan, model, target.dma.dimensions)
    steps = steps_of(graph, plan, target, model, regions)
    sizes = {storage.name: storage.size_bytes for storage in model.storages}
    chunks, holders = _chunks(steps, target)
    pending = _transfers(plan, steps, sizes) + chunks
    emitter = _Emitter(target, plan, sizes, regions, holders)
    held: dict[int, list[_Pending]] = {}
    for item in pending:
        held.setdefault(item.after, []).append(item)
    emitter.emit_pending(held.get(-1, []))
    for step, lowered in enumerate(steps):
        for piece in range(lowered.pieces):
            emitter.emit_piece(step, lowered, piece)
            emitter.emit_pending(held.get(lowered.first_piece + piece, []))
    return Program(tuple(emitter.commands), plan.order, target.cores)


def _transfers(plan: Plan, steps: Sequence[Step], sizes: dict[str, int]) -> list[_Pending]:
    begins = [step.first_piece for step in steps]
    begins.append(steps[-1].first_piece + steps[-1].pieces if steps else 0)
    return [
        _Pending(begins[t.issue] - 1, begins[t.deadline], t, t.issue)
        for t in plan.transfers
        if sizes[t.storage]
    ]


def _chunks(
    steps: Sequence[Step], target: Target
) -> tuple[list[_Pending], dict[int, tuple[int, ...]]]:
    """Chunks of all weight streams, each held up by the piece that makes room for it.

    Returns:
        The chunks, and per piece that weights serve, the pieces that the chunks were fetched for
        in which they lie.
    """
    found: list[_Pending] = []
    holders: dict[int, tuple[int, ...]] = {}
    last_use: list[int] = []
    blocks: dict[Ranges, range] = {}
    buffer = target.weight_buffer
    keys = [tuple(sorted(lowered.streamed)) for lowered in steps]
    sizes = [sum(part.size_bytes for part in lowered.parts) for lowered in steps]
    streams = zip(keys, sizes, strict=True)
    fetched = fetches(streams, buffer.size_bytes if buffer.keeps else 0)
    room, oldest, after = buffer.size_bytes, 0, -1
    for step, (lowered, needed) in enumerate(zip(steps, fetched, strict=True)):
        pieces = range(lowered.first_piece, lowered.first_piece + len(lowered.parts))
        if pieces and not needed:
            block = blocks[keys[step]]
            holders |= dict.fromkeys(pieces, tuple(found[chunk].needed_by for chunk in block))
            last_use[block.start : block.stop] = [pieces[-1]] * len(block)
            continue
        blocks[keys[step]] = range(len(found), len(found) + len(pieces))
        for piece, part in zip(pieces, lowered.parts, strict=True):
            room -= part.size_bytes
            while room < 0:
                room += found[oldest].size_bytes
                after = max(after, last_use[oldest])
                oldest += 1
            source = cut(lowered.streamed, part.begin_bytes, part.end_bytes)
            found.append(_Pending(after, piece, None, step, part.size_bytes, len(found), source))
            last_use.append(piece)
            holders[piece] = (piece,)
    return found, holders


class _Emitter:
    """Builds the command list; mutable."""

    def __init__(
        self,
        target: Target,
        plan: Plan,
        sizes: dict[str, int],
        regions: dict[str, Region],
        holders: dict[int, tuple[int, ...]],
    ) -> None:
        self.commands: list[Command] = []
        self._target = target
        self._placement = Placement(plan)
        self._steps = plan.order
        self._sizes = sizes
        self._regions = regions
        self._scratchpad = Hazards()
        self._dram: dict[str, Hazards] = {}
        self._chunk: dict[int, int] = {}
        self._holders = holders
        self._last: dict[int, int] = {}
        self._eaters: dict[int, list[tuple[int, int]]] = {}
        self._clock = CoreClock(2 + 2 * target.cores)
        # Transfers of several channels end in any order; to say what a computation waits for, all
        # that it needs must be named.
        self._loose = target.dma.channels > 1 or target.dma.priority == "demand"
        self._core = 0

    def emit_piece(self, step: int, lowered: Step, piece: int) -> None:
        """Append piece ``piece`` of the operator at ``step``."""
        number = len(self.commands)
        waits = self._conflicts(lowered) if piece == 0 else set()
        if lowered.parts:
            waits.update(self._chunk[at] for at in self._holders[lowered.first_piece + piece])
        engines = _engines(lowered.cost)
        if piece == 0:
            self._core = self._choose_core(lowered, engines, waits)
        command = _compute(self._target, lowered, piece, step, engines)
        self._append(replace(command, core=self._core), waits)
        if lowered.parts:
            queue = self.commands[number].queues[0]
            self._eaters.setdefault(queue, []).append((lowered.first_piece + piece, number))
        if piece == lowered.pieces - 1:
            self._scratchpad.record(number, lowered.reads, lowered.writes)
            for storage, ranges in lowered.dram_reads:
                self._copy(storage).record(number, ranges, ())
            for storage, ranges in lowered.dram_writes:
                self._copy(storage).record(number, (), ranges)

    def _choose_core(self, lowered: Step, engines: tuple[Engine, ...], waits: set[int]) -> int:
        if lowered.core is not None:
            return lowered.core
        units = tuple(int(engine) for engine in engines)
        return self._clock.earliest(units, self._target.cores, waits)

    def emit_pending(self, items: Sequence[_Pending]) -> None:
        """Append transfers and chunks that nothing later holds up."""
        stores = [i for i in items if i.transfer and i.transfer.kind is TransferKind.STORE]
        others = [i for i in items if not i.transfer or i.transfer.kind is TransferKind.LOAD]
        for item in sorted(stores, key=lambda item: item.needed_by):
            self._emit_transfer(item, item.transfer)
        for item in sorted(others, key=lambda item: (item.needed_by, item.chunk)):
            if item.transfer:
                self._emit_transfer(item, item.transfer)
            else:
                self._emit_chunk(item)

    def _emit_transfer(self, item: _Pending, transfer: Transfer | None) -> None:
        if transfer is None:
            raise InternalError("a weight chunk is no transfer")
        size = self._sizes[transfer.storage]
        load = transfer.kind is TransferKind.LOAD
        base = self._placement.transfer_address(transfer)
        range_ = ((base, base + size),)
        whole = ((0, size),)
        onchip = ((), range_) if load else (range_, ())
        copy = (whole, ()) if load else ((), whole)
        waits = self._scratchpad.before(*onchip) | self._copy(transfer.storage).before(*copy)
        waits.update(last for queue, last in self._last.items() if queue >= Engine.ARRAY)
        number = len(self.commands)
        dma, dram = self._target.dma, self._target.dram
        region = self._regions[transfer.storage]
        count = region.descriptors(dma.dimensions) if dma.dimensions else 1
        setup = count * dma.setup_cycles
        command = Command(
            kind=CommandKind.LOAD if load else CommandKind.STORE,
            engines=(Engine.DMA_IN if load else Engine.DMA_OUT,),
            label=transfer.storage,
            step=item.step,
            delay_cycles=setup + (dram.latency_cycles if load else 0),
            dram_bytes=_moved(dma, size, (region,)),
            read_bytes=size if load else 0,
            written_bytes=0 if load else size,
            latency_cycles=dram.latency_cycles if load else 0,
            dram_reads=region.runs if load else (),
            dram_writes=() if load else region.runs,
            walks=(Walk(base, size, size),),
            setup_cycles=setup,
            descriptors=count,
        )
        self._append(command, waits)
        self._scratchpad.record(number, *onchip)
        self._copy(transfer.storage).record(number, *copy)

    def _emit_chunk(self, item: _Pending) -> None:
        dma, dram = self._target.dma, self._target.dram
        source = tuple(joined(item.source)) if dma.dimensions else item.source
        count = max(1, len(source)) if dma.dimensions else 1
        setup = count * dma.setup_cycles
        command = Command(
            kind=CommandKind.WEIGHT,
            engines=(Engine.DMA_IN,),
            label=self._steps[item.step],
            step=item.step,
            delay_cycles=setup + dram.latency_cycles,
            dram_bytes=_moved(dma, item.size_bytes, regions_of(source)),
            read_bytes=item.size_bytes,
            latency_cycles=dram.latency_cycles,
            dram_reads=source,
            setup_cycles=setup,
            descriptors=count,
        )
        self._chunk[item.needed_by] = len(self.commands)
        self._append(command, self._freeing(item.after))

    def _freeing(self, after: int) -> set[int]:
        """The last piece of each queue, up to piece ``after``, that frees weights."""
        found: set[int] = set()
        for eaters in self._eaters.values():
            at = bisect_right(eaters, after, key=lambda eater: eater[0])
            found.update(number for _, number in eaters[at - 1 : at] if at)
        return found

    def _conflicts(self, lowered: Step) -> set[int]:
        waits = self._scratchpad.before(lowered.reads, lowered.writes)
        for storage, ranges in lowered.dram_reads:
            waits |= self._copy(storage).before(ranges, ())
        for storage, ranges in lowered.dram_writes:
            waits |= self._copy(storage).before((), ranges)
        return waits

    def _copy(self, storage: str) -> Hazards:
        return self._dram.setdefault(storage, Hazards())

    def _append(self, command: Command, waits: set[int]) -> None:
        number = len(self.commands)
        needed = self._essential(waits, command.queues)
        self.commands.append(replace(command, waits=needed))
        self._clock.record(command.queues, waits, self._cycles(command))
        for queue in command.queues:
            self._last[queue] = number

    def _cycles(self, command: Command) -> int:
        """Cycles of a command that has the machine to itself, roughly."""
        busy = command.bank_accesses // command.bank_rate
        moving = command.dram_bytes // self._target.dram.bytes_per_cycle
        return command.delay_cycles + max(busy, moving)

    def _essential(self, waits: set[int], queues: tuple[int, ...]) -> tuple[int, ...]:
        """The waits that queue order does not already imply: the latest per queue."""
        seen = self._ordered(queues)
        kept = []
        for wait in sorted(waits, reverse=True):
            own = self._ordered(self.commands[wait].queues)
            if not own & seen:
                kept.append(wait)
            seen |= own
        return tuple(reversed(kept))

    def _ordered(self, queues: tuple[int, ...]) -> set[int]:
        """Those of the queues whose commands end in order."""
        return {queue for queue in queues if queue >= Engine.ARRAY or not self._loose}


def _engines(cost: OperatorCost) -> tuple[Engine, ...]:
    if cost.engine == "vector":
        return (Engine.VECTOR,)
    return (Engine.ARRAY, Engine.VECTOR) if cost.holds_vector else (Engine.ARRAY,)


def _compute(
    target: Target, lowered: Step, piece: int, step: int, engines: tuple[Engine, ...]
) -> Command:
    """The ``piece``-th part of an operator: bytes and work in proportion to its weights."""
    cost = lowered.cost
    own = lowered.parts[piece] if lowered.parts else Part(0, 1, *cost.times)
    lower_, upper = own.begin_bytes, own.end_bytes
    whole = lowered.parts[-1].end_bytes if lowered.parts else 1

    def part(total: int) -> int:
        return total * upper // whole - total * lower_ // whole

    on_vector = cost.engine == "vector" and target.vector_ratio is not None
    cycles = max(1, own.vector_cycles) if on_vector else own.compute_cycles
    onchip = part(lowered.resident_bytes)
    pad = target.scratchpad
    rate = min(pad.banks, max(1, -(-onchip // (cycles * pad.bank_width_bytes))))
    read, written = part(lowered.dram_read_bytes), part(lowered.dram_written_bytes)

    def share(ranges: Ranges, total: int) -> Ranges:
        return cut(ranges, total * lower_ // whole, total * upper // whole)

    reads = share(lowered.fetched, lowered.dram_read_bytes)
    writes = share(lowered.stored, lowered.dram_written_bytes)
    return Command(
        kind=CommandKind.COMPUTE,
        engines=engines,
        label=lowered.operator.name,
        step=step,
        delay_cycles=target.dram.latency_cycles if read else 0,
        dram_bytes=_moved(target.dma, read + written, regions_of((*reads, *writes))),
        bank_accesses=max(cycles * rate, -(-onchip // pad.bank_width_bytes)),
        bank_rate=rate,
        read_bytes=read,
        written_bytes=written,
        latency_cycles=target.dram.latency_cycles if read else 0,
        dram_reads=reads,
        dram_writes=writes,
        walks=tuple(
            Walk(walk.address, walk.extent_bytes, size, walk.size_bytes * lower_ // whole)
            for walk in lowered.walks
            if (size := part(walk.size_bytes))
        ),
        work=Work(
            macs=part(cost.macs),
            mac_slots=part(cost.mac_slots),
            array_cycles=own.array_cycles,
            vector_cycles=own.vector_cycles,
            vector_elements=part(cost.vector_elements),
            onchip_bytes=part(sum(size for _, size in (*cost.reads, *cost.writes))),
            pad_read_bytes=part(lowered.resident_reads),
            pad_written_bytes=part(lowered.resident_writes),
        ),
    )


def _moved(dma: Dma, size: int, regions: Iterable[Region]) -> int:
    """Bytes that cross the off-chip boundary: bursts per run where descriptors have dimensions.

    Otherwise all of them together are rounded up, wherever they begin.
    """
    if dma.dimensions:
        return sum(region.widened_bytes(dma.burst_bytes) for region in regions)
    return -(-size // dma.burst_bytes) * dma.burst_bytes
