"""The tiling of a model, chosen by the plans that greedy makes of several.

The pass ``tile`` proposes one tiling; searches with different prices of a tile propose others. Each
is planned for the caller's objective, and the best plan's tiling is taken.
"""

from collections.abc import Callable
from dataclasses import dataclass

from stowplan.errors import InfeasiblePlanError
from stowplan.ir.graph import Graph
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.pipeline import default_pipeline, run_pipeline
from stowplan.passes.planner import PlanOptions
from stowplan.passes.tile_groups import TileGroups, print_cuts
from stowplan.passes.tile_search import SearchLimits, search_tilings
from stowplan.passes.tiling.network import Network
from stowplan.passes.tiling.tile import Tile
from stowplan.targets.target import Target

REPLAYS = (0, 60, 250, 1_000)
"""Replays of all tiles a search may take, by effort."""
PRICES = (0.25, 1.0)
"""Prices of a tile tried, as shares of the bytes that could be moved during its overhead: transfers
hide most of it, but not where computation is what takes the time."""
EFFORTS = len(REPLAYS)


@dataclass(frozen=True, slots=True)
class Choice:
    """What to choose a tiling for.

    Attributes:
        target: the machine.
        precision: element type the model is planned at; None keeps its own.
        objective: what plans are judged by.
        track_weights: weights take scratchpad rather than stream.
        effort: 0 takes what the pass ``tile`` proposes, up to 3 search longer.
        cancelled: polled now and then; true takes the best found so far.
    """

    target: Target
    precision: str | None
    objective: str
    track_weights: bool
    effort: int
    cancelled: Callable[[], bool] = lambda: False


def choose_tiling(graph: Graph, choice: Choice) -> str:
    """Text of the groups of the best tiling of a freshly imported graph.

    Empty where nothing better than what the pass ``tile`` makes is found.
    """
    target, tracked = choice.target, choice.track_weights
    if not REPLAYS[choice.effort] or target.dram.direct_operands:
        return ""
    usual = Tile.of(target, tracked)
    before = default_pipeline(choice.precision, usual).partition(f",{Tile.name}{{")[0]
    network = Network(run_pipeline(graph, before), tracked)
    best, groups = _value(graph, choice, usual), ""
    prices = PRICES if choice.objective != "offchip" or choice.effort > 1 else PRICES[:1]
    for price in prices:
        limits = SearchLimits(
            REPLAYS[choice.effort] / len(prices),
            int(usual.overhead * price),
            usual.array,
            choice.cancelled,
        )
        memory = target.memory_spec(tracked)
        for found in search_tilings(network, memory, limits):
            text = print_cuts(found)
            value = _value(graph, choice, tile_groups(target, text, tracked))
            if value is not None and (best is None or value < best):
                best, groups = value, text
    return groups


def tile_groups(target: Target, groups: str, track_weights: bool) -> TileGroups:
    """The pass that tiles as ``groups`` say."""
    pad = target.scratchpad
    return TileGroups(groups, pad.size_bytes, pad.alignment_bytes, track_weights)


def _value(graph: Graph, choice: Choice, tile: Tile | TileGroups) -> int | None:
    """Objective of the plan that greedy makes of the model tiled so; None when it does not fit."""
    tiled = run_pipeline(graph, default_pipeline(choice.precision, tile))
    options = PlanOptions(objective=choice.objective, track_weights=choice.track_weights)
    try:
        return plan_greedy(tiled, choice.target, options).proof.value
    except InfeasiblePlanError:
        return None
