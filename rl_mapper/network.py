"""The network's weights: made at random, read, written, and bound to a game."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stowplan.errors import UsageError
from stowplan.rl_mapper import game_kernels as kernels
from stowplan.rl_mapper import network_kernels as layers
from stowplan.rl_mapper.game import Game, Instance

WEIGHTS = Path(__file__).parent / "weights" / "memory_mapping.npz"
"""The weights shipped with the package."""


Shapes = dict[str, tuple[int, int]]
"""(inputs, outputs) of every layer by name."""


def random_layers(shapes: Shapes, seed: int) -> dict[str, layers.Floats]:
    """Weights to start training from: normal with variance 2 / inputs, zero biases.

    Source: He et al., "Delving Deep into Rectifiers", ICCV 2015.
    """
    rng = np.random.default_rng(seed)
    made = {}
    for name, (inputs, outputs) in shapes.items():
        weights = rng.normal(0.0, np.sqrt(2.0 / inputs), (inputs + 1, outputs))
        weights[-1] = 0.0
        made[name] = np.ascontiguousarray(weights, dtype=np.float32)
    return made


def read_layers(path: Path, shapes: Shapes) -> dict[str, layers.Floats]:
    """Read weights.

    Raises:
        UsageError: the file is missing or holds another network.
    """
    try:
        with np.load(path) as file:
            found = {name: np.ascontiguousarray(file[name], dtype=np.float32) for name in file}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot read network weights: {error}") from error
    for name, (inputs, outputs) in shapes.items():
        if name not in found or found[name].shape != (inputs + 1, outputs):
            raise UsageError(
                f"{path}: layer {name!r} is missing or has another shape than "
                f"[{inputs + 1}, {outputs}]: train again with `stowplan train`"
            )
    return {name: found[name] for name in shapes}


def write_layers(path: Path, weights: Mapping[str, layers.Floats]) -> None:
    """Write weights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, allow_pickle=False, **weights)


def random_network(seed: int) -> layers.Network:
    """A policy network nobody has trained."""
    return layers.Network(**random_layers(layers.LAYERS, seed))


def load_network(path: Path = WEIGHTS) -> layers.Network:
    """Read a policy network.

    Raises:
        UsageError: the file is missing or holds another network.
    """
    return layers.Network(**read_layers(path, layers.LAYERS))


def save_network(path: Path, network: layers.Network) -> None:
    """Write a policy network."""
    write_layers(path, network._asdict())


def described(instance: Instance) -> layers.Floats:
    """What networks know of every decision before anything is played [A, PER_DECISION]."""
    known = np.zeros((instance.decisions, layers.PER_DECISION), dtype=np.float32)
    layers.describe(instance.rules, float(instance.scale_cycles), known)
    return known


class Observer:
    """A game and what a network sees of it; mutable."""

    def __init__(self, instance: Instance) -> None:
        """Describe the instance's decisions once."""
        self.game = Game(instance)
        self.known = described(instance)

    def observe(self, mask: np.ndarray, out: np.ndarray) -> None:
        """The present position, whose legal actions are ``mask``, into ``out`` [OBSERVATION]."""
        game = self.game
        layers.observe(game.instance.rules, game.state, self.known, mask, out)


class Player(Observer):
    """A network that plays one instance; mutable."""

    def __init__(self, instance: Instance, network: layers.Network) -> None:
        """Bind the network to the instance."""
        super().__init__(instance)
        self.network = network
        self._seen = np.zeros(layers.OBSERVATION, dtype=np.float32)
        self._out = np.zeros(kernels.ACTIONS + 1, dtype=np.float32)

    def play(self, temperature: float = 0.0, seed: int = 0) -> int:
        """Play a whole game by the policy; its latency in cycles."""
        self.game.reset()
        return self.finish(temperature, seed)

    def finish(self, temperature: float = 0.0, seed: int = 0) -> int:
        """Play from the present position to the end; the latency in cycles."""
        game = self.game
        layers.play_policy(
            game.instance.rules, game.state, self.network, self.known, temperature, seed
        )
        return game.cycles

    def evaluate(self, mask: np.ndarray) -> tuple[np.ndarray, float]:
        """Logits [3] and value of the present position; the value is a share of the scale."""
        self.observe(mask, self._seen)
        layers.forward(self.network, self._seen, self._out)
        return self._out[: kernels.ACTIONS].astype(np.float64), float(self._out[-1])
