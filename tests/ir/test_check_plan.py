"""The checker accepts valid plans of random graphs and catches every way of breaking them."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowplan.errors import ProofError
from stowplan.ir.check_plan import check_plan, require_valid
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Alias, Graph, Operator, Role, Tensor
from stowplan.ir.memory import MemorySpec
from stowplan.ir.plan import (
    DirectAccess,
    Plan,
    Proof,
    Residency,
    Transfer,
    TransferKind,
)
from stowplan.ir.storage import StorageModel, storage_model

ALIGNMENT = 16
CAPACITY = 1 << 20
MEMORY = MemorySpec(CAPACITY, ALIGNMENT)
TRACKED = MemorySpec(CAPACITY, ALIGNMENT, stream_weights=False)


class GraphBuilder:
    """Grows a random graph with views, shared storages, accumulation, workspaces and in-place."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.readable: list[str] = []
        self.sizes: dict[str, int] = {}

    def build(self, operators: int) -> Graph:
        for i in range(self.rng.randint(1, 2)):
            self._tensor(f"in{i}", self.rng.randint(1, 40), Role.INPUT)
        while len(self.operators) < operators:
            self.rng.choice([self._compute, self._compute, self._view, self._concat, self._sum])()
        read = {name for op in self.operators for name in op.inputs}
        tensors = [
            replace(t, role=Role.OUTPUT)
            if t.role is Role.ACTIVATION and (t.name not in read or t.name == self.readable[-1])
            else t
            for t in self.tensors
        ]
        return Graph("random", tuple(tensors), tuple(self.operators))

    def _tensor(
        self, name: str, size: int, role: Role = Role.ACTIVATION, alias: Alias | None = None
    ) -> str:
        self.tensors.append(Tensor(name, (size,), DType.INT8, role, alias))
        self.sizes[name] = size
        if role is not Role.WEIGHT:
            self.readable.append(name)
        return name

    def _size(self, name: str) -> int:
        return self.sizes[name]

    def _compute(self) -> None:
        i = len(self.operators)
        inputs = self.rng.sample(self.readable, min(len(self.readable), self.rng.randint(1, 3)))
        size = self.rng.choice([self._size(inputs[0]), self.rng.randint(1, 40)])
        in_place = tuple((0, k) for k, name in enumerate(inputs) if self._size(name) >= size)
        if self.rng.random() < 0.4:
            inputs.append(self._tensor(f"w{i}", self.rng.randint(1, 9), Role.WEIGHT))
        outputs = [self._tensor(f"t{i}", size)]
        if self.rng.random() < 0.2:
            outputs.append(self._tensor(f"u{i}", self.rng.randint(1, 9)))
        self.operators.append(
            Operator(
                f"op{i}",
                "Add",
                tuple(inputs),
                tuple(outputs),
                workspace_bytes=self.rng.choice([0, 0, 8]),
                in_place=in_place if len(set(inputs)) == len(inputs) else (),
            )
        )

    def _view(self) -> None:
        base = self.rng.choice(self.readable)
        size = self._size(base)
        lower = self.rng.randrange(size)
        length = self.rng.randint(1, size - lower)
        self._tensor(f"view{len(self.tensors)}", length, alias=Alias(base, lower))

    def _concat(self) -> None:
        i = len(self.operators)
        first, second = self.rng.randint(1, 9), self.rng.randint(1, 9)
        sources = [self.rng.choice(self.readable) for _ in range(2)]
        whole = self._tensor(f"cat{i}", first + second)
        left = self._tensor(f"left{i}", first, alias=Alias(whole, 0))
        right = self._tensor(f"right{i}", second, alias=Alias(whole, first))
        self.operators.append(Operator(f"left_op{i}", "Relu", (sources[0],), (left,)))
        self.operators.append(Operator(f"right_op{i}", "Relu", (sources[1],), (right,)))

    def _sum(self) -> None:
        i = len(self.operators)
        source = self.rng.choice(self.readable)
        total = self._tensor(f"sum{i}", self._size(source))
        after = self._tensor(f"sum_after{i}", self._size(source), alias=Alias(total))
        self.operators.append(Operator(f"start{i}", "Relu", (source,), (total,)))
        self.operators.append(Operator(f"accumulate{i}", "Add", (total, source), (after,)))


def random_graph(seed: int, operators: int = 12) -> Graph:
    return GraphBuilder(random.Random(seed)).build(operators)


def random_order(model: StorageModel, rng: random.Random) -> list[int]:
    order: list[int] = []
    todo = set(range(len(model.accesses)))
    while todo:
        ready = [o for o in sorted(todo) if not set(model.predecessors[o]) & todo]
        order.append(rng.choice(ready))
        todo.remove(order[-1])
    return order


@dataclass
class Draft:
    """Parts of a plan being put together."""

    residencies: list[Residency]
    transfers: list[Transfer]


def plan_of(graph: Graph, order: Sequence[int], draft: Draft, tracked: bool) -> Plan:
    return Plan(
        model_hash=graph.hash,
        target_hash="",
        planner="test",
        track_weights=tracked,
        order=tuple(graph.operators[o].name for o in order),
        residencies=tuple(draft.residencies),
        transfers=tuple(draft.transfers),
        proof=Proof("offchip", 0, 0, "test", "none"),
    )


def spill_everywhere(graph: Graph, seed: int, tracked: bool = False) -> Plan:
    """Load each operand before, and store each result after, every single operator."""
    model = storage_model(graph)
    order = random_order(model, random.Random(seed))
    draft = Draft([], [])
    for step, operator in enumerate(order):
        address = 0
        for access in model.accesses[operator]:
            storage = model.storages[access.storage]
            if storage.weight and not tracked:
                continue
            name = storage.name
            draft.residencies.append(Residency(name, step, step + 1, address, step))
            if not access.defines:
                draft.transfers.append(Transfer(TransferKind.LOAD, name, step, step))
            if access.writes and not name.endswith(":workspace"):
                draft.transfers.append(Transfer(TransferKind.STORE, name, step + 1, step + 1))
            address += MEMORY.aligned(storage.size_bytes)
    return plan_of(graph, order, draft, tracked)


def all_resident(graph: Graph, seed: int, tracked: bool = False) -> Plan:
    """One residency per storage from first to last use, outputs replacing inputs where legal."""
    model = storage_model(graph)
    order = random_order(model, random.Random(seed))
    uses: dict[int, list[tuple[int, bool]]] = {}
    for step, operator in enumerate(order):
        for access in model.accesses[operator]:
            uses.setdefault(access.storage, []).append((step, bool(access.writes)))
    address: dict[int, int] = {}
    draft = Draft([], [])
    top = 0
    for i, steps in sorted(uses.items(), key=lambda item: (item[1][0][0], item[0])):
        storage = model.storages[i]
        if storage.weight and not tracked:
            continue
        first, last = steps[0][0], steps[-1][0]
        replaced = _replaced(graph, model, order, uses, address, i)
        address[i] = top if replaced is None else address[replaced]
        top += MEMORY.aligned(storage.size_bytes) if replaced is None else 0
        end = len(order) if storage.ends_in_dram else last + 1
        draft.residencies.append(Residency(storage.name, first, end, address[i], first))
        if storage.starts_in_dram:
            draft.transfers.append(Transfer(TransferKind.LOAD, storage.name, first, first))
        written = [step for step, writes in steps if writes]
        if storage.ends_in_dram and written:
            store = Transfer(TransferKind.STORE, storage.name, written[-1] + 1, end)
            draft.transfers.append(store)
    return plan_of(graph, order, draft, tracked)


def _replaced(
    graph: Graph,
    model: StorageModel,
    order: Sequence[int],
    uses: dict[int, list[tuple[int, bool]]],
    address: dict[int, int],
    output: int,
) -> int | None:
    """An input of the defining operator that dies there and may give its address to ``output``."""
    storage = model.storages[output]
    operator = order[uses[output][0][0]]
    op = graph.operators[operator]
    touched = [access.storage for access in model.accesses[operator]]
    index = {model.storages[i].name: i for i in touched}
    taken = {address[i] for i in touched if i in address and uses[i][0][0] == uses[output][0][0]}
    for target, source in op.in_place:
        if op.outputs[target] != storage.name or op.inputs[source] not in index:
            continue
        found = index[op.inputs[source]]
        readers = [graph.resolve(name)[0] for name in op.inputs]
        if (
            found in address
            and uses[found][-1][0] == uses[output][0][0]
            and not model.storages[found].ends_in_dram
            and model.storages[found].size_bytes >= storage.size_bytes
            and readers.count(model.storages[found].name) == 1
            and address[found] not in taken
        ):
            return found
    return None


PLANNERS: tuple[Callable[[Graph, int, bool], Plan], ...] = (spill_everywhere, all_resident)
seeds = st.integers(0, 10**9)


@settings(max_examples=150, deadline=None)
@given(seeds, st.sampled_from(PLANNERS), st.booleans())
def test_valid_plans_pass(seed: int, planner: Callable[..., Plan], tracked: bool) -> None:
    graph = random_graph(seed)
    memory = TRACKED if tracked else MEMORY
    assert check_plan(graph, planner(graph, seed, tracked), memory) == ()


def test_in_place_is_exercised() -> None:
    shared = 0
    for seed in range(40):
        plan = all_resident(random_graph(seed), seed)
        shared += len({r.address for r in plan.residencies}) < len(plan.residencies)
    assert shared > 5


Mutation = Callable[[Graph, Plan, random.Random], Plan | None]


def swap(plan: Plan, old: Residency, new: Residency | None) -> Plan:
    return replace(
        plan,
        residencies=tuple(
            kept for r in plan.residencies if (kept := new if r is old else r) is not None
        ),
    )


def collide(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    pairs = [
        (a, b)
        for a in plan.residencies
        for b in plan.residencies
        if a.storage != b.storage
        and a.address != b.address
        and a.reserved_from < b.start
        and b.start + 1 < a.end
    ]
    if not pairs:
        return None
    a, b = rng.choice(pairs)
    return swap(plan, b, replace(b, address=a.address))


def leave_scratchpad(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    r = rng.choice(plan.residencies)
    return swap(plan, r, replace(r, address=rng.choice([CAPACITY, -ALIGNMENT, 10**30])))


def misalign(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    r = rng.choice(plan.residencies)
    return swap(plan, r, replace(r, address=CAPACITY // 2 + 1))


def drop(plan: Plan, transfer: Transfer) -> Plan:
    return replace(plan, transfers=tuple(t for t in plan.transfers if t is not transfer))


def drop_load(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    loads = [t for t in plan.transfers if t.kind is TransferKind.LOAD]
    return drop(plan, rng.choice(loads)) if loads else None


def needed_stores(graph: Graph, plan: Plan) -> list[Transfer]:
    finals = {graph.resolve(t.name)[0] for t in graph.by_role(Role.OUTPUT)}
    stores = [t for t in plan.transfers if t.kind is TransferKind.STORE]
    needed = []
    for store in stores:
        later = [t.issue for t in stores if t.storage == store.storage and t.issue > store.issue]
        until = min(later, default=len(plan.order) + 1)
        if (store.storage in finals and not later) or any(
            t.kind is TransferKind.LOAD
            and t.storage == store.storage
            and store.deadline <= t.issue < until
            for t in plan.transfers
        ):
            needed.append(store)
    return needed


def drop_store(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    stores = needed_stores(graph, plan)
    return drop(plan, rng.choice(stores)) if stores else None


def early_store(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    stores = needed_stores(graph, plan)
    if not stores:
        return None
    store = rng.choice(stores)
    moved = replace(store, issue=store.issue - 1)
    return replace(drop(plan, store), transfers=(*drop(plan, store).transfers, moved))


def late_store(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    stores = needed_stores(graph, plan)
    if not stores:
        return None
    store = rng.choice(stores)
    moved = replace(store, deadline=store.deadline + 1)
    return replace(drop(plan, store), transfers=(*drop(plan, store).transfers, moved))


def stale_reload(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    """Issue a LOAD before the STORE it depends on is complete."""
    pairs = [
        (load, store)
        for store in plan.transfers
        for load in plan.transfers
        if (store.kind, load.kind) == (TransferKind.STORE, TransferKind.LOAD)
        and store.storage == load.storage
        and store.deadline <= load.issue
        and store in needed_stores(graph, plan)
    ]
    if not pairs:
        return None
    load, store = rng.choice(pairs)
    issue = store.deadline - 1
    old = next(
        r for r in plan.residencies if r.storage == load.storage and r.start == load.deadline
    )
    moved = swap(plan, old, replace(old, reserved_from=issue, address=CAPACITY // 2))
    return replace(
        moved,
        transfers=(*drop(plan, load).transfers, replace(load, issue=issue)),
    )


def duplicate_load(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    loads = [t for t in plan.transfers if t.kind is TransferKind.LOAD]
    return replace(plan, transfers=(*plan.transfers, rng.choice(loads))) if loads else None


def stray_load(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    r = rng.choice(plan.residencies)
    stray = Transfer(TransferKind.LOAD, r.storage, r.end, r.end)
    starts = {(x.storage, x.start) for x in plan.residencies}
    if (r.storage, r.end) in starts:
        return None
    return replace(plan, transfers=(*plan.transfers, stray))


def drop_residency(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    return swap(plan, rng.choice(plan.residencies), None)


def double_residency(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    r = rng.choice(plan.residencies)
    other = replace(r, address=CAPACITY // 2)
    return replace(plan, residencies=(*plan.residencies, other))


def shorten(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    """End a residency before its last use."""
    r = rng.choice(plan.residencies)
    index = {name: step for step, name in enumerate(plan.order)}
    last = max(
        index[op.name]
        for op in graph.operators
        for name in (*op.inputs, *op.outputs, f"{op.name}:workspace")
        if index[op.name] < r.end
        and (graph.resolve(name)[0] if name in graph.tensor else name) == r.storage
    )
    return swap(plan, r, replace(r, end=last))


def start_late(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    r = rng.choice(plan.residencies)
    return swap(plan, r, replace(r, start=r.start + 1, reserved_from=r.start + 1, end=r.end + 1))


def swap_dependents(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    """Run an operator that reads a result before the one that makes it."""
    index = {name: step for step, name in enumerate(plan.order)}
    pairs = [
        (graph.producer[name].name, op.name)
        for op in graph.operators
        for name in op.inputs
        if name in graph.producer and graph.tensor[name].alias is None
    ]
    if not pairs:
        return None
    first, second = rng.choice(pairs)
    order = list(plan.order)
    order[index[first]], order[index[second]] = second, first
    return replace(plan, order=tuple(order))


def drop_operator(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    return replace(plan, order=plan.order[:-1])


def repeat_operator(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    return replace(plan, order=(*plan.order, rng.choice(plan.order)))


def rename_operator(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    return replace(plan, order=("ghost", *plan.order[1:]))


def rename_storage(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    r = rng.choice(plan.residencies)
    return swap(plan, r, replace(r, storage="ghost"))


def rename_transfer(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    ghost = Transfer(TransferKind.STORE, "ghost", 0, 1)
    return replace(plan, transfers=(*plan.transfers, ghost))


def out_of_time(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    r = rng.choice(plan.residencies)
    changed = rng.choice(
        [replace(r, end=len(plan.order) + 1), replace(r, reserved_from=-1), replace(r, end=r.start)]
    )
    return swap(plan, r, changed)


def transfer_out_of_time(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    far = Transfer(TransferKind.STORE, plan.residencies[0].storage, -5, len(plan.order) + 9)
    return replace(plan, transfers=(*plan.transfers, far))


def direct_without_leave(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    r = rng.choice(plan.residencies)
    return replace(plan, direct=(DirectAccess(r.storage, r.start),))


def other_model(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    return replace(plan, model_hash="0" * 64)


def unknown_engine_operator(graph: Graph, plan: Plan, rng: random.Random) -> Plan | None:
    return replace(plan, engines=(("ghost", "array"),))


MUTATIONS: dict[Mutation, set[str]] = {
    collide: {"overlap"},
    leave_scratchpad: {"capacity"},
    misalign: {"alignment"},
    drop_load: {"load"},
    drop_store: {"output", "stale", "load"},
    early_store: {"store"},
    late_store: {"store", "output", "stale", "load", "transfer"},
    stale_reload: {"stale", "load"},
    duplicate_load: {"load"},
    stray_load: {"load"},
    drop_residency: {"presence"},
    double_residency: {"overlap"},
    shorten: {"geometry", "presence"},
    start_late: {"geometry", "load", "presence", "overlap"},
    swap_dependents: {"dataflow", "definition"},
    drop_operator: {"order"},
    repeat_operator: {"order"},
    rename_operator: {"unknown"},
    rename_storage: {"unknown"},
    rename_transfer: {"unknown"},
    out_of_time: {"geometry"},
    transfer_out_of_time: {"transfer"},
    direct_without_leave: {"direct"},
    other_model: {"model"},
    unknown_engine_operator: {"unknown"},
}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.__name__)
@settings(max_examples=25, deadline=None)
@given(seed=seeds, planner=st.sampled_from(PLANNERS), tracked=st.booleans())
def test_mutations_are_caught(
    mutation: Mutation, seed: int, planner: Callable[..., Plan], tracked: bool
) -> None:
    graph = random_graph(seed)
    mutant = mutation(graph, planner(graph, seed, tracked), random.Random(seed))
    if mutant is None:
        return
    found = {v.check for v in check_plan(graph, mutant, TRACKED if tracked else MEMORY)}
    assert found & MUTATIONS[mutation]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.__name__)
def test_mutations_apply(mutation: Mutation) -> None:
    applied = 0
    for seed in range(20):
        graph = random_graph(seed)
        for planner in PLANNERS:
            mutant = mutation(graph, planner(graph, seed, False), random.Random(seed))
            applied += mutant is not None
    assert applied >= 10


@settings(max_examples=60, deadline=None)
@given(seed=seeds, planner=st.sampled_from(PLANNERS))
def test_smaller_scratchpad_is_caught(seed: int, planner: Callable[..., Plan]) -> None:
    graph = random_graph(seed)
    plan = planner(graph, seed)
    sizes = {s.name: s.size_bytes for s in storage_model(graph).storages}
    top = max(r.address + sizes[r.storage] for r in plan.residencies)
    assert check_plan(graph, plan, MemorySpec(top, ALIGNMENT)) == ()
    assert {v.check for v in check_plan(graph, plan, MemorySpec(top - 1, ALIGNMENT))} == {
        "capacity"
    }


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_in_place_needs_the_operators_leave(seed: int) -> None:
    graph = random_graph(seed)
    plan = all_resident(graph, seed)
    strict = graph.replace(operators=tuple(replace(op, in_place=()) for op in graph.operators))
    plan = replace(plan, model_hash=strict.hash)
    shares = len({r.address for r in plan.residencies}) < len(plan.residencies)
    assert {v.check for v in check_plan(strict, plan, MEMORY)} == ({"overlap"} if shares else set())


def vector(name: str, role: Role = Role.ACTIVATION, alias: Alias | None = None) -> Tensor:
    return Tensor(name, (16,), DType.INT8, role, alias)


def chain() -> Graph:
    return Graph(
        "chain",
        (
            vector("x", Role.INPUT),
            vector("a"),
            vector("b"),
            vector("y", Role.OUTPUT),
        ),
        (
            Operator("p", "Relu", ("x",), ("a",), in_place=((0, 0),)),
            Operator("q", "Relu", ("a",), ("b",), in_place=((0, 0),)),
            Operator("r", "Add", ("a", "b"), ("y",), in_place=((0, 0), (0, 1))),
        ),
    )


def chain_plan(
    residencies: Sequence[Residency],
    transfers: Sequence[Transfer],
    direct: Sequence[DirectAccess] = (),
    graph: Graph | None = None,
) -> Plan:
    draft = Draft(list(residencies), list(transfers))
    graph = graph or chain()
    return replace(plan_of(graph, range(len(graph.operators)), draft, False), direct=tuple(direct))


LOAD, STORE = TransferKind.LOAD, TransferKind.STORE
DIRECT = MemorySpec(CAPACITY, ALIGNMENT, direct_dram=True)


def test_direct_accesses_pass_where_the_target_has_them() -> None:
    everything = [("x", 0), ("a", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2), ("y", 2)]
    plan = chain_plan([], [], [DirectAccess(*item) for item in everything])
    assert check_plan(chain(), plan, DIRECT) == ()
    assert {v.check for v in check_plan(chain(), plan, MEMORY)} == {"direct"}


def test_direct_read_of_unwritten_dram_is_stale() -> None:
    plan = chain_plan(
        [Residency("a", 0, 3, 0, 0), Residency("b", 1, 3, 16, 1), Residency("y", 2, 3, 32, 2)],
        [Transfer(STORE, "y", 3, 3)],
        [DirectAccess("x", 0), DirectAccess("a", 1)],
    )
    assert [v.check for v in check_plan(chain(), plan, DIRECT)] == ["stale"]


def accumulator() -> Graph:
    return Graph(
        "accumulator",
        (
            vector("x", Role.INPUT),
            vector("sum"),
            vector("sum2", alias=Alias("sum")),
            vector("y", Role.OUTPUT),
        ),
        (
            Operator("p", "Relu", ("x",), ("sum",)),
            Operator("q", "Add", ("sum", "x"), ("sum2",)),
            Operator("r", "Relu", ("sum",), ("y",)),
        ),
    )


def test_direct_write_makes_the_resident_copy_stale() -> None:
    graph = accumulator()
    residencies = [
        Residency("x", 0, 2, 0, 0),
        Residency("sum", 0, 3, 16, 0),
        Residency("y", 2, 3, 32, 2),
    ]
    transfers = [
        Transfer(LOAD, "x", 0, 0),
        Transfer(STORE, "sum", 1, 1),
        Transfer(STORE, "y", 3, 3),
    ]
    stale = chain_plan(residencies, transfers, [DirectAccess("sum", 1)], graph)
    assert [v.check for v in check_plan(graph, stale, DIRECT)] == ["stale"]
    both = chain_plan(
        residencies, transfers, [DirectAccess("sum", 1), DirectAccess("sum", 2)], graph
    )
    assert check_plan(graph, both, DIRECT) == ()


def test_store_in_flight_over_a_write_is_caught() -> None:
    graph = accumulator()
    plan = chain_plan(
        [
            Residency("x", 0, 2, 0, 0),
            Residency("sum", 0, 3, 16, 0),
            Residency("y", 2, 3, 32, 2),
        ],
        [Transfer(LOAD, "x", 0, 0), Transfer(STORE, "sum", 1, 2), Transfer(STORE, "y", 3, 3)],
        graph=graph,
    )
    assert [v.check for v in check_plan(graph, plan, MEMORY)] == ["store"]


def in_place_plan(store_deadline: int) -> Plan:
    """``y`` replaces ``a``, which is stored as well."""
    return chain_plan(
        [
            Residency("x", 0, 1, 64, 0),
            Residency("a", 0, 3, 0, 0),
            Residency("b", 1, 3, 16, 1),
            Residency("y", 2, 3, 0, 2),
        ],
        [
            Transfer(LOAD, "x", 0, 0),
            Transfer(STORE, "a", 1, store_deadline),
            Transfer(STORE, "y", 3, 3),
        ],
    )


def test_store_must_be_complete_before_an_in_place_overwrite() -> None:
    assert check_plan(chain(), in_place_plan(2), MEMORY) == ()
    assert [v.check for v in check_plan(chain(), in_place_plan(3), MEMORY)] == ["store"]


def test_in_place_is_refused_when_another_operand_reads_the_same_storage() -> None:
    graph = Graph(
        "twice",
        (vector("x", Role.INPUT), vector("y", Role.OUTPUT)),
        (Operator("conv_add", "Conv", ("x", "x"), ("y",), in_place=((0, 1),)),),
    )
    plan = chain_plan(
        [Residency("x", 0, 1, 0, 0), Residency("y", 0, 1, 0, 0)],
        [Transfer(LOAD, "x", 0, 0), Transfer(STORE, "y", 1, 1)],
        graph=graph,
    )
    assert [v.check for v in check_plan(graph, plan, MEMORY)] == ["overlap"]


def test_loading_into_space_freed_at_the_same_boundary() -> None:
    graph = chain()
    plan = chain_plan(
        [
            Residency("x", 0, 1, 0, 0),
            Residency("a", 0, 1, 16, 0),
            Residency("a", 1, 3, 0, 1),
            Residency("b", 1, 3, 16, 1),
            Residency("y", 2, 3, 32, 2),
        ],
        [
            Transfer(LOAD, "x", 0, 0),
            Transfer(STORE, "a", 1, 1),
            Transfer(LOAD, "a", 1, 1),
            Transfer(STORE, "y", 3, 3),
        ],
    )
    assert check_plan(graph, plan, MEMORY) == ()


def test_streamed_weights_are_no_storages_of_the_plan() -> None:
    graph = random_graph(5)
    assert graph.by_role(Role.WEIGHT)
    plan = spill_everywhere(graph, 3, tracked=True)
    untracked = replace(plan, track_weights=False)
    assert {v.check for v in check_plan(graph, untracked, MEMORY)} == {"streamed"}
    streamed = spill_everywhere(graph, 3)
    assert [v.check for v in check_plan(graph, streamed, TRACKED)] == ["streamed"]


def test_an_input_that_is_an_output_needs_nothing() -> None:
    graph = Graph(
        "pass",
        (vector("x", Role.INPUT), vector("y", Role.OUTPUT, Alias("x"))),
        (),
    )
    assert check_plan(graph, chain_plan([], [], graph=graph), MEMORY) == ()


def test_require_valid_names_the_faults() -> None:
    graph = chain()
    with pytest.raises(ProofError, match=r"presence: step 0: operator 'p' uses 'x'"):
        require_valid(graph, chain_plan([], []), MEMORY)


names = st.sampled_from(["x", "a", "b", "y", "p", "ghost"])
numbers = st.one_of(st.integers(-3, 6), st.sampled_from([-(10**30), 10**30]))


@settings(max_examples=300, deadline=None)
@given(
    order=st.lists(st.sampled_from(["p", "q", "r", "ghost"]), max_size=5),
    residencies=st.lists(st.builds(Residency, names, numbers, numbers, numbers, numbers)),
    transfers=st.lists(
        st.builds(Transfer, st.sampled_from([LOAD, STORE]), names, numbers, numbers)
    ),
    direct=st.lists(st.builds(DirectAccess, names, numbers)),
)
def test_malformed_plans_are_reported_not_crashed_on(
    order: list[str],
    residencies: list[Residency],
    transfers: list[Transfer],
    direct: list[DirectAccess],
) -> None:
    plan = replace(chain_plan(residencies, transfers, direct), order=tuple(order))
    found = check_plan(chain(), plan, DIRECT)
    assert found or sorted(order) == ["p", "q", "r"]


def test_ten_thousand_operators_take_seconds() -> None:
    graph = random_graph(1, 10_000)
    for planner in PLANNERS:
        plan = planner_in_graph_order(planner, graph)
        begin = time.process_time()
        assert check_plan(graph, plan, MemorySpec(1 << 40, ALIGNMENT)) == ()
        assert time.process_time() - begin < 20


def planner_in_graph_order(planner: Callable[..., Plan], graph: Graph) -> Plan:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            planner.__globals__, "random_order", lambda model, rng: range(len(model.accesses))
        )
        return planner(graph, 0)
