"""Text form of a graph: prints for people, parses back to the same graph.

::

    graph "tiny" {
    tensors
      x: input float32[1, 3, 8, 8]
      w: weight float32[4, 3, 1, 1]
      y: output float32[1, 4, 8, 8]
      half: activation float32[1, 2, 8, 8] view y + 0
    operators
      conv: Conv(x, w) -> (y) attributes {group = 1} epilogue (Relu) nodes (conv, relu)
    }

Names that are no plain words, or one of the words of this format, are JSON strings; ``#`` begins a
comment. What a clause does not say has its default. Every field of every tensor and operator is
kept, and so is their order.
"""

import json
import re
from collections.abc import Iterable

from stowplan.ir.graph import Alias, Attribute, Graph, Interval, Operator, Tensor
from stowplan.ir.text_tokens import TokenReader
from stowplan.ir.text_values import attribute_value, dtype, role

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_CLAUSES = "attributes domain epilogue in_place nodes parent prologue region view workspace"
_RESERVED = frozenset(_CLAUSES.split()) | {"graph", "operators", "tensors"}


def print_graph(graph: Graph) -> str:
    """The text form of ``graph``."""
    lines = [f"graph {json.dumps(graph.name)} {{", "tensors"]
    lines += [f"  {_print_tensor(tensor)}" for tensor in graph.tensors]
    lines.append("operators")
    lines += [f"  {_print_operator(op)}" for op in graph.operators]
    return "\n".join([*lines, "}", ""])


def parse_graph(text: str, source: str = "graph") -> Graph:
    """Read a text form. The result is not verified; see ``ir.verify``.

    Args:
        text: what :func:`print_graph` prints, or a person wrote.
        source: file name for messages.

    Raises:
        ModelError: a syntax error, with source and line.
    """
    reader = TokenReader(text, source)
    reader.expect("graph")
    name = reader.name()
    reader.expect("{")
    reader.expect("tensors")
    tensors = []
    while reader.peek(1) == ":":
        tensors.append(_parse_tensor(reader))
    reader.expect("operators")
    operators = []
    while reader.peek(1) == ":":
        operators.append(_parse_operator(reader))
    reader.expect("}")
    reader.end()
    return Graph(name, tuple(tensors), tuple(operators))


def _name(name: str) -> str:
    return name if _WORD.match(name) and name not in _RESERVED else json.dumps(name)


def _names(names: Iterable[str]) -> str:
    return f"({', '.join(map(_name, names))})"


def _print_region(region: tuple[Interval, ...] | None) -> str:
    if region is None:
        return ""
    return f" region [{', '.join(f'{lower}:{upper}' for lower, upper in region)}]"


def _print_parent(parent: str | None) -> str:
    return "" if parent is None else f" parent {_name(parent)}"


def _print_tensor(tensor: Tensor) -> str:
    shape = ", ".join(map(str, tensor.shape))
    text = f"{_name(tensor.name)}: {tensor.role} {tensor.dtype}[{shape}]"
    if tensor.alias is not None:
        text += f" view {_name(tensor.alias.base)} + {tensor.alias.offset_bytes}"
    return text + _print_parent(tensor.parent) + _print_region(tensor.region)


def _print_operator(op: Operator) -> str:
    text = f"{_name(op.name)}: {_name(op.kind)}{_names(op.inputs)} -> {_names(op.outputs)}"
    if op.domain:
        text += f" domain {_name(op.domain)}"
    if op.attributes:
        pairs = ", ".join(f"{_name(key)} = {_value(value)}" for key, value in op.attributes)
        text += f" attributes {{{pairs}}}"
    for clause, names in (
        ("prologue", op.prologue),
        ("epilogue", op.epilogue),
        ("nodes", op.nodes),
    ):
        text += f" {clause} {_names(names)}" if names else ""
    if op.workspace_bytes:
        text += f" workspace {op.workspace_bytes}"
    if op.in_place:
        text += f" in_place ({', '.join(f'{out} <- {source}' for out, source in op.in_place)})"
    return text + _print_parent(op.parent) + _print_region(op.region)


def _value(value: Attribute) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_value, value))})"
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _parse_tensor(reader: TokenReader) -> Tensor:
    name = reader.name()
    reader.expect(":")
    tensor_role, tensor_dtype = role(reader), dtype(reader)
    shape = reader.sequence("[", reader.integer, "]")
    alias = None
    if reader.accept("view"):
        base = reader.name()
        reader.expect("+")
        alias = Alias(base, reader.integer())
    parent, region = _parse_tile(reader)
    return Tensor(name, shape, tensor_dtype, tensor_role, alias, parent, region)


def _parse_operator(reader: TokenReader) -> Operator:
    name = reader.name()
    reader.expect(":")
    kind = reader.name()
    inputs = _parse_names(reader)
    reader.expect("->")
    outputs = _parse_names(reader)
    domain = reader.name() if reader.accept("domain") else ""
    attributes = reader.sequence("{", lambda: _pair(reader), "}", after="attributes")
    prologue = _parse_names(reader, "prologue")
    epilogue = _parse_names(reader, "epilogue")
    nodes = _parse_names(reader, "nodes")
    workspace = reader.integer() if reader.accept("workspace") else 0
    in_place = reader.sequence("(", lambda: _in_place(reader), ")", after="in_place")
    parent, region = _parse_tile(reader)
    return Operator(
        name=name,
        kind=kind,
        inputs=inputs,
        outputs=outputs,
        attributes=attributes,
        epilogue=epilogue,
        prologue=prologue,
        nodes=nodes,
        workspace_bytes=workspace,
        in_place=in_place,
        domain=domain,
        parent=parent,
        region=region,
    )


def _parse_names(reader: TokenReader, after: str | None = None) -> tuple[str, ...]:
    return reader.sequence("(", reader.name, ")", after=after)


def _parse_tile(reader: TokenReader) -> tuple[str | None, tuple[Interval, ...] | None]:
    parent = reader.name() if reader.accept("parent") else None
    if not reader.accept("region"):
        return parent, None
    return parent, reader.sequence("[", lambda: _interval(reader), "]")


def _pair(reader: TokenReader) -> tuple[str, Attribute]:
    name = reader.name()
    reader.expect("=")
    return name, attribute_value(reader)


def _interval(reader: TokenReader) -> Interval:
    lower = reader.integer()
    reader.expect(":")
    return lower, reader.integer()


def _in_place(reader: TokenReader) -> tuple[int, int]:
    output = reader.integer()
    reader.expect("<-")
    return output, reader.integer()
