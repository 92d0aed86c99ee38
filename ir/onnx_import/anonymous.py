"""Names taken out of small ONNX models, so that models that compute the same are equal bytes."""

from collections.abc import Iterable

from onnx import AttributeProto, ModelProto, NodeProto

_SUBGRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def without_names(model: bytes) -> bytes:
    """``model`` with its values named by order of appearance and everything else nameless.

    Inputs, outputs, nodes and initializers keep their order. Models with subgraphs, whose nodes
    reach values by name from inside, are returned as they are.
    """
    proto = ModelProto.FromString(model)
    graph = proto.graph
    if graph.sparse_initializer or any(map(_has_subgraph, graph.node)):
        return model
    names: dict[str, str] = {"": ""}
    for name in _in_order(proto):
        names.setdefault(name, f"v{len(names)}")
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name, value.doc_string = names[value.name], ""
    for node in graph.node:
        node.name = node.doc_string = ""
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    del graph.value_info[:]
    del graph.quantization_annotation[:]
    graph.name, graph.doc_string = "g", ""
    return bytes(proto.SerializeToString(deterministic=True))


def _has_subgraph(node: NodeProto) -> bool:
    return any(attribute.type in _SUBGRAPHS for attribute in node.attribute)


def _in_order(model: ModelProto) -> Iterable[str]:
    graph = model.graph
    yield from (value.name for value in (*graph.input, *graph.initializer))
    for node in graph.node:
        yield from (*node.input, *node.output)
    yield from (value.name for value in graph.output)
