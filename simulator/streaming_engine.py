"""Boundary of the Numba kernel of streaming networks: networks to arrays, arrays to results."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from stowplan.errors import ModelError
from stowplan.simulator import streaming_kernels as kernels
from stowplan.simulator.streaming_network import (
    Fifo,
    Network,
    Pattern,
    Process,
    grid_of,
    pattern_length,
    pattern_of,
)
from stowplan.simulator.streaming_result import (
    FifoActivity,
    ProcessActivity,
    StreamResult,
    Wait,
    find_deadlock,
)

_LONGEST = 1 << 58
"""Bound of a single interval or delay in ticks."""
_MOST_RUNS = 1 << 20


@dataclass(frozen=True, slots=True)
class Effort:
    """What a run cost.

    Attributes:
        firings: firings simulated one by one; all others were part of jumps.
        jumps: jumps over whole periods.
    """

    firings: int
    jumps: int


@dataclass(frozen=True, slots=True)
class _Run:
    """Consecutive firings of a process with the same interval and rates."""

    firings: int
    interval: int
    rates: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Port:
    """One end of a FIFO: the reader's or the writer's."""

    fifo: Fifo
    owner: int
    is_output: bool


def simulate(network: Network) -> StreamResult:
    """Run ``network`` to its end or to a deadlock.

    The time this takes grows with the firings before a steady state is found, not with cycles.

    Raises:
        ModelError: the network is malformed, or lasts longer than 64-bit time.
    """
    return simulate_with_effort(network)[0]


def simulate_with_effort(network: Network) -> tuple[StreamResult, Effort]:
    """As :func:`simulate`, and how much of it was simulated firing by firing."""
    network.verify()
    ports = _ports(network)
    wiring = _wiring(network, ports)
    state = _state(network, wiring, ports)
    outcome = kernels.run(wiring, state, _anchors(wiring))
    if outcome == kernels.TOO_LATE:
        raise ModelError(
            f"the network runs for more than {kernels.LATEST:,} ticks of its clocks' common grid; "
            "use fewer firings or simpler clock ratios"
        )
    effort = Effort(int(state.scalar[kernels.FIRINGS]), int(state.scalar[kernels.JUMPS]))
    return _result(network, wiring, state, ports, outcome == kernels.DEADLOCK), effort


def _ports(network: Network) -> tuple[_Port, ...]:
    fifos = {fifo.name: fifo for fifo in network.fifos}
    found = []
    for owner, process in enumerate(network.processes):
        found += [_Port(fifos[rate.fifo], owner, False) for rate in process.takes]
        found += [_Port(fifos[rate.fifo], owner, True) for rate in process.gives]
    return tuple(found)


def _runs(process: Process) -> tuple[_Run, ...]:
    """The patterns of a process laid side by side."""
    patterns = [pattern_of(process.interval_cycles)]
    patterns += [pattern_of(rate.tokens) for rate in (*process.takes, *process.gives)]
    # A pattern longer than all firings never starts again.
    length = max(1, min(process.cycle_firings, process.firings))
    unrolled_runs = sum(-(-length // pattern_length(p)) * len(p) for p in patterns if len(p) > 1)
    if unrolled_runs > _MOST_RUNS:
        raise ModelError(
            f"process '{process.name}': its patterns together repeat only after {length:,} "
            "firings; give them lengths that divide each other"
        )
    unrolled = [_unrolled(pattern, length) for pattern in patterns]
    place = [0] * len(unrolled)
    runs: list[_Run] = []
    begin = 0
    for end in sorted({stop for each in unrolled for stop, _ in each}):
        values = [each[i][1] for each, i in zip(unrolled, place, strict=True)]
        run = _Run(end - begin, values[0], tuple(values[1:]))
        if runs and (runs[-1].interval, runs[-1].rates) == (run.interval, run.rates):
            run = replace(run, firings=run.firings + runs.pop().firings)
        runs.append(run)
        begin = end
        place = [i + (each[i][0] == end) for each, i in zip(unrolled, place, strict=True)]
    return tuple(runs) if len(runs) > 1 else (replace(runs[0], firings=1),)


def _unrolled(pattern: Pattern, length: int) -> list[tuple[int, int]]:
    """End and value of each run within ``length`` firings."""
    if len(pattern) == 1:
        return [(length, pattern[0][1])]
    runs = pattern * -(-length // pattern_length(pattern))
    ends = accumulate(repeats for repeats, _ in runs)
    inside = [(end, value) for end, (_, value) in zip(ends, runs, strict=True)]
    stop = next(i for i, (end, _) in enumerate(inside) if end >= length)
    return [*inside[:stop], (length, inside[stop][1])]


def _integers(values: Iterable[int]) -> kernels.Ints:
    return np.fromiter(values, dtype=np.int64)


def _wiring(network: Network, ports: tuple[_Port, ...]) -> kernels.Wiring:
    processes = network.processes
    periods = grid_of(network.clocks).period_ticks
    period = [periods[process.clock] for process in processes]
    runs = [_runs(process) for process in processes]
    flat = [run for each in runs for run in each]
    places = {(port.fifo.name, port.is_output): s for s, port in enumerate(ports)}
    delay = [
        period[port.owner]
        * (
            processes[port.owner].latency_cycles
            if port.is_output
            else processes[port.owner].release_cycles
        )
        for port in ports
    ]
    partner = [places[port.fifo.name, not port.is_output] for port in ports]
    sync = [port.fifo.sync_cycles * period[port.owner] for port in ports]
    _check_lengths(network, period, runs, sync)
    rings = []
    for s, port in enumerate(ports):
        sender = ports[partner[s]].owner
        transit = delay[partner[s]] + period[port.owner] + sync[s]
        fastest = min(run.interval for run in runs[sender]) * period[sender]
        rings.append(min(port.fifo.depth, transit // fastest + 2))
    return kernels.Wiring(
        period=_integers(period),
        firings=_integers(process.firings for process in processes),
        port_begin=_begins(len(p.takes) + len(p.gives) for p in processes),
        run_begin=_begins(map(len, runs)),
        run_firings=_integers(run.firings for run in flat),
        interval=_integers(run.interval for run in flat),
        rate_begin=_begins(len(run.rates) for run in flat)[:-1].copy(),
        rates=_integers(rate for run in flat for rate in run.rates),
        owner=_integers(port.owner for port in ports),
        partner=_integers(partner),
        delay=_integers(delay),
        sync=_integers(sync),
        is_output=_integers(int(port.is_output) for port in ports),
        ring_begin=_begins(rings),
        leaves=_integers([1 << max(0, len(processes) - 1).bit_length()]),
    )


def _begins(lengths: Iterable[int]) -> kernels.Ints:
    return _integers([0, *accumulate(lengths)])


def _check_lengths(
    network: Network, period: list[int], runs: list[tuple[_Run, ...]], sync: list[int]
) -> None:
    for process, ticks, own in zip(network.processes, period, runs, strict=True):
        cycles = [run.interval for run in own] + [process.latency_cycles, process.release_cycles]
        if max(cycles) * ticks > _LONGEST:
            raise ModelError(
                f"process '{process.name}': {max(cycles):,} cycles are too long, its clock having "
                f"{ticks:,} ticks of the common grid per cycle; at most {_LONGEST:,} ticks"
            )
    for ticks in sync:
        if ticks > _LONGEST:
            raise ModelError(f"sync_cycles of a fifo exceed {_LONGEST:,} ticks; use fewer")


def _state(network: Network, wiring: kernels.Wiring, ports: tuple[_Port, ...]) -> kernels.State:
    processes, sides = len(network.processes), len(ports)
    entries = int(wiring.ring_begin[-1])
    leaves = int(wiring.leaves[0])
    first_run = wiring.run_begin[:-1]
    done = wiring.firings == 0
    return kernels.State(
        scalar=np.zeros(kernels.SCALARS, dtype=np.int64),
        tree=np.full(2 * leaves, kernels.NEVER, dtype=np.int64),
        ready=np.zeros(processes, dtype=np.int64),
        run=np.where(done, -1, first_run),
        left=wiring.run_firings[first_run],
        todo=wiring.firings.copy(),
        busy=np.zeros(processes, dtype=np.int64),
        first=np.full(processes, -1, dtype=np.int64),
        last=np.full(processes, -1, dtype=np.int64),
        held=_integers(
            port.fifo.depth - port.fifo.initial_tokens
            if port.is_output
            else port.fifo.initial_tokens
            for port in ports
        ),
        met=np.zeros(sides, dtype=np.int64),
        head=np.zeros(sides, dtype=np.int64),
        length=np.zeros(sides, dtype=np.int64),
        stall=np.zeros(sides, dtype=np.int64),
        peak=_integers(
            port.fifo.initial_tokens - port.fifo.depth if port.is_output else 0 for port in ports
        ),
        due=np.zeros(entries, dtype=np.int64),
        units=np.zeros(entries, dtype=np.int64),
    )


def _anchors(wiring: kernels.Wiring) -> kernels.Anchors:
    def table(columns: int) -> kernels.Ints:
        return np.zeros((kernels.LEVELS, columns), dtype=np.int64)

    processes, sides = len(wiring.period), len(wiring.owner)
    entries = int(wiring.ring_begin[-1])
    of_processes = ("ready", "run", "left", "todo", "busy", "crossed")
    of_ports = ("held", "met", "length", "stall", "margin", "waited", "peak")
    return kernels.Anchors(
        scalar=table(kernels.LEVEL_SCALARS),
        due=table(entries),
        units=table(entries),
        **{name: table(processes) for name in of_processes},
        **{name: table(sides) for name in of_ports},
    )


def _result(
    network: Network,
    wiring: kernels.Wiring,
    state: kernels.State,
    ports: tuple[_Port, ...],
    stuck: bool,
) -> StreamResult:
    processes = network.processes
    latency = _integers(process.latency_cycles for process in processes)
    ends = np.where(state.last < 0, 0, state.last + latency * wiring.period)
    end = int(ends.max(initial=0))
    kernels.settle(wiring, state, end)
    kernels.arrive_all(wiring, state)
    grid = grid_of(network.clocks)
    return StreamResult(
        end,
        grid.tick,
        tuple(grid.period_ticks.items()),
        tuple(_activity(process, p, wiring, state) for p, process in enumerate(processes)),
        _fifo_activities(network, state, ports),
        find_deadlock(_waits(network, wiring, state, ports), tuple(p.name for p in processes))
        if stuck
        else None,
    )


def _activity(
    process: Process, p: int, wiring: kernels.Wiring, state: kernels.State
) -> ProcessActivity:
    begin, end = int(wiring.port_begin[p]), int(wiring.port_begin[p + 1])
    middle = begin + len(process.takes)
    return ProcessActivity(
        process.name,
        process.firings - int(state.todo[p]),
        int(state.busy[p]),
        int(state.stall[begin:middle].sum()),
        int(state.stall[middle:end].sum()),
        int(state.first[p]),
        int(state.last[p]),
    )


def _fifo_activities(
    network: Network, state: kernels.State, ports: tuple[_Port, ...]
) -> tuple[FifoActivity, ...]:
    places = {(port.fifo.name, port.is_output): s for s, port in enumerate(ports)}
    found = []
    for fifo in network.fifos:
        reader, writer = places[fifo.name, False], places[fifo.name, True]
        found.append(
            FifoActivity(
                fifo.name,
                max(int(state.peak[reader]), int(state.held[reader])),
                fifo.depth + int(state.peak[writer]),
                int(state.stall[reader]),
                int(state.stall[writer]),
            )
        )
    return tuple(found)


def _waits(
    network: Network, wiring: kernels.Wiring, state: kernels.State, ports: tuple[_Port, ...]
) -> dict[str, Wait]:
    waits: dict[str, Wait] = {}
    for s, port in enumerate(ports):
        process = network.processes[port.owner]
        if state.met[s] != kernels.NEVER or process.name in waits:
            continue
        rates = int(wiring.rate_begin[state.run[port.owner]])
        needs = int(wiring.rates[rates + s - int(wiring.port_begin[port.owner])])
        other = network.processes[ports[int(wiring.partner[s])].owner]
        waits[process.name] = Wait(
            process.name,
            port.fifo.name,
            port.is_output,
            int(state.held[s]),
            needs,
            port.fifo.depth,
            other.name,
        )
    return waits
