"""Initializers: is their data there, and what is it."""

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, SparseTensorProto, TensorProto, external_data_helper, numpy_helper

from stowplan.errors import ModelError
from stowplan.ir.onnx_import.value_types import dtype_of

Array = np.ndarray[Any, np.dtype[Any]]

_TYPED_FIELDS = (
    "float_data",
    "int32_data",
    "string_data",
    "int64_data",
    "double_data",
    "uint64_data",
)


def is_external(tensor: TensorProto) -> bool:
    """Whether the data lives in another file."""
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def has_data(tensor: TensorProto, folder: Path) -> bool:
    """Whether the tensor's numbers can be read, from the model or a file in ``folder``."""
    if is_external(tensor):
        location = next((each.value for each in tensor.external_data if each.key == "location"), "")
        return bool(location) and (folder / location).is_file()
    if 0 in tensor.dims or tensor.raw_data:
        return True
    return any(len(getattr(tensor, field)) for field in _TYPED_FIELDS)


def read_array(tensor: TensorProto, folder: Path) -> Array:
    """The tensor's numbers.

    Raises:
        ModelError: the data does not match the shape, or its file cannot be read.
    """
    try:
        if is_external(tensor):
            copy = TensorProto()
            copy.CopyFrom(tensor)
            external_data_helper.load_external_data_for_tensor(copy, str(folder))
            tensor = copy
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        raise ModelError(
            f"initializer {tensor.name!r}: its data cannot be read: {error}; export the model again"
        ) from error


def check_payload(tensor: TensorProto) -> None:
    """Raise ModelError when the shape is impossible or contradicts the stored bytes."""
    if any(dim < 0 for dim in tensor.dims):
        raise ModelError(f"initializer {tensor.name!r}: dims has a negative entry; export it again")
    if not tensor.raw_data or is_external(tensor):
        return
    bits = dtype_of(tensor.data_type, tensor.name).bits
    expected = -(-prod(tensor.dims) * bits // 8)
    if len(tensor.raw_data) != expected:
        raise ModelError(
            f"initializer {tensor.name!r}: raw_data holds {len(tensor.raw_data):,} bytes where "
            f"its shape {list(tensor.dims)} needs {expected:,}; export the model again"
        )


def dense(sparse: SparseTensorProto) -> TensorProto:
    """A sparse initializer with its zeros written out."""
    values = np.asarray(numpy_helper.to_array(sparse.values))
    indices = np.asarray(numpy_helper.to_array(sparse.indices))
    full = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 2:
        full[tuple(indices.T)] = values
    else:
        full.reshape(-1)[indices] = values
    return numpy_helper.from_array(full, sparse.values.name)


_CONSTANT_DTYPES = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def of_constant(node: NodeProto) -> TensorProto:
    """The tensor a Constant node holds, under its output's name.

    Raises:
        ModelError: the node has no value.
    """
    result = TensorProto()
    for attribute in node.attribute:
        if attribute.name == "value":
            result.CopyFrom(attribute.t)
        elif attribute.name == "sparse_value":
            result.CopyFrom(dense(attribute.sparse_tensor))
        elif attribute.name in _CONSTANT_DTYPES:
            plural = attribute.name.endswith("s")
            field = attribute.name.removeprefix("value_").removesuffix("s")
            data = {
                "float": attribute.floats if plural else attribute.f,
                "int": attribute.ints if plural else attribute.i,
            }[field]
            array = np.array(data, _CONSTANT_DTYPES[attribute.name])
            result.CopyFrom(numpy_helper.from_array(array))
        elif attribute.name in ("value_string", "value_strings"):
            plural = attribute.name.endswith("s")
            result.data_type = TensorProto.STRING
            result.string_data.extend(attribute.strings if plural else [attribute.s])
            result.dims.extend([len(attribute.strings)] if plural else [])
        else:
            continue
        result.name = node.output[0]
        return result
    raise ModelError(f"node {node.name!r} (Constant) has no value attribute; export it again")
