"""Networks of processes joined by bounded FIFOs: what they are, and what each cycle does.

**Time.** Every clock domain ticks at a rational frequency; its edges are the multiples of its
period, from 0 on. Time is counted in *ticks*, the largest unit that divides every period, so that
all instants are integers whatever the ratio of the clocks.

**Firing.** A process fires at an edge ``t`` of its clock if all of these hold at ``t``:

1. ``interval_cycles`` of its previous firing have passed since that firing's start;
2. each FIFO it takes from holds as many readable tokens as the firing takes;
3. each FIFO it gives to has as many free slots as the firing gives.

It then takes the tokens and claims the slots at once. What it gives becomes readable
``latency_cycles`` of its clock later, and the slots of what it took become free
``release_cycles`` later; both are at least 1, so firings at one instant do not see each other.
A FIFO with ``sync_cycles`` ``n`` between clock domains delays both: a change is seen ``n`` edges
of the observing clock after the first edge at or after it happened. Rates and intervals may follow
a cyclic pattern over the firings (cyclo-static dataflow).

**Stalls.** An edge at which (1) holds and the process, with firings left, does not fire is a stall.
It is charged to the first FIFO in the order of ``takes``, then of ``gives``, that prevents it: as
*empty* or as *full*.

**End.** The end is the last instant at which a token given becomes readable (before
synchronisation); for a process that gives nothing, ``latency_cycles`` after its last firing.
Stalls are charged before the end only. If firings are left and nothing can ever happen, that is a
deadlock.

Source: claiming space at the start of a firing as in Stuijk, Geilen, Basten, "Exploring trade-offs
in buffer requirements and throughput constraints for synchronous dataflow graphs", DAC 2006,
section 3; patterns as in Bilsen et al., "Cyclo-static dataflow", IEEE TSP 44(2), 1996.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from math import gcd, lcm

from stowplan.errors import ModelError

Pattern = tuple[tuple[int, int], ...]
"""A cyclic sequence as runs of ``(repeats, value)``."""

LARGEST = 1 << 61
"""Bound of times in ticks and of token counts, so that 64-bit sums cannot overflow."""


def phases(*values: int) -> Pattern:
    """The pattern that runs through ``values`` again and again."""
    return tuple((len(list(run)), value) for value, run in groupby(values))


def first_of(count: int, value: int = 1) -> Pattern:
    """``value`` in the first of every ``count`` firings, 0 in the others."""
    return ((1, value), (count - 1, 0)) if count > 1 else ((1, value),)


def last_of(count: int, value: int = 1) -> Pattern:
    """``value`` in the last of every ``count`` firings, 0 in the others."""
    return ((count - 1, 0), (1, value)) if count > 1 else ((1, value),)


def pattern_of(value: int | Pattern) -> Pattern:
    """A constant as a pattern."""
    return ((1, value),) if isinstance(value, int) else value


def pattern_length(pattern: Pattern) -> int:
    """Firings after which ``pattern`` starts again."""
    return sum(repeats for repeats, _ in pattern)


def pattern_at(value: int | Pattern, firing: int) -> int:
    """Value in firing number ``firing``, from 0 on."""
    pattern = pattern_of(value)
    return pattern_sum(pattern, firing + 1) - pattern_sum(pattern, firing)


def pattern_sum(pattern: Pattern, firings: int) -> int:
    """Sum of the pattern's values over the first ``firings`` firings."""
    cycles, rest = divmod(firings, pattern_length(pattern))
    total = cycles * sum(repeats * value for repeats, value in pattern)
    for repeats, value in pattern:
        total += min(rest, repeats) * value
        rest -= min(rest, repeats)
    return total


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock domain of ``numerator / denominator`` cycles per unit of time.

    The unit is the caller's and the same for all clocks: for 933 MHz beside 1 GHz, say 933/1 and
    1000/1 (time in microseconds) or 933/1000 and 1/1 (in nanoseconds).
    """

    name: str = "clock"
    numerator: int = 1
    denominator: int = 1


@dataclass(frozen=True, slots=True)
class Fifo:
    """A bounded queue with one writer and one reader.

    Attributes:
        name: unique among the network's FIFOs.
        depth: tokens it can hold, those claimed but not yet written included.
        width_bits: bits of a token; only reports and ``minimum_depths`` use it.
        initial_tokens: tokens readable at time 0.
        sync_cycles: edges of the observing clock a change takes to be seen, for clock crossings.
    """

    name: str
    depth: int
    width_bits: int = 32
    initial_tokens: int = 0
    sync_cycles: int = 0


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens that each firing takes from, or gives to, the FIFO named ``fifo``."""

    fifo: str
    tokens: int | Pattern = 1


@dataclass(frozen=True, slots=True)
class Process:
    """An actor; the module docstring says when it fires.

    Attributes:
        name: unique among the network's processes.
        firings: how often it fires until it is done.
        takes: input rates; their order decides which FIFO a stall is charged to.
        gives: output rates.
        clock: name of its clock domain.
        interval_cycles: cycles from a firing's start to the earliest next one.
        latency_cycles: cycles from a firing's start until what it gives is readable.
        release_cycles: cycles from a firing's start until the slots it emptied are free.
    """

    name: str
    firings: int
    takes: tuple[Rate, ...] = ()
    gives: tuple[Rate, ...] = ()
    clock: str = "clock"
    interval_cycles: int | Pattern = 1
    latency_cycles: int = 1
    release_cycles: int = 1

    @property
    def cycle_firings(self) -> int:
        """Firings after which all its patterns start again."""
        patterns = [rate.tokens for rate in (*self.takes, *self.gives)] + [self.interval_cycles]
        return lcm(*(pattern_length(pattern_of(pattern)) for pattern in patterns))


@dataclass(frozen=True, slots=True)
class Network:
    """Processes, the FIFOs between them, and the clocks they run on."""

    processes: tuple[Process, ...]
    fifos: tuple[Fifo, ...]
    clocks: tuple[Clock, ...] = (Clock(),)

    def writers(self) -> dict[str, tuple[Process, Rate]]:
        """Per FIFO, the process that gives to it, and its rate."""
        return {rate.fifo: (p, rate) for p in self.processes for rate in p.gives}

    def readers(self) -> dict[str, tuple[Process, Rate]]:
        """Per FIFO, the process that takes from it, and its rate."""
        return {rate.fifo: (p, rate) for p in self.processes for rate in p.takes}

    def verify(self) -> None:
        """Check everything that can be wrong without running it.

        Raises:
            ModelError: naming the clock, process or FIFO, and what to change.
        """
        self.verify_wiring()
        writers, readers = self.writers(), self.readers()
        for fifo in self.fifos:
            _verify_tokens(fifo, *writers[fifo.name], *readers[fifo.name])

    def verify_wiring(self) -> None:
        """The part of :meth:`verify` that holds for any number of firings."""
        _unique("clock", (clock.name for clock in self.clocks))
        _unique("process", (process.name for process in self.processes))
        _unique("fifo", (fifo.name for fifo in self.fifos))
        for clock in self.clocks:
            _at_least(1, f"clock '{clock.name}'", clock, "numerator", "denominator")
        for process in self.processes:
            self._verify_process(process)
        self._verify_ends()
        for fifo in self.fifos:
            _at_least(1, f"fifo '{fifo.name}'", fifo, "depth", "width_bits")
            _at_least(0, f"fifo '{fifo.name}'", fifo, "initial_tokens", "sync_cycles")

    def _verify_process(self, process: Process) -> None:
        where = f"process '{process.name}'"
        if process.clock not in {clock.name for clock in self.clocks}:
            known = ", ".join(clock.name for clock in self.clocks)
            raise ModelError(f"{where} runs on clock '{process.clock}'; there are only: {known}")
        _at_least(0, where, process, "firings")
        _at_least(1, where, process, "latency_cycles", "release_cycles")
        _check_pattern(f"{where}, interval_cycles", process.interval_cycles, 1)
        for rate in (*process.takes, *process.gives):
            _check_pattern(f"{where}, tokens on fifo '{rate.fifo}'", rate.tokens, 0)

    def _verify_ends(self) -> None:
        named = {fifo.name for fifo in self.fifos}
        for verb, ends in (
            ("writes", [(r.fifo, p.name) for p in self.processes for r in p.gives]),
            ("reads", [(r.fifo, p.name) for p in self.processes for r in p.takes]),
        ):
            for fifo, process in ends:
                if fifo not in named:
                    raise ModelError(f"process '{process}' {verb} fifo '{fifo}': there is no such")
            users: dict[str, list[str]] = {fifo.name: [] for fifo in self.fifos}
            for fifo, process in ends:
                users[fifo].append(process)
            for fifo, found in users.items():
                if len(found) != 1:
                    who = ", ".join(found) or "none"
                    raise ModelError(f"fifo '{fifo}': exactly one process {verb} it, not {who}")


@dataclass(frozen=True, slots=True)
class Grid:
    """The common time grid of a network's clocks.

    Attributes:
        tick: length of a tick in units of time.
        period_ticks: period of each clock, by name; their greatest common divisor is 1.
    """

    tick: Fraction
    period_ticks: dict[str, int]


def grid_of(clocks: tuple[Clock, ...]) -> Grid:
    """The coarsest grid on which every edge of every clock lies."""
    periods = {clock.name: Fraction(clock.denominator, clock.numerator) for clock in clocks}
    scale = lcm(*(period.denominator for period in periods.values()))
    ticks = {name: int(period * scale) for name, period in periods.items()}
    common = gcd(*ticks.values())
    return Grid(Fraction(common, scale), {name: count // common for name, count in ticks.items()})


def repetitions(network: Network) -> dict[str, int]:
    """Least firings of each process that leave every FIFO as full as before.

    Solves the balance equations: firings of the writer times tokens given equals firings of the
    reader times tokens taken, for every FIFO, over whole cycles of the patterns. Parts of the
    network that are not connected are independent.

    Raises:
        ModelError: the equations contradict each other; the message names the FIFO.

    Source: Lee, Messerschmitt, "Synchronous data flow", Proc. IEEE 75(9), 1987, section III.
    """
    writers, readers = network.writers(), network.readers()
    joints: dict[str, list[tuple[Fifo, Process, Process, Fraction | None]]] = {}
    for fifo in network.fifos:
        (writer, given), (reader, taken) = writers[fifo.name], readers[fifo.name]
        made, used = _mean(given.tokens), _mean(taken.tokens)
        ratio = made / used if made and used else None
        if (made == 0) != (used == 0):
            raise ModelError(
                f"fifo '{fifo.name}' cannot be balanced: per firing '{writer.name}' gives {made} "
                f"tokens and '{reader.name}' takes {used}"
            )
        joints.setdefault(writer.name, []).append((fifo, writer, reader, ratio))
        back = 1 / ratio if ratio is not None else None
        joints.setdefault(reader.name, []).append((fifo, reader, writer, back))
    firings: dict[str, int] = {}
    for process in network.processes:
        if process.name not in firings:
            firings.update(_component(process, joints))
    return firings


def _component(
    root: Process, joints: dict[str, list[tuple[Fifo, Process, Process, Fraction | None]]]
) -> dict[str, int]:
    share = {root.name: Fraction(1)}
    members, open_ends = [root], [root]
    while open_ends:
        name = open_ends.pop().name
        for fifo, here, there, ratio in joints.get(name, []):
            if ratio is None:
                continue
            asked = share[name] * ratio
            if there.name not in share:
                share[there.name] = asked
                members.append(there)
                open_ends.append(there)
            elif share[there.name] != asked:
                raise ModelError(
                    f"the rates are inconsistent at fifo '{fifo.name}': for each firing of "
                    f"'{here.name}' it asks for {asked / share[name]} of '{there.name}', the rest "
                    f"of the network for {share[there.name] / share[name]}; with any number of "
                    "firings it fills up or runs dry"
                )
    cycles = {member.name: share[member.name] / member.cycle_firings for member in members}
    scale = lcm(*(value.denominator for value in cycles.values()))
    common = gcd(*(int(value * scale) for value in cycles.values()))
    return {name: int(value * scale / common) for name, value in share.items()}


def iterate(network: Network, iterations: int) -> Network:
    """``network`` with firings for ``iterations`` rounds of :func:`repetitions`."""
    firings = repetitions(network)
    return replace(
        network,
        processes=tuple(
            replace(p, firings=iterations * firings[p.name]) for p in network.processes
        ),
    )


def with_depths(network: Network, depths: dict[str, int]) -> Network:
    """``network`` with the depths of the FIFOs named in ``depths``."""
    fifos = tuple(replace(fifo, depth=depths.get(fifo.name, fifo.depth)) for fifo in network.fifos)
    return replace(network, fifos=fifos)


def most_tokens(network: Network, fifo: Fifo) -> int:
    """Tokens that ever pass ``fifo``, and so a depth at which it never stalls its writer."""
    writer, given = network.writers()[fifo.name]
    made = pattern_sum(pattern_of(given.tokens), writer.firings)
    return max(made + fifo.initial_tokens, least_depth(network, fifo))


def least_depth(network: Network, fifo: Fifo) -> int:
    """Least depth that :meth:`Network.verify` accepts for ``fifo``."""
    (writer, given), (reader, taken) = network.writers()[fifo.name], network.readers()[fifo.name]
    made = pattern_sum(pattern_of(given.tokens), writer.firings)
    used = pattern_sum(pattern_of(taken.tokens), reader.firings)
    rest = fifo.initial_tokens + made - used
    return max(1, fifo.initial_tokens, rest, _largest(given), _largest(taken))


def _largest(rate: Rate) -> int:
    return max(value for _, value in pattern_of(rate.tokens))


def _mean(tokens: int | Pattern) -> Fraction:
    pattern = pattern_of(tokens)
    return Fraction(pattern_sum(pattern, pattern_length(pattern)), pattern_length(pattern))


def _verify_tokens(fifo: Fifo, writer: Process, given: Rate, reader: Process, taken: Rate) -> None:
    for tokens, what in (
        (fifo.initial_tokens, "it holds initially"),
        (_largest(given), f"'{writer.name}' gives in one firing"),
        (_largest(taken), f"'{reader.name}' takes in one firing"),
    ):
        if tokens > fifo.depth:
            raise ModelError(
                f"fifo '{fifo.name}': depth {fifo.depth} is less than the {tokens} tokens "
                f"{what}; raise its depth"
            )
    made = pattern_sum(pattern_of(given.tokens), writer.firings)
    used = pattern_sum(pattern_of(taken.tokens), reader.firings)
    rest = fifo.initial_tokens + made - used
    if max(made, used) > LARGEST:
        raise ModelError(f"fifo '{fifo.name}': more than {LARGEST:,} tokens")
    if not 0 <= rest <= fifo.depth:
        fault = f"{-rest} too few" if rest < 0 else f"{rest} left, but only {fifo.depth} fit"
        raise ModelError(
            f"fifo '{fifo.name}': '{writer.name}' gives {made} tokens in {writer.firings} "
            f"firings, '{reader.name}' takes {used} in {reader.firings}, and "
            f"{fifo.initial_tokens} are there initially: {fault}; correct the rates or the "
            "firings (see repetitions)"
        )


def _unique(kind: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ModelError(f"two of the network are called {kind} '{name}'; rename one")
        seen.add(name)


def _at_least(least: int, where: str, record: object, *fields: str) -> None:
    for field in fields:
        value = getattr(record, field)
        if value < least:
            raise ModelError(f"{where}: {field} is {value}; it must be at least {least}")


def _check_pattern(where: str, value: int | Pattern, least: int) -> None:
    pattern = pattern_of(value)
    if not pattern:
        raise ModelError(f"{where}: the pattern is empty")
    for repeats, each in pattern:
        if repeats < 1 or each < least:
            raise ModelError(
                f"{where}: run ({repeats}, {each}) needs at least 1 repeat of at least {least}"
            )
