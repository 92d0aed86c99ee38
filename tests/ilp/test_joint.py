"""The joint CP-SAT model against exhaustive search, on its own."""

import pytest
from tests.ilp.brute_force import least_noncompulsory_bytes
from tests.ilp.instances import Features, random_graph
from tests.ilp.test_exact import streamed_again, tight_target

from stowplan.ilp.incumbent import Incumbent
from stowplan.ilp.joint import improve_jointly
from stowplan.ir.check_plan import check_plan
from stowplan.passes.planner import PlanOptions


@pytest.mark.parametrize("seed", range(40))
def test_joint_model_equals_brute_force(seed: int) -> None:
    track = seed % 2 == 0
    graph = random_graph(seed + 700, Features(operators=3 + seed % 2, sizes=(1, 2, 3)))
    target = tight_target(graph, track, 0)
    options = PlanOptions(track_weights=track, time_limit_s=15, workers=1)
    best = Incumbent.start(graph, target, options, "exact")
    improve_jointly(best)
    plan = best.finish()
    memory = target.memory_spec(track)
    assert check_plan(graph, plan, memory) == ()
    try:
        least = least_noncompulsory_bytes(graph, memory, max_states=30_000)
    except MemoryError:
        pytest.skip("too many states for the exhaustive search")
    assert least is not None
    assert plan.proof.value == least + streamed_again(graph, plan, target)
    assert plan.proof.lower_bound == plan.proof.value
