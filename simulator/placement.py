"""Where a plan has its storages, by step."""

from bisect import bisect_right

from stowplan.errors import InternalError
from stowplan.ir.plan import Plan, Residency, Transfer, TransferKind


class Placement:
    """Index of a plan's residencies and direct accesses."""

    def __init__(self, plan: Plan) -> None:
        self._stays: dict[str, list[Residency]] = {}
        for residency in sorted(plan.residencies, key=lambda r: r.start):
            self._stays.setdefault(residency.storage, []).append(residency)
        self._direct = {(access.storage, access.step) for access in plan.direct}

    def direct(self, storage: str, step: int) -> bool:
        """Whether the operator at ``step`` accesses ``storage`` in DRAM."""
        return (storage, step) in self._direct

    def address(self, storage: str, step: int) -> int:
        """Address of ``storage`` while the operator at ``step`` runs."""
        stay = self._latest(storage, step)
        if stay is None or step >= stay.end:
            raise InternalError(f"the plan has no {storage!r} in the scratchpad at step {step}")
        return stay.address

    def transfer_address(self, transfer: Transfer) -> int:
        """Scratchpad address a transfer writes to or reads from.

        A STORE leaves a stay that began before its issue; one issued where a stay begins belongs
        to the stay before, if that one lasts until the STORE's deadline.
        """
        if transfer.kind is TransferKind.LOAD:
            stay = self._latest(transfer.storage, transfer.deadline)
        else:
            stay = self._latest(transfer.storage, transfer.issue - 1)
            if stay is None or transfer.deadline > stay.end:
                stay = self._latest(transfer.storage, transfer.issue)
        if stay is None or transfer.deadline > stay.end:
            raise InternalError(f"the plan has no place for the {transfer.kind} of {transfer}")
        return stay.address

    def _latest(self, storage: str, step: int) -> Residency | None:
        """The last stay that begins at ``step`` or before."""
        stays = self._stays.get(storage, [])
        at = bisect_right(stays, step, key=lambda residency: residency.start)
        return stays[at - 1] if at else None
