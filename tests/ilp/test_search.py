"""The search's accelerations and bounds on graphs too large for exhaustive search."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.ilp.instances import Features, random_graph
from tests.ilp.space_search import least_bytes
from tests.ilp.test_exact import tight_target

from stowplan.ilp.blocks import Blocks
from stowplan.ilp.milp import Limits
from stowplan.ilp.neighbourhood import Replanning, replan
from stowplan.ilp.packing import overlapping, pack
from stowplan.ilp.path import path_of
from stowplan.ilp.region import Space, cut_region
from stowplan.ilp.schedule import load_bytes, traffic_bytes
from stowplan.ilp.search import SearchOptions, SearchResult, schedule_of, search
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.passes.problem import PlanningProblem, planning_problem

UNLIMITED = 1 << 40
WIDE = 5_000


def random_problem(seed: int) -> PlanningProblem:
    """Uniform sizes make sequences and ties, mixed ones make hard evictions."""
    rng = random.Random(seed)
    sizes = rng.choice([(2,), (2, 4), (1, 2, 3, 4), (4, 4, 4, 2, 8)])
    graph = random_graph(seed, Features(operators=rng.randint(7, 11), sizes=sizes))
    track = seed % 2 == 0
    target = tight_target(graph, track, rng.choice((0, 0, 1, 2, 4)))
    return planning_problem(graph, target.memory_spec(track))


def chained_problem(seed: int) -> PlanningProblem:
    """Three random graphs, each one reading the only output of the one before."""
    parts = []
    for k in range(3):
        features = Features(operators=4 + seed % 3, sizes=(2, 4, 6), concats=False)
        parts.append(random_graph(seed * 3 + (k if seed % 2 else 0), features))
    graph = chained(parts)
    target = tight_target(graph, False, 0)
    return planning_problem(graph, target.memory_spec(False))


def chained(parts: Sequence[Graph]) -> Graph:
    """One graph of several: a bottleneck operator reads all results of one part."""
    tensors: list[Tensor] = []
    operators: list[Operator] = []
    link = ""
    for k, part in enumerate(parts):
        name = {t.name: f"p{k}.{t.name}" for t in part.tensors}
        inputs = [t.name for t in part.tensors if t.role is Role.INPUT]
        if link:
            name.update(dict.fromkeys(inputs, link))
        for t in part.tensors:
            if not (link and t.name in inputs):
                role = Role.ACTIVATION if t.role is Role.OUTPUT else t.role
                tensors.append(replace(t, name=name[t.name], role=role))
        for op in part.operators:
            ins = tuple(dict.fromkeys(name[x] for x in op.inputs))
            outs = tuple(name[x] for x in op.outputs)
            operators.append(
                replace(op, name=f"p{k}.{op.name}", inputs=ins, outputs=outs, in_place=())
            )
        read = {x for op in part.operators for x in op.inputs}
        ends = [x for op in part.operators for x in op.outputs if x not in read]
        link = f"link{k}"
        tensors.append(Tensor(link, (4,), DType.INT8))
        operators.append(Operator(f"join{k}", "Generic", tuple(name[x] for x in ends), (link,)))
    tensors[-1] = replace(tensors[-1], role=Role.OUTPUT)
    return Graph("chained", tuple(tensors), tuple(operators))


def options(problem: PlanningProblem, width: int, free_moves: bool = True) -> SearchOptions:
    """Search the whole scratchpad without a limit of cost or time."""
    capacity = problem.memory.capacity_bytes
    return SearchOptions(capacity, UNLIMITED, width, free_moves, lambda: False)


def whole(
    problem: PlanningProblem, width: int, fuse: bool = True, free_moves: bool = True
) -> SearchResult:
    """Search the whole problem as one region."""
    space = Space(problem, fuse)
    cut = cut_region(space, range(len(space.sequences)))
    return search(cut, options(problem, width, free_moves))


@pytest.mark.parametrize("block", range(4))
def test_accelerations_do_not_change_the_optimum(block: int) -> None:
    fused, costly = 0, 0
    for seed in range(block * 100, block * 100 + 100):
        problem = random_problem(seed)
        found = set()
        for fuse in (True, False):
            fused += len(Space(problem, fuse).sequences) < problem.operators
            for free_moves in (True, False):
                outcome = whole(problem, WIDE, fuse, free_moves)
                found.add((outcome.cost, outcome.bound))
        assert len(found) == 1
        costly += min(found)[0] > 0
    assert fused > 0
    assert costly > 0


def test_the_optimum_is_that_of_the_exhaustive_search() -> None:
    compared, costly = 0, 0
    for seed in range(3000, 3100):
        rng = random.Random(seed)
        graph = random_graph(seed, Features(operators=rng.randint(4, 6), sizes=(1, 2, 3)))
        track = seed % 2 == 0
        target = tight_target(graph, track, rng.choice((0, 0, 1)))
        problem = planning_problem(graph, target.memory_spec(track))
        least = least_bytes(problem, max_states=20_000)
        if least is not None:
            found = whole(problem, WIDE)
            assert found.cost == found.bound == least
            compared += 1
            costly += least > 0
    assert compared > 30
    assert costly > 5


def test_blocks_add_up_to_the_whole() -> None:
    """Chains of random graphs fall apart where one tensor links them."""
    several, costly = 0, 0
    for seed in range(4000, 4060):
        problem = chained_problem(seed)
        blocks = Blocks(Space(problem))
        several += len(blocks.order) > 1
        assert blocks.search(WIDE, problem.memory.capacity_bytes, UNLIMITED, True, lambda: False)
        outcome = whole(problem, WIDE)
        assert blocks.solved
        assert blocks.cost == blocks.bound == outcome.cost
        steps = blocks.steps()
        assert steps is not None
        schedule = schedule_of(problem, steps)
        assert sorted(schedule.order) == list(range(problem.operators))
        assert traffic_bytes(problem, schedule.stays) == outcome.cost
        assert max(load_bytes(problem, schedule)) <= problem.memory.capacity_bytes
        costly += outcome.cost > 0
    assert several > 30
    assert costly > 10


def test_a_path_costs_what_the_search_says() -> None:
    for seed in range(5000, 5060):
        problem = random_problem(seed)
        outcome = whole(problem, WIDE)
        assert outcome.steps is not None
        path = path_of(Space(problem), outcome.steps)
        assert path.cost == outcome.cost
        assert path.flat() == outcome.steps


def test_a_window_planned_anew_never_costs_more_and_stays_legal() -> None:
    gained = 0
    for seed in range(6000, 6080):
        problem = random_problem(seed)
        capacity = problem.memory.capacity_bytes
        space = Space(problem)
        legal = sorted(range(len(space.sequences)), key=lambda i: space.sequences[i][-1])
        first = search(cut_region(space, legal, fixed=True), options(problem, 1))
        if first.steps is None:
            continue
        path = path_of(space, first.steps)
        rng = random.Random(seed)
        for _ in range(6):
            low = rng.randrange(len(path.order))
            high = min(len(path.order), low + rng.randint(1, 5))
            window = Replanning(capacity, WIDE, True, lambda: False)
            after = replan(space, path, low, high, window)
            assert after is not None
            assert after.cost <= path.cost
            gained += after.cost < path.cost
            schedule = schedule_of(problem, after.flat())
            assert traffic_bytes(problem, schedule.stays) <= after.cost
            assert max(load_bytes(problem, schedule)) <= capacity
            path = after
    assert gained > 5


def test_a_narrow_search_bounds_the_optimum_from_below() -> None:
    for seed in range(1000, 1200):
        problem = random_problem(seed)
        optimum = whole(problem, WIDE).cost
        for width in (1, 2, 5):
            narrow = whole(problem, width)
            assert narrow.bound <= optimum <= narrow.cost


def test_schedules_fit_cost_what_they_say_and_pack_without_overlap() -> None:
    packed = 0
    for seed in range(2000, 2150):
        problem = random_problem(seed)
        outcome = whole(problem, WIDE)
        assert outcome.steps is not None
        schedule = schedule_of(problem, outcome.steps)
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
