"""Random small ONNX models: views, joins, residuals, products and quantised pairs."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS, SIDE = 4, 6
OPSET = 17


@dataclass
class Builder:
    """A model in the making; every value is a float32 tensor ``[1, channels, side, side]``.

    Attributes:
        values: shape by name of the values that later nodes may read.
    """

    seed: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    values: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.numbers = np.random.default_rng(self.seed)

    def constant(self, value: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], count: int = 1, **attributes: Any) -> list[str]:
        at = len(self.nodes)
        outputs = [f"v{at}_{i}" for i in range(count)]
        self.nodes.append(helper.make_node(kind, inputs, outputs, f"{kind}_{at}", **attributes))
        return outputs

    def one(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.node(kind, list(inputs), **attributes)[0]

    def pick(self) -> str:
        return self.rng.choice(list(self.values))

    def keep(self, name: str, shape: tuple[int, ...]) -> None:
        self.values[name] = shape


def elementwise(b: Builder) -> None:
    source = b.pick()
    kind = b.rng.choice(["Relu", "Sigmoid", "Tanh", "Neg", "Identity"])
    b.keep(b.one(kind, source), b.values[source])


def join(b: Builder) -> None:
    left = b.pick()
    right = b.rng.choice([n for n, shape in b.values.items() if shape == b.values[left]])
    b.keep(b.one(b.rng.choice(["Add", "Mul", "Sub"]), left, right), b.values[left])


def scale(b: Builder) -> None:
    source = b.pick()
    vector = b.constant(b.numbers.standard_normal((b.values[source][1], 1, 1), np.float32))
    b.keep(b.one(b.rng.choice(["Add", "Mul"]), source, vector), b.values[source])


def convolve(b: Builder) -> None:
    source = b.pick()
    channels, groups = b.values[source][1], b.rng.choice([1, b.values[source][1]])
    weight = b.numbers.standard_normal((channels, channels // groups, 3, 3), np.float32) / 3
    operands = [source, b.constant(weight)]
    if b.rng.random() < 0.5:
        operands.append(b.constant(b.numbers.standard_normal(channels, np.float32)))
    output = b.one("Conv", *operands, pads=[1] * 4, group=groups)
    b.keep(output, b.values[source])


def concat(b: Builder) -> None:
    parts = [b.pick() for _ in range(b.rng.choice([2, 2, 3]))]
    channels = sum(b.values[part][1] for part in parts)
    if channels <= 4 * CHANNELS:
        b.keep(b.one("Concat", *parts, axis=1), (1, channels, SIDE, SIDE))


def split(b: Builder) -> None:
    source = b.pick()
    channels = b.values[source][1]
    if channels > 1:
        cut = b.rng.randrange(1, channels)
        sizes = b.constant(np.array([cut, channels - cut], np.int64))
        for name, part in zip(
            b.node("Split", [source, sizes], 2, axis=1), (cut, channels - cut), strict=True
        ):
            b.keep(name, (1, part, SIDE, SIDE))


def cut_out(b: Builder) -> None:
    source = b.pick()
    begin = b.rng.randrange(b.values[source][1])
    end = b.rng.randrange(begin, b.values[source][1]) + 1
    bounds = (b.constant(np.array([value], np.int64)) for value in (begin, end, 1))
    b.keep(b.one("Slice", source, *bounds), (1, end - begin, SIDE, SIDE))


def reshape(b: Builder) -> None:
    """Fold into a matrix, perhaps multiply or transpose it, and unfold."""
    source = b.pick()
    channels = b.values[source][1]
    matrix = b.one("Reshape", source, b.constant(np.array([channels, -1], np.int64)))
    width = SIDE * SIDE
    if b.rng.random() < 0.5:
        weight = b.numbers.standard_normal((width, width), np.float32) / SIDE
        matrix = b.one("MatMul", matrix, b.constant(weight))
    elif b.rng.random() < 0.5:
        matrix = b.one("Transpose", matrix, perm=[1, 0])
    target = b.constant(np.array([1, channels, SIDE, SIDE], np.int64))
    b.keep(b.one("Reshape", matrix, target), (1, channels, SIDE, SIDE))


def quantise(b: Builder) -> None:
    source = b.pick()
    parameters = (b.constant(np.float32(0.1)), b.constant(np.int8(b.rng.choice([0, 5]))))
    narrow = b.one("QuantizeLinear", source, *parameters)
    if b.rng.random() < 0.3:
        shape = b.constant(np.array([1, -1, SIDE, SIDE], np.int64))
        narrow = b.one("Reshape", narrow, shape)
    b.keep(b.one("DequantizeLinear", narrow, *parameters), b.values[source])


STEPS: tuple[Callable[[Builder], None], ...] = (
    elementwise,
    join,
    scale,
    convolve,
    concat,
    split,
    cut_out,
    reshape,
    quantise,
)


def random_model(seed: int, folder: Path, steps: int = 12) -> Path:
    """Write a random model; whatever nothing reads is an output, and some other values are too."""
    b = Builder(seed)
    shape = (1, CHANNELS, SIDE, SIDE)
    inputs = {f"x{i}": shape for i in range(b.rng.choice([1, 2]))}
    b.values.update(inputs)
    for _ in range(steps):
        b.rng.choice(STEPS)(b)
    read = {name for node in b.nodes for name in node.input}
    made = [name for name in b.values if name not in inputs]
    outputs = [name for name in made if name not in read or b.rng.random() < 0.1]
    graph = helper.make_graph(
        b.nodes,
        "random",
        [_value(name, shape) for name, shape in inputs.items()],
        [_value(name, b.values[name]) for name in outputs],
        b.constants,
    )
    path = folder / f"random{seed}.onnx"
    opset = [helper.make_opsetid("", OPSET)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def _value(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    assert prod(shape) > 0
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
