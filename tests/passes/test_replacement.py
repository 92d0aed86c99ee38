"""The kernel of furthest-next-use replacement against the same in plain Python."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.passes.replacement_reference import reference_gaps
from tests.strategies import random_case

from stowplan.passes.greedy_gaps import (
    furthest_next_use,
    replaced_traffic,
    timeline,
    total_traffic,
)
from stowplan.passes.order import candidate_orders
from stowplan.passes.problem import planning_problem
from stowplan.passes.replacement_kernel import replace_furthest
from stowplan.passes.takeovers import takeovers


@given(
    st.integers(0, 1 << 30),
    st.integers(1, 40),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from((0.6, 1.0, 1.5)),
)
@settings(max_examples=150, deadline=None)
def test_kernel_decides_as_plain_python_does(
    seed: int, operators: int, direct: bool, layered: bool, write_aware: bool, share: float
) -> None:
    case = random_case(seed, operators, direct_operands=direct)
    problem = planning_problem(case.graph, case.target.memory_spec(case.track_weights))
    rng = random.Random(seed)
    order = rng.choice(candidate_orders(problem))
    layers = sorted(rng.randrange(4) for _ in order) if layered else ()
    pairs = takeovers(problem) if rng.random() < 0.5 else ()
    accesses = timeline(problem, order, layers, pairs)
    # Less than any operator needs is legal too: the rest then stays over capacity.
    capacity = int(problem.memory.capacity_bytes * share)
    expected = reference_gaps(accesses, capacity, write_aware)
    assert furthest_next_use(accesses, capacity, write_aware) == expected
    if write_aware:
        assert replaced_traffic(accesses, capacity) == total_traffic(accesses, expected)


def test_kernel_is_compiled_for_one_kind_of_arrays() -> None:
    for seed in range(4):
        case = random_case(seed, 12)
        problem = planning_problem(case.graph, case.target.memory_spec(case.track_weights))
        furthest_next_use(timeline(problem, range(12)), 100, write_aware=True)
    assert len(replace_furthest.signatures) == 1
