"""The minimum peak against exhaustive search."""

import pytest
from tests.ilp.brute_force import least_noncompulsory_bytes
from tests.ilp.instances import Features, random_graph, small_target
from tests.ilp.test_exact import streamed_again, tight_target

from stowplan.ilp.exact import plan_exact
from stowplan.ir.check_plan import check_plan
from stowplan.ir.traffic import peak_bytes
from stowplan.passes.planner import PlanOptions


@pytest.mark.parametrize("seed", range(14))
def test_peak_is_the_smallest_scratchpad_without_traffic(seed: int) -> None:
    """At the proven peak the exhaustive search moves nothing; one byte below it must."""
    graph = random_graph(seed + 300, Features(operators=4, sizes=(1, 2, 3)))
    roomy = small_target(60)
    plan = plan_exact(graph, roomy, PlanOptions(objective="peak", time_limit_s=10, workers=1))
    assert check_plan(graph, plan, roomy.memory_spec()) == ()
    assert plan.proof.value == peak_bytes(graph, plan)
    assert plan.proof.lower_bound == plan.proof.value
    try:
        below = small_target(plan.proof.value - 1).memory_spec()
        enough = small_target(plan.proof.value).memory_spec()
        assert least_noncompulsory_bytes(graph, enough, 30_000) == 0
        assert least_noncompulsory_bytes(graph, below, 30_000) != 0
    except MemoryError:
        pytest.skip("too many states for the exhaustive search")


def test_without_a_plan_that_fits_whole_the_bound_holds_for_any_plan() -> None:
    """Where evictions cannot be avoided only the largest operator bounds the peak."""
    seen = 0
    for seed in range(40):
        graph = random_graph(seed, Features(operators=7, in_place=False))
        target = tight_target(graph, False, 0)
        traffic = plan_exact(graph, target, PlanOptions(workers=1)).proof
        plan = plan_exact(graph, target, PlanOptions(objective="peak", workers=1))
        assert check_plan(graph, plan, target.memory_spec()) == ()
        if traffic.lower_bound > streamed_again(graph, plan, target):
            seen += 1
            assert plan.proof.lower_bound == target.scratchpad.size_bytes
    assert seen > 0
