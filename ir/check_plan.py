"""The checker: every rule of ``ir.plan`` a plan breaks. It shares no code with any planner.

Rules by name: ``model`` (the plan is of this graph), ``unknown`` (names), ``order``, ``engine``,
``definition`` and ``dataflow`` (same reads as in graph order), ``geometry``, ``capacity``,
``alignment``, ``overlap``, ``transfer``, ``load``, ``store``, ``presence``, ``stale``, ``direct``,
``streamed`` (weights that are not tracked), ``output``.
"""

from collections.abc import Iterator

from stowplan.errors import ProofError
from stowplan.ir.check_content import (
    check_begins,
    check_direct,
    check_final,
    check_stores,
    check_streamed,
    check_transfer,
    check_uses,
    histories,
)
from stowplan.ir.check_facts import Facts, Violation, facts_of
from stowplan.ir.check_order import check_dataflow, check_order
from stowplan.ir.check_space import (
    check_address,
    check_disjoint,
    check_geometry,
    check_overlap,
)
from stowplan.ir.graph import Graph
from stowplan.ir.memory import MemorySpec
from stowplan.ir.plan import Plan, Residency

__all__ = ["Violation", "check_plan", "require_valid"]

MESSAGES_SHOWN = 10


def check_plan(graph: Graph, plan: Plan, memory: MemorySpec) -> tuple[Violation, ...]:
    """Every violation of ``plan``; empty when it is valid. Malformed plans are reported too.

    Args:
        graph: a valid graph, the one planned.
        plan: the plan.
        memory: the scratchpad planned for.
    """
    facts = facts_of(graph)
    return (
        *_check_model(graph, plan, memory),
        *_check_order(facts, plan),
        *_check_memory(facts, plan, memory),
    )


def require_valid(graph: Graph, plan: Plan, memory: MemorySpec) -> None:
    """Raise ProofError with the first violations unless ``plan`` is valid."""
    violations = check_plan(graph, plan, memory)
    if violations:
        lines = [f"  {v.check}: {v.message}" for v in violations[:MESSAGES_SHOWN]]
        if len(violations) > MESSAGES_SHOWN:
            lines.append(f"  and {len(violations) - MESSAGES_SHOWN} more")
        raise ProofError(
            f"plan of {graph.name!r} by {plan.planner!r} breaks {len(violations)} rules:\n"
            + "\n".join(lines)
        )


def _check_model(graph: Graph, plan: Plan, memory: MemorySpec) -> Iterator[Violation]:
    if plan.model_hash != graph.hash:
        yield Violation(
            "model",
            f"the plan is of model {plan.model_hash[:12]!r}, the graph is {graph.hash[:12]!r}",
        )
    if not plan.track_weights and not memory.stream_weights:
        yield Violation(
            "streamed", "the plan streams weights, but the memory has no weight buffer to do so"
        )


def _check_order(facts: Facts, plan: Plan) -> Iterator[Violation]:
    yield from check_order(facts, plan)
    if sorted(plan.order) == sorted(facts.touches):
        yield from check_dataflow(facts, plan)


def _check_memory(facts: Facts, plan: Plan, memory: MemorySpec) -> Iterator[Violation]:
    placed: list[Residency] = []
    for residency in plan.residencies:
        faults = tuple(check_geometry(facts, plan, residency))
        yield from faults
        if not faults:
            placed.append(residency)
            yield from check_address(facts, memory, residency)
    space = check_overlap(facts, plan, placed)
    yield from space.violations
    for transfer in plan.transfers:
        yield from check_transfer(facts, plan, transfer)
    yield from check_direct(facts, plan, memory)
    for storage, history in sorted(histories(facts, plan, placed).items()):
        if facts.streamed(storage, plan.track_weights):
            yield from check_streamed(history)
            continue
        yield from check_disjoint(history.residencies)
        yield from check_begins(history)
        yield from check_uses(history)
        yield from check_stores(history, space.overwritten)
        if storage in facts.final:
            yield from check_final(history, len(plan.order))
