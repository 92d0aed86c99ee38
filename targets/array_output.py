"""Output registers of a stepped output-stationary array.

Each element hands its finished sum to a register of its own. Either the fold is over once all are
filled, or the rows of registers then shift to the right, one column leaving per clock, while the
elements work on the next fold.
"""

import numpy as np
import numpy.typing as npt

from stowplan.errors import InternalError

Matrix = npt.NDArray[np.int64]


class OutputRegisters:
    """State machine of the registers [R, C]; ``finished`` holds the folds that are out."""

    def __init__(self, rows: int, cols: int, *, shifting: bool) -> None:
        self.finished: list[Matrix] = []
        self._shifting = shifting
        self._value = np.zeros((rows, cols), np.int64)
        self._filled = np.zeros((rows, cols), np.bool_)
        # Filled when the clock began: a register is written only if it was empty by then.
        self._busy = self._filled.copy()
        # Columns of the leaving fold still inside, and what has come out, last column first.
        self._left = 0
        self._out: list[Matrix] = []

    def shift(self) -> None:
        """One clock of a drain in progress: the last column leaves, the others move up.

        Registers left of the draining columns already belong to the next fold and stay.
        """
        if not self._left and self._shifting and self._filled.all():
            self._left = self._value.shape[1]
        self._busy = self._filled.copy()
        if not self._left:
            return
        first = self._value.shape[1] - self._left
        self._out.append(self._value[:, -1].copy())
        self._value[:, first + 1 :] = self._value[:, first:-1].copy()
        self._filled[:, first] = False
        self._left -= 1
        if not self._left:
            self.finished.append(np.stack(self._out[::-1], axis=1))
            self._out = []

    def copy(self, sums: Matrix, ready: npt.NDArray[np.bool_]) -> None:
        """Elements that are ``ready`` hand their sums over.

        Raises:
            InternalError: a register still holds the result of an earlier fold.
        """
        if (ready & self._busy).any():
            raise InternalError("a fold's result meets the one before it in an output register")
        self._value[ready] = sums[ready]
        self._filled |= ready
        if not self._shifting and self._filled.all():
            self.finished.append(self._value.copy())
            self._filled[:] = False
