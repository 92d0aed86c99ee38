"""A systolic array, stepped clock by clock: product and cycle count without any closed form.

Every operand sits in a register of one element and moves one element per clock. Left operands enter
at the left edge and move right; right operands and partial sums enter at the top and move down. The
edges are skewed so that operands that belong together meet. Partly filled folds are padded with
zeros, and a fold takes as long as a full one. This is the slow oracle for ``targets.gemm_cost``:
tests compare the two; nothing else uses it.

Array shapes: ``R`` rows, ``C`` columns, ``K`` terms, ``T`` streamed rows.

Source: Kung, "Why systolic architectures?", Computer 15(1), 1982.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stowplan.errors import InternalError
from stowplan.targets.array_output import OutputRegisters
from stowplan.targets.target import Array

Matrix = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Stepped:
    """What stepping an array produced.

    Attributes:
        product: [m, n] numbers that left the array.
        cycles: clocks from the first operand at an edge to the last result.
    """

    product: Matrix
    cycles: int


def step_product(left: Matrix, right: Matrix, array: Array) -> Stepped:
    """Multiply ``left`` [m, k] by ``right`` [k, n] on ``array``, one clock after another."""
    if array.dataflow == "input_stationary":
        # The stationary left operand takes the place of weights if both operands are transposed.
        mirrored = _step_weight_stationary(right.T, left.T, array)
        return Stepped(mirrored.product.T, mirrored.cycles)
    if array.dataflow == "weight_stationary":
        return _step_weight_stationary(left, right, array)
    return step_output_stationary(left, right, array, array.rows + array.cols)


def step_output_stationary(left: Matrix, right: Matrix, array: Array, spacing: int) -> Stepped:
    """Output-stationary folds; pipelined ones start at least ``spacing`` clocks apart.

    Raises:
        InternalError: ``spacing`` is so small that a fold meets the results of the one before.
    """
    (m, k), n = left.shape, right.shape[1]
    rows, cols = array.rows, array.cols
    padded_left, padded_right = _padded(left, rows, k), _padded(right, k, cols)
    corners = [(i, j) for i in range(0, m, rows) for j in range(0, n, cols)]
    folds = [(padded_left[i : i + rows], padded_right[:, j : j + cols]) for i, j in corners]
    if array.fold_mode == "pipelined":
        results, cycles = _run_folds(folds, array, max(k, spacing))
    else:
        alone = [_run_folds([fold], array, k) for fold in folds]
        results = [result for (result,), _ in alone]
        cycles = sum(count for _, count in alone)
    product = np.zeros((padded_left.shape[0], padded_right.shape[1]), np.int64)
    for (i, j), result in zip(corners, results, strict=True):
        product[i : i + rows, j : j + cols] = result
    return Stepped(product[:m, :n], cycles)


def _run_folds(
    folds: Sequence[tuple[Matrix, Matrix]], array: Array, interval: int
) -> tuple[list[Matrix], int]:
    """Run folds ``interval`` clocks apart until their results are there or have been shifted out.

    Terms carry their number; an element starts a new sum with term 0 and hands it over with the
    last one.
    """
    shape = (array.rows, array.cols)
    terms = folds[0][0].shape[1]
    pipelined = array.fold_mode == "pipelined"
    outputs = OutputRegisters(array.rows, array.cols, shifting=pipelined)
    across, down = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    number = np.full(shape, -1)
    sums = np.zeros(shape, np.int64)
    # [P + 1, R, C]: products and term numbers on their way to the accumulator.
    products = np.zeros((array.stages + 1, *shape), np.int64)
    numbers = np.full((array.stages + 1, *shape), -1)
    clock = 0
    while len(outputs.finished) < len(folds):
        outputs.shift()
        across, down, number = _moved(across, 1), _moved(down, 0), _moved(number, 1)
        for i in range(array.rows):
            across[i, 0], number[i, 0] = _left_edge(folds, clock - i, i, interval)
        for j in range(array.cols):
            down[0, j] = _top_edge(folds, clock - j, j, interval)
        products[1:], numbers[1:] = products[:-1].copy(), numbers[:-1].copy()
        products[0], numbers[0] = across * down, number
        arrived = numbers[-1]
        sums = np.where(arrived == 0, 0, sums) + np.where(arrived >= 0, products[-1], 0)
        outputs.copy(sums, arrived == terms - 1)
        clock += 1
    return outputs.finished, clock


def _left_edge(
    folds: Sequence[tuple[Matrix, Matrix]], time: int, row: int, interval: int
) -> tuple[int, int]:
    """Operand and number of the term that enters ``row`` at ``time``; -1 numbers a bubble."""
    fold, term = divmod(time, interval)
    if not 0 <= fold < len(folds) or term >= folds[fold][0].shape[1]:
        return 0, -1
    return int(folds[fold][0][row, term]), term


def _top_edge(folds: Sequence[tuple[Matrix, Matrix]], time: int, col: int, interval: int) -> int:
    fold, term = divmod(time, interval)
    if not 0 <= fold < len(folds) or term >= folds[fold][1].shape[0]:
        return 0
    return int(folds[fold][1][term, col])


def _step_weight_stationary(left: Matrix, right: Matrix, array: Array) -> Stepped:
    """Folds over blocks of ``right``; partial sums of the blocks of a column are added up."""
    (m, k), n = left.shape, right.shape[1]
    rows, cols = array.rows, array.cols
    padded_left, padded_right = _padded(left, m, rows), _padded(right, rows, cols)
    product = np.zeros((m, padded_right.shape[1]), np.int64)
    cycles = 0
    for i in range(0, k, rows):
        for j in range(0, n, cols):
            weights, load = _load(padded_right[i : i + rows, j : j + cols])
            if not array.double_buffered or cycles == 0:
                cycles += load
            result, clocks = _stream(padded_left[:, i : i + rows], weights, array.stages)
            if load > clocks:
                raise InternalError("the next stationary operand loads longer than a fold streams")
            product[:, j : j + cols] += result
            cycles += clocks
    return Stepped(product[:, :n], cycles)


def _load(block: Matrix) -> tuple[Matrix, int]:
    """Shift a block into the array from the top, last row first."""
    weights = np.zeros_like(block)
    clock = 0
    for row in block[::-1]:
        weights = _moved(weights, 0)
        weights[0] = row
        clock += 1
    return weights, clock


def _stream(left: Matrix, weights: Matrix, stages: int) -> tuple[Matrix, int]:
    """Stream ``left`` [T, R] past stationary ``weights`` [R, C] and collect sums at the bottom.

    A sum needs one clock for the element itself and ``stages`` more, so each row of the array works
    ``stages + 1`` clocks behind the one above and its operands enter that much later.
    """
    extent, rows = left.shape
    cols = weights.shape[1]
    across, number = np.zeros((rows, cols), np.int64), np.full((rows, cols), -1)
    # [P + 1, R, C]: sums and the numbers of their streamed rows on their way through each element;
    # the last plane feeds the row below.
    sums = np.zeros((stages + 1, rows, cols), np.int64)
    numbers = np.full((stages + 1, rows, cols), -1)
    result = np.zeros((extent, cols), np.int64)
    clock = left_array = 0
    while left_array < extent * cols:
        above = _moved(sums[-1], 0)
        across, number = _moved(across, 1), _moved(number, 1)
        for i in range(rows):
            entering = clock - i * (stages + 1)
            inside = 0 <= entering < extent
            across[i, 0] = left[entering, i] if inside else 0
            number[i, 0] = entering if inside else -1
        sums[1:], numbers[1:] = sums[:-1].copy(), numbers[:-1].copy()
        sums[0], numbers[0] = above + across * weights, number
        for j in np.flatnonzero(numbers[-1, -1] >= 0):
            result[numbers[-1, -1, j], j] = sums[-1, -1, j]
            left_array += 1
        clock += 1
    return result, clock


def _moved(registers: Matrix, axis: int) -> Matrix:
    """Every register takes its neighbour's value along ``axis``; the first ones become empty."""
    moved = np.zeros_like(registers)
    if axis:
        moved[:, 1:] = registers[:, :-1]
    else:
        moved[1:] = registers[:-1]
    return moved


def _padded(matrix: Matrix, rows: int, cols: int) -> Matrix:
    """``matrix`` with zeros up to whole multiples of ``rows`` and ``cols``."""
    height = -(-matrix.shape[0] // rows) * rows
    width = -(-matrix.shape[1] // cols) * cols
    padded = np.zeros((height, width), np.int64)
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    return padded
