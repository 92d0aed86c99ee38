"""Objective ``cycles``: least predicted latency, with transfers hidden behind computation.

The latency is that of ``passes.latency``. Three routes, each only while the bound is below the best
plan:

1. *Bounds.* One channel moves every off-chip byte, so the least traffic over all plans (from the
   ``offchip`` objective) bounds the latency; and operators run one after another, after the loads
   of the first and before the stores of the last.
2. The plan of least traffic is a candidate: what need not move need not be hidden.
3. The joint model of ``ilp.joint`` with time in cycles, for small problems. Beside its variables
   (steps ``pos``, stays ``start``/``end``, addresses):

   * ``begin[t]``, ``finish[t]`` of each step, ``begin[t] >= finish[t - 1]``;
   * per operator o its duration: ``finish[pos[o]] >= begin[pos[o]] + cycles[o]``;
   * per LOAD an interval on the channel, after ``finish[start - 1]`` and before the step of each
     use that relies on it; per STORE one after its stay's writers and before ``begin[end]``;
   * per operator that streams weights an interval from ``begin[pos[o] - 1]`` on that ends by
     ``finish[pos[o]]``;
   * the intervals on the channel do not overlap; minimise ``begin[n]``.

   The channel of the prediction is first come, first served, here it is free to choose; so the
   model bounds the latency from below, and a plan read from it is measured again.
"""

from dataclasses import dataclass, replace

from ortools.sat.python import cp_model

from stowplan.ilp.cpsat import SOLVER, run_cpsat
from stowplan.ilp.incumbent import Incumbent
from stowplan.ilp.joint import MAX_INTERVALS, MAX_OPERATORS, JointModel, build_joint, decode
from stowplan.ir.plan import Plan
from stowplan.ir.traffic import traffic
from stowplan.passes.latency import LatencyModel
from stowplan.passes.planner import Planner
from stowplan.passes.problem import PlanningProblem

TRAFFIC_SHARE = 0.4


def improve_latency(best: Incumbent, plan_offchip: Planner, jointly: bool) -> None:
    """Raise the bound and improve the plan by the routes of the module docstring.

    Args:
        best: the plan so far; its objective is ``cycles``.
        plan_offchip: planner that minimises off-chip bytes with a bound.
        jointly: build the joint model.
    """
    model = best.latency
    best.raise_bound(serial_bound(best.problem, model), "computation between first and last moves")
    if best.done():
        return
    best.report("least traffic")
    seconds = max(best.left_s * TRAFFIC_SHARE, 0.1)
    options = replace(best.options, objective="offchip", time_limit_s=seconds)
    plan = plan_offchip(best.graph, best.target, options)
    best.offer_plan(plan, f"least traffic ({plan.proof.method})")
    best.raise_bound(_channel_bound(best, plan), f"channel time: {plan.proof.bound_source}")
    if jointly and not best.done():
        _improve_jointly(best, model)


def serial_bound(problem: PlanningProblem, model: LatencyModel) -> int:
    """Cycles of all operators, after the loads of any first and before the stores of any last."""
    graph = problem.graph
    total = sum(model.compute_cycles.values())
    heads = [
        sum(_moved(problem, model, v) for v in problem.needs[o] if problem.clean(v))
        for o in range(problem.operators)
        if not problem.predecessors[o]
    ]
    tails = [
        sum(_moved(problem, model, v) for v in _written(problem, o) if problem.kept(v))
        for o in range(problem.operators)
        if not problem.successors[o]
    ]
    return total + min(heads, default=0) + min(tails, default=0) if graph.operators else 0


def _written(problem: PlanningProblem, operator: int) -> tuple[int, ...]:
    return problem.defines[operator] + problem.updates[operator]


def _moved(problem: PlanningProblem, model: LatencyModel, storage: int) -> int:
    """Cycles the channel needs to move a storage."""
    return model.transfer_cycles(problem.storages[storage].size_bytes)


def _channel_bound(best: Incumbent, plan: Plan) -> int:
    """Cycles the channel needs for the compulsory bytes and the least others, set-ups left out."""
    compulsory = traffic(best.graph, plan, best.problem.memory).compulsory_bytes
    return -(-(compulsory + plan.proof.lower_bound) // best.target.dram.bytes_per_cycle)


@dataclass(frozen=True, slots=True)
class _Clock:
    """Cycles at which steps begin and finish."""

    begin: list[cp_model.IntVar]
    finish: list[cp_model.IntVar]
    horizon: int


def _improve_jointly(best: Incumbent, latency: LatencyModel) -> None:
    problem = best.problem
    if problem.operators > MAX_OPERATORS or sum(map(len, problem.users())) > MAX_INTERVALS:
        return
    best.report("joint latency model")
    built = build_joint(problem)
    clock = _steps(built, best.value)
    ran = _computation(built, latency, clock)
    channel = _transfers(built, latency, clock, ran) + _streams(built, latency, clock, ran, best)
    built.model.add_no_overlap(channel)
    built.model.minimize(clock.begin[-1])
    outcome = run_cpsat(built.model, best.limits())
    best.solver = SOLVER
    if outcome.found:
        schedule, addresses = decode(built, outcome)
        best.offer(schedule, addresses, "joint latency model")
    if outcome.found or not outcome.infeasible:
        best.raise_bound(outcome.bound, "joint CP-SAT latency model")


def _steps(built: JointModel, horizon: int) -> _Clock:
    count = built.problem.operators
    model = built.model
    clock = _Clock(
        [model.new_int_var(0, horizon, f"begin[{t}]") for t in range(count + 1)],
        [model.new_int_var(0, horizon, f"finish[{t}]") for t in range(count)],
        horizon,
    )
    for t in range(count):
        model.add(clock.begin[t + 1] >= clock.finish[t])
    return clock


def _computation(
    built: JointModel, latency: LatencyModel, clock: _Clock
) -> list[tuple[cp_model.IntVar, cp_model.IntVar]]:
    """Per operator, the cycles at which its step begins and finishes."""
    model = built.model
    ran = []
    for o, op in enumerate(built.problem.graph.operators):
        begin = _at(built, built.pos[o], clock.begin[:-1], clock)
        finish = _at(built, built.pos[o], clock.finish, clock)
        model.add(finish >= begin + latency.compute_cycles[op.name])
        ran.append((begin, finish))
    # Redundant, but it lets the solver see that computation is serial.
    cycles = [latency.compute_cycles[op.name] for op in built.problem.graph.operators]
    model.add_no_overlap(
        [
            model.new_fixed_size_interval_var(begin, length, f"runs[{o}]")
            for o, ((begin, _), length) in enumerate(zip(ran, cycles, strict=True))
        ]
    )
    return ran


def _at(
    built: JointModel,
    index: cp_model.LinearExprT,
    values: list[cp_model.IntVar],
    clock: _Clock,
    shift: int = 0,
) -> cp_model.IntVar:
    """``values[index - shift]``, 0 where the index is below ``shift``."""
    found = built.model.new_int_var(0, clock.horizon, "")
    built.model.add_element(index, [0] * shift + values, found)
    return found


def _transfers(
    built: JointModel,
    latency: LatencyModel,
    clock: _Clock,
    ran: list[tuple[cp_model.IntVar, cp_model.IntVar]],
) -> list[cp_model.IntervalVar]:
    """Channel intervals of the LOADs and STOREs of every stay."""
    problem, model = built.problem, built.model
    users = problem.users()
    found = []
    for v, spans in enumerate(built.spans):
        cycles = _moved(problem, latency, v)
        writers = {o for o in users[v] if v in _written(problem, o)}
        for k, span in enumerate(spans):
            uses = [(o, built.within[v, o, k]) for o in users[v]]
            if k or problem.clean(v):
                begin = model.new_int_var(0, clock.horizon, f"load[{v},{k}]")
                free = _at(built, span.start, clock.finish, clock, shift=1)
                model.add(begin >= free).only_enforce_if(span.present)
                for o, lies in uses:
                    model.add(begin + cycles <= ran[o][0]).only_enforce_if(lies)
                found.append(_optional(model, begin, cycles, span.present))
            stored = _stored(built, v, k)
            if stored is not None and writers:
                begin = model.new_int_var(0, clock.horizon, f"store[{v},{k}]")
                over = _at(built, span.end, clock.begin, clock)
                model.add(begin + cycles <= over).only_enforce_if(stored)
                for o, lies in uses:
                    if o in writers:
                        model.add(begin >= ran[o][1]).only_enforce_if(lies, stored)
                found.append(_optional(model, begin, cycles, stored))
    return found


def _stored(built: JointModel, v: int, k: int) -> cp_model.IntVar | None:
    """Literal that holds when interval ``k`` of ``v`` must be stored; None when it never is."""
    spans = built.spans[v]
    if built.problem.kept(v):
        return spans[k].wrote
    if k + 1 == len(spans):
        return None
    stored = built.model.new_bool_var(f"stored[{v},{k}]")
    built.model.add_bool_or(stored, ~spans[k].wrote, ~spans[k + 1].present)
    return stored


def _optional(
    model: cp_model.CpModel, begin: cp_model.IntVar, cycles: int, present: cp_model.IntVar
) -> cp_model.IntervalVar:
    return model.new_optional_fixed_size_interval_var(begin, cycles, present, "")


def _streams(
    built: JointModel,
    latency: LatencyModel,
    clock: _Clock,
    ran: list[tuple[cp_model.IntVar, cp_model.IntVar]],
    best: Incumbent,
) -> list[cp_model.IntervalVar]:
    """Channel intervals of the weights that stream, from the step before on."""
    if best.options.track_weights:
        return []
    found = []
    for o, op in enumerate(built.problem.graph.operators):
        if latency.streamed_bytes[op.name]:
            cycles = latency.transfer_cycles(latency.streamed_bytes[op.name])
            begin = built.model.new_int_var(0, clock.horizon, f"stream[{o}]")
            before = _at(built, built.pos[o], clock.begin[:-1], clock, shift=1)
            built.model.add(begin >= before)
            built.model.add(begin + cycles <= ran[o][1])
            found.append(built.model.new_fixed_size_interval_var(begin, cycles, ""))
    return found
