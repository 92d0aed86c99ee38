"""The machine model: what a program does in every cycle.

The queues of two DMA directions, *dma-in* and *dma-out*, and of an *array* and a *vector unit* per
core start their commands in order, on one cycle grid. A direction has ``channels`` engines, every
other queue one. All quantities are integers; bandwidth is counted in twelfths of a byte so that it
divides evenly among one to four sharers.

**Clocks.** DMA and vector units may have clocks of their own. Let such a clock have ``r`` cycles
per core cycle; its cycles end at the times ``i / r`` in core cycles. The queues, the scratchpad and
the array are the core's. In core cycle ``t`` an engine has ``c(t) = floor((t + 1) r) - floor(t r)``
cycles of its own, 1 on the core's clock. A command that starts there in cycle ``t`` first owes one
of them if ``t r`` is no integer (it waits for an edge), then ``sync_cycles``, and a transfer its
set-up; what is left of ``c(t)`` when that is paid is its *budget* ``b``. Its delay begins in the
first cycle in which it owes nothing from the start, and so does its share of the bandwidth; all
else it does as soon as ``b > 0`` and its delay is over. Then per core cycle

- a computation works ``b`` cycles: it may use ``b rate`` ports of spread banks, or do ``b`` cycles
  of its walks one after another;
- in full mode ``requests_per_cycle`` and ``port_bytes`` count ``b`` times for a command, and
  ``c(t)`` times for its direction; the access size at which a STORE pauses, ``c(t)`` times.

When it is done at the beginning of core cycle ``T``, a transfer ends at its next edge, which the
core sees in cycle ``ceil(ceil(T r) / r)``; then ``sync_cycles`` of the core pass. Computations end
at an edge of their own, so that for them only the latter pass. Array and vector unit together run
on the core's clock; ``targets.cost`` says how long that takes.

**Start.** A command starts in cycle ``t`` when it is the first not started in every queue it is in,
each of them has a free engine, each command it waits for has finished in a cycle before ``t``, and
its direction has room for it. It takes the free channel with the lowest number and holds its
engines until it finishes; a finished command makes room in the next cycle. Several transfers of a
direction may start in one cycle.

**Room.** With a ``queue_depth`` of ``d`` a direction has ``d`` entries. A transfer takes one when
it starts. Entries come back in that order, each when its transfer and every computation before it
in the list of commands have finished: DMA runs at most ``d`` transfers of a direction ahead of the
oldest computation still to be finished. The first unfinished command of the list always has room,
so that nothing deadlocks.

**Classes.** In each cycle every active command is of the first or the second class. Computations
are of the first. Transfers are, too, unless ``priority`` is ``load_first`` (STOREs are second),
``store_first`` (all others are) or ``demand``: then those are second that no computation waits for
which is the first not started of a queue whose engine is free.

**Delay.** For its first ``delay_cycles`` cycles a command does nothing else; the first
``setup_cycles`` of them set up descriptors. Afterwards it is *active*, with its DRAM work and its
bank accesses left to do.

**DRAM, bandwidth mode.** A command has ``12 * dram_bytes`` units to move. In each cycle there are
``12 B`` units, ``B`` being the DRAM bandwidth in bytes per cycle. Let ``k`` be the number of active
commands of the first class with units left: each is offered ``floor(12 B / k)``, and the second
class shares in the same way the ``u`` units that the banks kept the first from being granted. What
one is granted and does not use is lost in that cycle.

**DRAM, full mode.** The controller of ``stowplan.simulator.dram`` serves accesses of its own size
on its own clock; in ``p / q`` DRAM clocks per core cycle both are the integers of the lowest
terms. The latency contained in ``delay_cycles`` is left out. Every byte range of a command is
widened to whole DMA bursts and cut into accesses, reads first, in the order of addresses. In cycle
``t``, before anything starts, accesses complete whose clock ``c`` satisfies ``ceil(c q / p) + path
<= t``. Then each active command starts as many of its next accesses as the least of

- ``requests_per_cycle``, the accesses it has left, and ``outstanding`` less those under way;
- for a STORE, the whole accesses among the bytes it has fetched from the scratchpad.

The channels of a direction share these limits: they take their turns by class, in each beginning
with channel ``t`` modulo their number. The second class starts none while an active command of the
first has accesses left to start. Accesses arrive at the controller at clock
``ceil((t + 1 + path) p / q)``, per DRAM channel in the order of queues and channels. What a LOAD's
accesses bring waits to be written to the scratchpad. A STORE fetches the bytes of its accesses from
there, and pauses while ``requests_per_cycle`` accesses are fetched and not started. Each direction
moves at most ``port_bytes`` per cycle, with the same turns. After the last command the controller
writes what its queues hold.

**Banks, spread.** The scratchpad has ``N`` banks of ``P`` ports that each serve ``w`` bytes per
cycle. Accesses spread over them evenly, so that a master that moves ``x`` bytes in a cycle
occupies ``ceil(x / w)`` of the ``N P`` ports. In each cycle

1. active LOADs take, in the order of channels, ``ceil(B / (k w))`` of the ports that remain, with
   ``u / 12`` for ``B`` in the second class; in full mode ``x`` is what one has to write;
2. active STOREs take as many of the remaining ones as they need by the same rule; the second class
   comes after all transfers of the first;
3. of the ``r`` ports that remain, the computations with accesses left are served in the order of
   queues: one that could use ``rate`` of them gets ``min(rate, max(r - later, ceil(r / m)))``,
   ``later`` being the sum of the rates after it and ``m`` the number of those not served yet.

The DMA comes first because DRAM cannot wait. A transfer that gets ``g`` ports moves at most
``12 g w`` units in the cycle; a computation makes as many accesses as it gets ports. Weight streams
go to the weight buffer and take none.

**Banks, interleaved.** The word of ``w`` bytes at address ``a`` is in bank ``floor(a / w) mod N``,
which serves ``P`` words per cycle. A LOAD or STORE moves the bytes offered to it in the order of
addresses up to the first word whose bank is taken. A computation of ``n = ceil(accesses / rate)``
cycles has *walks*, each through the words of one operand again and again, ``ceil(words / n)``
words in each of its cycles until they are used up. In each cycle, DMA first in the same order as
above, then computations in the order of queues beginning with unit ``t`` modulo their number, every
walk takes its next words up to the first whose bank is taken. A computation's cycle is over once
all its walks have their words; until then it stalls.

**Progress.** Each active command does the work granted to it. It finishes in the cycle in which
none is left; in full mode every access must have completed, and everything read be on chip.

**Accounting.** Each queue spends each cycle, from 0 to the last finish, in exactly one
:class:`Cause`: that of its command under way that started first, on the lowest channel among
equals, else that of the first not started. So does each command under way, and the first not
started of a queue with a free engine.
"""

from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from math import ceil, floor

from stowplan.errors import TargetError
from stowplan.ir.program import Engine
from stowplan.simulator.dram import DramCounts
from stowplan.targets.dram_presets import DramSpec, with_channels
from stowplan.targets.target import DramMode, Priority, Target

UNITS_PER_BYTE = 12


class Cause(IntEnum):
    """What an engine does, or waits for, in a cycle."""

    BUSY = 0
    """Its command progresses at full rate."""
    DELAY = 1
    """Latency."""
    BANK = 2
    """Fewer scratchpad banks than the command could use."""
    DRAM = 3
    """Bandwidth shared with others, or only DRAM accesses left to finish; in full mode a transfer
    that neither starts an access nor moves a byte."""
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
    SETUP = 11
    """Descriptors are set up."""
    QUEUE = 12
    """Everything it waits for has finished, but its direction's queue has no room."""
    PRIORITY = 13
    """A transfer slowed down by those that go first."""
    CLOCK = 14
    """Between two clocks: waiting for an edge, or in a synchroniser."""


@dataclass(frozen=True, slots=True)
class DramLink:
    """DRAM in full mode, and how the DMA is connected to it.

    Attributes:
        spec: device and controller.
        clock_ratio: DRAM clocks per core cycle, exact.
        burst_bytes: ranges are widened to whole bursts.
        outstanding: accesses under way per command.
        requests_per_cycle: accesses a command may start in a cycle.
        port_bytes: bytes per cycle between a DMA engine and the scratchpad.
        path_cycles: cycles to the controller, and back.
    """

    spec: DramSpec
    clock_ratio: Fraction
    burst_bytes: int = 64
    outstanding: int = 64
    requests_per_cycle: int = 1
    port_bytes: int = 64
    path_cycles: int = 0


@dataclass(frozen=True, slots=True)
class Domain:
    """A clock other than the core's.

    Attributes:
        ratio: its cycles per core cycle, exact.
        sync_cycles: cycles of the observing clock that a change takes to be seen.
    """

    ratio: Fraction
    sync_cycles: int = 0

    def edges(self, cycle: int) -> int:
        """Cycles of this clock that have ended by the beginning of core cycle ``cycle``."""
        return floor(cycle * self.ratio)

    def seen(self, cycle: int) -> int:
        """Core cycle in which the core sees what this clock does from core cycle ``cycle`` on."""
        return ceil(ceil(cycle * self.ratio) / self.ratio) + self.sync_cycles


@dataclass(frozen=True, slots=True)
class Machine:
    """The numbers the model needs.

    Attributes:
        bytes_per_cycle: DRAM bandwidth ``B``.
        banks: scratchpad banks ``N``.
        bank_width_bytes: bytes ``w`` a port of a bank delivers per cycle.
        ports: ports ``P`` of a bank.
        interleaved: banks are chosen by address.
        dram: full DRAM mode; None for bandwidth mode.
        channels: transfers of a direction under way at once.
        queue_depth: entries of each direction's queue; 0 for any number.
        priority: which transfers go first.
        dma_clock: clock of the DMA; None for the core's.
        vector_clock: clock of the vector units; None for the core's.
    """

    bytes_per_cycle: int
    banks: int
    bank_width_bytes: int
    ports: int = 1
    interleaved: bool = False
    dram: DramLink | None = None
    channels: int = 1
    queue_depth: int = 0
    priority: Priority = "shared"
    dma_clock: Domain | None = None
    vector_clock: Domain | None = None

    @property
    def detailed(self) -> bool:
        """Whether the small kernel of bandwidth mode does not do."""
        dma = self.channels > 1 or self.priority != "shared"
        return self.dram is not None or self.interleaved or dma or self.clocked

    @property
    def clocked(self) -> bool:
        """Whether some engine has a clock of its own."""
        return self.dma_clock is not None or self.vector_clock is not None

    def engines(self, queue: int) -> int:
        """How many commands of a queue may run at the same time."""
        return self.channels if queue < Engine.ARRAY else 1

    def domain(self, queue: int) -> Domain | None:
        """Clock of the engines of a queue; None for the core's."""
        if queue < Engine.ARRAY:
            return self.dma_clock
        return self.vector_clock if queue % 2 else None


@dataclass(frozen=True, slots=True)
class Timing:
    """When everything happened.

    Attributes:
        cycles: cycles until the last command has finished.
        start: per command, its first cycle.
        end: per command, the cycle after its last.
        causes: per queue, the cycles spent per cause; each row sums to ``cycles``.
        spent: per command, the cycles per cause in which it is first in the first of its queues.
        dram: events in the DRAM; None in bandwidth mode.
        dram_clocks: DRAM clocks until its queues were empty too.
    """

    cycles: int
    start: tuple[int, ...]
    end: tuple[int, ...]
    causes: tuple[tuple[int, ...], ...]
    spent: tuple[tuple[int, ...], ...] = ()
    dram: DramCounts | None = None
    dram_clocks: int = 0


def machine_of(target: Target, mode: DramMode | None = None) -> Machine:
    """The model's numbers of a target, in its own DRAM mode unless ``mode`` says otherwise.

    Raises:
        TargetError: full mode with a DRAM device that does not exist or has a mistake; a
            synchroniser without a second clock.
    """
    pad = target.scratchpad
    return Machine(
        target.dram.bytes_per_cycle,
        pad.banks,
        pad.bank_width_bytes,
        pad.ports,
        pad.banking == "interleaved",
        _link(target) if (mode or target.dram.mode) == "full" else None,
        target.dma.channels,
        target.dma.queue_depth,
        target.dma.priority,
        _domain("dma", target.dma_ratio, target.dma.sync_cycles),
        _domain("vector", target.vector_ratio, target.vector.sync_cycles),
    )


def _domain(table: str, ratio: Fraction | None, sync_cycles: int | None) -> Domain | None:
    if ratio is None and sync_cycles:
        raise TargetError(f"{table}.sync_cycles is for a clock of its own: give {table}.clock, too")
    return None if ratio is None else Domain(ratio, sync_cycles or 0)


def _link(target: Target) -> DramLink:
    spec = with_channels(target.dram.device, target.dram.channels)
    return DramLink(
        spec=spec,
        clock_ratio=Fraction(spec.clock_hz, target.clock_hz),
        burst_bytes=target.dma.burst_bytes,
        outstanding=target.dma.outstanding,
        requests_per_cycle=target.dma.requests_per_cycle,
        port_bytes=target.dma.port_bytes,
        path_cycles=target.dram.path_cycles,
    )
