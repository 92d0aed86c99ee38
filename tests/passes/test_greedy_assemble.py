"""Assembly gives transfers the slack that free space allows, and no more."""

from collections.abc import Sequence

from tests.strategies import small_target

from stowplan.ir.check_plan import check_plan
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.ir.memory import MemorySpec
from stowplan.ir.plan import Plan, Proof, Transfer, TransferKind
from stowplan.passes.assemble import LOOKAHEAD_STEPS, Stay, assemble_plan
from stowplan.passes.problem import planning_problem

LENGTH = 24
PROOF = Proof("offchip", 0, 0, "", "")


def ladder() -> Graph:
    """``x`` is read by the first and the last operator, every step defines a tensor of its own."""
    names = [f"t{i}" for i in range(LENGTH)]
    tensors = [Tensor("x", (8,), DType.INT8, Role.INPUT)]
    tensors += [Tensor(name, (8,), DType.INT8) for name in names[:-1]]
    tensors.append(Tensor(names[-1], (8,), DType.INT8, Role.OUTPUT))
    operators = [Operator("o0", "Conv", ("x",), ("t0",))]
    for i in range(1, LENGTH):
        inputs = (names[i - 1], "x", "t0") if i == LENGTH - 1 else (names[i - 1],)
        operators.append(Operator(f"o{i}", "Conv", inputs, (names[i],)))
    return Graph("ladder", tuple(tensors), tuple(operators))


def assembled(blockers: Sequence[tuple[int, int]], capacity: int = 1000) -> tuple[Graph, Plan]:
    """``x`` and ``t0`` leave after step 1 and return for the last; others take turns.

    Args:
        blockers: (index i, address) of tensors t<i> placed elsewhere than at 100 or 108.
        capacity: of the scratchpad.
    """
    graph = ladder()
    target = small_target(capacity)
    problem = planning_problem(graph, target.memory_spec())
    index = {storage.name: v for v, storage in enumerate(problem.storages)}
    last = LENGTH - 1
    stays = [
        Stay(index["x"], 0, 1, True, False),
        Stay(index["x"], last, LENGTH, True, False),
        Stay(index["t0"], 0, 2, False, True),
        Stay(index["t0"], last, LENGTH, True, False),
    ]
    addresses = [0, 0, 8, 8]
    moved = dict(blockers)
    for i in range(1, LENGTH):
        stays.append(Stay(index[f"t{i}"], i, min(i + 2, LENGTH), False, i == last))
        addresses.append(moved.get(i, 100 + 8 * (i % 2)))
    order = tuple(range(LENGTH))
    plan = assemble_plan(problem, target, order, stays, addresses, PROOF, "test")
    assert check_plan(graph, plan, target.memory_spec()) == ()
    return graph, plan


def the(plan: Plan, kind: TransferKind, storage: str) -> Transfer:
    return [t for t in plan.transfers if (t.kind, t.storage) == (kind, storage)][-1]


def test_loads_are_issued_ahead_but_not_too_far() -> None:
    _, plan = assembled(())
    load = the(plan, TransferKind.LOAD, "x")
    assert (load.issue, load.deadline) == (LENGTH - 1 - LOOKAHEAD_STEPS, LENGTH - 1)


def test_loads_wait_for_the_space_to_become_free() -> None:
    _, plan = assembled([(18, 0)])
    assert the(plan, TransferKind.LOAD, "x").issue == 20


def test_stores_begin_after_the_last_write_and_end_when_the_space_is_needed() -> None:
    _, plan = assembled([(7, 8)])
    store = the(plan, TransferKind.STORE, "t0")
    assert (store.issue, store.deadline) == (1, 7)


def test_a_store_and_the_reload_of_the_same_storage_share_the_time_between() -> None:
    _, plan = assembled(())
    store, load = the(plan, TransferKind.STORE, "t0"), the(plan, TransferKind.LOAD, "t0")
    assert store.deadline == (2 + LENGTH - 1) // 2
    assert store.deadline <= load.issue < load.deadline


def test_a_direct_read_waits_for_the_store() -> None:
    graph = ladder()
    target = small_target(1000, direct_operands=True)
    problem = planning_problem(graph, target.memory_spec())
    index = {storage.name: v for v, storage in enumerate(problem.storages)}
    last = LENGTH - 1
    stays = [Stay(index["x"], 0, 1, True, False), Stay(index["t0"], 0, 1, False, True)]
    direct = [(index["x"], last), (index["t0"], 1), (index["t0"], last)]
    stays += [
        Stay(index[f"t{i}"], i, min(i + 2, LENGTH), False, i == last) for i in range(1, LENGTH)
    ]
    addresses = [0, 8] + [100 + 8 * (i % 2) for i in range(1, LENGTH)]
    plan = assemble_plan(
        problem, target, range(LENGTH), stays, addresses, PROOF, "test", direct=direct
    )
    assert the(plan, TransferKind.STORE, "t0").deadline == 1
    assert check_plan(graph, plan, MemorySpec(1000, direct_dram=True)) == ()
