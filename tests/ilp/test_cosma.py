"""The published MILP: solvers, variants, export."""

from pathlib import Path

import pytest
from tests.ilp.instances import Features, random_graph, small_target
from tests.ilp.test_exact import tight_target

from stowplan.errors import UsageError
from stowplan.ilp.cosma import plan_cosma
from stowplan.ilp.exact import plan_exact
from stowplan.ir.check_plan import check_plan
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.planner import PlanOptions

SMALL = Features(operators=4, sizes=(1, 2, 3))


@pytest.mark.parametrize("solver", ["cbc", "highs", "scip"])
def test_solvers_agree(solver: str) -> None:
    compared = 0
    for seed in (0, 1, 4, 13):
        graph = random_graph(seed, SMALL)
        target = tight_target(graph, False, 0)
        options = PlanOptions(time_limit_s=10, workers=1)
        exact = plan_exact(graph, target, options)
        cosma = plan_cosma(
            graph, target, PlanOptions(time_limit_s=10, settings=(("solver", solver),))
        )
        assert check_plan(graph, cosma, target.memory_spec()) == ()
        if cosma.proof.gap == 0:
            compared += 1
            assert cosma.proof.value == exact.proof.value
    assert compared > 0


def test_without_cutoff_and_windows_the_optimum_is_the_same() -> None:
    graph = random_graph(1, SMALL)
    target = tight_target(graph, False, 0)
    plain = (("cutoff", "off"), ("windows", "off"))
    exact = plan_exact(graph, target, PlanOptions(workers=1))
    cosma = plan_cosma(graph, target, PlanOptions(time_limit_s=4, settings=plain))
    assert cosma.proof.lower_bound <= exact.proof.value <= cosma.proof.value


def test_the_model_is_exported(tmp_path: Path) -> None:
    graph = random_graph(1, SMALL)
    path = tmp_path / "model.lp"
    settings = (("lp", str(path)),)
    plan_cosma(graph, tight_target(graph, False, 0), PlanOptions(settings=settings, time_limit_s=1))
    text = path.read_text()
    assert "Minimize" in text
    assert "once" in text


@pytest.mark.parametrize("variant", ["order", "fixed"])
def test_variants_return_valid_plans_no_worse_than_greedy(variant: str) -> None:
    for seed in range(6):
        graph = random_graph(seed, SMALL)
        target = tight_target(graph, False, 0)
        options = PlanOptions(time_limit_s=5, settings=(("variant", variant),))
        plan = plan_cosma(graph, target, options)
        greedy = plan_greedy(graph, target, PlanOptions())
        assert check_plan(graph, plan, target.memory_spec()) == ()
        assert plan.proof.lower_bound <= plan.proof.value <= greedy.proof.value


def test_minimum_peak_order_agrees_with_exact() -> None:
    for seed in range(8):
        graph = random_graph(seed, SMALL)
        roomy = small_target(80)
        options = PlanOptions(objective="peak", time_limit_s=10, workers=1)
        exact, cosma = plan_exact(graph, roomy, options), plan_cosma(graph, roomy, options)
        assert check_plan(graph, cosma, roomy.memory_spec()) == ()
        assert cosma.proof.lower_bound <= exact.proof.value <= cosma.proof.value


@pytest.mark.parametrize(
    "setting", [("solver", "gurobi"), ("variant", "best"), ("max_rows", "few"), ("colour", "red")]
)
def test_bad_settings_are_usage_errors(setting: tuple[str, str]) -> None:
    graph = random_graph(1, SMALL)
    with pytest.raises(UsageError):
        plan_cosma(graph, small_target(1000), PlanOptions(settings=(setting,)))


def test_a_model_too_large_is_not_built() -> None:
    graph = random_graph(1, Features(operators=30))
    target = tight_target(graph, False, 0)
    plan = plan_cosma(graph, target, PlanOptions(settings=(("max_rows", "10"),)))
    assert check_plan(graph, plan, target.memory_spec()) == ()
