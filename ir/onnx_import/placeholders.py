"""Weights a file fills with one number because their real numbers were left out.

Published graphs without data write their weights as ConstantOfShape nodes. Every tensor computed
from such weights is flat, and a proof on flat tensors sees no exchanged bytes, so these weights
count as absent and are drawn at random like absent external data.
"""

from collections.abc import Mapping, Sequence

from onnx import NodeProto, TensorProto

from stowplan.ir.onnx_import.resolve import ResolvedModel

_COPIES = "Cast Expand Flatten Identity Reshape Slice Squeeze Tile Transpose Unsqueeze"
SAME_VALUES = frozenset(_COPIES.split())
"""ai.onnx kinds whose output holds the numbers of their first input, elsewhere."""

_WEIGHTED = """Add BatchNormalization Conv ConvTranspose Gemm GRU InstanceNormalization
    LayerNormalization LSTM MatMul Mul PRelu RNN"""
_WEIGHTED_KINDS = frozenset(_WEIGHTED.split())

Consumers = Mapping[str, Sequence[tuple[NodeProto, int]]]
"""Per tensor, the nodes that read it and the input position."""


def placeholders(resolved: ResolvedModel, consumers: Consumers) -> frozenset[str]:
    """Names of filled tensors that are used as weights and as nothing else."""
    return frozenset(
        node.output[0]
        for node in resolved.nodes
        if node.op_type == "ConstantOfShape"
        and not node.domain
        and node.output[0] in resolved.constants
        and resolved.types[node.output[0]].element == TensorProto.FLOAT
        and resolved.types[node.output[0]].elements > 1
        and _only_weight(node.output[0], consumers)
    )


def derived(resolved: ResolvedModel, origins: frozenset[str]) -> frozenset[str]:
    """Constants computed from ``origins``, those included."""
    found = set(origins)
    for node in resolved.nodes:
        if not found.isdisjoint(node.input):
            found.update(name for name in node.output if name in resolved.constants)
    return frozenset(found)


def _only_weight(name: str, consumers: Consumers) -> bool:
    uses = consumers.get(name, ())
    return bool(uses) and all(_weighs(node, position, consumers) for node, position in uses)


def _weighs(node: NodeProto, position: int, consumers: Consumers) -> bool:
    if node.domain:
        return False
    if node.op_type in SAME_VALUES:
        return position == 0 and _only_weight(node.output[0], consumers)
    return node.op_type in _WEIGHTED_KINDS
