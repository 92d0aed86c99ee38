"""The network that proposes changes of plays: its weights, and bound to a game."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from stowplan.rl_mapper import change_kernels as kernels
from stowplan.rl_mapper import game_kernels, guided_kernels
from stowplan.rl_mapper.game import Game, Instance
from stowplan.rl_mapper.network import described, random_layers, read_layers, write_layers

WEIGHTS = Path(__file__).parent / "weights" / "memory_changes.npz"
"""The weights shipped with the package."""
SHARPNESS = 1.4
"""Moves are drawn in proportion to this power of their worth; the best of 0.7, 1, 1.4 and 2 on
validation games."""


def random_changes(seed: int) -> kernels.ChangeNetwork:
    """A network nobody has trained."""
    return kernels.ChangeNetwork(**random_layers(kernels.LAYERS, seed))


@lru_cache(maxsize=4)
def load_changes(path: Path = WEIGHTS) -> kernels.ChangeNetwork:
    """Read a network.

    Raises:
        UsageError: the file is missing or holds another network.
    """
    return kernels.ChangeNetwork(**read_layers(path, kernels.LAYERS))


def save_changes(path: Path, network: kernels.ChangeNetwork) -> None:
    """Write a network."""
    write_layers(path, network._asdict())


class Proposer:
    """A network that proposes changes of one game's plays; mutable: it learns which kinds gain."""

    def __init__(
        self,
        instance: Instance,
        network: kernels.ChangeNetwork,
        sharpness: float = SHARPNESS,
    ) -> None:
        """Bind the network to the instance."""
        self._network = network
        self._known = described(instance)
        self._sharpness = sharpness
        self.arms = np.zeros((guided_kernels.ARMS, 2))

    def improve(self, game: Game, wishes: game_kernels.Ints, evaluations: int, seed: int) -> int:
        """Improve ``wishes`` in place and leave them played; the latency."""
        return int(
            guided_kernels.improve(
                game.instance.rules,
                game.state,
                wishes,
                evaluations,
                seed,
                self._known,
                self._network,
                self.arms,
                self._sharpness,
            )
        )

    def describe(self, game: Game, wishes: game_kernels.Ints) -> kernels.Floats:
        """Features of every decision of the finished play in ``game`` [A, FEATURES]."""
        seen = np.zeros((len(wishes), kernels.FEATURES), dtype=np.float32)
        kernels.describe_play(game.instance.rules, game.state, self._known, wishes, seen)
        return seen

    def propose(
        self, game: Game, wishes: game_kernels.Ints, seed: int, tried: game_kernels.Ints
    ) -> None:
        """Draw changes of the finished play in ``game`` into ``tried`` [K, 4]."""
        seen = self.describe(game, wishes)
        guided_kernels.propose(game.instance.rules, self._network, seen, seed, tried)
