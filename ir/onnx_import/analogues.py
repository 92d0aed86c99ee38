"""com.microsoft kinds whose outputs are shaped like those of a kind of ai.onnx.

Shape inference knows the standard kinds well and the quantised ones badly or not at all, so the
table goes first. It says which inputs the standard kind shares and where the element type comes
from.

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
        element: element type of the outputs, 0 when ``element_of`` says it.
        element_of: name of an input whose element type the outputs have.
        channels_last: images are [N, spatial..., C] where the standard kind has [N, C, spatial...].
    """

    node: NodeProto
    element: int
    element_of: str
    channels_last: bool


@dataclass(frozen=True, slots=True)
class _Rule:
    """Standard kind, the inputs it takes, and the element type: of an input, else a fixed one."""

    kind: str
    inputs: tuple[int, ...] = (0,)
    element_input: int | None = 0
    element: int = 0
    channels_last: bool = False


_FLOAT = int(TensorProto.FLOAT)
_INT32 = int(TensorProto.INT32)
_UINT8 = int(TensorProto.UINT8)
_RULES: Mapping[str, _Rule] = {
    "DequantizeLinear": _Rule("DequantizeLinear", (0, 1, 2), 1),
    "DynamicQuantizeLSTM": _Rule("LSTM", (0, 1, 2)),
    "DynamicQuantizeMatMul": _Rule("MatMul", (0, 1)),
    "ExpandDims": _Rule("Unsqueeze", (0, 1)),
    "FusedConv": _Rule("Conv", (0, 1, 2)),
    "FusedGemm": _Rule("Gemm", (0, 1, 2)),
    "FusedMatMulActivation": _Rule("MatMul", (0, 1)),
    "MatMulInteger16": _Rule("MatMul", (0, 1), None, _INT32),
    "MatMulIntegerToFloat": _Rule("MatMul", (0, 1), 2),
    "MulInteger": _Rule("Mul", (0, 2), None, _INT32),
    "NhwcMaxPool": _Rule("MaxPool", channels_last=True),
    "Pad": _Rule("Pad", (0, 1, 2)),
    "QGemm": _Rule("Gemm", (0, 3), 8, _FLOAT),
    "QLinearAdd": _Rule("Add", (0, 3)),
    "QLinearAveragePool": _Rule("AveragePool"),
    "QLinearGlobalAveragePool": _Rule("GlobalAveragePool"),
    "QLinearLeakyRelu": _Rule("LeakyRelu"),
    "QLinearMul": _Rule("Mul", (0, 3)),
    "QLinearReduceMean": _Rule("ReduceMean"),
    "QLinearSigmoid": _Rule("Sigmoid"),
    "QLinearSoftmax": _Rule("Softmax"),
    "QuantizeLinear": _Rule("QuantizeLinear", (0, 1, 2), 2, _UINT8),
    "QuickGelu": _Rule("Identity"),
    "ReduceSumInteger": _Rule("ReduceSum", (0,), None, _INT32),
    "Trilu": _Rule("Trilu", (0, 1)),
}


def analogue(node: NodeProto) -> Analogue | None:
    """Standard node shaped like ``node``, or None."""
    rule = _RULES.get(node.op_type)
    if node.domain != MICROSOFT or rule is None:
        return None
    standard = NodeProto(
        op_type=rule.kind,
        name=node.name,
        input=[_input(node, index) for index in rule.inputs],
        output=node.output,
        attribute=[each for each in node.attribute if each.name != "channels_last"],
    )
    while standard.input and not standard.input[-1]:
        standard.input.pop()
    source = "" if rule.element_input is None else _input(node, rule.element_input)
    flagged = any(each.name == "channels_last" and each.i for each in node.attribute)
    return Analogue(standard, rule.element, source, rule.channels_last or flagged)


def _input(node: NodeProto, index: int) -> str:
    return node.input[index] if index < len(node.input) else ""
