"""Let element-wise operators overwrite an operand that nobody needs any more."""

from dataclasses import dataclass, replace
from typing import ClassVar

from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.passes.base import PassResult
from stowplan.passes.byte_layout import ByteLayout
from stowplan.passes.kinds import is_elementwise


@dataclass(frozen=True, slots=True)
class InPlace:
    """Share storage between an element-wise result and an operand.

    Where the operand is a plain activation that only this operator reads, the two become one
    storage. Everywhere else that sharing may become legal once the order is known (the operand has
    other readers, or is a model input whose copy in DRAM stays), the pair is recorded as a
    candidate in ``Operator.in_place``.

    Attributes:
        share: make the certain cases one storage; otherwise record every case as a candidate.
    """

    name: ClassVar[str] = "in-place"
    share: bool = True

    def apply(self, graph: Graph) -> PassResult:
        """Share storages, then record candidates among what is left."""
        layout = ByteLayout(graph)
        shared = False
        for op in graph.operators if self.share else ():
            shared = any(_share(op, i, graph, layout) for i in _operands(op, graph)) or shared
        if shared:
            graph = graph.replace(tensors=layout.tensors())
        operators = tuple(_with_candidates(op, graph) for op in graph.operators)
        if not shared and operators == graph.operators:
            return PassResult(graph, False)
        return PassResult(graph.replace(operators=operators), True)


def replaceable(graph: Graph, op: Operator) -> frozenset[int]:
    """Operands of an element-wise operator that its result may replace byte for byte."""
    return frozenset(_operands(op, graph))


def _operands(op: Operator, graph: Graph) -> list[int]:
    """Indices of operands whose element ``i`` only result element ``i`` depends on."""
    if len(op.outputs) != 1 or op.parent is not None:
        return []
    if not all(is_elementwise(kind) for kind in (*op.prologue, *op.epilogue)):
        return []
    if not is_elementwise(op.kind, op.domain):
        return []
    result = graph.tensor[op.outputs[0]]
    return [i for i, name in enumerate(op.inputs) if _matches(graph.tensor[name], result)]


def _matches(operand: Tensor, result: Tensor) -> bool:
    """Same shape (leading extents of one aside), same bytes per element, and not a weight."""
    return (
        operand.size_bytes == result.size_bytes
        and operand.dtype.bits == result.dtype.bits
        and operand.role is not Role.WEIGHT
        and _stripped(operand.shape) == _stripped(result.shape)
    )


def _stripped(shape: tuple[int, ...]) -> tuple[int, ...]:
    first = next((i for i, extent in enumerate(shape) if extent != 1), len(shape))
    return shape[first:]


def _share(op: Operator, index: int, graph: Graph, layout: ByteLayout) -> bool:
    """Make the operand's storage the result's, if this operator is its only reader."""
    name = op.inputs[index]
    if layout.roles(name) != {Role.ACTIVATION} or layout.readers(name) != {op.name}:
        return False
    root = layout.position(name)[0]
    matching = {op.inputs[i] for i in _operands(op, graph)}
    if any(layout.position(other)[0] == root and other not in matching for other in op.inputs):
        return False
    return layout.overwrite(name, op.outputs[0])


def _with_candidates(op: Operator, graph: Graph) -> Operator:
    """``op`` with every pair of distinct storages that may share bytes."""
    pairs = [(0, i) for i in _operands(op, graph)]
    pairs = [
        (output, source)
        for output, source in dict.fromkeys((*op.in_place, *pairs))
        if graph.tensor[op.outputs[output]].alias is None
        and graph.tensor[op.inputs[source]].alias is None
    ]
    return replace(op, in_place=tuple(sorted(pairs)))
