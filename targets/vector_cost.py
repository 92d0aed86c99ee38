"""Work of the vector unit: passes over the data per operator kind.

One pass over ``e`` elements of ``b`` bytes takes ``e * b / lanes`` cycles. The default passes are
assumptions of this model (table look-ups for transcendental functions, iterative division); a
target overrides any of them in ``[vector.cycles_per_element]``.

Source: softmax in three passes (maximum, exponentials and sum, scaling): Milakov and Gimelshein,
"Online normalizer calculation for softmax", 2018, section 2; normalisations in three (mean,
variance, scaling) and without mean in two.
"""

from fractions import Fraction
from math import ceil, log2, prod

from stowplan.ir.graph import Graph, Operator, Tensor
from stowplan.ir.operator_kinds import Category, category
from stowplan.targets.target import Vector

_PASSES = {
    "Div": 4.0,
    "Mod": 4.0,
    "Pow": 4.0,
    "Reciprocal": 4.0,
    "Sqrt": 4.0,
    "Mish": 2.0,
    "BatchNormalization": 1.0,
    "LRN": 2.0,
    "RMSNormalization": 2.0,
    "SimplifiedLayerNormalization": 2.0,
    "SkipSimplifiedLayerNormalization": 3.0,
    "SkipLayerNormalization": 4.0,
    "SkipGroupNorm": 4.0,
    "LpNormalization": 2.0,
    "LogSoftmax": 4.0,
    "Hardmax": 2.0,
    "DynamicQuantizeLinear": 2.0,
    "RotaryEmbedding": 2.0,
    "GemmaRotaryEmbedding": 2.0,
    "SwiGLU": 2.0,
    "SoftmaxCrossEntropyLoss": 4.0,
}
_CATEGORY_PASSES = {Category.NORMALISATION: 3.0, Category.SOFTMAX: 3.0}


def passes(vector: Vector, kind: str, domain: str = "") -> Fraction:
    """Passes over the data of one operator kind.

    The target's entry for the kind wins, then the target's ``default``, then this model's own.
    """
    table = vector.cycles_per_element
    found = table.get(kind, table.get("default"))
    if found is None:
        found = _PASSES.get(kind, _CATEGORY_PASSES.get(category(kind, domain), 1.0))
    return Fraction(str(found))


def vector_elements(graph: Graph, operator: Operator) -> int:
    """Element operations of one pass: what the unit touches per pass over the data."""
    inputs = [graph.tensor[name] for name in operator.inputs]
    outputs = [graph.tensor[name] for name in operator.outputs]
    produced = sum(tensor.elements for tensor in outputs)
    largest = max((tensor.elements for tensor in inputs), default=0)
    family = category(operator.kind, operator.domain)
    if family is Category.POOL:
        return produced * _window(operator, inputs, outputs)
    if operator.kind == "TopK":
        axis = inputs[0].shape[-1] if inputs and inputs[0].shape else 1
        return largest * max(1, ceil(log2(max(1, axis))))
    if operator.kind in ("Resize", "Upsample"):
        return produced * _taps(operator, inputs, outputs)
    return produced if family is Category.LAYOUT else max(produced, largest)


def vector_cycles(vector: Vector, elements: int, width_bytes: Fraction, times: Fraction) -> int:
    """Cycles of ``times`` passes over ``elements`` of ``width_bytes``, without latency."""
    return ceil(elements * width_bytes * times / vector.lanes)


def width_bytes(tensors: list[Tensor]) -> Fraction:
    """Bytes of the widest element, one when there is none."""
    return Fraction(max((tensor.dtype.bits for tensor in tensors), default=8), 8)


def _window(operator: Operator, inputs: list[Tensor], outputs: list[Tensor]) -> int:
    """Input elements that one output element of a pooling operator combines."""
    kernel = operator.attribute("kernel_shape")
    if isinstance(kernel, tuple):
        return prod(int(extent) for extent in kernel)
    if operator.kind in ("RoiAlign", "MaxRoiPool"):
        ratio = operator.attribute("sampling_ratio", 0)
        return 4 * max(2, int(ratio) if isinstance(ratio, int) else 0) ** 2
    if "Global" in operator.kind and inputs and outputs and outputs[0].elements:
        return max(1, inputs[0].elements // outputs[0].elements)
    return 1


def _taps(operator: Operator, inputs: list[Tensor], outputs: list[Tensor]) -> int:
    """Input elements that one output element of a Resize combines."""
    mode = operator.attribute("mode", "nearest")
    per_axis = {"linear": 2, "cubic": 4}.get(str(mode), 1)
    if not inputs or not outputs:
        return 1
    resized = sum(a != b for a, b in zip(inputs[0].shape, outputs[0].shape, strict=False))
    return int(per_axis**resized)
