"""Operator kinds of the ONNX standard and of com.microsoft, by category.

A kind is the pair (domain, ONNX operator type). The table is the source of the support matrix; a
kind missing from it still imports, with a warning that names it.

Source: the operator lists of onnx 1.23 (opset 28) and of onnxruntime 1.31 (contrib operators).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

MICROSOFT = "com.microsoft"


class Category(StrEnum):
    """Family of operators that share a cost model or a planning rule."""

    CONV = "conv"
    MATMUL = "matmul"
    POOL = "pool"
    NORMALISATION = "normalisation"
    ELEMENTWISE = "elementwise"
    SOFTMAX = "softmax"
    REDUCTION = "reduction"
    LAYOUT = "layout"
    QUANTISE = "quantise"
    RECURRENT = "recurrent"
    ATTENTION = "attention"
    CONTROL_FLOW = "control-flow"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class OperatorKind:
    """One row of the support matrix.

    Attributes:
        name: ONNX operator type.
        category: family it belongs to.
        domain: ONNX domain, empty for ai.onnx.
        imported: whether a node of this kind becomes an operator.
        note: what a reader of the matrix must know, empty when nothing.
    """

    name: str
    category: Category
    domain: str = ""
    imported: bool = True
    note: str = ""


_STANDARD: Mapping[Category, str] = {
    Category.CONV: "Conv ConvInteger ConvTranspose DeformConv QLinearConv CausalConvWithState",
    Category.MATMUL: "Einsum Gemm MatMul MatMulInteger QLinearMatMul",
    Category.POOL: """AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool
        MaxRoiPool MaxUnpool RoiAlign""",
    Category.NORMALISATION: """BatchNormalization GroupNormalization InstanceNormalization LRN
        LayerNormalization LpNormalization MeanVarianceNormalization RMSNormalization""",
    Category.ELEMENTWISE: """Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd
        BitwiseNot BitwiseOr BitwiseXor Ceil Celu Clip Cos Cosh Div Dropout Elu Equal Erf Exp Floor
        Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN LeakyRelu Less LessOrEqual
        Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Shrink
        Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum SwiGLU Swish Tan Tanh ThresholdedRelu
        Where Xor""",
    Category.SOFTMAX: "Hardmax LogSoftmax Softmax",
    Category.REDUCTION: """ArgMax ArgMin CumProd CumSum ReduceL1 ReduceL2 ReduceLogSum
        ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare TopK
        NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss""",
    Category.LAYOUT: """BitCast Cast CastLike CenterCropPad Col2Im Compress Concat Constant
        ConstantOfShape DepthToSpace Expand EyeLike Flatten Gather GatherElements GatherND Identity
        Pad Range Reshape Resize ReverseSequence Scatter ScatterElements ScatterND Shape Size Slice
        SpaceToDepth Split Squeeze TensorScatter Tile Transpose Trilu Unsqueeze Upsample""",
    Category.QUANTISE: "DequantizeLinear DynamicQuantizeLinear QuantizeLinear",
    Category.RECURRENT: "GRU LSTM RNN",
    Category.ATTENTION: "Attention LinearAttention RotaryEmbedding",
    Category.OTHER: """AffineGrid Bernoulli BlackmanWindow DFT Det GridSample HammingWindow
        HannWindow ImageDecoder MelWeightMatrix Multinomial NonMaxSuppression NonZero OneHot
        RandomNormal RandomNormalLike RandomUniform RandomUniformLike RegexFullMatch STFT
        StringConcat StringNormalizer StringSplit TfIdfVectorizer Unique""",
}
_MICROSOFT: Mapping[Category, str] = {
    Category.CONV: "CausalConvWithState FusedConv NhwcConv NhwcFusedConv QLinearConv",
    Category.MATMUL: """DynamicQuantizeMatMul FusedGemm FusedMatMul FusedMatMulActivation
        GemmFastGelu GemmFloat8 MatMulBnb4 MatMulFpQ4 MatMulInteger16 MatMulIntegerToFloat
        MatMulNBits MoE QGemm QMoE QOrderedMatMul TransposeMatMul""",
    Category.POOL: """MaxpoolWithMask NhwcMaxPool QLinearAveragePool QLinearGlobalAveragePool""",
    Category.NORMALISATION: """EmbedLayerNormalization GroupNorm QEmbedLayerNormalization
        QOrderedLayerNormalization SimplifiedLayerNormalization SkipGroupNorm
        SkipLayerNormalization SkipSimplifiedLayerNormalization""",
    Category.ELEMENTWISE: """BiasAdd BiasDropout BiasGelu BiasSplitGelu FastGelu GatedAdd Gelu
        MulInteger QLinearAdd QLinearLeakyRelu QLinearMul QLinearSigmoid QLinearWhere QOrderedGelu
        QuickGelu ScaledSiLU""",
    Category.SOFTMAX: "BiasSoftmax QLinearSoftmax",
    Category.REDUCTION: "QLinearReduceMean ReduceSumInteger",
    Category.LAYOUT: "ExpandDims GatherBlockQuantized GatherND Pad QLinearConcat Range Trilu",
    Category.QUANTISE: """DequantizeBFP DequantizeLinear DequantizeWithOrder QuantizeBFP
        QuantizeLinear QuantizeWithOrder""",
    Category.RECURRENT: "AttnLSTM DynamicQuantizeLSTM",
    Category.ATTENTION: """Attention DecoderAttention DecoderMaskedMultiHeadAttention
        DecoderMaskedSelfAttention GemmaRotaryEmbedding GroupQueryAttention LinearAttention
        LongformerAttention MultiHeadAttention PackedAttention PackedMultiHeadAttention
        PagedAttention QAttention QOrderedAttention QOrderedLongformerAttention
        RelativePositionBias RotaryEmbedding SparseAttention""",
}
_SEQUENCES = """ConcatFromSequence Optional OptionalGetElement OptionalHasElement SequenceAt
    SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap
    SplitToSequence"""


def _table() -> dict[tuple[str, str], OperatorKind]:
    rows = [
        OperatorKind(name, category, domain)
        for domain, families in (("", _STANDARD), (MICROSOFT, _MICROSOFT))
        for category, names in families.items()
        for name in names.split()
    ]
    rows.append(
        OperatorKind("If", Category.CONTROL_FLOW, imported=False, note="folded when constant")
    )
    rows += [
        OperatorKind(name, Category.CONTROL_FLOW, imported=False, note="data-dependent trip count")
        for name in ("Loop", "Scan")
    ]
    rows += [
        OperatorKind(name, Category.OTHER, imported=False, note="sequences have no static size")
        for name in _SEQUENCES.split()
    ]
    return {(row.domain, row.name): row for row in sorted(rows, key=lambda r: (r.domain, r.name))}


KINDS: Mapping[tuple[str, str], OperatorKind] = _table()
"""Every known kind by (domain, name), sorted."""


def category(name: str, domain: str = "") -> Category:
    """Category of a kind; OTHER when it is unknown."""
    kind = KINDS.get((domain, name))
    return Category.OTHER if kind is None else kind.category
