"""Fuse bias, activation and a residual Add behind matrix products."""

from dataclasses import dataclass
from typing import ClassVar

from stowplan.ir.graph import Graph
from stowplan.passes.base import PassResult
from stowplan.passes.epilogue import EpilogueRules, find_groups
from stowplan.passes.grouping import fuse_groups
from stowplan.passes.kinds import MATRIX_PRODUCTS


@dataclass(frozen=True, slots=True)
class FuseMatmul:
    """MatMul or Gemm + bias + activation (+ residual Add) become one operator.

    Activations written as several element-wise operators (GELU through Erf or Tanh, SiLU) count.

    Attributes:
        residual: fuse an Add of another activation, which the result may replace in place.
    """

    name: ClassVar[str] = "fuse-matmul"
    residual: bool = True

    def apply(self, graph: Graph) -> PassResult:
        """Fuse every matrix product that something can follow."""
        heads = [op for op in reversed(graph.operators) if op.kind in MATRIX_PRODUCTS]
        groups = find_groups(graph, heads, EpilogueRules(residual=self.residual))
        if not groups:
            return PassResult(graph, False)
        return PassResult(fuse_groups(graph, groups), True)
