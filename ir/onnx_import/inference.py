"""Type of a node's outputs: onnx-shape-inference first, then onnx's own, on one node at a time.

One forward pass over the nodes with exact types and exact small values sees more than inference
over the whole model, where one unresolved shape hides everything behind it.
"""

from collections.abc import Mapping, Sequence
from itertools import count

import numpy as np
import onnx_ir
from onnx import NodeProto, defs, helper, numpy_helper, shape_inference
from onnx_shape_inference import ShapeInferenceContext, registry

from stowplan.ir.onnx_import import value_types
from stowplan.ir.onnx_import.analogues import Analogue, analogue
from stowplan.ir.onnx_import.tensors import Array
from stowplan.ir.onnx_import.value_types import Dim, ValueType

_ANONYMOUS = "stowplan_unknown_"


class InvalidNodeError(Exception):
    """The node contradicts its operator's definition; the message says how."""


class TypeInference:
    """Infers the outputs of single nodes under a model's opset versions."""

    def __init__(self, opsets: Mapping[str, int]) -> None:
        registry.collect()
        self._opsets = {"": max(defs.onnx_opset_version(), 1), **opsets}
        self._imports = [helper.make_opsetid(d, v) for d, v in self._opsets.items()]
        self._unknown = count()

    def infer(
        self, node: NodeProto, types: Mapping[str, ValueType], values: Mapping[str, Array]
    ) -> tuple[ValueType, ...]:
        """Types of ``node.output``, unknown where nothing is known.

        Raises:
            InvalidNodeError: all input types are known and none fits the operator's definition.
        """
        standard = analogue(node)
        if standard is not None:
            found = self._by_analogue(standard, types, values)
            if _static(found):
                return found
        if _prefers_onnx(node):
            found = self._by_onnx(node, types, values)
            return (
                found if _static(found) else _merged(found, self._by_library(node, types, values))
            )
        found = self._by_library(node, types, values)
        return found if _static(found) else _merged(found, self._by_onnx(node, types, values))

    def _by_analogue(
        self, standard: Analogue, types: Mapping[str, ValueType], values: Mapping[str, Array]
    ) -> tuple[ValueType, ...]:
        image = standard.node.input[0]
        if standard.channels_last:
            types = {**types, image: _permuted(types[image], (0, -1, *range(1, 9)))}
        element = standard.element
        if standard.element_of:
            element = types.get(standard.element_of, ValueType()).element
        found = self._by_library(standard.node, types, values)
        if standard.channels_last:
            found = tuple(_permuted(value, (0, *range(2, 9), 1)) for value in found)
        return tuple(ValueType(element, value.shape) for value in found)

    def _by_library(
        self, node: NodeProto, types: Mapping[str, ValueType], values: Mapping[str, Array]
    ) -> tuple[ValueType, ...]:
        nothing = tuple(ValueType() for _ in node.output)
        infer = registry.get(node.domain, node.op_type, version=self._opsets.get(node.domain, 1))
        if infer is None:
            return nothing
        given = {
            name: self._ir_value(name, types.get(name, ValueType()), values.get(name))
            for name in node.input
            if name
        }
        outputs = [onnx_ir.Value(name=name) for name in node.output]
        try:
            infer(
                ShapeInferenceContext(self._opsets),
                onnx_ir.Node(
                    node.domain,
                    node.op_type,
                    [given.get(name) for name in node.input],
                    [onnx_ir.serde.deserialize_attribute(each) for each in node.attribute],
                    outputs=outputs,
                ),
            )
        except Exception:
            # Experimental rules may raise anything; onnx's own inference then judges the node.
            return nothing
        return tuple(_from_ir(output) for output in outputs)

    def _ir_value(self, name: str, value: ValueType, array: Array | None) -> onnx_ir.Value:
        shape = None
        if value.shape is not None:
            shape = onnx_ir.Shape(
                [f"{_ANONYMOUS}{next(self._unknown)}" if d is None else d for d in value.shape]
            )
        return onnx_ir.Value(
            name=name,
            shape=shape,
            type=onnx_ir.TensorType(onnx_ir.DataType(value.element)) if value.element else None,
            const_value=None if array is None else onnx_ir.tensor(array, name=name),
        )

    def _by_onnx(
        self, node: NodeProto, types: Mapping[str, ValueType], values: Mapping[str, Array]
    ) -> tuple[ValueType, ...]:
        nothing = tuple(ValueType() for _ in node.output)
        version = self._opsets.get(node.domain, 1)
        if not defs.has(node.op_type, version, node.domain):
            return nothing
        names = [name for name in dict.fromkeys(node.input) if name]
        try:
            result = shape_inference.infer_node_outputs(
                defs.get_schema(node.op_type, version, node.domain),
                node,
                {name: value_types.to_proto(types.get(name, ValueType())) for name in names},
                {name: numpy_helper.from_array(values[name]) for name in names if name in values},
                opset_imports=self._imports,
            )
        except Exception as error:
            if all(types.get(name, ValueType()).static for name in names):
                raise InvalidNodeError(str(error).strip()) from error
            return nothing
        return tuple(
            value_types.from_proto(result[name]) if name in result else ValueType()
            for name in node.output
        )


def _prefers_onnx(node: NodeProto) -> bool:
    """Whether onnx-shape-inference 0.4 gets the kind wrong and onnx does not."""
    if node.domain:
        return False
    keeps_ratio = any(each.name == "keep_aspect_ratio_policy" for each in node.attribute)
    return node.op_type == "MelWeightMatrix" or (node.op_type == "Resize" and keeps_ratio)


def _static(found: Sequence[ValueType]) -> bool:
    return all(value.static for value in found)


def _merged(first: Sequence[ValueType], second: Sequence[ValueType]) -> tuple[ValueType, ...]:
    return tuple(a.merged(b) for a, b in zip(first, second, strict=True))


def _from_ir(value: onnx_ir.Value) -> ValueType:
    element = int(value.dtype.value) if value.dtype is not None else 0
    if value.shape is None:
        return ValueType(element)
    return ValueType(element, tuple(_dim_from_ir(dim) for dim in value.shape))


def _dim_from_ir(dim: object) -> Dim:
    if isinstance(dim, int | np.integer):
        return int(dim)
    text = str(getattr(dim, "value", None) or "")
    return None if not text or text.startswith("_") or _ANONYMOUS in text else text


def _permuted(value: ValueType, axes: Sequence[int]) -> ValueType:
    """The type with its dimensions in another order; axes beyond its rank are left out."""
    if value.shape is None:
        return value
    rank = len(value.shape)
    wanted = dict.fromkeys(axis % rank for axis in axes if axis < rank)
    return ValueType(value.element, tuple(value.shape[axis] for axis in wanted))
