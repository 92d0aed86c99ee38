"""Extents of attention operators, from the three layouts ONNX and com.microsoft use."""

from dataclasses import dataclass

from stowplan.ir.graph import Graph, Operator, Tensor
from stowplan.targets.gemm_cost import Gemm

_PACKED_INPUT = ("Attention", "QAttention", "DecoderMaskedSelfAttention", "LongformerAttention")


@dataclass(frozen=True, slots=True)
class Attention:
    """Products and softmax elements of one attention operator.

    Attributes:
        projection: input projection, when the operator holds its weights.
        scores: queries times keys, one group per batch entry and head.
        context: probabilities times values.
        probabilities: elements that pass the softmax.
    """

    projection: Gemm | None
    scores: Gemm
    context: Gemm
    probabilities: int


def attention_of(graph: Graph, operator: Operator) -> Attention | None:
    """Extents of ``operator``, or None when its operands do not look like attention."""
    inputs = [graph.tensor[name] for name in operator.inputs]
    if not inputs or len(inputs[0].shape) not in (3, 4):
        return None
    query = inputs[0]
    if operator.domain and operator.kind in _PACKED_INPUT:
        return _with_projection(operator, inputs)
    heads = _heads(operator, query)
    batch, queries, width = _extents(query, heads)
    keys, depth = queries, width
    if len(inputs) > 2 and all(len(tensor.shape) in (3, 4) for tensor in inputs[1:3]):
        key_heads = _key_heads(operator, heads)
        keys = _extents(inputs[1], key_heads)[1]
        depth = _extents(inputs[2], key_heads)[2]
    # With a cache of past keys the present ones, an output, have the full length.
    present = [graph.tensor[name] for name in operator.outputs[1:2]]
    if present and len(present[0].shape) == 4:
        keys = max(keys, present[0].shape[2])
    return _products(None, batch * heads, queries, keys, width, depth)


def _with_projection(operator: Operator, inputs: list[Tensor]) -> Attention | None:
    if len(inputs) < 2 or len(inputs[1].shape) != 2 or len(inputs[0].shape) != 3:
        return None
    batch, length, width = inputs[0].shape
    projected = inputs[1].shape[1]
    heads = _heads(operator, inputs[0])
    depth = projected // 3 // heads
    projection = Gemm(batch * length, width, projected)
    return _products(projection, batch * heads, length, length, depth, depth)


def _products(
    projection: Gemm | None, groups: int, queries: int, keys: int, width: int, depth: int
) -> Attention:
    return Attention(
        projection,
        Gemm(queries, width, keys, groups),
        Gemm(queries, keys, depth, groups),
        groups * queries * keys,
    )


def _heads(operator: Operator, query: Tensor) -> int:
    if len(query.shape) == 4:
        return query.shape[1]
    found = operator.attribute("num_heads", operator.attribute("q_num_heads", 1))
    return found if isinstance(found, int) and found > 0 else 1


def _key_heads(operator: Operator, heads: int) -> int:
    found = operator.attribute("kv_num_heads", heads)
    return found if isinstance(found, int) and found > 0 else heads


def _extents(tensor: Tensor, heads: int) -> tuple[int, int, int]:
    """Batch, length and width per head of [batch, heads, length, width] or [batch, length, ...]."""
    if len(tensor.shape) == 4:
        return tensor.shape[0], tensor.shape[2], tensor.shape[3]
    return tensor.shape[0], tensor.shape[1], tensor.shape[2] // heads
