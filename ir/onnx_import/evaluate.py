"""Evaluate single nodes on constants, and say which may be evaluated."""

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, helper
from onnx.reference import ReferenceEvaluator

from stowplan.ir.onnx_import.tensors import Array

FOLD_CAP_ELEMENTS = 4096
"""Larger values are no shape arithmetic; they become weights or stay with their operators."""

_EXACT = """
    Abs Add And BitShift Cast CastLike Ceil Clip Concat ConstantOfShape DepthToSpace Div Equal
    Expand EyeLike Flatten Floor Gather GatherElements GatherND Greater GreaterOrEqual Identity
    Less LessOrEqual Max Min Mul Neg Not Or Pad Range Reciprocal Relu Reshape ScatterElements
    ScatterND Shape Sign Size Slice SpaceToDepth Split Sqrt Squeeze Sub Tile Transpose Trilu
    Unsqueeze Where Xor"""
EXACT_KINDS = frozenset(_EXACT.split())
"""ai.onnx kinds whose results IEEE arithmetic fixes to the bit, whoever computes them."""

_RANDOM = """
    Bernoulli Dropout Multinomial RandomNormal RandomNormalLike RandomUniform
    RandomUniformLike"""
RANDOM_KINDS = frozenset(_RANDOM.split())
"""Kinds that may differ from run to run and are never evaluated."""

_QUANTISATION = ("DequantizeLinear", "QuantizeLinear")
_QUANTISATION_OPSET = 21
"""First reference implementation of them; older opsets are subsets of it."""


def evaluate(
    node: NodeProto, inputs: Mapping[str, Array], opsets: Mapping[str, int]
) -> Sequence[Array] | None:
    """Outputs of ``node`` on the given values; None where no reference implementation serves.

    The reference implementations raise whatever they like on kinds and types they do not cover,
    and not evaluating is always safe: the node then stays an operator.
    """
    if node.op_type == "GatherElements" and not node.domain:
        return [_gather_elements(node, *(inputs[name] for name in node.input))]
    model = ModelProto(ir_version=10)
    versions = dict(opsets)
    if node.op_type in _QUANTISATION and not node.domain:
        versions[""] = max(versions[""], _QUANTISATION_OPSET)
    model.opset_import.extend(helper.make_opsetid(d, v) for d, v in versions.items())
    model.graph.node.append(node)
    for name in dict.fromkeys(filter(None, node.input)):
        model.graph.input.add().name = name
    for name in filter(None, node.output):
        model.graph.output.add().name = name
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(model).run(None, dict(inputs))
    except Exception:
        return None
    arrays = [np.asarray(result) for result in results]
    return arrays


def _gather_elements(node: NodeProto, data: Array, indices: Array) -> Array:
    """GatherElements; the reference implementation fails on most two-dimensional indices."""
    axis = next((int(each.i) for each in node.attribute if each.name == "axis"), 0)
    window = tuple(
        slice(None) if dim == axis % data.ndim else slice(0, extent)
        for dim, extent in enumerate(indices.shape)
    )
    return np.asarray(np.take_along_axis(data[window], indices.astype(np.int64), axis))
