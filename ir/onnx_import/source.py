"""Run the model, or parts of it, on real numbers."""

from collections.abc import Iterable, Mapping
from functools import cached_property

from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from stowplan.errors import InternalError, ModelError
from stowplan.ir.graph import Graph, Operator
from stowplan.ir.onnx_import import tensors, value_types
from stowplan.ir.onnx_import.evaluate import RANDOM_KINDS, evaluate
from stowplan.ir.onnx_import.parameters import parameter_names
from stowplan.ir.onnx_import.placeholders import SAME_VALUES, derived, placeholders
from stowplan.ir.onnx_import.random_values import poison, random_input, random_weight
from stowplan.ir.onnx_import.resolve import ResolvedModel
from stowplan.ir.onnx_import.tensors import Array

_IR_VERSION = 10
"""Runtimes of the last years accept it; newer element types need a newer one."""

_IR_OF_ELEMENT = {
    int(TensorProto.DataType.Value(name)): version
    for name, version in (("FLOAT4E2M1", 11), ("FLOAT8E8M0", 12), ("UINT2", 13), ("INT2", 13))
    if name in dict(TensorProto.DataType.items())
}
_LIMIT_BYTES = 2**31 - 2**20
"""Protocol buffers hold less than 2 GiB; the rest is left to the nodes."""


_HALVES = frozenset({int(TensorProto.FLOAT16), int(TensorProto.BFLOAT16)})


class ModelSource:
    """What the executor needs of a model's file. Weights are read or invented once and kept.

    In the models it makes, half-precision results between nodes are further outputs behind the
    asked ones. Runtimes that compute halves in single precision otherwise drop the rounding between
    nodes, and not the same roundings in an operator alone as in the whole model.
    """

    def __init__(self, resolved: ResolvedModel, seed: int = 0) -> None:
        self._resolved = resolved
        self._seed = seed
        self._folder = resolved.model.path.parent
        self._cache: dict[str, Array] = {}
        self._nodes = {node.name: node for node in resolved.nodes}
        self._producer = {name: node for node in resolved.nodes for name in node.output if name}

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the model's inputs."""
        return tuple(self._resolved.model.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the model's outputs."""
        return self._resolved.model.outputs

    def weight(self, name: str) -> Array:
        """Numbers of a constant tensor, in the model's own element type.

        Absent data, and weights the file merely fills with one number, are replaced by random
        numbers that depend on the seed and the name only.

        Raises:
            ModelError: stored data that cannot be read.
            InternalError: ``name`` is no constant of the model.
        """
        if name not in self._cache:
            self._cache[name] = self._compute(name)
        return self._cache[name]

    def has_data(self, name: str) -> bool:
        """Whether the model's files hold the numbers of a weight."""
        if name in self._derived:
            return False
        tensor = self._resolved.tensors.get(name)
        return tensor is None or tensors.has_data(tensor, self._folder)

    def random_inputs(self, seed: int = 0) -> dict[str, Array]:
        """Random model inputs by name; token-like integers stay inside the tables they index."""
        return {
            name: random_input(name, value, self._index_bound(name), seed)
            for name, value in self._resolved.model.inputs.items()
        }

    def kernel(self, operator: Operator, graph: Graph) -> bytes:
        """ONNX model that computes ``operator.outputs`` from ``operator.inputs``.

        It runs the original nodes the operator stands for; every other value they need is
        embedded. Element types and shapes are the model's, whatever sizes ``graph`` plans with.
        For a tiled operator (one with a ``parent``) values that no tile reads are embedded as
        not-a-number, or all bits set in integer types.

        Raises:
            InternalError: the operator names a node or needs a value the model does not have.
        """
        unknown = [name for name in operator.nodes if name not in self._nodes]
        if unknown or not operator.nodes:
            missing = f"unknown node {unknown[0]!r}" if unknown else "no nodes to run"
            raise InternalError(f"operator {operator.name!r} of {graph.name!r}: {missing}")
        nodes = [self._nodes[name] for name in operator.nodes]
        tiled = operator.parent is not None
        unread = self._unread(nodes, operator.inputs) if tiled else frozenset[str]()
        return self._model(operator.name, nodes, operator.inputs, operator.outputs, unread=unread)

    def _unread(self, nodes: Iterable[NodeProto], given: Iterable[str]) -> frozenset[str]:
        """Values the nodes need that are neither given nor constant."""
        known = {*given, *(output for node in nodes for output in node.output)}
        needed = {name for node in nodes for name in node.input if name} - known
        return frozenset(needed & self._variable)

    @cached_property
    def _variable(self) -> frozenset[str]:
        """Values that depend on the numbers of the model's inputs, or on chance.

        What depends on their shapes alone was folded.
        """
        folded = self._resolved.values.keys()
        found = set(self._resolved.model.inputs)
        for node in self._resolved.nodes:
            if node.op_type in RANDOM_KINDS or not found.isdisjoint(node.input):
                found.update(set(node.output) - folded)
        return frozenset(found - {""})

    def whole(self) -> bytes:
        """The whole model, weights embedded.

        The nodes are those of the file (local functions inlined, constant branches taken), so
        running it also checks the importer's constant folding; only constants whose last bit
        depends on the implementation are embedded as numbers. Stored weights that operators read
        as data are inputs with a default: a runtime then treats them as it treats the weights fed
        to a kernel, rather than repack them for another algorithm.

        Raises:
            ModelError: the weights do not fit one protocol buffer.
        """
        needed = set(self._resolved.model.outputs)
        embedded = self._resolved.inexact | self._placeholders
        nodes: list[NodeProto] = []
        for node in reversed(self._resolved.nodes):
            if needed.isdisjoint(node.output) or not embedded.isdisjoint(node.output):
                continue
            needed.update(node.input)
            nodes.append(node)
        nodes.reverse()
        model = self._resolved.model
        stored = self._resolved.tensors.keys() | self._placeholders
        weights = [name for name in self._data_operands(nodes) if name in stored]
        return self._model(model.name, nodes, tuple(model.inputs), model.outputs, tuple(weights))

    def _data_operands(self, nodes: Iterable[NodeProto]) -> dict[str, None]:
        """Names the nodes read as data, in order."""
        found: dict[str, None] = {}
        for node in nodes:
            version = self._opsets.get(node.domain, 1)
            roles = parameter_names(node, version, self._resolved.values)
            found |= {n: None for n, r in zip(node.input, roles, strict=True) if n and r is None}
        return found

    def _model(
        self,
        name: str,
        nodes: list[NodeProto],
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        defaulted: tuple[str, ...] = (),
        unread: frozenset[str] = frozenset(),
    ) -> bytes:
        model = ModelProto(producer_name="stowplan")
        domains = {"", *(node.domain for node in nodes)}
        model.opset_import.extend(
            helper.make_opsetid(domain, version)
            for domain, version in self._opsets.items()
            if domain in domains
        )
        model.graph.name = name
        model.graph.node.extend(nodes)
        given = set(inputs) | {output for node in nodes for output in node.output}
        wanted = (each for node in nodes for each in node.input if each and each not in given)
        embedded = list(dict.fromkeys((*wanted, *(each for each in outputs if each not in given))))
        self._check_limit(name, embedded)
        for each in embedded:
            target = model.graph.initializer.add()
            if each in unread:
                target.CopyFrom(numpy_helper.from_array(poison(self._resolved.types[each]), each))
            else:
                self._embed(each, target)
        results = (each for node in nodes for each in node.output if each)
        halves = tuple(each for each in results if self._element(each) in _HALVES)
        for field, names in (
            (model.graph.input, inputs + defaulted),
            (model.graph.output, outputs + halves),
        ):
            field.extend(
                helper.make_value_info(each, value_types.to_proto(self._resolved.types[each]))
                for each in dict.fromkeys(names)
            )
        elements = {self._resolved.types[each].element for each in (*inputs, *outputs, *embedded)}
        model.ir_version = max(_IR_OF_ELEMENT.get(each, _IR_VERSION) for each in elements)
        return bytes(model.SerializeToString())

    @property
    def _opsets(self) -> Mapping[str, int]:
        return self._resolved.model.opsets

    def _element(self, name: str) -> int:
        value = self._resolved.types.get(name)
        return 0 if value is None else value.element

    def _check_limit(self, name: str, embedded: Iterable[str]) -> None:
        total = sum(self._size_bytes(each) for each in embedded)
        if total > _LIMIT_BYTES:
            raise ModelError(
                f"model {name!r}: {total:,} bytes of weights do not fit one ONNX file of 2 GiB, "
                "so it cannot be run as a whole; prove a smaller variant (fewer layers)"
            )

    def _size_bytes(self, name: str) -> int:
        value = self._resolved.types[name]
        return value.elements * value_types.dtype_of(value.element, name).bits // 8

    def _embed(self, name: str, target: TensorProto) -> None:
        stored = self._resolved.tensors.get(name)
        inline = stored is not None and not tensors.is_external(stored)
        if stored is not None and inline and tensors.has_data(stored, self._folder):
            target.CopyFrom(stored)
            target.name = name
        else:
            target.CopyFrom(numpy_helper.from_array(self.weight(name), name))

    def _compute(self, name: str) -> Array:
        resolved = self._resolved
        if name in resolved.tensors:
            stored = resolved.tensors[name]
            if tensors.has_data(stored, self._folder):
                return tensors.read_array(stored, self._folder)
            return random_weight(name, resolved.types[name], self._use(name), self._seed)
        if name in self._placeholders:
            return random_weight(name, resolved.types[name], self._use(name), self._seed)
        if name in resolved.values and name not in self._derived:
            return resolved.values[name]
        node = self._producer.get(name)
        if node is None or node.op_type in RANDOM_KINDS:
            raise InternalError(f"tensor {name!r} is no constant of {resolved.model.path}")
        inputs = {each: self.weight(each) for each in node.input if each}
        arrays = evaluate(node, inputs, self._opsets)
        if arrays is None:
            raise InternalError(f"node {node.name!r} ({node.op_type}) cannot be evaluated")
        names = [each for each in node.output if each]
        self._cache.update(zip(names, arrays, strict=True))
        return self._cache[name]

    @cached_property
    def _consumers(self) -> Mapping[str, list[tuple[NodeProto, int]]]:
        found: dict[str, list[tuple[NodeProto, int]]] = {}
        for node in self._resolved.nodes:
            for position, name in enumerate(node.input):
                found.setdefault(name, []).append((node, position))
        return found

    @cached_property
    def _placeholders(self) -> frozenset[str]:
        return placeholders(self._resolved, self._consumers)

    @cached_property
    def _derived(self) -> frozenset[str]:
        return derived(self._resolved, self._placeholders)

    def _use(self, name: str) -> tuple[str, int, str]:
        """Kind, position and parameter name of the first real consumer of a weight."""
        for node, position in self._consumers.get(name, ()):
            if node.op_type in SAME_VALUES and position == 0 and not node.domain:
                return self._use(node.output[0])
            version = self._opsets.get(node.domain, 1)
            parameter = parameter_names(node, version, self._resolved.values)[position]
            return node.op_type, position, parameter or ""
        return "", 0, ""

    def _index_bound(self, name: str) -> int | None:
        """Smallest extent the values of ``name`` index into, if they index anything."""
        bounds = []
        for node, position in self._consumers.get(name, ()):
            if node.op_type in SAME_VALUES and position == 0 and not node.domain:
                bounds.append(self._index_bound(node.output[0]))
            elif node.op_type in ("Gather", "GatherElements") and position == 1:
                bounds.append(self._gathered_extent(node))
        return min((bound for bound in bounds if bound is not None), default=None)

    def _gathered_extent(self, node: NodeProto) -> int:
        axis = next((int(each.i) for each in node.attribute if each.name == "axis"), 0)
        return self._resolved.types[node.input[0]].extents[axis]
