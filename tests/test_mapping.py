"""Planner ``rl`` as users run it: bounds from the integer program, and its plans."""

import pytest

from stowplan.errors import UsageError
from stowplan.ilp.milp import Limits
from stowplan.ir.check_plan import check_plan
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.mapping import faster_plan, mapping_bound
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.planner import PlanOptions
from stowplan.planners import get_planner
from stowplan.rl_mapper.training_graphs import training_graph, training_target
from stowplan.simulator.engine import simulate
from stowplan.simulator.lower import lower
from stowplan.targets.load import load_target

LIMITS = Limits(seconds=4.0, workers=1, seed=0, cancelled=lambda: False)
SETTINGS = (("evaluations", "60"), ("plays", "1"), ("search", "off"))


def chain(length: int) -> Graph:
    """Products one behind the other: there is only one order."""
    tensors = [Tensor("x0", (256, 512), DType.FLOAT32, Role.INPUT)]
    operators = []
    for n in range(length):
        role = Role.OUTPUT if n == length - 1 else Role.ACTIVATION
        tensors.append(Tensor(f"w{n}", (512, 512), DType.FLOAT32, Role.WEIGHT))
        tensors.append(Tensor(f"x{n + 1}", (256, 512), DType.FLOAT32, role))
        operators.append(Operator(f"o{n}", "MatMul", (f"x{n}", f"w{n}"), (f"x{n + 1}",)))
    return Graph("chain", tuple(tensors), tuple(operators))


def test_the_bound_of_a_chain_is_a_proof() -> None:
    graph = chain(5)
    target = load_target("tpu-v4i", ("scratchpad.size=1MiB", "dram.bytes_per_cycle=64"))
    options = PlanOptions("cycles", 6.0, track_weights=True, settings=SETTINGS)
    plan = get_planner("rl")(graph, target, options)
    assert plan.planner == "rl"
    assert plan.proof.bound_source == "linear relaxation of the mapping"
    bound = mapping_bound(graph, target, True, range(5))
    assert bound.only_order
    assert bound.cycles == plan.proof.lower_bound <= plan.proof.value
    # Five weights of a MiB each must cross a bus of 64 bytes per cycle.
    assert bound.cycles >= 5 * (1 << 20) // 64


def test_the_program_makes_plans_faster_and_never_slower() -> None:
    gains = []
    for seed in range(6):
        graph, target = training_graph(seed), training_target(seed)
        plan = plan_greedy(graph, target, PlanOptions("cycles", 5.0, track_weights=True))
        found = faster_plan(graph, target, plan, LIMITS)
        assert check_plan(graph, found, target.memory_spec(True)) == ()
        old, new = (simulate(lower(graph, p, target), target).cycles for p in (plan, found))
        gains.append(1 - new / old)
    assert min(gains) >= 0
    assert max(gains) > 0


def test_unknown_choices_are_named() -> None:
    options = PlanOptions("cycles", 6.0, settings=(("program", "maybe"),))
    with pytest.raises(UsageError, match="program"):
        get_planner("rl")(chain(2), load_target("tpu-v4i"), options)
