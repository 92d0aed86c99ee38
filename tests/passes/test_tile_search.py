"""Tilings as text, replayed without a graph, searched and chosen."""

from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stowplan
from stowplan.api import plan_problem, prepare
from stowplan.errors import UsageError
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.ir.memory import MemorySpec
from stowplan.ir.verify import verify
from stowplan.passes.greedy_gaps import furthest_next_use, timeline, total_traffic
from stowplan.passes.layer_search import TilePrice, search_layers
from stowplan.passes.pipeline import parse_pipeline, print_pipeline
from stowplan.passes.planner import PlanOptions
from stowplan.passes.problem import PlanningProblem, planning_problem
from stowplan.passes.takeovers import takeovers
from stowplan.passes.tile_groups import Cut, TileGroups, groups_of, parse_cuts, print_cuts
from stowplan.passes.tile_search import SearchLimits, search_tilings
from stowplan.passes.tiling.build import jobs_of
from stowplan.passes.tiling.grids import TERMS
from stowplan.passes.tiling.network import Network
from stowplan.passes.tiling.replay import Replay
from stowplan.recipe import Recipe
from stowplan.targets.load import load_target

MODEL = "light:squeezenet"

axes = st.integers(0, 5)
counts = st.integers(2, 99)
grids = st.lists(st.tuples(axes, counts), max_size=3, unique_by=lambda loop: loop[0])
chains = st.tuples(
    st.integers(2, 9), counts, st.lists(axes, min_size=1, max_size=3), st.integers(1, 9)
)


def conv(number: int, source: str, size: int) -> Operator:
    """A convolution that keeps rows and columns; residual where ``source`` names two tensors."""
    sides = (("kernel_shape", (size, size)), ("pads", (size // 2,) * 4), ("strides", (1, 1)))
    data, *residual = source.split("+")
    return Operator(
        name=f"conv{number}",
        kind="Conv",
        inputs=(data, f"w{number}", *residual),
        outputs=(f"t{number}",),
        attributes=sides,
        epilogue=("Add",) * len(residual),
        in_place=((0, 2),) * len(residual),
    )


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Six convolutions with a residual sum, results of 16 and 32 KiB."""
    shapes = [(16, 32, 3), (32, 16, 1), (16, 16, 3), (16, 32, 1), (32, 16, 3), (16, 32, 1)]
    sources = ["t", "t0", "t1", "t2+t0", "t3", "t4"]
    operators, tensors = [], [Tensor("t", (1, 16, 32, 32), DType.INT8, Role.INPUT)]
    for i, ((before, after, size), source) in enumerate(zip(shapes, sources, strict=True)):
        operators.append(conv(i, source, size))
        role = Role.OUTPUT if i == len(shapes) - 1 else Role.ACTIVATION
        tensors.append(Tensor(f"w{i}", (after, before, size, size), DType.INT8, Role.WEIGHT))
        tensors.append(Tensor(f"t{i}", (1, after, 32, 32), DType.INT8, role))
    graph = Graph("chain", tuple(tensors), tuple(operators))
    verify(graph)
    return graph


def memory(size_bytes: int, tracked: bool = False) -> MemorySpec:
    return MemorySpec(size_bytes, 64, stream_weights=not tracked)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.one_of(grids, chains), min_size=1, max_size=6), st.booleans())
def test_texts_of_groups_come_back(parts: list[object], sums: bool) -> None:
    cuts: list[Cut] = []
    for part in parts:
        first = cuts[-1].last if cuts else 0
        if isinstance(part, tuple):
            length, stripes, along, panels = part
            across = tuple(axis + 1 for axis in along) if panels > 1 else ()
            chain = Cut(first, first + length, stripes, tuple(along))
            cuts.append(replace(chain, panels=panels, across=across))
        elif isinstance(part, list):
            loops = (*part, (TERMS, 3)) if sums else tuple(part)
            cuts.append(Cut(first, first + 1, grid=loops))
    text = print_cuts(cuts)
    assert parse_cuts(text) == tuple(cuts)
    one = TileGroups(groups=text, capacity=7)
    assert parse_pipeline(print_pipeline((one,))) == (one,)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "0-3",
        "0-3/2",
        "3-1/2@2",
        "0:2",
        "0:2x0",
        "0-2/0@2",
        "0:2x2.y",
        "0-2/2@2/0@3",
        "0-2/2@2/3",
    ],
)
def test_texts_that_are_no_groups_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="tile-groups"):
        parse_cuts(text)


def test_groups_of_another_network_are_refused(graph: Graph) -> None:
    network = Network(graph, track_weights=False)
    everything = ";".join(str(i) for i in range(len(network.units)))
    assert len(groups_of(network, parse_cuts(everything))) == len(network.units)
    wrong = ("0:9x2;", "0:2x9999;", "0-2/3@9;", "0-2/3@2.2;", "0-2/3@2/2@9;", "0-2/3@2/2@3.3;")
    cut = [each + everything.split(";", 2 if "-" in each else 1)[-1] for each in wrong]
    for text in ("0", everything + ";999", "1;2", *cut):
        with pytest.raises(UsageError, match="tile-groups"):
            TileGroups(groups=text).apply(graph)


def counted(problem: PlanningProblem, tracked: bool) -> int:
    """Bytes moved under the built graph's order, counted on the graph."""
    order = tuple(range(problem.operators))
    accesses = timeline(problem, order, pairs=takeovers(problem))
    kept = furthest_next_use(accesses, problem.memory.capacity_bytes, write_aware=True)
    graph = problem.graph
    streamed = sum(
        graph.tensor[name].size_bytes
        for op in graph.operators
        for name in dict.fromkeys(op.inputs)
        if graph.tensor[name].role is Role.WEIGHT and not tracked
    )
    return total_traffic(accesses, kept) + streamed


def tilings(network: Network) -> list[str]:
    """Chains, grids and sums cut, drawn up by hand from what the units allow."""
    units = range(len(network.units))
    halves = ["0-5/7@2", *(str(i) for i in units if i >= 5)]
    panels = ["0-5/4@2/3@3", *(str(i) for i in units if i >= 5)]
    rows = [f"{i}:2x4" if 2 in network.units[i].splittable else str(i) for i in units]
    both = [f"{i}:1x2.2x3" if {1, 2} <= network.units[i].splittable else str(i) for i in units]
    sums = [f"{i}:2x2.kx2" if network.units[i].terms > 8 else str(i) for i in units]
    return [";".join(parts) for parts in (halves, panels, rows, both, sums)]


@pytest.mark.parametrize("tracked", [False, True])
def test_a_replay_counts_what_the_built_graph_moves(graph: Graph, tracked: bool) -> None:
    network = Network(graph, tracked)
    for text, size in product(tilings(network), (24 << 10, 48 << 10, 1 << 20)):
        jobs = jobs_of(network, groups_of(network, parse_cuts(text)))
        replayed = Replay(network, memory(size, tracked)).run(jobs)
        built = TileGroups(text, size, track_weights=tracked).apply(graph).graph
        problem = planning_problem(built, memory(size, tracked))
        demands = [problem.demand(o) for o in range(problem.operators)]
        assert replayed.tiles == problem.operators
        assert replayed.over_bytes == max(0, max(demands) - size)
        assert bool(replayed.misfits) == bool(replayed.over_bytes)
        if not replayed.over_bytes:
            assert replayed.moved_bytes == counted(problem, tracked)
            parts = sum(replayed.moved.values()) + sum(replayed.streamed.values())
            assert replayed.moved_bytes == parts


def test_a_longer_search_is_no_worse_and_repeats_itself(graph: Graph) -> None:
    network, spec = Network(graph, False), memory(40 << 10)
    replay = Replay(network, spec)

    def price(replays: float) -> tuple[int, str]:
        *_, cuts = search_tilings(network, spec, SearchLimits(replays, 100))
        assert [(a.last, b.first) for a, b in pairwise(cuts)] == [
            (b.first, b.first) for b in cuts[1:]
        ]
        result = replay.run(jobs_of(network, groups_of(network, cuts)))
        assert not result.over_bytes
        return result.moved_bytes + 100 * result.tiles, print_cuts(cuts)

    short, longer = price(0), price(60)
    assert short == price(0)
    assert longer[0] < short[0]


def test_layers_alone_fit_and_none_is_cut_better_by_rows_or_channels(graph: Graph) -> None:
    network, spec = Network(graph, False), memory(20 << 10)
    replay = Replay(network, spec)
    cuts = search_layers(network, spec, TilePrice(100, 1))
    assert not replay.run(jobs_of(network, groups_of(network, cuts))).misfits
    assert all(cut.last == cut.first + 1 for cut in cuts)

    def alone(cut: Cut) -> tuple[int, int]:
        text = ";".join(str(cut) if i == cut.first else str(i) for i in range(len(network.units)))
        group = groups_of(network, parse_cuts(text))[cut.first]
        result = replay.run(jobs_of(network, [group]))
        return result.over_bytes, result.moved_bytes + result.tiles

    for cut in cuts:
        unit = network.units[cut.first]
        simple = [((axis, n),) for axis in (1, 2) if axis in unit.splittable for n in (2, 4, 8)]
        whole = network.whole(unit)
        simple = [grid for grid in simple if grid[0][1] <= whole[grid[0][0]][1]]
        for grid in simple:
            other = alone(Cut(cut.first, cut.last, grid=grid))
            # A unit cut for less space, because of its neighbours' pieces, may move a little more.
            assert alone(cut) <= other or other[0] > 0 or alone(cut)[1] < 1.05 * other[1]


def test_effort_finds_a_plan_no_worse_that_can_be_made_again(tmp_path: Path) -> None:
    sizes = ("scratchpad.size=96KiB",)
    plain = stowplan.compile(MODEL, planner="greedy", precision="int8", overrides=sizes)
    found = stowplan.compile(MODEL, planner="greedy", precision="int8", overrides=sizes, effort=1)
    assert found.plan.proof.value <= plain.plan.proof.value
    found.plan.save(tmp_path / "plan.json")
    again = stowplan.reopen(MODEL, stowplan.Plan.load(tmp_path / "plan.json"))
    assert again.graph.hash == found.graph.hash


def test_effort_that_cannot_help_is_refused_or_skipped(graph: Graph) -> None:
    with pytest.raises(UsageError, match="effort 9"):
        stowplan.compile(MODEL, precision="int8", effort=9)
    for wrong in ({"tile": "never"}, {"passes": "dead-code"}):
        with pytest.raises(UsageError, match="effort searches tilings"):
            stowplan.compile(MODEL, effort=1, **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="not of a graph"):
        stowplan.compile(graph, effort=1)
    fits = stowplan.compile(MODEL, planner="greedy", precision="int8", effort=1)
    assert dict(fits.plan.origin).get("groups") is None


def test_groups_of_a_recipe_make_the_same_graph_again() -> None:
    groups = ";".join(["0-3/8@2", *map(str, range(3, 31))])
    recipe = Recipe(precision="int8", groups=groups)
    made = plan_problem(prepare(MODEL, recipe), "greedy", PlanOptions())
    assert sum(op.parent is not None for op in made.graph.operators) >= 3 * 8
    assert ("groups", groups) in made.plan.origin
    assert stowplan.reopen(MODEL, made.plan).graph.hash == made.graph.hash


def test_units_of_a_target_with_direct_access_are_left_to_the_tile_pass() -> None:
    target = load_target("edge-npu", ("dram.direct_operands=true", "scratchpad.size=64KiB"))
    found = stowplan.compile(MODEL, target, "greedy", precision="int8", tile="always", effort=1)
    assert dict(found.plan.origin).get("groups") is None
