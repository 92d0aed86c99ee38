"""The joint-planning benchmark: records, resumption, averages."""

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.cosma import baseline_names, main, networks
from benchmarks.cosma_data import Case, Facts, Results, Run
from benchmarks.cosma_tables import entries, markdown
from benchmarks.networks import HAND_DESIGNED, NAS

from stowplan.errors import InternalError

CASE = Case("ResNet-50", "int8", parameters=False)
FACTS = Facts(CASE, 9, 5, 100, 40, 61, 50, 1.0, (0, 1, 2, 3, 4))


def run(planner: str, value: int, bound: int = 0, capacity: int = 40) -> Run:
    """A run of the case."""
    return Run(CASE, capacity, planner, value, bound, seconds=0.5, cpu_s=0.25, limit_s=60.0)


def measured() -> Results:
    """``exact`` at 20 bytes against baselines of 40, 80, 40 and nothing."""
    results = Results().with_facts(FACTS).with_run(run("exact", 20, 20))
    for name, value in zip(baseline_names(), (40, 80, 40, 20), strict=True):
        results = results.with_run(run(name, value))
    return results


def test_budgets_are_the_largest_operator_the_peak_and_their_mean() -> None:
    assert FACTS.budgets() == {"M_R": 40, "M_mean": 50, "M_P": 61}
    assert replace(FACTS, peak_bytes=40).budgets() == {"M_R": 40}


def test_the_best_known_peak_is_kept() -> None:
    worse = replace(FACTS, peak_bytes=70, peak_bound_bytes=55, peak_order=(1, 0, 2, 3, 4))
    assert worse.improved_by(FACTS) == replace(FACTS, peak_bound_bytes=55)
    assert FACTS.improved_by(worse) == replace(FACTS, peak_bound_bytes=55)
    assert worse.improved_by(None) == worse.improved_by(replace(FACTS, operators=6)) == worse


def test_results_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.json"
    assert Results.load(path) == Results()
    measured().save(path)
    assert Results.load(path) == measured()


def test_a_run_replaces_its_predecessor() -> None:
    results = measured().with_run(run("exact", 20, 10))
    stored = results.run_of(CASE, 40, "exact")
    assert stored is not None and stored.bound_bytes == 10 and not stored.optimal
    assert len(results.runs) == len(measured().runs)


def test_a_value_below_a_bound_is_an_error() -> None:
    with pytest.raises(InternalError, match="claims that 20 bytes"):
        measured().with_run(run("cosma", 19))
    with pytest.raises(InternalError, match="claims that 21 bytes"):
        measured().with_run(run("cosma", 21, 21))


def test_runs_at_former_budgets_go() -> None:
    results = measured().with_run(run("exact", 0, 0, capacity=61))
    moved = results.with_facts(replace(FACTS, peak_bytes=60))
    assert {r.capacity_bytes for r in moved.runs} == {40}


def test_gap_and_status() -> None:
    assert run("exact", 0).optimal and run("exact", 0).gap == 0
    assert run("exact", 20, 15).gap == pytest.approx(0.25)


def test_reductions_and_their_averages() -> None:
    """Ratios 1/2, 1/4, 1/2 and 1: mean reduction 7/16, geometric 1 - 2**-1, total 1 - 80/180."""
    (entry,) = entries(measured())
    assert entry.reductions() == pytest.approx([0.5, 0.75, 0.5, 0.0])
    note = markdown(measured())
    assert "| 4 | 43.8% | 50.0% (4) | 55.6% | 84 % (M_R, integer program) |" in note
    assert "proven optimal in under 5 s: 1 of 1; mean 0.50 s, 0.25 s of processor time" in note


def test_unproven_networks_are_listed() -> None:
    case = replace(CASE, network="DARTS")
    results = Results().with_facts(replace(FACTS, case=case))
    results = results.with_run(replace(run("exact", 20, 15), case=case))
    assert "    - DARTS, int8, without parameters, M_R: gap 25.00%, 0.5 s, 0.2 s of" in markdown(
        results
    )


def test_settings_are_told_apart() -> None:
    assert CASE.setting == "int8, without parameters"
    unfused = replace(CASE, parameters=True, fused=False)
    assert unfused.setting == "int8, unfused, with parameters"
    results = measured().with_facts(replace(FACTS, case=unfused))
    note = markdown(results.with_run(replace(run("exact", 7, 7), case=unfused)))
    assert note.index("## Int8, without parameters") < note.index("## Int8, unfused, with")


def test_groups_of_networks() -> None:
    assert networks("hand") == tuple(HAND_DESIGNED)
    assert networks("DARTS,nas") == ("DARTS", *(name for name in NAS if name != "DARTS"))
    with pytest.raises(SystemExit, match="AlexNet"):
        networks("AlexNet")


def test_a_run_is_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.json"
    command = ["--networks", "ResNet-50", "--budgets", "M_R", "--out", str(path)]
    main([*command, "--planner", "greedy"])
    first = Results.load(path)
    main([*command, "--planner", "greedy,exact", "--render"])
    second = Results.load(path)
    assert first.facts == second.facts
    assert set(first.runs) < set(second.runs)
    assert len([name for name, _ in second.environment if name == "command"]) == 2
    assert {r.planner for r in second.runs} == {"greedy", "exact", *baseline_names()}
    exact = second.run_of(Case("ResNet-50", "int8", False), 1_806_336, "exact")
    assert exact is not None and exact.optimal and exact.value_bytes == 0
    assert "ResNet-50" in capsys.readouterr().out
    assert "| ResNet-50 | 57 |" in path.with_suffix(".md").read_text()
