"""Bring operators into one form, so that later passes have fewer cases."""

from dataclasses import dataclass, replace
from typing import ClassVar

from stowplan.ir.graph import Graph, Operator
from stowplan.passes.base import PassResult
from stowplan.passes.view_rules import axis_of, reinterprets

_AXIS_OF_INPUT = frozenset(
    {
        "ArgMax",
        "ArgMin",
        "Concat",
        "Flatten",
        "Gather",
        "GatherElements",
        "Hardmax",
        "LayerNormalization",
        "LogSoftmax",
        "ScatterElements",
        "Softmax",
        "Split",
        "TopK",
    }
)


@dataclass(frozen=True, slots=True)
class Canonicalise:
    """Normalise kinds and attributes; nodes, operands and results stay as they are.

    * Whatever leaves its input's bytes as they are (Flatten, Squeeze, Identity, Dropout, a
      Transpose that moves dimensions of extent one, a full Slice, an empty Pad, ...) is a Reshape.
    * ``axis`` counts from the front.
    * Attributes are sorted by name.
    """

    name: ClassVar[str] = "canonicalise"

    def apply(self, graph: Graph) -> PassResult:
        """Normalise every operator."""
        operators = tuple(_canonical(op, graph) for op in graph.operators)
        if operators == graph.operators:
            return PassResult(graph, False)
        return PassResult(graph.replace(operators=operators), True)


def _canonical(op: Operator, graph: Graph) -> Operator:
    if reinterprets(op, graph):
        return replace(op, kind="Reshape", attributes=(), domain="")
    attributes = dict(op.attributes)
    if op.kind in _AXIS_OF_INPUT and "axis" in attributes and op.inputs:
        attributes["axis"] = axis_of(op, len(graph.tensor[op.inputs[0]].shape))
    ordered = tuple(sorted(attributes.items()))
    return op if ordered == op.attributes else replace(op, attributes=ordered)
