"""One forward pass that gives every value its type, folds constants and takes constant branches.

Three things are kept apart:

* *values*: small known numbers, whoever computes them; they feed shape inference and parameters;
* *constants*: tensors that no model input influences and that are stored rather than computed, so
  that consumers see a weight; never the result of widening stored numbers, which would unfold
  quantised weights;
* *nodes*: everything else, and the constants' producers too, for running the model as it came.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from onnx import AttributeProto, NodeProto, TensorProto

from stowplan.errors import ModelError
from stowplan.ir.onnx_import import tensors, value_types
from stowplan.ir.onnx_import.branches import taken_branch
from stowplan.ir.onnx_import.evaluate import (
    EXACT_KINDS,
    FOLD_CAP_ELEMENTS,
    RANDOM_KINDS,
    evaluate,
)
from stowplan.ir.onnx_import.inference import InvalidNodeError, TypeInference
from stowplan.ir.onnx_import.reader import FlatModel, fresh
from stowplan.ir.onnx_import.repairs import repair_axis
from stowplan.ir.onnx_import.tensors import Array
from stowplan.ir.onnx_import.value_types import ValueType
from stowplan.ir.operator_kinds import KINDS


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A flat model after the forward pass.

    Attributes:
        model: what it was resolved from, its dimensions bound.
        nodes: producers before consumers, without Constant and If.
        types: type of every value.
        values: small known values.
        tensors: initializers and Constant tensors.
        constants: names of tensors that are weights to their consumers.
        inexact: constants whose last bit depends on who computes them.
        repaired: names of nodes whose axis attribute was put right.
    """

    model: FlatModel
    nodes: tuple[NodeProto, ...]
    types: Mapping[str, ValueType]
    values: Mapping[str, Array]
    tensors: Mapping[str, TensorProto]
    constants: frozenset[str]
    inexact: frozenset[str]
    repaired: tuple[str, ...]


def resolve(model: FlatModel) -> ResolvedModel:
    """Run the forward pass.

    Raises:
        ModelError: a node that contradicts its definition, or control flow that depends on data.
    """
    state = _State(model)
    queue = deque(model.nodes)
    while queue:
        node = queue.popleft()
        state.follow_copies(node)
        if node.op_type == "If" and not node.domain:
            queue.extendleft(reversed(state.branch(node)))
        elif state.is_stored(node):
            state.add_tensor(tensors.of_constant(node))
        elif state.is_copy(node):
            state.copies[node.output[0]] = node.input[0]
        else:
            state.visit(node)
    for name in model.outputs:
        if name not in state.types:
            raise ModelError(
                f"{model.path}: output {name!r} of the model: no node produces it; export it again"
            )
    return ResolvedModel(
        model=model,
        nodes=tuple(state.nodes),
        types=state.types,
        values=state.values,
        tensors=state.tensors,
        constants=frozenset(state.constants),
        inexact=frozenset(state.inexact),
        repaired=tuple(state.repaired),
    )


@dataclass
class _State:
    """Mutable state of the pass."""

    model: FlatModel
    nodes: list[NodeProto] = field(default_factory=list)
    types: dict[str, ValueType] = field(default_factory=dict)
    values: dict[str, Array] = field(default_factory=dict)
    tensors: dict[str, TensorProto] = field(default_factory=dict)
    constants: set[str] = field(default_factory=set)
    inexact: set[str] = field(default_factory=set)
    copies: dict[str, str] = field(default_factory=dict)
    repaired: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.inference = TypeInference(self.model.opsets)
        self.folder = self.model.path.parent
        self.taken = {node.name for node in self.model.nodes}
        self.types.update(self.model.inputs)
        for name, tensor in self.model.initializers.items():
            self.add_tensor(tensor, name)

    def add_tensor(self, tensor: TensorProto, name: str = "") -> None:
        name = name or tensor.name
        self.tensors[name] = tensor
        self.types[name] = value_types.of_tensor(tensor)
        self.constants.add(name)
        if self.types[name].elements <= FOLD_CAP_ELEMENTS and tensors.has_data(tensor, self.folder):
            self.values[name] = tensors.read_array(tensor, self.folder)

    def follow_copies(self, node: NodeProto) -> None:
        """Make the node read copied constants at their origin, so shared weights stay shared."""
        for position, name in enumerate(node.input):
            if name in self.copies:
                node.input[position] = self.copies[name]

    def is_stored(self, node: NodeProto) -> bool:
        constant = node.op_type == "Constant" and not node.domain
        return constant and node.output[0] not in self.model.outputs

    def is_copy(self, node: NodeProto) -> bool:
        return (
            node.op_type == "Identity"
            and not node.domain
            and node.input[0] in self.constants
            and node.output[0] not in self.model.outputs
        )

    def branch(self, node: NodeProto) -> list[NodeProto]:
        condition = self.values.get(node.input[0])
        if condition is None:
            raise ModelError(
                f"node {node.name!r} (If): its condition {node.input[0]!r} depends on the model's "
                "data, and a plan needs one fixed graph; export the model with the branch decided"
            )
        nodes, initializers = taken_branch(node, bool(condition.reshape(-1)[0]))
        for tensor in initializers:
            self.add_tensor(tensor)
        for inner in nodes:
            inner.name = fresh(inner.name, self.taken)
            self.taken.add(inner.name)
        return nodes

    def visit(self, node: NodeProto) -> None:
        _check_importable(node)
        if repair_axis(node, self.types):
            self.repaired.append(node.name)
        try:
            found = self.inference.infer(node, self.types, self.values)
        except InvalidNodeError as error:
            operands = ", ".join(f"{name}: {self.types[name]}" for name in node.input if name)
            raise ModelError(
                f"node {node.name!r} ({node.op_type}) does not accept its inputs ({operands}): "
                f"{error}; check --dim values or export the model again"
            ) from error
        for name, value in zip(node.output, found, strict=True):
            if name:
                declared = self.model.declared.get(name, ValueType())
                self.types[name] = value if value.static else value.merged(declared)
        self._evaluate(node)
        self._classify(node)
        self.nodes.append(node)

    def _evaluate(self, node: NodeProto) -> None:
        if node.op_type in RANDOM_KINDS:
            return
        if node.op_type in ("Shape", "Size") and not node.domain:
            self._measure(node)
            return
        outputs = [name for name in node.output if name]
        inputs = [name for name in node.input if name]
        if any(name not in self.values for name in inputs):
            return
        known = [self.types[name] for name in outputs]
        if any(value.static and value.elements > FOLD_CAP_ELEMENTS for value in known):
            return
        arrays = evaluate(node, {name: self.values[name] for name in inputs}, self.model.opsets)
        for name, array in zip(outputs, arrays or (), strict=False):
            self._record(name, array)

    def _record(self, name: str, array: Array) -> None:
        known = self.types[name]
        if known.static and known.extents != array.shape:
            return
        if not known.static:
            self.types[name] = ValueType(known.element, array.shape)
        if array.size <= FOLD_CAP_ELEMENTS:
            self.values[name] = array

    def _measure(self, node: NodeProto) -> None:
        measured = self.types[node.input[0]]
        if measured.shape is None or not all(isinstance(dim, int) for dim in measured.shape):
            return
        extents = np.array(measured.extents, np.int64)
        if node.op_type == "Size":
            self.values[node.output[0]] = np.array(extents.prod(), np.int64)
            return
        bounds = {each.name: int(each.i) for each in node.attribute}
        self.values[node.output[0]] = extents[bounds.get("start", 0) : bounds.get("end")]

    def _classify(self, node: NodeProto) -> None:
        outputs = [name for name in node.output if name]
        inputs = [name for name in node.input if name]
        if any(name in self.model.outputs for name in outputs):
            return
        valued = all(name in self.values for name in outputs)
        measured = node.op_type in ("Shape", "Size") and not node.domain and valued
        if not measured and not all(name in self.constants for name in inputs):
            return
        exact = node.op_type in EXACT_KINDS and not node.domain
        if not (exact or valued) or node.op_type in RANDOM_KINDS or self._widens(node, valued):
            return
        if not all(self.types[name].static for name in outputs):
            return
        self.constants.update(outputs)
        if not exact or any(name in self.inexact for name in inputs):
            self.inexact.update(outputs)

    def _widens(self, node: NodeProto, valued: bool) -> bool:
        """Whether storing the result would unfold stored numbers into a wider type."""
        if node.op_type.startswith("Dequantize"):
            return True
        if node.op_type not in ("Cast", "CastLike"):
            return False
        source, result = self.types[node.input[0]], self.types[node.output[0]]
        if source.elements <= 1 or not (source.static and result.static):
            return False
        before = value_types.dtype_of(source.element, node.input[0]).bits
        after = value_types.dtype_of(result.element, node.output[0]).bits
        return after > before and (before <= 8 or not valued)


def _check_importable(node: NodeProto) -> None:
    kind = KINDS.get((node.domain, node.op_type))
    bodies = any(
        each.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for each in node.attribute
    )
    if (kind is not None and not kind.imported) or bodies:
        reason = kind.note if kind is not None and kind.note else "it runs a sub-graph"
        raise ModelError(
            f"node {node.name!r} ({node.op_type}) cannot be planned: {reason}; "
            "export the model without it, for example unrolled or with fixed lengths"
        )
