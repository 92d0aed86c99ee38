"""Boundary of the Numba simulator: programs to arrays, arrays to results."""

from itertools import accumulate

import numpy as np

from stowplan.errors import InternalError
from stowplan.ir.program import CommandKind, Engine, Program
from stowplan.simulator import kernels
from stowplan.simulator.machine import UNITS_PER_BYTE, Machine, Timing, machine_of
from stowplan.simulator.result import SimResult, result_of
from stowplan.targets.target import DramMode, Target

_KINDS = {kind: number for number, kind in enumerate(CommandKind)}


def simulate(program: Program, target: Target, mode: DramMode | None = None) -> SimResult:
    """Cycles, stalls, bytes and energy of ``program`` on ``target``.

    Args:
        program: the program.
        target: the machine.
        mode: how to treat DRAM, if not as the target says.

    Raises:
        TargetError: full DRAM mode with a device that does not exist or is too small.
    """
    machine = machine_of(target, mode)
    return result_of(program, target, machine, run(program, machine))


def run(program: Program, machine: Machine) -> Timing:
    """Cycle counts of ``program``, exactly those of ``reference.step_through``."""
    program.verify()
    queues = _queues(program, machine)
    state = _state(queues, machine.channels)
    if machine.detailed:
        from stowplan.simulator.detail import run_detailed

        cycles, counts, clocks = run_detailed(program, machine, queues, state)
    else:
        counts, clocks = None, 0
        cycles = kernels.run(
            queues,
            state,
            machine.bytes_per_cycle,
            machine.banks * machine.ports,
            machine.bank_width_bytes,
        )
    if cycles < 0:
        stuck = [c.label for c, end in zip(program.commands, state.end, strict=True) if end < 0]
        raise InternalError(f"the simulation stands still at {', '.join(stuck[:4])}")
    return Timing(
        int(cycles),
        tuple(state.start.tolist()),
        tuple(state.end.tolist()),
        tuple(map(tuple, state.causes.tolist())),
        tuple(map(tuple, state.spent.tolist())),
        counts,
        clocks,
    )


def _integers(values: list[int]) -> kernels.Ints:
    return np.array(values, dtype=np.int64)


def _queues(program: Program, machine: Machine) -> kernels.Queues:
    commands = program.commands
    entries = program.queues()
    waits = [c.waits for c in commands]
    wait_begin = _integers([0, *accumulate(map(len, waits))])
    gate = wait_begin[1:]
    if machine.queue_depth:
        lengths = _integers([len(own) for own in waits])
        gates = _gates(program, machine.queue_depth)
        waits = [(*own, *gates.get(i, ())) for i, own in enumerate(waits)]
        wait_begin = _integers([0, *accumulate(map(len, waits))])
        gate = wait_begin[:-1] + lengths
    return kernels.Queues(
        kind=_integers([_KINDS[c.kind] for c in commands]),
        both=_integers([int(len(c.engines) > 1) for c in commands]),
        delay=_integers([c.delay_cycles for c in commands]),
        units=_integers([c.dram_bytes * UNITS_PER_BYTE for c in commands]),
        accesses=_integers([c.bank_accesses for c in commands]),
        rate=_integers([c.bank_rate for c in commands]),
        wait_begin=wait_begin,
        gate=gate,
        waits=_integers([wait for own in waits for wait in own]),
        queue_begin=_integers([0, *accumulate(map(len, entries))]),
        queue=_integers([i for entry in entries for i in entry]),
        setup=_integers([c.setup_cycles for c in commands]),
    )


def _gates(program: Program, depth: int) -> dict[int, tuple[int, ...]]:
    """What transfers wait for beside data and space: room in the queue of their direction.

    That is the transfer ``depth`` places before, and the last computation of every unit before that
    one in the list: units run in order, so that all others have finished when it has.
    """
    if not depth:
        return {}
    found: dict[int, tuple[int, ...]] = {}
    started: dict[int, list[int]] = {Engine.DMA_IN: [], Engine.DMA_OUT: []}
    before: dict[int, tuple[int, ...]] = {}
    last: dict[int, int] = {}
    for i, command in enumerate(program.commands):
        queue = command.queues[0]
        if command.kind is CommandKind.COMPUTE:
            last[queue] = i
            continue
        before[i] = tuple(last.values())
        started[queue].append(i)
        if len(started[queue]) > depth:
            oldest = started[queue][-1 - depth]
            found[i] = (oldest, *before[oldest])
    return found


def _state(queues: kernels.Queues, channels: int) -> kernels.State:
    count, lines = queues.kind.shape[0], queues.queue_begin.shape[0] - 1
    engines = lines - 2 + 2 * channels
    return kernels.State(
        start=np.full(count, -1, dtype=np.int64),
        end=np.full(count, -1, dtype=np.int64),
        delay=queues.delay.copy(),
        units=queues.units.copy(),
        accesses=queues.accesses.copy(),
        met=queues.wait_begin[:-1].copy(),
        position=queues.queue_begin[:-1].copy(),
        command=np.full(engines, -1, dtype=np.int64),
        flow=np.zeros(engines, dtype=np.int64),
        grant=np.zeros(engines, dtype=np.int64),
        cause=np.zeros(engines, dtype=np.int64),
        causes=np.zeros((lines, kernels.CAUSES), dtype=np.int64),
        spent=np.zeros((count, kernels.CAUSES), dtype=np.int64),
    )
