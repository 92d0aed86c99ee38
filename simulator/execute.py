"""Functional proof of a plan: run it on real numbers in the scratchpad it plans.

Each operator reads its operands from the planned addresses of one buffer of bytes, is computed by
ONNX Runtime alone, and writes its results to their planned addresses; DRAM changes only by the
plan's transfers and direct accesses. The outputs must equal, bit for bit, those of ONNX Runtime
running the whole model. The proof does not ask the checker.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from stowplan.errors import ModelError, ProofError
from stowplan.ir.check_facts import Facts, facts_of
from stowplan.ir.graph import Graph, Operator, Role
from stowplan.ir.memory import MemorySpec
from stowplan.ir.onnx_import.evaluate import RANDOM_KINDS
from stowplan.ir.plan import Plan
from stowplan.simulator.execute_kernels import (
    Array,
    Imported,
    Kernel,
    KernelFault,
    Kernels,
    Source,
    load_runtime,
    run_whole,
)
from stowplan.simulator.execute_layout import Bytes, Layout, layout_of
from stowplan.simulator.execute_machine import Machine
from stowplan.simulator.execute_tiles import (
    assembled_outputs,
    compile_all,
    region_of,
    whole_name,
)

FAULTS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class OutputMatch:
    """One model output, as the plan and as the whole model computed it.

    Attributes:
        name: the output.
        identical: every bit is equal.
        different_bytes: bytes that differ.
        size_bytes: bytes compared.
    """

    name: str
    identical: bool
    different_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ProofResult:
    """Outcome of a functional proof.

    Attributes:
        faults: what went wrong during execution, in order; empty when nothing did.
        outputs: comparison of each model output; empty when execution broke off.
        operators: operators executed.
        kernels: distinct kernels compiled for them.
        widened_by: real bytes per planned byte (4 for a float32 model planned at int8 sizes).
        scratchpad_bytes: planned bytes of scratchpad in use, before widening.
        wall_s: duration in seconds.
    """

    faults: tuple[str, ...]
    outputs: tuple[OutputMatch, ...]
    operators: int
    kernels: int
    widened_by: int
    scratchpad_bytes: int
    wall_s: float

    @property
    def passed(self) -> bool:
        """No fault, and every output is bit-identical."""
        return not self.faults and all(match.identical for match in self.outputs)

    def require(self) -> None:
        """Raise ProofError that says what went wrong, unless the proof passed."""
        if self.passed:
            return
        lines = list(self.faults[:FAULTS_SHOWN])
        if len(self.faults) > FAULTS_SHOWN:
            lines.append(f"and {len(self.faults) - FAULTS_SHOWN} more faults")
        lines += [
            f"output {match.name!r} differs in {match.different_bytes} of {match.size_bytes} bytes"
            for match in self.outputs
            if not match.identical
        ]
        raise ProofError("the plan does not compute the model:\n  " + "\n  ".join(lines))


def prove(
    imported: Imported,
    graph: Graph,
    plan: Plan,
    memory: MemorySpec,
    seed: int = 0,
    model_inputs: Mapping[str, Array] | None = None,
) -> ProofResult:
    """Execute ``plan`` and compare with the whole model.

    Args:
        imported: the imported model, for its kernels, weights and random inputs.
        graph: the planned graph.
        plan: the plan of ``graph``.
        memory: the scratchpad planned for.
        seed: of the random inputs.
        model_inputs: inputs by name, instead of random ones.

    Raises:
        UsageError: ONNX Runtime is not installed, or has no NumPy type for an operand.
        ModelError: ONNX Runtime cannot run the model, or computes other numbers at each run.
    """
    began = time.perf_counter()
    load_runtime()
    source = imported.source
    inputs = dict(source.random_inputs(seed) if model_inputs is None else model_inputs)
    expected = run_whole(source, inputs)
    facts = facts_of(graph)
    kernels = Kernels(source, graph)
    compiled = compile_all(kernels, graph)
    types = _types(compiled)
    widths = _widths(graph, types, inputs, expected)
    layout = layout_of(graph, widths)
    dram = _initial_dram(facts, layout, source, inputs, types)
    machine = Machine(facts, plan, memory, layout, dram)
    executed = _execute(graph, plan, machine, compiled)
    outputs: tuple[OutputMatch, ...] = ()
    if executed == len(plan.order):
        outputs = _compare(graph, machine, expected)
    if not machine.faults and not all(match.identical for match in outputs):
        _refuse_chance(graph)
    return ProofResult(
        faults=tuple(machine.faults),
        outputs=outputs,
        operators=executed,
        kernels=kernels.distinct,
        widened_by=layout.factor,
        scratchpad_bytes=machine.buffer.size // layout.factor,
        wall_s=time.perf_counter() - began,
    )


def _types(compiled: Mapping[str, Kernel]) -> dict[str, np.dtype[Any]]:
    """Element type of each operand in the model."""
    return {
        port.tensor: port.dtype
        for kernel in compiled.values()
        for port in (*kernel.inputs, *kernel.outputs)
    }


def _widths(
    graph: Graph, types: Mapping[str, np.dtype[Any]], *values: Mapping[str, Array]
) -> Iterator[tuple[str, int]]:
    """Bytes per element of operands, model inputs and outputs."""
    yield from ((name, dtype.itemsize) for name, dtype in types.items())
    for name, value in (item for each in values for item in each.items()):
        if name in graph.tensor and name not in types:
            yield name, value.dtype.itemsize


def _initial_dram(
    facts: Facts,
    layout: Layout,
    source: Source,
    inputs: Mapping[str, Array],
    types: Mapping[str, np.dtype[Any]],
) -> dict[str, Bytes]:
    """Content of inputs, weights and states before the first step."""
    graph = facts.graph
    touched = {touch.storage for touches in facts.touches.values() for touch in touches}
    wanted = facts.initial & (touched | facts.final)
    dram: dict[str, Bytes] = {}
    for tensor in graph.tensors:
        if tensor.alias is not None or tensor.name not in wanted:
            continue
        whole = whole_name(tensor)
        if whole in inputs:
            value = inputs[whole]
        elif tensor.role is Role.WEIGHT:
            value = source.weight(whole)
        else:
            raise ModelError(f"no value given for model input {whole!r}")
        value = value[region_of(tensor)]
        dtype = types.get(tensor.name, value.dtype)
        if value.size != tensor.elements or value.dtype != dtype:
            raise ModelError(
                f"value of {tensor.name!r} has shape {value.shape} and type {value.dtype}, the "
                f"model needs shape {tensor.shape} and type {dtype}"
            )
        dram[tensor.name] = layout.spread(tensor.name, value)
    return dram


def _execute(graph: Graph, plan: Plan, machine: Machine, compiled: Mapping[str, Kernel]) -> int:
    """Run the plan; returns the number of operators that ran."""
    for step, name in enumerate(plan.order):
        machine.at_boundary(step)
        if name not in compiled:
            machine.faults.append(f"step {step}: the graph has no operator {name!r}")
            return step
        try:
            _run(graph.operator[name], step, machine, compiled[name], graph)
        except KernelFault as fault:
            message = f"step {step}: operator {name!r}: {fault}"
            if not machine.faults:
                raise ModelError(message) from fault
            machine.faults.append(message)
            return step
        machine.forget(step)
    machine.at_boundary(len(plan.order))
    for operator in sorted(compiled.keys() - set(plan.order)):
        machine.faults.append(f"operator {operator!r} never ran")
    return len(plan.order)


def _run(op: Operator, step: int, machine: Machine, kernel: Kernel, graph: Graph) -> None:
    layout, values = machine.layout, dict[str, Array]()
    for port, shape in zip(kernel.inputs, kernel.input_shapes(graph), strict=True):
        _expect_size(port.tensor, shape, graph)
        found = machine.read(port.tensor, step, layout.size_bytes(port.tensor))
        values[port.tensor] = layout.gather(port.tensor, found, port.dtype, shape)
    for tensor, value in kernel.run(values).items():
        _expect_size(tensor, value.shape, graph)
        machine.write(tensor, step, layout.spread(tensor, value))
    machine.scribble(op.name, step)


def _expect_size(tensor: str, shape: tuple[int, ...], graph: Graph) -> None:
    """Raise KernelFault if ``tensor`` has another number of elements than planned."""
    planned = graph.tensor[tensor]
    if prod(shape) != planned.elements:
        raise KernelFault(f"{tensor!r} has shape {shape}, planned is {planned.shape}")


def _compare(
    graph: Graph, machine: Machine, expected: Mapping[str, Array]
) -> tuple[OutputMatch, ...]:
    """Compare what DRAM holds of each output with the whole model's."""
    matches, layout = [], machine.layout
    produced = assembled_outputs(graph)
    given = {whole_name(tensor) for tensor in graph.by_role(Role.INPUT)}
    for name in sorted(produced.keys() ^ (expected.keys() - given)):
        machine.faults.append(f"output {name!r} is only in one of plan and model")
    for name in sorted(produced.keys() & expected.keys()):
        different = 0
        for tensor in produced[name]:
            due = expected[name][region_of(tensor)]
            storage, offset = layout.place(tensor.name)
            end = offset + due.size * layout.slot_bytes(tensor.name, due.dtype.itemsize)
            if storage not in machine.dram:
                different += due.nbytes
                continue
            held = machine.dram[storage][offset:end]
            found = layout.gather(tensor.name, held, due.dtype, due.shape)
            different += int(np.count_nonzero(_as_bytes(found) != _as_bytes(due)))
        matches.append(OutputMatch(name, different == 0, different, expected[name].nbytes))
    return tuple(matches)


def _refuse_chance(graph: Graph) -> None:
    """Raise ModelError if the model draws random numbers, so that no two runs agree."""
    for op in graph.operators:
        drawn = {op.kind, *op.prologue, *op.epilogue} & (RANDOM_KINDS - {"Dropout"})
        if op.kind == "Dropout" and op.attribute("training_mode"):
            drawn.add(op.kind)
        if drawn:
            raise ModelError(
                f"operator {op.name!r} ({min(drawn)}) draws random numbers, so no two runs of the "
                "model agree and no plan of it can be proved by execution; export the model for "
                "inference, or make the numbers an input"
            )


def _as_bytes(value: Array) -> Bytes:
    return np.frombuffer(value.tobytes(), dtype=np.uint8)
