"""What each part of the learned memory mapper is worth, on models that training never saw.

    python -m benchmarks.mapping_ablations MODEL.onnx ... [--evaluations 64] [--json ROWS]
        [--imitation FOLDER] [--imitation-model FOLDER]

Every method gets ``--evaluations`` evaluations of the game, and its best play is simulated once.
A play of the policy is one evaluation; a search of 8 simulations per decision is 8, in the exact
game and in the learned model alike, and is repeated with other noise until the evaluations are
spent. The folders are those of ``stowplan train``, with the weights of every round: round 0 is
imitation alone.

Under the published rules transfers must be hidden entirely, and plays can get stuck. With
Drop-backup they go back and Drop; without, a play that gets stuck is lost, and if all are, what is
left is all-Drop.

Machine, pairs and heuristic are those of ``benchmarks.memory_mapping``. Latencies are simulated
cycles, and every plan passes the checker.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from time import process_time

import numpy as np

from benchmarks.mapping_pairs import MEMORIES, MEMORY_BOUND, prepare_pair
from benchmarks.rows import append_row, read_rows
from stowplan.ir.check_plan import require_valid
from stowplan.rl_mapper import baselines
from stowplan.rl_mapper import network_model_kernels as model_layers
from stowplan.rl_mapper.agents import best_of, search_play
from stowplan.rl_mapper.baselines import Outcome, replay
from stowplan.rl_mapper.game import Game, Instance, build_instance
from stowplan.rl_mapper.heuristic import assign, heuristic_plan
from stowplan.rl_mapper.mapping import plan_of, simulated_cycles
from stowplan.rl_mapper.network import Observer, Player, load_network
from stowplan.rl_mapper.network_kernels import Network
from stowplan.rl_mapper.network_model import load_model, play_by_model
from stowplan.rl_mapper.search import SearchOptions

SIMULATIONS = 8
SEARCH = SearchOptions(simulations=SIMULATIONS)
NOISE = 0.5
"""Gumbel noise of all but the first search; without it all were the same."""
TEMPERATURE = 0.3
"""Of plays that may get stuck."""

Method = Callable[[Instance], Outcome]


@dataclass(frozen=True, slots=True)
class Pair:
    """One model at one memory.

    Attributes:
        model: file name.
        memory: fast memory.
        decisions: of the game.
        bound: cycles no play undercuts.
        greedy: simulated cycles of the production-style heuristic.
        cycles: (method, simulated cycles).
        cpu_s: (method, processor seconds).
        stuck: share of plays that get stuck under the published rules.
    """

    model: str
    memory: str
    decisions: int
    bound: int
    greedy: int
    cycles: dict[str, int]
    cpu_s: dict[str, float]
    stuck: float


def repeated(evaluations: int, play: Callable[[SearchOptions, int], Outcome]) -> Outcome:
    """The best of as many searches as ``evaluations`` allow."""
    found = []
    for n in range(max(1, evaluations // SIMULATIONS)):
        found.append(play(replace(SEARCH, noise=NOISE if n else 0.0), n))
    return min(found, key=lambda outcome: outcome.cycles)


def searched(evaluations: int, network: Network, learned: bool) -> Method:
    """Gumbel search on the exact game."""

    def run(instance: Instance) -> Outcome:
        player = Player(instance, network)
        return repeated(evaluations, lambda o, seed: search_play(player, o, seed, learned=learned))

    return run


def imagined(evaluations: int, model: model_layers.Model) -> Method:
    """Gumbel search in the learned model."""

    def run(instance: Instance) -> Outcome:
        observer = Observer(instance)
        return repeated(evaluations, lambda o, seed: play_by_model(observer, model, o, seed))

    return run


def refined(evaluations: int, network: Network) -> Method:
    """Half of the evaluations for plays of the policy, half for local search from the best."""

    def run(instance: Instance) -> Outcome:
        starts = [best_of(Player(instance, network), evaluations // 2)]
        starts += [baselines.greedy(instance), baselines.all_on_chip(instance)]
        start = min(starts, key=lambda outcome: outcome.cycles)
        spent = replace(start, evaluations=evaluations // 2)
        return baselines.evolution(instance, evaluations, start=spent)

    return run


def methods(arguments: argparse.Namespace) -> dict[str, Method]:
    """Everything compared under the default rules."""
    n = arguments.evaluations
    network, model = load_network(), load_model()
    alone = SearchOptions(simulations=0)
    found: dict[str, Method] = {
        "no network: local search": lambda i: baselines.evolution(i, n),
        "no network: search, exact": searched(n, network, learned=False),
        "no search: greedy policy": lambda i: best_of(Player(i, network), 1),
        "no search: policy, best": lambda i: best_of(Player(i, network), n),
        "search, exact model": searched(n, network, learned=True),
        "search, learned model": imagined(n, model),
        "learned model, no search": lambda i: play_by_model(Observer(i), model, alone),
        "policy + local search": refined(n, network),
    }
    if arguments.imitation:
        early = load_network(arguments.imitation / "round0.npz")
        found["imitation only: greedy policy"] = lambda i: best_of(Player(i, early), 1)
        found["imitation only: policy, best"] = lambda i: best_of(Player(i, early), n)
        found["imitation only: search, exact model"] = searched(n, early, learned=True)
    if arguments.imitation_model:
        first = load_model(arguments.imitation_model / "round0.npz")
        found["imitation only: search, learned model"] = imagined(n, first)
    return found


def stuck_plays(instance: Instance, network: Network, plays: int) -> tuple[Outcome, float]:
    """Plays without Drop-backup: the best that ends, and the share that does not."""
    player = Player(instance, network)
    game = player.game
    best = baselines.all_drop(instance)
    stuck = 0
    for n in range(plays):
        cycles = player.play(TEMPERATURE if n else 0.0, n)
        # Where a Drop was forced, the play had got stuck.
        if game.state.forced.any():
            stuck += 1
        elif cycles < best.cycles:
            best = Outcome(game.actions, cycles, plays)
    return best, stuck / plays


def backed_plays(instance: Instance, network: Network, plays: int) -> Game:
    """Plays with Drop-backup; the best, played."""
    player = Player(instance, network)
    cycles = [player.play(TEMPERATURE if n else 0.0, n) for n in range(plays)]
    best = int(np.argmin(cycles))
    player.play(TEMPERATURE if best else 0.0, best)
    return player.game


def measure(path: Path, memory: str, arguments: argparse.Namespace) -> Pair | None:
    """One pair, or None when it is not memory-bound."""
    problem = prepare_pair(path, memory)
    instance = build_instance(problem.graph, problem.target)
    spec = problem.target.memory_spec(True)

    def simulated(game: Game) -> int:
        plan = plan_of(game)
        require_valid(problem.graph, plan, spec)
        return simulated_cycles(game.instance, plan)

    def replayed(outcome: Outcome, of: Instance = instance) -> Game:
        game = Game(of)
        replay(game, outcome)
        return game

    own = simulated_cycles(instance, heuristic_plan(instance, assign(instance)))
    greedy = min(own, simulated(replayed(baselines.greedy(instance))))
    if greedy < MEMORY_BOUND * instance.bound_cycles:
        return None
    cycles, seconds = {}, {}
    for name, method in methods(arguments).items():
        began = process_time()
        outcome = method(instance)
        seconds[name] = process_time() - began
        cycles[name] = simulated(replayed(outcome))
    published = build_instance(problem.graph, problem.target, hidden_only=True)
    network = load_network()
    began = process_time()
    with_backup = backed_plays(published, network, arguments.evaluations)
    name = "published rules, Drop-backup: policy, best"
    cycles[name], seconds[name] = simulated(with_backup), process_time() - began
    began = process_time()
    lucky, stuck = stuck_plays(published, network, arguments.evaluations)
    name = "published rules, no backup: policy, best"
    cycles[name] = simulated(replayed(lucky, published))
    seconds[name] = process_time() - began
    return Pair(
        path.stem,
        memory,
        instance.decisions,
        instance.bound_cycles,
        greedy,
        cycles,
        seconds,
        stuck,
    )


def table(pairs: list[Pair]) -> list[str]:
    """Markdown: per method over all pairs, then per pair."""
    names = list(pairs[0].cycles)
    lines = [
        "| method | mean gain over greedy | better | worse | mean / bound | mean CPU s |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        gains = [1 - pair.cycles[name] / pair.greedy for pair in pairs]
        better, worse = sum(g > 1e-4 for g in gains), sum(g < -1e-4 for g in gains)
        gap = mean(pair.cycles[name] / pair.bound for pair in pairs)
        cpu = mean(pair.cpu_s[name] for pair in pairs)
        lines.append(
            f"| {name} | {100 * mean(gains):.2f} % | {better} of {len(pairs)} | {worse} | "
            f"{gap:.3f} | {cpu:.2f} |"
        )
    numbers = " | ".join(str(n + 1) for n in range(len(names)))
    lines += [
        "",
        "Gain over greedy in per cent, methods numbered as above:",
        "",
        f"| model | memory | decisions | stuck | {numbers} |",
        "|---|---|---|---|" + "---|" * len(names),
    ]
    for pair in pairs:
        gains = [100 * (1 - pair.cycles[name] / pair.greedy) for name in names]
        cells = " | ".join(f"{gained:.1f}" for gained in gains)
        stuck = f"{100 * pair.stuck:.0f} %"
        lines.append(f"| {pair.model} | {pair.memory} | {pair.decisions} | {stuck} | {cells} |")
    return lines


def main() -> None:
    """Measure all pairs; print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--memories", default=",".join(MEMORIES))
    parser.add_argument("--evaluations", type=int, default=64)
    parser.add_argument("--imitation", type=Path, help="folder of `stowplan train`")
    parser.add_argument(
        "--imitation-model", type=Path, help="folder of `stowplan train --dynamics learned`"
    )
    parser.add_argument("--json", type=Path, help="rows, one a line; those there are kept")
    arguments = parser.parse_args()
    pairs = [Pair(**row) for row in read_rows(arguments.json)]
    known = {(pair.model, pair.memory) for pair in pairs}
    for path in arguments.models:
        for memory in arguments.memories.split(","):
            if (path.stem, memory) in known:
                continue
            pair = measure(path, memory, arguments)
            print(path.stem, memory, "not memory-bound" if pair is None else "", flush=True)
            if pair is not None:
                pairs.append(pair)
                append_row(arguments.json, asdict(pair))
    if pairs:
        print("\n".join(table(pairs)))


if __name__ == "__main__":
    main()
