"""Assemble a report from a graph, its plan, and what simulator and proof found."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from stowplan.errors import Misfit
from stowplan.ir.check_facts import union_bytes
from stowplan.ir.graph import Graph, Operator, Role
from stowplan.ir.plan import Plan, TransferKind
from stowplan.ir.storage import StorageModel, storage_model
from stowplan.ir.traffic import peak_bytes, traffic
from stowplan.passes.fusion_groups import FusionGroup, fusion_groups
from stowplan.report.activity import Activity
from stowplan.report.data import Block, Execution, OperatorRow, Report, Summary
from stowplan.report.simulation import simulation_of
from stowplan.targets.target import Target

if TYPE_CHECKING:
    from stowplan.simulator.execute import ProofResult

RELOAD = "reload"
_ROLE_ORDER = (Role.OUTPUT, Role.INPUT, Role.WEIGHT, Role.STATE, Role.ACTIVATION)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a report is about.

    Attributes:
        model: the model as the caller named it.
        graph: the planned graph.
        target: the machine.
        precision: element type planned at, if not the model's own.
        warnings: what the importer had to say.
        wall_s: seconds spent, from reading the model on.
    """

    model: str
    graph: Graph
    target: Target
    precision: str | None
    warnings: tuple[str, ...]
    wall_s: float


def build_report(
    subject: Subject, plan: Plan, activity: Activity, execution: Execution | None
) -> Report:
    """The report of a checked plan."""
    model = storage_model(subject.graph)
    blocks = _blocks(subject.graph, plan, model, activity)
    live = _live_bytes(blocks, len(plan.order))
    moved = _offchip_bytes(plan, model, subject.graph)
    memory = subject.target.memory_spec(plan.track_weights)
    groups = fusion_groups(subject.graph, plan, memory)
    return Report(
        summary=_summary(subject, plan, activity, execution, groups),
        origin=plan.origin,
        operators=tuple(
            _row(subject.graph, step, name, activity, live[step], moved[step])
            for step, name in enumerate(plan.order)
        ),
        blocks=blocks,
        spans=activity.spans,
        causes=activity.causes,
        simulation=simulation_of(activity.result) if activity.result else None,
        groups=groups,
    )


def execution(proof: "ProofResult") -> Execution:
    """The outcome of a functional proof in the terms of a report."""
    return Execution(
        operators=proof.operators,
        kernels=proof.kernels,
        outputs=len(proof.outputs),
        identical=proof.passed,
        widened_by=proof.widened_by,
        wall_s=proof.wall_s,
    )


def misfit_summary(
    subject: Subject, planner: str, objective: str, track_weights: bool, misfit: Misfit
) -> Summary:
    """The figures of a model that does not fit."""
    storages = storage_model(subject.graph).storages
    return Summary(
        status="does_not_fit",
        model=subject.model,
        target=subject.target.name,
        planner=planner,
        operators=len(subject.graph.operators),
        capacity_bytes=misfit.capacity_bytes,
        compulsory_bytes=sum(s.size_bytes * (s.starts_in_dram + s.ends_in_dram) for s in storages),
        wall_s=subject.wall_s,
        objective_name=objective,
        clock_hz=subject.target.clock_hz,
        precision=subject.precision,
        track_weights=track_weights,
        misfit=misfit,
        warnings=subject.warnings,
    )


def _summary(
    subject: Subject,
    plan: Plan,
    activity: Activity,
    execution: Execution | None,
    groups: Sequence[FusionGroup],
) -> Summary:
    target, proof = subject.target, plan.proof
    memory = target.memory_spec(plan.track_weights)
    moved = traffic(subject.graph, plan, memory)
    return Summary(
        status="ok",
        model=subject.model,
        target=target.name,
        planner=plan.planner,
        operators=len(plan.order),
        capacity_bytes=memory.capacity_bytes,
        peak_bytes=peak_bytes(subject.graph, plan),
        offchip_bytes=moved.offchip_bytes,
        compulsory_bytes=moved.compulsory_bytes,
        noncompulsory_bytes=moved.noncompulsory_bytes,
        objective=proof.value,
        bound=proof.lower_bound,
        gap=proof.gap,
        proven=proof.lower_bound >= proof.value,
        tiled=any(op.parent is not None for op in subject.graph.operators),
        checked=True,
        cycles=activity.cycles,
        wall_s=subject.wall_s,
        objective_name=proof.objective,
        method=proof.method,
        bound_source=proof.bound_source,
        plan_s=proof.wall_s,
        clock_hz=target.clock_hz,
        utilisation=activity.utilisation,
        bound_by=activity.bound_by,
        busy=activity.busy,
        energy_pj=activity.energy_pj,
        precision=subject.precision,
        track_weights=plan.track_weights,
        execution=execution,
        fusion=tuple(map(str, groups)),
        warnings=subject.warnings,
    )


def _blocks(graph: Graph, plan: Plan, model: StorageModel, activity: Activity) -> tuple[Block, ...]:
    """The memory map; ``plan.residencies`` come in order of time."""
    storages = {storage.name: storage for storage in model.storages}
    category = _categories(graph)
    loads = {
        (transfer.storage, transfer.deadline)
        for transfer in plan.transfers
        if transfer.kind is TransferKind.LOAD
    }
    blocks = []
    seen: set[str] = set()
    for stay in plan.residencies:
        loaded = (stay.storage, stay.start) in loads
        again = loaded and (stay.storage in seen or not storages[stay.storage].starts_in_dram)
        seen.add(stay.storage)
        blocks.append(
            Block(
                storage=stay.storage,
                category=RELOAD if again else category.get(stay.storage, "workspace"),
                address=stay.address,
                size_bytes=storages[stay.storage].size_bytes,
                reserved_from=stay.reserved_from,
                start=stay.start,
                end=stay.end,
                loaded=loaded,
                load_cycles=activity.loads.get((stay.storage, stay.reserved_from)),
            )
        )
    return tuple(blocks)


def _categories(graph: Graph) -> dict[str, str]:
    """Per storage, the most telling role among the tensors it holds."""
    roles: dict[str, set[Role]] = {}
    for tensor in graph.tensors:
        roles.setdefault(graph.resolve(tensor.name)[0], set()).add(tensor.role)
    return {
        storage: next(role.value for role in _ROLE_ORDER if role in held)
        for storage, held in roles.items()
    }


def _live_bytes(blocks: tuple[Block, ...], steps: int) -> list[int]:
    """Scratchpad bytes reserved at each step; bytes shared in place count once."""
    change = [0] * (steps + 1)
    begins: dict[int, list[Block]] = {}
    for block in blocks:
        change[block.reserved_from] += block.size_bytes
        change[min(block.end, steps)] -= block.size_bytes
        if not block.loaded:
            begins.setdefault(block.start, []).append(block)
    live = list(accumulate(change))
    for old in blocks:
        for new in begins.get(old.end - 1, ()):
            if new is not old:
                live[new.start] -= _common_bytes(old, new)
    return live


def _common_bytes(left: Block, right: Block) -> int:
    lower = max(left.address, right.address)
    upper = min(left.address + left.size_bytes, right.address + right.size_bytes)
    return max(0, upper - lower)


def _offchip_bytes(plan: Plan, model: StorageModel, graph: Graph) -> list[int]:
    """Off-chip bytes per step: LOADs due there, STOREs due after it, streams and direct accesses.

    A STORE belongs to the step before its deadline, the last one it can overlap with.
    """
    size = {storage.name: storage.size_bytes for storage in model.storages}
    moved = [0] * max(1, len(plan.order))
    for transfer in plan.transfers:
        step = transfer.deadline - (transfer.kind is TransferKind.STORE)
        moved[max(0, min(step, len(moved) - 1))] += size[transfer.storage]
    step_of = {name: step for step, name in enumerate(plan.order)}
    direct = {(access.storage, access.step) for access in plan.direct}
    for op, accesses in zip(graph.operators, model.accesses, strict=True):
        step = step_of[op.name]
        for access in accesses:
            storage = model.storages[access.storage]
            if (storage.weight and not plan.track_weights) or (storage.name, step) in direct:
                moved[step] += union_bytes(list(access.reads)) + union_bytes(list(access.writes))
    return moved


def _row(
    graph: Graph, step: int, name: str, activity: Activity, live_bytes: int, offchip_bytes: int
) -> OperatorRow:
    op = graph.operator[name]
    engine, start, end = activity.operators.get(name, ("", 0, 0))
    return OperatorRow(
        step=step,
        name=name,
        kind=_fused_kind(op),
        engine=engine,
        output_shape=graph.tensor[op.outputs[0]].shape if op.outputs else (),
        macs=activity.macs.get(name, 0),
        start_cycle=start,
        end_cycle=end,
        live_bytes=live_bytes,
        offchip_bytes=offchip_bytes,
    )


def _fused_kind(op: Operator) -> str:
    return "+".join((*op.prologue, op.kind, *op.epilogue))
