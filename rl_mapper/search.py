"""Gumbel search over any game that can be played, undone and evaluated.

The tree is a struct of arrays; the game is a set of callbacks, so the search knows no game. The
player's own position is the tree's position: descending plays, coming back undoes.

At the root, actions are drawn without replacement by adding Gumbel noise to the logits, and
*sequential halving* gives each of the ``considered`` best the same number of simulations, keeps the
better half, and so on. Below the root the action is chosen whose visits lag furthest behind the
improved policy, the softmax of logits plus *completed Q*: the mean return of visited actions, the
network's value for the others. Returns are sums of rewards plus the value of the leaf.

Source: Danihelka et al., "Policy improvement by planning with Gumbel", ICLR 2022.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class SearchGame(Protocol):
    """What the search needs of a game; rewards and values are on one scale, near 0 to 1."""

    actions: int

    def legal(self) -> Mask:
        """Legal actions at the present position [actions]; none when it is over."""
        ...

    def play(self, action: int) -> float:
        """Play; the reward."""
        ...

    def undo(self) -> None:
        """Take back the last action played."""
        ...

    def evaluate(self, mask: Mask) -> tuple[Floats, float]:
        """Logits [actions] and expected sum of rewards to come."""
        ...


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search.

    Attributes:
        simulations: leaves evaluated per decision.
        considered: actions given simulations at the root.
        noise: scale of the Gumbel noise; 0 is deterministic.
        visit_offset: ``c_visit``, visits by which values weigh more.
        value_scale: ``c_scale``, weight of values against logits.
        least_spread: values that differ by less are not spread over the whole range.
    """

    simulations: int = 16
    considered: int = 3
    noise: float = 0.0
    visit_offset: float = 50.0
    value_scale: float = 0.02
    least_spread: float = 1e-3


class _Tree:
    """Nodes of one search, arrays [nodes] or [nodes, actions]; mutable."""

    def __init__(self, nodes: int, actions: int) -> None:
        self.child = np.full((nodes, actions), -1, dtype=np.int64)
        self.legal = np.zeros((nodes, actions), dtype=np.bool_)
        self.logits = np.zeros((nodes, actions))
        self.visits = np.zeros((nodes, actions))
        self.total = np.zeros((nodes, actions))
        self.value = np.zeros(nodes)
        self.size = 0

    def completed(self, node: int) -> Floats:
        """Mean return of visited actions, elsewhere the mixed value of the node [actions]."""
        visits = self.visits[node]
        seen = visits > 0
        means = np.divide(self.total[node], visits, out=np.zeros_like(visits), where=seen)
        if not seen.any():
            return np.full_like(visits, self.value[node])
        prior = softmax(self.logits[node], self.legal[node])
        count, mass = visits.sum(), prior[seen].sum()
        mean = float((prior[seen] * means[seen]).sum() / max(mass, 1e-12))
        mixed = (self.value[node] + count * mean) / (1.0 + count)
        return np.asarray(np.where(seen, means, mixed))


def softmax(logits: Floats, mask: Mask) -> Floats:
    """Probabilities of the actions in ``mask``, 0 elsewhere."""
    shifted = np.where(mask, logits, -np.inf)
    shifted = np.asarray(np.exp(shifted - shifted.max()))
    return np.asarray(shifted / shifted.sum())


class GumbelSearch:
    """Search from the present position of one game."""

    def __init__(
        self,
        game: SearchGame,
        options: SearchOptions = SearchOptions(),
        seed: int = 0,
    ) -> None:
        """Bind to ``game``, whose position the search restores after each decision."""
        self.game = game
        self.options = options
        self._rng = np.random.default_rng(seed)
        self._tree = _Tree(1, game.actions)

    def choose(self) -> tuple[int, Floats]:
        """The best action, and the improved policy [actions]; -1 if there is no legal action."""
        self._tree = _Tree(self.options.simulations + 1, self.game.actions)
        self._expand()
        tree = self._tree
        if not tree.legal[0].any():
            return -1, np.zeros(self.game.actions)
        noise = self.options.noise * self._rng.gumbel(size=self.game.actions)

        def score() -> Floats:
            return np.where(tree.legal[0], noise + tree.logits[0] + self._weighted(0), -np.inf)

        legal = int(tree.legal[0].sum())
        order = np.argsort(-np.where(tree.legal[0], noise + tree.logits[0], -np.inf))
        kept = order[: min(self.options.considered, legal)]
        if len(kept) > 1:
            self._halve(kept, score)
        most = tree.visits[0].max()
        best = int(np.argmax(np.where(tree.visits[0] == most, score(), -np.inf)))
        return best, softmax(tree.logits[0] + self._weighted(0), tree.legal[0])

    def _halve(self, kept: NDArray[np.int64], score: Callable[[], Floats]) -> None:
        """Sequential halving among the root actions ``kept``."""
        left = self.options.simulations
        rounds = max(1, int(np.ceil(np.log2(len(kept)))))
        share = self.options.simulations // rounds
        while left > 0 and len(kept) > 0:
            each = max(1, share // len(kept))
            for _ in range(each):
                for action in kept.tolist():
                    if left == 0:
                        return
                    self._simulate(action)
                    left -= 1
            if len(kept) > 2:
                kept = kept[np.argsort(-score()[kept])][: (len(kept) + 1) // 2]

    def _simulate(self, action: int) -> None:
        """One path from the root, beginning with ``action``, to a new leaf or an end."""
        tree, game = self._tree, self.game
        path: list[tuple[int, int, float]] = []
        node = 0
        value = 0.0
        while True:
            path.append((node, action, game.play(action)))
            child = int(tree.child[node, action])
            if child < 0:
                tree.child[node, action] = tree.size
                value = self._expand()
                break
            node = child
            if not tree.legal[node].any():
                value = float(tree.value[node])
                break
            action = self._below(node)
        for at, chosen, reward in reversed(path):
            game.undo()
            value += reward
            tree.visits[at, chosen] += 1
            tree.total[at, chosen] += value

    def _below(self, node: int) -> int:
        tree = self._tree
        policy = softmax(tree.logits[node] + self._weighted(node), tree.legal[node])
        lag = policy - tree.visits[node] / (1.0 + tree.visits[node].sum())
        return int(np.argmax(np.where(tree.legal[node], lag, -np.inf)))

    def _weighted(self, node: int) -> Floats:
        """Completed Q, spread over [0, 1] among the legal actions and weighed by visits."""
        tree = self._tree
        values = tree.completed(node)
        among = values[tree.legal[node]]
        spread = max(float(np.ptp(among)), self.options.least_spread)
        scale = (self.options.visit_offset + tree.visits[node].max()) * self.options.value_scale
        return np.asarray(scale * (values - among.min()) / spread)

    def _expand(self) -> float:
        """Add the present position to the tree; its value."""
        tree = self._tree
        node = tree.size
        tree.size += 1
        tree.legal[node] = self.game.legal()
        if tree.legal[node].any():
            tree.logits[node], tree.value[node] = self.game.evaluate(tree.legal[node])
        return float(tree.value[node])
