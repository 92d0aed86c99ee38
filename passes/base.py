"""What a pass is: a frozen dataclass whose fields are its options, from a graph to a graph."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from stowplan.ir.graph import Graph


@dataclass(frozen=True, slots=True)
class PassResult:
    """Graph after a pass.

    Attributes:
        graph: the new graph, or the old one.
        modified: whether anything changed.
    """

    graph: Graph
    modified: bool


class Pass(Protocol):
    """A graph transformation. Implementations are frozen dataclasses; fields are options."""

    name: ClassVar[str]

    def apply(self, graph: Graph) -> PassResult:
        """Transform ``graph``, which is valid; the result must be valid too."""
        ...
