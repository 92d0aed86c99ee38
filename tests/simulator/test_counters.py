"""Counters: what goes into a memory comes out, slices and operators add up to the whole."""

from dataclasses import replace
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import Case, random_case, small_target

from stowplan.passes.greedy import plan_greedy
from stowplan.passes.planner import PlanOptions
from stowplan.simulator.compiled import needs_compiling
from stowplan.simulator.counters import MemoryBytes, buckets
from stowplan.simulator.engine import run, simulate
from stowplan.simulator.lower import lower
from stowplan.simulator.machine import machine_of
from stowplan.simulator.result import SimResult
from stowplan.targets.load import load_target
from stowplan.targets.target import DramMode, Target

law = settings(max_examples=40, deadline=None)
cases = st.builds(random_case, st.integers(0, 10**6), st.integers(1, 12))
modes = st.sampled_from(["bandwidth", "full"])


def measured(case: Case, mode: DramMode, target: Target | None = None) -> SimResult:
    """The greedy plan of a case, simulated on its own or another machine."""
    plan = plan_greedy(case.graph, case.target, PlanOptions(track_weights=case.track_weights))
    machine = target or case.target
    return simulate(lower(case.graph, plan, machine), machine, mode)


def memory(result: SimResult, name: str) -> MemoryBytes:
    (found,) = (m for m in result.memories if m.name == name)
    return found


@law
@given(cases, modes)
def test_what_leaves_one_memory_enters_another(case: Case, mode: DramMode) -> None:
    result = measured(case, mode)
    dram, pad = memory(result, "dram"), memory(result, "scratchpad")
    buffer = memory(result, "weight buffer")
    assert dict(dram.read)["load"] == dict(pad.written)["load"]
    assert dict(dram.written)["store"] == dict(pad.read)["store"]
    assert dict(dram.read)["weight"] == dict(buffer.written)["weight"]
    assert buffer.read[0][1] == buffer.written[0][1]
    crossed = sum(size for _, size in (*dram.read, *dram.written))
    assert crossed == result.bytes.total


@law
@given(cases, modes)
def test_operators_add_up_to_the_run(case: Case, mode: DramMode) -> None:
    result = measured(case, mode)
    assert sum(op.macs for op in result.operators) == result.macs
    assert sum(op.weight_bytes for op in result.operators) == result.bytes.weight
    direct = result.bytes.direct_read + result.bytes.direct_write
    assert sum(op.direct_bytes for op in result.operators) == direct
    for op in result.operators:
        causes = dict(op.causes)
        working = sum(causes.get(c, 0) for c in ("busy", "setup", "delay", "bank", "dram"))
        assert 0 < working <= op.end - op.start
    energy = dict(result.energy_pj)
    for part in ("mac", "vector"):
        own = sum(dict(op.energy_pj)[part] for op in result.operators)
        assert own == pytest.approx(energy[part])


@law
@given(cases, modes, st.integers(1, 40))
def test_slices_add_up_to_the_run(case: Case, mode: DramMode, count: int) -> None:
    plan = plan_greedy(case.graph, case.target, PlanOptions(track_weights=case.track_weights))
    program = lower(case.graph, plan, case.target)
    timing = run(program, machine_of(case.target, mode))
    slices = buckets(program, timing, count)
    assert slices[0].start == 0 and slices[-1].end == timing.cycles
    assert all(a.end == b.start for a, b in pairwise(slices))
    assert sum(s.read_bytes for s in slices) == sum(c.read_bytes for c in program.commands)
    assert sum(s.written_bytes for s in slices) == sum(c.written_bytes for c in program.commands)
    for queue, own in enumerate(program.queues()):
        held = sum(timing.end[i] - timing.start[i] for i in own)
        shown = sum(s.active[queue] * (s.end - s.start) for s in slices)
        assert shown == pytest.approx(held)
        assert all(0 <= s.active[queue] <= 1 for s in slices)


@law
@given(cases, modes)
def test_no_run_is_above_its_roof(case: Case, mode: DramMode) -> None:
    result = measured(case, mode)
    roof = result.roofline
    assert roof.macs_per_cycle <= roof.roof_macs_per_cycle * (1 + 1e-9)
    assert roof.roof_macs_per_cycle <= roof.peak_macs_per_cycle * (1 + 1e-9)


@law
@given(cases, modes, st.integers(1, 4), st.integers(1, 4))
def test_another_machine_moves_the_same_bytes(
    case: Case, mode: DramMode, faster: int, banks: int
) -> None:
    """Bandwidth, banks and a larger scratchpad change when bytes move, never how many."""
    target = case.target
    other = msgspec.structs.replace(
        target,
        dram=msgspec.structs.replace(target.dram, bytes_per_cycle=8 * faster),
        scratchpad=msgspec.structs.replace(
            target.scratchpad,
            size_bytes=target.scratchpad.size_bytes * banks,
            banks=target.scratchpad.banks * banks,
            banking="interleaved",
        ),
    )
    assert measured(case, mode, other).memories == measured(case, mode).memories


def test_full_mode_tells_commands_rows_and_energy() -> None:
    case = replace(random_case(3, 8), target=load_target("edge-npu"))
    result = measured(case, "full")
    assert result.mode == "full" and result.dram is not None
    assert result.dram.device == "lpddr4-3200" and result.dram.channels == 2
    assert 0 < result.dram.hit_share <= 1 and 0 < result.dram.bus_share <= 1
    names = [name for name, _ in result.energy_pj]
    assert names[3:] == [f"dram {n}" for n in ("activate", "read", "write", "refresh", "standby")]
    assert measured(case, "bandwidth").dram is None


def test_a_kernel_that_has_run_needs_no_compiling() -> None:
    both: tuple[DramMode, ...] = ("bandwidth", "full")
    for mode in both:
        machine = machine_of(small_target(256), mode)
        case = random_case(1, 3)
        plan = plan_greedy(case.graph, case.target, PlanOptions(track_weights=case.track_weights))
        run(lower(case.graph, plan, case.target), machine)
        assert not needs_compiling(machine)
