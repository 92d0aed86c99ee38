"""Fuse DequantizeLinear and QuantizeLinear into the operators between them.

``DequantizeLinear -> op -> QuantizeLinear`` becomes one operator whose operands are the quantised
tensors, planned at their real sizes. A DequantizeLinear with several consumers is duplicated into
each. An operator that only moves data keeps its bytes when all scales and zero points agree; then
nothing of the quantisers is left but their node names, and later passes may turn it into a view.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Attribute, Graph, Operator, Role
from stowplan.passes.base import PassResult
from stowplan.passes.byte_layout import unstable_tensors, viewed_tensors
from stowplan.passes.grouping import unique
from stowplan.passes.kinds import DATA_MOVES, is_plain

_QUANTIZE = "QuantizeLinear"
_DEQUANTIZE = "DequantizeLinear"


@dataclass(frozen=True, slots=True)
class FuseQdq:
    """Absorb DequantizeLinear of operands and QuantizeLinear of results."""

    name: ClassVar[str] = "fuse-qdq"

    def apply(self, graph: Graph) -> PassResult:
        """Fuse around every operator that is no quantiser left over from another group."""
        absorbed: set[str] = set()
        unstable, viewed = unstable_tensors(graph), viewed_tensors(graph)
        operators = []
        for op in graph.operators:
            if op.name in absorbed:
                continue
            if op.kind == _DEQUANTIZE and is_plain(op):
                operators.append(op)
                continue
            fused, behind = _fuse(graph, op, unstable, viewed)
            absorbed.update(each.name for each in behind)
            operators.append(fused)
        kept = _without_unread_dequantizers(graph, operators)
        if tuple(kept) == graph.operators:
            return PassResult(graph, False)
        return PassResult(_with_named_tensors(graph, kept), True)


def _fuse(
    graph: Graph, op: Operator, unstable: frozenset[str], viewed: frozenset[str]
) -> tuple[Operator, list[Operator]]:
    """``op`` with its quantisers, and the QuantizeLinear operators that it absorbed."""
    before = {
        name: producer
        for name in op.inputs
        if (producer := graph.producer.get(name)) is not None
        and _is(producer, _DEQUANTIZE)
        and producer.inputs[0] not in unstable
    }
    behind = [] if op.kind == _QUANTIZE else _quantizers(graph, op, unstable, viewed)
    if not before and not behind:
        return op, []
    inputs = tuple(before[name].inputs[0] if name in before else name for name in op.inputs)
    outputs = tuple(q.outputs[0] for q in behind) or op.outputs
    fused = replace(
        op,
        inputs=inputs,
        outputs=outputs,
        prologue=tuple(_DEQUANTIZE for _ in before) + op.prologue,
        epilogue=op.epilogue + tuple(_QUANTIZE for _ in behind),
        nodes=unique(node for each in (*before.values(), op, *behind) for node in each.nodes),
        in_place=_pairs(graph, op, inputs, outputs, before),
    )
    return _as_move(graph, fused, op, list(before.values()), behind), behind


def _is(op: Operator, kind: str) -> bool:
    """A quantiser that nothing else has been fused to."""
    return op.kind == kind and is_plain(op) and len(op.inputs) == 1


def _quantizers(
    graph: Graph, op: Operator, unstable: frozenset[str], viewed: frozenset[str]
) -> list[Operator]:
    """The QuantizeLinear behind each output, or nothing unless each output has just one."""
    found = []
    for name in op.outputs:
        consumers = graph.consumers[name]
        plain = graph.tensor[name].role is Role.ACTIVATION and name not in viewed
        if not plain or len(consumers) != 1 or not _is(consumers[0], _QUANTIZE):
            return []
        if consumers[0].outputs[0] in unstable:
            return []
        found.append(consumers[0])
    return found


def _pairs(
    graph: Graph,
    op: Operator,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    before: dict[str, Operator],
) -> tuple[tuple[int, int], ...]:
    """In-place pairs of ``op`` that still have equal sizes."""
    found = []
    for output, source in op.in_place:
        name = op.inputs[source]
        name = before[name].inputs[0] if name in before else name
        replaced = graph.tensor[name]
        same = graph.tensor[outputs[output]].size_bytes == replaced.size_bytes
        if same and replaced.role is not Role.WEIGHT:
            found.append((output, inputs.index(name)))
    return tuple(found)


def _as_move(
    graph: Graph, fused: Operator, op: Operator, before: list[Operator], behind: list[Operator]
) -> Operator:
    """Forget the quantisers of an operator that leaves every byte as it is.

    ``round((q - z) * s / s) + z`` is ``q`` in float32 for every 8-bit ``q``: the quotient is off by
    less than one half.
    """
    if op.kind == _QUANTIZE:
        behind = [op]
    elif op.kind not in DATA_MOVES or not is_plain(op):
        return fused
    if not behind or {name for dq in before for name in dq.outputs} != set(op.inputs):
        return fused
    scales = {_scale(q, "y", graph.tensor[q.outputs[0]].dtype) for q in behind}
    scales |= {_scale(dq, "x", graph.tensor[dq.inputs[0]].dtype) for dq in before}
    if None in scales or len(scales) > 1:
        return fused
    if op.kind == _QUANTIZE:
        return replace(fused, kind="Identity", prologue=(), attributes=())
    return replace(fused, prologue=(), epilogue=())


def _scale(op: Operator, prefix: str, dtype: DType) -> tuple[Attribute, Attribute, DType] | None:
    """Scale, zero point and type of a per-tensor 8-bit quantiser; None when not known."""
    scale = _single(op.attribute(f"{prefix}_scale"))
    zero_point = _single(op.attribute(f"{prefix}_zero_point", 0))
    if scale is None or zero_point is None or dtype.bits > 8:
        return None
    return scale, zero_point, dtype


def _single(value: Attribute | None) -> Attribute | None:
    """A scalar, which may be recorded as a tuple of one."""
    if isinstance(value, tuple):
        return value[0] if len(value) == 1 else None
    return value


def _without_unread_dequantizers(graph: Graph, operators: list[Operator]) -> list[Operator]:
    read = {name for op in operators for name in op.inputs}
    read |= viewed_tensors(graph)
    return [
        op
        for op in operators
        if not _is(op, _DEQUANTIZE)
        or op.outputs[0] in read
        or graph.tensor[op.outputs[0]].role is not Role.ACTIVATION
    ]


def _with_named_tensors(graph: Graph, operators: list[Operator]) -> Graph:
    """The graph with new operators; tensors that have lost every operator that names them go."""
    before = {name for op in graph.operators for name in (*op.inputs, *op.outputs)}
    after = {name for op in operators for name in (*op.inputs, *op.outputs)}
    gone = before - after
    tensors = tuple(
        tensor
        for tensor in graph.tensors
        if tensor.name not in gone or tensor.role is not Role.ACTIVATION
    )
    return graph.replace(tensors, tuple(operators))
