"""What is derived from a graph is derived once, and never mistaken for another graph's."""

from tests.strategies import random_graph

from stowplan.ir.derived import once_per_graph
from stowplan.ir.graph import Graph
from stowplan.ir.storage import storage_model

calls: list[str] = []


@once_per_graph
def names(graph: Graph) -> tuple[str, ...]:
    """Names of the operators."""
    calls.append(graph.name)
    return tuple(op.name for op in graph.operators)


def test_derived_once_for_each_graph() -> None:
    graph = random_graph(1, operators=5)
    shorter = graph.replace(operators=graph.operators[:-1])
    calls.clear()
    assert names(graph) is names(graph)
    assert len(names(shorter)) == len(names(graph)) - 1
    assert len(calls) == 2


def test_a_graph_stays_equal_and_keeps_its_hash() -> None:
    graph = random_graph(2, operators=8)
    fresh = graph.replace()
    storage_model(graph)
    assert graph == fresh
    assert graph.hash == fresh.hash
    assert storage_model(fresh) == storage_model(graph)
