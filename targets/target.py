"""The description of a machine. Loaded from TOML by ``targets.load``; capabilities, never names."""

from fractions import Fraction
from hashlib import sha256
from math import ceil
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from stowplan.ir.memory import MemorySpec

Dataflow = Literal["output_stationary", "weight_stationary", "input_stationary"]
FoldMode = Literal["drained", "pipelined"]
Banking = Literal["spread", "interleaved"]
Priority = Literal["shared", "demand", "load_first", "store_first"]
DramMode = Literal["bandwidth", "full"]
SparsityKind = Literal["none", "structured", "run_length"]
Positive = Annotated[int, Meta(gt=0)]
NonNegative = Annotated[int, Meta(ge=0)]
PositiveFloat = Annotated[float, Meta(gt=0)]
Picojoules = Annotated[float, Meta(ge=0)]
WidthKey = Annotated[str, Meta(pattern="^(f?[0-9]+|bf16)$")]
Share = Annotated[float, Meta(gt=0, le=1)]
Dimensions = Annotated[int, Meta(ge=0, le=3)]
RunBits = Annotated[int, Meta(ge=1, le=16)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every table of a target file: immutable, unknown keys are errors."""


class Scratchpad(Section, frozen=True):
    """On-chip memory that plans place storages in.

    Attributes:
        size_bytes: capacity.
        alignment_bytes: every planned address is a multiple of it.
        banks: banks, interleaved by ``bank_width_bytes``.
        bank_width_bytes: bytes a port of a bank delivers per cycle.
        banking: ``spread``: accesses spread evenly, conflicts are a matter of how many banks are
            taken; ``interleaved``: every access goes to the bank its address says.
        ports: accesses a bank serves per cycle.
        read_latency_cycles: cycles from an address to its data; reads follow each other, so every
            fold of a product and every operator on the vector unit waits for it once.
    """

    size_bytes: Positive
    alignment_bytes: Positive = 64
    banks: Positive = 16
    bank_width_bytes: Positive = 16
    banking: Banking = "spread"
    ports: Positive = 1
    read_latency_cycles: NonNegative = 0


class Sparsity(Section, frozen=True):
    """Zero weights that the array skips (``targets.sparsity``).

    Attributes:
        kind: ``none``; ``structured``: ``kept`` of ``block`` weights; ``run_length``: weights not
            zero with probability ``density``, zeros as runs of ``run_bits`` bits.
        kept: weights kept of each block.
        block: weights of a block.
        density: share of weights that are not zero.
        run_bits: bits of a run.
    """

    kind: SparsityKind = "none"
    kept: Positive = 2
    block: Positive = 4
    density: Share = 1.0
    run_bits: RunBits = 4


class Array(Section, frozen=True):
    """Systolic matrix array of ``rows`` x ``cols`` multiply-accumulate units.

    Attributes:
        dataflow: which operand stays in the array.
        macs_per_unit: (element bits -> multiply-accumulates per unit per cycle) for the widest
            operand; a float operand looks up ``f<bits>`` first, then ``<bits>``; bfloat16 looks up
            ``bf16`` before both.
        count: identical arrays that share the folds of one operator evenly.
        fold_mode: ``drained``: a fold starts when the one before has left the array;
            ``pipelined``: output-stationary folds follow each other through separate output
            registers, and elements are pipelined (``targets.gemm_cost`` has the laws).
        element_stages: registers between an element's operands and its result; if absent 0 when
            ``drained``, and when ``pipelined`` 2 with stationary outputs, else 3.
        double_buffered: the stationary operand of the next fold loads while this one streams.
        weight_sparsity: zeros among the weights that cost no cycles.
    """

    rows: Positive
    cols: Positive
    dataflow: Dataflow = "output_stationary"
    macs_per_unit: dict[WidthKey, PositiveFloat] = {}
    count: Positive = 1
    fold_mode: FoldMode = "drained"
    element_stages: NonNegative | None = None
    double_buffered: bool = False
    weight_sparsity: Sparsity = Sparsity()

    @property
    def stages(self) -> int:
        """Registers between an element's operands and its result."""
        if self.element_stages is not None:
            return self.element_stages
        if self.fold_mode == "drained":
            return 0
        return 2 if self.dataflow == "output_stationary" else 3


class Vector(Section, frozen=True):
    """Vector unit for everything that is not a matrix product.

    Attributes:
        lanes: 8-bit elements per cycle for an operation of cost 1; wider elements take
            proportionally longer.
        latency_cycles: pipeline latency of one operation.
        cycles_per_element: operator kind -> passes over the data; ``default`` for the rest.
        clock_hz: clock of its own, which its cycles are those of; if absent the core's.
        sync_cycles: cycles of the observing clock that a change takes to be seen on the other side
            of that clock's boundary.
    """

    lanes: Positive
    latency_cycles: NonNegative = 8
    cycles_per_element: dict[str, PositiveFloat] = {}
    clock_hz: Positive | None = None
    sync_cycles: NonNegative | None = None


class Dma(Section, frozen=True):
    """DMA engines, one queue in and one out.

    Attributes:
        setup_cycles: cycles per descriptor before data moves.
        burst_bytes: transfers are rounded up to whole bursts.
        dimensions: of a descriptor, the consecutive bytes included; tiles are then strided regions
            of the tensor they are part of, and every run of theirs takes whole bursts. 0: tiles
            lie packed, and a transfer is one descriptor.
        outstanding: DRAM accesses that each direction, and each operator that accesses DRAM
            directly, may have under way; full DRAM mode only.
        requests_per_cycle: DRAM accesses each of them may start in a cycle; full DRAM mode only.
        port_bytes: bytes per cycle between a direction and the scratchpad; full DRAM mode only.
        channels: transfers that each direction may have under way; they share what a direction has.
        queue_depth: transfers of each direction between the one issued last and the computations
            still to be finished, the prefetch queue; 0: any number.
        priority: who goes first where transfers compete: ``shared``: nobody; ``demand``: what a
            computation waits for, before prefetches and write-backs; ``load_first`` or
            ``store_first``: one direction.
        clock_hz: clock of its own, which set-up, requests per cycle and port are counted in; if
            absent the core's.
        sync_cycles: as that of the vector unit.
    """

    setup_cycles: NonNegative = 16
    burst_bytes: Positive = 64
    dimensions: Dimensions = 0
    outstanding: Positive = 64
    requests_per_cycle: Positive = 1
    port_bytes: Positive = 64
    channels: Positive = 1
    queue_depth: NonNegative = 0
    priority: Priority = "shared"
    clock_hz: Positive | None = None
    sync_cycles: NonNegative | None = None


class Dram(Section, frozen=True):
    """Off-chip memory: two numbers in bandwidth mode, a device with its controller in full mode.

    Attributes:
        bytes_per_cycle: sustained bytes per core clock cycle, shared by all DMA; bandwidth mode.
        latency_cycles: core cycles from request to first data; bandwidth mode.
        direct_operands: operators may read and write operands here without a resident copy.
        mode: how simulations treat it unless told otherwise.
        device: preset or file that describes the device (``targets.dram_presets``); full mode.
        channels: channels of it, 0 for as many as it says; full mode.
        path_cycles: core cycles between DMA and controller, each way; full mode.
    """

    bytes_per_cycle: Positive
    latency_cycles: NonNegative = 100
    direct_operands: bool = False
    mode: DramMode = "bandwidth"
    device: str = "ddr4-2400"
    channels: NonNegative = 0
    path_cycles: NonNegative = 0


class WeightBuffer(Section, frozen=True):
    """Dedicated double buffer through which weights stream when plans do not track them.

    Attributes:
        size_bytes: capacity of both halves together.
        keeps: what an operator streamed stays until others need the room, first in, first out, and
            operators that stream the same bytes meanwhile fetch nothing; otherwise every operator
            streams its own.
    """

    size_bytes: Positive
    keeps: bool = False


class Energy(Section, frozen=True):
    """Energy per event in picojoules."""

    mac_pj: Picojoules
    scratchpad_pj_per_byte: Picojoules
    dram_pj_per_byte: Picojoules
    vector_pj_per_element: Picojoules = 0.1


class Target(Section, frozen=True):
    """A machine.

    Attributes:
        name: identifier.
        description: one line.
        clock_hz: core clock.
        array: matrix array of each core.
        vector: vector unit of each core.
        cores: cores that run operators at the same time; they share everything else.
        sources: dotted field name -> where the number comes from.
    """

    name: str
    description: str
    clock_hz: Positive
    array: Array
    vector: Vector
    scratchpad: Scratchpad
    weight_buffer: WeightBuffer
    dma: Dma
    dram: Dram
    energy: Energy
    cores: Positive = 1
    sources: dict[str, str] = {}

    @property
    def dma_ratio(self) -> Fraction | None:
        """DMA cycles per core cycle if the DMA has a clock of its own."""
        return _ratio(self.dma.clock_hz, self.clock_hz)

    @property
    def vector_ratio(self) -> Fraction | None:
        """Vector cycles per core cycle if vector units have a clock of their own."""
        return _ratio(self.vector.clock_hz, self.clock_hz)

    def core_cycles(self, vector_cycles: int) -> int:
        """Core cycles that cycles of the vector unit take, rounded up."""
        return ceil(vector_cycles / (self.vector_ratio or 1))

    def memory_spec(self, track_weights: bool = False) -> MemorySpec:
        """What planners and the checker must respect."""
        return MemorySpec(
            capacity_bytes=self.scratchpad.size_bytes,
            alignment_bytes=self.scratchpad.alignment_bytes,
            stream_weights=not track_weights,
            direct_dram=self.dram.direct_operands,
            kept_weights_bytes=self.weight_buffer.size_bytes if self.weight_buffer.keeps else 0,
        )

    @property
    def hash(self) -> str:
        """SHA-256 of the description, hexadecimal."""
        return sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


def _ratio(clock_hz: int | None, core_hz: int) -> Fraction | None:
    return None if clock_hz is None else Fraction(clock_hz, core_hz)
