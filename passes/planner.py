"""The contract every planner satisfies, and its options.

A planner is a function ``(Graph, Target, PlanOptions) -> Plan``. It raises InfeasiblePlanError when
no plan fits, stops at ``time_limit_s`` or when ``cancelled()`` turns true with the best plan so far
and an honest bound, and never returns a plan worse than ``greedy``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from stowplan.ir.graph import Graph
from stowplan.ir.plan import Plan
from stowplan.targets.target import Target


@dataclass(frozen=True, slots=True)
class Progress:
    """State of a running planner, for a live line.

    Attributes:
        stage: what it is doing, in two or three words.
        incumbent: objective value of the best plan so far, if any.
        bound: best lower bound so far.
        elapsed_s: seconds since the planner began.
    """

    stage: str
    incumbent: int | None
    bound: int
    elapsed_s: float


OBJECTIVES = ("offchip", "peak", "cycles", "energy")


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """Options common to all planners.

    Attributes:
        objective: ``offchip`` (non-compulsory off-chip bytes), ``peak`` (scratchpad bytes),
            ``cycles`` (predicted latency with transfers overlapped) or ``energy`` (predicted
            picojoules). Not every planner knows all of them.
        time_limit_s: planning time after which the best plan so far is returned.
        seed: random seed of whatever is stochastic.
        workers: threads a solver may use.
        track_weights: plan weights as scratchpad storages rather than stream them.
        settings: planner-specific switches as (name, value), for ablations.
        on_progress: called with the state of the search now and then.
        cancelled: polled now and then; true asks for the best plan so far.
    """

    objective: str = "offchip"
    time_limit_s: float = 60.0
    seed: int = 0
    workers: int = 2
    track_weights: bool = False
    settings: tuple[tuple[str, str], ...] = ()
    on_progress: Callable[[Progress], None] = field(default=lambda progress: None, compare=False)
    cancelled: Callable[[], bool] = field(default=lambda: False, compare=False)


class Planner(Protocol):
    """A planning function."""

    def __call__(self, graph: Graph, target: Target, options: PlanOptions) -> Plan:
        """Plan ``graph`` on ``target``."""
        ...
