"""The best plan so far of an exact planner, its bound, and the clock; shared by all of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from stowplan.errors import UsageError
from stowplan.ilp.milp import Limits
from stowplan.ilp.schedule import Schedule
from stowplan.ir.graph import Graph
from stowplan.ir.plan import Plan, Proof, TransferKind
from stowplan.ir.traffic import peak_bytes, traffic
from stowplan.passes.assemble import assemble_plan
from stowplan.passes.clock import planning_seconds
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.latency import LatencyModel, latency_model
from stowplan.passes.planner import PlanOptions, Progress
from stowplan.passes.problem import PlanningProblem, planning_problem
from stowplan.targets.target import Target


def plan_of(
    problem: PlanningProblem,
    target: Target,
    schedule: Schedule,
    addresses: Sequence[int],
    proof: Proof,
    planner: str,
) -> Plan:
    """Assemble a plan; stores of stays that are replaced in place end before that step."""
    plan = assemble_plan(problem, target, schedule.order, schedule.stays, addresses, proof, planner)
    replaced = {
        (problem.storages[stay.storage].name, stay.end): stay
        for source, _ in schedule.reuses
        if (stay := schedule.stays[source]).stored
    }
    if not replaced:
        return plan
    transfers = [
        replace(t, deadline=t.deadline - 1)
        if t.kind is TransferKind.STORE and (t.storage, t.deadline) in replaced
        else t
        for t in plan.transfers
    ]
    transfers.sort(key=lambda t: (t.issue, t.deadline, t.kind.value, t.storage))
    return replace(plan, transfers=tuple(transfers))


@dataclass(slots=True)
class Incumbent:
    """Best plan and bound so far; mutable.

    Attributes:
        planner: registry name of the planner.
        bound: proven lower bound of the objective, ``constant`` included.
        constant: off-chip bytes that are the same for every plan (streamed weights read again).
    """

    graph: Graph
    target: Target
    options: PlanOptions
    planner: str
    problem: PlanningProblem
    started: float
    plan: Plan
    value: int
    bound: int = 0
    constant: int = 0
    method: str = "greedy"
    bound_source: str = "trivial"
    solver: str = ""
    trace: list[str] = field(default_factory=list)
    _latency: LatencyModel | None = None

    @staticmethod
    def start(
        graph: Graph,
        target: Target,
        options: PlanOptions,
        planner: str,
        objectives: Sequence[str] = ("offchip", "peak", "cycles"),
    ) -> "Incumbent":
        """Plan greedily and take greedy's bound; ``objectives`` are those the planner knows.

        Raises:
            InfeasiblePlanError: no plan fits.
            UsageError: an objective the planner does not know.
        """
        if options.objective not in objectives:
            raise UsageError(
                f"planner {planner!r} minimises {' or '.join(objectives)}, "
                f"not {options.objective!r}"
            )
        started = planning_seconds()
        memory = target.memory_spec(options.track_weights)
        if memory.keeps_weights and planner != "lns":
            raise UsageError(
                f"planner {planner!r} takes streamed weights for the same in every order: plan "
                "with 'greedy' or 'lns', with weights in the scratchpad (track_weights), or set "
                "weight_buffer.keeps=false"
            )
        problem = planning_problem(graph, memory)
        plan = plan_greedy(graph, target, replace(options, settings=()))
        found = Incumbent(graph, target, options, planner, problem, started, plan, 0)
        found.value = found.measure(plan)
        if options.objective == "offchip":
            if not memory.keeps_weights:
                still = replace(plan, residencies=(), transfers=(), direct=())
                found.constant = traffic(graph, still, memory).noncompulsory_bytes
            found.raise_bound(found.constant, "streamed weights" if found.constant else "trivial")
        else:
            found.raise_bound(plan.proof.lower_bound, plan.proof.bound_source)
        return found

    @property
    def latency(self) -> LatencyModel:
        """Prediction of cycles, built once."""
        if self._latency is None:
            self._latency = latency_model(self.graph, self.target, self.problem.memory)
        return self._latency

    def measure(self, plan: Plan) -> int:
        """Objective value of a valid plan."""
        if self.options.objective == "peak":
            return peak_bytes(self.graph, plan)
        if self.options.objective == "cycles":
            return self.latency.predict(plan)
        return traffic(self.graph, plan, self.problem.memory).noncompulsory_bytes

    @property
    def moves_bytes(self) -> bool:
        """Whether the plan moves bytes some plan could avoid."""
        memory = self.problem.memory
        still = replace(self.plan, residencies=(), transfers=(), direct=())
        least = traffic(self.graph, still, memory).noncompulsory_bytes
        return traffic(self.graph, self.plan, memory).noncompulsory_bytes > least

    def restore(self, bound: int, source: str) -> None:
        """Measure the plan again after ``value`` was set above it; ``bound`` holds for any plan."""
        self.value = self.measure(self.plan)
        self.bound, self.bound_source = min(bound, self.value), source

    @property
    def elapsed_s(self) -> float:
        """Seconds since planning began."""
        return planning_seconds() - self.started

    @property
    def left_s(self) -> float:
        """Seconds until the time limit."""
        return self.options.time_limit_s - self.elapsed_s

    @property
    def proven(self) -> bool:
        """Whether the bound meets the value."""
        return self.bound >= self.value

    def done(self) -> bool:
        """Whether to stop: proven, out of time, or cancelled."""
        return self.proven or self.left_s <= 0 or self.options.cancelled()

    def limits(self, share: float = 1.0, at_most_s: float = float("inf")) -> Limits:
        """Limits for a solver that may use ``share`` of the time left."""
        options = self.options
        seconds = min(max(self.left_s, 0.0) * share, at_most_s)
        return Limits(seconds, options.workers, options.seed, options.cancelled)

    def offer(self, schedule: Schedule, addresses: Sequence[int], method: str) -> bool:
        """Take a schedule with addresses if it is better than the plan so far."""
        proof = Proof(self.options.objective, 0, 0, method, "")
        plan = plan_of(self.problem, self.target, schedule, addresses, proof, self.planner)
        return self.offer_plan(plan, method)

    def offer_plan(self, plan: Plan, method: str) -> bool:
        """Take a valid plan if it is better than the one so far."""
        value = self.measure(plan)
        if value >= self.value:
            return False
        self.plan, self.value, self.method = plan, value, method
        return True

    def raise_bound(self, bound: int, source: str) -> None:
        """Take a lower bound if it is higher than the one so far."""
        if bound > self.bound or (bound == self.bound and self.bound_source == "trivial"):
            self.bound, self.bound_source = min(bound, max(self.value, 0)), source

    def report(self, stage: str) -> None:
        """Tell the caller how far planning is."""
        self.options.on_progress(Progress(stage, self.value, self.bound, self.elapsed_s))

    def finish(self) -> Plan:
        """The best plan with its proof."""
        proof = Proof(
            objective=self.options.objective,
            value=self.value,
            lower_bound=min(self.bound, self.value),
            method=self.method,
            bound_source=self.bound_source,
            solver=self.solver,
            seed=self.options.seed,
            wall_s=round(self.elapsed_s, 3),
        )
        return replace(self.plan, planner=self.planner, proof=proof)
