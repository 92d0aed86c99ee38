"""Fuse chains of element-wise operators."""

from dataclasses import dataclass
from typing import ClassVar

from stowplan.ir.graph import Graph
from stowplan.passes.base import PassResult
from stowplan.passes.epilogue import EpilogueRules, find_groups
from stowplan.passes.grouping import fuse_groups
from stowplan.passes.kinds import is_arithmetic, is_plain


@dataclass(frozen=True, slots=True)
class FuseElementwise:
    """Element-wise operators in a row become one.

    Attributes:
        residual: let later operators of a chain bring in further activations. Off by default: a
            sum of many terms would need all of them at once instead of two at a time.
    """

    name: ClassVar[str] = "fuse-elementwise"
    residual: bool = False

    def apply(self, graph: Graph) -> PassResult:
        """Fuse chains from their first operator on."""
        heads = [op for op in graph.operators if is_arithmetic(op) and is_plain(op)]
        groups = find_groups(graph, heads, EpilogueRules(residual=self.residual))
        if not groups:
            return PassResult(graph, False)
        return PassResult(fuse_groups(graph, groups), True)
