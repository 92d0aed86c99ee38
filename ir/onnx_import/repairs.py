"""Repairs of well-known exporter mistakes that leave no doubt about what was meant."""

from collections.abc import Mapping

from onnx import NodeProto

from stowplan.ir.onnx_import.value_types import ValueType


def repair_axis(node: NodeProto, types: Mapping[str, ValueType]) -> bool:
    """Set the axis of a (de)quantised vector to 0 when it lies outside; say whether it did.

    Converters from channels-last frameworks give a per-channel bias the channel axis of the
    activation it is added to. A vector has only one axis to scale along.
    """
    if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
        return False
    shape = types.get(node.input[0], ValueType()).shape
    if shape is None or len(shape) != 1:
        return False
    wrong = [each for each in node.attribute if each.name == "axis" and each.i not in (0, -1)]
    for attribute in wrong:
        attribute.i = 0
    return bool(wrong)
