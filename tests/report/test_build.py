"""The report says what the plan does."""

import pytest
from tests.report.samples import planned, subject_of, ten_cycles_each

from stowplan.errors import Misfit
from stowplan.ir.traffic import traffic
from stowplan.report.build import build_report, misfit_summary

SEEDS = range(25)


@pytest.mark.parametrize("seed", SEEDS)
def test_live_bytes_equal_a_byte_by_byte_count(seed: int) -> None:
    graph, target, plan = planned(seed)
    report = build_report(subject_of(graph, target), plan, ten_cycles_each(plan), None)
    for row in report.operators:
        taken = {
            byte
            for block in report.blocks
            if block.reserved_from <= row.step < block.end
            for byte in range(block.address, block.address + block.size_bytes)
        }
        assert row.live_bytes == len(taken)
    assert max(row.live_bytes for row in report.operators) <= target.scratchpad.size_bytes


@pytest.mark.parametrize("seed", SEEDS)
def test_off_chip_bytes_of_all_steps_add_up_to_the_traffic(seed: int) -> None:
    graph, target, plan = planned(seed)
    report = build_report(subject_of(graph, target), plan, ten_cycles_each(plan), None)
    moved = traffic(graph, plan, target.memory_spec(plan.track_weights))
    assert sum(row.offchip_bytes for row in report.operators) == moved.offchip_bytes
    summary = report.summary
    assert summary.offchip_bytes == moved.offchip_bytes
    assert summary.compulsory_bytes + (summary.noncompulsory_bytes or 0) == moved.offchip_bytes
    assert summary.objective == plan.proof.value == summary.noncompulsory_bytes
    assert summary.peak_bytes == max(block.address + block.size_bytes for block in report.blocks)


def test_a_block_is_loaded_exactly_when_a_transfer_brings_it() -> None:
    graph, target, plan = planned(3)
    report = build_report(subject_of(graph, target), plan, ten_cycles_each(plan), None)
    loads = sorted((t.storage, t.deadline) for t in plan.transfers if t.kind == "load")
    assert sorted((b.storage, b.start) for b in report.blocks if b.loaded) == loads


def test_misfit_summary_leaves_the_missing_plan_null() -> None:
    graph, target, _ = planned(1)
    misfit = Misfit("conv", 300, 200, (("a", 200), ("b", 100)), 320)
    summary = misfit_summary(subject_of(graph, target), "greedy", "peak", True, misfit)
    assert summary.status == "does_not_fit"
    assert summary.capacity_bytes == 200
    assert (summary.peak_bytes, summary.objective, summary.cycles) == (None, None, None)
    assert summary.track_weights and summary.objective_name == "peak"
    assert not summary.proven and not summary.checked


def test_reloads_are_the_loads_beyond_the_first_from_dram() -> None:
    reloads = 0
    for seed in SEEDS:
        graph, target, plan = planned(seed)
        report = build_report(subject_of(graph, target), plan, ten_cycles_each(plan), None)
        moved = traffic(graph, plan, target.memory_spec(plan.track_weights))
        found = [block for block in report.blocks if block.category == "reload"]
        assert all(block.loaded for block in found)
        assert sum(block.size_bytes for block in found) <= moved.noncompulsory_bytes
        reloads += len(found)
    assert reloads
