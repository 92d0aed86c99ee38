"""Element type and shape of a value while the importer resolves them."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from onnx import TensorProto, TypeProto, helper

from stowplan.errors import ModelError
from stowplan.ir.dtypes import DType

Dim = int | str | None
"""Extent of one dimension: known, symbolic, or unknown."""


@dataclass(frozen=True, slots=True)
class ValueType:
    """What is known of a tensor.

    Attributes:
        element: ``TensorProto.DataType`` value, 0 when unknown.
        shape: extents, or None when not even the rank is known.
    """

    element: int = 0
    shape: tuple[Dim, ...] | None = None

    @property
    def static(self) -> bool:
        """Element type and every extent are known."""
        return (
            self.element != 0
            and self.shape is not None
            and all(isinstance(dim, int) for dim in self.shape)
        )

    @property
    def extents(self) -> tuple[int, ...]:
        """The extents of a static type."""
        return tuple(dim for dim in self.shape or () if isinstance(dim, int))

    @property
    def elements(self) -> int:
        """Number of elements of a static type."""
        return prod(self.extents)

    def merged(self, other: "ValueType") -> "ValueType":
        """This type with its gaps filled from ``other``."""
        element = self.element or other.element
        if self.shape is None or other.shape is None or len(self.shape) != len(other.shape):
            return ValueType(element, other.shape if self.shape is None else self.shape)
        pairs = zip(self.shape, other.shape, strict=True)
        return ValueType(element, tuple(a if isinstance(a, int) else _dim(b, a) for a, b in pairs))

    def __str__(self) -> str:
        """For example ``FLOAT[N, 3, ?]``."""
        name = _label(self.element)
        if self.shape is None:
            return f"{name} of unknown rank"
        return f"{name}[{', '.join('?' if dim is None else str(dim) for dim in self.shape)}]"


_LABELS = {number: name for name, number in TensorProto.DataType.items()}


def _label(element: int) -> str:
    """ONNX name of an element type; files may hold numbers this onnx does not know."""
    return str(_LABELS.get(element, f"number {element}")) if element else "?"


def _dim(dim: Dim, fallback: Dim) -> Dim:
    return fallback if dim is None else dim


def from_proto(proto: TypeProto) -> ValueType:
    """Type of a ``TypeProto``; unknown for anything that is no tensor."""
    if not proto.HasField("tensor_type"):
        return ValueType()
    tensor = proto.tensor_type
    if not tensor.HasField("shape"):
        return ValueType(tensor.elem_type)
    return ValueType(tensor.elem_type, tuple(_proto_dim(dim) for dim in tensor.shape.dim))


def _proto_dim(dim: Any) -> Dim:
    if dim.HasField("dim_value"):
        return int(dim.dim_value) if dim.dim_value >= 0 else None
    return str(dim.dim_param) if dim.dim_param else None


def to_proto(value: ValueType) -> TypeProto:
    """``TypeProto`` of a tensor type."""
    return helper.make_tensor_type_proto(value.element, value.shape)


def of_tensor(tensor: TensorProto) -> ValueType:
    """Type of an initializer."""
    return ValueType(tensor.data_type, tuple(tensor.dims))


def bind(value: ValueType, dims: Mapping[str, int]) -> ValueType:
    """The type with symbolic dimensions replaced by their bound extents."""
    if value.shape is None:
        return value
    return ValueType(
        value.element,
        tuple(dims.get(dim, dim) if isinstance(dim, str) else dim for dim in value.shape),
    )


_NAMES = {
    "FLOAT": DType.FLOAT32,
    "DOUBLE": DType.FLOAT64,
    "FLOAT4E2M1": DType.FLOAT4,
}


def dtype_of(element: int, name: str) -> DType:
    """Storage type of an ONNX element type; ``name`` is the tensor, for the message.

    Raises:
        ModelError: an element type stowplan has no storage width for.
    """
    label = _label(element)
    if label in _NAMES:
        return _NAMES[label]
    if label.startswith("FLOAT8"):
        return DType.FLOAT8
    try:
        return DType(label.lower())
    except ValueError:
        raise ModelError(
            f"tensor {name!r}: element type {label} is not supported; convert it to another type"
        ) from None
