"""Build the joint MILP of ``ilp.cosma``; comments cite the constraint numbers given there."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import combinations
from math import gcd
from typing import Any

import pulp

from stowplan.ilp.inplace import in_place_pairs
from stowplan.ilp.precedence import Precedence, direct_edges, precedence
from stowplan.ilp.schedule import compulsory_bytes, space_bytes, top_address
from stowplan.passes.problem import PlanningProblem

Key = tuple[int, int]


class BuildStopped(Exception):
    """Building was cancelled or grew past its limit."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Which of the formulations to build.

    Attributes:
        addresses: with constraints (9)-(11); without them only the bytes per step are limited.
        traffic: minimise off-chip bytes under the capacity; otherwise nothing is ever moved and
            the peak is minimised.
        order: a fixed order, or None to choose one.
        windows: leave out steps at which an operator can never run.
    """

    addresses: bool = True
    traffic: bool = True
    order: tuple[int, ...] | None = None
    windows: bool = True


@dataclass(slots=True)
class CosmaModel:
    """The MILP and its variables; mutable while it is built.

    Attributes:
        unit: bytes per unit of size, address and capacity.
        coin: bytes per unit of the objective.
        run: ``X[o,t]``; hold: ``P[v,t]``; spill: ``S[v,t]``; fetch: ``R[v,t]``.
        address: ``L[v,t]``; reuse: ``Z[o,out,in,t]``.
        offset: constant of the objective in coins.
    """

    problem: PlanningProblem
    variant: Variant
    unit: int
    coin: int
    model: pulp.LpProblem
    run: dict[Key, pulp.LpVariable] = field(default_factory=dict)
    hold: dict[Key, pulp.LpVariable] = field(default_factory=dict)
    spill: dict[Key, pulp.LpVariable] = field(default_factory=dict)
    fetch: dict[Key, pulp.LpVariable] = field(default_factory=dict)
    address: dict[Key, pulp.LpVariable] = field(default_factory=dict)
    reuse: dict[tuple[int, int, int, int], pulp.LpVariable] = field(default_factory=dict)
    offset: int = 0
    in_place: tuple[tuple[tuple[int, int], ...], ...] = ()


def gcd_of(values: Iterable[int]) -> int:
    """Greatest common divisor, 1 for no values."""
    return gcd(*values) or 1


def estimated_rows(problem: PlanningProblem, variant: Variant) -> int:
    """Rows the model will have, within a small factor."""
    spans = _Windows(problem, precedence(problem), variant)
    per_step = [0] * problem.operators
    for v in range(len(problem.storages)):
        for t in spans.present[v]:
            per_step[t] += 1
    pairs = sum(n * n * 3 // 2 for n in per_step) if variant.addresses else 0
    return pairs + 4 * sum(per_step) + sum(len(window) for window in spans.run)


class _Windows:
    """Steps at which operators can run and storages can be present."""

    def __init__(self, problem: PlanningProblem, closure: Precedence, variant: Variant) -> None:
        count = problem.operators
        if variant.order is not None:
            step_of = {o: t for t, o in enumerate(variant.order)}
            self.run = [range(step_of[o], step_of[o] + 1) for o in range(count)]
        elif variant.windows:
            self.run = [range(closure.earliest(o), closure.latest(o) + 1) for o in range(count)]
        else:
            self.run = [range(count) for _ in range(count)]
        self.present = []
        for users in problem.users():
            first = min((self.run[o].start for o in users), default=0)
            last = max((self.run[o].stop for o in users), default=0)
            self.present.append(range(first, last))


def build_cosma(
    problem: PlanningProblem, variant: Variant, stopped: Callable[[], bool]
) -> CosmaModel:
    """Build the model. Raises BuildStopped when ``stopped()`` turns true."""
    built = CosmaModel(
        problem,
        variant,
        unit=gcd_of(problem.size),
        coin=gcd_of(storage.size_bytes for storage in problem.storages),
        model=pulp.LpProblem("cosma", pulp.LpMinimize),
        in_place=in_place_pairs(problem),
    )
    windows = _Windows(problem, precedence(problem), variant)
    _variables(built, windows)
    families = [_order, _presence, _needs]
    families += [_copies] if variant.traffic else []
    families += [_places] if variant.addresses else [_loads]
    for add in families:
        if stopped():
            raise BuildStopped
        add(built, windows)
    if variant.addresses:
        _apart(built, windows, stopped)
    _objective(built, windows)
    return built


def _binary(built: CosmaModel, name: str) -> pulp.LpVariable:
    return built.model.add_variable(name, cat=pulp.LpBinary)


def _variables(built: CosmaModel, windows: _Windows) -> None:
    problem, variant = built.problem, built.variant
    for o, window in enumerate(windows.run):
        for t in window:
            built.run[o, t] = _binary(built, f"X[{o},{t}]")
    for v, window in enumerate(windows.present):
        for t in window:
            if t > 0:  # (2): nothing is present before the first step
                built.hold[v, t] = _binary(built, f"P[{v},{t}]")
            if problem.clean(v) or (variant.traffic and t > 0):
                built.fetch[v, t] = _binary(built, f"R[{v},{t}]")
        if variant.traffic and (problem.kept(v) or not problem.clean(v) or _updated(problem, v)):
            for t in range(window.start + 1, window.stop + problem.kept(v)):
                built.spill[v, t] = _binary(built, f"S[{v},{t}]")
    for o, pairs in enumerate(built.in_place):
        for out, source in pairs:
            for t in windows.run[o]:
                built.reuse[o, out, source, t] = _binary(built, f"Z[{o},{out},{source},{t}]")


def _updated(problem: PlanningProblem, storage: int) -> bool:
    return any(storage in updates for updates in problem.updates)


def _sum(terms: Iterable[Any]) -> pulp.LpAffineExpression:
    return pulp.lpSum(terms)


def _present(built: CosmaModel, v: int, t: int, creators: list[list[int]]) -> list[object]:
    """Terms whose sum tells whether ``v`` is in the scratchpad during step ``t``."""
    terms: list[object] = [built.run[o, t] for o in creators[v] if (o, t) in built.run]
    terms += [built.hold[v, t]] if (v, t) in built.hold else []
    terms += [built.fetch[v, t]] if (v, t) in built.fetch else []
    return terms


def _creators(problem: PlanningProblem) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in problem.storages]
    for o in range(problem.operators):
        for v in problem.defines[o]:
            found[v].append(o)
    return found


def _order(built: CosmaModel, windows: _Windows) -> None:
    model, run = built.model, built.run
    at: list[list[pulp.LpVariable]] = [[] for _ in windows.run]
    for (_, t), x in run.items():
        at[t].append(x)
    for o, window in enumerate(windows.run):
        model.addConstraint(_sum(run[o, t] for t in window) == 1, f"once[{o}]")  # (3)
    for t, row in enumerate(at):
        model.addConstraint(_sum(row) == 1, f"step[{t}]")  # (4)
    if built.variant.order is not None:
        return
    for a, b in direct_edges(built.problem, precedence(built.problem)):  # (5)
        for t in windows.run[b]:
            later = [run[b, u] for u in windows.run[b] if u <= t]
            earlier = [run[a, u] for u in windows.run[a] if u < t]
            if len(earlier) < len(windows.run[a]):
                model.addConstraint(_sum(later) <= _sum(earlier), f"before[{a},{b},{t}]")


def _presence(built: CosmaModel, windows: _Windows) -> None:
    problem, model = built.problem, built.model
    creators, users = _creators(problem), problem.users()
    sources = {source for pairs in built.in_place for _, source in pairs}
    for v, window in enumerate(windows.present):
        for t in range(window.start, window.stop + 1):
            now = _present(built, v, t, creators)
            before = _present(built, v, t - 1, creators)
            left = [built.spill[v, t]] if (v, t) in built.spill else []
            exclusive = now if v in sources else now + left
            if len(exclusive) > 1:
                model.addConstraint(_sum(exclusive) <= 1, f"state[{v},{t}]")  # (1)
            held = [built.hold[v, t]] if (v, t) in built.hold else []
            for name, term in (("hold", held), ("spill", left)):
                if term:  # (6)
                    model.addConstraint(_sum(term) <= _sum(before), f"{name}[{v},{t}]")
            kept = held + ([built.fetch[v, t]] if (v, t) in built.fetch else [])
            ahead = [built.run[o, u] for o in users[v] for u in windows.run[o] if u >= t]
            if kept and len(ahead) < sum(len(windows.run[o]) for o in users[v]):  # (8)
                model.addConstraint(_sum(kept) <= _sum(ahead), f"useful[{v},{t}]")
    for (o, out, source, t), reuse in built.reuse.items():  # (12)
        label = f"{o},{out},{source},{t}"
        model.addConstraint(reuse <= built.run[o, t], f"reuse_run[{label}]")
        after = [
            table[source, t + 1] for table in (built.hold, built.spill) if (source, t + 1) in table
        ]
        for i, gone in enumerate(after):
            model.addConstraint(reuse + gone <= 1, f"reuse_gone{i}[{label}]")
    _one_reuse(built)


def _one_reuse(built: CosmaModel) -> None:
    """(12): an output takes one source's place, a source yields to one output."""
    groups: dict[tuple[str, int, int], list[pulp.LpVariable]] = {}
    for (_, out, source, t), reuse in built.reuse.items():
        groups.setdefault(("out", out, t), []).append(reuse)
        groups.setdefault(("in", source, t), []).append(reuse)
    for (side, v, t), group in groups.items():
        if len(group) > 1:
            built.model.addConstraint(_sum(group) <= 1, f"one_{side}[{v},{t}]")


def _needs(built: CosmaModel, windows: _Windows) -> None:
    problem = built.problem
    for o, needed in enumerate(problem.needs):
        for v in needed:
            for t in windows.run[o]:  # (7)
                tables = (built.hold, built.fetch)
                there = [table[v, t] for table in tables if (v, t) in table]
                built.model.addConstraint(built.run[o, t] <= _sum(there), f"need[{o},{v},{t}]")


def _copies(built: CosmaModel, windows: _Windows) -> None:
    """(8): a fetch needs a valid copy in DRAM; (9): outputs end with one."""
    problem, model = built.problem, built.model
    for v, window in enumerate(windows.present):
        if _updated(problem, v):
            _versions(built, v, window)
            continue
        spills = [(t, built.spill[v, t]) for t in window if (v, t) in built.spill]
        final = [built.spill[v, window.stop]] if (v, window.stop) in built.spill else []
        everything = [s for _, s in spills] + final
        if everything:
            model.addConstraint(_sum(everything) <= 1, f"spill_once[{v}]")
        if problem.clean(v):
            continue
        for t in window:
            if (v, t) in built.fetch:
                earlier = [s for u, s in spills if u < t]
                model.addConstraint(built.fetch[v, t] <= _sum(earlier), f"copy[{v},{t}]")
        if problem.kept(v):
            model.addConstraint(_sum(everything) == 1, f"output[{v}]")


def _versions(built: CosmaModel, v: int, window: range) -> None:
    """(8), (9) for a storage with several writers: a write makes DRAM's copy stale."""
    problem, model = built.problem, built.model
    writers = [o for o in range(problem.operators) if v in problem.defines[o] + problem.updates[o]]
    valid = {t: _binary(built, f"M[{v},{t}]") for t in range(window.start, window.stop + 1)}
    for t, now in valid.items():
        stored = [built.spill[v, t]] if (v, t) in built.spill else []
        written = [built.run[o, t - 1] for o in writers if (o, t - 1) in built.run]
        if t == window.start:
            if not problem.clean(v):
                model.addConstraint(now == 0, f"valid_start[{v}]")
        else:
            model.addConstraint(now <= valid[t - 1] + _sum(stored), f"valid[{v},{t}]")
        if written:
            model.addConstraint(now + _sum(written) <= 1 + _sum(stored), f"stale[{v},{t}]")
        if (v, t) in built.fetch:
            model.addConstraint(built.fetch[v, t] <= now, f"copy[{v},{t}]")
    if problem.kept(v):
        model.addConstraint(valid[window.stop] == 1, f"output[{v}]")


def _places(built: CosmaModel, windows: _Windows) -> None:
    problem = built.problem
    for v, window in enumerate(windows.present):
        top = top_address(problem, v) // built.unit
        for t in window:  # (10)
            built.address[v, t] = built.model.add_variable(f"L[{v},{t}]", 0, top, pulp.LpInteger)
        for t in range(window.start + 1, window.stop):  # (11a)
            now, before = built.address[v, t], built.address[v, t - 1]
            held = built.hold[v, t]
            built.model.addConstraint(now - before <= top * (1 - held), f"pin_up[{v},{t}]")
            built.model.addConstraint(before - now <= top * (1 - held), f"pin_down[{v},{t}]")


def _apart(built: CosmaModel, windows: _Windows, stopped: Callable[[], bool]) -> None:
    """(11): storages present in one step do not overlap, save for a reuse in place."""
    problem, model = built.problem, built.model
    capacity = space_bytes(problem) // built.unit
    creators = _creators(problem)
    at: list[list[int]] = [[] for _ in range(problem.operators)]
    for v, window in enumerate(windows.present):
        for t in window:
            at[t].append(v)
    for t, together in enumerate(at):
        if stopped():
            raise BuildStopped
        there = {v: _sum(_present(built, v, t, creators)) for v in together}
        for u, v in combinations(together, 2):
            low = _binary(built, f"below[{u},{v},{t}]")
            high = _binary(built, f"below[{v},{u},{t}]")
            same = [
                z
                for o in creators[u] + creators[v]
                for pair in ((u, v), (v, u))
                if (z := built.reuse.get((o, *pair, t))) is not None
            ]
            model.addConstraint(
                low + high + _sum(same) >= there[u] + there[v] - 1, f"apart[{u},{v},{t}]"
            )
            for a, b, order in ((u, v, low), (v, u, high)):
                size, first, second = problem.size[a] // built.unit, *_pair(built, a, b, t)
                model.addConstraint(
                    first + size - second <= capacity * (1 - order), f"above[{a},{b},{t}]"
                )
            for z in same:
                first, second = _pair(built, u, v, t)
                model.addConstraint(first - second <= capacity * (1 - z), f"same_a[{z.name}]")
                model.addConstraint(second - first <= capacity * (1 - z), f"same_b[{z.name}]")


def _pair(built: CosmaModel, a: int, b: int, t: int) -> tuple[pulp.LpVariable, pulp.LpVariable]:
    return built.address[a, t], built.address[b, t]


def _step_loads(built: CosmaModel, windows: _Windows) -> list[pulp.LpAffineExpression]:
    problem, creators = built.problem, _creators(built.problem)
    loads: list[list[object]] = [[] for _ in range(problem.operators)]
    for v, window in enumerate(windows.present):
        for t in window:
            size = problem.size[v] // built.unit
            loads[t] += [size * term for term in _present(built, v, t, creators)]  # type: ignore[operator]
    for (_, out, source, t), reuse in built.reuse.items():
        loads[t].append(-(min(problem.size[out], problem.size[source]) // built.unit) * reuse)
    return [_sum(terms) for terms in loads]


def _loads(built: CosmaModel, windows: _Windows) -> None:
    """(13): bytes per step, in place of addresses."""
    capacity = space_bytes(built.problem) // built.unit
    if built.variant.traffic:
        for t, load in enumerate(_step_loads(built, windows)):
            built.model.addConstraint(load <= capacity, f"load[{t}]")


def _objective(built: CosmaModel, windows: _Windows) -> None:
    problem = built.problem
    if not built.variant.traffic:  # (14)
        peak = built.model.add_variable("peak", 0, None, pulp.LpInteger)
        built.coin = built.unit
        built.model.setObjective(1 * peak)
        for t, load in enumerate(_step_loads(built, windows)):
            built.model.addConstraint(load <= peak, f"load[{t}]")
        return
    terms = [
        problem.storages[v].size_bytes // built.coin * moved
        for table in (built.spill, built.fetch)
        for (v, _), moved in table.items()
    ]
    built.offset = -compulsory_bytes(problem) // built.coin
    built.model.setObjective(_sum(terms))
