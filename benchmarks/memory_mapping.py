"""Learned memory mapping against heuristics and search, on models that training never saw.

    python -m benchmarks.memory_mapping MODEL.onnx ... [--evaluations 400] [--json ROWS.json]

Every model is played at several fast memories of a scaled-down ``tpu-v4i`` (a quarter of the DRAM
bandwidth). A pair of model and memory is memory-bound when the latency of the production-style
heuristic is at least a tenth above the lower bound. All methods get the same number of evaluations
of the game (``rl_mapper.baselines`` says what counts); latencies are simulated cycles. ``-p rl`` is
the planner as users run it, its local search limited to ``--refine`` evaluations if that is given.
The integer program that it uses besides is off unless ``--program`` is given: it stops by the
clock, so that results vary. With ``--evaluations 0`` the planners alone are measured. Pairs that
the rows in ``--json`` have already are not measured again.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean
from time import perf_counter, process_time

from benchmarks.mapping_pairs import MEMORIES, MEMORY_BOUND, prepare_pair
from stowplan.ir.check_plan import require_valid
from stowplan.passes.planner import PlanOptions
from stowplan.planners import get_planner
from stowplan.rl_mapper import baselines
from stowplan.rl_mapper.agents import best_of, search_play
from stowplan.rl_mapper.baselines import Outcome, replay
from stowplan.rl_mapper.game import Game, Instance, build_instance
from stowplan.rl_mapper.heuristic import assign, heuristic_plan
from stowplan.rl_mapper.mapping import plan_of, simulated_cycles
from stowplan.rl_mapper.network import Player, load_network
from stowplan.rl_mapper.repacking import Start, repacked
from stowplan.rl_mapper.search import SearchOptions

SIMULATIONS = 8
PLAYS = 10
PUBLISHED = "published rules, evolution"


@dataclass(frozen=True, slots=True)
class Row:
    """One model at one memory: simulated cycles by method, and what they cost.

    Attributes:
        model: file name.
        memory: fast memory.
        decisions: of the game.
        bound: cycles no play undercuts.
        cycles: (method, simulated cycles).
        cpu_s: (method, processor seconds).
        rl_wall_s: wall seconds of ``-p rl``.
    """

    model: str
    memory: str
    decisions: int
    bound: int
    cycles: dict[str, int]
    cpu_s: dict[str, float]
    rl_wall_s: float


def methods(evaluations: int, seed: int = 0) -> dict[str, Callable[[Instance], Outcome]]:
    """Everything compared, at ``evaluations`` evaluations each (heuristics need one or two)."""
    network = load_network()

    def learned(plays: int, refine: bool) -> Callable[[Instance], Outcome]:
        def run(instance: Instance) -> Outcome:
            found = best_of(Player(instance, network), plays)
            heuristics = baselines.greedy(instance), baselines.all_on_chip(instance)
            found = min(found, *heuristics, key=lambda outcome: outcome.cycles)
            if not refine:
                return found
            return baselines.evolution(
                instance, evaluations, seed, start=replace(found, evaluations=plays)
            )

        return run

    def repacking(use_network: bool) -> Callable[[Instance], Outcome]:
        """One search; with the networks, ten of the evaluations are plays of the policy."""

        def run(instance: Instance) -> Outcome:
            found = [baselines.greedy(instance), baselines.all_on_chip(instance)]
            player, spent = None, 0
            if use_network:
                player, spent = Player(instance, network), PLAYS
                found += [best_of(player, 1), best_of(player, PLAYS - 1, seed + 1)]
            starts = [Start(instance, outcome, player) for outcome in found]
            return repacked(starts, evaluations - spent, seed)[0][1]

        return run

    def searched(use_network: bool) -> Callable[[Instance], Outcome]:
        options = SearchOptions(simulations=SIMULATIONS)
        return lambda i: search_play(Player(i, network), options, learned=use_network)

    return {
        "all-Drop": baselines.all_drop,
        "on chip": baselines.all_on_chip,
        "random": lambda i: baselines.random_restarts(i, evaluations // 4, seed),
        "beam": lambda i: baselines.beam(i, 8),
        "population": lambda i: baselines.population(i, evaluations, seed),
        "evolution": lambda i: baselines.evolution(i, evaluations, seed),
        "policy": lambda i: best_of(Player(i, network), 1),
        "policy, best of 49": learned(49, refine=False),
        "policy + evolution": learned(49, refine=True),
        "repacking, no network": repacking(False),
        "repacking, network": repacking(True),
        "Gumbel search, no network": searched(False),
        "Gumbel search, network": searched(True),
    }


@dataclass(frozen=True, slots=True)
class Effort:
    """What is measured, and at what expense.

    Attributes:
        planners: whether to run ``-p greedy`` and ``-p rl``.
        methods: names of the methods compared, see :func:`methods`.
        evaluations: of each method.
        refine: evaluations of local search in ``-p rl``; 0 is its default.
        time_limit_s: of the planners.
        program: whether ``-p rl`` uses its integer program.
        seed: of the methods.
    """

    planners: bool
    methods: tuple[str, ...]
    evaluations: int
    refine: int
    time_limit_s: float
    program: bool
    seed: int


def measure(path: Path, memory: str, effort: Effort) -> Row | None:
    """One row, or None when the pair is not memory-bound."""
    problem = prepare_pair(path, memory)
    instance = build_instance(problem.graph, problem.target)
    row = Row(path.stem, memory, instance.decisions, instance.bound_cycles, {}, {}, 0.0)
    began = process_time()
    own = heuristic_plan(instance, assign(instance))
    replayed = _simulated(instance, baselines.greedy(instance))
    # The production-style heuristic is the better of its own plan and its replays in the game.
    row.cycles["greedy"] = min(simulated_cycles(instance, own), replayed)
    row.cpu_s["greedy"] = process_time() - began
    if row.cycles["greedy"] < MEMORY_BOUND * instance.bound_cycles:
        return None
    if effort.planners:
        row = replace(row, rl_wall_s=_planners(instance, effort, row))
    for name, method in methods(effort.evaluations, effort.seed).items():
        if name in effort.methods:
            began = process_time()
            outcome = method(instance)
            row.cpu_s[name] = process_time() - began
            row.cycles[name] = _simulated(instance, outcome)
    if PUBLISHED in effort.methods:
        game = build_instance(problem.graph, problem.target, hidden_only=True)
        row.cycles[PUBLISHED] = _simulated(game, baselines.evolution(game, effort.evaluations))
    return row


def _simulated(instance: Instance, outcome: Outcome) -> int:
    """Cycles of the simulator for a play, whose plan must pass the checker."""
    game = Game(instance)
    replay(game, outcome)
    plan = plan_of(game)
    require_valid(instance.problem.graph, plan, instance.problem.memory)
    return simulated_cycles(instance, plan)


def _planners(instance: Instance, effort: Effort, row: Row) -> float:
    """Measure the planners into ``row``; wall seconds of ``-p rl``."""
    graph, wall = instance.problem.graph, 0.0
    refine = (("evaluations", str(effort.refine)),) if effort.refine else ()
    program = ("program", "on" if effort.program else "off")
    settings = {"greedy": (), "rl": (program, *refine)}
    for name, chosen in settings.items():
        options = PlanOptions("cycles", effort.time_limit_s, track_weights=True, settings=chosen)
        began, wall = process_time(), perf_counter()
        plan = get_planner(name)(graph, instance.target, options)
        row.cpu_s[f"-p {name}"] = process_time() - began
        wall = perf_counter() - wall
        require_valid(graph, plan, instance.problem.memory)
        row.cycles[f"-p {name}"] = simulated_cycles(instance, plan)
    return wall


def table(rows: list[Row]) -> list[str]:
    """Markdown: per pair, then per method."""
    lines = [
        "| model | memory | decisions | greedy / bound | -p rl / bound | -p rl gains | wall s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        base, best = row.cycles["greedy"], row.cycles.get("-p rl", row.cycles["greedy"])
        lines.append(
            f"| {row.model} | {row.memory} | {row.decisions} | {base / row.bound:.3f} | "
            f"{best / row.bound:.3f} | {100 * (1 - best / base):.1f} % | {row.rl_wall_s:.1f} |"
        )
    lines += [
        "",
        "| method | mean gain over greedy | better | worse | mean / bound | mean CPU s |",
        "|---|---|---|---|---|---|",
    ]
    for name in rows[0].cycles:
        gains = [1 - row.cycles[name] / row.cycles["greedy"] for row in rows]
        gap = mean(row.cycles[name] / row.bound for row in rows)
        cpu = mean(row.cpu_s.get(name, 0.0) for row in rows)
        better, worse = sum(g > 1e-4 for g in gains), sum(g < -1e-4 for g in gains)
        lines.append(
            f"| {name} | {100 * mean(gains):.2f} % | {better} of {len(rows)} | {worse} | "
            f"{gap:.3f} | {cpu:.2f} |"
        )
    return lines


def _read(path: Path | None) -> list[Row]:
    """Rows of earlier runs."""
    if path is None or not path.exists():
        return []
    return [Row(**row) for row in json.loads(path.read_text())]


def _write(path: Path | None, rows: list[Row]) -> None:
    if path is not None:
        path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def main() -> None:
    """Measure all pairs; print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--memories", default=",".join(MEMORIES))
    parser.add_argument("--evaluations", type=int, default=400)
    parser.add_argument("--refine", type=int, default=0)
    parser.add_argument("--time-limit", type=float, default=30.0)
    parser.add_argument("--program", action="store_true")
    parser.add_argument("--seed", type=int, default=0, help="of the methods; rows do not tell")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--methods", help="names with ; between them; else all, and the planners")
    arguments = parser.parse_args()
    chosen = tuple(arguments.methods.split(";")) if arguments.methods else ()
    everything = (*methods(0), PUBLISHED) if arguments.evaluations and not chosen else chosen
    effort = Effort(
        not chosen,
        everything,
        arguments.evaluations,
        arguments.refine,
        arguments.time_limit,
        arguments.program,
        arguments.seed,
    )
    rows = _read(arguments.json)
    for path, memory in product(arguments.models, arguments.memories.split(",")):
        if any((row.model, row.memory) == (path.stem, memory) for row in rows):
            continue
        row = measure(path, memory, effort)
        print(path.stem, memory, "not memory-bound" if row is None else row.cycles, flush=True)
        if row is not None:
            rows.append(row)
            _write(arguments.json, rows)
    if rows:
        print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
