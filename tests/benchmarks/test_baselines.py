"""The literature's baselines: honest plans, the policies they claim, an arena without overlap."""

import random

import pytest
from benchmarks.baselines import POLICIES, baseline_plan
from benchmarks.baselines.arena import greedy_by_size
from benchmarks.baselines.replacement import (
    Victim,
    evictions,
    fewest_bytes,
    furthest_next_use,
    use_steps,
)
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from tests.ilp.brute_force import least_noncompulsory_bytes
from tests.ilp.instances import Features, random_graph
from tests.strategies import random_case, small_target

from stowplan.errors import InfeasiblePlanError
from stowplan.ir.check_plan import check_plan
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.ir.traffic import traffic
from stowplan.passes.assemble import Stay
from stowplan.passes.problem import PlanningProblem, planning_problem

SEEDS = st.integers(0, 10**6)
PLAIN = Features(operators=5, in_place=False, concats=False)
TINY = Features(operators=4, sizes=(1, 2, 3), in_place=False, concats=False)


def shuffled(problem: PlanningProblem, seed: int) -> list[int]:
    """A random legal order."""
    rng = random.Random(seed)
    waiting = [set(before) for before in problem.predecessors]
    order: list[int] = []
    while len(order) < problem.operators:
        done = set(order)
        ready = [o for o in range(problem.operators) if o not in done and waiting[o] <= done]
        order.append(rng.choice(ready))
    return order


@given(SEEDS, st.integers(1, 40), st.sampled_from(sorted(POLICIES)))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_plans_of_random_graphs_in_random_orders_pass_the_checker(
    seed: int, operators: int, policy: str
) -> None:
    case = random_case(seed, operators, direct_operands=False)
    memory = case.target.memory_spec(case.track_weights)
    order = shuffled(planning_problem(case.graph, memory), seed)
    plan = baseline_plan(case.graph, case.target, case.track_weights, order, policy)
    assert check_plan(case.graph, plan, memory) == ()
    assert plan.proof.value == traffic(case.graph, plan, memory).noncompulsory_bytes
    assert plan.proof.lower_bound == 0
    assert plan.order == tuple(case.graph.operators[o].name for o in order)


@given(SEEDS, st.sampled_from(sorted(POLICIES)))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_no_baseline_beats_brute_force(seed: int, policy: str) -> None:
    graph = random_graph(seed, TINY)
    roomy = planning_problem(graph, small_target(1 << 20).memory_spec(True))
    target = small_target(max(map(roomy.demand, range(roomy.operators))))
    try:
        least = least_noncompulsory_bytes(graph, target.memory_spec(True), max_states=10_000)
    except MemoryError:
        reject()
    plan = baseline_plan(graph, target, True, range(roomy.operators), policy)
    assert least is not None
    assert plan.proof.value >= least


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_nothing_is_evicted_where_everything_fits(policy: str) -> None:
    for seed in range(20):
        graph = random_graph(seed, PLAIN)
        plan = baseline_plan(graph, small_target(1 << 20), True, range(5), policy)
        assert plan.proof.value == 0


def test_an_operator_that_does_not_fit_is_reported() -> None:
    graph = random_graph(1, PLAIN)
    with pytest.raises(InfeasiblePlanError):
        baseline_plan(graph, small_target(1), True, range(5), "belady")


def test_belady_takes_the_furthest_use_and_greedy_the_fewest_bytes() -> None:
    soon = Victim(storage=0, size_bytes=10, next_use=3, moved_bytes=10)
    late = Victim(storage=1, size_bytes=20, next_use=9, moved_bytes=40)
    tiny = Victim(storage=2, size_bytes=2, next_use=5, moved_bytes=2)
    assert furthest_next_use((soon, late, tiny), 8) is late
    assert fewest_bytes((soon, late, tiny), 8) is soon
    assert fewest_bytes((soon, tiny), 15) is soon


def waiting_tensors() -> Graph:
    """``a`` and ``b`` are made first, ``b`` is read before ``a``, and ``big`` needs room."""
    sizes = {"x": 1, "a": 4, "b": 6, "big": 10, "y": 1, "z": 1}
    tensors = tuple(
        Tensor(
            name,
            (size,),
            DType.INT8,
            {"x": Role.INPUT, "z": Role.OUTPUT}.get(name, Role.ACTIVATION),
        )
        for name, size in sizes.items()
    )
    reads = {"a": "x", "b": "x", "big": "x", "y": "big b", "z": "y a"}
    return Graph(
        "waiting",
        tensors,
        tuple(Operator(f"make-{t}", "Add", tuple(r.split()), (t,)) for t, r in reads.items()),
    )


def test_replacement_follows_the_policy() -> None:
    problem = planning_problem(waiting_tensors(), small_target(17).memory_spec())
    order = range(problem.operators)
    uses = use_steps(problem, order)
    names = [storage.name for storage in problem.storages]
    assert evictions(problem, order, uses, furthest_next_use) == {(names.index("a"), 0)}
    tight = planning_problem(waiting_tensors(), small_target(18).memory_spec())
    assert evictions(tight, order, uses, fewest_bytes) == {(names.index("a"), 0)}


@pytest.mark.parametrize(("capacity", "expected"), [(21, 0), (17, 8)])
def test_traffic_of_a_hand_made_graph(capacity: int, expected: int) -> None:
    """Evicting ``a`` (4 bytes) costs one store and one load."""
    graph = waiting_tensors()
    plan = baseline_plan(graph, small_target(capacity), False, range(5), "belady")
    assert plan.proof.value == expected


@given(SEEDS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_arena_never_overlaps_and_leaves_out_only_what_has_no_hole(seed: int) -> None:
    rng = random.Random(seed)
    graph = random_graph(seed, PLAIN)
    problem = planning_problem(graph, small_target(12).memory_spec(True))
    stays = []
    for storage in range(len(problem.storages)):
        start = rng.randrange(6)
        stays.append(Stay(storage, start, start + rng.randint(1, 4), False, False))
    addresses, homeless = greedy_by_size(problem, stays)
    placed = [i for i in range(len(stays)) if i not in homeless]
    assert not any(meet(problem, stays, addresses, i, j) for i in placed for j in placed if i < j)
    for i in homeless:
        for address in range(12 - problem.size[stays[i].storage] + 1):
            moved = [*addresses[:i], address, *addresses[i + 1 :]]
            assert any(meet(problem, stays, moved, i, j) for j in placed)


def meet(problem: PlanningProblem, stays: list[Stay], addresses: list[int], i: int, j: int) -> bool:
    """Whether two stays share a byte at some step."""
    a, b = stays[i], stays[j]
    return (
        a.start < b.end
        and b.start < a.end
        and addresses[i] < addresses[j] + problem.size[b.storage]
        and addresses[j] < addresses[i] + problem.size[a.storage]
    )
