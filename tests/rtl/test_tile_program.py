"""Tile programs run one command at a time on plain byte arrays; needs no Verilator."""

from dataclasses import replace

import numpy as np
import pytest
from benchmarks.rtl_machine import Hardware
from benchmarks.rtl_programs import (
    Case,
    as_case,
    plain_product,
    random_case,
    slotted_plan,
    streamed_case,
)

from stowplan.errors import UsageError
from stowplan.ir.program import CommandKind
from stowplan.simulator.tile_program import Move, Operand, Product, tile_program

MACHINES = (Hardware(4, 4), Hardware(3, 5, element_bytes=2))


def run(case: Case) -> bytearray:
    """DRAM after the program."""
    dram = bytearray(case.memory)
    pad = bytearray(b"\xa5") * case.hardware.scratchpad_bytes
    ring = bytearray(b"\xa5") * case.hardware.buffer_bytes
    for command, work in zip(case.tiles.program.commands, case.tiles.work, strict=True):
        if isinstance(work, Product):
            compute(work, pad, ring, case.hardware.element_bytes)
        else:
            move(command.kind, work, dram, pad, ring)
    return dram


def move(kind: CommandKind, work: Move, dram: bytearray, pad: bytearray, ring: bytearray) -> None:
    for i in range(work.size_bytes):
        if kind is CommandKind.STORE:
            dram[work.dram_address + i] = pad[work.address + i]
        elif work.streamed:
            ring[(work.address + i) % len(ring)] = dram[work.dram_address + i]
        else:
            pad[work.address + i] = dram[work.dram_address + i]


def compute(work: Product, pad: bytearray, ring: bytearray, width: int) -> None:
    for row in range(work.rows):
        for column in range(work.columns):
            total = sum(
                element(work.left, row, term, pad, ring, width)
                * element(work.right, column, term, pad, ring, width)
                for term in range(work.terms)
            )
            at = work.address + row * work.strides[0] + column * work.strides[1]
            if work.accumulate:
                total += int.from_bytes(pad[at : at + 4], "little")
            pad[at : at + 4] = (total % (1 << 32)).to_bytes(4, "little")


def element(
    operand: Operand, major: int, term: int, pad: bytearray, ring: bytearray, width: int
) -> int:
    channel, position = divmod(term, operand.kernel)
    steps = zip(divmod(major, operand.outputs_x), divmod(position, operand.kernel_x), strict=True)
    y, x = (
        at * operand.step[axis] + shift * operand.spread[axis] - operand.pad[axis]
        for axis, (at, shift) in enumerate(steps)
    )
    if not (0 <= y < operand.size[0] and 0 <= x < operand.size[1]):
        return 0
    offset = channel * operand.strides[0] + y * operand.strides[1] + x * operand.strides[2]
    at = operand.address + offset * width
    memory = ring if operand.streamed else pad
    found = bytes(memory[(at + i) % len(memory)] for i in range(width))
    return int.from_bytes(found, "little", signed=True)


def assert_right(case: Case) -> None:
    dram = run(case)
    for name, values in case.problem.expected.items():
        at = case.tiles.dram_addresses[name]
        found = np.frombuffer(bytes(dram[at : at + 4 * values.size]), "<i4")
        np.testing.assert_array_equal(found, values.astype("<i4").ravel())


@pytest.mark.parametrize("seed", range(8))
def test_programs_compute_what_numpy_does(seed: int) -> None:
    assert_right(random_case(seed, MACHINES[seed % 2]))


@pytest.mark.parametrize("seed", range(3))
def test_weights_that_stream_in_chunks(seed: int) -> None:
    case = streamed_case(seed, replace(MACHINES[0], buffer_bytes=128))
    chunks = [c for c in case.tiles.program.commands if c.kind is CommandKind.WEIGHT]
    assert len(chunks) > 1
    assert_right(case)


@pytest.mark.parametrize("dataflow", ["output_stationary", "weight_stationary", "input_stationary"])
def test_chunks_smaller_than_a_fold_add_to_the_sums_so_far(dataflow: str) -> None:
    """Plain layout [term, column] in DRAM is rearranged chunk by chunk."""
    hardware = replace(MACHINES[0], dataflow=dataflow, buffer_bytes=64)
    problem = plain_product(5, 24, 9, hardware)
    case = as_case(problem, hardware, track_weights=False)
    products = [work for work in case.tiles.work if isinstance(work, Product)]
    assert {product.accumulate for product in products} == {False, True}
    assert case.tiles.weight_order["b"] != tuple(range(24 * 9))
    assert_right(case)


def test_what_a_tile_program_cannot_hold_is_refused() -> None:
    hardware = MACHINES[0]
    target = hardware.target()
    graph = plain_product(4, 24, 9, hardware).graph
    fused = tuple(replace(op, epilogue=("Relu",)) for op in graph.operators)
    graph = graph.replace(operators=fused)
    with pytest.raises(UsageError, match="single integer products"):
        tile_program(graph, slotted_plan(graph, target, 1, track_weights=True), target)
