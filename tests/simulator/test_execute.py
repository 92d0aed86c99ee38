"""The functional proof passes planned models and fails corrupted plans by itself."""

import builtins
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from stowplan.errors import ModelError, ProofError, UsageError
from stowplan.ir.check_plan import check_plan
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Alias, Graph, Operator, Role, Tensor
from stowplan.ir.memory import MemorySpec
from stowplan.ir.onnx_import import import_model
from stowplan.ir.plan import DirectAccess, Plan, Residency, Transfer, TransferKind
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.planner import PlanOptions
from stowplan.passes.problem import planning_problem
from stowplan.simulator.execute import ProofResult, prove
from stowplan.targets.load import load_target
from stowplan.targets.target import Target

pytest.importorskip("onnxruntime")

LENGTH = 16
LOAD, STORE = TransferKind.LOAD, TransferKind.STORE
Values = dict[str, np.ndarray[Any, Any]]


@dataclass
class Network:
    """A small float32 model, its graph with views elided, and a source of its kernels."""

    dtype: DType
    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: Values = field(default_factory=dict)
    lengths: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def source(self) -> "Network":
        return self

    @property
    def output_names(self) -> tuple[str, ...]:
        return tuple(tensor.name for tensor in self.graph.by_role(Role.OUTPUT))

    @property
    def graph(self) -> Graph:
        return Graph("network", tuple(self.tensors), tuple(self.operators))

    def tensor(
        self,
        name: str,
        *shape: int,
        role: Role = Role.ACTIVATION,
        alias: Alias | None = None,
    ) -> str:
        self.tensors.append(Tensor(name, shape, self.dtype, role, alias))
        self.lengths[name] = shape
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))

    def compute(self, kind: str, inputs: list[str], output: str, in_place: bool = True) -> str:
        pairs = tuple((0, i) for i in range(len(inputs))) if in_place else ()
        self.operators.append(
            Operator(
                output,
                kind,
                tuple(inputs),
                (output,),
                nodes=(output,),
                in_place=pairs,
                workspace_bytes=0 if in_place else 8,
            )
        )
        self.node(kind, inputs, output)
        return output

    def matmul(self, source: str, output: str, rng: np.random.Generator) -> str:
        weight = self.tensor(f"{output}.weight", LENGTH, LENGTH, role=Role.WEIGHT)
        self.weights[weight] = rng.standard_normal((LENGTH, LENGTH), np.float32)
        return self.compute("MatMul", [source, weight], output, in_place=False)

    def concat(self, left: str, right: str, output: str) -> tuple[str, str]:
        """Elided Concat of two halves, and elided Slices that read across their border."""
        bits = self.dtype.bits
        self.tensor(output, 2 * LENGTH)
        parts = []
        for i, part in enumerate((left, right)):
            alias = Alias(output, i * LENGTH * bits // 8)
            parts.append(self.tensor(f"{output}.{i}", LENGTH, alias=alias))
            self.compute("Neg", [part], parts[-1])
        self.node("Concat", parts, output, axis=0)
        slices = []
        for start in (4, LENGTH):
            alias = Alias(output, start * bits // 8)
            slices.append(self.tensor(f"{output}.from{start}", LENGTH, alias=alias))
            for name, value in (("starts", start), ("ends", start + LENGTH)):
                self.weights[f"{slices[-1]}.{name}"] = np.array([value], np.int64)
            self.node(
                "Slice",
                [output, f"{slices[-1]}.starts", f"{slices[-1]}.ends"],
                slices[-1],
            )
        return slices[0], slices[1]

    def _model(self, nodes: list[onnx.NodeProto], inputs: list[str], outputs: list[str]) -> bytes:
        used = {name for node in nodes for name in node.input} - set(inputs)
        graph = helper.make_graph(
            nodes,
            "g",
            [self._value(name) for name in inputs],
            [self._value(name) for name in outputs],
            [
                onnx.numpy_helper.from_array(value, name)
                for name, value in self.weights.items()
                if name in used
            ],
        )
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        return bytes(model.SerializeToString())

    def _value(self, name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, self.lengths[name])

    def kernel(self, operator: Operator, graph: Graph) -> bytes:
        nodes = [node for node in self.nodes if node.name in operator.nodes]
        return self._model(nodes, list(dict.fromkeys(operator.inputs)), list(operator.outputs))

    def whole(self) -> bytes:
        graph = self.graph
        return self._model(
            self.nodes,
            [t.name for t in graph.by_role(Role.INPUT)],
            [t.name for t in graph.by_role(Role.OUTPUT)],
        )

    def weight(self, name: str) -> np.ndarray[Any, Any]:
        return self.weights[name]

    def random_inputs(self, seed: int) -> Values:
        rng = np.random.default_rng(seed)
        return {
            t.name: rng.standard_normal(t.shape, np.float32) for t in self.graph.by_role(Role.INPUT)
        }


def network(seed: int, operators: int = 10, dtype: DType = DType.FLOAT32) -> Network:
    """A random model in which several values are live at once."""
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    net = Network(dtype)
    live = [net.tensor(f"x{i}", LENGTH, role=Role.INPUT) for i in range(2)]
    while len(net.operators) < operators:
        i = len(net.operators)
        kind = rng.choice(["Tanh", "Add", "Sub", "Mul", "MatMul", "Concat"])
        picked = rng.sample(live, 2)
        if kind == "Concat":
            live += net.concat(picked[0], picked[1], f"cat{i}")
            continue
        output = net.tensor(f"t{i}", LENGTH)
        live.append(output)
        if kind == "MatMul":
            net.matmul(picked[0], output, numbers)
        else:
            net.compute(kind, picked if kind != "Tanh" else picked[:1], output)
    read = {name for op in net.operators for name in op.inputs}
    net.tensors = [
        replace(t, role=Role.OUTPUT)
        if t.role is Role.ACTIVATION and t.name not in read and "." not in t.name
        else t
        for t in net.tensors
    ]
    return net


def target(capacity_bytes: int, alignment_bytes: int = 4) -> Target:
    base = load_target("edge-npu")
    scratchpad = msgspec.structs.replace(
        base.scratchpad, size_bytes=capacity_bytes, alignment_bytes=alignment_bytes
    )
    return msgspec.structs.replace(base, scratchpad=scratchpad)


def tight(net: Network, tracked: bool = False) -> int:
    """Capacity in which each operator fits, and one more vector."""
    problem = planning_problem(net.graph, MemorySpec(0, 4, stream_weights=not tracked))
    return max(map(problem.demand, range(problem.operators))) + LENGTH * net.dtype.bits // 8


def planned(net: Network, capacity_bytes: int, tracked: bool = False) -> tuple[Plan, MemorySpec]:
    machine = target(capacity_bytes)
    options = PlanOptions(track_weights=tracked, time_limit_s=5)
    return plan_greedy(net.graph, machine, options), machine.memory_spec(tracked)


def run(net: Network, plan: Plan, memory: MemorySpec) -> ProofResult:
    return prove(net, net.graph, plan, memory)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    tracked=st.booleans(),
    dtype=st.sampled_from([DType.FLOAT32, DType.INT8, DType.INT4]),
)
def test_valid_plans_are_proved(seed: int, tracked: bool, dtype: DType) -> None:
    net = network(seed, dtype=dtype)
    plan, memory = planned(net, tight(net, tracked), tracked)
    assert check_plan(net.graph, plan, memory) == ()
    result = run(net, plan, memory)
    assert result.faults == ()
    assert result.passed and result.outputs
    assert result.widened_by == 32 // dtype.bits
    assert result.operators == len(plan.order)


def test_the_proof_covers_spills_prefetches_and_in_place() -> None:
    spills = prefetches = shared = 0
    for seed in range(30):
        net = network(seed, 14)
        plan, _ = planned(net, 5 * LENGTH * 4)
        starts = {x.name for x in net.graph.by_role(Role.INPUT)}
        spills += any(t.kind is LOAD and t.storage not in starts for t in plan.transfers)
        prefetches += any(t.kind is LOAD and t.issue < t.deadline for t in plan.transfers)
        shared += any(
            a.address == b.address and a.end == b.start + 1 and a.storage != b.storage
            for a in plan.residencies
            for b in plan.residencies
        )
        assert run(net, plan, MemorySpec(5 * LENGTH * 4, 4)).passed
    assert min(spills, prefetches, shared) > 3


Mutation = Callable[[Graph, Plan, random.Random], Plan | None]


def with_residency(plan: Plan, old: Residency, new: Residency) -> Plan:
    return replace(plan, residencies=tuple(new if r is old else r for r in plan.residencies))


def shift_address(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    """Move a storage onto one that is still needed."""
    pairs = [
        (a, b)
        for a in plan.residencies
        for b in plan.residencies
        if a.storage != b.storage and a.address != b.address
        if a.reserved_from < b.start and b.start + 1 < a.end and used_after(graph, plan, a, b.start)
    ]
    if not pairs:
        return None
    a, b = rng.choice(pairs)
    return with_residency(plan, b, replace(b, address=a.address))


def used_after(graph: Graph, plan: Plan, residency: Residency, step: int) -> bool:
    """Whether some operator reads the residency at a step in ``(step, end)``."""
    return any(
        graph.resolve(tensor)[0] == residency.storage
        for name in plan.order[step + 1 : residency.end]
        for tensor in graph.operator[name].inputs
    )


def drop_load(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    loads = [t for t in plan.transfers if t.kind is LOAD]
    dropped = rng.choice(loads)
    return replace(plan, transfers=tuple(t for t in plan.transfers if t is not dropped))


def drop_store(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    stores = [t for t in plan.transfers if t.kind is STORE]
    dropped = rng.choice(stores)
    return replace(plan, transfers=tuple(t for t in plan.transfers if t is not dropped))


def swap_order(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    """Exchange neighbours of which the second reads the first's result."""
    pairs = [
        step
        for step in range(len(plan.order) - 1)
        if set(graph.operator[plan.order[step]].outputs)
        & set(graph.operator[plan.order[step + 1]].inputs)
    ]
    if not pairs:
        return None
    step = rng.choice(pairs)
    order = list(plan.order)
    order[step : step + 2] = reversed(order[step : step + 2])
    return replace(plan, order=tuple(order))


def shorten(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    read = [r for r in plan.residencies if used_after(graph, plan, r, r.start)]
    if not read:
        return None
    residency = rng.choice(read)
    return with_residency(plan, residency, replace(residency, end=residency.start + 1))


def load_too_early(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    """Reload a spilled storage before its spill is complete."""
    for load in plan.transfers:
        store = next(
            (
                t
                for t in plan.transfers
                if (t.kind, t.storage) == (STORE, load.storage) and t.deadline <= load.issue
            ),
            None,
        )
        if load.kind is LOAD and store is not None:
            residency = next(
                r for r in plan.residencies if (r.storage, r.start) == (load.storage, load.deadline)
            )
            issue = store.deadline - 1
            moved = with_residency(plan, residency, replace(residency, reserved_from=issue))
            transfers = tuple(replace(t, issue=issue) if t is load else t for t in plan.transfers)
            return replace(moved, transfers=transfers)
    return None


def store_too_early(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    stores = [t for t in plan.transfers if t.kind is STORE]
    chosen = rng.choice(stores)
    early = Transfer(STORE, chosen.storage, chosen.issue - 1, chosen.issue - 1)
    return replace(plan, transfers=tuple(early if t is chosen else t for t in plan.transfers))


def leave_scratchpad(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    residency = rng.choice(plan.residencies)
    return with_residency(plan, residency, replace(residency, address=rng.choice([-4, 1 << 40])))


def drop_last_operator(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    return replace(plan, order=plan.order[:-1])


def unknown_operator(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    return replace(plan, order=("ghost", *plan.order[1:]))


MUTATIONS: tuple[Mutation, ...] = (
    shift_address,
    drop_load,
    drop_store,
    swap_order,
    shorten,
    load_too_early,
    store_too_early,
    leave_scratchpad,
    drop_last_operator,
    unknown_operator,
)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.__name__)
def test_corrupted_plans_fail_checker_and_proof(mutation: Mutation) -> None:
    applied = 0
    for seed in range(12):
        net = network(seed, 14)
        plan, memory = planned(net, 5 * LENGTH * 4)
        mutant = mutation(net.graph, plan, random.Random(seed))
        if mutant is None:
            continue
        applied += 1
        assert check_plan(net.graph, mutant, memory)
        result = run(net, mutant, memory)
        assert not result.passed, seed
        with pytest.raises(ProofError, match="does not compute the model"):
            result.require()
    assert applied >= 4


def perturbed(plan: Plan, rng: random.Random) -> Plan:
    """One random small change: most break the plan, some do not."""
    residency = rng.choice(plan.residencies)
    transfer = rng.choice(plan.transfers)
    other = rng.choice(plan.residencies)
    nudge = rng.choice([-2, -1, 1, 2])
    step = rng.randrange(len(plan.order) - 1)
    order = list(plan.order)
    order[step], order[step + 1] = order[step + 1], order[step]
    moved = [
        replace(residency, address=other.address),
        replace(residency, address=max(0, residency.address + 4 * nudge)),
        replace(residency, end=residency.end + nudge),
        replace(residency, start=residency.start + nudge),
        replace(residency, reserved_from=residency.reserved_from + nudge),
    ]
    sent = [
        replace(transfer, issue=transfer.issue + nudge),
        replace(transfer, deadline=transfer.deadline + nudge),
        replace(transfer, issue=transfer.issue + nudge, deadline=transfer.deadline + nudge),
    ]
    longer_load = with_residency(
        plan, residency, replace(residency, reserved_from=residency.reserved_from + nudge)
    )
    return rng.choice(
        [
            replace(plan, order=tuple(order)),
            *(with_residency(plan, residency, new) for new in moved),
            *(
                replace(plan, transfers=tuple(n if t is transfer else t for t in plan.transfers))
                for n in sent
            ),
            replace(
                longer_load,
                transfers=tuple(
                    replace(t, issue=t.issue + nudge)
                    if (t.kind, t.storage, t.deadline) == (LOAD, residency.storage, residency.start)
                    else t
                    for t in plan.transfers
                ),
            ),
        ]
    )


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), changes=st.integers(1, 3))
def test_what_the_checker_accepts_is_proved(seed: int, changes: int) -> None:
    net = network(seed % 50, 12)
    plan, memory = planned(net, 5 * LENGTH * 4)
    rng = random.Random(seed)
    for _ in range(changes):
        plan = perturbed(plan, rng)
    if check_plan(net.graph, plan, memory) == ():
        result = run(net, plan, memory)
        assert result.faults == ()
        assert result.passed


def two_inputs() -> Network:
    net = Network(DType.FLOAT32)
    x = net.tensor("x", LENGTH, role=Role.INPUT)
    net.compute("Tanh", [x], net.tensor("a", LENGTH), in_place=False)
    net.compute("Add", ["a", x], net.tensor("y", LENGTH, role=Role.OUTPUT), in_place=False)
    net.operators = [replace(op, workspace_bytes=0) for op in net.operators]
    return net


def by_hand(net: Network, residencies: list[Residency], transfers: list[Transfer]) -> Plan:
    plan, _ = planned(net, 1 << 12)
    return replace(
        plan,
        order=tuple(op.name for op in net.operators),
        residencies=tuple(residencies),
        transfers=tuple(transfers),
    )


ROOMY = MemorySpec(1 << 12, 4)


def test_numbers_alone_reveal_a_dropped_reload() -> None:
    net = two_inputs()
    stays = [Residency("x", 0, 2, 0, 0), Residency("a", 0, 2, 64, 0), Residency("y", 1, 2, 128, 1)]
    store = Transfer(STORE, "y", 2, 2)
    assert run(net, by_hand(net, stays, [Transfer(LOAD, "x", 0, 0), store]), ROOMY).passed
    result = run(net, by_hand(net, stays, [store]), ROOMY)
    assert [match.identical for match in result.outputs] == [False]
    assert "step 0: operator 'a' reads 'x'" in result.faults[0]


def test_output_over_its_input_needs_the_operators_leave() -> None:
    net = two_inputs()
    stays = [Residency("x", 0, 2, 0, 0), Residency("a", 0, 2, 64, 0), Residency("y", 1, 2, 64, 1)]
    plan = by_hand(net, stays, [Transfer(LOAD, "x", 0, 0), Transfer(STORE, "y", 2, 2)])
    assert not run(net, plan, ROOMY).passed
    net.operators[1] = replace(net.operators[1], in_place=((0, 0),))
    assert run(net, replace(plan, model_hash=net.graph.hash), ROOMY).passed


def test_a_race_between_load_and_operator_is_a_fault() -> None:
    """``a`` is written, and dead, while ``x`` is being loaded into the same space."""
    net = Network(DType.FLOAT32)
    net.tensor("w", LENGTH, role=Role.INPUT)
    net.tensor("x", LENGTH, role=Role.INPUT)
    net.compute("Tanh", ["w"], net.tensor("a", LENGTH, role=Role.OUTPUT))
    net.compute("Tanh", ["x"], net.tensor("y", LENGTH, role=Role.OUTPUT))
    plan = by_hand(
        net,
        [
            Residency("w", 0, 1, 64, 0),
            Residency("a", 0, 1, 0, 0),
            Residency("x", 1, 2, 0, 0),
            Residency("y", 1, 2, 128, 1),
        ],
        [
            Transfer(LOAD, "w", 0, 0),
            Transfer(STORE, "a", 1, 1),
            Transfer(LOAD, "x", 0, 1),
            Transfer(STORE, "y", 2, 2),
        ],
    )
    result = run(net, plan, ROOMY)
    assert any("was written while it was loaded" in fault for fault in result.faults)


def test_direct_accesses_happen_in_dram() -> None:
    net = two_inputs()
    accesses = [("x", 0), ("a", 0), ("a", 1), ("x", 1), ("y", 1)]
    plan = replace(by_hand(net, [], []), direct=tuple(DirectAccess(*item) for item in accesses))
    assert run(net, plan, ROOMY).passed
    assert not run(net, replace(plan, direct=plan.direct[1:]), ROOMY).passed


def test_given_inputs_are_used_and_checked() -> None:
    net = two_inputs()
    plan, memory = planned(net, 1 << 12)
    ones = {"x": np.ones(LENGTH, np.float32)}
    assert prove(net, net.graph, plan, memory, model_inputs=ones).passed
    with pytest.raises(ModelError, match="x"):
        prove(net, net.graph, plan, memory, model_inputs={"x": np.ones(3, np.float32)})


def test_missing_runtime_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    net = two_inputs()
    plan, memory = planned(net, 1 << 12)
    real_import = builtins.__import__

    def no_runtime(name: str, *rest: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError(name)
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", no_runtime)
    with pytest.raises(UsageError, match=r"pip install 'stowplan\[verify\]'"):
        prove(net, net.graph, plan, memory)


def test_operators_that_differ_in_names_alone_share_a_kernel() -> None:
    net = two_inputs()
    net.compute("Add", ["x", "a"], net.tensor("z", LENGTH, role=Role.OUTPUT))
    net.compute("Sub", ["x", "a"], net.tensor("d", LENGTH, role=Role.OUTPUT))
    net.compute("Sub", ["a", "x"], net.tensor("e", LENGTH, role=Role.OUTPUT))
    plan, memory = planned(net, 1 << 12)
    result = run(net, plan, memory)
    assert result.passed
    assert (result.operators, result.kernels) == (5, 3)


def test_an_operator_that_computes_another_size_than_planned_is_an_error() -> None:
    net = two_inputs()
    net.tensors = [replace(t, shape=(LENGTH // 2,)) if t.name == "a" else t for t in net.tensors]
    net.operators[1] = replace(net.operators[1], inputs=("x",))
    net.nodes[1].input[:] = ["x", "x"]
    plan, memory = planned(net, 1 << 12)
    with pytest.raises(ModelError, match=r"operator 'a': 'a' has shape \(16,\)"):
        run(net, plan, memory)


def mixed_model(folder: Path) -> Path:
    """Float32 and int8 values; a Quantize-Dequantize pair at either end."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["xq"], "quantize_x"),
        helper.make_node("DequantizeLinear", ["xq", "scale", "zero"], ["xd"], "dequantize_x"),
        helper.make_node("Relu", ["xd"], ["h"], "relu"),
        helper.make_node("QuantizeLinear", ["h", "scale", "zero"], ["hq"], "quantize_h"),
        helper.make_node("DequantizeLinear", ["hq", "scale", "zero"], ["y"], "dequantize_h"),
    ]
    graph = helper.make_graph(
        nodes,
        "mixed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (LENGTH,))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (LENGTH,))],
        [
            onnx.numpy_helper.from_array(np.array(0.05, np.float32), "scale"),
            onnx.numpy_helper.from_array(np.array(3, np.int8), "zero"),
        ],
    )
    path = folder / "mixed.onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.mark.parametrize(("integer", "narrowed"), [("hq", "y"), ("xq", "h")])
def test_members_of_one_storage_may_be_widened_differently(
    tmp_path: Path, integer: str, narrowed: str
) -> None:
    """A float value at int8 size and an int8 value live in the same bytes."""
    imported = import_model(mixed_model(tmp_path))
    narrow = {
        t.name: replace(t, dtype=DType.INT8) if t.dtype is DType.FLOAT32 else t
        for t in imported.graph.tensors
    }
    narrow[integer] = replace(narrow[integer], alias=Alias(narrowed))
    graph = imported.graph.replace(tensors=tuple(narrow.values()))
    machine = target(3 * LENGTH)
    plan = plan_greedy(graph, machine, PlanOptions(time_limit_s=5))
    memory = machine.memory_spec(False)
    assert check_plan(graph, plan, memory) == ()
    result = prove(imported, graph, plan, memory)
    result.require()
    assert result.widened_by == 4
