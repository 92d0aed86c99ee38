"""Forward passes of the learned model of the game in Numba: representation, dynamics, prediction.

*Representation* turns an observation into a latent position by the encoder of the policy network.
*Dynamics* turns a latent position and an action into the next latent position and the reward.
*Prediction* reads a policy and a value off a latent position. Latent positions are scaled to
[0, 1] by their least and greatest component.

Source: Schrittwieser et al., "Mastering Atari, Go, chess and shogi by planning with a learned
model", Nature 588, 2020, sections on the network and on planning.
"""

from typing import NamedTuple

import numba
import numpy as np

from stowplan.rl_mapper import game_kernels as game
from stowplan.rl_mapper import network_kernels as layers
from stowplan.rl_mapper.network_kernels import Floats

LATENT = 96
REWARD_UNIT = np.float32(0.01)
"""Share of the game's scale that a reward of 1 stands for; single decisions gain little."""


class Model(NamedTuple):
    """Weights; a layer of n inputs and m outputs is [n + 1, m], the last row being the bias.

    Attributes:
        profile: memory-profile encoder of the representation.
        token: encoder of one decision to come.
        sequence: encoder of their sequence.
        first: first layer of the representation behind the encoders.
        second: latent position.
        mix: first layer of the dynamics, behind latent position and action.
        change: what is added to the latent position.
        reward: reward of the action.
        head: first layer of the prediction.
        out: logits of Copy, NoCopy and Drop, and the value.
    """

    profile: Floats
    token: Floats
    sequence: Floats
    first: Floats
    second: Floats
    mix: Floats
    change: Floats
    reward: Floats
    head: Floats
    out: Floats


LAYERS = {
    "profile": layers.LAYERS["profile"],
    "token": layers.LAYERS["token"],
    "sequence": layers.LAYERS["sequence"],
    "first": (layers.JOINED, LATENT),
    "second": (LATENT, LATENT),
    "mix": (LATENT + game.ACTIONS, LATENT),
    "change": (LATENT, LATENT),
    "reward": (LATENT, 1),
    "head": (LATENT, LATENT),
    "out": (LATENT, game.ACTIONS + 1),
}
"""(inputs, outputs) of every layer by name."""


@numba.njit(cache=True)
def represent(model: Model, seen: Floats, latent: Floats) -> None:
    """The latent position [LATENT] of an observation [OBSERVATION]."""
    joined = np.empty(layers.JOINED, dtype=np.float32)
    layers.encode(model.profile, model.token, model.sequence, seen, joined)
    first = np.empty(LATENT, dtype=np.float32)
    layers.dense(model.first, joined, first, True)
    layers.dense(model.second, first, latent, False)
    _scale(latent)


@numba.njit(cache=True)
def advance(model: Model, latent: Floats, action: int, after: Floats) -> float:
    """The latent position after ``action``, into ``after`` [LATENT]; the reward in shares."""
    joined = np.zeros(LATENT + game.ACTIONS, dtype=np.float32)
    joined[:LATENT] = latent
    joined[LATENT + action] = 1.0
    mixed = np.empty(LATENT, dtype=np.float32)
    layers.dense(model.mix, joined, mixed, True)
    layers.dense(model.change, mixed, after, False)
    for j in range(LATENT):
        after[j] += latent[j]
    _scale(after)
    reward = np.empty(1, dtype=np.float32)
    layers.dense(model.reward, mixed, reward, False)
    return float(reward[0] * REWARD_UNIT)


@numba.njit(cache=True)
def predict(model: Model, latent: Floats, out: Floats) -> None:
    """Logits and value of a latent position, into ``out`` [4]."""
    hidden = np.empty(LATENT, dtype=np.float32)
    layers.dense(model.head, latent, hidden, True)
    layers.dense(model.out, hidden, out, False)


@numba.njit(cache=True)
def _scale(latent: Floats) -> None:
    least = latent[0]
    most = latent[0]
    for j in range(1, latent.shape[0]):
        least = min(least, latent[j])
        most = max(most, latent[j])
    spread = most - least + np.float32(1e-5)
    for j in range(latent.shape[0]):
        latent[j] = (latent[j] - least) / spread
