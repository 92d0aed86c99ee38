"""A convolutional network as a plain list of int8 layers, for compilers that read TFLite.

    python -m benchmarks.vela_network light:resnet50 network.json

Normalisation is folded, activation functions join the layer before, explicit padding becomes SAME
where the shapes agree. Only what chains of convolutions, residual sums and pooling need is known.
"""

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from stowplan.errors import UsageError
from stowplan.ir.graph import Graph, Operator, Role
from stowplan.ir.onnx_import import import_model
from stowplan.recipe import model_path

ACTIVATIONS = {"Relu": "RELU", "Clip": "RELU6"}
IGNORED = ("BatchNormalization", "Softmax", "Dropout", "Identity", "Reshape", "Flatten", "Squeeze")


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer; shapes are NHWC.

    Attributes:
        kind: ``conv``, ``depthwise``, ``add``, ``maxpool``, ``avgpool`` or ``dense``.
        inputs: values read.
        output: value made.
        shape: of the output.
        kernel: height and width.
        strides: vertical and horizontal.
        padding: ``SAME`` or ``VALID``.
        activation: ``NONE``, ``RELU`` or ``RELU6``.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    shape: tuple[int, ...]
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    padding: str = "VALID"
    activation: str = "NONE"


def main() -> None:
    """Write the layers of a model as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    graph = import_model(model_path(arguments.model), dims={}).graph
    name, shape, layers = layers_of(graph)
    network = {"input": name, "shape": shape, "layers": [asdict(layer) for layer in layers]}
    arguments.out.write_text(json.dumps(network))


def layers_of(graph: Graph) -> tuple[str, tuple[int, ...], list[Layer]]:
    """Input, its shape, and the layers in order. Raises UsageError for an operator not known."""
    (source,) = [t for t in graph.by_role(Role.INPUT) if len(t.shape) == 4]
    same: dict[str, str] = {}
    layers: list[Layer] = []
    for op in graph.operators:
        data = [same.get(n, n) for n in op.inputs if graph.tensor[n].role is not Role.WEIGHT]
        if op.kind in ACTIVATIONS:
            made = next(i for i, layer in enumerate(layers) if layer.output == data[0])
            layers[made] = replace(layers[made], activation=ACTIVATIONS[op.kind])
            same[op.outputs[0]] = data[0]
        elif op.kind in IGNORED:
            same[op.outputs[0]] = data[0]
        else:
            layers.append(_layer(graph, op, tuple(data)))
    return source.name, _nhwc(source.shape), layers


def _layer(graph: Graph, op: Operator, data: tuple[str, ...]) -> Layer:
    shape = _nhwc(graph.tensor[op.outputs[0]].shape)
    before = _nhwc(graph.tensor[op.inputs[0]].shape)
    output = op.outputs[0]
    if op.kind in ("Add", "Sum") and len(data) == 2:
        return Layer("add", data, output, shape)
    if op.kind == "Gemm":
        return Layer("dense", data, output, shape)
    if op.kind in ("GlobalAveragePool", "ReduceMean") and len(before) == 4:
        pooled = (1, 1, 1, before[3])
        return Layer("avgpool", data, output, pooled, (before[1], before[2]))
    if op.kind in ("Conv", "MaxPool", "AveragePool"):
        kernel, strides = _pair(op, "kernel_shape"), _pair(op, "strides")
        even = all(-(-before[i + 1] // strides[i]) == shape[i + 1] for i in range(2))
        padding = "SAME" if even and kernel != (1, 1) else "VALID"
        group = op.attribute("group", 1)
        kinds = {"Conv": "conv", "MaxPool": "maxpool", "AveragePool": "avgpool"}
        kind = kinds[op.kind] if group == 1 or op.kind != "Conv" else "depthwise"
        if kind == "depthwise" and group != shape[3]:
            raise UsageError(f"{op.name}: grouped convolutions are not translated")
        return Layer(kind, data, output, shape, kernel, strides, padding)
    raise UsageError(f"{op.name}: {op.kind} is not translated")


def _pair(op: Operator, name: str) -> tuple[int, int]:
    value = op.attribute(name, (1, 1))
    if not isinstance(value, tuple) or len(value) != 2:
        raise UsageError(f"{op.name}: {name} {value!r} is not translated")
    return int(value[0]), int(value[1])


def _nhwc(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape


if __name__ == "__main__":
    main()
