"""Networks that both this project and Stream read, as plain ONNX files.

    python -m benchmarks.stream_network resnet18|fsrcnn|light:NAME|MODEL.onnx out.onnx

``resnet18`` and ``fsrcnn`` are two networks of Stream's examples, from their published definitions.
Of a model, only what Stream's parser cannot take is written another way: the mean over rows and
columns as global pooling, the dense layer behind it as a 1 x 1 convolution, weights that nodes make
as stored ones, shapes of all values stated. Weights are zero; neither tool looks at them.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from benchmarks.networks.builder import Net, Value
from stowplan.errors import UsageError
from stowplan.recipe import model_path

FLATTENING = ("Flatten", "Reshape", "Squeeze")


def main() -> None:
    """Write one network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    build = BUILT.get(arguments.network)
    if build is None:
        model = onnx.load(model_path(arguments.network), load_external_data=False)
    else:
        model = build()
    onnx.save(plain(model), arguments.out)


def resnet18() -> onnx.ModelProto:
    """Source: "Deep Residual Learning for Image Recognition", Table 1, option B shortcuts."""
    net = Net("resnet18", (1, 3, 224, 224))
    x = net.pool("MaxPool", net.conv(net.x, 64, 7, 2, relu=True), 3, 2)
    for stage, channels in enumerate((64, 128, 256, 512)):
        for stride in (2 if stage else 1, 1):
            kept = x if net.shapes[x][1] == channels else net.conv(x, channels, 1, stride)
            y = net.conv(net.conv(x, channels, 3, stride, relu=True), channels, 3)
            x = net.relu(net.add(y, kept))
    return net.model(net.conv(net.global_pool(x), 1000))


def fsrcnn() -> onnx.ModelProto:
    """FSRCNN(56, 12, 4) on a 960 x 540 picture; 16 maps that a pixel shuffle makes 4 times as wide.

    Source: "Accelerating the Super-Resolution Convolutional Neural Network", Section 3.2; size and
    last layer as in Stream's example.
    """
    net = Net("fsrcnn", (1, 1, 540, 960))
    x: Value = net.x
    for channels, kernel in ((56, 5), (12, 1), (12, 3), (12, 3), (12, 3), (12, 3), (56, 1)):
        x = net.conv(x, channels, kernel)
    return net.model(net.conv(x, 16, 3))


BUILT: dict[str, Callable[[], onnx.ModelProto]] = {"resnet18": resnet18, "fsrcnn": fsrcnn}


def plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with what the module docstring names written another way.

    Raises:
        UsageError: a dense layer or a mean is not of the kind named there.
    """
    graph = model.graph
    shapes = _shapes(shape_inference.infer_shapes(model, data_prop=True))
    stored = {tensor.name: tensor for tensor in graph.initializer}
    stored |= {node.output[0]: _zeros(node.output[0], shapes) for node in _made(graph)}
    same: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        inputs = [same.get(name, name) for name in node.input]
        if node.op_type in FLATTENING and shapes[node.input[0]][2:] == (1, 1):
            same[node.output[0]] = inputs[0]
        elif node.op_type == "Gemm":
            stored[inputs[1]] = _as_kernel(node, stored[inputs[1]])
            nodes.append(helper.make_node("Conv", inputs, node.output, kernel_shape=[1, 1]))
        elif node.op_type == "ReduceMean":
            if shapes[node.output[0]] != (*shapes[node.input[0]][:2], 1, 1):
                raise UsageError(f"{node.name}: only a mean over rows and columns is translated")
            nodes.append(helper.make_node("GlobalAveragePool", inputs[:1], node.output))
        elif node.output[0] not in stored:
            nodes.append(helper.make_node(node.op_type, inputs, node.output))
            nodes[-1].attribute.extend(node.attribute)
    return _model(model, nodes, stored)


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    graph = model.graph
    values = [*graph.input, *graph.value_info, *graph.output]
    found = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}
    return found | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}


def _made(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    return [node for node in graph.node if node.op_type == "ConstantOfShape"]


def _zeros(name: str, shapes: Mapping[str, tuple[int, ...]]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.zeros(shapes[name], np.float32), name)


def _as_kernel(node: onnx.NodeProto, weight: onnx.TensorProto) -> onnx.TensorProto:
    """Zeros of the shape of a 1 x 1 convolution's weight."""
    flags = {attribute.name: attribute.i for attribute in node.attribute}
    if flags.get("transA", 0):
        raise UsageError(f"{node.name}: a transposed activation is not translated")
    channels_out, channels_in = weight.dims if flags.get("transB", 0) else reversed(weight.dims)
    return _zeros(weight.name, {weight.name: (channels_out, channels_in, 1, 1)})


def _model(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], stored: Mapping[str, onnx.TensorProto]
) -> onnx.ModelProto:
    shapes = {name: tuple(tensor.dims) for name, tensor in stored.items()}
    for number, node in enumerate(nodes):
        node.name = f"node_{number}"
    used = dict.fromkeys(name for node in nodes for name in node.input if name in stored)
    weights = [stored[n] if stored[n].raw_data else _zeros(n, shapes) for n in used]
    (source,) = [value for value in model.graph.input if value.name not in stored]
    results = [helper.make_empty_tensor_value_info(v.name) for v in model.graph.output]
    graph = helper.make_graph(nodes, model.graph.name, [source], results, weights)
    written = helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version
    )
    return shape_inference.infer_shapes(written, strict_mode=True, data_prop=True)


if __name__ == "__main__":
    main()
