"""All plays of small memory-mapping games, to compare bounds with."""

import random
from dataclasses import dataclass

import msgspec
import numba
import numpy as np
from numpy.typing import NDArray
from tests.strategies import random_graph, small_target

from stowplan.ilp.mapping_instance import MappingInstance, mapping_instance
from stowplan.rl_mapper import game_kernels as kernels
from stowplan.rl_mapper.game import Game, Instance, build_instance
from stowplan.targets.target import Target

MOST_DECISIONS = 12


@dataclass(frozen=True, slots=True)
class SmallGame:
    """A game that can be played out, and the same problem for the integer program."""

    game: Instance
    mapping: MappingInstance
    target: Target
    track_weights: bool


def small_mapping_game(seed: int) -> SmallGame | None:
    """A random game; None if it has too many decisions or none."""
    rng = random.Random(seed)
    graph = random_graph(seed, rng.randint(2, 5), rng.choice((64, 512, 4096)))
    target = small_target(rng.choice((64, 256, 1024, 4096)), rng.choice((1, 4, 64)), True)
    latency, setup = rng.choice(((0, 0), (5, 2), (40, 8)))
    target = msgspec.structs.replace(
        target,
        dram=msgspec.structs.replace(
            target.dram, latency_cycles=latency, bytes_per_cycle=rng.choice((2, 8, 32))
        ),
        dma=msgspec.structs.replace(
            target.dma, setup_cycles=setup, burst_bytes=rng.choice((1, 16))
        ),
    )
    track = rng.random() < 0.8
    game = build_instance(graph, target, track)
    if not 1 <= game.decisions <= MOST_DECISIONS:
        return None
    return SmallGame(game, mapping_instance(graph, target, track), target, track)


def best_play(instance: Instance) -> tuple[int, NDArray[np.int64]]:
    """Least latency over all plays, and the actions of one that has it."""
    game = Game(instance)
    actions = np.zeros(instance.decisions, dtype=np.int64)
    return int(_best(instance.rules, game.state, actions)), actions


def _play_out(rules: kernels.Rules, state: kernels.State, actions: NDArray[np.int64]) -> int:
    total = rules.decision.shape[0]
    following = np.zeros(total + 1, dtype=np.int64)
    depth, least = 0, 1 << 62
    while depth >= 0:
        if depth == total:
            if state.scalar[0, kernels.CYCLES] < least:
                least = state.scalar[0, kernels.CYCLES]
                actions[:] = state.action[:total]
            depth -= 1
            kernels.undo(state)
            continue
        action = following[depth]
        if action == kernels.ACTIONS:
            following[depth] = 0
            depth -= 1
            if depth >= 0:
                kernels.undo(state)
            continue
        following[depth] += 1
        if kernels.play(rules, state, action) != kernels.ILLEGAL:
            depth += 1
    return least


_best = numba.njit(cache=True)(_play_out)
