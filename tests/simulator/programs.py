"""Random and hand-made programs and machines for tests of the simulator."""

from dataclasses import replace
from fractions import Fraction

import msgspec
from hypothesis import strategies as st
from tests.simulator.dram_cases import specs

from stowplan.ir.graph import Interval
from stowplan.ir.program import Command, CommandKind, Engine, Program, Walk
from stowplan.simulator.machine import Domain, DramLink, Machine
from stowplan.targets.dram_presets import DramSpec
from stowplan.targets.target import Priority

COMPUTE_ENGINES = ((Engine.ARRAY,), (Engine.VECTOR,), (Engine.ARRAY, Engine.VECTOR))
TRANSFERS = (CommandKind.LOAD, CommandKind.WEIGHT, CommandKind.STORE)
WIDE = Machine(bytes_per_cycle=8, banks=64, bank_width_bytes=64)


def transfer(kind: CommandKind, size: int, waits: tuple[int, ...] = (), delay: int = 0) -> Command:
    """A transfer of ``size`` bytes."""
    engine = Engine.DMA_OUT if kind is CommandKind.STORE else Engine.DMA_IN
    return Command(kind, (engine,), f"{kind}{size}", 0, waits, delay, dram_bytes=size)


def compute(
    engine: Engine,
    cycles: int,
    waits: tuple[int, ...] = (),
    rate: int = 1,
    direct: int = 0,
    joint: bool = False,
) -> Command:
    """A computation of ``cycles`` cycles that uses ``rate`` banks in each."""
    engines = COMPUTE_ENGINES[2] if joint else (engine,)
    return Command(
        CommandKind.COMPUTE,
        engines,
        f"compute{cycles}",
        0,
        waits,
        dram_bytes=direct,
        bank_accesses=cycles * rate,
        bank_rate=rate,
    )


@st.composite
def commands(draw: st.DrawFn, index: int, sharing: bool) -> Command:
    """Command number ``index``; without ``sharing`` only dma-in uses DRAM."""
    earlier = st.integers(0, index - 1) if index else st.nothing()
    waits = tuple(sorted(draw(st.sets(earlier, max_size=3)))) if index else ()
    delay = draw(st.integers(0, 6))
    kind = draw(st.sampled_from(list(CommandKind) if sharing else _WITHOUT_STORES))
    if kind is not CommandKind.COMPUTE:
        size = draw(st.integers(1, 60))
        engine = Engine.DMA_OUT if kind is CommandKind.STORE else Engine.DMA_IN
        setup = draw(st.integers(0, delay))
        return Command(kind, (engine,), str(index), index, waits, delay, size, setup_cycles=setup)
    return Command(
        kind,
        draw(st.sampled_from(COMPUTE_ENGINES)),
        str(index),
        index,
        waits,
        delay,
        draw(st.one_of(st.just(0), st.integers(1, 60))) if sharing else 0,
        draw(st.integers(1, 90)),
        draw(st.integers(1, 9)),
    )


_WITHOUT_STORES = [CommandKind.LOAD, CommandKind.WEIGHT, CommandKind.COMPUTE]


@st.composite
def programs(draw: st.DrawFn, sharing: bool = True, most: int = 12) -> Program:
    """A random program of at most ``most`` commands."""
    count = draw(st.integers(0, most))
    return Program(tuple(draw(commands(i, sharing)) for i in range(count)))


MOST_ADDRESS = 4000


def ranges(most: int) -> st.SearchStrategy[tuple[Interval, ...]]:
    """DRAM ranges; some share accesses, some are empty."""
    one = st.tuples(st.integers(0, MOST_ADDRESS), st.integers(0, 200))
    return st.lists(one, max_size=most).map(lambda pairs: tuple((a, a + n) for a, n in pairs))


walks = st.builds(
    Walk, st.integers(0, 60), st.integers(1, 50), st.integers(1, 150), st.integers(0, 90)
)


@st.composite
def detailed_commands(draw: st.DrawFn, index: int, cores: int) -> Command:
    """Command number ``index`` with DRAM ranges and scratchpad walks."""
    earlier = st.integers(0, index - 1) if index else st.nothing()
    waits = tuple(sorted(draw(st.sets(earlier, max_size=3)))) if index else ()
    kind = draw(st.sampled_from(list(CommandKind)))
    latency = draw(st.integers(0, 5))
    delay = latency + draw(st.integers(0, 5))
    if kind is not CommandKind.COMPUTE:
        store = kind is CommandKind.STORE
        touched = draw(ranges(2))
        return Command(
            kind,
            (Engine.DMA_OUT if store else Engine.DMA_IN,),
            str(index),
            index,
            waits,
            delay,
            draw(st.integers(1, 90)),
            latency_cycles=latency,
            dram_reads=() if store else touched,
            dram_writes=touched if store else (),
            walks=() if kind is CommandKind.WEIGHT else (draw(walks),),
            setup_cycles=draw(st.integers(0, delay - latency)),
        )
    direct = draw(st.booleans())
    return Command(
        kind,
        draw(st.sampled_from(COMPUTE_ENGINES)),
        str(index),
        index,
        waits,
        delay,
        draw(st.integers(1, 60)) if direct else 0,
        draw(st.integers(1, 60)),
        draw(st.integers(1, 5)),
        core=draw(st.integers(0, cores - 1)),
        latency_cycles=latency,
        dram_reads=draw(ranges(2)) if direct else (),
        dram_writes=draw(ranges(2)) if direct else (),
        walks=tuple(draw(st.lists(walks, max_size=3))),
    )


@st.composite
def detailed_programs(draw: st.DrawFn, most: int = 10) -> Program:
    """A random program of several cores that says where everything lies."""
    count, cores = draw(st.integers(0, most)), draw(st.integers(1, 3))
    commands = tuple(draw(detailed_commands(i, cores)) for i in range(count))
    return Program(commands, cores=cores)


def _with_rows(spec: DramSpec) -> DramSpec:
    """The device with room for every address of :func:`ranges`."""
    organisation = msgspec.structs.replace(spec.organisation, rows=64)
    return msgspec.structs.replace(spec, organisation=organisation)


links = st.builds(
    DramLink,
    specs().map(_with_rows),
    st.builds(Fraction, st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from([1, 4, 48, 64, 256]),
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(1, 80),
    st.integers(0, 5),
)
detailed_machines = st.builds(
    Machine,
    st.integers(1, 20),
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(1, 2),
    st.booleans(),
    st.one_of(st.none(), links),
)
machines = st.builds(Machine, st.integers(1, 20), st.integers(1, 6), st.integers(1, 4))
priorities = st.sampled_from(["shared", "demand", "load_first", "store_first"])


def with_dma(machines: st.SearchStrategy[Machine]) -> st.SearchStrategy[Machine]:
    """The same machines with channels, queues and priorities."""
    return st.builds(_dma, machines, st.integers(1, 3), st.integers(0, 4), priorities)


def _dma(machine: Machine, channels: int, queue_depth: int, priority: Priority) -> Machine:
    return replace(machine, channels=channels, queue_depth=queue_depth, priority=priority)


RATIOS = tuple(Fraction(*pair) for pair in ((1, 1), (3, 2), (7, 5), (2, 3), (5, 7), (3, 1), (1, 4)))
domains = st.builds(Domain, st.sampled_from(RATIOS), st.integers(0, 3))


def with_clocks(machines: st.SearchStrategy[Machine]) -> st.SearchStrategy[Machine]:
    """The same machines with clocks of their own for DMA, vector units or both."""
    maybe = st.one_of(st.none(), domains)
    return st.builds(_clocks, machines, maybe, maybe)


def _clocks(machine: Machine, dma: Domain | None, vector: Domain | None) -> Machine:
    return replace(machine, dma_clock=dma, vector_clock=vector)


def with_all(machines: st.SearchStrategy[Machine]) -> st.SearchStrategy[Machine]:
    """Channels, queues, priorities and clocks together."""
    return with_clocks(with_dma(machines))
