"""Errors by who has to act on them.

Every message says what is wrong, where (node, file, field) and what to do about it. The command
line maps each class to its exit code and never shows a traceback for one of these.
"""

from dataclasses import dataclass


class StowplanError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 1


class UsageError(StowplanError):
    """The call itself is wrong: an unknown planner, an option out of range, a missing extra."""

    exit_code = 2


class ModelError(StowplanError):
    """The model cannot be read or is not a valid model; its author has to act."""

    exit_code = 3


class TargetError(StowplanError):
    """The machine description is wrong; whoever wrote the target file has to act."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why no plan fits.

    Attributes:
        operator: the operator that does not fit.
        needed_bytes: bytes its operands need at once, each rounded up to the alignment.
        capacity_bytes: bytes the scratchpad has.
        operands: (storage name, size in bytes) of each operand, largest first.
        smallest_capacity_bytes: the smallest scratchpad under which every operator fits.
        tile_of: the operator it is a tile of, when it could not be cut more finely; the operator
            itself when it cannot be cut at all.
        smallest_is_exact: no smaller scratchpad will do; otherwise one may, if tiles happen to lie
            well beside each other.
    """

    operator: str
    needed_bytes: int
    capacity_bytes: int
    operands: tuple[tuple[str, int], ...]
    smallest_capacity_bytes: int
    tile_of: str = ""
    smallest_is_exact: bool = True


class InfeasiblePlanError(StowplanError):
    """No plan exists under the given memory; carries a report of what does not fit."""

    exit_code = 5

    def __init__(self, misfit: Misfit) -> None:
        self.misfit = misfit
        over = misfit.needed_bytes - misfit.capacity_bytes
        operands = ", ".join(f"{name} ({size:,} B)" for name, size in misfit.operands)
        what, lever = f"operator {misfit.operator!r}", "split the operator into tiles, "
        if misfit.tile_of:
            what = f"tile {misfit.operator!r} of operator {misfit.tile_of!r}"
            if misfit.tile_of == misfit.operator:
                what = f"operator {misfit.operator!r}, which tiles cannot cut,"
            lever = ""
        enough = "The smallest scratchpad that would do is"
        if not misfit.smallest_is_exact:
            enough = "A scratchpad that would do is one of"
        super().__init__(
            f"{what} does not fit: it needs {misfit.needed_bytes:,} bytes at "
            f"once ({operands}) and the scratchpad has {misfit.capacity_bytes:,}, "
            f"{over:,} too few. {enough} "
            f"{misfit.smallest_capacity_bytes:,} bytes: raise scratchpad.size, {lever}or choose a "
            f"target whose operators read DRAM directly."
        )


class ProofError(StowplanError):
    """A plan fails a check or computes other numbers than the reference."""

    exit_code = 6


class InternalError(StowplanError):
    """A bug in stowplan: please report it with the model and the command."""

    exit_code = 70
