"""A small fluent builder of ONNX models that tracks shapes and makes its own weights."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Value = str


class Net:
    """Builds one model; every method adds nodes and returns the name of the result."""

    def __init__(self, name: str, input_shape: Sequence[int]) -> None:
        """Start a model with one float input ``x`` of ``input_shape``."""
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.shapes: dict[Value, tuple[int, ...]] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.x = self.input("x", input_shape)

    def input(self, name: str, shape: Sequence[int]) -> Value:
        """Declare a float input."""
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
        self.shapes[name] = tuple(shape)
        return name

    def node(
        self, kind: str, inputs: Sequence[Value], shape: Sequence[int], **attributes: object
    ) -> Value:
        """Add a node with one output of known shape."""
        output = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], output, **attributes))
        self.shapes[output] = tuple(shape)
        return output

    def weight(self, *shape: int) -> Value:
        """A constant-filled weight."""
        extent = self.constant(np.array(shape, dtype=np.int64))
        fill = numpy_helper.from_array(np.array([0.01], dtype=np.float32))
        return self.node("ConstantOfShape", [extent], shape, value=fill)

    def constant(self, value: np.ndarray) -> Value:
        """An initializer."""
        name = f"const_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(value, name))
        self.shapes[name] = value.shape
        return name

    def conv(
        self,
        x: Value,
        channels: int,
        kernel: int | Sequence[int] = 1,
        stride: int | Sequence[int] = 1,
        groups: int = 1,
        dilation: int = 1,
        relu: bool = False,
    ) -> Value:
        """Convolution with "same" padding for odd kernels, bias from the folded batch norm."""
        batch, channels_in, *size = self.shapes[x]
        kernels = _each(kernel, len(size))
        strides = _each(stride, len(size))
        pads = [dilation * (k - 1) // 2 for k in kernels]
        out = [
            (s + 2 * p - dilation * (k - 1) - 1) // t + 1
            for s, p, k, t in zip(size, pads, kernels, strides, strict=True)
        ]
        weight = self.weight(channels, channels_in // groups, *kernels)
        y = self.node(
            "Conv",
            [x, weight, self.weight(channels)],
            (batch, channels, *out),
            kernel_shape=kernels,
            strides=strides,
            pads=pads + pads,
            group=groups,
            dilations=[dilation] * len(size),
        )
        return self.relu(y) if relu else y

    def unary(self, kind: str, x: Value, **attributes: object) -> Value:
        """An element-wise node of one operand."""
        return self.node(kind, [x], self.shapes[x], **attributes)

    def relu(self, x: Value) -> Value:
        """Rectifier."""
        return self.unary("Relu", x)

    def binary(self, kind: str, a: Value, b: Value) -> Value:
        """An element-wise node of two operands with broadcasting."""
        return self.node(kind, [a, b], np.broadcast_shapes(self.shapes[a], self.shapes[b]))

    def add(self, a: Value, b: Value) -> Value:
        """Sum."""
        return self.binary("Add", a, b)

    def pool(self, kind: str, x: Value, kernel: int | Sequence[int], stride: int = 1) -> Value:
        """``MaxPool`` or ``AveragePool`` with "same" padding."""
        batch, channels, *size = self.shapes[x]
        kernels = _each(kernel, len(size))
        strides = [stride] * len(size)
        pads = [(k - 1) // 2 for k in kernels]
        out = [(s + 2 * p - k) // stride + 1 for s, p, k in zip(size, pads, kernels, strict=True)]
        shape = (batch, channels, *out)
        return self.node(kind, [x], shape, kernel_shape=kernels, strides=strides, pads=pads + pads)

    def global_pool(self, x: Value) -> Value:
        """Global average pooling."""
        batch, channels, *size = self.shapes[x]
        return self.node("GlobalAveragePool", [x], (batch, channels, *[1] * len(size)))

    def concat(self, parts: Sequence[Value], axis: int = 1) -> Value:
        """Concatenation."""
        shape = list(self.shapes[parts[0]])
        shape[axis] = sum(self.shapes[part][axis] for part in parts)
        return self.node("Concat", parts, shape, axis=axis)

    def slice(self, x: Value, axis: int, start: int, end: int) -> Value:
        """Contiguous slice along one axis."""
        shape = list(self.shapes[x])
        shape[axis] = end - start
        bounds = [self.constant(np.array([v], dtype=np.int64)) for v in (start, end, axis)]
        return self.node("Slice", [x, *bounds], shape)

    def reshape(self, x: Value, *shape: int) -> Value:
        """Reshape."""
        return self.node("Reshape", [x, self.constant(np.array(shape, dtype=np.int64))], shape)

    def transpose(self, x: Value, *perm: int) -> Value:
        """Transpose."""
        return self.node("Transpose", [x], [self.shapes[x][p] for p in perm], perm=perm)

    def resize(self, x: Value, size: Sequence[int]) -> Value:
        """Bilinear resize of the spatial dimensions."""
        shape = (*self.shapes[x][:2], *size)
        sizes = self.constant(np.array(shape, dtype=np.int64))
        return self.node("Resize", [x, "", "", sizes], shape, mode="linear")

    def matmul(self, a: Value, b: Value) -> Value:
        """Matrix product."""
        left, right = self.shapes[a], self.shapes[b]
        batch = np.broadcast_shapes(left[:-2], right[:-2])
        return self.node("MatMul", [a, b], (*batch, left[-2], right[-1]))

    def linear(self, x: Value, features: int) -> Value:
        """Dense layer over the last axis."""
        y = self.matmul(x, self.weight(self.shapes[x][-1], features))
        return self.add(y, self.weight(features))

    def classifier(self, x: Value, classes: int = 1000) -> Value:
        """Global pooling, flatten, dense layer."""
        pooled = self.global_pool(x)
        batch, channels = self.shapes[pooled][:2]
        flat = self.node("Flatten", [pooled], (batch, channels))
        weights = [self.weight(channels, classes), self.weight(classes)]
        return self.node("Gemm", [flat, *weights], (batch, classes))

    def model(self, *outputs: Value) -> onnx.ModelProto:
        """The finished model."""
        values = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shapes[name])
            for name in outputs
        ]
        graph = helper.make_graph(self.nodes, self.name, self.inputs, values, self.initializers)
        opsets = [helper.make_opsetid("", 20)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def _each(value: int | Sequence[int], count: int) -> list[int]:
    return [value] * count if isinstance(value, int) else list(value)
