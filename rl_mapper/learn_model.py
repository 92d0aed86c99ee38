"""Gradient steps of the learned dynamics model; imports torch, like ``learn``.

From every position the model is unrolled for a few steps along the actions that were played. Each
latent position on the way is held to the policy and the value of the position it stands for, and
each step to its reward; behind the end of a play all rewards and values are 0. The steps together
count as much as the first position does, and halve the gradient that goes through them.

Source: Schrittwieser et al., "Mastering Atari, Go, chess and shogi by planning with a learned
model", Nature 588, 2020, section on training. Values and rewards are numbers, not categories.
"""

from time import process_time
from typing import TYPE_CHECKING

import torch  # pyright: ignore[reportMissingImports]

from stowplan.rl_mapper import game_kernels as kernels
from stowplan.rl_mapper import network_model_kernels as layers
from stowplan.rl_mapper.learn import Weights, arrays, encode, optimiser_of, tensors
from stowplan.rl_mapper.train_run import Fitted

if TYPE_CHECKING:
    from stowplan.rl_mapper.train_model import Trajectories

UNROLL = 5
BATCH = 512
VALUE_WEIGHT = 2.0
REWARD_WEIGHT = 0.5


def represent(weights: Weights, seen: torch.Tensor) -> torch.Tensor:
    """Latent positions [M, LATENT] of observations [M, OBSERVATION]."""
    first = torch.relu(dense(weights, "first", encode(weights, seen)))
    return _scaled(dense(weights, "second", first))


def advance(
    weights: Weights, latent: torch.Tensor, action: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Next latent positions, and rewards in units of ``REWARD_UNIT`` [M], of actions [M]."""
    hot = torch.nn.functional.one_hot(action, kernels.ACTIONS).to(latent.dtype)
    mixed = torch.relu(dense(weights, "mix", torch.cat([latent, hot], dim=1)))
    return _scaled(latent + dense(weights, "change", mixed)), dense(weights, "reward", mixed)[:, 0]


def predict(weights: Weights, latent: torch.Tensor) -> torch.Tensor:
    """Logits and value of latent positions [M, 4]."""
    return dense(weights, "out", torch.relu(dense(weights, "head", latent)))


def dense(weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    """A layer without its rectifier."""
    return x @ weights[name][:-1] + weights[name][-1]


def _scaled(latent: torch.Tensor) -> torch.Tensor:
    least = latent.amin(dim=1, keepdim=True)
    return (latent - least) / (latent.amax(dim=1, keepdim=True) - least + 1e-5)


def fit_model(
    model: layers.Model, plays: "Trajectories", epochs: int, seed: int
) -> tuple[layers.Model, list[Fitted]]:
    """Adam on the sum of all losses; what was learned per epoch."""
    torch.manual_seed(seed)
    weights = tensors(model._asdict())
    data = _Data(plays, next(iter(weights.values())).device)
    optimiser, scheduler = optimiser_of(weights, epochs * -(-len(data.action) // BATCH))
    found = []
    for _ in range(epochs):
        began = process_time()
        totals = torch.zeros(4, device=data.seen.device)
        for rows in torch.randperm(len(data.action)).to(data.seen.device).split(BATCH):
            parts = _losses(weights, data, rows)
            loss = parts[0] + VALUE_WEIGHT * parts[1] + REWARD_WEIGHT * parts[2]
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(weights.values()), 5.0)
            optimiser.step()
            scheduler.step()
            totals += parts.detach() * len(rows)
        policy, value, reward, hits = (totals / len(data.action)).tolist()
        share = hits / max(1e-9, float(data.weight.mean()))
        found.append(Fitted(policy, value, reward, share, process_time() - began))
    return layers.Model(**arrays(weights)), found


class _Data:
    """Trajectories as tensors."""

    def __init__(self, plays: "Trajectories", device: torch.device) -> None:
        self.seen, self.policy, self.weight, self.action, self.reward, self.value, self.left = (
            torch.as_tensor(array, device=device)
            for array in (
                plays.seen,
                plays.policy,
                plays.weight,
                plays.action,
                plays.reward / layers.REWARD_UNIT,
                plays.value,
                plays.left,
            )
        )
        self.barred = torch.as_tensor(~plays.mask, device=device)


def _losses(weights: Weights, data: _Data, rows: torch.Tensor) -> torch.Tensor:
    """Losses of policy, value and reward, and the share of root actions predicted [4]."""
    latent = represent(weights, data.seen[rows])
    policy = value = reward = hits = torch.zeros((), device=latent.device)
    last = len(data.action) - 1
    for k in range(UNROLL + 1):
        share = 1.0 if k == 0 else 1.0 / UNROLL
        at = torch.clamp(rows + k, max=last)
        alive = (data.left[rows] > k).to(latent.dtype)
        out = predict(weights, latent)
        logits = out[:, :-1]
        if k == 0:
            logits = logits.masked_fill(data.barred[rows], -1e9)
            right = logits.argmax(dim=1) == data.policy[rows].argmax(dim=1)
            hits = (right * data.weight[rows]).mean()
        # Zeros of the target meet logits of barred actions, which are finite.
        entropy = -(data.policy[at] * torch.log_softmax(logits, dim=1)).sum(dim=1)
        policy = policy + share * (entropy * data.weight[at] * alive).mean()
        value = value + share * torch.square(out[:, -1] - data.value[at] * alive).mean()
        if k == UNROLL:
            break
        halved = 0.5 * latent + 0.5 * latent.detach() if k else latent
        latent, gained = advance(weights, halved, data.action[at])
        missed = torch.nn.functional.smooth_l1_loss(gained, data.reward[at] * alive)
        reward = reward + missed / UNROLL
    return torch.stack([policy, value, reward, hits])
