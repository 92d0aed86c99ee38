"""The search's accelerations and bounds on graphs too large for exhaustive search."""

import random

import pytest
from tests.ilp.instances import Features, random_graph
from tests.ilp.test_exact import tight_target

from stowplan.ilp.milp import Limits
from stowplan.ilp.packing import overlapping, pack
from stowplan.ilp.schedule import load_bytes, traffic_bytes
from stowplan.ilp.search import SearchOptions, Tables, eviction_sets, search
from stowplan.passes.problem import PlanningProblem, planning_problem

UNLIMITED = 1 << 40


def random_problem(seed: int) -> PlanningProblem:
    """Uniform sizes make sequences and ties, mixed ones make hard evictions."""
    rng = random.Random(seed)
    sizes = rng.choice([(2,), (2, 4), (1, 2, 3, 4), (4, 4, 4, 2, 8)])
    graph = random_graph(seed, Features(operators=rng.randint(7, 11), sizes=sizes))
    track = seed % 2 == 0
    target = tight_target(graph, track, rng.choice((0, 0, 1, 2, 4)))
    return planning_problem(graph, target.memory_spec(track))


def options(problem: PlanningProblem, width: int, free_moves: bool = True) -> SearchOptions:
    """Search the whole scratchpad without a limit of cost or time."""
    capacity = problem.memory.capacity_bytes
    return SearchOptions(capacity, UNLIMITED, width, free_moves, lambda: False)


@pytest.mark.parametrize("block", range(4))
def test_accelerations_do_not_change_the_optimum(block: int) -> None:
    fused, costly = 0, 0
    for seed in range(block * 100, block * 100 + 100):
        problem = random_problem(seed)
        found = set()
        for fuse in (True, False):
            tables = Tables(problem, fuse)
            fused += len(tables.sequences) < problem.operators
            for free_moves in (True, False):
                outcome = search(tables, options(problem, 10**7, free_moves))
                found.add((outcome.cost, outcome.bound))
        assert len(found) == 1
        costly += min(found)[0] > 0
    assert fused > 0
    assert costly > 0


def test_a_narrow_search_bounds_the_optimum_from_below() -> None:
    for seed in range(1000, 1200):
        problem = random_problem(seed)
        tables = Tables(problem)
        optimum = search(tables, options(problem, 10**7)).cost
        for width in (1, 2, 5):
            narrow = search(tables, options(problem, width))
            assert narrow.bound <= optimum <= narrow.cost


def test_schedules_fit_cost_what_they_say_and_pack_without_overlap() -> None:
    packed = 0
    for seed in range(2000, 2150):
        problem = random_problem(seed)
        outcome = search(Tables(problem), options(problem, 10**7))
        schedule = outcome.schedule
        assert schedule is not None
        assert max(load_bytes(problem, schedule)) <= problem.memory.capacity_bytes
        assert traffic_bytes(problem, schedule.stays) == outcome.cost
        found = pack(problem, schedule, Limits(5.0, 1, 0, lambda: False))
        if found.addresses is not None:
            packed += 1
            assert not overlapping(problem, schedule, found.addresses)
            assert min(found.addresses) >= 0
        else:
            assert found.proven
    assert packed > 100


def test_eviction_sets_are_the_minimal_ones_within_budget() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        items = [(rng.randint(1, 5), rng.randint(1, 9), v) for v in range(rng.randint(1, 7))]
        items.sort(key=lambda item: (-item[0], item[1]))
        excess, budget = rng.randint(1, 12), rng.randint(1, 30)
        found, more = eviction_sets(items, excess, budget, 10**6)
        assert not more
        expected = set()
        for mask in range(1, 1 << len(items)):
            chosen = [items[i] for i in range(len(items)) if mask >> i & 1]
            freed = sum(size for size, _, _ in chosen)
            minimal = all(freed - size < excess for size, _, _ in chosen)
            if freed >= excess and minimal and sum(cost for _, cost, _ in chosen) < budget:
                expected.add(frozenset(v for _, _, v in chosen))
        assert {frozenset(chosen) for chosen in found} == expected
