"""Streaming networks stepped edge by edge in plain Python: slow, obvious, the oracle of tests."""

from dataclasses import dataclass, field

from stowplan.simulator.streaming_network import (
    Fifo,
    Network,
    Process,
    grid_of,
    pattern_at,
)
from stowplan.simulator.streaming_result import (
    FifoActivity,
    ProcessActivity,
    StreamResult,
    Wait,
    find_deadlock,
)


@dataclass(slots=True)
class _Queue:
    """A FIFO; mutable. What is on its way is a list of (instant it is seen, amount)."""

    fifo: Fifo
    tokens: int
    free: int
    tokens_coming: list[tuple[int, int]] = field(default_factory=list)
    slots_coming: list[tuple[int, int]] = field(default_factory=list)
    peak_tokens: int = 0
    peak_slots: int = 0
    empty_cycles: int = 0
    full_cycles: int = 0

    def arrive(self, now: int) -> None:
        """Let everything due by ``now`` be seen."""
        self.tokens += sum(amount for due, amount in self.tokens_coming if due <= now)
        self.free += sum(amount for due, amount in self.slots_coming if due <= now)
        self.tokens_coming = [item for item in self.tokens_coming if item[0] > now]
        self.slots_coming = [item for item in self.slots_coming if item[0] > now]
        self.peak_tokens = max(self.peak_tokens, self.tokens)

    @property
    def moving(self) -> bool:
        return bool(self.tokens_coming or self.slots_coming)


@dataclass(slots=True)
class _Actor:
    """A process; mutable. ``stalls`` are those since its last firing: (instant, queue, full)."""

    process: Process
    period: int
    done: int = 0
    ready: int = 0
    busy_cycles: int = 0
    empty_cycles: int = 0
    full_cycles: int = 0
    first: int = -1
    last: int = -1
    stalls: list[tuple[int, _Queue, bool]] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return self.done == self.process.firings

    def charge(self, until: int) -> None:
        """Count the stalls before ``until``."""
        for instant, queue, full in self.stalls:
            if instant < until and full:
                self.full_cycles += 1
                queue.full_cycles += 1
            elif instant < until:
                self.empty_cycles += 1
                queue.empty_cycles += 1
        self.stalls = []


def step_through(network: Network) -> StreamResult:
    """Run ``network`` one clock edge after another."""
    network.verify()
    grid = grid_of(network.clocks)
    queues = {
        fifo.name: _Queue(fifo, fifo.initial_tokens, fifo.depth - fifo.initial_tokens)
        for fifo in network.fifos
    }
    actors = {p.name: _Actor(p, grid.period_ticks[p.clock]) for p in network.processes}
    for queue in queues.values():
        queue.peak_slots = queue.fifo.initial_tokens
    readers = {name: actors[process.name] for name, (process, _) in network.readers().items()}
    writers = {name: actors[process.name] for name, (process, _) in network.writers().items()}
    now = 0
    while not all(actor.finished for actor in actors.values()):
        for queue in queues.values():
            queue.arrive(now)
        at_edge = [a for a in actors.values() if not a.finished and now % a.period == 0]
        firing = []
        for actor in at_edge:
            wait = _first_wait(actor, queues)
            if now < actor.ready:
                continue
            if wait is None:
                firing.append(actor)
            else:
                actor.stalls.append((now, queues[wait[0]], wait[1]))
        for actor in firing:
            _fire(actor, now, queues, readers, writers)
        if _stands_still(actors, queues, now):
            break
        now = min((now // period + 1) * period for period in grid.period_ticks.values())
    return _result(network, queues, actors)


def _first_wait(actor: _Actor, queues: dict[str, _Queue]) -> tuple[str, bool, int] | None:
    """Name of the first FIFO that prevents a firing, whether it is full, and the tokens needed."""
    for rate in actor.process.takes:
        needs = pattern_at(rate.tokens, actor.done)
        if queues[rate.fifo].tokens < needs:
            return rate.fifo, False, needs
    for rate in actor.process.gives:
        needs = pattern_at(rate.tokens, actor.done)
        if queues[rate.fifo].free < needs:
            return rate.fifo, True, needs
    return None


def _fire(
    actor: _Actor,
    now: int,
    queues: dict[str, _Queue],
    readers: dict[str, _Actor],
    writers: dict[str, _Actor],
) -> None:
    process = actor.process
    for rate in process.takes:
        queue, amount = queues[rate.fifo], pattern_at(rate.tokens, actor.done)
        queue.tokens -= amount
        freed = now + process.release_cycles * actor.period
        seen = _seen(freed, queue.fifo.sync_cycles, writers[rate.fifo].period)
        queue.slots_coming.append((seen, amount))
    for rate in process.gives:
        queue, amount = queues[rate.fifo], pattern_at(rate.tokens, actor.done)
        queue.free -= amount
        queue.peak_slots = max(queue.peak_slots, queue.fifo.depth - queue.free)
        written = now + process.latency_cycles * actor.period
        seen = _seen(written, queue.fifo.sync_cycles, readers[rate.fifo].period)
        queue.tokens_coming.append((seen, amount))
    interval = pattern_at(process.interval_cycles, actor.done)
    actor.charge(now)
    actor.done += 1
    actor.busy_cycles += interval
    actor.ready = now + interval * actor.period
    actor.first = now if actor.first < 0 else actor.first
    actor.last = now


def _seen(instant: int, sync_cycles: int, period: int) -> int:
    """When a change at ``instant`` is seen by a clock of ``period`` ticks."""
    return (-(-instant // period) + sync_cycles) * period


def _stands_still(actors: dict[str, _Actor], queues: dict[str, _Queue], now: int) -> bool:
    if now < _end(actors) or any(queue.moving for queue in queues.values()):
        return False
    waiting = [actor for actor in actors.values() if not actor.finished]
    return all(
        actor.ready <= now and _first_wait(actor, queues) is not None for actor in waiting
    ) and bool(waiting)


def _end(actors: dict[str, _Actor]) -> int:
    fired = [actor for actor in actors.values() if actor.last >= 0]
    return max((a.last + a.process.latency_cycles * a.period for a in fired), default=0)


def _result(network: Network, queues: dict[str, _Queue], actors: dict[str, _Actor]) -> StreamResult:
    grid = grid_of(network.clocks)
    end = _end(actors)
    for actor in actors.values():
        actor.charge(end)
    for queue in queues.values():
        everything = max((due for due, _ in queue.tokens_coming), default=0)
        queue.arrive(everything)
    stuck = not all(actor.finished for actor in actors.values())
    return StreamResult(
        end,
        grid.tick,
        tuple(grid.period_ticks.items()),
        tuple(
            ProcessActivity(
                *(name, a.done, a.busy_cycles, a.empty_cycles, a.full_cycles, a.first, a.last)
            )
            for name, a in actors.items()
        ),
        tuple(
            FifoActivity(name, q.peak_tokens, q.peak_slots, q.empty_cycles, q.full_cycles)
            for name, q in queues.items()
        ),
        find_deadlock(_waits(network, queues, actors), tuple(actors)) if stuck else None,
    )


def _waits(
    network: Network, queues: dict[str, _Queue], actors: dict[str, _Actor]
) -> dict[str, Wait]:
    readers, writers = network.readers(), network.writers()
    waits = {}
    for name, actor in actors.items():
        found = None if actor.finished else _first_wait(actor, queues)
        if found is not None:
            fifo, full, needs = found
            queue = queues[fifo]
            other = (readers if full else writers)[fifo][0].name
            has = queue.free if full else queue.tokens
            waits[name] = Wait(name, fifo, full, has, needs, queue.fifo.depth, other)
    return waits
