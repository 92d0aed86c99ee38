"""Attributes of an operator from a node's attributes and constant parameters."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import AttributeProto, NodeProto

from stowplan.ir.graph import Attribute
from stowplan.ir.onnx_import.parameters import RECORDED_CAP_ELEMENTS
from stowplan.ir.onnx_import.tensors import Array


def attributes_of(
    node: NodeProto, parameters: Mapping[str, Array]
) -> tuple[tuple[str, Attribute], ...]:
    """(name, value) pairs sorted by name; tensors and graphs among the attributes are left out."""
    found: dict[str, Attribute] = {}
    for attribute in node.attribute:
        value = _attribute(attribute)
        if value is not None:
            found[attribute.name] = value
    for name, array in parameters.items():
        value = _parameter(array)
        if value is not None:
            found[name] = value
    return tuple(sorted(found.items()))


def _attribute(attribute: Any) -> Attribute | None:
    match attribute.type:
        case AttributeProto.INT:
            return int(attribute.i)
        case AttributeProto.FLOAT:
            return float(attribute.f)
        case AttributeProto.STRING:
            return _text(attribute.s)
        case AttributeProto.INTS:
            return tuple(int(each) for each in attribute.ints)
        case AttributeProto.FLOATS:
            return tuple(float(each) for each in attribute.floats)
        case AttributeProto.STRINGS:
            return tuple(_text(each) for each in attribute.strings)
    return None


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def _parameter(array: Array) -> Attribute | None:
    if array.size > RECORDED_CAP_ELEMENTS or array.dtype.kind not in "biufV":
        return None
    kind = float if _is_float(array) else int
    try:
        flat = tuple(kind(each) for each in array.reshape(-1).tolist())
    except (TypeError, ValueError):
        return None
    return flat[0] if array.ndim == 0 else flat


def _is_float(array: Array) -> bool:
    return array.dtype.kind == "f" or "float" in np.dtype(array.dtype).name
