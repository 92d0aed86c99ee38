"""Joint order, allocation and replacement on the networks of the COSMA paper.

    python -m benchmarks.cosma [--networks NAME,...|hand|nas] [--budgets M_R,M_mean,M_P]
        [--track-weights|--both] [--planner exact,cosma] [--time-limit S] [--out FILE]

Each network is imported, fused and given the sizes of its int8 form; views and reuse in place are
left out, because the literature plans plain tensors. M_R is the demand of the largest operator,
M_P the least peak over all orders (planner ``exact``, objective ``peak``), M_mean their mean. Every
plan is checked and its traffic counted from the plan before a figure is printed. Results go to a
JSON file as they come; what is in it already is not planned again unless ``--fresh`` asks for it.
``--render`` writes the tables beside it.

Source: COSMA (Li et al., 2023), evaluation; baselines as in ``benchmarks.baselines``.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from time import perf_counter

import onnx
from msgspec import structs
from rich.console import Console

from benchmarks.baselines import POLICIES, baseline_plan
from benchmarks.cosma_data import BUDGETS, Case, Facts, Results, Run
from benchmarks.cosma_tables import environment, live_table, markdown
from benchmarks.networks import HAND_DESIGNED, NAS, NETWORKS
from stowplan.errors import InternalError
from stowplan.ir.check_plan import require_valid
from stowplan.ir.files import write_atomic
from stowplan.ir.graph import Graph, Role
from stowplan.ir.onnx_import import import_model
from stowplan.ir.plan import Plan
from stowplan.ir.traffic import peak_bytes, traffic
from stowplan.passes.pipeline import run_pipeline
from stowplan.passes.planner import PlanOptions
from stowplan.passes.problem import planning_problem
from stowplan.planners import get_planner
from stowplan.targets.load import load_target
from stowplan.targets.target import Target

FUSION = "canonicalise,fuse-conv,fuse-matmul,fuse-elementwise,dead-code"
CLEANING = "canonicalise,dead-code"
FLOAT = "float32"
ROOMY_BYTES = 1 << 40
ORDERS = ("default", "min-peak")
Clock = tuple[float, float]
"""Wall and processor seconds."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run.

    Attributes:
        planners: registry names.
        budgets: names of budgets.
        time_limit_s: per plan, by planner.
        peak_limit_s: for the minimum peak.
        workers: threads a solver may use.
        cosma_solver: MILP solver of planner ``cosma``.
        fresh: planners, ``peak`` or ``baselines`` whose stored results do not count.
    """

    planners: tuple[str, ...]
    budgets: tuple[str, ...]
    time_limit_s: dict[str, float]
    peak_limit_s: float
    workers: int
    cosma_solver: str
    fresh: frozenset[str]


def machine(capacity_bytes: int) -> Target:
    """A machine with such a scratchpad, addressed byte by byte."""
    scratchpad = structs.replace(_base().scratchpad, size_bytes=capacity_bytes, alignment_bytes=1)
    return structs.replace(_base(), scratchpad=scratchpad)


@cache
def _base() -> Target:
    return load_target("edge-npu")


def load_network(case: Case) -> tuple[Graph, int]:
    """The graph of a case, without views and reuse in place, and its ONNX node count."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(NETWORKS[case.network](), path)
        imported = import_model(path).graph
    sizes = "" if case.precision == FLOAT else f",precision{{dtype={case.precision}}}"
    graph = run_pipeline(imported, (FUSION if case.fused else CLEANING) + sizes)
    plain = tuple(replace(op, in_place=()) for op in graph.operators)
    return graph.replace(operators=plain), len(imported.operators)


def facts_of(case: Case, graph: Graph, nodes: int, settings: Settings) -> Facts:
    """Largest operator and minimum peak of a case."""
    target = machine(ROOMY_BYTES)
    problem = planning_problem(graph, target.memory_spec(case.parameters))
    options = PlanOptions(
        objective="peak",
        time_limit_s=settings.peak_limit_s,
        workers=settings.workers,
        track_weights=case.parameters,
    )
    plan, (seconds, _) = _plan(graph, target, "exact", options)
    index = {op.name: o for o, op in enumerate(graph.operators)}
    return Facts(
        case=case,
        nodes=nodes,
        operators=len(graph.operators),
        weights=sum(t.elements for t in graph.by_role(Role.WEIGHT)),
        largest_bytes=max(map(problem.demand, range(problem.operators))),
        peak_bytes=plan.proof.value,
        peak_bound_bytes=plan.proof.lower_bound,
        peak_s=round(seconds, 3),
        peak_order=tuple(index[name] for name in plan.order),
    )


def planned(
    facts: Facts, graph: Graph, capacity_bytes: int, planner: str, settings: Settings
) -> Run:
    """One plan by a planner."""
    limit_s = settings.time_limit_s[planner]
    options = PlanOptions(
        time_limit_s=limit_s,
        workers=settings.workers,
        track_weights=facts.case.parameters,
        settings=(("solver", settings.cosma_solver),) if planner == "cosma" else (),
    )
    plan, clock = _plan(graph, machine(capacity_bytes), planner, options)
    return _run(facts.case, plan, capacity_bytes, planner, clock, limit_s)


def _plan(graph: Graph, target: Target, planner: str, options: PlanOptions) -> tuple[Plan, Clock]:
    """A plan that passed the checker and keeps what it claims, and the planner's time."""
    function = get_planner(planner)
    plan, clock = _timed(lambda: function(graph, target, options))
    memory = target.memory_spec(options.track_weights)
    require_valid(graph, plan, memory)
    moved = traffic(graph, plan, memory).noncompulsory_bytes
    counted = moved if options.objective == "offchip" else peak_bytes(graph, plan)
    claimed = f"{plan.proof.value:,} bytes {options.objective}"
    if counted != plan.proof.value:
        raise InternalError(f"{graph.name}: {planner!r} claims {claimed}, not {counted:,}")
    if options.objective == "peak" and moved > _streamed_again(graph, plan, target):
        raise InternalError(f"{graph.name}: {planner!r} evicts to reach {claimed}")
    return plan, clock


def _timed(make: Callable[[], Plan]) -> tuple[Plan, Clock]:
    wall, cpu = perf_counter(), _processor_s()
    plan = make()
    return plan, (perf_counter() - wall, _processor_s() - cpu)


def _processor_s() -> float:
    """Processor seconds of this process and of the solvers it has run."""
    return sum(os.times()[:4])


def _streamed_again(graph: Graph, plan: Plan, target: Target) -> int:
    """Avoidable bytes of weights that stream more than once, the same for every plan."""
    still = replace(plan, residencies=(), transfers=(), direct=())
    return traffic(graph, still, target.memory_spec(plan.track_weights)).noncompulsory_bytes


def baselines(facts: Facts, graph: Graph, capacity_bytes: int) -> Iterator[Run]:
    """The four baselines."""
    target = machine(capacity_bytes)
    orders = dict(zip(ORDERS, (range(facts.operators), facts.peak_order), strict=True))
    for policy in POLICIES:
        for name, order in orders.items():
            make = partial(baseline_plan, graph, target, facts.case.parameters, order, policy)
            plan, clock = _timed(make)
            yield _run(facts.case, plan, capacity_bytes, f"{policy}, {name}", clock)


def baseline_names() -> tuple[str, ...]:
    """Names of the baselines, in the order of the tables."""
    return tuple(f"{policy}, {order}" for policy in POLICIES for order in ORDERS)


def _run(
    case: Case, plan: Plan, capacity: int, planner: str, clock: Clock, limit_s: float = 0.0
) -> Run:
    proof = plan.proof
    return Run(
        case=case,
        capacity_bytes=capacity,
        planner=planner,
        value_bytes=proof.value,
        bound_bytes=proof.lower_bound,
        seconds=round(clock[0], 3),
        cpu_s=round(clock[1], 3),
        limit_s=limit_s,
        method=proof.method,
        bound_source=proof.bound_source,
        solver=proof.solver,
    )


def measure(
    case: Case, results: Results, settings: Settings, path: Path, console: Console
) -> Results:
    """Whatever is missing of a case; saved and printed as it comes."""
    graph, nodes = load_network(case)
    facts = results.facts_of(case)
    if facts is None or facts.operators != len(graph.operators) or "peak" in settings.fresh:
        facts = facts_of(case, graph, nodes, settings).improved_by(facts)
        results = results.with_facts(facts)
        results.save(path)
    for budget, capacity in facts.budgets().items():
        if budget not in settings.budgets:
            continue
        for run in _missing(facts, graph, capacity, results, settings):
            results = results.with_run(run)
            results.save(path)
        console.print(live_table(facts, budget, results))
    return results


def _missing(
    facts: Facts, graph: Graph, capacity: int, results: Results, settings: Settings
) -> Iterator[Run]:
    known = [results.run_of(facts.case, capacity, name) for name in baseline_names()]
    if None in known or "baselines" in settings.fresh:
        yield from baselines(facts, graph, capacity)
    for planner in settings.planners:
        stored = results.run_of(facts.case, capacity, planner)
        if stored is None or planner in settings.fresh:
            yield planned(facts, graph, capacity, planner, settings)


def networks(text: str) -> tuple[str, ...]:
    """Names of networks; ``hand`` and ``nas`` stand for the two groups."""
    groups = {"hand": tuple(HAND_DESIGNED), "nas": tuple(NAS), "all": tuple(NETWORKS)}
    found = [name for item in text.split(",") for name in groups.get(item, (item,))]
    for name in found:
        if name not in NETWORKS:
            raise SystemExit(f"unknown network {name!r}: choose of hand, nas, all, {NETWORKS}")
    return tuple(dict.fromkeys(found))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default="all", help="names, hand, nas or all")
    parser.add_argument("--budgets", default=",".join(BUDGETS))
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--track-weights", action="store_true", help="plan parameters too")
    weights.add_argument("--both", action="store_true", help="without and with parameters")
    parser.add_argument("--planner", default="exact")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds per plan")
    parser.add_argument("--cosma-limit", type=float, default=60.0, help="the same for cosma")
    parser.add_argument("--peak-limit", type=float, default=60.0, help="the same for M_P")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--precision", default="int8", help="int8, float32, ...")
    parser.add_argument("--unfused", action="store_true", help="plan each ONNX node apart")
    parser.add_argument("--cosma-solver", default="cbc", help="cbc, highs or scip")
    parser.add_argument("--fresh", default="", help="planners, peak, baselines to run again")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cosma.json"))
    parser.add_argument("--render", action="store_true", help="write the tables beside --out")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is asked for and print the tables."""
    arguments = sys.argv[1:] if arguments is None else arguments
    given = parse(arguments)
    planners = tuple(filter(None, given.planner.split(",")))
    limits = dict.fromkeys(planners, given.time_limit) | {"cosma": given.cosma_limit}
    settings = Settings(
        planners=planners,
        budgets=tuple(given.budgets.split(",")),
        time_limit_s=limits,
        peak_limit_s=given.peak_limit,
        workers=given.workers,
        cosma_solver=given.cosma_solver,
        fresh=frozenset(filter(None, given.fresh.split(","))),
    )
    console = Console()
    results = Results.load(given.out)
    known = environment(given.workers, arguments, results.environment)
    results = replace(results, environment=known)
    tracked = (False, True) if given.both else (given.track_weights,)
    for name in networks(given.networks):
        for parameters in tracked:
            case = Case(name, given.precision, parameters, fused=not given.unfused)
            results = measure(case, results, settings, given.out, console)
    results.save(given.out)
    if given.render:
        write_atomic(given.out.with_suffix(".md"), markdown(results).encode())


if __name__ == "__main__":
    main()
