"""Plans: what a planner decides, and their versioned JSON.

Time is counted in *steps*: step ``t`` runs ``order[t]``; boundary ``t`` lies just before step
``t`` (boundary ``len(order)`` after the last). All intervals are half-open.

* A :class:`Residency` holds the address range ``[address, address + size)`` of one storage during
  steps ``[reserved_from, end)``; its content is valid during ``[start, end)``. It begins either
  with a LOAD (``issue == reserved_from``, ``deadline == start``) or with the operator at step
  ``start`` that defines the storage (then ``reserved_from == start``).
* A :class:`Transfer` may begin once every operator before boundary ``issue`` has finished and must
  be complete at boundary ``deadline``, before the operator at that step starts. At one boundary
  stores complete before loads begin, so space freed by a STORE with deadline ``t`` may be loaded
  into at ``t``.
* An operator reads and writes resident storages, except storages listed in ``direct`` for its
  step, which it accesses in DRAM, and weights when ``track_weights`` is off, which stream through
  the target's weight buffer.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from stowplan.errors import UsageError
from stowplan.ir.files import write_atomic

PLAN_SCHEMA_VERSION = 1


class TransferKind(StrEnum):
    """Direction of a transfer between DRAM and scratchpad."""

    LOAD = "load"
    STORE = "store"


class ProofStatus(StrEnum):
    """What is known of a plan's objective."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"


@dataclass(frozen=True, slots=True)
class Residency:
    """One stay of a storage in the scratchpad; see the module docstring for the intervals."""

    storage: str
    start: int
    end: int
    address: int
    reserved_from: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """One whole-storage copy between DRAM and scratchpad."""

    kind: TransferKind
    storage: str
    issue: int
    deadline: int


@dataclass(frozen=True, slots=True)
class DirectAccess:
    """The operator at ``step`` accesses ``storage`` in DRAM instead of the scratchpad."""

    storage: str
    step: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known about the objective and who says so.

    Attributes:
        objective: name of the objective (``offchip``: non-compulsory off-chip bytes; ``peak``:
            scratchpad bytes; ``cycles``; ``energy``: picojoules).
        value: the plan's objective value.
        lower_bound: no plan of this graph on this target has a smaller value.
        status: optimal when value equals lower bound.
        method: which route found the plan.
        bound_source: which argument or solver gave the lower bound.
        solver: solver and version, empty when none was used.
        seed: random seed.
        wall_s: planning time in seconds.
    """

    objective: str
    value: int
    lower_bound: int
    method: str
    bound_source: str
    solver: str = ""
    seed: int = 0
    wall_s: float = 0.0

    @property
    def status(self) -> ProofStatus:
        """Optimal when the bound meets the value."""
        return ProofStatus.OPTIMAL if self.lower_bound >= self.value else ProofStatus.FEASIBLE

    @property
    def gap(self) -> float:
        """(value - bound) / value, 0 when the value is 0."""
        return (self.value - self.lower_bound) / self.value if self.value else 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A planner's only output.

    Attributes:
        model_hash: hash of the planned graph.
        target_hash: hash of the target planned for.
        planner: registry name of the planner.
        track_weights: weights are planned storages rather than streamed.
        order: operator names in execution order.
        residencies: sorted by (start, address).
        transfers: sorted by (issue, deadline, kind, storage).
        direct: accesses that bypass the scratchpad, sorted by step.
        engines: (operator, engine) pairs in execution order; empty leaves it to the target's rule.
        proof: what is known of the objective.
        origin: (key, value) pairs of how the graph and the target were made, so that both can be
            made again from the model file alone; a key may repeat.
        schema_version: version of the JSON form.
    """

    model_hash: str
    target_hash: str
    planner: str
    track_weights: bool
    order: tuple[str, ...]
    residencies: tuple[Residency, ...]
    transfers: tuple[Transfer, ...]
    proof: Proof
    direct: tuple[DirectAccess, ...] = ()
    engines: tuple[tuple[str, str], ...] = ()
    origin: tuple[tuple[str, str], ...] = ()
    schema_version: int = PLAN_SCHEMA_VERSION

    def to_json(self) -> bytes:
        """Indented, deterministic JSON."""
        return msgspec.json.format(msgspec.json.encode(self, order="deterministic"), indent=1)

    def save(self, path: Path) -> None:
        """Write the JSON form; the file appears complete or not at all."""
        write_atomic(path, self.to_json())

    @staticmethod
    def from_json(data: bytes, source: str = "plan") -> "Plan":
        """Parse the JSON form.

        Raises:
            UsageError: not a plan, or of another schema version.
        """
        try:
            plan = msgspec.json.decode(data, type=Plan)
        except msgspec.DecodeError as error:
            raise UsageError(f"{source}: not a plan: {error}") from error
        if plan.schema_version != PLAN_SCHEMA_VERSION:
            raise UsageError(
                f"{source}: plan schema version {plan.schema_version}, "
                f"this stowplan reads {PLAN_SCHEMA_VERSION}: plan the model again"
            )
        return plan

    @staticmethod
    def load(path: Path) -> "Plan":
        """Read a plan file. Raises UsageError when it is missing or not a plan."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path}: cannot read the plan: {error.strerror}") from error
        return Plan.from_json(data, str(path))
