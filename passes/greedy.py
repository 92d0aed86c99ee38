"""Planner ``greedy``: fast, deterministic, and never without a plan when one exists.

For each candidate order it decides replacement without addresses (``greedy_gaps``), places the
chosen stays (``greedy_place`` in order of time, ``greedy_pack`` with all lifetimes known, both with
further evictions where no place is found), and keeps the best. Where placement costs extra traffic,
replacement is repeated for a smaller capacity, which leaves room for fragmentation.

Settings: ``orders`` (``all`` or ``graph``), ``improve`` (``on`` or ``off``: retries at smaller
capacities), ``fusion`` (``on``, or ``off`` for the baseline of comparisons: layer by layer in graph
order, each reading its operands from DRAM and leaving its results there).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from stowplan.errors import InternalError, UsageError
from stowplan.ir.graph import Graph
from stowplan.ir.memory import MemorySpec
from stowplan.ir.plan import Plan, Proof
from stowplan.ir.traffic import peak_bytes, traffic
from stowplan.passes.assemble import assemble_plan
from stowplan.passes.clock import planning_seconds
from stowplan.passes.energy import energy_bound, energy_model
from stowplan.passes.greedy_gaps import (
    Kept,
    Timeline,
    best_gaps,
    replaced_traffic,
    timeline,
    total_traffic,
)
from stowplan.passes.greedy_pack import place_offline
from stowplan.passes.greedy_place import Placement, place_in_time
from stowplan.passes.latency import latency_model
from stowplan.passes.order import candidate_orders, live_bytes
from stowplan.passes.planner import OBJECTIVES, PlanOptions, Progress
from stowplan.passes.problem import PlanningProblem, planning_problem
from stowplan.passes.takeovers import takeovers
from stowplan.targets.target import Target

NAME = "greedy"
SETTINGS = {"orders": ("all", "graph"), "improve": ("on", "off"), "fusion": ("on", "off")}
SHRINK = (0.96, 0.9, 0.8)
"""Fractions of the capacity tried when placement alone costs traffic."""
EFFORT_STEPS = 10_000
"""Operators placed over all attempts before the search settles: keeps large graphs fast."""


def plan_greedy(graph: Graph, target: Target, options: PlanOptions) -> Plan:
    """Plan ``graph`` on ``target`` in time roughly linear in its size.

    Raises:
        InfeasiblePlanError: some operator alone exceeds the scratchpad.
        UsageError: unknown objective or setting.
    """
    if options.objective not in OBJECTIVES:
        raise UsageError(
            f"unknown objective {options.objective!r}: choose one of {', '.join(OBJECTIVES)}"
        )
    for name, choice in options.settings:
        if choice not in SETTINGS.get(name, ()):
            known = "; ".join(f"{key} = {' or '.join(vs)}" for key, vs in SETTINGS.items())
            raise UsageError(f"planner {NAME!r} has no setting {name}={choice}; it has {known}")
    began = planning_seconds()
    problem = planning_problem(graph, target.memory_spec(options.track_weights))
    problem.check_fits()
    search = _Search(problem, options, _judge(problem, target, options))
    for _ in search.by_traffic() if search.traffic_only else search.all_orders():
        if planning_seconds() - began > options.time_limit_s or options.cancelled():
            break
    placement = search.placement
    if placement is None:
        raise InternalError("no order was placed")
    plan = _assemble(problem, target, options, search.order, placement)
    value, bound, source = _value_and_bound(problem, target, options, plan)
    proof = replace(
        plan.proof,
        value=value,
        lower_bound=bound,
        bound_source=source,
        wall_s=planning_seconds() - began,
    )
    options.on_progress(Progress("candidate orders", value, bound, proof.wall_s))
    return replace(plan, proof=proof)


Judge = Callable[[tuple[int, ...], Placement], tuple[int, int]]
"""Score of an order and a placement; smaller is better."""


def _judge(problem: PlanningProblem, target: Target, options: PlanOptions) -> Judge:
    # Without direct accesses, energy grows with the bytes moved and with nothing else.
    by_bytes = options.objective == "energy" and not problem.memory.direct_dram
    if options.objective == "offchip" or by_bytes:
        return lambda order, placement: (placement.traffic_bytes, placement.peak_bytes)
    if options.objective == "peak":
        return lambda order, placement: (placement.peak_bytes, placement.traffic_bytes)
    if options.objective == "energy":
        joules = energy_model(problem.graph, target)

        def energy(order: tuple[int, ...], placement: Placement) -> tuple[int, int]:
            plan = _assemble(problem, target, options, order, placement)
            moved = traffic(problem.graph, plan, problem.memory)
            return joules.predict(moved), placement.traffic_bytes

        return energy
    model = latency_model(problem.graph, target, problem.memory)

    def cycles(order: tuple[int, ...], placement: Placement) -> tuple[int, int]:
        plan = _assemble(problem, target, options, order, placement)
        return model.predict(plan), placement.traffic_bytes

    return cycles


class _Search:
    """Walks candidate orders and keeps the best placement; mutable.

    The walks are generators that pause after each placement, so that the caller can stop them; the
    first placement always comes.
    """

    def __init__(self, problem: PlanningProblem, options: PlanOptions, judge: Judge) -> None:
        settings = dict(options.settings)
        self._problem = problem
        self._judge = judge
        direct = problem.memory.direct_dram
        self.traffic_only = options.objective == "offchip" or (
            options.objective == "energy" and not direct
        )
        self._improve = settings.get("improve", "on") == "on"
        self._effort = EFFORT_STEPS
        self._pairs = takeovers(problem)
        memory = problem.memory
        self._capacity = memory.capacity_bytes - memory.capacity_bytes % memory.alignment_bytes
        graph_order = tuple(range(problem.operators))
        fused = settings.get("fusion", "on") == "on"
        self._layers = () if fused else layers_of(problem.graph)
        only_graph = settings.get("orders", "all") == "graph" or not fused
        self._orders = (graph_order,) if only_graph else candidate_orders(problem)
        self.score: tuple[int, int] = (0, 0)
        self.order: tuple[int, ...] = graph_order
        self.placement: Placement | None = None

    def by_traffic(self) -> Iterator[None]:
        """Order with the least traffic first; an order that cannot win is skipped."""
        found = []
        for order in self._orders:
            apart = timeline(self._problem, order, self._layers)
            for accesses in (apart.sharing(self._pairs), apart):
                found.append((replaced_traffic(accesses, self._capacity), accesses))
        for _, accesses in sorted(found, key=lambda item: item[0]):
            if self._effort <= 0 and self.placement is not None:
                return
            kept = self._kept(accesses, self._capacity)
            if self._may_improve(accesses, kept):
                yield from self._place(accesses, kept)
                yield from self._leave_room(accesses)

    def all_orders(self) -> Iterator[None]:
        """Order with the fewest live bytes first; all are placed."""
        peaks = [max(live_bytes(self._problem, order), default=0) for order in self._orders]
        for _, order in sorted(zip(peaks, self._orders, strict=True)):
            accesses = timeline(self._problem, order, self._layers)
            yield from self._place(accesses, self._kept(accesses, self._capacity))

    def _kept(self, accesses: Timeline, capacity_bytes: int) -> Kept:
        if accesses.live_bytes() <= capacity_bytes:
            return accesses.gaps(1)
        return best_gaps(accesses, capacity_bytes)

    def _may_improve(self, accesses: Timeline, kept: Kept) -> bool:
        """Whether placing ``kept`` could beat the best, and the effort allowed is not used up."""
        if self.placement is None:
            return True
        wanted = total_traffic(accesses, kept)
        return self._effort > 0 and wanted < self.placement.traffic_bytes

    def _place(self, accesses: Timeline, kept: Kept) -> Iterator[None]:
        """Place the chosen stays; for traffic, stops once that costs nothing more."""
        wanted = total_traffic(accesses, kept)
        capacity, pairs = self._capacity, self._pairs
        attempts: tuple[Callable[[], Placement | None], ...] = (
            lambda: place_in_time(accesses, kept, capacity, pairs, by_lifetime=False),
            lambda: place_offline(accesses, kept, capacity, pairs, rigid_first=False),
            lambda: place_offline(accesses, kept, capacity, pairs, rigid_first=True),
            lambda: place_in_time(accesses, kept, capacity, pairs, by_lifetime=True),
        )
        for attempt in attempts:
            placement = attempt()
            self._effort -= len(accesses.order)
            if placement is not None:
                self._offer(accesses, placement)
                yield
            settled = placement is not None and placement.traffic_bytes <= wanted
            if self._effort <= 0 or (settled and self.traffic_only):
                return

    def _leave_room(self, accesses: Timeline) -> Iterator[None]:
        """Decide replacement for smaller capacities, place in the full one."""
        largest = max(map(self._problem.demand, range(self._problem.operators)), default=0)
        for share in SHRINK if self._improve else ():
            if self._effort <= 0:
                return
            kept = self._kept(
                accesses, max(int(self._capacity * share), min(largest, self._capacity))
            )
            if not self._may_improve(accesses, kept):
                return
            yield from self._place(accesses, kept)

    def _offer(self, accesses: Timeline, placement: Placement) -> None:
        score = self._judge(accesses.order, placement)
        if self.placement is None or score < self.score:
            self.score, self.order, self.placement = score, accesses.order, placement


def layers_of(graph: Graph) -> tuple[int, ...]:
    """Per operator in graph order, the number of the layer it is a part of.

    Tiles of one operator that follow one another are a layer.
    """
    numbers: list[int] = []
    last: str | None = None
    for op in graph.operators:
        whole = op.parent or op.name
        numbers.append((numbers[-1] if numbers else -1) + (whole != last))
        last = whole
    return tuple(numbers)


def _assemble(
    problem: PlanningProblem,
    target: Target,
    options: PlanOptions,
    order: tuple[int, ...],
    placement: Placement,
) -> Plan:
    """The plan, with the value of its objective still open."""
    method = "list scheduling, furthest next use, best fit"
    proof = Proof(options.objective, 0, 0, method, bound_source="", seed=options.seed)
    return assemble_plan(
        problem,
        target,
        order,
        placement.stays,
        placement.addresses,
        proof,
        NAME,
        placement.direct,
    )


def _value_and_bound(
    problem: PlanningProblem, target: Target, options: PlanOptions, plan: Plan
) -> tuple[int, int, str]:
    graph, memory = problem.graph, problem.memory
    if options.objective == "peak":
        return peak_bytes(graph, plan), peak_bound(problem), "largest operator"
    moved = traffic(graph, plan, memory)
    if options.objective == "energy":
        again = _streamed_again(graph, memory, plan)
        bound = energy_bound(problem, target, plan, again)
        return energy_model(graph, target).predict(moved), bound, "computation and least traffic"
    if options.objective == "cycles":
        model = latency_model(graph, target, memory)
        # Where operators reach DRAM, a plan may read less of an input than this one loads.
        compulsory = 0 if memory.direct_dram else moved.compulsory_bytes
        return model.predict(plan), model.least(compulsory), "computation or compulsory traffic"
    if not moved.streamed_bytes or memory.keeps_weights:
        return moved.noncompulsory_bytes, 0, "no traffic beyond the compulsory"
    bound = _streamed_again(graph, memory, plan)
    return moved.noncompulsory_bytes, bound, "weights streamed again"


def _streamed_again(graph: Graph, memory: MemorySpec, plan: Plan) -> int:
    """Non-compulsory bytes left without transfers: weights streamed again, which none avoids.

    Where the weight buffer keeps weights, another order may stream them but once.
    """
    if memory.keeps_weights:
        return 0
    nothing = replace(plan, residencies=(), transfers=(), direct=())
    return traffic(graph, nothing, memory).noncompulsory_bytes


def peak_bound(problem: PlanningProblem) -> int:
    """Bytes below which no plan's highest address can stay: the largest operator's operands.

    Outputs that may replace an input count nothing, and of the padding to the alignment only that
    of one operand may lie above the highest byte.
    """
    if problem.memory.direct_dram:
        return 0
    bound = 0
    for operator in range(problem.operators):
        uses = problem.uses(operator)
        padding = max((problem.size[v] - problem.storages[v].size_bytes for v in uses), default=0)
        replaced = sum(
            problem.size[v] for v in {output for output, _ in problem.in_place[operator]}
        )
        bound = max(bound, problem.demand(operator) - replaced - padding)
    return bound
