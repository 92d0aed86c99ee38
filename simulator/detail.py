"""Boundary of the kernel with full DRAM and interleaved banks: arrays in, counts out."""

from fractions import Fraction
from itertools import accumulate
from typing import get_args

import numpy as np

from stowplan.ir.program import Command, CommandKind, Program, Walk
from stowplan.simulator import detail_kernels as detailed
from stowplan.simulator import dram_kernels
from stowplan.simulator.accesses import require_capacity, segments_of
from stowplan.simulator.dram import DramCounts, empty_stream, new_state, pieces_of
from stowplan.simulator.dram_rules import rules_of
from stowplan.simulator.kernels import Ints, Queues, State
from stowplan.simulator.machine import DramLink, Machine
from stowplan.targets.dram_presets import load_dram
from stowplan.targets.target import Priority

STREAM = 1 << 14
"""Requests a channel's stream has room for, at least; then those done with are forgotten."""


def run_detailed(
    program: Program, machine: Machine, queues: Queues, state: State
) -> tuple[int, DramCounts | None, int]:
    """Cycles (-1 when nothing can go on), DRAM events and DRAM clocks; ``state`` is filled."""
    commands, link = program.commands, machine.dram
    if link is not None:
        require_capacity(program, link)
        state.delay[:] = [c.delay_cycles - c.latency_cycles for c in commands]
        state.units[:] = 0
    if machine.dma_clock is not None:
        # Set-up is counted on the DMA's own clock.
        state.delay[:] -= queues.setup
    if machine.interleaved:
        state.accesses[:] = [computing_cycles(c) for c in commands]
    engines = state.command.shape[0]
    numbers, memory = _numbers(machine), _memory(machine, engines)
    detail = _detail(program, machine, queues, state)
    cycles = int(detailed.run(queues, state, numbers, detail, memory))
    if link is None or cycles < 0:
        return cycles, None, 0
    counts, clocks = _settle(memory, -(-cycles * numbers.clocks // numbers.cycles))
    return cycles, counts, clocks


def computing_cycles(command: Command) -> int:
    """Cycles of a computation that gets all the words it asks for."""
    return -(-command.bank_accesses // command.bank_rate)


def words_of(walk: Walk, width: int) -> tuple[int, int, int, int]:
    """First word, words until it begins again, words in all, and words skipped before them."""
    first = walk.address // width
    extent = -(-(walk.address + walk.extent_bytes) // width) - first
    return first, extent, -(-walk.size_bytes // width), walk.skipped_bytes // width


def _link(machine: Machine) -> DramLink:
    """The DRAM; in bandwidth mode one that the kernel never looks at."""
    return machine.dram or DramLink(load_dram(), Fraction(1))


def _numbers(machine: Machine) -> detailed.Numbers:
    link = _link(machine)
    organisation = link.spec.organisation
    return detailed.Numbers(
        bytes_per_cycle=machine.bytes_per_cycle,
        banks=machine.banks,
        width=machine.bank_width_bytes,
        ports=machine.ports,
        interleaved=int(machine.interleaved),
        full=int(machine.dram is not None),
        clocks=link.clock_ratio.numerator,
        cycles=link.clock_ratio.denominator,
        path=link.path_cycles,
        outstanding=link.outstanding,
        per_cycle=link.requests_per_cycle,
        port=link.port_bytes,
        access=organisation.access_bytes,
        groups=organisation.bank_groups,
        group_banks=organisation.banks_per_group,
        channels=machine.channels,
        priority=get_args(Priority).index(machine.priority),
        clocked=int(machine.clocked),
    )


def _memory(machine: Machine, engines: int) -> detailed.Memory:
    link = _link(machine)
    rules, channels = rules_of(link.spec), link.spec.organisation.channels
    flying = link.outstanding * engines
    held = rules.write_queue + rules.read_queue + rules.banks * rules.bank_queue
    room = max(STREAM, 4 * (flying + held)) if machine.dram else 1
    # Completions pending at once lie within a read's latency and one core cycle of each other.
    slots = 1 << (rules.read_latency + int(link.clock_ratio) + 4).bit_length()
    return detailed.Memory(
        rules=rules,
        state=new_state(link.spec, done_capacity=flying + 1),
        stream=empty_stream(link.spec, room),
        link=dram_kernels.Link(
            owner=np.zeros((channels, room), dtype=np.int64),
            calendar=np.zeros((slots, engines), dtype=np.int64),
            marks=np.array([dram_kernels.NEVER, 0], dtype=np.int64),
            place=np.zeros(room, dtype=np.int64),
        ),
        pieces=pieces_of(link.spec),
    )


def _detail(program: Program, machine: Machine, queues: Queues, state: State) -> detailed.Detail:
    commands, engines = program.commands, state.command.shape[0]
    setup = queues.setup
    lines = range(queues.queue_begin.shape[0] - 1)
    domains = [machine.domain(line) for line in lines for _ in range(machine.engines(line))]
    ratios = [domain.ratio if domain else Fraction(1) for domain in domains]
    segments = [list(segments_of(c, _link(machine))) if machine.dram else [] for c in commands]
    flat = [segment for own in segments for segment in own]
    computing = [c.walks if c.kind is CommandKind.COMPUTE else () for c in commands]
    walks = [
        (*words_of(walk, machine.bank_width_bytes), computing_cycles(command))
        for command, own in zip(commands, computing, strict=True)
        for walk in own
    ]
    zeros = [np.zeros(engines, dtype=np.int64) for _ in range(10)]
    return detailed.Detail(
        segment_begin=_integers([0, *accumulate(map(len, segments))]),
        segment_block=_integers([block for block, _, _ in flat]),
        segment_count=_integers([count for _, count, _ in flat]),
        segment_write=_integers([int(write) for _, _, write in flat]),
        walk_begin=_integers([0, *accumulate(map(len, computing))]),
        walk_word=_integers([first for first, *_ in walks]),
        walk_extent=_integers([extent for _, extent, *_ in walks]),
        walk_rate=_integers([-(-words // cycles) for *_, words, _, cycles in walks]),
        walk_left=_integers([words for *_, words, _, _ in walks]),
        walk_need=np.zeros(len(walks), dtype=np.int64),
        walk_next=_integers([skipped for *_, skipped, _ in walks]),
        base=_integers([_base(command) for command in commands]),
        segment=zeros[0],
        offset=zeros[1],
        left=zeros[2],
        flying=zeros[3],
        inbox=zeros[4],
        unfetched=zeros[5],
        staged=zeros[6],
        issue=zeros[7],
        move=zeros[8],
        moved=zeros[9],
        whole=np.zeros(engines, dtype=np.int64),
        taken=np.zeros(machine.banks, dtype=np.int64),
        later=np.zeros(engines, dtype=np.int64),
        rest=state.delay - (0 if machine.dma_clock else setup),
        setup=setup if machine.dma_clock else 0 * setup,
        crosses=_integers([int(domain is not None) for domain in domains]),
        over=_integers([ratio.numerator for ratio in ratios]),
        under=_integers([ratio.denominator for ratio in ratios]),
        sync=_integers([domain.sync_cycles if domain else 0 for domain in domains]),
        owed=np.zeros(engines, dtype=np.int64),
        lag=np.zeros(engines, dtype=np.int64),
        own=np.ones(engines, dtype=np.int64),
        budget=np.ones(engines, dtype=np.int64),
        halted=np.zeros(engines, dtype=np.int64),
    )


def _base(command: Command) -> int:
    transfer = command.kind is not CommandKind.COMPUTE and command.walks
    return command.walks[0].address if transfer else -1


def _integers(values: list[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def _settle(memory: detailed.Memory, until: int) -> tuple[DramCounts, int]:
    """Bring all channels to the clock at which the program ended, then empty their queues."""
    state, stream = memory.state, memory.stream
    scalar = state.scalar
    for channel in range(len(scalar)):
        dram_kernels.advance(memory.rules, state, stream, channel, until)
    # Between the end and a channel's next event lies nothing.
    scalar[:, dram_kernels.CLOCK] = np.minimum(scalar[:, dram_kernels.CLOCK], until)
    scalar[:, dram_kernels.DONE] = 0
    dram_kernels.drain(memory.rules, state, stream)
    clocks = int(scalar[:, dram_kernels.CLOCK].max())
    totals = state.counters.sum(axis=0)
    still_open = state.open_banks[:, :, 0] > 0
    totals[dram_kernels.OPEN_CLOCKS] += (clocks - state.open_banks[:, :, 1])[still_open].sum()
    return DramCounts(*totals.tolist()), clocks
