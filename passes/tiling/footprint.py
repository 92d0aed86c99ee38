"""Which region of each operand a region of an operator's result needs.

A footprint may name more than is needed, never less; the functional proof poisons everything else.
An operator without footprint is not split.
"""

from collections.abc import Callable
from dataclasses import replace

from stowplan.ir.graph import Graph, Operator
from stowplan.ir.operator_kinds import MICROSOFT, Category, category
from stowplan.passes.kinds import REINTERPRETATIONS, is_elementwise
from stowplan.passes.tiling import attention, lookups, moves, products, reductions, spatial
from stowplan.passes.tiling.needs import Footprint, Need, broadcast, channels

_JOINT = frozenset(
    ("MaxPool", "TopK", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization")
)
"""Kinds of several results that are cut alike: values and where they were found, sums."""


def footprint(graph: Graph, op: Operator) -> Footprint | None:
    """The footprint of ``op``, or None when it must stay whole."""
    if op.workspace_bytes or op.parent is not None or not op.inputs or not op.outputs:
        return None
    if len(op.outputs) != 1 and not _joint(graph, op):
        return None
    if any(kind != "DequantizeLinear" for kind in op.prologue):
        return None
    if any(0 in graph.tensor[name].shape for name in (*op.inputs, *op.outputs)):
        return None
    kinds = [kind for kind in op.epilogue if kind not in REINTERPRETATIONS]
    if not all(is_elementwise(k) or is_elementwise(k, MICROSOFT) for k in kinds):
        return None
    if len(kinds) < len(op.epilogue):
        return products.behind_reshape(graph, replace(op, epilogue=tuple(kinds)))
    rule = _rule(op)
    head = None if rule is None else rule(graph, op)
    if head is None or len(head.needs) > len(op.inputs):
        return None
    rest = [broadcast_operand(graph, op, name) for name in op.inputs[len(head.needs) :]]
    known = tuple(need for need in rest if need is not None)
    if len(known) < len(rest):
        return None
    return replace(head, needs=head.needs + known, joint=len(op.outputs) > 1)


def _joint(graph: Graph, op: Operator) -> bool:
    """Whether element ``i`` of every result comes of the same elements of the operands."""
    shapes = {graph.tensor[name].shape for name in op.outputs}
    return op.kind in _JOINT and len(shapes) == 1 and not op.epilogue


def broadcast_operand(graph: Graph, op: Operator, name: str) -> Need | None:
    """An operand of the fused element-wise part, or of an element-wise operator itself.

    A vector may belong to a batch normalisation, then it runs along the channels; where it could
    also run along the last dimension it is taken whole.
    """
    shape, result = graph.tensor[name].shape, graph.tensor[op.outputs[0]].shape
    vector = len(shape) == 1 and shape[0] > 1 and len(result) > 2
    if vector and "BatchNormalization" in (op.kind, *op.epilogue):
        return channels(shape, result)
    return broadcast(shape, result)


def _rule(op: Operator) -> Callable[[Graph, Operator], Footprint | None] | None:
    if op.attribute("channels_last", 0):
        return None
    rule = _RULES.get(op.kind)
    if rule is not None:
        return rule
    family = category(op.kind, op.domain)
    if op.kind.startswith("Reduce") or op.kind in ("ArgMax", "ArgMin", "QLinearReduceMean"):
        return reductions.reduction
    if family is Category.SOFTMAX and op.kind != "BiasSoftmax":
        return reductions.softmax
    if is_elementwise(op.kind, op.domain) and op.kind != "Dropout":
        return _elementwise
    return None


def _elementwise(graph: Graph, op: Operator) -> Footprint:
    return Footprint(frozenset(range(len(graph.tensor[op.outputs[0]].shape))), ())


_RULES: dict[str, Callable[[Graph, Operator], Footprint | None]] = {
    **dict.fromkeys(("Conv", "ConvInteger", "QLinearConv", "FusedConv"), spatial.convolution),
    "ConvTranspose": spatial.transposed,
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool", "QLinearAveragePool"), spatial.pool),
    **dict.fromkeys(
        ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "QLinearGlobalAveragePool"),
        spatial.global_pool,
    ),
    **dict.fromkeys(
        ("MatMul", "MatMulInteger", "QLinearMatMul", "FusedMatMul", "Gemm", "QGemm"),
        products.matmul,
    ),
    **dict.fromkeys(
        ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"),
        reductions.layer_normalisation,
    ),
    "InstanceNormalization": reductions.channel_normalisation,
    "LRN": reductions.local_response,
    "GroupNormalization": reductions.group_normalisation,
    "LpNormalization": reductions.scaled_to_norm,
    "MeanVarianceNormalization": reductions.centred,
    **dict.fromkeys(
        ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"),
        reductions.skip_layer_normalisation,
    ),
    **dict.fromkeys(("CumSum", "CumProd"), reductions.cumulative),
    "Einsum": products.einsum,
    "MatMulNBits": products.packed_blocks,
    **dict.fromkeys(("Attention", "MultiHeadAttention"), attention.attention),
    "Tile": moves.repeated,
    "Trilu": moves.in_place,
    "TopK": reductions.top,
    "Transpose": moves.transpose,
    "Concat": moves.concat,
    "QLinearConcat": moves.concat,
    "Expand": moves.expand,
    "Gather": lookups.gather,
    "GatherElements": lookups.gather_elements,
    "GatherND": lookups.gather_nd,
    "GatherBlockQuantized": lookups.gather_blocks,
    **dict.fromkeys(("Scatter", "ScatterElements"), lookups.scatter_elements),
    "ScatterND": lookups.scatter_nd,
    "OneHot": lookups.one_hot,
    "Pad": spatial.pad,
    "Resize": spatial.resize,
    "Upsample": spatial.resize,
    "DepthToSpace": spatial.blocks,
    "SpaceToDepth": spatial.blocks,
}
