"""Planner ``rl``: the best of production-style heuristics, network, search and local search.

For objective ``cycles`` on targets with direct DRAM operands, the memory-mapping game is played in
graph order and in the orders ``greedy`` tries: heuristics, the network's policy greedily and at
rising temperatures, Gumbel search, and local search with the network's proposals from the best few
plays (``repacking``). The best plays by the game's latency, the heuristic's own plan and the plan
of ``greedy`` are simulated, and the fastest is returned: on the simulated machine it is never
slower than either heuristic. For other objectives and targets it is the plan of ``greedy``.

Settings: ``network`` (``on`` or ``off``), ``search`` (``on`` or ``off``), ``repair`` (``on`` or
``off``: local search), ``plays`` (ladders of sampled plays), ``simulations`` (per decision) and
``evaluations`` (of local search; 0 is by the size of the graph). A plan depends on the seed alone
unless the time limit ends the search.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from stowplan.errors import UsageError
from stowplan.ir.graph import Graph
from stowplan.ir.plan import Plan
from stowplan.passes.clock import planning_seconds
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.latency import latency_model
from stowplan.passes.order import candidate_orders
from stowplan.passes.planner import PlanOptions, Progress
from stowplan.rl_mapper.agents import best_of, search_play
from stowplan.rl_mapper.baselines import (
    Outcome,
    all_on_chip,
    beam,
    greedy,
    hints_of,
    played,
    replay,
    wishes_of,
)
from stowplan.rl_mapper.game import Game, Instance, build_instance
from stowplan.rl_mapper.heuristic import assign, heuristic_plan
from stowplan.rl_mapper.mapping import plan_of, simulated_cycles
from stowplan.rl_mapper.network import Player, load_network
from stowplan.rl_mapper.repacking import Start, repacked
from stowplan.rl_mapper.search import SearchOptions
from stowplan.targets.target import Target

NAME = "rl"
SWITCHES = ("network", "search", "repair")
COUNTS = {"plays": 8, "simulations": 8, "evaluations": 0}
BEAM_WIDTH = 8
WORK = 800_000
"""Decisions of the plays that local search tries by default: a few seconds of one core."""
LEAST_EVALUATIONS = 500
SHARE_OF_PLAYS, SHARE_OF_SEARCH = 0.2, 0.4
"""Shares of the time limit after which sampled plays and search end."""
SIMULATED = 3
"""Distinct plays that are simulated of those before local search."""
SEARCHES = 6
"""Local searches, with seeds of their own; as many at a time as there are cores. Every other one
begins at the plain heuristics' plays only: the best plays often lie close together."""
SIMULATED_FOUND = 24
"""Distinct plays that are simulated of those local search found."""


Found = tuple[Instance, Outcome]


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the planner; see the module docstring."""

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
    began = planning_seconds()
    settings = read_settings(options)
    base = plan_greedy(
        graph, target, replace(options, settings=(), time_limit_s=options.time_limit_s / 4)
    )
    proof = replace(base.proof, wall_s=planning_seconds() - began)
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
        wall_s=planning_seconds() - began,
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
        found: list[Found] = []
        for instance in instances:
            found += [(instance, outcome) for outcome in self._heuristics(instance, base)]
        if self._settings.network:
            found += self._learned(instances, found)
        found = _distinct(found)
        candidates = found[:SIMULATED]
        if self._settings.repair:
            candidates += _distinct(self._repair(found))[:SIMULATED_FOUND]
        plans = [heuristic_plan(i, assign(i), NAME) for i in instances]
        for instance, outcome in candidates:
            game = Game(instance)
            replay(game, outcome)
            plans.append(plan_of(game, NAME))
        kept = simulated_cycles(instances[0], base)
        best: Plan | None = None
        for plan in plans:
            cycles = simulated_cycles(instances[0], plan)
            if cycles < kept:
                kept, best = cycles, replace(plan, proof=base.proof)
        return best

    def _instances(self, base: Plan) -> list[Instance]:
        """The game in graph order, in the order of ``base`` and in others worth a try."""
        track = self._options.track_weights
        number = {op.name: n for n, op in enumerate(self._graph.operators)}
        first = build_instance(self._graph, self._target, track)
        orders = [tuple(number[name] for name in base.order), *candidate_orders(first.problem)]
        others = [order for order in dict.fromkeys(orders) if order != first.order]
        return [first] + [build_instance(self._graph, self._target, track, o) for o in others]

    def _heuristics(self, instance: Instance, base: Plan) -> list[Outcome]:
        """Plays that need no network, the best first."""
        starts = [greedy(instance), all_on_chip(instance)]
        if tuple(self._graph.operators[o].name for o in instance.order) == base.order:
            wishes, hints = wishes_of(instance, base), hints_of(instance, base)
            starts.append(played(Game(instance), wishes, hints=hints))
        if not self._over(SHARE_OF_PLAYS):
            starts.append(beam(instance, BEAM_WIDTH))
        return starts

    def _learned(self, instances: list[Instance], found: list[Found]) -> list[Found]:
        """Plays with the network: one in each order, many and a search in the most promising."""
        settings, seed = self._settings, self._options.seed
        network = load_network()
        first = [(i, best_of(Player(i, network), 1, seed)) for i in instances]
        instance = min((*found, *first), key=_cycles)[0]
        player = Player(instance, network)
        plays = first
        for n in range(1, settings.plays):
            if self._over(SHARE_OF_PLAYS):
                break
            plays.append((instance, best_of(player, 7, seed + 7 * n)))
        if settings.search and not self._over(SHARE_OF_SEARCH):
            budget = SearchOptions(simulations=settings.simulations)
            stop = self._stop(SHARE_OF_SEARCH)
            plays.append((instance, search_play(player, budget, seed, stopped=stop)))
        return plays

    def _repair(self, found: list[Found]) -> list[Found]:
        """Local searches from the best plays found; they end at different plays."""
        seeds = [self._options.seed + (n << 24) for n in range(SEARCHES)]
        plain = [(i, play(i)) for i in _orders(found) for play in (greedy, all_on_chip)]
        starts = [plain if n % 2 else found for n in range(SEARCHES)]
        with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
            searches = threads.map(self._search, starts, seeds)
            return [play for plays in searches for play in plays]

    def _search(self, found: list[Found], seed: int) -> list[Found]:
        settings = self._settings
        network = load_network() if settings.network else None
        decisions = max(1, found[0][0].decisions)
        evaluations = settings.evaluations or max(LEAST_EVALUATIONS, WORK // decisions)
        starts = [
            Start(i, outcome, Player(i, network) if network is not None else None)
            for i, outcome in found
        ]
        return repacked(starts, evaluations, seed, self._stop(0.9))

    def _stop(self, share: float) -> Callable[[], bool]:
        return lambda: self._over(share)

    def _over(self, share: float) -> bool:
        spent = planning_seconds() - self._began
        return spent > share * self._options.time_limit_s or self._options.cancelled()


def _cycles(found: Found) -> int:
    return found[1].cycles


def _orders(found: list[Found]) -> list[Instance]:
    """The games of ``found``, one per order of the operators."""
    return list({instance.order: instance for instance, _ in found}.values())


def _distinct(found: list[Found]) -> list[Found]:
    """One play per latency, the best first."""
    ranked = sorted(found, key=_cycles)
    return list({_cycles(each): each for each in reversed(ranked)}.values())[::-1]
