"""What a run of a streaming network reports; the same from both engines."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class ProcessActivity:
    """What one process did.

    Attributes:
        name: the process.
        firings: firings started.
        busy_cycles: cycles of its clock within the interval of a firing.
        empty_cycles: stalls on FIFOs with too few tokens, in cycles of its clock.
        full_cycles: stalls on FIFOs with too few free slots.
        first_tick: start of its first firing, -1 if it never fired.
        last_tick: start of its last firing, -1 if it never fired.
    """

    name: str
    firings: int
    busy_cycles: int
    empty_cycles: int
    full_cycles: int
    first_tick: int
    last_tick: int


@dataclass(frozen=True, slots=True)
class FifoActivity:
    """What happened at one FIFO.

    Attributes:
        name: the FIFO.
        peak_tokens: most tokens that the reader could have read at one time.
        peak_slots: most slots taken at one time as its writer sees it, claimed ones included.
        empty_cycles: stalls of its reader charged to it, in cycles of the reader's clock.
        full_cycles: stalls of its writer charged to it, in cycles of the writer's clock.
    """

    name: str
    peak_tokens: int
    peak_slots: int
    empty_cycles: int
    full_cycles: int


@dataclass(frozen=True, slots=True)
class Wait:
    """A process that cannot fire and the FIFO it waits for.

    Attributes:
        process: who waits.
        fifo: where.
        full: for free slots; otherwise for tokens.
        has: free slots or readable tokens there are.
        needs: as many as its next firing needs.
        depth: of the FIFO.
        other: process at the other end.
    """

    process: str
    fifo: str
    full: bool
    has: int
    needs: int
    depth: int
    other: str

    def __str__(self) -> str:
        if self.full:
            return (
                f"`{self.process}` waits for space on fifo `{self.fifo}` "
                f"({_state(self.has, 'full', 'free')}, depth {self.depth}, needs {self.needs}), "
                f"which `{self.other}` reads"
            )
        return (
            f"`{self.process}` waits for tokens on fifo `{self.fifo}` "
            f"({_state(self.has, 'empty', 'there')}, needs {self.needs}), "
            f"which `{self.other}` writes"
        )


def _state(has: int, none: str, some: str) -> str:
    return none if has == 0 else f"{has} {some}"


@dataclass(frozen=True, slots=True)
class Deadlock:
    """Why a network stands still.

    Attributes:
        cycle: waits of which each is for the process of the next, and the last for the first.
        others: what the remaining unfinished processes wait for.
    """

    cycle: tuple[Wait, ...]
    others: tuple[Wait, ...]

    def __str__(self) -> str:
        text = "deadlock: " + "; ".join(map(str, self.cycle))
        if self.others:
            text += ". Also held up: " + ", ".join(
                f"`{wait.process}` (fifo `{wait.fifo}`)" for wait in self.others
            )
        return text


@dataclass(frozen=True, slots=True)
class StreamResult:
    """Outcome of a run.

    Attributes:
        end_ticks: the end (see ``streaming_network``), in ticks.
        tick: length of a tick in the caller's unit of time.
        period_ticks: (clock, period in ticks) of each clock.
        processes: in the network's order.
        fifos: in the network's order.
        deadlock: who waits for whom, or None if every process has done its firings.
    """

    end_ticks: int
    tick: Fraction
    period_ticks: tuple[tuple[str, int], ...]
    processes: tuple[ProcessActivity, ...]
    fifos: tuple[FifoActivity, ...]
    deadlock: Deadlock | None

    @property
    def time(self) -> Fraction:
        """The end in the caller's unit of time, exactly."""
        return self.end_ticks * self.tick

    def cycles(self, clock: str = "clock") -> int:
        """Cycles of ``clock`` begun before the end."""
        return -(-self.end_ticks // dict(self.period_ticks)[clock])

    def process(self, name: str) -> ProcessActivity:
        """Activity of the process called ``name``."""
        return next(process for process in self.processes if process.name == name)

    def fifo(self, name: str) -> FifoActivity:
        """Activity of the FIFO called ``name``."""
        return next(fifo for fifo in self.fifos if fifo.name == name)


def find_deadlock(waits: dict[str, Wait], order: tuple[str, ...]) -> Deadlock:
    """The waiting cycle reached from the first process in ``order`` that waits.

    Args:
        waits: what each unfinished process waits for.
        order: names of all processes.
    """
    name = next(name for name in order if name in waits)
    seen: list[str] = []
    while name not in seen:
        seen.append(name)
        name = waits[name].other
    members = seen[seen.index(name) :]
    cycle = tuple(waits[member] for member in members)
    others = tuple(waits[name] for name in order if name in waits and name not in members)
    return Deadlock(cycle, others)
