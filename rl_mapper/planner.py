"""Planner ``rl``: the best of production-style heuristics, network, search and local search.

For objective ``cycles`` on targets with direct DRAM operands, the memory-mapping game is played in
graph order and in the order ``greedy`` chose: heuristics, the network's policy greedily and at
rising temperatures, Gumbel search, and local search from the best play. The best plays by the
game's latency, the heuristic's own plan and the plan of ``greedy`` are simulated, and the fastest
is returned: on the simulated machine it is never slower than either heuristic. For other objectives
and targets it is the plan of ``greedy``.

Settings: ``network`` (``on`` or ``off``), ``search`` (``on`` or ``off``), ``repair`` (``on`` or
``off``: local search), ``plays`` (ladders of sampled plays), ``simulations`` (per decision) and
``evaluations`` (of local search; 0 is until the time is up).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic

from stowplan.errors import UsageError
from stowplan.ir.graph import Graph
from stowplan.ir.plan import Plan
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.latency import latency_model
from stowplan.passes.planner import PlanOptions, Progress
from stowplan.rl_mapper.agents import best_of, search_play
from stowplan.rl_mapper.baselines import (
    Outcome,
    all_on_chip,
    beam,
    evolution,
    greedy,
    played,
    wishes_of,
)
from stowplan.rl_mapper.game import Game, Instance, build_instance
from stowplan.rl_mapper.heuristic import assign, heuristic_plan
from stowplan.rl_mapper.mapping import plan_of, simulated_cycles
from stowplan.rl_mapper.network import Player, load_network
from stowplan.rl_mapper.search import SearchOptions
from stowplan.targets.target import Target

NAME = "rl"
SWITCHES = ("network", "search", "repair")
COUNTS = {"plays": 8, "simulations": 8, "evaluations": 0}
BEAM_WIDTH = 8
SHARE_OF_PLAYS, SHARE_OF_SEARCH = 0.2, 0.4
"""Shares of the time limit after which sampled plays and search end."""
SIMULATED = 3
"""Distinct plays per order that are simulated in the end."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the planner; see the module docstring. 0 ``evaluations``: until time is up."""

    network: bool = True
    search: bool = True
    repair: bool = True
    plays: int = COUNTS["plays"]
    simulations: int = COUNTS["simulations"]
    evaluations: int = COUNTS["evaluations"]


def read_settings(options: PlanOptions) -> Settings:
    """Parse the planner's settings.

    Raises:
        UsageError: unknown setting or value.
    """
    found: dict[str, bool | int] = {}
    for name, choice in options.settings:
        if name in SWITCHES and choice in ("on", "off"):
            found[name] = choice == "on"
        elif name in COUNTS and choice.isdecimal():
            found[name] = int(choice)
        else:
            raise UsageError(
                f"planner {NAME!r} has no setting {name}={choice}; it has "
                f"{', '.join(f'{key} = on or off' for key in SWITCHES)}, "
                f"{', '.join(f'{key} = a number' for key in COUNTS)}"
            )
    return Settings(**found)  # type: ignore[arg-type]


def plan_rl(graph: Graph, target: Target, options: PlanOptions) -> Plan:
    """Plan ``graph`` on ``target``; never worse than ``greedy``.

    Raises:
        InfeasiblePlanError: some operator alone exceeds the scratchpad.
        UsageError: unknown objective or setting.
    """
    began = monotonic()
    settings = read_settings(options)
    base = plan_greedy(
        graph, target, replace(options, settings=(), time_limit_s=options.time_limit_s / 4)
    )
    proof = replace(base.proof, wall_s=monotonic() - began)
    if options.objective != "cycles" or not target.dram.direct_operands or not graph.operators:
        return replace(base, planner=NAME, proof=proof)
    mapper = _Mapper(graph, target, options, settings, began)
    found = mapper.run(base)
    plan = found or base
    value = mapper.predict(plan)
    method = "memory-mapping game" if found else base.proof.method
    proof = replace(
        proof,
        value=value,
        lower_bound=min(value, proof.lower_bound),
        method=method,
        wall_s=monotonic() - began,
    )
    options.on_progress(Progress("simulated", value, proof.lower_bound, proof.wall_s))
    return replace(plan, planner=NAME, proof=proof)


class _Mapper:
    """One planning run; mutable."""

    def __init__(
        self, graph: Graph, target: Target, options: PlanOptions, settings: Settings, began: float
    ) -> None:
        self._graph, self._target = graph, target
        self._options, self._settings, self._began = options, settings, began
        self.predict = latency_model(
            graph, target, target.memory_spec(options.track_weights)
        ).predict

    def run(self, base: Plan) -> Plan | None:
        """The fastest plan in simulation; None if that is ``base``."""
        instances = self._instances(base)
        starts = [self._heuristics(instance, base) for instance in instances]
        # The order whose heuristics do better gets the search.
        chosen = min(range(len(instances)), key=lambda n: starts[n][0].cycles)
        instance = instances[chosen]
        outcomes = self._search(instance, starts[chosen])
        game = Game(instance)
        plans = [heuristic_plan(instance, assign(instance), NAME)]
        for outcome in outcomes[:SIMULATED]:
            game.reset()
            game.follow(outcome.wishes)
            plans.append(plan_of(game, NAME, replace(base.proof)))
        kept = simulated_cycles(instance, base)
        best: Plan | None = None
        for plan in plans:
            cycles = simulated_cycles(instance, plan)
            if cycles < kept:
                kept, best = cycles, replace(plan, proof=base.proof)
        return best

    def _instances(self, base: Plan) -> list[Instance]:
        track = self._options.track_weights
        number = {op.name: n for n, op in enumerate(self._graph.operators)}
        order = [number[name] for name in base.order]
        found = [build_instance(self._graph, self._target, track)]
        if order != sorted(order):
            found.append(build_instance(self._graph, self._target, track, order))
        return found

    def _heuristics(self, instance: Instance, base: Plan) -> list[Outcome]:
        """Plays that need no network, the best first."""
        starts = [greedy(instance), all_on_chip(instance)]
        if tuple(self._graph.operators[o].name for o in instance.order) == base.order:
            starts.append(played(Game(instance), wishes_of(instance, base)))
        if not self._over(SHARE_OF_PLAYS):
            starts.append(beam(instance, BEAM_WIDTH))
        return sorted(starts, key=_cycles)

    def _search(self, instance: Instance, starts: list[Outcome]) -> list[Outcome]:
        """Distinct plays, the best first."""
        settings, seed = self._settings, self._options.seed
        outcomes = list(starts)
        if settings.network:
            player = Player(instance, load_network())
            outcomes.append(best_of(player, 1, seed))
            for n in range(1, settings.plays):
                if self._over(SHARE_OF_PLAYS):
                    break
                outcomes.append(best_of(player, 7, seed + 7 * n))
            if settings.search and not self._over(SHARE_OF_SEARCH):
                budget = SearchOptions(simulations=settings.simulations)
                stop = self._stop(SHARE_OF_SEARCH)
                outcomes.append(search_play(player, budget, seed, stopped=stop))
        outcomes.sort(key=_cycles)
        if settings.repair:
            evaluations = settings.evaluations or 1 << 30
            stop = self._stop(0.95)
            start = replace(outcomes[0], evaluations=0)
            outcomes.append(evolution(instance, evaluations, seed, start, stop))
        return _distinct(sorted(outcomes, key=_cycles))

    def _stop(self, share: float) -> Callable[[], bool]:
        return lambda: self._over(share)

    def _over(self, share: float) -> bool:
        spent = monotonic() - self._began
        return spent > share * self._options.time_limit_s or self._options.cancelled()


def _cycles(outcome: Outcome) -> int:
    return outcome.cycles


def _distinct(outcomes: list[Outcome]) -> list[Outcome]:
    """One outcome per latency."""
    return list({outcome.cycles: outcome for outcome in reversed(outcomes)}.values())[::-1]
