"""The machine model: what a program does in every cycle.

Four engines, *dma-in*, *dma-out*, *array* and *vector*, run their queues in order on one cycle
grid. All quantities are integers; bandwidth is counted in twelfths of a byte so that it divides
evenly among one to four sharers.

**Start.** A command starts in cycle ``t`` when it is first in the queue of every engine it names,
and each command it waits for has finished in a cycle before ``t``. It holds its engines until it
finishes; a finished command makes room in the next cycle.

**Delay.** For its first ``delay_cycles`` cycles a command does nothing else. Afterwards it is
*active*, with ``12 * dram_bytes`` units and ``bank_accesses`` accesses left to do.

**DRAM.** In each cycle, let ``k`` be the number of active commands with units left. Each is
offered ``12 B / k`` units, ``B`` being the DRAM bandwidth in bytes per cycle; what one does not
use is lost in that cycle.

**Banks.** The scratchpad has ``N`` single-ported banks of ``w`` bytes, finely interleaved, so that
a master that moves ``x`` bytes in a cycle occupies ``ceil(x / w)`` banks. In each cycle

1. an active LOAD takes ``min(N, ceil(B / (k w)))`` banks;
2. an active STORE takes as many of the remaining ones as it needs by the same rule;
3. of the ``r`` banks that remain, commands on the array and on the vector unit with accesses left
   get their ``bank_rate`` if the sum fits; otherwise the array gets
   ``min(rate_a, max(r - rate_v, r - floor(r / 2)))`` and the vector unit ``min(rate_v, rest)``.

The DMA comes first because DRAM cannot wait. A transfer that gets ``g`` banks moves at most
``12 g w`` units in the cycle; a computation makes as many accesses as it gets banks. Weight
streams go to the weight buffer and take no banks.

**Progress.** Each active command does the units and accesses granted to it. It finishes in the
cycle in which neither is left.

**Accounting.** Each engine spends each cycle, from 0 to the last finish, in exactly one
:class:`Cause`.
"""

from dataclasses import dataclass
from enum import IntEnum

from stowplan.targets.target import Target

UNITS_PER_BYTE = 12


class Cause(IntEnum):
    """What an engine does, or waits for, in a cycle."""

    BUSY = 0
    """Its command progresses at full rate."""
    DELAY = 1
    """Set-up or latency."""
    BANK = 2
    """Fewer scratchpad banks than the command could use."""
    DRAM = 3
    """Bandwidth shared with others, or only direct DRAM accesses left to finish."""
    HELD = 4
    """The vector unit, held by a command that the array works on."""
    WAIT_LOAD = 5
    """Waiting for a LOAD."""
    WAIT_WEIGHT = 6
    """Waiting for streamed weights."""
    WAIT_STORE = 7
    """Waiting for a STORE."""
    WAIT_COMPUTE = 8
    """Waiting for the result, or the space, of an earlier computation."""
    WAIT_ENGINE = 9
    """Waiting for the other engine of a command that needs two."""
    DONE = 10
    """Its queue is empty."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The numbers the model needs.

    Attributes:
        bytes_per_cycle: DRAM bandwidth ``B``.
        banks: scratchpad banks ``N``.
        bank_width_bytes: bytes ``w`` a bank delivers per cycle.
    """

    bytes_per_cycle: int
    banks: int
    bank_width_bytes: int


@dataclass(frozen=True, slots=True)
class Timing:
    """When everything happened.

    Attributes:
        cycles: cycles until the last command has finished.
        start: per command, its first cycle.
        end: per command, the cycle after its last.
        causes: per engine, the cycles spent per cause; each row sums to ``cycles``.
    """

    cycles: int
    start: tuple[int, ...]
    end: tuple[int, ...]
    causes: tuple[tuple[int, ...], ...]


def machine_of(target: Target) -> Machine:
    """The model's numbers of a target."""
    return Machine(
        target.dram.bytes_per_cycle, target.scratchpad.banks, target.scratchpad.bank_width_bytes
    )
