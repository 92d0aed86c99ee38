"""What a report shows, as plain data: every view (HTML, JSON, SVG, trace) is drawn from it."""

from dataclasses import dataclass

import msgspec

from stowplan.errors import Misfit
from stowplan.passes.fusion_groups import FusionGroup
from stowplan.report.simulation import Simulation

REPORT_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Execution:
    """Outcome of the functional proof.

    Attributes:
        operators: operators executed.
        kernels: distinct kernels compiled for them.
        outputs: model outputs compared with ONNX Runtime's.
        identical: every output is equal bit for bit and nothing else went wrong.
        widened_by: real bytes per planned byte; 4 for a float32 model planned at int8 sizes.
        wall_s: seconds it took.
    """

    operators: int
    kernels: int
    outputs: int
    identical: bool
    widened_by: int
    wall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The figures of one compilation; the object ``compile --format json`` prints.

    Attributes:
        status: ``ok``, or ``does_not_fit`` (then plan figures are null and ``misfit`` is set).
        model: the model as the caller named it.
        target: name of the target.
        planner: registry name of the planner.
        operators: operators after the passes.
        capacity_bytes: size of the scratchpad.
        peak_bytes: highest scratchpad byte in use, plus one.
        offchip_bytes: bytes crossing the off-chip boundary.
        compulsory_bytes: the part of them that every plan has.
        noncompulsory_bytes: the rest: spills, reloads, repeated reads.
        objective: value of the objective the planner minimised.
        bound: proven lower bound on it.
        gap: (objective - bound) / objective.
        proven: the bound meets the objective: no plan is better, of a tiled graph none of its
            tiling.
        checked: the independent checker found no violation.
        cycles: simulated core cycles.
        wall_s: seconds from reading the model to the last result.
        objective_name: ``offchip``, ``peak``, ``cycles`` or ``energy``.
        method: the route by which the planner found the plan.
        bound_source: what proved the bound.
        plan_s: seconds spent planning.
        clock_hz: core clock, to turn cycles into time.
        utilisation: share of the array's multiply-accumulate slots used, 0 to 1.
        bound_by: the engine that is busy longest.
        busy: (engine, share of the cycles it is busy), busiest first.
        energy_pj: energy of the target's table.
        precision: element type the model was planned at, if not its own.
        track_weights: weights were planned as scratchpad storages.
        misfit: what does not fit.
        execution: outcome of the functional proof, if it was asked for.
        fusion: the groups of layers that run depth-first, in words.
        warnings: what the importer had to say.
        tiled: operators were split into tiles; bound, gap and proof hold for these tiles only.
    """

    status: str
    model: str
    target: str
    planner: str
    operators: int
    capacity_bytes: int
    peak_bytes: int | None = None
    offchip_bytes: int | None = None
    compulsory_bytes: int
    noncompulsory_bytes: int | None = None
    objective: int | None = None
    bound: int | None = None
    gap: float | None = None
    proven: bool = False
    checked: bool = False
    cycles: int | None = None
    wall_s: float
    objective_name: str = "offchip"
    method: str | None = None
    bound_source: str | None = None
    plan_s: float | None = None
    clock_hz: int
    utilisation: float | None = None
    bound_by: str | None = None
    busy: tuple[tuple[str, float], ...] = ()
    energy_pj: float | None = None
    precision: str | None = None
    track_weights: bool = False
    misfit: Misfit | None = None
    execution: Execution | None = None
    fusion: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    tiled: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """One stay of a storage in the scratchpad; steps are half-open as in ``ir.plan``.

    Attributes:
        storage: its name.
        category: ``input``, ``weight``, ``output``, ``state``, ``activation`` or ``workspace``;
            ``reload`` when the content comes back from DRAM after it was on chip before.
        address: first byte.
        size_bytes: bytes it occupies.
        reserved_from: first step its bytes are taken.
        start: first step its content is valid.
        end: step before which it is gone.
        loaded: it came from DRAM rather than from an operator.
        load_cycles: when its LOAD ran: first cycle, cycle after the last.
    """

    storage: str
    category: str
    address: int
    size_bytes: int
    reserved_from: int
    start: int
    end: int
    loaded: bool
    load_cycles: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """One engine busy with one thing during ``[start_cycle, end_cycle)``.

    Attributes:
        engine: name of the engine.
        label: what it works on.
        start_cycle: first busy cycle.
        end_cycle: cycle after the last.
        step: step of the plan it belongs to.
        size_bytes: bytes moved, 0 for computation.
    """

    engine: str
    label: str
    start_cycle: int
    end_cycle: int
    step: int
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """One line of the operator table.

    Attributes:
        step: position in the plan's order.
        name: operator.
        kind: operator type, fused kinds joined with ``+``.
        engine: engine that ran it.
        output_shape: shape of the first output.
        macs: multiply-accumulates.
        start_cycle: first cycle.
        end_cycle: cycle after the last.
        live_bytes: scratchpad bytes reserved while it ran.
        offchip_bytes: bytes that crossed the boundary on its behalf.
    """

    step: int
    name: str
    kind: str
    engine: str
    output_shape: tuple[int, ...]
    macs: int
    start_cycle: int
    end_cycle: int
    live_bytes: int
    offchip_bytes: int


@dataclass(frozen=True, slots=True)
class Report:
    """Everything there is to show of one compiled model.

    Attributes:
        summary: the figures.
        origin: (key, value) pairs from which graph and target can be made again.
        simulation: everything the simulator counted.
        operators: in plan order.
        blocks: the memory map.
        spans: engine activity, sorted by engine and start.
        causes: per engine, (what it does or waits for, cycles); the cycles of an engine sum to the
            whole run.
        groups: layers that run depth-first.
        schema_version: version of the JSON form.
    """

    summary: Summary
    origin: tuple[tuple[str, str], ...]
    operators: tuple[OperatorRow, ...]
    blocks: tuple[Block, ...]
    spans: tuple[Span, ...]
    causes: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    simulation: Simulation | None = None
    groups: tuple[FusionGroup, ...] = ()
    schema_version: int = REPORT_SCHEMA_VERSION

    def to_json(self) -> bytes:
        """Indented, deterministic JSON."""
        return msgspec.json.format(msgspec.json.encode(self, order="deterministic"), indent=1)
