"""Build the graph from a resolved model: live nodes only, every tensor static."""

from collections.abc import Iterable

from onnx import NodeProto, defs

from stowplan.errors import ModelError
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.ir.onnx_import.attributes import attributes_of
from stowplan.ir.onnx_import.dims import symbols
from stowplan.ir.onnx_import.parameters import parameter_names
from stowplan.ir.onnx_import.resolve import ResolvedModel
from stowplan.ir.onnx_import.tensors import Array
from stowplan.ir.onnx_import.value_types import ValueType, dtype_of
from stowplan.ir.operator_kinds import KINDS

LISTED_CAP = 12
"""Unresolved tensors an error message lists by name."""


def build_graph(resolved: ResolvedModel) -> tuple[Graph, tuple[str, ...]]:
    """The graph and its warnings.

    Raises:
        ModelError: a tensor without static shape; the message lists them and the dimensions whose
            binding would help.
    """
    operators = _operators(resolved)
    names = list(resolved.model.inputs)
    names += [name for op in operators for name in (*op.inputs, *op.outputs)]
    names = list(dict.fromkeys((*names, *resolved.model.outputs)))
    unresolved = [name for name in names if not resolved.types[name].static]
    if unresolved:
        raise ModelError(_unresolved_message(resolved, operators, unresolved))
    tensors = tuple(_tensor(resolved, name) for name in names)
    return Graph(resolved.model.name, tensors, tuple(operators)), _warnings(resolved, operators)


def _operators(resolved: ResolvedModel) -> list[Operator]:
    needed = set(resolved.model.outputs)
    operators: list[Operator] = []
    for node in reversed(resolved.nodes):
        if needed.isdisjoint(node.output):
            continue
        if any(name in resolved.constants for name in node.output if name):
            continue
        operator = _operator(resolved, node, needed)
        needed.update(operator.inputs)
        operators.append(operator)
    operators.reverse()
    return operators


def _operator(resolved: ResolvedModel, node: NodeProto, needed: set[str]) -> Operator:
    version = resolved.model.opsets.get(node.domain, 1)
    inputs: list[str] = []
    parameters: dict[str, Array] = {}
    roles = parameter_names(node, version, resolved.values)
    for name, parameter in zip(node.input, roles, strict=True):
        if not name:
            continue
        if parameter is None or not (name in resolved.constants or name in resolved.values):
            inputs.append(name)
        elif name in resolved.values:
            parameters.setdefault(parameter, resolved.values[name])
    return Operator(
        name=node.name,
        kind=node.op_type,
        inputs=tuple(inputs),
        outputs=_outputs(node, version, needed),
        attributes=attributes_of(node, parameters),
        nodes=(node.name,),
        domain=node.domain,
    )


def _outputs(node: NodeProto, version: int, needed: set[str]) -> tuple[str, ...]:
    """Output names, optional ones at the end that nobody reads left out."""
    names = list(node.output)
    optional = [False] * len(names)
    if defs.has(node.op_type, version, node.domain):
        formal = defs.get_schema(node.op_type, version, node.domain).outputs
        option = defs.OpSchema.FormalParameterOption.Optional
        optional = [i < len(formal) and formal[i].option == option for i in range(len(names))]
    while names and optional[len(names) - 1] and names[-1] not in needed:
        names.pop()
    return tuple(name for name in names if name)


def _tensor(resolved: ResolvedModel, name: str) -> Tensor:
    value = resolved.types[name]
    return Tensor(name, value.extents, dtype_of(value.element, name), _role(resolved, name))


def _role(resolved: ResolvedModel, name: str) -> Role:
    if name in resolved.model.inputs:
        return Role.INPUT
    if name in resolved.constants:
        return Role.WEIGHT
    return Role.OUTPUT if name in resolved.model.outputs else Role.ACTIVATION


def _warnings(resolved: ResolvedModel, operators: Iterable[Operator]) -> tuple[str, ...]:
    unknown: dict[tuple[str, str], list[str]] = {}
    for op in operators:
        if (op.domain, op.kind) not in KINDS:
            unknown.setdefault((op.domain, op.kind), []).append(op.name)
    found: list[str] = []
    if resolved.repaired:
        found.append(
            f"axis of {len(resolved.repaired)} quantisation nodes (the first "
            f"{resolved.repaired[0]!r}) lies outside their one-dimensional input: taken as 0"
        )
    found += [
        f"operator kind {domain or 'ai.onnx'}:{kind} is unknown ({len(names)} operators, the "
        f"first {names[0]!r}): imported as it is, with a generic cost"
        for (domain, kind), names in sorted(unknown.items())
    ]
    return tuple(found)


def _unresolved_message(
    resolved: ResolvedModel, operators: Iterable[Operator], unresolved: list[str]
) -> str:
    producer = {name: op for op in operators for name in op.outputs}
    listed = [_describe(name, resolved.types[name], producer) for name in unresolved[:LISTED_CAP]]
    if len(unresolved) > LISTED_CAP:
        listed.append(f"and {len(unresolved) - LISTED_CAP} more")
    count = f"{len(unresolved)} tensor{'s have' if len(unresolved) > 1 else ' has'}"
    return (
        f"{resolved.model.path}: {count} no static shape:\n  "
        + "\n  ".join(listed)
        + f"\n{_advice(resolved, operators)}"
    )


def _describe(name: str, value: ValueType, producer: dict[str, Operator]) -> str:
    source = producer.get(name)
    origin = "model input" if source is None else f"from {source.kind} {source.name!r}"
    return f"{name}: {value} ({origin})"


def _advice(resolved: ResolvedModel, operators: Iterable[Operator]) -> str:
    free = symbols(resolved.model.inputs)
    if free:
        return "bind " + " ".join(f"--dim {name}=N" for name in free)
    rankless = [name for name, value in resolved.model.inputs.items() if value.shape is None]
    if rankless:
        return f"the file states no shape for input {rankless[0]!r}; export it with one"
    for op in operators:
        if all(resolved.types[name].static for name in op.inputs):
            lost = [name for name in op.outputs if not resolved.types[name].static]
            if lost:
                return (
                    f"the first shape is lost at {op.domain or 'ai.onnx'}:{op.kind} {op.name!r}: "
                    "it depends on the data or the kind has no shape rule; export the model with "
                    f"fixed sizes or state the shape of {lost[0]!r} in its value_info"
                )
    return "the shapes depend on values that are not in the file; export it with fixed sizes"
