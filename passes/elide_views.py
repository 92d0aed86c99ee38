"""Turn operators that only say where bytes lie into views."""

from dataclasses import dataclass
from typing import ClassVar

from stowplan.ir.graph import Graph, Operator
from stowplan.passes.base import PassResult
from stowplan.passes.byte_layout import ByteLayout
from stowplan.passes.view_rules import Placement, placements, reinterprets


@dataclass(frozen=True, slots=True)
class ElideViews:
    """Drop reshapes, and Concat, Split and Slice along the outermost stored dimension.

    The members of an elided Concat become parts of one storage that their producers write
    directly. Operators are visited last to first, so of nested Concats (each starting with all
    earlier features) the last one's storage holds the whole chain. A tensor has one place only: a
    view that would need a second one, or would let something write into a model input or weight,
    stays an operator.

    Attributes:
        concat: also Concat, which keeps its whole result reserved from the first member on.
        split: also Split, Slice and Gather, which keep the whole source until the last part's use.
    """

    name: ClassVar[str] = "elide-views"
    concat: bool = True
    split: bool = True

    def apply(self, graph: Graph) -> PassResult:
        """Elide every view that has a legal place."""
        layout = ByteLayout(graph)
        elided = {
            op.name
            for op in reversed(graph.operators)
            if self._wanted(op, graph) and _elide(op, graph, layout)
        }
        if not elided:
            return PassResult(graph, False)
        operators = tuple(op for op in graph.operators if op.name not in elided)
        return PassResult(graph.replace(layout.tensors(), operators), True)

    def _wanted(self, op: Operator, graph: Graph) -> bool:
        if reinterprets(op, graph):
            return True
        return self.concat if op.kind == "Concat" else self.split


def _elide(op: Operator, graph: Graph, layout: ByteLayout) -> bool:
    """Lay the operands of ``op`` over each other, or change nothing."""
    wanted = [p for p in placements(op, graph) if graph.tensor[p.part].size_bytes]
    if not wanted:
        return False
    mark = layout.mark()
    if all(layout.place(p.part, p.whole, p.offset_bytes, op.name) for p in wanted):
        layout.forget(op.name, op.outputs, op.inputs)
        return True
    layout.undo(mark)
    if _into_parts(op, wanted, graph, layout):
        layout.forget(op.name, op.outputs, op.inputs)
        return True
    layout.undo(mark)
    return False


def _into_parts(op: Operator, wanted: list[Placement], graph: Graph, layout: ByteLayout) -> bool:
    """Move the whole to where its parts already lie side by side, if they do and make it up."""
    first = wanted[0]
    whole = graph.tensor[first.whole]
    if sum(graph.tensor[p.part].size_bytes for p in wanted) != whole.size_bytes:
        return False
    root, start = layout.position(first.part)
    start -= first.offset_bytes
    if any(layout.position(p.part) != (root, start + p.offset_bytes) for p in wanted):
        return False
    return layout.place(first.whole, root, start, op.name)
