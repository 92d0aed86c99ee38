"""What pure functions derive from a graph, remembered as long as the graph lives."""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from stowplan.ir.graph import Graph

Derived = TypeVar("Derived")


def once_per_graph(derive: Callable[[Graph], Derived]) -> Callable[[Graph], Derived]:
    """Remember the result for each graph, in the graph, as its cached properties are.

    Graphs are immutable, and a result must be too. It must not refer to the graph: such a cycle
    would keep both until the garbage collector comes.
    """
    key = f"{derive.__module__}.{derive.__qualname__}"

    @wraps(derive)
    def remembered(graph: Graph) -> Derived:
        known: dict[str, Derived] = graph.__dict__
        if key not in known:
            known[key] = derive(graph)
        return known[key]

    return remembered
