"""The memory-mapping game as a Gymnasium environment; needs the extra ``train``."""

from typing import Any

import gymnasium  # pyright: ignore[reportMissingImports]
import numpy as np
from numpy.typing import NDArray

from stowplan.rl_mapper import game_kernels as kernels
from stowplan.rl_mapper import network_kernels as layers
from stowplan.rl_mapper.game import Instance
from stowplan.rl_mapper.network import Player, random_network
from stowplan.rl_mapper.training_graphs import training_game

Observation = NDArray[np.float32]


class MemoryMappingEnv(gymnasium.Env[Observation, np.int64]):  # type: ignore[misc]
    """One decision per step; actions are Copy, NoCopy and Drop.

    The reward is the latency a decision takes off, as a share of what perfect play could take
    off. An action that is not legal is replaced by a legal one, which ``info["action"]`` names;
    mask with :meth:`action_masks`. Dead ends are backed up, and the reward then takes back what
    was given.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium declares it so

    def __init__(self, instance: Instance | None = None) -> None:
        """Play ``instance``, or a new training game after every reset."""
        self._fixed = instance
        self._player = self._new_player(instance or training_game(0))
        self._mask = np.zeros(kernels.ACTIONS, dtype=np.bool_)
        self.action_space = gymnasium.spaces.Discrete(kernels.ACTIONS)
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (layers.OBSERVATION,), dtype=np.float32
        )

    def action_masks(self) -> NDArray[np.bool_]:
        """Legal actions of the next decision [3]."""
        return self._mask.copy()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start anew; without a fixed instance a game drawn by ``seed``."""
        super().reset(seed=seed)
        if self._fixed is None:
            number = int(self.np_random.integers(0, 1_000_000))
            self._player = self._new_player(training_game(number))
        self._player.game.reset()
        return self._observe(), {"cycles": self._player.game.cycles}

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Decide."""
        game = self._player.game
        before = game.cycles
        chosen = int(action)
        if not self._mask[chosen]:
            chosen = int(np.flatnonzero(self._mask)[0])
        game.play(chosen)
        seen = self._observe()
        reward = (before - game.cycles) / game.instance.scale_cycles
        return seen, float(reward), game.done, False, {"cycles": game.cycles, "action": chosen}

    def _observe(self) -> Observation:
        """The next decision that has a legal action."""
        player = self._player
        seen = np.zeros(layers.OBSERVATION, dtype=np.float32)
        self._mask[:] = False
        while not player.game.done:
            self._mask[:] = player.game.legal()
            if self._mask.any():
                player.observe(self._mask, seen)
                break
            player.game.back_up()
        return seen

    @staticmethod
    def _new_player(instance: Instance) -> Player:
        return Player(instance, random_network(0))
