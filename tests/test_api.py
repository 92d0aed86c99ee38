"""The Python interface."""

import os
import signal
from dataclasses import replace
from inspect import signature
from pathlib import Path

import pytest
from tests.strategies import random_case

import stowplan
from stowplan import api
from stowplan.cli_compile import compile_command
from stowplan.errors import InfeasiblePlanError, InternalError, UsageError
from stowplan.ir.graph import Graph
from stowplan.ir.plan import Plan
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.planner import PlanOptions, Progress
from stowplan.recipe import Recipe, light_networks, model_path
from stowplan.targets.load import DEFAULT_TARGET
from stowplan.targets.target import Target


def test_model_compiles_simulates_proves_and_saves(tmp_path: Path) -> None:
    compiled = stowplan.compile("light:squeezenet", planner="greedy")
    assert compiled.plan.planner == "greedy"
    assert compiled.graph.hash == compiled.plan.model_hash
    result = compiled.simulate()
    assert result.cycles > 0 and compiled.simulate() is result
    proof = compiled.prove()
    assert proof.passed and proof.operators == len(compiled.graph.operators)
    report = compiled.report()
    assert report.summary == compiled.summary
    assert report.summary.cycles == result.cycles
    assert report.summary.execution is not None and report.summary.execution.identical
    saved = compiled.save(tmp_path / "out")
    again = stowplan.reopen("light:squeezenet", Plan.load(saved / "plan.json"))
    assert again.plan == compiled.plan
    assert again.simulate().cycles == result.cycles


def test_graph_is_planned_as_it_is_on_a_target_of_ones_own() -> None:
    case = random_case(5, 12)
    compiled = stowplan.compile(case.graph, case.target, "greedy")
    assert compiled.graph is case.graph and compiled.target is case.target
    assert compiled.simulate().cycles > 0
    with pytest.raises(UsageError, match="graph alone"):
        compiled.prove()


def test_wall_time_grows_with_the_work_done() -> None:
    compiled = stowplan.compile("light:squeezenet", planner="greedy")
    planned = compiled.wall_s
    compiled.simulate()
    assert compiled.wall_s > planned > 0


def test_misfit_is_raised_with_its_report() -> None:
    with pytest.raises(InfeasiblePlanError) as caught:
        stowplan.compile("light:squeezenet", overrides=["scratchpad.size=4KiB"], tile="never")
    assert caught.value.misfit.smallest_capacity_bytes > 4 << 10


def test_progress_is_reported() -> None:
    seen: list[Progress] = []
    stowplan.compile("light:squeezenet", planner="greedy", on_progress=seen.append)
    assert seen and all(progress.incumbent is not None for progress in seen)


def test_first_interrupt_keeps_the_best_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    noticed: list[bool] = []

    def interrupted(graph: Graph, target: Target, options: PlanOptions) -> Plan:
        os.kill(os.getpid(), signal.SIGINT)
        noticed.append(options.cancelled())
        return plan_greedy(graph, target, options)

    monkeypatch.setattr("stowplan.planners.get_planner", lambda name: interrupted)
    case = random_case(5, 12)
    compiled = stowplan.compile(case.graph, case.target, "greedy")
    assert noticed == [True]
    assert len(compiled.plan.order) == len(case.graph.operators)


def test_a_planner_that_lies_about_its_objective_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def lying(graph: Graph, target: Target, options: PlanOptions) -> Plan:
        plan = plan_greedy(graph, target, options)
        return replace(plan, proof=replace(plan.proof, value=plan.proof.value + 1))

    monkeypatch.setattr("stowplan.planners.get_planner", lambda name: lying)
    case = random_case(5, 12)
    with pytest.raises(InternalError, match="claims"):
        stowplan.compile(case.graph, case.target, "greedy")


def test_plan_without_origin_cannot_be_reopened() -> None:
    case = random_case(5, 12)
    plan = plan_greedy(case.graph, case.target, PlanOptions())
    with pytest.raises(UsageError, match="does not say"):
        stowplan.reopen(case.graph, plan)


def test_recipe_survives_the_plan() -> None:
    recipe = Recipe(
        target="my target.toml",
        overrides=("scratchpad.size=1MiB", "clock=1GHz"),
        dims=(("batch=size", 4), ("seq", 128)),
        precision="int8",
        passes="a,b",
        tile="never",
    )
    case = random_case(5, 12)
    plan = plan_greedy(case.graph, case.target, PlanOptions())
    stored = Plan.from_json(replace(plan, origin=recipe.origin("m.onnx")).to_json())
    assert Recipe.from_plan(stored) == recipe


def test_shipped_networks_have_short_names() -> None:
    networks = light_networks()
    assert len(networks) == 9
    assert model_path("light:resnet50") == networks["resnet50"]
    assert model_path("some/model.onnx") == Path("some/model.onnx")
    with pytest.raises(UsageError, match="it ships bvlc_alexnet"):
        model_path("light:lenet")


def test_public_names_resolve_and_others_do_not() -> None:
    for name in stowplan.__all__:
        assert getattr(stowplan, name) is not None
    assert set(dir(stowplan)) == set(stowplan.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        stowplan.nothing  # noqa: B018


def test_command_line_and_interface_share_their_defaults() -> None:
    function = {
        name: parameter.default for name, parameter in signature(api.compile).parameters.items()
    }
    command = {
        name: parameter.default for name, parameter in signature(compile_command).parameters.items()
    }
    assert function["target"] == command["target"] == DEFAULT_TARGET
    assert function["planner"] == command["planner"]
    assert function["objective"] == command["objective"]
    assert function["time_limit_s"] == command["time_limit"]
    for name in ("precision", "passes", "track_weights", "seed", "workers"):
        assert function[name] == command[name]
