"""Random graphs of real operator kinds, and a byte-level interpreter of what graphs compute.

Every operator that computes writes bytes that depend on its nodes and on all its inputs' bytes;
operators that move data move them. Fused operators run their nodes one after another. Two graphs
of the same nodes are equivalent when they leave the same bytes in the outputs.
"""

import hashlib
import random
from dataclasses import dataclass
from math import prod

import numpy as np

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Alias, Attribute, Graph, Operator, Role, Tensor
from stowplan.ir.storage import storage_model
from stowplan.passes.view_rules import integers

Bytes = bytearray
Values = dict[str, bytes]


class GraphBuilder:
    """Builds a graph operator by operator; a state machine."""

    def __init__(self, name: str = "built") -> None:
        self.name = name
        self.tensors: dict[str, Tensor] = {}
        self.operators: list[Operator] = []

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        role: Role = Role.ACTIVATION,
        dtype: DType = DType.FLOAT32,
        alias: Alias | None = None,
    ) -> str:
        """Add a tensor."""
        self.tensors[name] = Tensor(name, shape, dtype, role, alias)
        return name

    def op(
        self,
        kind: str,
        inputs: tuple[str, ...] | list[str],
        outputs: tuple[str, ...] | list[str],
        **attributes: Attribute,
    ) -> Operator:
        """Add an operator that stands for one node of its own name."""
        name = f"{kind.lower()}_{len(self.operators)}"
        made = Operator(
            name,
            kind,
            tuple(inputs),
            tuple(outputs),
            attributes=tuple(sorted(attributes.items())),
            nodes=(name,),
        )
        self.operators.append(made)
        return made

    def unary(self, kind: str, source: str, name: str, role: Role = Role.ACTIVATION) -> str:
        """Add an operator of one input whose output has its shape."""
        self.tensor(name, self.tensors[source].shape, role, self.tensors[source].dtype)
        self.op(kind, (source,), (name,))
        return name

    def binary(self, kind: str, left: str, right: str, name: str) -> str:
        """Add an operator of two inputs whose output has the first one's shape."""
        self.tensor(name, self.tensors[left].shape)
        self.op(kind, (left, right), (name,))
        return name

    def build(self) -> Graph:
        """The graph so far."""
        return Graph(self.name, tuple(self.tensors.values()), tuple(self.operators))


class ModelSampler:
    """Grows a random graph without aliases, as an importer would make it."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._built = GraphBuilder("sampled")
        self._live: list[str] = []
        self._count = 0

    def sample(self, operators: int) -> Graph:
        """A graph of at least ``operators`` operators; some results are outputs."""
        for _ in range(self._rng.randint(1, 2)):
            self._live.append(self._new((1, self._rng.choice((2, 4)), 2, 2), Role.INPUT))
        steps = (
            [self._compute] * 3
            + [self._elementwise] * 4
            + [self._add, self._diamond, self._reshape, self._concat, self._concat]
            + [self._split, self._slice, self._transpose, self._quantise]
        )
        while len(self._built.operators) < operators:
            self._rng.choice(steps)()
        return self._with_outputs()

    def _with_outputs(self) -> Graph:
        graph = self._built.build()
        last = graph.operators[-1].outputs[0]
        tensors = tuple(
            Tensor(t.name, t.shape, t.dtype, Role.OUTPUT)
            if t.role is Role.ACTIVATION and self._is_output(graph, t.name, last)
            else t
            for t in graph.tensors
        )
        return graph.replace(tensors=tensors)

    def _is_output(self, graph: Graph, name: str, last: str) -> bool:
        unread = not graph.consumers[name]
        return name == last or self._rng.random() < (0.7 if unread else 0.05)

    def _new(
        self, shape: tuple[int, ...], role: Role = Role.ACTIVATION, dtype: DType = DType.FLOAT32
    ) -> str:
        self._count += 1
        return self._built.tensor(f"t{self._count}", shape, role, dtype)

    def _shape(self, name: str) -> tuple[int, ...]:
        return self._built.tensors[name].shape

    def _pick(self) -> str:
        floats = [n for n in self._live if self._built.tensors[n].dtype is DType.FLOAT32]
        return self._rng.choice(floats[-6:] if self._rng.random() < 0.8 else floats)

    def _result(self, kind: str, inputs: list[str], shape: tuple[int, ...], **attrs: int) -> str:
        output = self._new(shape)
        self._built.op(kind, inputs, (output,), **attrs)
        self._live.append(output)
        return output

    def _compute(self) -> None:
        source = self._pick()
        shape = self._shape(source)
        shape = (*shape[:1], self._rng.choice((2, 4)), *shape[2:]) if len(shape) == 4 else shape
        weight = self._new((3,), Role.WEIGHT)
        self._result(self._rng.choice(("Conv", "MatMul", "MaxPool")), [source, weight], shape)

    def _elementwise(self) -> None:
        source = self._pick()
        self._result(self._rng.choice(("Relu", "Sigmoid", "Clip")), [source], self._shape(source))

    def _add(self) -> None:
        source = self._pick()
        same = [n for n in self._live if self._shape(n) == self._shape(source)]
        other = self._rng.choice([n for n in same if self._built.tensors[n].dtype is DType.FLOAT32])
        self._result(self._rng.choice(("Add", "Mul")), [source, other], self._shape(source))

    def _diamond(self) -> None:
        source = self._pick()
        gate = self._result("Sigmoid", [source], self._shape(source))
        self._result("Mul", [source, gate], self._shape(source))

    def _reshape(self) -> None:
        source = self._pick()
        shape = self._shape(source)
        kind = self._rng.choice(("Reshape", "Identity", "Dropout", "Flatten"))
        same = kind in ("Identity", "Dropout")
        self._result(kind, [source], shape if same else (1, prod(shape[:-1]), 1, shape[-1]))

    def _concat(self) -> None:
        first = self._pick()
        tail = self._shape(first)[2:]
        same = [n for n in self._live if self._shape(n)[0] == 1 and self._shape(n)[2:] == tail]
        same = [n for n in same if self._built.tensors[n].dtype is DType.FLOAT32]
        members = [first, *(self._rng.choice(same) for _ in range(self._rng.randint(1, 2)))]
        channels = sum(self._shape(name)[1] for name in members)
        if channels <= 32:
            self._result("Concat", members, (1, channels, *tail), axis=1)

    def _split(self) -> None:
        source = self._pick()
        shape = self._shape(source)
        if shape[1] % 2:
            return
        half = (1, shape[1] // 2, *shape[2:])
        outputs = [self._new(half), self._new(half)]
        self._built.op("Split", (source,), outputs, axis=1)
        self._live += outputs

    def _slice(self) -> None:
        source = self._pick()
        shape = self._shape(source)
        start = self._rng.randrange(shape[1])
        output = self._new((1, shape[1] - start, *shape[2:]))
        self._built.op("Slice", (source,), (output,), axes=(1,), starts=(start,))
        self._live.append(output)

    def _transpose(self) -> None:
        source = self._pick()
        shape = self._shape(source)
        order = self._rng.choice(((1, 0, 2, 3), (0, 2, 1, 3)))
        output = self._new(tuple(shape[axis] for axis in order))
        self._built.op("Transpose", (source,), (output,), perm=order)
        if order[0] == 0:
            self._live.append(output)
            return
        again = self._new(shape)
        self._built.op("Transpose", (output,), (again,), perm=order)
        self._live.append(again)

    def _quantise(self) -> None:
        """``x -> Q -> DQ -> op -> Q -> DQ``, the quantisers often with one scale."""
        source = self._pick()
        scales = [self._rng.choice((0.5, 0.25)) for _ in range(2)]
        value = self._qdq(source, scales[0])
        for _ in range(self._rng.randint(1, 2)):
            kind = self._rng.choice(("Relu", "Reshape", "MaxPool"))
            result = self._result(kind, [value], self._shape(value))
            self._live.append(self._qdq(result, scales[1]))

    def _qdq(self, source: str, scale: float) -> str:
        shape = self._shape(source)
        quantised = self._new(shape, dtype=DType.INT8)
        self._built.op("QuantizeLinear", (source,), (quantised,), y_scale=scale, y_zero_point=3)
        output = self._new(shape)
        self._built.op("DequantizeLinear", (quantised,), (output,), x_scale=scale, x_zero_point=3)
        return output


def sampled_model(seed: int, operators: int) -> Graph:
    """A random graph; the same for the same arguments."""
    return ModelSampler(seed).sample(operators)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """Runs graphs whose operators stand for nodes of ``model``.

    Attributes:
        model: the graph before any pass, one operator per node and no views.
    """

    model: Graph

    def run(self, graph: Graph, order: list[int] | None = None) -> dict[str, bytes]:
        """Bytes of every output after running ``graph`` in an order of its operators."""
        memory = {t.name: Bytes(b"\xee" * t.size_bytes) for t in graph.tensors if t.alias is None}
        for tensor in graph.tensors:
            if tensor.role in (Role.INPUT, Role.WEIGHT):
                self._write(graph, memory, tensor.name, _noise(tensor.name, tensor.size_bytes))
        for index in order if order is not None else range(len(graph.operators)):
            op = graph.operators[index]
            given = {name: self._read(graph, memory, name) for name in op.inputs}
            for name, value in zip(op.outputs, self._compute(op, given), strict=True):
                self._write(graph, memory, name, value)
        return {t.name: self._read(graph, memory, t.name) for t in graph.by_role(Role.OUTPUT)}

    def _compute(self, op: Operator, given: Values) -> list[bytes]:
        """Outputs of an operator, by running its nodes; reads outside ``given`` are an error."""
        values = dict(given)
        for node in op.nodes:
            original = self.model.operator[node]
            results = self._node(original, [values[name] for name in original.inputs])
            values |= zip(original.outputs, results, strict=True)
        return [values[name] for name in op.outputs]

    def _node(self, op: Operator, inputs: list[bytes]) -> list[bytes]:
        tensor = self.model.tensor
        sizes = [tensor[name].size_bytes for name in op.outputs]
        match op.kind:
            case "Reshape" | "Identity" | "Dropout" | "Flatten":
                return [inputs[0]]
            case "Transpose":
                order = integers(op, "perm") or ()
                values = np.frombuffer(inputs[0], "<f4").reshape(tensor[op.inputs[0]].shape)
                return [values.transpose(order).tobytes()]
            case "Concat":
                return [b"".join(inputs)]
            case "Split":
                return [inputs[0][: sizes[0]], inputs[0][sizes[0] :]]
            case "Slice":
                return [inputs[0][len(inputs[0]) - sizes[0] :]]
            case "QuantizeLinear":
                return [bytes(value ^ _mask(op, "y_scale") for value in inputs[0][::4])]
            case "DequantizeLinear":
                return [b"".join(bytes((v ^ _mask(op, "x_scale"),)) * 4 for v in inputs[0])]
        label = op.name.encode() + b"|".join(inputs)
        return [_noise(f"{label.hex()}{i}", size) for i, size in enumerate(sizes)]

    @staticmethod
    def _read(graph: Graph, memory: dict[str, Bytes], name: str) -> bytes:
        root, offset = graph.resolve(name)
        return bytes(memory[root][offset : offset + graph.tensor[name].size_bytes])

    @staticmethod
    def _write(graph: Graph, memory: dict[str, Bytes], name: str, value: bytes) -> None:
        root, offset = graph.resolve(name)
        assert len(value) == graph.tensor[name].size_bytes
        memory[root][offset : offset + len(value)] = value


def _mask(op: Operator, scale: str) -> int:
    """A byte that stands for a scale: quantising undoes dequantising only with the same one."""
    value = op.attribute(scale)
    assert isinstance(value, float)
    return int(value * 100)


def _noise(label: str, size: int) -> bytes:
    return hashlib.shake_128(label.encode()).digest(size)


def random_order(graph: Graph, seed: int) -> list[int]:
    """A random order that the precedence of ``graph`` allows."""
    rng = random.Random(seed)
    before = [set(ops) for ops in storage_model(graph).predecessors]
    waiting, done, order = set(range(len(before))), set[int](), list[int]()
    while waiting:
        ready = sorted(i for i in waiting if before[i] <= done)
        chosen = rng.choice(ready)
        waiting.remove(chosen)
        done.add(chosen)
        order.append(chosen)
    return order
