"""A small compiled model that the report tests draw."""

from tests.strategies import random_case

from stowplan.ir.graph import Graph
from stowplan.ir.plan import Plan
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.planner import PlanOptions
from stowplan.report.activity import Activity
from stowplan.report.build import Subject, build_report
from stowplan.report.data import Report, Span
from stowplan.targets.target import Target


def planned(seed: int, operators: int = 14) -> tuple[Graph, Target, Plan]:
    """A random graph planned greedily on a random small machine."""
    case = random_case(seed, operators)
    options = PlanOptions(track_weights=case.track_weights)
    return case.graph, case.target, plan_greedy(case.graph, case.target, options)


def subject_of(graph: Graph, target: Target, model: str = "models/some.onnx") -> Subject:
    """The graph as a report's subject."""
    return Subject(model, graph, target, "int8", ("a warning <b>",), 1.5)


def ten_cycles_each(plan: Plan) -> Activity:
    """Ten cycles per operator on one engine."""
    spans = tuple(
        Span("vector", name, 10 * step, 10 * step + 10, step)
        for step, name in enumerate(plan.order)
    )
    return Activity(
        cycles=10 * len(plan.order),
        utilisation=0.25,
        bound_by="vector",
        busy=(("vector", 1.0), ("dma_in", 0.5)),
        energy_pj=12.0,
        spans=spans,
        operators={span.label: ("vector", span.start_cycle, span.end_cycle) for span in spans},
        macs=dict.fromkeys(plan.order, 100),
        loads={},
        causes=(("vector", (("busy", 10 * len(plan.order)),)),),
    )


def sample_report(seed: int = 0) -> Report:
    """The report of one planned random graph."""
    graph, target, plan = planned(seed)
    return build_report(subject_of(graph, target), plan, ten_cycles_each(plan), None)
