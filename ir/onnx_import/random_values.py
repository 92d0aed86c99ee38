"""Seeded random numbers that stand in for absent weights and for inputs.

The numbers are chosen so that a deep network neither overflows nor dies out: a proof compares
bits, and all-zero or not-a-number tensors would hide faults.
"""

from math import prod, sqrt
from zlib import crc32

import numpy as np
from onnx import TensorProto, helper

from stowplan.errors import ModelError
from stowplan.ir.onnx_import.tensors import Array
from stowplan.ir.onnx_import.value_types import ValueType

_INDEX_KINDS = ("Gather", "Scatter", "OneHot", "Embed", "GatherBlockQuantized")


def generator(seed: int, name: str) -> np.random.Generator:
    """Generator of one tensor's numbers; independent of every other tensor."""
    return np.random.default_rng([seed, crc32(name.encode())])


def random_weight(name: str, value: ValueType, use: tuple[str, int, str], seed: int) -> Array:
    """Numbers for an absent weight.

    Args:
        name: the tensor.
        value: its static type.
        use: kind of its first consumer, the input position it takes there, and the parameter's
            name where it is one, else empty.
        seed: of the model.
    """
    kind, position, parameter = use
    rng = generator(seed, name)
    shape = value.extents
    dtype = _numpy_dtype(value, name)
    if "zero_point" in parameter:
        return np.zeros(shape, dtype)
    if "scale" in parameter:
        return rng.uniform(0.005, 0.05, shape).astype(dtype)
    if not _is_float(dtype):
        is_index = kind.startswith(_INDEX_KINDS)
        return np.zeros(shape, dtype) if is_index else _integers(rng, dtype, shape)
    if _is_gain(kind, position, len(shape)):
        return rng.uniform(0.5, 1.5, shape).astype(dtype)
    deviation = 0.1 if len(shape) < 2 else sqrt(2 / _fan_in(shape))
    numbers = rng.random(shape, np.float32)
    numbers -= np.float32(0.5)
    numbers *= np.float32(deviation * sqrt(12))
    return numbers.astype(dtype, copy=False)


def random_input(name: str, value: ValueType, bound: int | None, seed: int) -> Array:
    """Numbers for a model input; integers lie in ``[0, bound)`` where a bound is known."""
    rng = generator(seed, name)
    dtype = _numpy_dtype(value, name)
    if _is_float(dtype):
        return rng.standard_normal(value.extents, np.float32).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, value.extents).astype(dtype)
    if bound is not None:
        return rng.integers(0, max(bound, 1), value.extents).astype(dtype)
    if dtype.itemsize > 2:
        return rng.integers(0, 2, value.extents).astype(dtype)
    return _integers(rng, dtype, value.extents)


def poison(value: ValueType) -> Array:
    """Not-a-number throughout, or all bits set in types that have none."""
    dtype = _numpy_dtype(value, "")
    content = b"\xff" * (value.elements * dtype.itemsize)
    return np.frombuffer(content, dtype).reshape(value.extents)


def _numpy_dtype(value: ValueType, name: str) -> np.dtype[np.generic]:
    if value.element == TensorProto.STRING:
        raise ModelError(f"tensor {name!r}: no random numbers can stand in for strings")
    dtype: np.dtype[np.generic] = np.dtype(helper.tensor_dtype_to_np_dtype(value.element))
    return dtype


def _is_float(dtype: np.dtype[np.generic]) -> bool:
    return dtype.kind in "fc" or "float" in dtype.name


def _integers(
    rng: np.random.Generator, dtype: np.dtype[np.generic], shape: tuple[int, ...]
) -> Array:
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    label = dtype.name
    if label.endswith(("int2", "int4")):
        half = 2 if label.endswith("int2") else 8
        low = 0 if label.startswith("u") else -half
        return rng.integers(low, low + 2 * half, shape).astype(np.int8).astype(dtype)
    if label.startswith("u"):
        return rng.integers(0, 256, shape).astype(dtype)
    return rng.integers(-128, 128, shape).astype(dtype)


def _is_gain(kind: str, position: int, rank: int) -> bool:
    """Whether the weight multiplies what it meets channel by channel, or is a variance."""
    if "Norm" in kind:
        return position in ((1, 4) if kind == "BatchNormalization" else (1,))
    return kind in ("Mul", "Div") and rank < 2


def _fan_in(shape: tuple[int, ...]) -> int:
    """Products summed per output; both readings of a matrix are allowed for."""
    return max(1, prod(shape[1:]) if len(shape) > 2 else max(shape))
