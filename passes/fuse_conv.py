"""Fuse batch normalisation, activations and a residual Add behind convolutions."""

from dataclasses import dataclass
from typing import ClassVar

from stowplan.ir.graph import Graph
from stowplan.passes.base import PassResult
from stowplan.passes.epilogue import EpilogueRules, find_groups
from stowplan.passes.grouping import fuse_groups
from stowplan.passes.kinds import CONVOLUTIONS


@dataclass(frozen=True, slots=True)
class FuseConv:
    """Conv + BatchNormalization + activation (+ residual Add) become one operator.

    Of two convolutions that feed one Add, the later in graph order takes it.

    Attributes:
        residual: fuse an Add of another activation, which the result may replace in place.
    """

    name: ClassVar[str] = "fuse-conv"
    residual: bool = True

    def apply(self, graph: Graph) -> PassResult:
        """Fuse every convolution that something can follow."""
        heads = [op for op in reversed(graph.operators) if op.kind in CONVOLUTIONS]
        groups = find_groups(graph, heads, EpilogueRules(residual=self.residual))
        if not groups:
            return PassResult(graph, False)
        return PassResult(fuse_groups(graph, groups), True)
