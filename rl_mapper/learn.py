"""The gradient steps of training; only this module and ``learn_model`` import torch."""

from collections.abc import Mapping
from time import process_time
from typing import TYPE_CHECKING

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from stowplan.rl_mapper import network_kernels as layers
from stowplan.rl_mapper.train_run import Fitted

if TYPE_CHECKING:
    from stowplan.rl_mapper.train import Plays

BATCH = 512
RATE = 1.5e-3
VALUE_WEIGHT = 0.5
Weights = dict[str, torch.Tensor]
"""A layer's weights [inputs + 1, outputs] by name, the last row being the bias."""


def encode(weights: Weights, seen: torch.Tensor) -> torch.Tensor:
    """Codes of observations [M, OBSERVATION]: [M, JOINED], as the Numba kernel has it."""

    def dense(name: str, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x @ weights[name][:-1] + weights[name][-1])

    tokens_end = layers.PROFILE + layers.AHEAD * layers.PER_DECISION
    profile = dense("profile", seen[:, : layers.PROFILE])
    tokens = seen[:, layers.PROFILE : tokens_end].reshape(-1, layers.AHEAD, layers.PER_DECISION)
    codes = dense("token", tokens).reshape(len(seen), -1)
    return torch.cat([profile, dense("sequence", codes), seen[:, tokens_end:]], dim=1)


def forward(weights: Weights, seen: torch.Tensor) -> torch.Tensor:
    """Logits and value of observations [M, OBSERVATION]: [M, 4], as the Numba kernel has it."""
    x = encode(weights, seen)
    for name in ("first", "second"):
        x = torch.relu(x @ weights[name][:-1] + weights[name][-1])
    return x @ weights["out"][:-1] + weights["out"][-1]


def tensors(found: Mapping[str, np.ndarray]) -> Weights:
    """Weights to be trained, on the GPU if there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        name: torch.tensor(array, device=device, requires_grad=True)
        for name, array in found.items()
    }


def arrays(weights: Weights) -> dict[str, layers.Floats]:
    """Weights as inference takes them."""
    return {
        name: np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float32)
        for name, tensor in weights.items()
    }


def optimiser_of(
    weights: Weights, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Adam whose rate falls linearly over ``steps``.

    Source: Kingma and Ba, "Adam", ICLR 2015.
    """
    optimiser = torch.optim.AdamW(list(weights.values()), lr=RATE, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda n: max(0.05, 1.0 - n / steps))
    return optimiser, scheduler


def fit(
    network: layers.Network, plays: "Plays", epochs: int, seed: int
) -> tuple[layers.Network, list[Fitted]]:
    """Adam on cross-entropy of the actions plus squared error of the values."""
    torch.manual_seed(seed)
    weights = tensors(network._asdict())
    device = next(iter(weights.values())).device
    seen, action, value = (
        torch.as_tensor(array, device=device) for array in (plays.seen, plays.action, plays.value)
    )
    barred = torch.as_tensor(~plays.mask, device=device)
    optimiser, scheduler = optimiser_of(weights, epochs * -(-len(action) // BATCH))
    found = []
    for _ in range(epochs):
        began = process_time()
        totals = torch.zeros(3, device=device)
        for rows in torch.randperm(len(action)).to(device).split(BATCH):
            out = forward(weights, seen[rows])
            logits = out[:, :-1].masked_fill(barred[rows], -1e9)
            policy_loss = torch.nn.functional.cross_entropy(logits, action[rows])
            value_loss = torch.square(out[:, -1] - value[rows]).mean()
            optimiser.zero_grad()
            (policy_loss + VALUE_WEIGHT * value_loss).backward()
            optimiser.step()
            scheduler.step()
            hits = (logits.argmax(dim=1) == action[rows]).float().mean()
            totals += torch.stack([policy_loss, value_loss, hits]).detach() * len(rows)
        policy, squared, hit = (totals / len(action)).tolist()
        found.append(Fitted(policy, squared, 0.0, hit, process_time() - began))
    return layers.Network(**arrays(weights)), found
