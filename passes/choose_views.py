"""Choose between graphs that differ in how many views were elided.

An elided Concat or Split saves a copy but keeps one large storage reserved for the whole life of
its parts. In a roomy scratchpad that is free; in a tight one the parts are better spilled one by
one. Which it is for a given budget, the greedy planner tells in milliseconds.
"""

from collections.abc import Iterable

from stowplan.errors import InfeasiblePlanError
from stowplan.ir.graph import Graph
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.planner import PlanOptions
from stowplan.targets.target import Target


def least_traffic(graphs: Iterable[Graph], target: Target, track_weights: bool) -> Graph:
    """The first graph on which greedy moves the fewest non-compulsory bytes.

    A graph that needs none ends the search; one that does not fit is the last resort. At least one
    graph must be given.
    """
    options = PlanOptions(track_weights=track_weights)
    best: tuple[int, Graph] | None = None
    fallback: Graph | None = None
    for graph in graphs:
        fallback = fallback or graph
        try:
            proof = plan_greedy(graph, target, options).proof
        except InfeasiblePlanError:
            continue
        if best is None or proof.value < best[0]:
            best = (proof.value, graph)
        if proof.value <= proof.lower_bound:
            break
    if best is not None:
        return best[1]
    assert fallback is not None, "least_traffic needs a graph"
    return fallback
