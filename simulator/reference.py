"""The machine model stepped cycle by cycle in plain Python: slow, obvious, the oracle of tests."""

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

from stowplan.errors import InternalError
from stowplan.ir.program import Command, CommandKind, Engine, Program
from stowplan.simulator.accesses import segments_of
from stowplan.simulator.machine import UNITS_PER_BYTE, Cause, Domain, DramLink, Machine, Timing
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
        domain: clock of its engine; None for the core's.
        owed: cycles of that clock before anything else: alignment, synchroniser, set-up.
        own: cycles of its engine that end in this core cycle.
        budget: those of them that nothing is owed of.
        lag: core cycles until the core sees that it has finished; None before it has.
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
        later: others go first in this cycle.
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
    domain: Domain | None = None
    owed: int = 0
    own: int = 1
    budget: int = 1
    lag: int | None = None
    flying: int = 0
    inbox: int = 0
    staged: int = 0
    moved: int = 0
    units: int = 0
    accesses: int = 0
    starts: int = 0
    port: int = 0
    later: bool = False
    cause: Cause = Cause.BUSY

    @property
    def active(self) -> bool:
        paid = not self.owed or self.budget > 0
        return self.delay_left == 0 and paid and self.lag is None

    @property
    def moves(self) -> bool:
        return self.active and not self.owed and self.units_left > 0

    @property
    def done(self) -> bool:
        memory = self.to_start or self.flying or self.inbox or self.unfetched
        before = self.owed or self.delay_left
        return not (before or self.units_left or self.accesses_left or memory)


@dataclass(slots=True)
class _Run:
    """One simulation; mutable.

    Attributes:
        queues: commands of each queue that have not started.
        running: started commands by queue and channel; those that hold two engines are in it twice.
        issued: per DMA direction, the transfers that take an entry of its queue.
        start: first cycle per command.
        end: cycle after the last per command, -1 before.
    """

    program: Program
    machine: Machine
    dram: ReferenceDram | None
    queues: list[list[int]]
    start: list[int]
    end: list[int]
    running: dict[tuple[int, int], _Running] = field(default_factory=dict)
    issued: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    now: int = 0


def step_through(program: Program, machine: Machine) -> Timing:
    """Run ``program`` one cycle after another."""
    program.verify()
    dram = ReferenceDram(machine.dram) if machine.dram else None
    count = len(program.commands)
    queues = [list(queue) for queue in program.queues()]
    run = _Run(program, machine, dram, queues, [0] * count, [-1] * count)
    causes = [[0] * len(Cause) for _ in run.queues]
    spent = [[0] * len(Cause) for _ in range(count)]
    while any(run.queues) or run.running:
        _deliver(run)
        _start(run)
        _grant(run)
        _account(run, causes, spent)
        for state in _distinct(run):
            _progress(run, state)
        run.now += 1
        _finish(run)
    counts, clocks = dram.settle(run.now) if dram else (None, 0)
    by_queue, by_command = tuple(map(tuple, causes)), tuple(map(tuple, spent))
    return Timing(run.now, tuple(run.start), tuple(run.end), by_queue, by_command, counts, clocks)


def _distinct(run: _Run) -> list[_Running]:
    """Running commands by the first of their queues, then by channel."""
    return [
        state
        for (queue, _), state in sorted(run.running.items(), key=lambda item: item[0])
        if queue == state.command.queues[0]
    ]


def _deliver(run: _Run) -> None:
    """Accesses that complete by the beginning of this cycle."""
    if run.dram is None or run.machine.dram is None:
        return
    for owner in run.dram.completed(run.now):
        (state,) = (state for state in _distinct(run) if state.index == owner)
        state.flying -= 1
        if state.command.kind is CommandKind.LOAD:
            state.inbox += run.machine.dram.spec.organisation.access_bytes


def _free_engine(run: _Run, queue: int) -> int | None:
    """The first engine of a queue that runs nothing."""
    engines = range(run.machine.engines(queue))
    return next((i for i in engines if (queue, i) not in run.running), None)


def _start(run: _Run) -> None:
    """Start whatever can."""
    for number, queue in enumerate(run.queues):
        while queue and _can_start(run, queue[0]):
            index = queue[0]
            begun = _begin(index, run.program.commands[index], run.machine)
            if begun.domain is not None:
                _cross(begun, begun.domain, run.now)
            run.start[index] = run.now
            for own in begun.command.queues:
                engine = _free_engine(run, own)
                if engine is None:
                    raise InternalError(f"{begun.command.label} started on a busy engine")
                run.running[own, engine] = begun
                run.queues[own].pop(0)
            if number < Engine.ARRAY:
                run.issued[number].append(index)


def _can_start(run: _Run, index: int) -> bool:
    command = run.program.commands[index]
    first = all(run.queues[own][:1] == [index] for own in command.queues)
    free = all(_free_engine(run, own) is not None for own in command.queues)
    done = all(run.end[wait] >= 0 for wait in command.waits)
    return first and free and done and _has_room(run, index)


def _has_room(run: _Run, index: int) -> bool:
    """Whether the queue of a transfer's direction has an entry for it."""
    depth, queue = run.machine.queue_depth, run.program.commands[index].queues[0]
    return not depth or queue >= Engine.ARRAY or len(run.issued[queue]) < depth


def _account(run: _Run, causes: list[list[int]], spent: list[list[int]]) -> None:
    """Book the cycle for every queue and every command."""
    for state in _distinct(run):
        spent[state.index][state.cause] += 1
    for number, queue in enumerate(run.queues):
        own = [state for (line, _), state in sorted(run.running.items()) if line == number]
        waiting = _waiting(run, queue[0]) if queue else Cause.DONE
        first = queue and run.program.commands[queue[0]].queues[0] == number
        if first and _free_engine(run, number) is not None:
            spent[queue[0]][waiting] += 1
        if not own:
            causes[number][waiting] += 1
            continue
        oldest = min(own, key=lambda state: run.start[state.index])
        causes[number][oldest.cause if oldest.command.queues[0] == number else Cause.HELD] += 1


def _waiting(run: _Run, index: int) -> Cause:
    """What a command waits for that has not started."""
    waits = run.program.commands[index].waits
    unmet = next((wait for wait in waits if run.end[wait] < 0), None)
    if unmet is not None:
        return _WAIT[run.program.commands[unmet].kind]
    return Cause.WAIT_ENGINE if _has_room(run, index) else Cause.QUEUE


def _cross(state: _Running, domain: Domain, now: int) -> None:
    """What a command owes that starts on another clock than the core's."""
    aligned = (now * domain.ratio).denominator == 1
    state.owed = int(not aligned) + domain.sync_cycles
    state.setup_left = 0
    if state.command.kind is not CommandKind.COMPUTE:
        state.owed += state.command.setup_cycles
        state.setup_left = state.command.setup_cycles
        state.delay_left -= state.command.setup_cycles


def _seen_late(state: _Running, now: int) -> int:
    """Core cycles until the core sees the end of a command that is done now."""
    if state.domain is None:
        return 0
    if state.command.kind is CommandKind.COMPUTE:
        return state.domain.sync_cycles
    return state.domain.seen(now) - now


def _finish(run: _Run) -> None:
    """End what is done and seen to be; give back entries of the queues."""
    for state in _distinct(run):
        if state.lag is not None:
            state.lag -= 1
        elif state.done:
            state.lag = _seen_late(state, run.now)
    for place, state in list(run.running.items()):
        if state.lag == 0:
            run.end[state.index] = run.now
            del run.running[place]
    unfinished = (
        index
        for index, command in enumerate(run.program.commands)
        if command.kind is CommandKind.COMPUTE and run.end[index] < 0
    )
    oldest = next(unfinished, len(run.program.commands))
    for issued in run.issued:
        while issued and issued[0] < oldest and run.end[issued[0]] >= 0:
            issued.pop(0)


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
        domain=machine.domain(command.queues[0]),
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
        if state.domain is not None:
            edges = state.domain.edges
            state.own = edges(run.now + 1) - edges(run.now)
            state.budget = max(0, state.own - state.owed)
        waiting = Cause.SETUP if state.setup_left else Cause.DELAY
        state.cause = waiting if state.delay_left else Cause.BUSY
        state.later = _goes_later(run, state)
    ports = BankPorts(machine.banks, machine.ports)
    free = machine.banks * machine.ports
    free = _grant_full(run, free, ports) if machine.dram else _grant_bandwidth(run, free, ports)
    if machine.interleaved:
        _grant_walks(run, ports)
    else:
        _grant_compute_banks(run, free)
    for state in _distinct(run):
        if state.owed:
            state.cause = Cause.CLOCK if state.owed > state.setup_left else Cause.SETUP
        elif state.lag is not None:
            state.cause = Cause.CLOCK


def _goes_later(run: _Run, state: _Running) -> bool:
    """Whether a command is of the second class."""
    if state.command.kind is CommandKind.COMPUTE:
        return False
    stores = state.command.kind is CommandKind.STORE
    match run.machine.priority:
        case "load_first":
            return stores
        case "store_first":
            return not stores
        case "demand":
            heads = [queue[0] for queue in run.queues[Engine.ARRAY :] if queue]
            # Units that run something have no computation waiting.
            idle = [
                head
                for head in heads
                if any(
                    _free_engine(run, own) is not None and run.queues[own][:1] == [head]
                    for own in run.program.commands[head].queues
                )
            ]
            return not any(state.index in run.program.commands[head].waits for head in idle)
        case _:
            return False


def _grant_bandwidth(run: _Run, free: int, ports: BankPorts) -> int:
    """Share the bandwidth, the first class before the second; ports that are left."""
    machine = run.machine
    units = UNITS_PER_BYTE * machine.bytes_per_cycle
    ahead = False
    for later in (False, True):
        sharers = [s for s in _distinct(run) if s.moves and s.later == later]
        offered = units
        for state in sharers:
            state.units = offered // len(sharers)
            computes = state.command.kind is CommandKind.COMPUTE
            if ahead:
                state.cause = Cause.PRIORITY
            elif state.accesses_left == 0 and (len(sharers) > 1 or computes):
                state.cause = Cause.DRAM
            if state.command.kind in (CommandKind.LOAD, CommandKind.STORE):
                asked = Fraction(offered, UNITS_PER_BYTE * len(sharers))
                free -= _grant_share(state, machine, asked, free, ports)
            units -= state.units
        ahead = ahead or bool(sharers)
    return free


def _grant_share(
    state: _Running, machine: Machine, asked: Fraction, free: int, ports: BankPorts
) -> int:
    """Limit what a transfer moves to its banks; the ports of spread banks it takes."""
    width = machine.bank_width_bytes
    if machine.interleaved:
        wanted = min(state.units, state.units_left)
        got = _take_words(state, wanted, UNITS_PER_BYTE, width, ports)
        if got < wanted:
            state.cause = Cause.BANK
        state.units = state.port = got
        return 0
    banks = ceil(asked / width)
    taken = min(banks, free)
    if taken < banks:
        state.units = min(state.units, taken * width * UNITS_PER_BYTE)
        state.cause = Cause.BANK
    return taken


def _grant_full(run: _Run, free: int, ports: BankPorts) -> int:
    """Accesses that start and bytes that move, the first class first; ports that are left."""
    link, channels = run.machine.dram, run.machine.channels
    if link is None:
        return free
    active = [state for state in _distinct(run) if state.active]
    pending = any(state.to_start for state in active if not state.later)
    for own in active:
        if own.command.kind is CommandKind.COMPUTE:
            left = link.outstanding - own.flying
            own.starts = min(link.requests_per_cycle * own.budget, len(own.to_start), left)
            if own.accesses_left == 0:
                own.cause = Cause.DRAM
    for later in (False, True):
        for direction in (Engine.DMA_IN, Engine.DMA_OUT):
            turns = [
                run.running.get((direction, (run.now + i) % channels)) for i in range(channels)
            ]
            for state in turns:
                if state is None or not state.active or state.later != later:
                    continue
                beside = [s for (queue, _), s in run.running.items() if queue == direction]
                blocked = later and pending
                if not blocked:
                    state.starts = _starts(state, beside, link)
                if not state.starts:
                    waits = blocked and state.to_start
                    state.cause = Cause.PRIORITY if waits else Cause.DRAM
                free -= _grant_port(state, beside, run.machine, link, free, ports)
    return free


def _starts(state: _Running, beside: list[_Running], link: DramLink) -> int:
    """Accesses that a transfer starts beside what others of its direction do."""
    started = sum(other.starts for other in beside)
    flying = sum(other.flying for other in beside)
    limits = [
        link.requests_per_cycle * state.own - started,
        link.requests_per_cycle * state.budget,
        len(state.to_start),
        link.outstanding - flying - started,
    ]
    if state.command.kind is CommandKind.STORE:
        limits.append(state.staged // link.spec.organisation.access_bytes)
    return min(limits)


def _grant_port(
    state: _Running,
    beside: list[_Running],
    machine: Machine,
    link: DramLink,
    free: int,
    ports: BankPorts,
) -> int:
    """What a transfer moves through its direction's port; the ports of spread banks it takes."""
    left = link.port_bytes * state.own - sum(other.port for other in beside)
    left = min(left, link.port_bytes * state.budget)
    if state.command.kind is CommandKind.STORE:
        ready = link.requests_per_cycle * state.own * link.spec.organisation.access_bytes
        wanted = 0 if state.staged >= ready else min(state.unfetched, left)
    else:
        wanted = min(state.inbox, left)
    if not wanted:
        return 0
    width = machine.bank_width_bytes
    taken = 0
    if machine.interleaved:
        state.port = _take_words(state, wanted, 1, width, ports)
    else:
        taken = min(free, ceil(Fraction(wanted, width)))
        state.port = min(wanted, taken * width)
    state.cause = Cause.BANK if state.port < wanted else Cause.BUSY
    return taken


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
        if state.budget
    ]
    for i, state in enumerate(asking):
        rate = state.command.bank_rate * state.budget
        later = sum(other.command.bank_rate * other.budget for other in asking[i + 1 :])
        state.accesses = min(rate, max(free - later, -(-free // (len(asking) - i))))
        free -= state.accesses
        if state.accesses < rate:
            state.cause = Cause.BANK


def _grant_walks(run: _Run, ports: BankPorts) -> None:
    """Computations take their words from interleaved banks, a different one first each cycle."""
    units = len(run.queues) - Engine.ARRAY
    for turn in range(units):
        number = Engine.ARRAY + (run.now + turn) % units
        state = run.running.get((number, 0))
        if state is None or state.command.queues[0] != number:
            continue
        if state.active:
            _walk(state, ports)


def _walk(state: _Running, ports: BankPorts) -> None:
    """As many cycles of a computation as its clock has and its banks allow."""
    wanted = min(state.budget, state.accesses_left)
    while state.accesses < wanted:
        taken = [walk.take(ports) for walk in state.walks]
        if not all(taken):
            state.cause = Cause.BANK
            return
        state.accesses += 1
        for walk in state.walks:
            walk.next_cycle()


def _progress(run: _Run, state: _Running) -> None:
    if state.owed:
        # Nothing was granted that there was no time for.
        state.owed = max(0, state.owed - state.own)
        state.setup_left = min(state.setup_left, state.owed)
    elif state.delay_left:
        state.setup_left = max(0, state.setup_left - 1)
        state.delay_left -= 1
        return
    state.moved += state.port
    if run.dram is not None:
        _progress_dram(run.dram, state, run)
    state.units_left = max(0, state.units_left - state.units)
    state.accesses_left = max(0, state.accesses_left - state.accesses)


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
