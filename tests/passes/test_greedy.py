"""Planner greedy: replacement, repair of fragmentation, direct access, in-place, assembly."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import largest_operator_bytes, random_case, random_graph, small_target

from stowplan.errors import InfeasiblePlanError, UsageError
from stowplan.ir.check_plan import check_plan
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.ir.memory import MemorySpec
from stowplan.ir.plan import Plan, ProofStatus, TransferKind
from stowplan.ir.traffic import peak_bytes, traffic
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.greedy_gaps import (
    Kept,
    Timeline,
    best_gaps,
    fixed_order_residencies,
    timeline,
    total_traffic,
)
from stowplan.passes.planner import PlanOptions
from stowplan.passes.problem import planning_problem


def tensor(name: str, size: int, role: Role = Role.ACTIVATION) -> Tensor:
    return Tensor(name, (size,), DType.INT8, role)


def chain(*sizes: int) -> Graph:
    """Operators in a row; tensor i+1 from tensor i."""
    last = len(sizes) - 1
    roles = {0: Role.INPUT, last: Role.OUTPUT}
    tensors = tuple(
        tensor(f"t{i}", size, roles.get(i, Role.ACTIVATION)) for i, size in enumerate(sizes)
    )
    operators = tuple(
        Operator(f"o{i}", "Relu", (f"t{i}",), (f"t{i + 1}",), in_place=((0, 0),))
        for i in range(last)
    )
    return Graph("chain", tensors, operators)


def skip(size: int, clean: bool) -> Graph:
    """A tensor read at both ends of a chain that needs its space in the middle."""
    tensors = [
        tensor("in", 10, Role.INPUT),
        tensor("far", size),
        tensor("a", 40),
        tensor("b", 40),
        tensor("out", 10, Role.OUTPUT),
    ]
    far = "in" if clean else "far"
    operators = (
        Operator("make", "Conv", ("in",), ("far",)),
        Operator("first", "Conv", (far,), ("a",)),
        Operator("second", "Conv", ("a",), ("b",)),
        Operator("join", "Add", ("b", far), ("out",)),
    )
    return Graph("skip", tuple(tensors), operators)


def valid(graph: Graph, plan: Plan, memory: MemorySpec) -> bool:
    return check_plan(graph, plan, memory) == ()


@given(st.integers(0, 1 << 30), st.integers(1, 40), st.sampled_from(("offchip", "peak", "cycles")))
@settings(max_examples=150, deadline=None)
def test_every_plan_is_valid(seed: int, operators: int, objective: str) -> None:
    case = random_case(seed, operators)
    options = PlanOptions(track_weights=case.track_weights, objective=objective)
    plan = plan_greedy(case.graph, case.target, options)
    assert check_plan(case.graph, plan, case.target.memory_spec(case.track_weights)) == ()
    assert plan.proof.value >= plan.proof.lower_bound


def exhaustive(accesses: Timeline, capacity: int) -> int:
    """Least traffic of any choice of kept gaps that fits the capacity at every step."""
    flat = [len(flags) for flags in accesses.gaps(1)]
    best = None
    for choice in product((0, 1), repeat=sum(flat)):
        rest = iter(choice)
        kept: Kept = [bytearray(next(rest) for _ in range(count)) for count in flat]
        usage = [0] * len(accesses.order)
        for stay in accesses.stays(kept):
            for step in range(stay.start, stay.end):
                usage[step] += accesses.problem.size[stay.storage]
        if max(usage) <= capacity:
            moved = total_traffic(accesses, kept)
            best = moved if best is None else min(best, moved)
    assert best is not None
    return best


def test_replacement_is_near_the_optimum_of_its_order() -> None:
    """Never better than exhaustive search (it would break the capacity), and rarely worse."""
    optimal, cases = 0, 0
    for seed in range(60):
        graph = random_graph(seed, operators=6)
        target = small_target(1)
        least = largest_operator_bytes(graph, target, True)
        problem = planning_problem(graph, MemorySpec(least + least // 4, stream_weights=False))
        accesses = timeline(problem, range(problem.operators))
        if sum(len(flags) for flags in accesses.gaps(1)) > 10:
            continue
        found = total_traffic(accesses, best_gaps(accesses, problem.memory.capacity_bytes))
        best = exhaustive(accesses, problem.memory.capacity_bytes)
        assert found >= best
        assert found <= 2 * best
        optimal += found == best
        cases += 1
    assert cases >= 20
    assert optimal >= 0.8 * cases


@given(st.integers(0, 1 << 30), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_residencies_of_a_fixed_order_fit_and_cover_every_use(seed: int, operators: int) -> None:
    case = random_case(seed, operators, direct_operands=False)
    problem = planning_problem(case.graph, case.target.memory_spec(case.track_weights))
    stays = fixed_order_residencies(problem, range(operators))
    usage = [0] * operators
    present: set[tuple[int, int]] = set()
    for stay in stays:
        for step in range(stay.start, stay.end):
            usage[step] += problem.size[stay.storage]
            present.add((stay.storage, step))
    assert max(usage) <= problem.memory.capacity_bytes
    for step in range(operators):
        assert all((v, step) in present for v in problem.uses(step))


def test_a_graph_that_fits_moves_only_what_it_must_and_is_proven() -> None:
    graph = chain(8, 16, 16, 8)
    plan = plan_greedy(graph, small_target(64), PlanOptions())
    assert plan.proof.value == 0
    assert plan.proof.status is ProofStatus.OPTIMAL
    assert [(t.kind, t.storage) for t in plan.transfers] == [
        (TransferKind.LOAD, "t0"),
        (TransferKind.STORE, "t3"),
    ]


def test_in_place_outputs_reuse_their_input() -> None:
    graph = chain(32, 32, 32, 32)
    target = small_target(64)
    plan = plan_greedy(graph, target, PlanOptions(objective="peak"))
    assert valid(graph, plan, target.memory_spec())
    assert plan.proof.value == peak_bytes(graph, plan) == 32
    assert plan.proof.status is ProofStatus.OPTIMAL


@pytest.mark.parametrize(("clean", "times"), [(True, 1), (False, 2)])
def test_clean_storages_cost_a_reload_and_dirty_ones_a_store_too(clean: bool, times: int) -> None:
    graph = skip(size=10, clean=clean)
    target = small_target(80)
    plan = plan_greedy(graph, target, PlanOptions())
    assert valid(graph, plan, target.memory_spec())
    assert plan.proof.value == times * 10


def test_fragmentation_is_repaired_when_operators_fill_the_scratchpad() -> None:
    """Each operator fills the scratchpad exactly, with operands of other sizes each time."""
    sizes = (30, 34, 20, 44, 14, 50, 10)
    tensors = [tensor(f"t{i}", size) for i, size in enumerate(sizes)]
    tensors[0] = tensor("t0", sizes[0], Role.INPUT)
    tensors[-1] = tensor(f"t{len(sizes) - 1}", sizes[-1], Role.OUTPUT)
    operators = tuple(
        Operator(
            f"o{i}",
            "Conv",
            (f"t{i}",),
            (f"t{i + 1}",),
            workspace_bytes=64 - sizes[i] - sizes[i + 1],
        )
        for i in range(len(sizes) - 1)
    )
    graph = Graph("tight", tuple(tensors), operators)
    target = small_target(64)
    plan = plan_greedy(graph, target, PlanOptions())
    assert valid(graph, plan, target.memory_spec())


def test_tight_random_graphs_always_have_a_plan() -> None:
    for seed in range(60):
        graph = random_graph(seed, operators=25)
        least = largest_operator_bytes(graph, small_target(1), True)
        plan = plan_greedy(graph, small_target(least), PlanOptions(track_weights=True))
        assert valid(graph, plan, MemorySpec(least, stream_weights=False))


def test_operators_that_do_not_fit_are_named() -> None:
    with pytest.raises(InfeasiblePlanError, match=r"'o1'.*needs 72 bytes"):
        plan_greedy(chain(8, 32, 40, 8), small_target(71), PlanOptions())


def test_direct_access_replaces_what_does_not_fit() -> None:
    graph = chain(8, 32, 40, 8)
    target = small_target(16, direct_operands=True)
    plan = plan_greedy(graph, target, PlanOptions())
    assert valid(graph, plan, target.memory_spec())
    assert {(access.storage, access.step) for access in plan.direct} >= {("t1", 0), ("t2", 1)}
    moved = traffic(graph, plan, target.memory_spec())
    assert moved.noncompulsory_bytes == plan.proof.value == 2 * (32 + 40)


def test_more_effort_never_hurts() -> None:
    for seed in range(15):
        case = random_case(seed, operators=30, direct_operands=False)
        options = PlanOptions(track_weights=case.track_weights)
        plain = PlanOptions(
            track_weights=case.track_weights, settings=(("improve", "off"), ("orders", "graph"))
        )
        full_value = plan_greedy(case.graph, case.target, options).proof.value
        assert full_value <= plan_greedy(case.graph, case.target, plain).proof.value


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="orders"):
        plan_greedy(chain(1, 1), small_target(8), PlanOptions(settings=(("orders", "some"),)))
    with pytest.raises(UsageError, match="depth"):
        plan_greedy(chain(1, 1), small_target(8), PlanOptions(settings=(("depth", "3"),)))
