"""Groups of layers that run depth-first, and the baseline that runs none so."""

import re
from dataclasses import replace

import pytest

from stowplan.api import Compiled, plan_problem, prepare
from stowplan.ir.graph import Graph, Role
from stowplan.ir.traffic import traffic
from stowplan.passes.fusion_groups import FusionGroup, fusion_groups
from stowplan.passes.greedy import layers_of
from stowplan.passes.planner import PlanOptions
from stowplan.recipe import Recipe
from stowplan.report.text import summary_lines

MODEL = "light:squeezenet"
GROUPS = ";".join(["0-3/8@2", *map(str, range(3, 31))])
IN_GRAPH_ORDER = (("orders", "graph"),)


def compiled(tracked: bool, **options: object) -> Compiled:
    recipe = Recipe(precision="int8", groups=GROUPS, track_weights=tracked)
    asked = replace(PlanOptions(track_weights=tracked), **options)  # type: ignore[arg-type]
    return plan_problem(prepare(MODEL, recipe), "greedy", asked)


def groups_of(made: Compiled) -> tuple[FusionGroup, ...]:
    return fusion_groups(made.graph, made.plan, made.target.memory_spec(made.plan.track_weights))


@pytest.mark.parametrize("tracked", [False, True])
def test_a_chain_in_stripes_is_one_group(tracked: bool) -> None:
    made = compiled(tracked, settings=IN_GRAPH_ORDER)
    (group,) = groups_of(made)
    assert len(group.layers) == 3 and group.stripes == 8
    assert group.end - group.start == 3 * 8
    assert group.moved_bytes == 0 and group.kept_bytes > 0
    weights = [
        made.graph.tensor[name].size_bytes
        for op in made.graph.operators
        if op.parent in group.layers
        for name in op.inputs
        if made.graph.tensor[name].role is Role.WEIGHT
    ]
    # Two of the three layers have weights, read in each stripe.
    assert group.weight_bytes == sum(weights) // 8
    assert group.weight_again_bytes == (0 if tracked else 7 * group.weight_bytes)
    told = "weights resident" if tracked else r"weights streamed, [\d,]+ bytes of them again"
    assert re.search(rf"\(3 layers\) run depth-first in 8 stripes, {told}", str(group))


def test_the_summary_names_groups_and_all_of_them_when_verbose() -> None:
    summary = compiled(False, settings=IN_GRAPH_ORDER).summary
    assert len(summary.fusion) == 1
    many = replace(summary, fusion=tuple(f"group {i}" for i in range(5)))
    short, long = summary_lines(many), summary_lines(many, verbose=True)
    assert len(short) <= 15 and any("3 more groups (--verbose)" in line for line in short)
    assert all(any(f"group {i}" in line for line in long) for i in range(5))


def test_layers_in_a_row_are_no_group() -> None:
    whole = plan_problem(prepare(MODEL, Recipe(precision="int8")), "greedy", PlanOptions())
    assert groups_of(whole) == ()
    assert not any("fusion" in line for line in summary_lines(whole.summary))


@pytest.mark.parametrize("tracked", [False, True])
def test_without_fusion_nothing_stays_between_layers(tracked: bool) -> None:
    recipe = Recipe(
        precision="int8", tile="always", overrides=("scratchpad.size=96KiB",), track_weights=tracked
    )
    problem = prepare(MODEL, recipe)
    options = PlanOptions(track_weights=tracked, settings=(("fusion", "off"),))
    made = plan_problem(problem, "greedy", options)
    layer = layers_of(made.graph)
    for stay in made.plan.residencies:
        used = {layer[step] for step in uses(made, stay.storage) if stay.start <= step < stay.end}
        assert len(used) == 1
    memory = made.target.memory_spec(tracked)
    fused = plan_problem(problem, "greedy", PlanOptions(track_weights=tracked))
    apart = traffic(made.graph, made.plan, memory).noncompulsory_bytes
    assert apart >= least_apart(made.graph, layer)
    assert apart > traffic(fused.graph, fused.plan, memory).noncompulsory_bytes


def uses(made: Compiled, storage: str) -> list[int]:
    """Steps that touch a storage; the plan is in graph order."""
    assert made.plan.order == tuple(op.name for op in made.graph.operators)
    return [
        step
        for step, op in enumerate(made.graph.operators)
        if storage in {made.graph.resolve(name)[0] for name in (*op.inputs, *op.outputs)}
    ]


def least_apart(graph: Graph, layer: tuple[int, ...]) -> int:
    """Every intermediate result written once, and read once by each layer that needs it."""
    readers: dict[str, set[int]] = {}
    makers: dict[str, int] = {}
    for step, op in enumerate(graph.operators):
        for name in op.outputs:
            makers.setdefault(graph.resolve(name)[0], layer[step])
        for name in op.inputs:
            readers.setdefault(graph.resolve(name)[0], set()).add(layer[step])
    return sum(
        graph.tensor[storage].size_bytes * (1 + len(readers[storage] - {made}))
        for storage, made in makers.items()
        if readers.get(storage, set()) - {made} and graph.tensor[storage].role is not Role.OUTPUT
    )
