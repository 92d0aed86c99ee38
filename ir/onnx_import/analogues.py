"""com.microsoft kinds whose outputs are shaped like those of a kind of ai.onnx.

Shape inference knows the standard kind; the table says which inputs it shares and where the
element type comes from.

Source: operator definitions in onnxruntime, docs/ContribOperators.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from onnx import NodeProto, TensorProto

from stowplan.ir.operator_kinds import MICROSOFT


@dataclass(frozen=True, slots=True)
class Analogue:
    """A standard node with the same output shapes.

    Attributes:
        node: the standard node.
        element: element type of the outputs, 0 to infer it.
        element_of: input whose element type the outputs have, empty to infer it.
    """

    node: NodeProto
    element: int = 0
    element_of: str = ""


@dataclass(frozen=True, slots=True)
class _Rule:
    kind: str
    inputs: tuple[int, ...]
    element: int = 0
    element_input: int | None = None


_FLOAT = int(TensorProto.FLOAT)
_INT32 = int(TensorProto.INT32)
_RULES: Mapping[str, _Rule] = {
    "DequantizeLinear": _Rule("DequantizeLinear", (0, 1, 2), element_input=1),
    "DynamicQuantizeLSTM": _Rule("LSTM", (0, 1, 2), element_input=0),
    "DynamicQuantizeMatMul": _Rule("MatMul", (0, 1), element_input=0),
    "ExpandDims": _Rule("Unsqueeze", (0, 1), element_input=0),
    "FusedConv": _Rule("Conv", (0, 1, 2), element_input=0),
    "FusedGemm": _Rule("Gemm", (0, 1, 2), element_input=0),
    "FusedMatMulActivation": _Rule("MatMul", (0, 1), element_input=0),
    "MatMulInteger16": _Rule("MatMul", (0, 1), element=_INT32),
    "MatMulIntegerToFloat": _Rule("MatMul", (0, 1), element_input=2),
    "MulInteger": _Rule("Mul", (0, 2), element=_INT32),
    "Pad": _Rule("Pad", (0, 1, 2), element_input=0),
    "QLinearAdd": _Rule("Add", (0, 3), element_input=0),
    "QLinearMul": _Rule("Mul", (0, 3), element_input=0),
    "QuantizeLinear": _Rule("QuantizeLinear", (0, 1, 2), element_input=2),
    "QuickGelu": _Rule("Identity", (0,), element_input=0),
    "ReduceSumInteger": _Rule("ReduceSum", (0,), element=_INT32),
    "Trilu": _Rule("Trilu", (0, 1), element_input=0),
}


def analogue(node: NodeProto) -> Analogue | None:
    """Standard node shaped like ``node``, or None."""
    rule = _RULES.get(node.op_type)
    if node.domain != MICROSOFT or rule is None:
        return None
    inputs = list(node.input) + [""] * 16
    standard = NodeProto(
        op_type=rule.kind,
        name=node.name,
        input=[inputs[i] for i in rule.inputs],
        output=node.output,
        attribute=node.attribute,
    )
    source = "" if rule.element_input is None else inputs[rule.element_input]
    return Analogue(standard, rule.element, source)
