"""mallocMuZero with a learned dynamics model: search in latent positions, not in the game.

At every decision the observation becomes a latent position, and Gumbel search, the same as on the
exact game (``rl_mapper.search``), descends from it by the learned dynamics. The true legality mask
is known at the root only; below it every action counts as legal, and the model has to know better.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from stowplan.rl_mapper import game_kernels as kernels
from stowplan.rl_mapper import network_model_kernels as layers
from stowplan.rl_mapper.baselines import Outcome
from stowplan.rl_mapper.network import WEIGHTS, Observer, random_layers, read_layers
from stowplan.rl_mapper.network_kernels import OBSERVATION
from stowplan.rl_mapper.search import GumbelSearch, Mask, SearchOptions

MODEL_WEIGHTS = WEIGHTS.with_name("memory_mapping_model.npz")
"""The learned model shipped with the package."""


def random_model(seed: int) -> layers.Model:
    """Weights to start training from, see :func:`network.random_layers`."""
    return layers.Model(**random_layers(layers.LAYERS, seed))


def load_model(path: Path = MODEL_WEIGHTS) -> layers.Model:
    """Read weights.

    Raises:
        UsageError: the file is missing or holds another network.
    """
    return layers.Model(**read_layers(path, layers.LAYERS))


class LatentPosition:
    """The learned model as :class:`search.SearchGame`; mutable."""

    actions = kernels.ACTIONS

    def __init__(self, observer: Observer, model: layers.Model) -> None:
        """Bind to a game; :meth:`look` comes first."""
        self.observer = observer
        self.model = model
        self._seen = np.zeros(OBSERVATION, dtype=np.float32)
        self._out = np.zeros(kernels.ACTIONS + 1, dtype=np.float32)
        self._mask = np.zeros(kernels.ACTIONS, dtype=np.bool_)
        self._any = np.ones(kernels.ACTIONS, dtype=np.bool_)
        self._path: list[np.ndarray] = []

    def look(self) -> Mask:
        """Make the present position of the game the root; its legal actions [3]."""
        self._mask = self.observer.game.legal()
        latent = np.zeros(layers.LATENT, dtype=np.float32)
        if self._mask.any():
            self.observer.observe(self._mask, self._seen)
            layers.represent(self.model, self._seen, latent)
        self._path = [latent]
        return self._mask

    def legal(self) -> Mask:
        """Legal actions at the root, all below it."""
        return self._mask if len(self._path) == 1 else self._any

    def play(self, action: int) -> float:
        """Imagine an action; the reward the model expects."""
        after = np.empty(layers.LATENT, dtype=np.float32)
        reward = layers.advance(self.model, self._path[-1], action, after)
        self._path.append(after)
        return float(reward)

    def undo(self) -> None:
        """Back to the latent position before the last action."""
        self._path.pop()

    def evaluate(self, mask: Mask) -> tuple[np.ndarray, float]:
        """Logits and value by the model's prediction."""
        layers.predict(self.model, self._path[-1], self._out)
        return self._out[: kernels.ACTIONS].astype(np.float64), float(self._out[-1])


def play_by_model(
    observer: Observer,
    model: layers.Model,
    options: SearchOptions,
    seed: int = 0,
    stopped: Callable[[], bool] = lambda: False,
    noted: Callable[[int, np.ndarray], None] = lambda decision, policy: None,
) -> Outcome:
    """Play a whole game, each decision chosen by search in the learned model.

    Without simulations the policy plays. Of the game the search sees observations and masks of
    positions actually reached: the whole play counts as one evaluation.

    Args:
        observer: of the game to be played.
        model: the learned model.
        options: of the search.
        seed: of the search's noise.
        stopped: checked at every decision; then the policy alone goes on.
        noted: called with every decision's number and improved policy [3].
    """
    game = observer.game
    game.reset()
    position = LatentPosition(observer, model)
    search = GumbelSearch(position, options, seed)
    while not game.done:
        mask = position.look()
        if not mask.any():
            game.back_up()
            continue
        if options.simulations and not stopped():
            action, policy = search.choose()
            noted(game.cursor, policy)
        else:
            logits, _ = position.evaluate(mask)
            action = int(np.argmax(np.where(mask, logits, -np.inf)))
        game.play(action)
    return Outcome(game.actions, game.cycles, 1)
