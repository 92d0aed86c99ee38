"""Tiles as strided regions of DRAM: where they lie, what descriptors move them, what they cost."""

from functools import cache
from itertools import pairwise
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowplan.errors import TargetError, UsageError
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.ir.plan import Plan
from stowplan.ir.program import CommandKind, Program
from stowplan.ir.storage import storage_model
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.planner import PlanOptions
from stowplan.passes.tiling.tile import tile_graph
from stowplan.simulator.accesses import segments_of
from stowplan.simulator.dram_layout import dram_regions
from stowplan.simulator.engine import run, simulate
from stowplan.simulator.lower import lower
from stowplan.simulator.machine import Cause, machine_of
from stowplan.simulator.reference import step_through
from stowplan.simulator.tile_program import tile_program
from stowplan.targets.load import load_target
from stowplan.targets.target import Target


def convolutions(channels: int, rows: int, columns: int) -> Graph:
    """Two convolutions of an image, each followed by nothing."""
    image = (1, channels, rows, columns)
    tensors = (
        Tensor("x", image, DType.INT8, Role.INPUT),
        Tensor("w", (channels, channels, 3, 3), DType.INT8, Role.WEIGHT),
        Tensor("a", image, DType.INT8),
        Tensor("v", (channels, channels, 1, 1), DType.INT8, Role.WEIGHT),
        Tensor("y", image, DType.INT8, Role.OUTPUT),
    )
    window = (("kernel_shape", (3, 3)), ("pads", (1, 1, 1, 1)))
    operators = (
        Operator("first", "Conv", ("x", "w"), ("a",), attributes=window),
        Operator("second", "Conv", ("a", "v"), ("y",), attributes=(("kernel_shape", (1, 1)),)),
    )
    return Graph("convolutions", tensors, operators)


def machine(dimensions: int, *more: str) -> Target:
    return load_target(
        "edge-npu",
        (
            *("scratchpad.size=2KiB", "weight_buffer.size=512B", "scratchpad.banks=4"),
            *("array.rows=4", "array.cols=4", "dma.burst=16B", "dram.latency_cycles=9"),
            *(f"dma.dimensions={dimensions}", "dram.path_cycles=2", *more),
        ),
    )


@cache
def planned(channels: int, rows: int, columns: int) -> tuple[Graph, Plan]:
    target = machine(0)
    graph = tile_graph(convolutions(channels, rows, columns), target)
    return graph, plan_greedy(graph, target, PlanOptions())


shapes = st.tuples(st.sampled_from([8, 12]), st.sampled_from([12, 17]), st.sampled_from([16, 20]))


@settings(max_examples=12, deadline=None)
@given(shapes, st.integers(1, 3))
def test_tiles_lie_where_their_tensor_has_them(
    shape: tuple[int, int, int], dimensions: int
) -> None:
    graph, plan = planned(*shape)
    assert any(tensor.region for tensor in graph.tensors)
    regions = dram_regions(graph, plan, storage_model(graph), dimensions)
    begins: dict[str, int] = {}
    for name, region in regions.items():
        tensor = graph.tensor[name]
        assert region.size_bytes == tensor.size_bytes
        if tensor.region is None or tensor.parent is None or tensor.role is Role.WEIGHT:
            assert not region.repeats
            continue
        whole = (1, *shape)
        # One tensor, one place: the address of a tile says where its tensor begins.
        offset = sum(
            lower * prod(whole[axis + 1 :]) for axis, (lower, _) in enumerate(tensor.region)
        )
        begin = begins.setdefault(tensor.parent, region.address - offset)
        assert begin == region.address - offset and begin % 256 == 0
    spans = sorted(run for region in regions.values() for run in region.runs)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


@settings(max_examples=10, deadline=None)
@given(shapes, st.integers(1, 3), st.sampled_from(["bandwidth", "full"]))
def test_transfers_pay_for_descriptors_and_bursts(
    shape: tuple[int, int, int], dimensions: int, mode: str
) -> None:
    graph, plan = planned(*shape)
    target = machine(dimensions, f"dram.mode={mode}")
    program = lower(graph, plan, target)
    regions = dram_regions(graph, plan, storage_model(graph), dimensions)
    for command in program.commands:
        if command.kind in (CommandKind.LOAD, CommandKind.STORE):
            region = regions[command.label]
            assert command.descriptors == region.descriptors(dimensions)
            assert (*command.dram_reads, *command.dram_writes) == region.runs
            assert command.dram_bytes == region.widened_bytes(16)
        assert command.setup_cycles == 16 * command.descriptors * bool(
            command.kind is not CommandKind.COMPUTE
        )
    assert any(command.descriptors > 1 for command in program.commands) or dimensions > 1
    timing = run(program, machine_of(target))
    assert timing == step_through(program, machine_of(target))
    setup = sum(command.setup_cycles for command in program.commands)
    assert sum(row[Cause.SETUP] for row in timing.causes) == setup
    link, counts = machine_of(target).dram, timing.dram
    assert (link is not None) == (counts is not None) == (mode == "full")
    if link is not None and counts is not None:
        asked = sum(n for c in program.commands for _, n, _ in segments_of(c, link))
        assert counts.reads + counts.writes + counts.merged + counts.forwarded == asked


def descriptors(program: Program) -> int:
    return sum(c.descriptors for c in program.commands if c.kind is not CommandKind.COMPUTE)


def test_more_dimensions_take_fewer_descriptors_and_move_the_same_bytes() -> None:
    graph, plan = planned(8, 17, 20)
    programs = {n: lower(graph, plan, machine(n)) for n in range(4)}
    counts = [descriptors(programs[n]) for n in (1, 2, 3)]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[1] > 0
    moved = {simulate(programs[n], machine(n)).bytes for n in range(4)}
    assert len(moved) == 1
    # Packed tiles are one descriptor per transfer.
    transfers = [c for c in programs[0].commands if c.kind is not CommandKind.COMPUTE]
    assert descriptors(programs[0]) == len(transfers) <= counts[2]


def test_mistakes_are_named() -> None:
    with pytest.raises(TargetError, match=r"dma\.dimensions.*<= 3"):
        machine(4)
    graph, plan = planned(8, 12, 16)
    with pytest.raises(UsageError, match=r"dma\.dimensions"):
        tile_program(graph, plan, machine(2))
