"""Read an ONNX file into flat, uniquely named, topologically sorted form."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, inliner

from stowplan.errors import ModelError
from stowplan.ir.onnx_import import tensors, value_types
from stowplan.ir.onnx_import.value_types import ValueType

OLDEST_OPSET = 7


@dataclass(frozen=True, slots=True)
class FlatModel:
    """A model without local functions, every node uniquely named.

    Attributes:
        path: file it came from; external data is looked up beside it.
        name: the graph's name, or the file's stem.
        opsets: version by domain.
        inputs: type by name of each graph input that is no initializer.
        outputs: names of the graph outputs.
        nodes: producers before consumers.
        initializers: by name, sparse ones made dense.
        declared: types the file states for any value.
    """

    path: Path
    name: str
    opsets: Mapping[str, int]
    inputs: Mapping[str, ValueType]
    outputs: tuple[str, ...]
    nodes: tuple[NodeProto, ...]
    initializers: Mapping[str, TensorProto]
    declared: Mapping[str, ValueType]


def read_model(path: Path) -> FlatModel:
    """Read and flatten a model file.

    Raises:
        ModelError: missing, unreadable, not an ONNX model, of an opset older than 7, or a graph
            that is cyclic or reads values nobody produces.
    """
    model = _inlined(_parse(path), path)
    _check_text(model, path)
    opsets = {_domain(opset.domain): int(opset.version) for opset in model.opset_import}
    _check_opsets(opsets, model.graph, path)
    graph = model.graph
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    initializers |= {each.values.name: tensors.dense(each) for each in graph.sparse_initializer}
    for tensor in initializers.values():
        tensors.check_payload(tensor)
    declared = {
        value.name: value_types.from_proto(value.type)
        for value in (*graph.value_info, *graph.output, *graph.input)
    }
    inputs = {v.name: declared[v.name] for v in graph.input if v.name not in initializers}
    return FlatModel(
        path=path,
        name=graph.name or path.stem,
        opsets=opsets,
        inputs=inputs,
        outputs=tuple(dict.fromkeys(value.name for value in graph.output)),
        nodes=_sorted(_uniquely_named(graph.node), inputs.keys() | initializers.keys()),
        initializers=initializers,
        declared=declared,
    )


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _parse(path: Path) -> ModelProto:
    try:
        data = path.read_bytes()
    except IsADirectoryError:
        raise ModelError(f"{path}: is a directory; name the .onnx file in it") from None
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot read: {error.strerror}; check the file") from error
    if data.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path}: a Git LFS pointer, not the model; run `git lfs pull`")
    try:
        model = ModelProto.FromString(data)
    except DecodeError:
        raise ModelError(
            f"{path}: not an ONNX model, or cut short ({len(data):,} bytes); "
            "export or download it again"
        ) from None
    if not model.graph.node or not model.graph.output:
        missing = "graph.output" if model.graph.node else "graph.node"
        raise ModelError(f"{path}: not a complete ONNX model: {missing} is empty; export it again")
    return model


def _inlined(model: ModelProto, path: Path) -> ModelProto:
    if not model.functions:
        return model
    try:
        return inliner.inline_local_functions(model)
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{path}: local functions cannot be inlined: {error}; export without functions"
        ) from error


def _check_opsets(opsets: Mapping[str, int], graph: GraphProto, path: Path) -> None:
    for node in graph.node:
        if _domain(node.domain) not in opsets:
            raise ModelError(
                f"{path}: opset_import has no entry for domain {node.domain or 'ai.onnx'!r}, "
                f"which node {node.name or node.op_type!r} uses; export the model again"
            )
    if opsets.get("", OLDEST_OPSET) < OLDEST_OPSET:
        raise ModelError(
            f"{path}: opset {opsets['']} is older than {OLDEST_OPSET}; "
            "convert the model with onnx.version_converter first"
        )


def _check_text(model: ModelProto, path: Path) -> None:
    """Names that are not UTF-8 arrive as bytes and would fail somewhere far from here."""
    graph = model.graph
    if not all(isinstance(opset.domain, str) for opset in model.opset_import):
        raise ModelError(f"{path}: a domain of opset_import is not UTF-8; export the model again")
    for node in graph.node:
        names = (node.name, node.op_type, node.domain, *node.input, *node.output)
        texts = (*names, *(attribute.name for attribute in node.attribute))
        if not all(isinstance(text, str) for text in texts):
            raise ModelError(f"{path}: a node has a name that is not UTF-8; export the model again")
    named = (*graph.initializer, *graph.input, *graph.output, *graph.value_info)
    if not all(isinstance(each.name, str) for each in named):
        raise ModelError(f"{path}: a tensor has a name that is not UTF-8; export the model again")


def _uniquely_named(nodes: Iterable[NodeProto]) -> list[NodeProto]:
    original = list(nodes)
    taken = {node.name for node in original}
    used: set[str] = set()
    result: list[NodeProto] = []
    for index, node in enumerate(original):
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.domain = _domain(node.domain)
        if not node.name or node.name in used:
            copy.name = fresh(node.name or f"{node.op_type}_{index}", taken)
        taken.add(copy.name)
        used.add(copy.name)
        result.append(copy)
    return result


def fresh(stem: str, taken: set[str]) -> str:
    """``stem``, with a number appended when it is taken."""
    name, count = stem, 0
    while name in taken:
        count += 1
        name = f"{stem}_{count}"
    return name


def reads(node: NodeProto) -> list[str]:
    """Names the node reads, those its sub-graphs capture from outside included."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs
        for graph in graphs:
            local = {value.name for value in graph.input}
            local |= {tensor.name for tensor in graph.initializer}
            local |= {name for inner in graph.node for name in inner.output}
            inner_reads = [name for inner in graph.node for name in reads(inner)]
            inner_reads += [value.name for value in graph.output]
            names += [name for name in inner_reads if name not in local]
    return names


def _sorted(nodes: list[NodeProto], given: set[str]) -> tuple[NodeProto, ...]:
    """The nodes in file order, but each behind its producers."""
    producer = _producers(nodes, given)
    emitted: dict[str, NodeProto] = {}
    open_nodes: set[str] = set()
    for root in nodes:
        stack = [root]
        while stack:
            node = stack[-1]
            if node.name in emitted:
                stack.pop()
                continue
            missing = [
                producer[name]
                for name in reads(node)
                if name not in given and _known(name, node, producer).name not in emitted
            ]
            if not missing:
                emitted[node.name] = node
                open_nodes.discard(node.name)
                stack.pop()
                continue
            open_nodes.add(node.name)
            if missing[0].name in open_nodes:
                raise ModelError(f"node {missing[0].name!r} ({node.op_type}) is part of a cycle")
            stack.append(missing[0])
    return tuple(emitted.values())


def _producers(nodes: list[NodeProto], given: set[str]) -> dict[str, NodeProto]:
    producer: dict[str, NodeProto] = {}
    for node in nodes:
        for name in filter(None, node.output):
            if name in producer or name in given:
                raise ModelError(
                    f"tensor {name!r} is produced twice, the second time by node {node.name!r} "
                    f"({node.op_type}); export the model again"
                )
            producer[name] = node
    return producer


def _known(name: str, node: NodeProto, producer: Mapping[str, NodeProto]) -> NodeProto:
    if name not in producer:
        raise ModelError(
            f"node {node.name!r} ({node.op_type}) reads {name!r}, which no input, initializer or "
            "node produces; export the model again"
        )
    return producer[name]
