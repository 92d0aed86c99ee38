"""Programs: what a plan becomes for a machine, one command queue per engine.

Commands are listed in an order in which they could run one at a time. The queue of an engine is
the list restricted to the commands that name the engine, so it never deadlocks: a command waits
only for earlier ones. A machine has one DMA in each direction, shared by its cores; every core has
an array and a vector unit. Queues are numbered: 0 dma-in, 1 dma-out, then array and vector unit of
each core in turn.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from stowplan.errors import InternalError
from stowplan.ir.graph import Interval


class Engine(IntEnum):
    """Units that run commands, each its queue in order."""

    DMA_IN = 0
    DMA_OUT = 1
    ARRAY = 2
    VECTOR = 3

    @property
    def label(self) -> str:
        """Name for people: ``dma-in``."""
        return self.name.lower().replace("_", "-")


def queue_labels(cores: int) -> tuple[str, ...]:
    """Names of all queues for people; the units of several cores are numbered."""
    if cores == 1:
        return tuple(engine.label for engine in Engine)
    units = ((f"array{core}", f"vector{core}") for core in range(cores))
    return ("dma-in", "dma-out", *(label for pair in units for label in pair))


class CommandKind(StrEnum):
    """What a command does."""

    LOAD = "load"
    WEIGHT = "weight"
    STORE = "store"
    COMPUTE = "compute"


@dataclass(frozen=True, slots=True)
class Work:
    """What a command does on chip, for counters and energy; additive.

    Attributes:
        macs: multiply-accumulates.
        mac_slots: array slots (units times cycles) those take at full rate.
        array_cycles: cycles the array works.
        vector_cycles: cycles the vector unit works.
        vector_elements: element operations on the vector unit.
        onchip_bytes: bytes read and written on chip.
        pad_read_bytes: the part of them read in the scratchpad.
        pad_written_bytes: the part of them written there.
    """

    macs: int = 0
    mac_slots: int = 0
    array_cycles: int = 0
    vector_cycles: int = 0
    vector_elements: int = 0
    onchip_bytes: int = 0
    pad_read_bytes: int = 0
    pad_written_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Walk:
    """A run of accesses to consecutive scratchpad bytes.

    Attributes:
        address: first byte.
        extent_bytes: bytes after which it begins again, for operands that are read repeatedly.
        size_bytes: bytes accessed in all.
        skipped_bytes: bytes walked before the first access, by other commands.
    """

    address: int
    extent_bytes: int
    size_bytes: int
    skipped_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Command:
    """One entry of a queue.

    Attributes:
        kind: what it does.
        engines: engines it holds from start to end, ascending; more than one when the vector unit
            finishes what the array computes.
        label: the operator's or the storage's name.
        step: plan step it belongs to; for a transfer the step it is issued at.
        waits: indices of earlier commands that must have finished, ascending.
        delay_cycles: cycles before it moves or computes anything (set-up, latency).
        latency_cycles: the part of them that stands for the latency of DRAM.
        dram_bytes: bytes it occupies the DRAM interface with, whole bursts.
        bank_accesses: accesses to scratchpad banks its computation consists of.
        bank_rate: most of them it makes in one cycle.
        read_bytes: bytes it really takes from DRAM.
        written_bytes: bytes it really puts there.
        work: counters.
        core: core whose units run it; 0 for transfers.
        dram_reads: DRAM byte ranges it reads, in order.
        dram_writes: DRAM byte ranges it writes, in order.
        walks: scratchpad accesses by address, all at the same time.
        setup_cycles: the part of ``delay_cycles`` that sets up descriptors, its first cycles.
        descriptors: DMA descriptors of a transfer.
    """

    kind: CommandKind
    engines: tuple[Engine, ...]
    label: str
    step: int
    waits: tuple[int, ...] = ()
    delay_cycles: int = 0
    dram_bytes: int = 0
    bank_accesses: int = 0
    bank_rate: int = 1
    read_bytes: int = 0
    written_bytes: int = 0
    work: Work = Work()
    core: int = 0
    latency_cycles: int = 0
    dram_reads: tuple[Interval, ...] = ()
    dram_writes: tuple[Interval, ...] = ()
    walks: tuple[Walk, ...] = ()
    setup_cycles: int = 0
    descriptors: int = 1

    @property
    def queues(self) -> tuple[int, ...]:
        """Numbers of the queues it is in."""
        if not self.core:
            return tuple(map(int, self.engines))
        return tuple(int(e) + 2 * self.core * (e >= Engine.ARRAY) for e in self.engines)


@dataclass(frozen=True, slots=True)
class Program:
    """Commands in list order; see the module docstring.

    Attributes:
        commands: every command.
        steps: operator name per plan step.
        cores: cores of the machine.
    """

    commands: tuple[Command, ...]
    steps: tuple[str, ...] = ()
    cores: int = 1

    def queue(self, engine: Engine, core: int = 0) -> tuple[int, ...]:
        """Indices of the commands of one engine, in order."""
        return self.queues()[int(engine) + 2 * core * (engine >= Engine.ARRAY)]

    def queues(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the commands of every queue, in order."""
        found: list[list[int]] = [[] for _ in range(2 + 2 * self.cores)]
        for i, command in enumerate(self.commands):
            for queue in command.queues:
                found[queue].append(i)
        return tuple(map(tuple, found))

    def verify(self) -> None:
        """Raise InternalError unless every command can run; the simulator calls it."""
        for i, command in enumerate(self.commands):
            if fault := _fault(i, command, self.cores):
                raise InternalError(
                    f"program command {i} ({command.kind} {command.label}): {fault}"
                )


_ENGINES = {
    CommandKind.LOAD: ((Engine.DMA_IN,),),
    CommandKind.WEIGHT: ((Engine.DMA_IN,),),
    CommandKind.STORE: ((Engine.DMA_OUT,),),
    CommandKind.COMPUTE: (
        (Engine.ARRAY,),
        (Engine.VECTOR,),
        (Engine.ARRAY, Engine.VECTOR),
    ),
}


def _fault(index: int, command: Command, cores: int) -> str | None:
    compute = command.kind is CommandKind.COMPUTE
    if command.engines not in _ENGINES[command.kind]:
        return f"cannot run on {', '.join(engine.label for engine in command.engines)}"
    if not 0 <= command.core < (cores if compute else 1):
        return f"is for core {command.core} of {cores}"
    if any(not 0 <= wait < index for wait in command.waits):
        return "waits for a command that is not before it"
    if min(command.delay_cycles, command.dram_bytes, command.bank_accesses) < 0:
        return "has negative work"
    setup = command.setup_cycles
    if setup and not 0 < setup <= command.delay_cycles - command.latency_cycles:
        return "sets up descriptors for longer than its delay"
    if compute and (command.bank_accesses < 1 or command.bank_rate < 1):
        return "computes nothing"
    if not compute and (command.dram_bytes < 1 or command.bank_accesses):
        return "transfers nothing, or computes"
    return None
