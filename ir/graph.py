"""Immutable data-flow graph: tensors, operators and views.

The order of ``Graph.operators`` is the reference semantics: running the operators one after
another in that order, each reading and writing the bytes of its operands' storage, *defines* what
the graph computes. Any other order is legal when every read sees the same writes
(``ir.storage`` derives the precedence, ``ir.check_plan`` checks it independently).

A tensor whose ``alias`` is set owns no bytes: it is a contiguous view at a byte offset of another
tensor. A tensor without alias is a *storage*. A storage may be written by several operators (the
members of an elided Concat, the partial sums of a tiled GEMM): the first in graph order defines
it, later ones update it in place and come after the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from math import prod

import msgspec

from stowplan.errors import ModelError
from stowplan.ir.dtypes import DType

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
Interval = tuple[int, int]
"""Half-open interval ``[lower, upper)``."""


class Role(StrEnum):
    """What a tensor is to the model."""

    INPUT = "input"
    WEIGHT = "weight"
    ACTIVATION = "activation"
    OUTPUT = "output"
    STATE = "state"


@dataclass(frozen=True, slots=True)
class Alias:
    """View of ``base`` starting ``offset_bytes`` into it."""

    base: str
    offset_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value of the model.

    Attributes:
        name: unique in the graph.
        shape: static extents; ``()`` is a scalar.
        dtype: element type; sizes follow from its stored width.
        role: what the tensor is to the model.
        alias: set when the tensor is a view and owns no bytes.
        parent: name of the untiled tensor this is a tile of.
        region: for a tile, the half-open interval per dimension of the parent it covers.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    role: Role = Role.ACTIVATION
    alias: Alias | None = None
    parent: str | None = None
    region: tuple[Interval, ...] | None = None

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes the elements occupy, sub-byte types packed."""
        return -(-self.elements * self.dtype.bits // 8)


@dataclass(frozen=True, slots=True)
class Operator:
    """One scheduled unit: an ONNX node, a fused group, or a tile of one.

    Attributes:
        name: unique in the graph.
        kind: the ONNX operator type of the node that dominates its cost (``Conv``, ``Gemm``).
        inputs: names of tensors read, in the node's order, absent optional inputs left out.
        outputs: names of tensors written.
        attributes: (name, value) pairs of the dominating node, sorted by name.
        epilogue: kinds fused behind the dominating node, in order (``Add``, ``Relu``).
        prologue: kinds fused in front of it (``DequantizeLinear``, ``Pad``).
        nodes: names of the ONNX nodes it stands for, in topological order.
        workspace_bytes: scratch bytes needed only while it runs.
        in_place: (output index, input index) pairs that may share storage byte for byte.
        domain: ONNX domain of ``kind``; empty for ai.onnx.
        parent: name of the untiled operator this is a tile of.
        region: for a tile, the half-open interval per dimension of the parent's first output.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[tuple[str, Attribute], ...] = ()
    epilogue: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    workspace_bytes: int = 0
    in_place: tuple[tuple[int, int], ...] = ()
    domain: str = ""
    parent: str | None = None
    region: tuple[Interval, ...] | None = None

    def attribute(self, name: str, default: Attribute | None = None) -> Attribute | None:
        """Value of attribute ``name``, or ``default`` when the operator has none."""
        return next((value for key, value in self.attributes if key == name), default)


@dataclass(frozen=True)
class Graph:
    """Immutable graph. Build one with :meth:`of`; change one with :meth:`replace`.

    Attributes:
        name: the model's name.
        tensors: every tensor, in a stable order.
        operators: every operator in reference order (topological).
    """

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]

    @cached_property
    def tensor(self) -> Mapping[str, Tensor]:
        """Tensor by name."""
        return {tensor.name: tensor for tensor in self.tensors}

    @cached_property
    def size_bytes(self) -> Mapping[str, int]:
        """Bytes of each tensor's elements by tensor name."""
        return {tensor.name: tensor.size_bytes for tensor in self.tensors}

    @cached_property
    def operator(self) -> Mapping[str, Operator]:
        """Operator by name."""
        return {operator.name: operator for operator in self.operators}

    @cached_property
    def producer(self) -> Mapping[str, Operator]:
        """Operator that names the tensor as an output (views and elided Concats have none)."""
        return {output: op for op in self.operators for output in op.outputs}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Operator, ...]]:
        """Operators that name the tensor as an input, once each, in graph order."""
        found: dict[str, list[Operator]] = {tensor.name: [] for tensor in self.tensors}
        for op in self.operators:
            for name in dict.fromkeys(op.inputs):
                found[name].append(op)
        return {name: tuple(ops) for name, ops in found.items()}

    def resolve(self, name: str) -> tuple[str, int]:
        """Storage that holds tensor ``name`` and the byte offset of its first element in it."""
        offset = 0
        tensor = self.tensor[name]
        for _ in range(len(self.tensors)):
            if tensor.alias is None:
                return tensor.name, offset
            offset += tensor.alias.offset_bytes
            tensor = self.tensor[tensor.alias.base]
        raise ModelError(f"tensor {name!r}: its chain of views is circular")

    def by_role(self, role: Role) -> tuple[Tensor, ...]:
        """Tensors of one role, in graph order."""
        return tuple(tensor for tensor in self.tensors if tensor.role is role)

    def replace(
        self,
        tensors: tuple[Tensor, ...] | None = None,
        operators: tuple[Operator, ...] | None = None,
    ) -> "Graph":
        """A graph with the given parts exchanged."""
        return replace(
            self,
            tensors=self.tensors if tensors is None else tensors,
            operators=self.operators if operators is None else operators,
        )

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the graph's content, hexadecimal."""
        return sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()
