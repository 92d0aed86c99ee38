"""Boundary of the Numba simulator: programs to arrays, arrays to results."""

from itertools import accumulate

import numpy as np

from stowplan.errors import InternalError
from stowplan.ir.program import CommandKind, Engine, Program
from stowplan.simulator import kernels
from stowplan.simulator.machine import UNITS_PER_BYTE, Machine, Timing, machine_of
from stowplan.simulator.result import SimResult, result_of
from stowplan.targets.target import Target

_KINDS = {kind: number for number, kind in enumerate(CommandKind)}


def simulate(program: Program, target: Target) -> SimResult:
    """Cycles, stalls, bytes and energy of ``program`` on ``target``."""
    return result_of(program, target, run(program, machine_of(target)))


def run(program: Program, machine: Machine) -> Timing:
    """Cycle counts of ``program``, exactly those of ``reference.step_through``."""
    program.verify()
    queues = _queues(program)
    state = _state(queues)
    cycles = kernels.run(
        queues, state, machine.bytes_per_cycle, machine.banks, machine.bank_width_bytes
    )
    if cycles < 0:
        stuck = [c.label for c, end in zip(program.commands, state.end, strict=True) if end < 0]
        raise InternalError(f"the simulation stands still at {', '.join(stuck[:4])}")
    return Timing(
        int(cycles),
        tuple(state.start.tolist()),
        tuple(state.end.tolist()),
        tuple(tuple(row) for row in state.causes.tolist()),
    )


def _integers(values: list[int]) -> kernels.Ints:
    return np.array(values, dtype=np.int64)


def _queues(program: Program) -> kernels.Queues:
    commands = program.commands
    entries = [program.queue(engine) for engine in Engine]
    return kernels.Queues(
        kind=_integers([_KINDS[c.kind] for c in commands]),
        both=_integers([int(len(c.engines) > 1) for c in commands]),
        delay=_integers([c.delay_cycles for c in commands]),
        units=_integers([c.dram_bytes * UNITS_PER_BYTE for c in commands]),
        accesses=_integers([c.bank_accesses for c in commands]),
        rate=_integers([c.bank_rate for c in commands]),
        wait_begin=_integers([0, *accumulate(len(c.waits) for c in commands)]),
        waits=_integers([wait for c in commands for wait in c.waits]),
        queue_begin=_integers([0, *accumulate(map(len, entries))]),
        queue=_integers([i for entry in entries for i in entry]),
    )


def _state(queues: kernels.Queues) -> kernels.State:
    count = queues.kind.shape[0]
    return kernels.State(
        start=np.full(count, -1, dtype=np.int64),
        end=np.full(count, -1, dtype=np.int64),
        delay=queues.delay.copy(),
        units=queues.units.copy(),
        accesses=queues.accesses.copy(),
        met=queues.wait_begin[:-1].copy(),
        position=queues.queue_begin[:-1].copy(),
        command=np.full(kernels.ENGINES, -1, dtype=np.int64),
        flow=np.zeros(kernels.ENGINES, dtype=np.int64),
        grant=np.zeros(kernels.ENGINES, dtype=np.int64),
        cause=np.zeros(kernels.ENGINES, dtype=np.int64),
        causes=np.zeros((kernels.ENGINES, kernels.CAUSES), dtype=np.int64),
    )
