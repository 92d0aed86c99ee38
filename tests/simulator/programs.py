"""Random and hand-made programs and machines for tests of the simulator."""

from hypothesis import strategies as st

from stowplan.ir.program import Command, CommandKind, Engine, Program
from stowplan.simulator.machine import Machine

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
        return Command(kind, (engine,), str(index), index, waits, delay, size)
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


machines = st.builds(Machine, st.integers(1, 20), st.integers(1, 6), st.integers(1, 4))
