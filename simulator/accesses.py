"""From byte ranges to DRAM accesses: burst splitting."""

from collections.abc import Iterator

from stowplan.errors import TargetError
from stowplan.ir.program import Command, Program
from stowplan.simulator.machine import DramLink

Segment = tuple[int, int, bool]
"""First access (address divided by its size), number of accesses, whether it is written."""


def segments_of(command: Command, link: DramLink) -> Iterator[Segment]:
    """Accesses of a command in order: every range widened to whole bursts and cut up."""
    burst, access = link.burst_bytes, link.spec.organisation.access_bytes
    for ranges, write in ((command.dram_reads, False), (command.dram_writes, True)):
        for lower, upper in ranges:
            first = lower // burst * burst // access
            last = -(-(-(-upper // burst) * burst) // access)
            if lower < upper:
                yield first, last - first, write


def require_capacity(program: Program, link: DramLink) -> None:
    """Raise TargetError when the program uses addresses that the DRAM does not have."""
    used = max(
        (upper for c in program.commands for _, upper in (*c.dram_reads, *c.dram_writes)), default=0
    )
    if used > link.spec.organisation.capacity_bytes:
        raise TargetError(
            f"the model takes {used:,} bytes of DRAM, {link.spec.name} has "
            f"{link.spec.organisation.capacity_bytes:,}: give dram.device or dram.channels more"
        )
