"""The gap model against the search restricted to the same order."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ilp.instances import Features, random_graph
from tests.ilp.test_exact import tight_target

from stowplan.ilp.gaps import best_residencies
from stowplan.ilp.milp import Limits
from stowplan.ilp.region import Space, cut_region
from stowplan.ilp.schedule import load_bytes, traffic_bytes
from stowplan.ilp.search import SearchOptions, search
from stowplan.passes.problem import planning_problem

LIMITS = Limits(10.0, 1, 0, lambda: False)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), track=st.booleans(), spare=st.integers(0, 6))
def test_gap_model_is_exact_for_its_order(seed: int, track: bool, spare: int) -> None:
    graph = random_graph(seed, Features(operators=12, in_place=False))
    problem = planning_problem(graph, tight_target(graph, track, spare).memory_spec(track))
    order = tuple(range(problem.operators))
    found = best_residencies(problem, order, LIMITS)
    relaxed = best_residencies(problem, order, LIMITS, relax=True)
    cut = cut_region(Space(problem, fuse=False), order, fixed=True)
    capacity = problem.memory.capacity_bytes
    options = SearchOptions(capacity, 1 << 40, 5_000, True, lambda: False)
    reference = search(cut, options)
    assert reference.bound == reference.cost
    assert found.schedule is not None
    assert found.optimal
    assert max(load_bytes(problem, found.schedule)) <= capacity
    assert traffic_bytes(problem, found.schedule.stays) == found.bound == reference.cost
    assert relaxed.bound <= found.bound
