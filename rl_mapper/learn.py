"""The gradient steps of training; the only module that imports torch."""

from typing import TYPE_CHECKING

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from stowplan.rl_mapper import network_kernels as layers

if TYPE_CHECKING:
    from stowplan.rl_mapper.train import Plays, TrainOptions

BATCH = 512
RATE = 1.5e-3
VALUE_WEIGHT = 0.5


def forward(weights: dict[str, torch.Tensor], seen: torch.Tensor) -> torch.Tensor:
    """Logits and value of observations [M, OBSERVATION]: [M, 4], as the Numba kernel has it."""
    relu = torch.relu

    def dense(name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ weights[name][:-1] + weights[name][-1]

    tokens_end = layers.PROFILE + layers.AHEAD * layers.PER_DECISION
    profile = relu(dense("profile", seen[:, : layers.PROFILE]))
    tokens = seen[:, layers.PROFILE : tokens_end].reshape(-1, layers.AHEAD, layers.PER_DECISION)
    codes = relu(dense("token", tokens)).reshape(len(seen), -1)
    joined = torch.cat([profile, relu(dense("sequence", codes)), seen[:, tokens_end:]], dim=1)
    return dense("out", relu(dense("second", relu(dense("first", joined)))))


def fit(
    network: layers.Network, plays: "Plays", options: "TrainOptions"
) -> tuple[layers.Network, float, float]:
    """Adam on cross-entropy of the actions plus squared error of the values.

    Source: Kingma and Ba, "Adam", ICLR 2015; rate decayed linearly over the round.
    """
    torch.manual_seed(options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    weights = {
        name: torch.tensor(array, device=device, requires_grad=True)
        for name, array in network._asdict().items()
    }
    seen, action, value = (
        torch.as_tensor(array, device=device) for array in (plays.seen, plays.action, plays.value)
    )
    barred = torch.as_tensor(~plays.mask, device=device)
    optimiser = torch.optim.AdamW(list(weights.values()), lr=RATE, weight_decay=1e-4)
    batches = -(-len(action) // BATCH)
    total = options.epochs * batches
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda n: max(0.05, 1.0 - n / total))
    losses, hits = 0.0, 0
    for _ in range(options.epochs):
        losses, hits = 0.0, 0
        for rows in torch.randperm(len(action)).to(device).split(BATCH):
            out = forward(weights, seen[rows])
            logits = out[:, :-1].masked_fill(barred[rows], -1e9)
            loss = torch.nn.functional.cross_entropy(logits, action[rows])
            loss = loss + VALUE_WEIGHT * torch.square(out[:, -1] - value[rows]).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            scheduler.step()
            losses += float(loss.detach()) * len(rows)
            hits += int((logits.argmax(dim=1) == action[rows]).sum())
    found = {
        name: np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float32)
        for name, tensor in weights.items()
    }
    return layers.Network(**found), losses / len(action), hits / len(action)
