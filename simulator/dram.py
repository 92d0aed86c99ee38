"""Cycle-accurate DRAM: the model, and the boundary of its Numba kernel.

Every channel has its own controller; all work on one command clock. In each clock, in this order:

1. *Accept.* The channel's oldest request not yet taken is accepted if it has arrived and the read
   or the write queue has room; one per clock. A write is acknowledged one clock later. A write to a
   block that already waits to be written replaces it; a read of such a block gets its data one
   clock later; a read of a block that waits to be read is served with it.
2. *Refresh falls due.* Every ``refi / ranks`` clocks the next rank in turn owes a refresh. Its bank
   queues stop; its banks are closed, lowest first, each as soon as it may be, then it is refreshed.
3. *Command.* One per clock: the pending refresh's if one is ready, else that of the first bank
   queue, in turn after the last one served, that has a ready one. Within a bank queue requests are
   tried oldest first: a closed bank is opened for the oldest; a request for the open row is read or
   written; the row is closed for the oldest request alone, once no other wants the open row or the
   row has served ``row_hit_limit`` of them. A read's data are complete ``cl + burst`` clocks later.
4. *Schedule.* The oldest waiting read whose bank queue has room moves there; one per clock. Writes
   move instead while a drain lasts: it starts when the write queue is full, or holds more than
   ``drain_above`` with every bank queue empty, and takes as many as were there then. A write never
   overtakes a read of its block. After the last request of a run the rest is drained.

Policies follow DRAMsim3 (Li et al., DRAMsim3: A Cycle-Accurate, Thermal-Capable DRAM Simulator,
IEEE Computer Architecture Letters 19(2), 2020); ``docs/validation.md`` compares with its results.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stowplan.errors import UsageError
from stowplan.simulator import dram_kernels as kernels
from stowplan.simulator.dram_address import AddressMap, address_map
from stowplan.simulator.dram_rules import rules_of
from stowplan.targets.dram_presets import DramSpec

Ints = NDArray[np.int64]

_LONG_AGO = -(1 << 40)


@dataclass(frozen=True, slots=True)
class DramCounts:
    """Events of all channels together.

    Attributes:
        activates: ACT commands.
        precharges: PRE commands.
        reads: RD commands.
        writes: WR commands.
        refreshes: REF commands.
        row_hits: column commands to a row that had served one since it was opened.
        row_misses: column commands that found their bank closed.
        row_conflicts: column commands for which another row was closed.
        merged: requests served by another one's command.
        forwarded: reads served by a waiting write.
        open_clocks: clocks, summed over ranks, with at least one bank open.
    """

    activates: int
    precharges: int
    reads: int
    writes: int
    refreshes: int
    row_hits: int
    row_misses: int
    row_conflicts: int
    merged: int
    forwarded: int
    open_clocks: int


@dataclass(frozen=True, slots=True)
class DramRun:
    """What became of N requests.

    Attributes:
        accept: clock each was accepted [N].
        issue: clock of its column command, -1 if another one's served it [N].
        complete: clock its data were there or it was acknowledged [N].
        clocks: clocks from the start until everything, writes in the queues too, was done.
        counts: events.
        commands: every command in order of channel, then clock: channel, clock, kind (0 ACT, 1 PRE,
            2 RD, 3 WR, 4 REF), bank within the channel (first of the rank for REF), and the row
            (ACT), the request (RD, WR) or -1 [L, 5]; empty unless asked for.
    """

    accept: Ints
    issue: Ints
    complete: Ints
    clocks: int
    counts: DramCounts
    commands: Ints


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests of a run split by channel; C channels, at most N requests each.

    Attributes:
        fields: block, bank within the channel, row, write and arrival clock of each [5, C, N].
        index: position in the caller's order, -1 where a channel has fewer [C, N].
        counts: requests of each channel [C].
    """

    fields: Ints
    index: Ints
    counts: Ints


def simulate_requests(
    spec: DramSpec,
    addresses: ArrayLike,
    writes: ArrayLike,
    arrivals: ArrayLike | None = None,
    log: bool = False,
) -> DramRun:
    """Serve requests of ``access_bytes`` each.

    Args:
        spec: device and controller.
        addresses: byte addresses [N].
        writes: whether each is a write [N].
        arrivals: first clock each may be accepted, never descending [N]; all 0 by default. The
            order within a channel is kept.
        log: return the commands too.

    Raises:
        UsageError: arrays of different lengths, negative addresses, descending arrivals.
    """
    requests = split_requests(spec, addresses, writes, arrivals)
    rules = rules_of(spec)
    capacity = 4 * requests.index.shape[1] + 4 * rules.banks if log else 0
    while True:
        stream, state = stream_of(requests), new_state(spec, capacity)
        state.scalar[:, kernels.COUNT] = requests.counts
        kernels.drain(rules, state, stream)
        logged = int(state.scalar[:, kernels.LOGGED].max())
        if not log or logged <= capacity:
            return _run(requests, stream, state, rules)
        capacity = logged


def split_requests(
    spec: DramSpec, addresses: ArrayLike, writes: ArrayLike, arrivals: ArrayLike | None
) -> Requests:
    """Decode addresses and sort requests by channel, keeping their order within each."""
    where = np.ascontiguousarray(addresses, dtype=np.int64)
    write = np.ascontiguousarray(writes, dtype=np.int64)
    when = np.zeros_like(where) if arrivals is None else np.asarray(arrivals, dtype=np.int64)
    if not where.shape == write.shape == when.shape or where.ndim != 1:
        raise UsageError("addresses, writes and arrivals must be lists of the same length")
    if (where < 0).any() or (when < 0).any() or (np.diff(when) < 0).any():
        raise UsageError("addresses and arrivals must not be negative, arrivals never descend")
    placed = address_map(spec)
    channel, bank, row = _place(spec, placed, where)
    counts = np.bincount(channel, minlength=spec.organisation.channels).astype(np.int64)
    index = np.full((len(counts), max(1, int(counts.max()))), -1, dtype=np.int64)
    fields = np.zeros((5, *index.shape), dtype=np.int64)
    block = (where // placed.access_bytes) % placed.blocks
    for c, count in enumerate(counts):
        own = np.flatnonzero(channel == c)
        index[c, :count] = own
        fields[:, c, :count] = [a[own] for a in (block, bank, row, write != 0, when)]
    return Requests(fields, index, counts)


def _place(spec: DramSpec, placed: AddressMap, addresses: Ints) -> tuple[Ints, Ints, Ints]:
    channel, rank, group, bank, row, _ = placed.decode(addresses)
    organisation = spec.organisation
    within = (rank * organisation.bank_groups + group) * organisation.banks_per_group + bank
    return channel, within, row


def stream_of(requests: Requests) -> kernels.Stream:
    """The kernel's arrays for these requests, nothing served yet."""
    block, bank, row, write, arrival = (np.ascontiguousarray(field) for field in requests.fields)
    unset = [np.full(block.shape, -1, dtype=np.int64) for _ in range(4)]
    return kernels.Stream(arrival, block, bank, row, write, *unset)


def empty_stream(spec: DramSpec, capacity: int) -> kernels.Stream:
    """A stream for ``capacity`` requests per channel, to be filled with ``kernels.push``."""
    shape = (spec.organisation.channels, capacity)
    zeros = [np.zeros(shape, dtype=np.int64) for _ in range(5)]
    unset = [np.full(shape, -1, dtype=np.int64) for _ in range(4)]
    return kernels.Stream(*zeros, *unset)


def pieces_of(spec: DramSpec) -> Ints:
    """The address map as ``kernels.decode`` takes it [P, 4]."""
    pieces = address_map(spec).pieces
    return np.array([(p.field, p.shift, p.bits, p.place) for p in pieces], dtype=np.int64)


def new_state(spec: DramSpec, log_capacity: int = 0, done_capacity: int = 0) -> kernels.State:
    """Controllers at clock 0: every bank closed, nothing queued."""
    rules = rules_of(spec)
    channels, banks = spec.organisation.channels, rules.banks
    reads, writes, queue = (
        kernels.SPARE * size for size in (rules.read_queue, rules.write_queue, rules.bank_queue)
    )

    def zeros(*shape: int) -> Ints:
        return np.zeros((channels, *shape), dtype=np.int64)

    scalar = zeros(kernels.SCALARS)
    scalar[:, kernels.REF_TICK] = rules.ref_interval
    scalar[:, [kernels.READ_FREED, kernels.WRITE_FREED]] = -1
    acts = zeros(rules.ranks, 5)
    acts[:, :, :4] = _LONG_AGO
    every = np.arange(banks, dtype=np.int64)
    groups = every // spec.organisation.banks_per_group
    return kernels.State(
        scalar=scalar,
        counters=zeros(kernels.COUNTERS),
        read_queue=zeros(reads),
        read_bank=zeros(reads),
        write_queue=zeros(writes),
        write_bank=zeros(writes),
        queue=zeros(banks, queue),
        queue_row=zeros(banks, queue),
        queue_write=zeros(banks, queue),
        head=zeros(banks),
        length=zeros(banks),
        active=zeros(banks),
        idle_to=zeros(banks),
        wants=zeros(banks),
        row=zeros(banks) - 1,
        hits=zeros(banks),
        reopened=zeros(banks),
        first=zeros(banks, 3) - np.array([1, 1, 0], dtype=np.int64),
        bank_at=zeros(banks, kernels.COMMANDS),
        group_at=zeros(rules.groups, kernels.COMMANDS),
        rank_at=zeros(rules.ranks, kernels.COMMANDS + 1),
        group_of=np.tile(groups, (channels, 1)),
        rank_of=np.tile(every // (banks // rules.ranks), (channels, 1)),
        acts=acts,
        open_banks=zeros(rules.ranks, 2),
        filter=zeros(2, 1024),
        log=zeros(log_capacity, 4),
        done=zeros(done_capacity),
    )


def _run(
    requests: Requests, stream: kernels.Stream, state: kernels.State, rules: kernels.Rules
) -> DramRun:
    taken = requests.index >= 0
    results = np.empty((4, int(taken.sum())), dtype=np.int64)
    served = (stream.accept, stream.issue, stream.complete, stream.write)
    for result, values in zip(results, served, strict=True):
        result[requests.index[taken]] = values[taken]
    clocks = end_clock(results[2], results[1], results[3], rules)
    totals = state.counters.sum(axis=0)
    still_open = state.open_banks[:, :, 0] > 0
    totals[kernels.OPEN_CLOCKS] += (clocks - state.open_banks[:, :, 1])[still_open].sum()
    return DramRun(
        results[0],
        results[1],
        results[2],
        clocks,
        DramCounts(*totals.tolist()),
        _commands(requests, state),
    )


def end_clock(complete: Ints, issue: Ints, write: Ints, rules: kernels.Rules) -> int:
    """Clocks until every request is answered and the last data written are in the DRAM."""
    stored = issue[(write != 0) & (issue >= 0)] + rules.write_latency
    return int(max(complete.max(initial=-1) + 1, stored.max(initial=0)))


def _commands(requests: Requests, state: kernels.State) -> Ints:
    parts = []
    for c, log in enumerate(state.log):
        own = log[: min(len(log), state.scalar[c, kernels.LOGGED])].copy()
        column = (own[:, 1] == kernels.READ) | (own[:, 1] == kernels.WRITE)
        own[column, 3] = requests.index[c, own[column, 3]]
        parts.append(np.insert(own, 0, c, axis=1))
    return np.concatenate(parts)
