"""The machine model stepped cycle by cycle in plain Python: slow, obvious, the oracle of tests."""

from dataclasses import dataclass

from stowplan.ir.program import Command, CommandKind, Engine, Program
from stowplan.simulator.machine import UNITS_PER_BYTE, Cause, Machine, Timing

_WAIT = {
    CommandKind.LOAD: Cause.WAIT_LOAD,
    CommandKind.WEIGHT: Cause.WAIT_WEIGHT,
    CommandKind.STORE: Cause.WAIT_STORE,
    CommandKind.COMPUTE: Cause.WAIT_COMPUTE,
}


@dataclass(slots=True)
class _Running:
    """A started command; mutable."""

    index: int
    command: Command
    delay_left: int
    units_left: int
    accesses_left: int

    @property
    def active(self) -> bool:
        return self.delay_left == 0

    @property
    def moves(self) -> bool:
        return self.active and self.units_left > 0


@dataclass(slots=True)
class _Grant:
    """What one running command gets in one cycle."""

    units: int = 0
    accesses: int = 0
    cause: Cause = Cause.BUSY


def step_through(program: Program, machine: Machine) -> Timing:
    """Run ``program`` one cycle after another."""
    program.verify()
    queues = {engine: list(program.queue(engine)) for engine in Engine}
    running: dict[Engine, _Running] = {}
    count = len(program.commands)
    start, end = [0] * count, [-1] * count
    causes = {engine: dict.fromkeys(Cause, 0) for engine in Engine}
    now = 0
    while any(queues.values()):
        for begun in _startable(program, queues, running, end):
            start[begun.index] = now
            running.update(dict.fromkeys(begun.command.engines, begun))
        grants = _grants(running, machine)
        for engine in Engine:
            causes[engine][_cause(program, engine, queues, running, grants, end)] += 1
        now += 1
        for state in {id(state): state for state in running.values()}.values():
            _progress(state, grants[state.index])
            if state.active and state.units_left <= 0 and state.accesses_left <= 0:
                end[state.index] = now
                for engine in state.command.engines:
                    queues[engine].pop(0)
                    del running[engine]
    rows = tuple(tuple(causes[engine].values()) for engine in Engine)
    return Timing(now, tuple(start), tuple(end), rows)


def _startable(
    program: Program,
    queues: dict[Engine, list[int]],
    running: dict[Engine, _Running],
    end: list[int],
) -> list[_Running]:
    found = []
    for index in sorted({queue[0] for queue in queues.values() if queue}):
        command = program.commands[index]
        first = all(queues[engine][0] == index for engine in command.engines)
        begun = any(engine in running for engine in command.engines)
        if first and not begun and all(end[wait] >= 0 for wait in command.waits):
            found.append(
                _Running(
                    index,
                    command,
                    command.delay_cycles,
                    command.dram_bytes * UNITS_PER_BYTE,
                    command.bank_accesses,
                )
            )
    return found


def _grants(running: dict[Engine, _Running], machine: Machine) -> dict[int, _Grant]:
    grants = {state.index: _Grant() for state in running.values()}
    for state in running.values():
        if not state.active:
            grants[state.index].cause = Cause.DELAY
    sharers = len({state.index for state in running.values() if state.moves})
    if sharers:
        _grant_dram(running, machine, sharers, grants)
    free = machine.banks
    for engine in (Engine.DMA_IN, Engine.DMA_OUT):
        if engine in running:
            free -= _grant_dma_banks(running[engine], machine, sharers, free, grants)
    _grant_compute_banks(running, free, grants)
    return grants


def _grant_dram(
    running: dict[Engine, _Running], machine: Machine, sharers: int, grants: dict[int, _Grant]
) -> None:
    share = UNITS_PER_BYTE * machine.bytes_per_cycle // sharers
    for state in running.values():
        if state.moves:
            grants[state.index].units = share
            if state.accesses_left == 0 and (
                sharers > 1 or state.command.kind is CommandKind.COMPUTE
            ):
                grants[state.index].cause = Cause.DRAM


def _grant_dma_banks(
    state: _Running, machine: Machine, sharers: int, free: int, grants: dict[int, _Grant]
) -> int:
    """Banks a LOAD or STORE takes; limits its units if they are too few."""
    if not state.moves or state.command.kind is CommandKind.WEIGHT:
        return 0
    wanted = -(-machine.bytes_per_cycle // (sharers * machine.bank_width_bytes))
    taken = min(wanted, free)
    grant = grants[state.index]
    if taken < wanted:
        limit = UNITS_PER_BYTE * taken * machine.bank_width_bytes
        grant.units = min(grant.units, limit)
        grant.cause = Cause.BANK
    return taken


def _grant_compute_banks(
    running: dict[Engine, _Running], free: int, grants: dict[int, _Grant]
) -> None:
    array, vector = running.get(Engine.ARRAY), running.get(Engine.VECTOR)
    if vector is array:
        vector = None
    rates = [
        state.command.bank_rate if state and state.active and state.accesses_left else 0
        for state in (array, vector)
    ]
    on_array = min(rates[0], max(free - rates[1], free - free // 2))
    on_vector = min(rates[1], free - on_array)
    for state, rate, got in zip((array, vector), rates, (on_array, on_vector), strict=True):
        if state and rate:
            grants[state.index].accesses = got
            if got < rate:
                grants[state.index].cause = Cause.BANK


def _cause(
    program: Program,
    engine: Engine,
    queues: dict[Engine, list[int]],
    running: dict[Engine, _Running],
    grants: dict[int, _Grant],
    end: list[int],
) -> Cause:
    if engine in running:
        state = running[engine]
        cause = grants[state.index].cause
        joint = engine is Engine.VECTOR and len(state.command.engines) > 1
        return Cause.HELD if joint else cause
    if not queues[engine]:
        return Cause.DONE
    waits = program.commands[queues[engine][0]].waits
    unmet = next((wait for wait in waits if end[wait] < 0), None)
    return Cause.WAIT_ENGINE if unmet is None else _WAIT[program.commands[unmet].kind]


def _progress(state: _Running, grant: _Grant) -> None:
    if state.delay_left:
        state.delay_left -= 1
        return
    state.units_left = max(0, state.units_left - grant.units)
    state.accesses_left = max(0, state.accesses_left - grant.accesses)
