"""The support matrix: what stowplan does with every operator kind it knows."""

from dataclasses import dataclass

from stowplan.ir.graph import Graph
from stowplan.ir.operator_kinds import KINDS, MICROSOFT, Category, OperatorKind, category

_ARRAY = (Category.CONV, Category.MATMUL, Category.RECURRENT, Category.ATTENTION)
_ATTENTION_ON_VECTOR = ("RotaryEmbedding", "GemmaRotaryEmbedding", "RelativePositionBias")
_RANDOM = (
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)
# Kinds without a CPU kernel or function body in onnxruntime 1.31, per
# get_all_opkernel_def() and the operator schemas.
_WITHOUT_KERNEL = {
    "": "Constant ImageDecoder",
    MICROSOFT: """BiasAdd BiasDropout BiasSoftmax BiasSplitGelu DecoderAttention
        DecoderMaskedSelfAttention DequantizeBFP DequantizeWithOrder FusedMatMulActivation
        GemmFastGelu GemmFloat8 GemmaRotaryEmbedding GroupNorm LongformerAttention MulInteger
        NhwcConv NhwcFusedConv PackedAttention PackedMultiHeadAttention PagedAttention
        QLinearReduceMean QOrderedAttention QOrderedGelu QOrderedLayerNormalization
        QOrderedLongformerAttention QOrderedMatMul QuantizeBFP QuantizeWithOrder
        ReduceSumInteger RelativePositionBias SimplifiedLayerNormalization SkipGroupNorm""",
}


@dataclass(frozen=True, slots=True)
class SupportedKind:
    """One row of the support matrix.

    Attributes:
        name: ONNX operator type.
        domain: ONNX domain, empty for ai.onnx.
        category: family whose cost model it uses.
        imported: a node of this kind becomes an operator.
        engine: unit it runs on, empty when it is not imported.
        cost_model: it has a model of its own; otherwise one pass over its largest operand is
            assumed, with a warning.
        proof: the functional proof can run it.
        note: what a reader must know.
    """

    name: str
    domain: str
    category: str
    imported: bool
    engine: str
    cost_model: bool
    proof: bool
    note: str


def supported_kinds() -> tuple[SupportedKind, ...]:
    """Every known kind, by domain and name."""
    return tuple(_row(kind) for kind in KINDS.values())


def cost_warnings(graph: Graph) -> tuple[str, ...]:
    """One message per operator kind of ``graph`` whose cost is only a generic estimate."""
    generic: dict[tuple[str, str], int] = {}
    for operator in graph.operators:
        if category(operator.kind, operator.domain) is Category.OTHER:
            key = (operator.domain or "ai.onnx", operator.kind)
            generic[key] = generic.get(key, 0) + 1
    return tuple(
        f"no cost model for operator kind {kind} ({domain}, {count} of them): counted as one "
        "element-wise pass over the largest operand on the vector unit"
        for (domain, kind), count in sorted(generic.items())
    )


def _row(kind: OperatorKind) -> SupportedKind:
    on_array = kind.category in _ARRAY and kind.name not in _ATTENTION_ON_VECTOR
    runs = (
        kind.name not in _RANDOM and kind.name not in _WITHOUT_KERNEL.get(kind.domain, "").split()
    )
    return SupportedKind(
        name=kind.name,
        domain=kind.domain,
        category=kind.category.value,
        imported=kind.imported,
        engine=("array" if on_array else "vector") if kind.imported else "",
        cost_model=kind.imported and kind.category is not Category.OTHER,
        proof=kind.imported and runs,
        note=kind.note or ("random results" if kind.name in _RANDOM else ""),
    )
