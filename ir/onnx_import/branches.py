"""Splice the taken branch of an If with a constant condition into the graph around it."""

from collections.abc import Mapping

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from stowplan.errors import ModelError


def taken_branch(node: NodeProto, condition: bool) -> tuple[list[NodeProto], list[TensorProto]]:
    """Nodes and initializers that replace an If node whose condition is known.

    Names local to the branch are prefixed with the node's name, and the branch's outputs are
    copied to the If's by Identity nodes.
    """
    wanted = "then_branch" if condition else "else_branch"
    graph = next((each.g for each in node.attribute if each.name == wanted), None)
    if graph is None or len(graph.output) != len(node.output):
        raise ModelError(f"node {node.name!r} (If): no usable {wanted}; export the model again")
    local = [tensor.name for tensor in graph.initializer]
    local += [name for inner in graph.node for name in inner.output if name]
    renamed = {name: f"{node.name}/{name}" for name in local}
    nodes = [_renamed(inner, renamed) for inner in graph.node]
    for index, inner in enumerate(nodes):
        inner.name = f"{node.name}/{inner.name or f'{inner.op_type}_{index}'}"
    for index, (value, output) in enumerate(zip(graph.output, node.output, strict=True)):
        if output:
            name = renamed.get(value.name, value.name)
            copy_name = f"{node.name}/output_{index}"
            nodes.append(
                NodeProto(op_type="Identity", name=copy_name, input=[name], output=[output])
            )
    tensors = []
    for tensor in graph.initializer:
        copy = TensorProto()
        copy.CopyFrom(tensor)
        copy.name = renamed[tensor.name]
        tensors.append(copy)
    return nodes, tensors


def _renamed(node: NodeProto, names: Mapping[str, str]) -> NodeProto:
    result = NodeProto()
    result.CopyFrom(node)
    result.domain = "" if node.domain == "ai.onnx" else node.domain
    for field in (result.input, result.output):
        field[:] = [names.get(name, name) for name in field]
    _rename_captures(result, names)
    return result


def _rename_captures(node: NodeProto, names: Mapping[str, str]) -> None:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            _rename_graph(attribute.g, names)
        for graph in attribute.graphs:
            _rename_graph(graph, names)


def _rename_graph(graph: GraphProto, names: Mapping[str, str]) -> None:
    shadowed = {value.name for value in graph.input} | {each.name for each in graph.initializer}
    shadowed |= {name for inner in graph.node for name in inner.output}
    visible = {old: new for old, new in names.items() if old not in shadowed}
    for inner in graph.node:
        inner.input[:] = [visible.get(name, name) for name in inner.input]
        _rename_captures(inner, visible)
    for value in graph.output:
        value.name = visible.get(value.name, value.name)
