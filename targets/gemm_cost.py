"""Cycles of matrix products on a systolic array: closed forms per fold.

An array of ``R`` rows and ``C`` columns computes an ``m x k`` by ``k x n`` product in *folds*:

========================  =========================  =============================================
dataflow                  folds                      cycles of one fold
========================  =========================  =============================================
output_stationary         ceil(m/R) * ceil(n/C)      k + R + C - 2 + P
weight_stationary         ceil(k/R) * ceil(n/C)      R + m + (R - 1) (P + 1) + C - 1 + P
input_stationary          ceil(k/R) * ceil(m/C)      R + n + (R - 1) (P + 1) + C - 1 + P
========================  =========================  =============================================

``P`` counts the registers between an element's operands and its result: none if it multiplies and
adds within its cycle, as SCALE-Sim assumes. The leading ``R`` loads the stationary operand; if it
is double-buffered only the first fold waits for it. Folds run one after another, each filled,
streamed and drained before the next, unless outputs are stationary and ``fold_mode`` is
``pipelined``. Then results move to output registers along the same diagonals as the operands and
leave from there in ``C`` steps while the next fold computes, and ``f`` folds take::

    (f - 1) max(k, R + C) + k + R + 2 C - 2 + P

Fold starts are ``max(k, R + C)`` apart: the register of the first element is free again ``R + C``
cycles after it was filled, ``R + C - 1`` until the last one is filled and one for the first step.

Operands that come ``L`` cycles after they were asked for delay every fold by ``L``, or, where folds
of stationary outputs are pipelined, the first one.

A unit that does ``r`` multiply-accumulates per cycle divides the streamed extent by ``r``, rounded
up. ``count`` arrays share the folds evenly. ``targets.array_registers`` steps such arrays clock by
clock and agrees with these laws.

Source: Samajdar et al., "A systematic methodology for characterizing scalability of DNN
accelerators using SCALE-Sim", ISPASS 2020, section III, for ``P = 0``; checked against SCALE-Sim
3.0.0, which reports one cycle less for a whole layer because it counts from zero. Pipelined: clocks
of two open RTL arrays under Verilator (``docs/validation.md``), whose elements have ``P = 2``
(multiplier, accumulator; outputs stationary) and ``P = 3`` (weights stationary).
"""

from dataclasses import dataclass, replace
from fractions import Fraction

from stowplan.ir.dtypes import DType
from stowplan.targets.sparsity import kept_terms
from stowplan.targets.target import Array


@dataclass(frozen=True, slots=True)
class Gemm:
    """``groups`` independent products ``[m, k] x [k, n]``, run ``repeats`` times in sequence.

    Left is the operand indexed by ``m`` and ``k`` (activations), right the one by ``k`` and ``n``.
    """

    m: int
    k: int
    n: int
    groups: int = 1
    repeats: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the product itself."""
        return self.m * self.k * self.n * self.groups * self.repeats


@dataclass(frozen=True, slots=True)
class GemmCost:
    """What a product costs on an array.

    Attributes:
        cycles: array cycles.
        left_reads: elements of the left operand read, re-reads by later folds included.
        right_reads: elements of the right operand read, likewise.
        macs: multiply-accumulates, padding of partly filled folds not included.
        worked_macs: the part of them that is not skipped as zeros.
    """

    cycles: int
    left_reads: int
    right_reads: int
    macs: int
    worked_macs: int


def mac_rate(array: Array, dtype: DType) -> Fraction:
    """Multiply-accumulates per unit and cycle when ``dtype`` is the widest operand type.

    A width that the target does not list runs like the next wider one it lists; one wider than all
    of them slows down in proportion to its bits. Without any list every width runs at one.
    """
    table = {key: Fraction(str(rate)) for key, rate in array.macs_per_unit.items()}
    brain = table.pop("bf16", None)
    if brain is not None and dtype is DType.BFLOAT16:
        return brain
    plain = {int(key): rate for key, rate in table.items() if key.isdigit()}
    floats = {int(key[1:]): rate for key, rate in table.items() if not key.isdigit()}
    for widths in (floats, plain) if dtype.is_float else (plain,):
        wide_enough = [bits for bits in widths if bits >= dtype.bits]
        if wide_enough:
            return widths[min(wide_enough)]
    widest = max(plain or floats, default=None)
    if widest is None:
        return Fraction(1)
    return (plain or floats)[widest] * widest / dtype.bits


def gemm_cost(
    gemm: Gemm,
    array: Array,
    rate: Fraction = Fraction(1),
    weights: bool = False,
    read_latency: int = 0,
) -> GemmCost:
    """Cost of a product; ``weights``: its right operand are weights, whose zeros may be skipped.

    Sparsity saves cycles alone: bytes and multiply-accumulates are those of the dense product.
    ``read_latency``: cycles after which operands asked for arrive.
    """
    dense = _dense_cost(gemm, array, rate, read_latency)
    terms = kept_terms(array, gemm.k) if weights else gemm.k
    if terms == gemm.k:
        return dense
    sparse = replace(gemm, k=terms)
    cycles = _dense_cost(sparse, array, rate, read_latency).cycles
    return replace(dense, cycles=min(cycles, dense.cycles), worked_macs=sparse.macs)


def _dense_cost(gemm: Gemm, array: Array, rate: Fraction, read_latency: int) -> GemmCost:
    """Cheapest mapping of ``gemm``: groups one by one or packed as a block diagonal.

    ``p`` groups packed along the diagonal of one product of ``p k`` by ``p n`` share its folds;
    the zeros beside the diagonal cost array slots, not correctness. Depth-wise and grouped
    convolutions fill the array that way.
    """
    if not gemm.macs:
        return GemmCost(0, 0, 0, 0, 0)
    sizes = {1, array.cols // gemm.n, array.rows // gemm.k, gemm.groups}
    packings = sorted({min(size, gemm.groups) for size in sizes if size > 0})
    costs = (_packed(gemm, array, rate, packing, read_latency) for packing in packings)
    return min(costs, key=lambda cost: cost.cycles)


def fold_cycles(array: Array, folds: int, stream: int, read_latency: int = 0) -> int:
    """Cycles of ``folds`` folds in a row on one array, each streaming ``stream`` terms or rows."""
    rows, cols, stages = array.rows, array.cols, array.stages
    if array.dataflow == "output_stationary":
        alone = stream + rows + cols - 2 + stages + read_latency
        if array.fold_mode == "pipelined":
            return (folds - 1) * max(stream, rows + cols) + alone + cols
        return folds * alone
    alone = stream + (rows - 1) * (stages + 1) + cols - 1 + stages + read_latency
    return folds * alone + rows * (1 if array.double_buffered else folds)


def _packed(gemm: Gemm, array: Array, rate: Fraction, packing: int, read_latency: int) -> GemmCost:
    whole, rest = divmod(gemm.groups, packing)
    cycles = left = right = 0
    for products, size in ((whole, packing), (1, rest)):
        if not products or not size:
            continue
        k, n = gemm.k * size, gemm.n * size
        count, stream, left_times, right_times = _folds(gemm.m, k, n, array)
        folds = -(-products * count // array.count)
        cycles += fold_cycles(array, folds, _divided(stream, rate), read_latency)
        left += products * gemm.m * k * left_times
        right += products * gemm.k * gemm.n * size * right_times
    moved = left * gemm.repeats, right * gemm.repeats
    return GemmCost(cycles * gemm.repeats, *moved, gemm.macs, gemm.macs)


def _folds(m: int, k: int, n: int, array: Array) -> tuple[int, int, int, int]:
    """Folds, streamed extent, and how often the left and the right operand are read."""
    rows, cols = array.rows, array.cols
    if array.dataflow == "output_stationary":
        return -(-m // rows) * -(-n // cols), k, -(-n // cols), -(-m // rows)
    if array.dataflow == "weight_stationary":
        return -(-k // rows) * -(-n // cols), m, -(-n // cols), 1
    return -(-k // rows) * -(-m // cols), n, 1, -(-m // cols)


def _divided(extent: int, rate: Fraction) -> int:
    return -(-extent * rate.denominator // rate.numerator)
