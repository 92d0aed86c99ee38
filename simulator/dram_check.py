"""Proof that a stream of DRAM commands obeys the device: state, timing, data bus, refresh.

Shares only the address map with the model: every distance is taken from the timing parameters
here, and every pair of commands near enough to matter is compared.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stowplan.simulator.dram_address import FIELDS, address_map
from stowplan.targets.dram_presets import DramSpec, DramTiming

KINDS = ("ACT", "PRE", "RD", "WR", "REF")
_COLUMN = ("RD", "WR")
_POSTPONED = 9
"""Refresh intervals that may pass without one. Source: JESD79-4, 4.25: eight may be postponed."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command; ``detail`` is the row (ACT) or the request (RD, WR)."""

    channel: int
    clock: int
    kind: str
    rank: int
    group: int
    bank: int
    detail: int

    def __str__(self) -> str:
        place = f"channel {self.channel} rank {self.rank} bank {self.group}.{self.bank}"
        return f"{self.kind} at clock {self.clock} on {place}"


def check_commands(
    spec: DramSpec,
    commands: NDArray[np.int64],
    addresses: NDArray[np.int64],
    writes: NDArray[np.bool_],
) -> tuple[str, ...]:
    """Every violation, as text; empty if the stream is legal.

    Args:
        spec: device.
        commands: ``DramRun.commands`` [L, 5].
        addresses: byte addresses of the requests [N].
        writes: which requests write [N].
    """
    found: list[str] = []
    for channel in range(spec.organisation.channels):
        own = [_command(spec, row) for row in commands.tolist() if row[0] == channel]
        found += _bus_violations(own)
        found += _row_violations(spec, own, addresses, writes)
        found += _distance_violations(spec.timing, own)
        found += _window_violations(spec.timing, own)
        found += _data_violations(spec.timing, own)
        found += _refresh_violations(spec, own)
    served = [row[4] for row in commands.tolist() if KINDS[row[2]] in _COLUMN]
    if len(served) != len(set(served)):
        found.append("a request was served twice")
    return tuple(found)


def _command(spec: DramSpec, row: list[int]) -> Command:
    channel, clock, kind, bank, detail = row
    per_group = spec.organisation.banks_per_group
    group, within = divmod(bank, per_group)
    rank, group = divmod(group, spec.organisation.bank_groups)
    return Command(channel, clock, KINDS[kind], rank, group, within, detail)


def _bus_violations(commands: list[Command]) -> Iterator[str]:
    for a, b in pairwise(commands):
        if b.clock <= a.clock:
            yield f"{b} is not after {a}"


def _row_violations(
    spec: DramSpec,
    commands: list[Command],
    addresses: NDArray[np.int64],
    writes: NDArray[np.bool_],
) -> Iterator[str]:
    """Banks are opened when closed, closed when open, and accessed in the open row."""
    fields = address_map(spec).decode(np.asarray(addresses, dtype=np.int64))
    place = dict(zip(FIELDS, (field.tolist() for field in fields), strict=True))
    rows: dict[tuple[int, int, int], int] = {}
    for c in commands:
        where = (c.rank, c.group, c.bank)
        if c.kind == "ACT":
            if where in rows:
                yield f"{c}: row {rows[where]} is still open"
            rows[where] = c.detail
        elif c.kind == "PRE":
            if rows.pop(where, None) is None:
                yield f"{c}: the bank is closed"
        elif c.kind == "REF":
            if any(rank == c.rank for rank, _, _ in rows):
                yield f"{c}: a bank of the rank is open"
        else:
            wanted = tuple(place[name][c.detail] for name in ("rank", "bankgroup", "bank"))
            if wanted != where or rows.get(where) != place["row"][c.detail]:
                yield f"{c}: request {c.detail} lies elsewhere or its row is not open"
            if bool(writes[c.detail]) != (c.kind == "WR"):
                yield f"{c}: request {c.detail} goes the other way"


def _distance(timing: DramTiming, a: Command, b: Command) -> int:
    """Least clocks from ``a`` to the later ``b`` of the same channel; data bus apart."""
    if a.rank != b.rank:
        return 0
    same_group = a.group == b.group
    same_bank = same_group and a.bank == b.bank
    pair = (a.kind, b.kind)
    if pair == ("ACT", "ACT"):
        return timing.rc if same_bank else timing.rrd_l if same_group else timing.rrd_s
    if pair == ("PRE", "PRE"):
        return timing.ppd
    if pair in (("RD", "RD"), ("WR", "WR")):
        return timing.ccd_l if same_group else timing.ccd_s
    if pair == ("WR", "RD"):
        return timing.cwl + timing.burst + (timing.wtr_l if same_group else timing.wtr_s)
    across_banks = {
        ("PRE", "REF"): timing.rp,
        ("ACT", "REF"): timing.rc,
        ("REF", "ACT"): timing.rfc,
        ("REF", "REF"): timing.rfc,
    }
    within_bank = {
        ("ACT", "RD"): timing.rcd,
        ("ACT", "WR"): timing.rcd,
        ("ACT", "PRE"): timing.ras,
        ("PRE", "ACT"): timing.rp,
        ("RD", "PRE"): timing.rtp,
        ("WR", "PRE"): timing.cwl + timing.burst + timing.wr,
    }
    return across_banks.get(pair, within_bank.get(pair, 0) if same_bank else 0)


def _distance_violations(timing: DramTiming, commands: list[Command]) -> Iterator[str]:
    reach = max(timing.rfc, timing.rc, timing.cwl + timing.burst + timing.wr + timing.wtr_l)
    oldest = 0
    for i, b in enumerate(commands):
        while commands[oldest].clock + reach < b.clock:
            oldest += 1
        for a in commands[oldest:i]:
            least = _distance(timing, a, b)
            if b.clock - a.clock < least:
                yield f"{b} is {b.clock - a.clock} clocks after {a}, at least {least} are needed"


def _window_violations(timing: DramTiming, commands: list[Command]) -> Iterator[str]:
    for rank in sorted({c.rank for c in commands}):
        acts = [c for c in commands if c.kind == "ACT" and c.rank == rank]
        for a, b in zip(acts, acts[4:], strict=False):
            if b.clock - a.clock < timing.faw:
                yield f"{b} is the fifth within {timing.faw} clocks since {a}"


def _data_violations(timing: DramTiming, commands: list[Command]) -> Iterator[str]:
    """Bursts do not overlap, and leave the bus time to turn around or change rank."""
    bursts = [
        (c.clock + (timing.cl if c.kind == "RD" else timing.cwl), c)
        for c in commands
        if c.kind in _COLUMN
    ]
    bursts.sort(key=lambda burst: burst[0])
    for (begin, a), (after, b) in pairwise(bursts):
        idle = timing.rtrs if (a.kind, a.rank) != (b.kind, b.rank) else 0
        if after < begin + timing.burst + idle:
            yield f"data of {b} begin {after - begin} clocks after those of {a}"


def _refresh_violations(spec: DramSpec, commands: list[Command]) -> Iterator[str]:
    """No rank goes without a refresh for longer than the standard allows."""
    if not commands:
        return
    longest = _POSTPONED * spec.timing.refi
    for rank in range(spec.organisation.ranks):
        times = [c.clock for c in commands if c.kind == "REF" and c.rank == rank]
        for a, b in pairwise((0, *times, commands[-1].clock)):
            if b - a > longest:
                yield f"rank {rank} has no refresh between clocks {a} and {b}"
