"""The gradient steps of the network of changes; imports torch."""

from dataclasses import dataclass
from time import process_time

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from stowplan.rl_mapper import change_kernels as changes
from stowplan.rl_mapper.learn import Weights, arrays, optimiser_of, tensors
from stowplan.rl_mapper.train_run import Fitted

BATCH = 1024
ON_CHIP_WEIGHT = 0.3


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes probed, K in all, of plays with D decisions in all.

    Attributes:
        seen: features of the decisions [D, FEATURES].
        on_chip: whether a near-optimal play of the game has the decision on chip [D].
        first: decision of the first move, -1 for none [K].
        second: decision of the second or only move [K].
        moves: the two moves; the first counts only if there is one [K, 2].
        relation: how the second decision relates to the first [K, RELATION].
        worth: what the change gains, 0 if it loses [K].
    """

    seen: np.ndarray
    on_chip: np.ndarray
    first: np.ndarray
    second: np.ndarray
    moves: np.ndarray
    relation: np.ndarray
    worth: np.ndarray


def codes(weights: Weights, seen: torch.Tensor) -> torch.Tensor:
    """Codes of decisions [M, FEATURES]: [M, HIDDEN], as the Numba kernel has them."""
    return _dense(weights, "decision", seen, True)


def alone(weights: Weights, code: torch.Tensor) -> torch.Tensor:
    """Log worth of moves alone and as the first, and logit of being on chip [M, OUTPUTS]."""
    return _dense(weights, "alone_out", _dense(weights, "alone", code, True), False)


def second(
    weights: Weights,
    code: torch.Tensor,
    first: torch.Tensor,
    relation: torch.Tensor,
    number: torch.Tensor,
) -> torch.Tensor:
    """Log worth of moves as the second [M, MOVES]."""
    chosen = torch.nn.functional.one_hot(number, changes.MOVES).to(code.dtype)
    joined = torch.cat([code, first, relation, chosen], dim=1)
    return _dense(weights, "second_out", _dense(weights, "second", joined, True), False)


def _dense(weights: Weights, name: str, x: torch.Tensor, rectify: bool) -> torch.Tensor:
    out = x @ weights[name][:-1] + weights[name][-1]
    return torch.relu(out) if rectify else out


def fit_changes(
    network: changes.ChangeNetwork, data: Changes, epochs: int, seed: int
) -> tuple[changes.ChangeNetwork, list[Fitted]]:
    """Adam on the Poisson likelihood of what changes gain, and cross-entropy of being on chip."""
    torch.manual_seed(seed)
    weights = tensors(network._asdict())
    device = next(iter(weights.values())).device
    seen, on_chip, first, last, moves, relation, worth = (
        torch.as_tensor(array, device=device)
        for array in (
            data.seen,
            data.on_chip,
            data.first,
            data.second,
            data.moves,
            data.relation,
            data.worth,
        )
    )
    optimiser, scheduler = optimiser_of(weights, epochs * -(-len(worth) // BATCH))
    found = []
    for _ in range(epochs):
        began = process_time()
        totals = torch.zeros(3, device=device)
        for rows in torch.randperm(len(worth)).to(device).split(BATCH):
            pair = first[rows] >= 0
            code = codes(weights, seen[last[rows]])
            out = alone(weights, code)
            single = out.gather(1, moves[rows, 1:])[:, 0]
            before = codes(weights, seen[first[rows].clamp(min=0)])
            opening = alone(weights, before)[:, changes.MOVES :].gather(1, moves[rows, :1])[:, 0]
            after = second(weights, code, before, relation[rows], moves[rows, 0])
            after = after.gather(1, moves[rows, 1:])[:, 0]
            expected = torch.stack([torch.where(pair, opening, single), after])
            counts = torch.stack([torch.ones_like(pair), pair])
            loss = (torch.exp(expected.clamp(max=10.0)) - worth[rows] * expected) * counts
            gains_loss = loss.sum() / len(rows)
            logit, wanted = out[:, -1], on_chip[last[rows]]
            chip_loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, wanted)
            optimiser.zero_grad()
            (gains_loss + ON_CHIP_WEIGHT * chip_loss).backward()
            optimiser.step()
            scheduler.step()
            hits = ((logit > 0) == (wanted > 0.5)).float().mean()
            totals += torch.stack([chip_loss, gains_loss, hits]).detach() * len(rows)
        policy, value, hit = (totals / len(worth)).tolist()
        found.append(Fitted(policy, value, 0.0, hit, process_time() - began))
    return changes.ChangeNetwork(**arrays(weights)), found
