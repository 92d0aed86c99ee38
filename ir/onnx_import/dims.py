"""Bind symbolic dimensions of the model's inputs to extents."""

import re
from collections.abc import Mapping
from dataclasses import replace

from stowplan.errors import ModelError
from stowplan.ir.onnx_import import value_types
from stowplan.ir.onnx_import.reader import FlatModel
from stowplan.ir.onnx_import.value_types import ValueType


def bind_dims(model: FlatModel, dims: Mapping[str, int]) -> FlatModel:
    """The model with ``dims`` substituted wherever the names occur.

    A nameless unknown dimension of an input can be bound as ``INPUT:AXIS``.

    Raises:
        ModelError: a name no input has, or an extent below 1.
    """
    inputs = {name: _named(name, value) for name, value in model.inputs.items()}
    known = symbols(inputs)
    for name, extent in dims.items():
        if name not in known:
            offer = ", ".join(known) if known else "none: every input is static"
            raise ModelError(
                f"{model.path}: --dim {name}: no input has a dimension of that name "
                f"(symbolic dimensions: {offer})"
            )
        if extent < 1:
            raise ModelError(f"{model.path}: --dim {name}={extent}: the extent must be at least 1")
    return replace(
        model,
        inputs={name: value_types.bind(value, dims) for name, value in inputs.items()},
        declared={name: value_types.bind(value, dims) for name, value in model.declared.items()},
    )


def unnamed_batches(model: FlatModel, dims: Mapping[str, int]) -> tuple[str, ...]:
    """Leading dimensions of inputs that an exporter left without a name of its own.

    tf2onnx numbers them ``unk__N``; others write none at all. They stand for the batch.
    """
    inputs = {name: _named(name, value) for name, value in model.inputs.items()}
    leading = {value.shape[0] for value in inputs.values() if value.shape}
    inner = {dim for value in inputs.values() for dim in (value.shape or ())[1:]}
    return tuple(
        name
        for name in symbols(inputs)
        if name in leading - inner and name not in dims and _UNNAMED.fullmatch(name)
    )


_UNNAMED = re.compile(r"unk__\d+|.+:0")


def symbols(inputs: Mapping[str, ValueType]) -> tuple[str, ...]:
    """Names of unbound dimensions, in order of appearance."""
    return tuple(
        dict.fromkeys(
            dim for value in inputs.values() for dim in value.shape or () if isinstance(dim, str)
        )
    )


def _named(name: str, value: ValueType) -> ValueType:
    if value.shape is None:
        return value
    return ValueType(
        value.element,
        tuple(f"{name}:{axis}" if dim is None else dim for axis, dim in enumerate(value.shape)),
    )
