"""Local search whose changes a network proposes, beside evenly drawn ones.

Ways of making changes compete: drawing evenly, single moves, pairs of moves, and blocks of steps
that are rewritten as the network thinks a near-optimal play has them. Whatever gained more of late
is tried more often, so that a network that knows nothing costs little.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from stowplan.rl_mapper import change_kernels as changes
from stowplan.rl_mapper import game_kernels as game
from stowplan.rl_mapper import improve_kernels as plain

EVEN, SINGLE, PAIR, BLOCK = range(4)
ARMS = 4
UNCHANGED = -(1 << 60)
LASTING = 20
"""Evaluations after which a play that changed without gain is looked at again."""
MEMORY = 0.97
"""What a trial of an arm still counts one trial later."""
TRIED = 0.5
"""What is left of a first move's worth after a try."""
LEAST_SHARE = 0.05
"""Share of the trials that every arm gets."""
PRIOR = (0.5, 1.4, 1.1, 1.0)
"""What every arm gains beforehand, relative to their mean."""
PRIOR_TRIALS = 6.0


@numba.njit(cache=True, nogil=True)
def improve(
    rules: game.Rules,
    state: game.State,
    wishes: game.Ints,
    evaluations: int,
    seed: int,
    known: changes.Floats,
    network: changes.ChangeNetwork,
    arms: NDArray[np.float64],
    sharpness: float,
) -> int:
    """Improve ``wishes`` [A] in place; the latency of the best, which is left played in ``state``.

    Args:
        rules: the game.
        state: scratch.
        wishes: as :func:`game_kernels.follow` takes them.
        evaluations: changed strings tried.
        seed: of the changes.
        known: from :func:`network_kernels.describe`.
        network: proposes changes.
        arms: trials and gains of every way of making changes [4, 2], brought up to date.
        sharpness: power of the worth that moves are drawn in proportion to.
    """
    np.random.seed(seed)
    total = rules.decision.shape[0]
    game.reset(rules, state)
    game.follow(rules, state, wishes, plain.PLENTY)
    present = state.scalar[0, game.CYCLES]
    seen = np.zeros((total, changes.FEATURES), dtype=np.float32)
    codes = np.zeros((total, changes.HIDDEN), dtype=np.float32)
    worth = np.zeros((total, changes.OUTPUTS), dtype=np.float32)
    second = np.zeros((2 * changes.REACH + 1, changes.MOVES), dtype=np.float32)
    changed = wishes.copy()
    looked = -1
    neutral = False
    for n in range(evaluations if total else 0):
        if looked < 0 or (neutral and n - looked >= LASTING):
            changes.describe_play(rules, state, known, wishes, seen)
            changes.weigh(network, seen, codes, worth, sharpness)
            looked, neutral = n, False
        arm = _arm(arms)
        first = total
        for _ in range(plain.DRAWS):
            changed[:] = wishes
            if arm == EVEN:
                first = plain.change(rules, changed)
            elif arm == BLOCK:
                first = _block(rules, changed, worth)
            else:
                first = _moves(rules, changed, network, codes, worth, second, arm, sharpness)
            if first < total:
                break
        gained = 0
        if first < total:
            plain.back_to(rules, state, first)
            game.follow(rules, state, changed, plain.PLENTY)
            cycles = state.scalar[0, game.CYCLES]
            gained = max(0, present - cycles)
            if cycles <= present:
                wishes[:] = changed
                neutral = neutral or cycles == present
                if cycles < present:
                    looked = -1
                present = cycles
            else:
                plain.back_to(rules, state, first)
                game.follow(rules, state, wishes, plain.PLENTY)
        arms *= MEMORY
        arms[arm, 0] += 1.0
        arms[arm, 1] += np.sqrt(gained / present)
    return int(present)


@numba.njit(cache=True, nogil=True)
def _arm(arms: NDArray[np.float64]) -> int:
    """Draw a way of making changes in proportion to what it gained per trial of late."""
    score = np.empty(ARMS)
    mean = (arms[:, 1].sum() + 1e-6) / (arms[:, 0].sum() + 1e-3)
    for i in range(ARMS):
        score[i] = (arms[i, 1] + PRIOR_TRIALS * PRIOR[i] * mean) / (arms[i, 0] + PRIOR_TRIALS)
    score /= score.sum()
    at = np.random.random()
    for i in range(ARMS):
        at -= LEAST_SHARE + (1.0 - ARMS * LEAST_SHARE) * score[i]
        if at < 0.0:
            return i
    return ARMS - 1


@numba.njit(cache=True, nogil=True)
def _moves(
    rules: game.Rules,
    wishes: game.Ints,
    network: changes.ChangeNetwork,
    codes: changes.Floats,
    worth: changes.Floats,
    second: changes.Floats,
    arm: int,
    sharpness: float,
) -> int:
    """Make one or two moves that the network proposes; the first decision changed, or all."""
    total = wishes.shape[0]
    offset = 0 if arm == SINGLE else changes.MOVES
    drawn = _draw(worth, total, offset)
    a, number = drawn // changes.MOVES, drawn % changes.MOVES
    first = changes.move(rules, wishes, a, number, total)
    # A move that changes nothing, or fails alone, does so until the play is another.
    if arm == SINGLE or first == total:
        worth[a, offset + number] = 0.0
        return first
    worth[a, offset + number] *= TRIED
    begin = changes.weigh_second(rules, network, codes, a, number, second, sharpness)
    rows = min(total, a + changes.REACH + 1) - begin
    drawn = _draw(second, rows, 0)
    return changes.move(rules, wishes, begin + drawn // changes.MOVES, drawn % changes.MOVES, first)


@numba.njit(cache=True, nogil=True)
def _draw(worth: changes.Floats, rows: int, offset: int) -> int:
    """Draw a row and one of its ``MOVES`` columns from ``offset`` on in proportion to ``worth``."""
    mass = 0.0
    for a in range(rows):
        for m in range(changes.MOVES):
            mass += worth[a, offset + m]
    at = np.random.random() * mass
    for a in range(rows):
        for m in range(changes.MOVES):
            at -= worth[a, offset + m]
            if at < 0.0:
                return a * changes.MOVES + m
    return rows * changes.MOVES - 1


@numba.njit(cache=True, nogil=True)
def _block(rules: game.Rules, wishes: game.Ints, worth: changes.Floats) -> int:
    """Rewrite some steps as the network thinks a near-optimal play has them."""
    total = wishes.shape[0]
    first = total
    steps = rules.step.shape[0] - 1
    begin = np.random.randint(0, steps)
    end = min(steps, begin + np.random.randint(1, 9))
    for a in range(rules.step[begin, game.FIRST], rules.step[end, game.FIRST]):
        on_chip = np.random.random() < worth[a, changes.OUTPUTS - 1]
        present = wishes[a] != game.DROP
        if on_chip != present:
            first = plain.assign(wishes, a, game.ON_CHIP if on_chip else game.DROP, first)
    return first


@numba.njit(cache=True, nogil=True)
def probe(
    rules: game.Rules,
    state: game.State,
    wishes: game.Ints,
    tried: game.Ints,
    gains: game.Ints,
) -> None:
    """What changes of a play gain in cycles, into ``gains`` [K]; ``UNCHANGED`` for none at all.

    Args:
        rules: the game.
        state: scratch; the play of ``wishes`` afterwards.
        wishes: the play.
        tried: first decision and its move, second decision and its move [K, 4]; a first decision of
            -1 stands for a single move.
        gains: what is found.
    """
    total = rules.decision.shape[0]
    game.reset(rules, state)
    game.follow(rules, state, wishes, plain.PLENTY)
    present = state.scalar[0, game.CYCLES]
    changed = wishes.copy()
    for n in range(tried.shape[0]):
        changed[:] = wishes
        gains[n] = UNCHANGED
        first = total
        if tried[n, 0] >= 0:
            first = changes.move(rules, changed, tried[n, 0], tried[n, 1], total)
            if first == total:
                continue
        both = changes.move(rules, changed, tried[n, 2], tried[n, 3], total)
        if both == total:
            continue
        first = min(first, both)
        plain.back_to(rules, state, first)
        game.follow(rules, state, changed, plain.PLENTY)
        gains[n] = present - state.scalar[0, game.CYCLES]
        plain.back_to(rules, state, first)
        game.follow(rules, state, wishes, plain.PLENTY)


@numba.njit(cache=True, nogil=True)
def propose(
    rules: game.Rules,
    network: changes.ChangeNetwork,
    seen: changes.Floats,
    seed: int,
    tried: game.Ints,
) -> None:
    """Draw single moves and pairs in turn as :func:`improve` does, into ``tried`` [K, 4]."""
    np.random.seed(seed)
    total = seen.shape[0]
    codes = np.zeros((total, changes.HIDDEN), dtype=np.float32)
    worth = np.zeros((total, changes.OUTPUTS), dtype=np.float32)
    second = np.zeros((2 * changes.REACH + 1, changes.MOVES), dtype=np.float32)
    changes.weigh(network, seen, codes, worth, 1.0)
    for n in range(tried.shape[0]):
        pair = n % 2 > 0
        offset = changes.MOVES if pair else 0
        drawn = _draw(worth, total, offset)
        a, number = drawn // changes.MOVES, drawn % changes.MOVES
        worth[a, offset + number] *= TRIED
        tried[n, 0] = -1
        tried[n, 2] = a
        tried[n, 3] = number
        if pair:
            tried[n, :2] = tried[n, 2:]
            begin = changes.weigh_second(rules, network, codes, a, number, second, 1.0)
            drawn = _draw(second, min(total, a + changes.REACH + 1) - begin, 0)
            tried[n, 2] = begin + drawn // changes.MOVES
            tried[n, 3] = drawn % changes.MOVES
