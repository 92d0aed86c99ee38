"""What passes need to know of operator kinds."""

from stowplan.ir.graph import Operator
from stowplan.ir.operator_kinds import Category, category

_ONE_TO_ONE = frozenset({"BatchNormalization", "Cast", "BitCast", "QuantizeLinear"})
_ONE_TO_ONE_INVERSE = frozenset({"DequantizeLinear"})
QUANTISERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "FusedConv"})
MATRIX_PRODUCTS = frozenset(
    {"MatMul", "Gemm", "MatMulInteger", "QLinearMatMul", "QGemm", "FusedMatMul", "MatMulNBits"}
)
REINTERPRETATIONS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
DATA_MOVES = REINTERPRETATIONS | {
    "Concat",
    "DepthToSpace",
    "Dropout",
    "Expand",
    "Gather",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Tile",
    "Transpose",
}
"""Kinds whose output elements are copies of input elements, whatever their type."""


def is_elementwise(kind: str, domain: str = "") -> bool:
    """Element ``i`` of the output depends on element ``i`` of each operand of that shape only."""
    return (
        category(kind, domain) is Category.ELEMENTWISE
        or kind in _ONE_TO_ONE
        or kind in _ONE_TO_ONE_INVERSE
    )


def is_arithmetic(op: Operator) -> bool:
    """An element-wise operator that fusion may join to what feeds it; quantisers are apart."""
    return (
        is_elementwise(op.kind, op.domain)
        and op.kind not in QUANTISERS
        and op.kind != "Dropout"
        and len(op.outputs) == 1
        and op.parent is None
    )


def is_plain(op: Operator) -> bool:
    """The operator stands for its own kind alone: nothing is fused to it."""
    return not op.prologue and not op.epilogue
