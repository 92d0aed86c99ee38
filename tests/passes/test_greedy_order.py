"""Candidate orders are legal, and the memory-aware ones find the small peaks."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import random_graph

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.ir.memory import MemorySpec
from stowplan.passes.order import candidate_orders, depth_first_order, list_schedule, live_bytes
from stowplan.passes.problem import PlanningProblem, planning_problem

ROOMY = MemorySpec(1 << 30, stream_weights=False)


def problem_of(seed: int, operators: int) -> PlanningProblem:
    return planning_problem(random_graph(seed, operators), ROOMY)


def peak(problem: PlanningProblem, order: tuple[int, ...]) -> int:
    return max(live_bytes(problem, order))


def branches(widths: tuple[int, ...]) -> Graph:
    """A source feeds chains whose middle tensor is wide; breadth-first keeps all middles alive."""
    tensors = [Tensor("in", (1,), DType.INT8, Role.INPUT)]
    first, second = [], []
    for i, width in enumerate(widths):
        tensors.append(Tensor(f"wide{i}", (width,), DType.INT8))
        tensors.append(Tensor(f"end{i}", (1,), DType.INT8))
        first.append(Operator(f"open{i}", "Conv", ("in",), (f"wide{i}",)))
        second.append(Operator(f"close{i}", "Conv", (f"wide{i}",), (f"end{i}",)))
    tensors.append(Tensor("out", (1,), DType.INT8, Role.OUTPUT))
    join = Operator("join", "Add", tuple(f"end{i}" for i in range(len(widths))), ("out",))
    return Graph("branches", tuple(tensors), (*first, *second, join))


@given(st.integers(0, 10_000), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_orders_are_permutations_that_respect_precedence(seed: int, operators: int) -> None:
    problem = problem_of(seed, operators)
    for order in candidate_orders(problem):
        assert sorted(order) == list(range(operators))
        position = {operator: step for step, operator in enumerate(order)}
        for operator, before in enumerate(problem.predecessors):
            assert all(position[earlier] < position[operator] for earlier in before)


@given(st.integers(0, 10_000), st.integers(1, 25))
@settings(max_examples=40, deadline=None)
def test_live_bytes_equal_counting_by_definition(seed: int, operators: int) -> None:
    problem = problem_of(seed, operators)
    order = list_schedule(problem, recent_first=True)
    users = [[order.index(o) for o in found] for found in problem.users()]
    counted = [
        sum(
            problem.size[v]
            for v, steps in enumerate(users)
            if steps and min(steps) <= step <= max(steps)
        )
        for step in range(operators)
    ]
    assert live_bytes(problem, order) == counted


def test_memory_aware_orders_finish_a_branch_before_opening_the_next() -> None:
    problem = planning_problem(branches((100, 100, 100, 100)), ROOMY)
    assert peak(problem, tuple(range(problem.operators))) > 400
    for order in (depth_first_order(problem), list_schedule(problem, recent_first=True)):
        assert peak(problem, order) < 110


def test_depth_first_runs_the_heavier_branch_first() -> None:
    problem = planning_problem(branches((10, 300, 20)), ROOMY)
    order = depth_first_order(problem)
    assert [problem.graph.operators[o].name for o in order[:2]] == ["open1", "close1"]
