"""The DRAM model of ``stowplan.simulator.dram`` stepped clock by clock in plain Python.

Slow and plain on purpose: it is what the Numba kernel is tested against. It looks at every clock,
searches its queues from the front, and asks of every command when each earlier one it has to keep
away from was issued.
"""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from stowplan.simulator import dram_kernels as kernels
from stowplan.simulator.dram import DramCounts, DramRun, Requests, end_clock, split_requests
from stowplan.simulator.dram_rules import rules_of
from stowplan.targets.dram_presets import DramSpec

ACT, PRE, READ, WRITE, REF = range(5)
LONG_AGO = -(1 << 40)


@dataclass(slots=True, eq=False)
class Request:
    """One request; ``index`` is its position in the caller's order."""

    index: int
    block: int
    bank: int
    row: int
    write: bool
    arrival: int
    accept: int = -1
    issue: int = -1
    complete: int = -1
    same: list["Request"] = field(default_factory=list)


@dataclass(slots=True)
class Bank:
    """State of one bank."""

    number: int
    group: int
    rank: int
    row: int = -1
    hits: int = 0
    reopened: bool = False
    queue: list[Request] = field(default_factory=list)


class Channel:
    """One channel's controller, stepped clock by clock."""

    def __init__(self, rules: kernels.Rules, requests: list[Request]) -> None:
        self.rules = rules
        self.offered = requests
        self.closed = True
        self.reads: list[Request] = []
        self.writes: list[Request] = []
        self.draining = 0
        per_group, per_rank = rules.banks // rules.groups, rules.banks // rules.ranks
        self.banks = [Bank(b, b // per_group, b // per_rank) for b in range(rules.banks)]
        self.last_served = 0
        self.owed: list[int] = []
        self.refreshes_due = 0
        self.latest: dict[tuple[str, int, int], int] = defaultdict(lambda: LONG_AGO)
        self.activates: list[list[int]] = [[] for _ in range(rules.ranks)]
        self.counts = [0] * kernels.COUNTERS
        self.commands: list[tuple[int, int, int, int]] = []

    def busy(self) -> bool:
        """Whether anything is left to do."""
        return bool(self.offered or self.reads or self.writes or self.queued())

    def queued(self) -> int:
        """Requests in bank queues."""
        return sum(len(bank.queue) for bank in self.banks)

    def step(self, clock: int) -> None:
        """One clock."""
        self.accept(clock)
        if clock > 0 and clock % self.rules.ref_interval == 0:
            self.owed.append(self.refreshes_due % self.rules.ranks)
            self.refreshes_due += 1
        if not (self.owed and self.refresh(clock)):
            self.serve_queues(clock)
        self.schedule()
        for rank in range(self.rules.ranks):
            self.counts[kernels.OPEN_CLOCKS] += any(
                bank.row >= 0 for bank in self.banks if bank.rank == rank
            )

    def waiting(self, block: int, write: bool) -> Request | None:
        """The queued read or write of a block."""
        queues = [self.reads, self.writes, *(bank.queue for bank in self.banks)]
        found = [r for queue in queues for r in queue if r.block == block and r.write == write]
        return found[0] if found else None

    def accept(self, clock: int) -> None:
        """Rule 1 of the model."""
        if not self.offered or self.offered[0].arrival > clock:
            return
        request = self.offered[0]
        queue = self.writes if request.write else self.reads
        if len(queue) >= (self.rules.write_queue if request.write else self.rules.read_queue):
            return
        self.offered.pop(0)
        request.accept = clock
        written = self.waiting(request.block, True)
        if request.write:
            request.complete = clock + 1
            if written is not None:
                self.counts[kernels.MERGED] += 1
            else:
                queue.append(request)
        elif written is not None:
            request.complete = clock + 1
            self.counts[kernels.FORWARDED] += 1
        elif (older := self.waiting(request.block, False)) is not None:
            older.same.append(request)
            self.counts[kernels.MERGED] += 1
        else:
            queue.append(request)

    def refresh(self, clock: int) -> bool:
        """Rule 2: one command of the oldest refresh owed, if one is ready."""
        rank = self.owed[0]
        own = [bank for bank in self.banks if bank.rank == rank]
        for bank in own:
            if bank.row >= 0 and self.may(PRE, bank, clock):
                self.issue(PRE, bank, clock)
                bank.reopened = False
                return True
        if all(bank.row < 0 and self.may(REF, bank, clock) for bank in own):
            self.issue(REF, own[0], clock)
            self.owed.pop(0)
            return True
        return False

    def serve_queues(self, clock: int) -> None:
        """Rule 3: the first bank in turn with a ready command."""
        count = len(self.banks)
        for turn in range(1, count + 1):
            bank = self.banks[(self.last_served + turn) % count]
            if self.owed and bank.rank == self.owed[0]:
                continue
            for request in bank.queue:
                command = self.wanted(bank, request)
                if command is not None and self.may(command, bank, clock):
                    self.last_served = bank.number
                    self.serve(command, bank, request, clock)
                    return

    def wanted(self, bank: Bank, request: Request) -> int | None:
        """The command that brings a queued request on, if policy lets it have one."""
        if bank.row < 0:
            return ACT
        if request.row == bank.row:
            return WRITE if request.write else READ
        hits = any(other.row == bank.row for other in bank.queue)
        oldest = request is bank.queue[0]
        return PRE if oldest and (not hits or bank.hits >= self.rules.row_hit_limit) else None

    def serve(self, command: int, bank: Bank, request: Request, clock: int) -> None:
        """Issue a command on behalf of a request."""
        if command in (READ, WRITE):
            bank.queue.remove(request)
            request.issue = clock
            kind = kernels.HIT if bank.hits else kernels.CONFLICT if bank.reopened else kernels.MISS
            self.counts[kind] += 1
            bank.hits += 1
            bank.reopened = False
            if command == READ:
                for served in (request, *request.same):
                    served.complete = clock + self.rules.read_latency
        self.issue(command, bank, clock, request)
        if command == PRE:
            bank.reopened = True

    def schedule(self) -> None:
        """Rule 4: one request to its bank queue."""
        if self.draining == 0 and self.writes:
            last = self.closed and not self.offered and not self.reads
            above = 0 if last else self.rules.drain_above
            idle = self.queued() == 0 and len(self.writes) > above
            if len(self.writes) >= self.rules.write_queue or idle:
                self.draining = len(self.writes)
        if self.draining:
            write = self.movable(self.writes)
            if write is None:
                return
            if self.waiting(write.block, False) is None:
                self.draining -= 1
                self.move(self.writes, write)
                return
            self.draining = 0
        read = self.movable(self.reads)
        if read is not None:
            self.move(self.reads, read)

    def movable(self, queue: list[Request]) -> Request | None:
        """The oldest request whose bank queue has room."""
        room = self.rules.bank_queue
        return next((r for r in queue if len(self.banks[r.bank].queue) < room), None)

    def move(self, queue: list[Request], request: Request) -> None:
        """From the read or write queue to the bank's."""
        queue.remove(request)
        self.banks[request.bank].queue.append(request)

    def issue(self, command: int, bank: Bank, clock: int, request: Request | None = None) -> None:
        """Put a command on the bus and change the bank's state."""
        detail = -1
        if command == ACT and request is not None:
            bank.row, bank.hits, detail = request.row, 0, request.row
            self.activates[bank.rank].append(clock)
        elif command == PRE:
            bank.row = -1
        elif request is not None:
            detail = request.index
        self.counts[command] += 1
        self.commands.append((clock, command, bank.number, detail))
        for scope, number in (("bank", bank.number), ("group", bank.group), ("rank", bank.rank)):
            self.latest[scope, number, command] = clock

    def may(self, command: int, bank: Bank, clock: int) -> bool:
        """Whether every distance to earlier commands is kept."""
        return all(earlier + gap <= clock for earlier, gap in self.distances(command, bank))

    def distances(self, command: int, bank: Bank) -> list[tuple[int, int]]:
        """(clock of an earlier command, least distance to ``command``) of each rule."""
        rules = self.rules

        def own(before: int) -> int:
            return self.latest["bank", bank.number, before]

        def group(before: int) -> int:
            return self.latest["group", bank.group, before]

        def rank(before: int) -> int:
            return self.latest["rank", bank.rank, before]

        def others(before: int) -> int:
            ranks = (r for r in range(rules.ranks) if r != bank.rank)
            return max((self.latest["rank", r, before] for r in ranks), default=LONG_AGO)

        if command == ACT:
            fourth = self.activates[bank.rank][-4:]
            return [
                (own(ACT), rules.act_act),
                (group(ACT), rules.act_act_group),
                (rank(ACT), rules.act_act_rank),
                (fourth[0] if len(fourth) == 4 else LONG_AGO, rules.act_window),
                (own(PRE), rules.pre_act),
                (rank(REF), rules.ref_act),
            ]
        if command == PRE:
            return [
                (own(ACT), rules.act_pre),
                (own(READ), rules.read_pre),
                (own(WRITE), rules.write_pre),
                (rank(PRE), rules.pre_pre),
            ]
        if command == REF:
            return [
                (rank(ACT), rules.act_act),
                (rank(PRE), rules.pre_act),
                (rank(REF), rules.ref_ref),
            ]
        if command == READ:
            return [
                (own(ACT), rules.act_column),
                (group(READ), rules.read_read_group),
                (rank(READ), rules.read_read_rank),
                (others(READ), rules.read_read_other),
                (group(WRITE), rules.write_read_group),
                (rank(WRITE), rules.write_read_rank),
                (others(WRITE), rules.write_read_other),
            ]
        return [
            (own(ACT), rules.act_column),
            (rank(READ), rules.read_write),
            (others(READ), rules.read_write),
            (group(WRITE), rules.write_write_group),
            (rank(WRITE), rules.write_write_rank),
            (others(WRITE), rules.write_write_other),
        ]


def step_through(
    spec: DramSpec,
    addresses: list[int],
    writes: list[bool],
    arrivals: list[int] | None = None,
) -> DramRun:
    """What ``stowplan.simulator.dram.simulate_requests`` gives with ``log``, clock by clock."""
    split = split_requests(spec, addresses, writes, arrivals)
    rules = rules_of(spec)
    channels = []
    requests: list[Request] = []
    clocks = []
    for c in range(len(split.counts)):
        own = _requests(split, c)
        requests += own
        channel = Channel(rules, list(own))
        clock = 0
        while channel.busy():
            channel.step(clock)
            clock += 1
        channels.append(channel)
        clocks.append(clock)
    return _gather(rules, channels, clocks, requests)


def _requests(split: Requests, channel: int) -> list[Request]:
    count = int(split.counts[channel])
    rows = split.fields[:, channel, :count].T.tolist()
    return [
        Request(int(split.index[channel, i]), block, bank, row, bool(write), arrival)
        for i, (block, bank, row, write, arrival) in enumerate(rows)
    ]


def _gather(
    rules: kernels.Rules, channels: list[Channel], clocks: list[int], requests: list[Request]
) -> DramRun:
    requests.sort(key=lambda request: request.index)
    accept, issue, complete, write = (
        np.array([getattr(request, name) for request in requests], dtype=np.int64)
        for name in ("accept", "issue", "complete", "write")
    )
    end = end_clock(complete, issue, write, rules)
    totals = np.sum([channel.counts for channel in channels], axis=0)
    for channel, clock in zip(channels, clocks, strict=True):
        ranks_open = {bank.rank for bank in channel.banks if bank.row >= 0}
        totals[kernels.OPEN_CLOCKS] += len(ranks_open) * (end - clock)
    commands = [(c, *entry) for c, channel in enumerate(channels) for entry in channel.commands]
    return DramRun(
        accept,
        issue,
        complete,
        end,
        DramCounts(*totals.tolist()),
        np.array(commands, dtype=np.int64).reshape(-1, 5),
    )
