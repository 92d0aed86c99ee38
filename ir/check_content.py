"""Content rules: what each copy of a storage holds, and that every access finds the right one.

Per storage, *version* ``k`` is its content after the ``k``-th operator that writes it. The version
that is current at a boundary is the number of writes before it. DRAM's version changes when a STORE
is complete or an operator writes there directly; a resident copy follows the operators that write
it, and is stale once an operator has written DRAM directly.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from stowplan.ir.check_facts import Facts, Violation
from stowplan.ir.check_space import describe
from stowplan.ir.memory import MemorySpec
from stowplan.ir.plan import Plan, Residency, Transfer, TransferKind


@dataclass(frozen=True, slots=True)
class Use:
    """One operator using the storage at a step."""

    step: int
    operator: str
    writes: bool
    defines: bool
    direct: bool


@dataclass(slots=True)
class History:
    """All that a plan does with one storage; filled by :func:`histories`, then only read.

    Attributes:
        storage: its name.
        uses: by step.
        residencies: by reserved_from.
        loads: LOADs in the plan's order.
        stores: STOREs by deadline.
    """

    storage: str
    uses: list[Use] = field(default_factory=list)
    residencies: list[Residency] = field(default_factory=list)
    loads: list[Transfer] = field(default_factory=list)
    stores: list[Transfer] = field(default_factory=list)
    _writes: list[int] = field(default_factory=list)
    _direct_writes: list[int] = field(default_factory=list)
    _dram: list[tuple[int, int]] = field(default_factory=list)

    def settle(self, initial: bool) -> None:
        """Sort, and derive the boundaries from which DRAM holds which version."""
        self.residencies.sort(key=lambda r: (r.reserved_from, r.end))
        self.stores.sort(key=lambda t: (t.deadline, t.issue))
        self._writes = [use.step for use in self.uses if use.writes]
        self._direct_writes = [use.step for use in self.uses if use.writes and use.direct]
        changes = [(store.deadline, self.version(store.issue)) for store in self.stores]
        changes += [(step + 1, self.version(step + 1)) for step in self._direct_writes]
        self._dram = [(0, 0)] * initial + sorted(changes)

    def version(self, boundary: int) -> int:
        """Version that is current at ``boundary``."""
        return bisect_left(self._writes, boundary)

    def dram_version(self, boundary: int) -> int | None:
        """Version in DRAM at ``boundary`` once stores due there are complete; None is no copy."""
        at = bisect_right(self._dram, boundary, key=lambda change: change[0])
        return self._dram[at - 1][1] if at else None

    def written_in_dram(self, lower: int, upper: int) -> bool:
        """Whether an operator at a step in ``[lower, upper)`` writes DRAM directly."""
        at = bisect_left(self._direct_writes, lower)
        return at < len(self._direct_writes) and self._direct_writes[at] < upper

    def resident(self, step: int) -> Residency | None:
        """The residency valid at ``step``, the latest if there are several."""
        at = bisect_right(self.residencies, step, key=lambda r: r.reserved_from)
        for residency in reversed(self.residencies[max(0, at - 2) : at]):
            if residency.start <= step < residency.end:
                return residency
        return None


def histories(facts: Facts, plan: Plan, placed: list[Residency]) -> dict[str, History]:
    """Collect uses, residencies and transfers by storage; streamed weights are left out."""
    found: dict[str, History] = {}

    def of(storage: str) -> History:
        return found.setdefault(storage, History(storage))

    direct = {(access.storage, access.step) for access in plan.direct}
    for step, name in enumerate(plan.order):
        for touch in facts.touches.get(name, ()):
            if facts.size_bytes[touch.storage]:
                use = Use(
                    step,
                    name,
                    bool(touch.writes),
                    touch.defines,
                    (touch.storage, step) in direct,
                )
                of(touch.storage).uses.append(use)
    for residency in placed:
        of(residency.storage).residencies.append(residency)
    for transfer in plan.transfers:
        if transfer.storage in facts.size_bytes:
            history = of(transfer.storage)
            is_load = transfer.kind is TransferKind.LOAD
            (history.loads if is_load else history.stores).append(transfer)
    for storage in facts.final:
        if facts.size_bytes[storage]:
            of(storage)
    for storage, history in found.items():
        history.settle(storage in facts.initial)
    return found


def check_transfer(facts: Facts, plan: Plan, transfer: Transfer) -> Iterator[Violation]:
    """A known storage that the plan may move, within the plan's boundaries."""
    if transfer.storage not in facts.size_bytes:
        yield Violation("unknown", f"transfer: no storage {transfer.storage!r} in the graph")
    elif facts.streamed(transfer.storage, plan.track_weights):
        yield Violation("streamed", f"{_moved(transfer)}: weights are streamed, not tracked")
    if not 0 <= transfer.issue <= transfer.deadline <= len(plan.order):
        yield Violation("transfer", f"{_moved(transfer)}: outside [0, {len(plan.order)}]")


def check_direct(facts: Facts, plan: Plan, memory: MemorySpec) -> Iterator[Violation]:
    """Direct accesses are possible on the target and name an operand of their step's operator."""
    seen: set[tuple[str, int]] = set()
    for access in plan.direct:
        what = f"direct access to {access.storage!r} at step {access.step}"
        if not memory.direct_dram:
            yield Violation("direct", f"{what}: the target's operators cannot reach DRAM")
        if (access.storage, access.step) in seen:
            yield Violation("direct", f"{what}: listed twice")
        seen.add((access.storage, access.step))
        if not 0 <= access.step < len(plan.order):
            yield Violation("direct", f"{what}: there is no such step")
            continue
        if access.storage not in facts.size_bytes:
            yield Violation("unknown", f"{what}: no such storage in the graph")
            continue
        operator = plan.order[access.step]
        if facts.streamed(access.storage, plan.track_weights):
            yield Violation("streamed", f"{what}: weights are streamed, not tracked")
        if not any(t.storage == access.storage for t in facts.touches.get(operator, ())):
            yield Violation("direct", f"{what}: operator {operator!r} does not use it")


def check_streamed(history: History) -> Iterator[Violation]:
    """Nobody writes a weight that is streamed."""
    for use in history.uses:
        if use.writes:
            yield Violation(
                "streamed",
                f"step {use.step}: operator {use.operator!r} writes {history.storage!r}, "
                f"a weight that is streamed",
            )


def check_begins(history: History) -> Iterator[Violation]:
    """Each residency begins with one LOAD of a current copy or with the defining write."""
    loaded = Counter((load.issue, load.deadline) for load in history.loads)
    defining = {use.step for use in history.uses if use.defines and not use.direct}
    begun: set[tuple[int, int]] = set()
    for residency in history.residencies:
        key = (residency.reserved_from, residency.start)
        begun.add(key)
        loads = loaded[key]
        defined = residency.reserved_from == residency.start and residency.start in defining
        if loads + defined != 1:
            yield Violation(
                "load",
                f"{describe(residency)} begins with {loads} matching LOADs"
                f"{' and its defining write' if defined else ' and no defining write'}; "
                f"exactly one of them must begin it",
            )
        if loads:
            yield from _check_loaded(history, residency)
    for load in history.loads:
        if (load.issue, load.deadline) not in begun:
            yield Violation("load", f"{_moved(load)} begins no residency")


def _check_loaded(history: History, residency: Residency) -> Iterator[Violation]:
    loaded = history.dram_version(residency.reserved_from)
    if loaded is None:
        yield Violation("load", f"{describe(residency)}: DRAM holds no copy to load")
    elif loaded != history.version(residency.start):
        yield Violation(
            "stale",
            f"{describe(residency)}: loaded from boundary {residency.reserved_from} DRAM's copy is "
            f"version {loaded}, at step {residency.start} version "
            f"{history.version(residency.start)} is current",
        )


def check_uses(history: History) -> Iterator[Violation]:
    """Each operand is where its operator looks for it, with current content."""
    for use in history.uses:
        what = f"step {use.step}: operator {use.operator!r} uses {history.storage!r}"
        if use.direct:
            if not use.defines and history.dram_version(use.step) != history.version(use.step):
                yield Violation("stale", f"{what} in DRAM, whose copy is missing or stale")
            continue
        residency = history.resident(use.step)
        if residency is None:
            yield Violation("presence", f"{what}, which is not in the scratchpad")
        elif history.written_in_dram(residency.start, use.step):
            yield Violation("stale", f"{what}, whose resident copy missed a write to DRAM")


def check_stores(history: History, overwritten: frozenset[Residency]) -> Iterator[Violation]:
    """Each STORE copies current content that does not change before its deadline."""
    for store in history.stores:
        residency = history.resident(store.deadline - 1)
        if residency is None or store.issue < residency.start:
            yield Violation("store", f"{_moved(store)} lies in no residency of it")
            continue
        if history.version(store.issue) != history.version(store.deadline):
            yield Violation("store", f"{_moved(store)}: written before the store is complete")
        if history.written_in_dram(residency.start, store.issue):
            yield Violation("stale", f"{_moved(store)}: the resident copy missed a write to DRAM")
        if residency in overwritten and store.deadline >= residency.end:
            yield Violation(
                "store",
                f"{_moved(store)}: step {residency.end - 1} overwrites it in place "
                f"before the store is complete",
            )


def check_final(history: History, steps: int) -> Iterator[Violation]:
    """DRAM holds the final content of an output."""
    found, due = history.dram_version(steps), history.version(steps)
    if found != due:
        held = "no copy" if found is None else f"version {found}"
        yield Violation(
            "output", f"output {history.storage!r}: DRAM ends with {held}, version {due} is due"
        )


def _moved(transfer: Transfer) -> str:
    return (
        f"{transfer.kind.value.upper()} of {transfer.storage!r} "
        f"in boundaries [{transfer.issue}, {transfer.deadline}]"
    )
