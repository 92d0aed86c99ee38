"""Memories of the cycle-stepping reference: DRAM clock by clock, banks word by word."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

import numpy as np

from stowplan.ir.program import Walk
from stowplan.simulator.dram import DramCounts
from stowplan.simulator.dram_address import address_map
from stowplan.simulator.dram_reference import Channel, Request
from stowplan.simulator.dram_rules import rules_of
from stowplan.simulator.machine import DramLink


@dataclass(slots=True, eq=False)
class Access:
    """A DRAM access under way, and the running command (by number) it belongs to."""

    owner: int
    request: Request


class ReferenceDram:
    """The controllers of all channels behind an exact clock ratio; mutable."""

    def __init__(self, link: DramLink) -> None:
        self._link = link
        self._map = address_map(link.spec)
        organisation = link.spec.organisation
        self._groups, self._banks = organisation.bank_groups, organisation.banks_per_group
        rules = rules_of(link.spec)
        self._channels = [Channel(rules, []) for _ in range(organisation.channels)]
        for channel in self._channels:
            channel.closed = False
        self._flying: list[Access] = []
        self._clock = 0

    def completed(self, now: int) -> list[int]:
        """Owners of the accesses seen to complete at the beginning of core cycle ``now``."""
        ratio, path = self._link.clock_ratio, self._link.path_cycles
        self._step_to(ceil(now * ratio))
        done = [
            access
            for access in self._flying
            if access.request.complete >= 0 and ceil(access.request.complete / ratio) + path <= now
        ]
        self._flying = [access for access in self._flying if access not in done]
        return [access.owner for access in done]

    def start(self, owner: int, block: int, write: bool, now: int) -> None:
        """Start an access in core cycle ``now``."""
        address = np.array([block * self._map.access_bytes])
        channel, rank, group, bank, row, _ = (int(f[0]) for f in self._map.decode(address))
        arrival = ceil((now + 1 + self._link.path_cycles) * self._link.clock_ratio)
        within = (rank * self._groups + group) * self._banks + bank
        request = Request(-1, block % self._map.blocks, within, row, write, arrival)
        self._channels[channel].offered.append(request)
        self._flying.append(Access(owner, request))

    def settle(self, cycles: int) -> tuple[DramCounts, int]:
        """Empty all queues after ``cycles`` core cycles; events, and clocks until then."""
        self._step_to(ceil(cycles * self._link.clock_ratio))
        ends = []
        for channel in self._channels:
            channel.closed = True
            clock = self._clock
            while channel.busy():
                channel.step(clock)
                clock += 1
            ends.append(clock)
        totals = np.sum([channel.counts for channel in self._channels], axis=0)
        for channel, end in zip(self._channels, ends, strict=True):
            ranks_open = {bank.rank for bank in channel.banks if bank.row >= 0}
            totals[-1] += len(ranks_open) * (max(ends) - end)
        return DramCounts(*totals.tolist()), max(ends)

    def _step_to(self, clock: int) -> None:
        while self._clock < clock:
            for channel in self._channels:
                channel.step(self._clock)
            self._clock += 1


class BankPorts:
    """Ports of interleaved banks in one cycle; mutable."""

    def __init__(self, banks: int, ports: int) -> None:
        self._free = [ports] * banks

    def take(self, word: int) -> bool:
        """Take a port of the bank of ``word`` if one is free."""
        bank = word % len(self._free)
        if not self._free[bank]:
            return False
        self._free[bank] -= 1
        return True


@dataclass(slots=True)
class BankWalk:
    """One walk of a computation: the words it still has to take, of this cycle and later."""

    words: list[int]
    per_cycle: int
    need: list[int]

    def next_cycle(self) -> None:
        """Ask for the words of the next cycle."""
        self.need, self.words = self.words[: self.per_cycle], self.words[self.per_cycle :]

    def take(self, ports: BankPorts) -> bool:
        """Take words up to the first refused; whether none is missing."""
        while self.need and ports.take(self.need[0]):
            self.need.pop(0)
        return not self.need


def bank_walk(walk: Walk, width: int, cycles: int) -> BankWalk:
    """The walk of a computation of ``cycles`` cycles over words of ``width`` bytes."""
    first, last = (
        floor(Fraction(walk.address, width)),
        ceil(Fraction(walk.address + walk.extent_bytes, width)),
    )
    around = list(range(first, last))
    skipped = walk.skipped_bytes // width
    count = ceil(Fraction(walk.size_bytes, width))
    words = [around[(skipped + i) % len(around)] for i in range(count)]
    return BankWalk(words, ceil(Fraction(count, cycles)), [])
