"""Ways to play with the network: greedily, many times at rising temperatures, and with search."""

from collections.abc import Callable

import numpy as np

from stowplan.rl_mapper import game_kernels as kernels
from stowplan.rl_mapper.baselines import Outcome
from stowplan.rl_mapper.network import Player
from stowplan.rl_mapper.search import GumbelSearch, Mask, SearchOptions

TEMPERATURES = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
"""The ladder of sampled plays; 0 is the greedy policy."""
VALUE_WEIGHT = 0.0
"""Weight of the network's value at leaves. Its errors exceed what single decisions gain, so the
search does better with the exact rewards within its horizon and the network's policy alone."""


class MappingPosition:
    """The memory-mapping game as :class:`search.SearchGame`: rewards as shares of the scale.

    Without ``learned`` all actions are alike beforehand and positions have no value: what the
    search then knows is the exact rewards within its horizon.
    """

    actions = kernels.ACTIONS

    def __init__(self, player: Player, learned: bool = True) -> None:
        """Share the player's position."""
        self.player = player
        self._learned = learned

    def legal(self) -> Mask:
        """Legal actions; none at the end and at a dead end."""
        return self.player.game.legal()

    def play(self, action: int) -> float:
        """Play; the share of the scale gained."""
        game = self.player.game
        return game.play(action) / game.instance.scale_cycles

    def undo(self) -> None:
        """Take back the last decision."""
        self.player.game.undo()

    def evaluate(self, mask: Mask) -> tuple[np.ndarray, float]:
        """Logits and value by the network."""
        if not self._learned:
            return np.zeros(self.actions), 0.0
        logits, value = self.player.evaluate(mask)
        return logits, VALUE_WEIGHT * value


def best_of(player: Player, plays: int, seed: int = 0) -> Outcome:
    """The best of ``plays`` plays up and down the ladder of temperatures."""
    best: Outcome | None = None
    for n in range(max(1, plays)):
        cycles = player.play(TEMPERATURES[n % len(TEMPERATURES)], seed + n)
        if best is None or cycles < best.cycles:
            best = Outcome(player.game.actions, cycles, n + 1)
        if n == 0 and player.game.instance.decisions == 0:
            break
    if best is None:
        return Outcome(np.zeros(0, dtype=np.int64), player.game.cycles, 0)
    return Outcome(best.wishes, best.cycles, plays)


def search_play(
    player: Player,
    options: SearchOptions,
    seed: int = 0,
    learned: bool = True,
    stopped: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Play a whole game, each decision chosen by search; the policy finishes once ``stopped``.

    A search of ``n`` simulations per decision counts as ``n`` evaluations of the whole game.
    """
    game = player.game
    game.reset()
    search = GumbelSearch(MappingPosition(player, learned), options, seed)
    while not game.done and not stopped():
        action, _ = search.choose()
        if action < 0:
            game.back_up()
        else:
            game.play(action)
    if not game.done:
        player.finish()
    return Outcome(game.actions, game.cycles, options.simulations)
