"""Tables of the joint-planning benchmark: one for the terminal, one in Markdown, the averages."""

import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from math import exp, log
from pathlib import Path
from statistics import fmean

from rich.table import Table

from benchmarks.cosma_data import BUDGETS, Facts, Results, Run
from benchmarks.networks import HAND_DESIGNED, NAS, NETWORKS

PACKAGES = ("stowplan", "ortools", "pulp", "numba", "numpy", "onnx")
HAND_LIMIT_S, HAND_MEAN_S, NAS_LIMIT_S, NAS_GAP = 5.0, 0.3, 60.0, 0.01
PUBLISHED = {"hand-designed": "84 % (M_R, integer program)", "NAS": "85 % (divide and conquer)"}
"""Average reduction of non-compulsory bytes as published. Source: COSMA (Li et al., 2023)."""


PLANNED = """\
Networks are built by `benchmarks/networks` from their published definitions with 224 x 224 inputs,
imported, fused (convolution or matrix product with bias, normalisation, activation and residual
sum; element-wise chains) and planned as plain tensors: no views, no reuse in place, no tiling,
because the literature has none. Attention is planned operator by operator. M_R is the demand of the
largest operator, M_P the least peak over all orders, M_mean their mean; a network with M_P = M_R
has one line. *Value* is non-compulsory off-chip bytes, counted from the plan after the checker has
passed it; *bound* is proven. *Seconds* are the planner's whole wall time, import and checks left
out, on a machine that others used too, several to a core at times: they are noisy and err upwards,
and *CPU seconds*, the processor time of the same call, are the fairer figure."""
BASELINES = """\
Baselines: largest-first arena allocation x {graph order, minimum-peak order} x {Belady, fewest
bytes} replacement, each an independent program whose plan passes the same checker."""
AVERAGES = """\
Reduction of non-compulsory bytes against the four baselines. Arithmetic: mean of the reductions
over all pairs of network and baseline. Geometric: one minus the geometric mean of the ratios, over
the pairs in which `exact` moves anything (the others have ratio 0). Total: of the bytes summed over
pairs. Pairs whose baseline moves nothing are left out, so a network on which no baseline moves
anything does not count. Where the status is optimal no plan moves fewer bytes: a reduction below
the published one is then a matter of the operators planned and of how strong the baselines are,
which the publication leaves open, not of the planner."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a table: a case at a budget.

    Attributes:
        facts: of the case.
        budget: its name.
        exact: run of planner ``exact``.
        cosma: run of planner ``cosma``, if there is one.
        baselines: runs of the baselines.
    """

    facts: Facts
    budget: str
    exact: Run
    cosma: Run | None
    baselines: tuple[Run, ...]

    def reductions(self) -> list[float]:
        """Share of each baseline's bytes that is avoided; baselines without any are left out."""
        return [
            1 - self.exact.value_bytes / run.value_bytes
            for run in self.baselines
            if run.value_bytes
        ]


def environment(
    workers: int, arguments: Sequence[str], earlier: Sequence[tuple[str, str]] = ()
) -> tuple[tuple[str, str], ...]:
    """Where and with what the figures are made; commands of earlier calls are kept."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    command = ("command", " ".join(["python -m benchmarks.cosma", *arguments]))
    commands = [pair for pair in earlier if pair[0] == "command" and pair != command]
    return (
        ("date", date.today().isoformat()),
        ("processor", f"{_processor()}, {os.cpu_count()} cores, {workers} solver thread(s)"),
        ("python", platform.python_version()),
        ("versions", versions),
        *commands,
        command,
    )


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def entries(results: Results) -> tuple[Entry, ...]:
    """Every case and budget that ``exact`` has planned, in the order of the networks."""
    order = {name: i for i, name in enumerate(NETWORKS)}
    known = sorted(
        (facts for facts in results.facts if facts.case.network in order),
        key=lambda f: (
            f.case.precision != "int8",
            not f.case.fused,
            f.case.parameters,
            order[f.case.network],
        ),
    )
    found = (entry_of(facts, budget, results) for facts in known for budget in facts.budgets())
    return tuple(entry for entry in found if entry is not None)


def entry_of(facts: Facts, budget: str, results: Results) -> Entry | None:
    """One line, if ``exact`` has planned it."""
    at = facts.case, facts.budgets()[budget]
    exact = results.run_of(*at, "exact")
    if exact is None:
        return None
    runs = tuple(r for r in results.runs if r.key[:2] == at and "," in r.planner)
    return Entry(facts, budget, exact, results.run_of(*at, "cosma"), runs)


def live_table(facts: Facts, budget: str, results: Results) -> Table:
    """Every run of a case at a budget."""
    capacity = facts.budgets()[budget]
    table = Table(
        "planner",
        *("bytes", "bound", "gap", "status", "seconds", "CPU seconds"),
        title=f"{facts.case.network}, {facts.case.setting}: {facts.operators} "
        f"operators, {budget} {capacity:,} (peak {facts.peak_bytes:,} >= "
        f"{facts.peak_bound_bytes:,})",
        title_justify="left",
    )
    for run in results.runs:
        if run.key[:2] == (facts.case, capacity):
            table.add_row(run.planner, *_columns(run), f"{run.seconds:.2f}", f"{run.cpu_s:.2f}")
    return table


def _columns(run: Run) -> tuple[str, str, str, str]:
    if "," in run.planner:
        return f"{run.value_bytes:,}", "", "", ""
    status = "optimal" if run.optimal else "feasible"
    return f"{run.value_bytes:,}", f"{run.bound_bytes:,}", f"{run.gap:.2%}", status


def markdown(results: Results) -> str:
    """The whole note."""
    found = entries(results)
    lines = ["# Joint order, allocation and replacement", "", *_preface(results), ""]
    for setting, part in _by_setting(found).items():
        lines += [f"## {setting[0].upper()}{setting[1:]}", "", *_results_table(part), ""]
        lines += [*_baseline_table(part), ""]
        if any(entry.cosma for entry in part):
            lines += [*_cosma_table(part), ""]
    lines += ["## Averages", "", *_averages(found), "", "## Targets", "", *_targets(found), ""]
    return "\n".join(lines)


def _by_setting(found: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Entries by setting, in the order in which the settings first occur."""
    parts: dict[str, list[Entry]] = {}
    for entry in found:
        parts.setdefault(entry.facts.case.setting, []).append(entry)
    return parts


def _preface(results: Results) -> Iterator[str]:
    yield from (PLANNED, "", BASELINES, "", "| | |", "|---|---|")
    yield from (f"| {name} | {value} |" for name, value in results.environment)


def _results_table(part: Sequence[Entry]) -> Iterator[str]:
    yield from _header(
        "network|operators:|M_P found (bound):|budget|bytes:|value:|bound:|gap:|status|seconds:"
        "|CPU seconds:"
    )
    for entry in part:
        facts, run = entry.facts, entry.exact
        proven = "" if facts.peak_bound_bytes >= facts.peak_bytes else "≥ "
        peak = f"{facts.peak_bytes:,} ({proven}{facts.peak_bound_bytes:,})"
        value, bound, gap, status = _columns(run)
        yield (
            f"| {facts.case.network} | {facts.operators} | {peak} | {_budget(entry)} | "
            f"{run.capacity_bytes:,} | {value} | {bound} | {gap} | {status} | {run.seconds:.2f} | "
            f"{run.cpu_s:.2f} |"
        )


def _header(columns: str) -> tuple[str, str]:
    """Head of a Markdown table; a column whose name ends in a colon is aligned right."""
    names = columns.split("|")
    rules = "|".join("--:" if name.endswith(":") else "---" for name in names)
    return f"| {' | '.join(name.rstrip(':') for name in names)} |", f"|{rules}|"


def _budget(entry: Entry) -> str:
    return entry.budget if len(entry.facts.budgets()) > 1 else "M_R = M_P"


def _baseline_table(part: Sequence[Entry]) -> Iterator[str]:
    names = list(dict.fromkeys(run.planner for entry in part for run in entry.baselines))
    yield from _header("network|budget|exact:|" + "".join(f"{n}:|" for n in names) + "reduction:")
    for entry in part:
        by_name = {run.planner: f"{run.value_bytes:,}" for run in entry.baselines}
        cells = " | ".join(by_name.get(name, "") for name in names)
        cuts = entry.reductions()
        mean = f"{fmean(cuts):.1%}" if cuts else "nothing to reduce"
        yield (
            f"| {entry.facts.case.network} | {_budget(entry)} | {entry.exact.value_bytes:,} | "
            f"{cells} | {mean} |"
        )


def _cosma_table(part: Sequence[Entry]) -> Iterator[str]:
    yield "The published integer program, solved by the open solver named:"
    yield ""
    yield from _header(
        "network|budget|operators:|value:|bound:|status|seconds:|exact:|exact seconds:"
    )
    for entry in part:
        run = entry.cosma
        if run is None:
            continue
        status = "optimal" if run.optimal else f"stopped at {run.limit_s:g} s"
        if not run.optimal and not run.solver:
            status = "model too large to build"
        if run.optimal and not run.solver:
            status = "optimal by the warm start"
        yield (
            f"| {entry.facts.case.network} | {_budget(entry)} | {entry.facts.operators} | "
            f"{run.value_bytes:,} | {run.bound_bytes:,} | {status} {run.solver} | "
            f"{run.seconds:.2f} | {entry.exact.value_bytes:,} | {entry.exact.seconds:.2f} |"
        )


def _groups(found: Sequence[Entry]) -> dict[str, list[Entry]]:
    sets = {"hand-designed": HAND_DESIGNED, "NAS": NAS}
    return {
        name: [entry for entry in found if entry.facts.case.network in members]
        for name, members in sets.items()
    }


def _averages(found: Sequence[Entry]) -> Iterator[str]:
    yield AVERAGES
    yield ""
    yield from _header(
        "networks|setting|budget|pairs:|arithmetic:|geometric (pairs):|total:|published"
    )
    for group, members in _groups(found).items():
        for setting, part in _by_setting(members).items():
            for budget in BUDGETS:
                row = _average_row([entry for entry in part if entry.budget == budget])
                if row:
                    published = PUBLISHED[group] if budget == "M_R" else ""
                    yield f"| {group} | {setting} | {budget} | {row} | {published} |"


def _average_row(part: Sequence[Entry]) -> str:
    pairs = [
        (entry.exact.value_bytes, run.value_bytes)
        for entry in part
        for run in entry.baselines
        if run.value_bytes
    ]
    if not pairs:
        return ""
    arithmetic = fmean(1 - ours / theirs for ours, theirs in pairs)
    positive = [ours / theirs for ours, theirs in pairs if ours]
    geometric = f"{1 - exp(fmean(map(log, positive))):.1%} ({len(positive)})" if positive else ""
    total = 1 - sum(ours for ours, _ in pairs) / sum(theirs for _, theirs in pairs)
    return f"{len(pairs)} | {arithmetic:.1%} | {geometric} | {total:.1%}"


def _targets(found: Sequence[Entry]) -> Iterator[str]:
    groups = _groups(found)
    hand, nas = groups["hand-designed"], groups["NAS"]
    if hand:
        met = [e for e in hand if e.exact.optimal and e.exact.seconds < HAND_LIMIT_S]
        mean, cpu = (fmean(f(e.exact) for e in hand) for f in (_wall, _cpu))
        yield (
            f"- Hand-designed, proven optimal in under {HAND_LIMIT_S:g} s: {len(met)} of "
            f"{len(hand)}; mean {mean:.2f} s, {cpu:.2f} s of processor time (wanted: under "
            f"{HAND_MEAN_S:g} s)."
        )
        yield from _missed(hand, met)
    if nas:
        met = [e for e in nas if e.exact.gap < NAS_GAP and e.exact.seconds < NAS_LIMIT_S]
        yield (
            f"- NAS, proven optimal or a gap under {NAS_GAP:.0%} in under {NAS_LIMIT_S:g} s: "
            f"{len(met)} of {len(nas)}."
        )
        yield from _missed(nas, met)
    both = [e for e in found if e.cosma is not None and e.cosma.optimal]
    same = sum(e.cosma is not None and e.cosma.value_bytes == e.exact.value_bytes for e in both)
    searched = sum(e.cosma is not None and bool(e.cosma.solver) for e in both)
    yield (
        f"- `cosma` finished {len(both)} times, {searched} of them by its solver (the warm start "
        f"moved nothing in the others); `exact` has the same value in {same}."
    )


def _wall(run: Run) -> float:
    return run.seconds


def _cpu(run: Run) -> float:
    return run.cpu_s


def _missed(entries_: Sequence[Entry], met: Sequence[Entry]) -> Iterator[str]:
    for entry in entries_:
        if entry not in met:
            case, run = entry.facts.case, entry.exact
            yield (
                f"    - {case.network}, {case.setting}, {_budget(entry)}: gap {run.gap:.2%}, "
                f"{run.seconds:.1f} s, {run.cpu_s:.1f} s of processor time"
            )
