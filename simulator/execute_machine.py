"""A scratchpad of real bytes in which a plan happens, at the moments that would reveal its faults.

* Space that is free, reserved, or about to be defined is filled with poison.
* A LOAD claims its space at its issue boundary and delivers at its deadline what DRAM held at the
  issue; DRAM and the claimed space must not have changed in between.
* A STORE delivers at its deadline what the scratchpad holds then, which must be what it held at the
  issue; DRAM's old copy is poison while the STORE is in flight.
* Beside the scratchpad, a shadow keeps the content each storage should have, so that an operator
  reading anything else is noticed when it happens.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stowplan.ir.check_facts import Facts
from stowplan.ir.check_space import describe, takes_over
from stowplan.ir.memory import MemorySpec
from stowplan.ir.plan import Plan, Residency, Transfer, TransferKind
from stowplan.ir.storage import workspace_name
from stowplan.simulator.execute_layout import Bytes, Layout

POISON = 0xFF
"""NaN in every floating-point type, -1 in every signed integer type."""
SCRIBBLE = 0xA5
"""What an operator leaves in its workspace."""


@dataclass(frozen=True, slots=True)
class _Flight:
    """A transfer under way.

    Attributes:
        transfer: what moves.
        residency: the scratchpad's end of it.
        seen: the bytes at its source when it was issued.
    """

    transfer: Transfer
    residency: Residency
    seen: Bytes


class Machine:
    """Scratchpad, DRAM and shadow during one execution of a plan; mutable.

    Attributes:
        faults: what went wrong so far, in words.
        layout: where real bytes lie.
        buffer: the scratchpad, ``[bytes]``.
        dram: content of storages in DRAM.
    """

    def __init__(
        self,
        facts: Facts,
        plan: Plan,
        memory: MemorySpec,
        layout: Layout,
        dram: Mapping[str, Bytes],
    ) -> None:
        self.faults: list[str] = []
        self.dram = dict(dram)
        self.layout = layout
        self._facts, self._plan = facts, plan
        tops = [r.address + facts.size_bytes.get(r.storage, 0) for r in plan.residencies]
        used = max(0, min(memory.capacity_bytes, max(tops, default=0)))
        self.buffer: Bytes = np.full(used * layout.factor, POISON, dtype=np.uint8)
        self._shadow = dict(dram)
        self._last_use = {
            touch.storage: step
            for step, name in enumerate(plan.order)
            for touch in facts.touches.get(name, ())
        }
        self._direct = {(access.storage, access.step) for access in plan.direct}
        self._of: dict[str, list[Residency]] = defaultdict(list)
        self._reserved: dict[int, list[Residency]] = defaultdict(list)
        self._released: dict[int, list[Residency]] = defaultdict(list)
        for residency in plan.residencies:
            if residency.storage not in facts.size_bytes:
                self._fault(f"residency of unknown storage {residency.storage!r}")
                continue
            self._of[residency.storage].append(residency)
            self._reserved[residency.reserved_from].append(residency)
            self._released[residency.end].append(residency)
        self._issued: dict[int, list[Transfer]] = defaultdict(list)
        for transfer in plan.transfers:
            if transfer.storage not in facts.size_bytes:
                self._fault(f"transfer of unknown storage {transfer.storage!r}")
            else:
                self._issued[transfer.issue].append(transfer)
        self._flights: dict[int, list[_Flight]] = defaultdict(list)

    def at_boundary(self, boundary: int) -> None:
        """Complete stores, free space, begin and complete loads, begin longer stores."""
        issued = self._issued.get(boundary, [])
        due = self._flights.pop(boundary, [])
        for transfer in issued:
            if transfer.kind is TransferKind.STORE and transfer.deadline == boundary:
                due += self._begin_store(transfer)
        for flight in due:
            if flight.transfer.kind is TransferKind.STORE:
                self._finish_store(flight)
        for flight in (*due, *(f for flights in self._flights.values() for f in flights)):
            if flight.transfer.kind is TransferKind.LOAD:
                self._check_untouched(flight)
        for residency in self._released.get(boundary, ()):
            self._release(residency)
        for residency in self._reserved.get(boundary, ()):
            self._reserve(residency)
        for transfer in issued:
            if transfer.kind is TransferKind.LOAD:
                flights = due if transfer.deadline == boundary else self._flights[transfer.deadline]
                flights += self._begin_load(transfer)
        for flight in due:
            if flight.transfer.kind is TransferKind.LOAD:
                self._finish_load(flight)
        for transfer in issued:
            if transfer.kind is TransferKind.STORE and transfer.deadline > boundary:
                self._flights[transfer.deadline] += self._begin_store(transfer)

    def read(self, tensor: str, step: int, size_bytes: int) -> Bytes:
        """Bytes the operator at ``step`` finds for its operand ``tensor``."""
        storage, offset = self.layout.place(tensor)
        found = self._content(storage, step)[offset : offset + size_bytes]
        if found.size != size_bytes:
            found = np.full(size_bytes, POISON, dtype=np.uint8)
        self._compare(tensor, storage, step, found, offset)
        return found

    def write(self, tensor: str, step: int, data: Bytes) -> None:
        """Let the operator at ``step`` write its result ``tensor``."""
        storage, offset = self.layout.place(tensor)
        extent = slice(offset, offset + data.size)
        shadow = self._blank(self._shadow, storage)
        self._shadow[storage] = shadow if shadow.flags.writeable else shadow.copy()
        self._shadow[storage][extent] = data
        if not data.size:
            return
        if (storage, step) in self._direct:
            self.dram[storage] = self._blank(self.dram, storage).copy()
            self.dram[storage][extent] = data
            return
        region = self._resident(storage, step)
        if region is None:
            self._fault(f"{self._where(step)} has no place to write {storage!r} to")
        else:
            region[extent] = data

    def scribble(self, operator: str, step: int) -> None:
        """Let the operator at ``step`` use its workspace."""
        storage = workspace_name(operator)
        if self._facts.size_bytes[storage] and (storage, step) not in self._direct:
            region = self._resident(storage, step)
            if region is None:
                self._fault(f"{self._where(step)} has no workspace")
            else:
                region[:] = SCRIBBLE

    def forget(self, step: int) -> None:
        """Drop the shadow of storages last used at ``step``, to save memory."""
        for touch in self._facts.touches[self._plan.order[step]]:
            if self._last_use[touch.storage] == step:
                self._shadow.pop(touch.storage, None)

    def _content(self, storage: str, step: int) -> Bytes:
        streamed = self._facts.streamed(storage, self._plan.track_weights)
        if streamed or (storage, step) in self._direct:
            return self._blank(self.dram, storage)
        region = self._resident(storage, step)
        if region is None:
            if self._facts.size_bytes[storage]:
                self._fault(f"{self._where(step)} reads {storage!r}, which is not resident")
            return np.empty(0, dtype=np.uint8)
        return region

    def _compare(self, tensor: str, storage: str, step: int, found: Bytes, offset: int) -> None:
        due = self._blank(self._shadow, storage)[offset : offset + found.size]
        if not np.array_equal(found, due):
            wrong = int(np.count_nonzero(found != due))
            self._fault(
                f"{self._where(step)} reads {tensor!r} with {wrong} of {found.size} bytes "
                f"other than last written to {storage!r}"
            )

    def _blank(self, memory: dict[str, Bytes], storage: str) -> Bytes:
        """Content of ``storage`` in ``memory``, poison when it never had any."""
        if storage not in memory:
            memory[storage] = np.full(self._size_bytes(storage), POISON, dtype=np.uint8)
        return memory[storage]

    def _resident(self, storage: str, step: int) -> Bytes | None:
        found = next((r for r in self._of[storage] if r.start <= step < r.end), None)
        return None if found is None else self._region(found)

    def _region(self, residency: Residency) -> Bytes:
        """The scratchpad's bytes under a residency."""
        size = self._size_bytes(residency.storage)
        begin = residency.address * self.layout.factor
        if begin < 0 or begin + size > self.buffer.size:
            self._fault(f"{describe(residency)} lies outside the scratchpad")
            return np.full(size, POISON, dtype=np.uint8)
        return self.buffer[begin : begin + size]

    def _size_bytes(self, storage: str) -> int:
        """Real bytes of a storage."""
        return self._facts.size_bytes[storage] * self.layout.factor

    def _reserve(self, residency: Residency) -> None:
        step = residency.start
        if 0 <= step < len(self._plan.order) and any(
            takes_over(self._facts, self._plan, old, residency)
            for old in self._released.get(step + 1, ())
        ):
            return
        self._region(residency)[:] = POISON

    def _release(self, residency: Residency) -> None:
        """Poison freed space, but for the part an in-place output took over one step ago."""
        kept = max(
            (
                self._size_bytes(new.storage)
                for new in self._reserved.get(residency.end - 1, ())
                if 0 <= new.start < len(self._plan.order)
                and takes_over(self._facts, self._plan, residency, new)
            ),
            default=0,
        )
        self._region(residency)[kept:] = POISON

    def _begin_load(self, load: Transfer) -> list[_Flight]:
        key = (load.issue, load.deadline)
        of = self._of[load.storage]
        residency = next((r for r in of if (r.reserved_from, r.start) == key), None)
        if residency is None:
            self._fault(f"LOAD of {load.storage!r} at boundary {load.issue} begins no residency")
            return []
        if load.storage not in self.dram:
            self._fault(f"LOAD of {load.storage!r} at boundary {load.issue}: DRAM has no copy")
        return [_Flight(load, residency, self._blank(self.dram, load.storage).copy())]

    def _check_untouched(self, load: _Flight) -> None:
        """Neither DRAM's copy nor the claimed space has changed since the LOAD was issued."""
        if not np.array_equal(load.seen, self.dram[load.residency.storage]):
            self._fault(f"{describe(load.residency)}: DRAM changed while it was loaded")
        if np.any(self._region(load.residency) != POISON):
            self._fault(f"{describe(load.residency)}: its space was written while it was loaded")

    def _finish_load(self, load: _Flight) -> None:
        self._region(load.residency)[:] = load.seen

    def _begin_store(self, store: Transfer) -> list[_Flight]:
        residency = next(
            (
                r
                for r in self._of[store.storage]
                if r.start <= store.issue and r.start < store.deadline <= r.end
            ),
            None,
        )
        if residency is None:
            self._fault(f"STORE of {store.storage!r} at boundary {store.issue} has no source")
            return []
        flight = _Flight(store, residency, self._region(residency).copy())
        if not np.array_equal(flight.seen, self._blank(self.dram, store.storage)):
            self.dram[store.storage] = np.full(flight.seen.size, POISON, dtype=np.uint8)
        return [flight]

    def _finish_store(self, store: _Flight) -> None:
        content = self._region(store.residency).copy()
        if not np.array_equal(store.seen, content):
            self._fault(
                f"STORE of {store.transfer.storage!r} in boundaries [{store.transfer.issue}, "
                f"{store.transfer.deadline}]: its source changed meanwhile"
            )
        self.dram[store.transfer.storage] = content

    def _where(self, step: int) -> str:
        return f"step {step}: operator {self._plan.order[step]!r}"

    def _fault(self, message: str) -> None:
        self.faults.append(message)
