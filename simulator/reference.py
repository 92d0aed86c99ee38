"""The machine model stepped cycle by cycle in plain Python: slow, obvious, the oracle of tests."""

from dataclasses import dataclass, field
from math import ceil

from stowplan.ir.program import Command, CommandKind, Engine, Program
from stowplan.simulator.accesses import segments_of
from stowplan.simulator.machine import UNITS_PER_BYTE, Cause, Machine, Timing
from stowplan.simulator.reference_memory import BankPorts, BankWalk, ReferenceDram, bank_walk

_WAIT = {
    CommandKind.LOAD: Cause.WAIT_LOAD,
    CommandKind.WEIGHT: Cause.WAIT_WEIGHT,
    CommandKind.STORE: Cause.WAIT_STORE,
    CommandKind.COMPUTE: Cause.WAIT_COMPUTE,
}


@dataclass(slots=True)
class _Running:
    """A started command; mutable.

    Attributes:
        index: its number.
        command: the command.
        setup_left: cycles left of those that set up descriptors.
        delay_left: cycles of delay left, those included.
        units_left: units left in bandwidth mode.
        accesses_left: bank accesses left; cycles where banks are interleaved.
        to_start: DRAM accesses not started in full mode: block, write.
        unfetched: bytes of a STORE to be fetched from the scratchpad.
        walks: what a computation takes from interleaved banks.
        flying: accesses under way.
        inbox: bytes to be written to the scratchpad.
        staged: bytes of a STORE fetched and not started.
        moved: bytes, units in bandwidth mode, that went through the port.
        units: units granted in this cycle.
        accesses: bank accesses granted in this cycle.
        starts: DRAM accesses to start in this cycle.
        port: bytes or units granted to the port in this cycle.
        cause: what it does in this cycle.
    """

    index: int
    command: Command
    setup_left: int
    delay_left: int
    units_left: int
    accesses_left: int
    to_start: list[tuple[int, bool]]
    unfetched: int
    walks: list[BankWalk]
    flying: int = 0
    inbox: int = 0
    staged: int = 0
    moved: int = 0
    units: int = 0
    accesses: int = 0
    starts: int = 0
    port: int = 0
    cause: Cause = Cause.BUSY

    @property
    def active(self) -> bool:
        return self.delay_left == 0

    @property
    def moves(self) -> bool:
        return self.active and self.units_left > 0

    @property
    def finished(self) -> bool:
        memory = self.to_start or self.flying or self.inbox or self.unfetched
        return self.active and not (self.units_left or self.accesses_left or memory)


@dataclass(slots=True)
class _Run:
    """One simulation; mutable."""

    program: Program
    machine: Machine
    dram: ReferenceDram | None
    queues: list[list[int]]
    running: dict[int, _Running] = field(default_factory=dict)
    now: int = 0


def step_through(program: Program, machine: Machine) -> Timing:
    """Run ``program`` one cycle after another."""
    program.verify()
    dram = ReferenceDram(machine.dram) if machine.dram else None
    run = _Run(program, machine, dram, [list(queue) for queue in program.queues()])
    count = len(program.commands)
    start, end = [0] * count, [-1] * count
    causes = [[0] * len(Cause) for _ in run.queues]
    spent = [[0] * len(Cause) for _ in range(count)]
    while any(run.queues):
        _deliver(run)
        for begun in _startable(run, end):
            start[begun.index] = run.now
            run.running.update(dict.fromkeys(begun.command.queues, begun))
        _grant(run)
        for number, queue in enumerate(run.queues):
            cause = _cause(run, number, end)
            causes[number][cause] += 1
            if queue and program.commands[queue[0]].queues[0] == number:
                spent[queue[0]][cause] += 1
        for state in _distinct(run):
            _progress(run, state)
        run.now += 1
        for state in _distinct(run):
            if state.finished:
                end[state.index] = run.now
                for number in state.command.queues:
                    run.queues[number].pop(0)
                    del run.running[number]
    counts, clocks = dram.settle(run.now) if dram else (None, 0)
    by_queue, by_command = tuple(map(tuple, causes)), tuple(map(tuple, spent))
    return Timing(run.now, tuple(start), tuple(end), by_queue, by_command, counts, clocks)


def _distinct(run: _Run) -> list[_Running]:
    """Running commands by the first of their queues."""
    return [s for number, s in sorted(run.running.items()) if number == s.command.queues[0]]


def _deliver(run: _Run) -> None:
    """Accesses that complete by the beginning of this cycle."""
    if run.dram is None or run.machine.dram is None:
        return
    for owner in run.dram.completed(run.now):
        (state,) = (state for state in _distinct(run) if state.index == owner)
        state.flying -= 1
        if state.command.kind is CommandKind.LOAD:
            state.inbox += run.machine.dram.spec.organisation.access_bytes


def _startable(run: _Run, end: list[int]) -> list[_Running]:
    found = []
    for index in sorted({queue[0] for queue in run.queues if queue}):
        command = run.program.commands[index]
        first = all(run.queues[number][0] == index for number in command.queues)
        begun = any(number in run.running for number in command.queues)
        if first and not begun and all(end[wait] >= 0 for wait in command.waits):
            found.append(_begin(index, command, run.machine))
    return found


def _begin(index: int, command: Command, machine: Machine) -> _Running:
    cycles = ceil(command.bank_accesses / command.bank_rate)
    walks = command.walks if command.kind is CommandKind.COMPUTE and machine.interleaved else ()
    state = _Running(
        index=index,
        command=command,
        setup_left=command.setup_cycles,
        delay_left=command.delay_cycles,
        units_left=command.dram_bytes * UNITS_PER_BYTE,
        accesses_left=cycles if machine.interleaved else command.bank_accesses,
        to_start=[],
        unfetched=0,
        walks=[bank_walk(walk, machine.bank_width_bytes, cycles) for walk in walks],
    )
    for walk in state.walks:
        walk.next_cycle()
    if machine.dram is not None:
        state.delay_left -= command.latency_cycles
        state.units_left = 0
        for first, count, write in segments_of(command, machine.dram):
            state.to_start += [(first + i, write) for i in range(count)]
        if command.kind is CommandKind.STORE:
            state.unfetched = len(state.to_start) * machine.dram.spec.organisation.access_bytes
    return state


def _grant(run: _Run) -> None:
    """Decide what every running command gets in this cycle."""
    machine = run.machine
    for state in _distinct(run):
        state.units = state.accesses = state.starts = state.port = 0
        waiting = Cause.SETUP if state.setup_left else Cause.DELAY
        state.cause = Cause.BUSY if state.active else waiting
    sharers = sum(state.moves for state in _distinct(run))
    for state in _distinct(run):
        if machine.dram is not None:
            _grant_starts(state, machine)
        elif state.moves:
            _grant_bandwidth(state, machine, sharers)
    ports = BankPorts(machine.banks, machine.ports)
    free = machine.banks * machine.ports
    for engine in (Engine.DMA_IN, Engine.DMA_OUT):
        if engine in run.running:
            free -= _grant_port(run.running[engine], machine, sharers, free, ports)
    if machine.interleaved:
        _grant_walks(run, ports)
    else:
        _grant_compute_banks(run, free)


def _grant_bandwidth(state: _Running, machine: Machine, sharers: int) -> None:
    state.units = UNITS_PER_BYTE * machine.bytes_per_cycle // sharers
    computes = state.command.kind is CommandKind.COMPUTE
    if state.accesses_left == 0 and (sharers > 1 or computes):
        state.cause = Cause.DRAM


def _grant_starts(state: _Running, machine: Machine) -> None:
    link = machine.dram
    if link is None or not state.active:
        return
    limits = [link.requests_per_cycle, len(state.to_start), link.outstanding - state.flying]
    if state.command.kind is CommandKind.STORE:
        limits.append(state.staged // link.spec.organisation.access_bytes)
    state.starts = min(limits)
    computes = state.command.kind is CommandKind.COMPUTE
    if state.accesses_left == 0 and (computes or not state.starts):
        state.cause = Cause.DRAM


def _grant_port(
    state: _Running, machine: Machine, sharers: int, free: int, ports: BankPorts
) -> int:
    """What a transfer moves through its port; the ports of spread banks it takes."""
    if not state.active or state.command.kind is CommandKind.WEIGHT:
        return 0
    unit = 1 if machine.dram else UNITS_PER_BYTE
    wanted = _wanted(state, machine)
    if not wanted:
        return 0
    width = machine.bank_width_bytes
    taken = banks = 0
    if machine.interleaved:
        got = _take_words(state, wanted, unit, width, ports)
    else:
        asked = wanted if machine.dram else machine.bytes_per_cycle
        banks = -(-asked // (width * (1 if machine.dram else sharers)))
        taken = min(banks, free)
        got = min(wanted, taken * width * unit) if taken < banks else wanted
    state.port = got
    short = got < wanted if machine.dram or machine.interleaved else taken < banks
    if short:
        state.cause = Cause.BANK
    elif machine.dram:
        state.cause = Cause.BUSY
    if not machine.dram:
        state.units = got
    return taken


def _wanted(state: _Running, machine: Machine) -> int:
    """Bytes in full mode, units in bandwidth mode, that the port could move."""
    link = machine.dram
    if link is None:
        return min(state.units, state.units_left) if machine.interleaved else state.units
    if state.command.kind is CommandKind.LOAD:
        return min(state.inbox, link.port_bytes)
    ready = link.requests_per_cycle * link.spec.organisation.access_bytes
    return 0 if state.staged >= ready else min(state.unfetched, link.port_bytes)


def _take_words(state: _Running, wanted: int, unit: int, width: int, ports: BankPorts) -> int:
    """Move towards ``wanted`` bytes or units up to the first word whose bank is taken."""
    if not state.command.walks:
        return wanted
    begin = state.command.walks[0].address * unit + state.moved
    size = width * unit
    for word in range(begin // size, -(-(begin + wanted) // size)):
        if not ports.take(word):
            return max(0, word * size - begin)
    return wanted


def _grant_compute_banks(run: _Run, free: int) -> None:
    """Rule 3 of the spread banks."""
    asking = [
        state
        for state in _distinct(run)
        if state.command.kind is CommandKind.COMPUTE and state.active and state.accesses_left
    ]
    for i, state in enumerate(asking):
        rate = state.command.bank_rate
        later = sum(other.command.bank_rate for other in asking[i + 1 :])
        state.accesses = min(rate, max(free - later, -(-free // (len(asking) - i))))
        free -= state.accesses
        if state.accesses < rate:
            state.cause = Cause.BANK


def _grant_walks(run: _Run, ports: BankPorts) -> None:
    """Computations take their words from interleaved banks, a different one first each cycle."""
    units = len(run.queues) - Engine.ARRAY
    for turn in range(units):
        number = Engine.ARRAY + (run.now + turn) % units
        state = run.running.get(number)
        if state is None or state.command.queues[0] != number:
            continue
        if state.active and state.accesses_left:
            taken = [walk.take(ports) for walk in state.walks]
            state.accesses = int(all(taken))
            if not state.accesses:
                state.cause = Cause.BANK


def _cause(run: _Run, number: int, end: list[int]) -> Cause:
    if number in run.running:
        state = run.running[number]
        return state.cause if state.command.queues[0] == number else Cause.HELD
    if not run.queues[number]:
        return Cause.DONE
    waits = run.program.commands[run.queues[number][0]].waits
    unmet = next((wait for wait in waits if end[wait] < 0), None)
    return Cause.WAIT_ENGINE if unmet is None else _WAIT[run.program.commands[unmet].kind]


def _progress(run: _Run, state: _Running) -> None:
    if state.delay_left:
        state.setup_left = max(0, state.setup_left - 1)
        state.delay_left -= 1
        return
    state.moved += state.port
    if run.dram is not None:
        _progress_dram(run.dram, state, run)
    state.units_left = max(0, state.units_left - state.units)
    state.accesses_left = max(0, state.accesses_left - state.accesses)
    if state.accesses:
        for walk in state.walks:
            walk.next_cycle()


def _progress_dram(dram: ReferenceDram, state: _Running, run: _Run) -> None:
    link = run.machine.dram
    for block, write in state.to_start[: state.starts]:
        dram.start(state.index, block, write, run.now)
    del state.to_start[: state.starts]
    state.flying += state.starts
    if state.command.kind is CommandKind.STORE and link is not None:
        state.staged -= state.starts * link.spec.organisation.access_bytes
        state.staged += state.port
        state.unfetched -= state.port
    else:
        state.inbox -= state.port
