"""Local search over the string of wishes: change a few, replay from there, keep what gains."""

import numba
import numpy as np

from stowplan.rl_mapper import game_kernels as game

PLENTY = 1 << 40
WISHES = 4
DRAWS = 8
"""Changes drawn until one changes anything."""


@numba.njit(cache=True, nogil=True)
def improve(
    rules: game.Rules,
    state: game.State,
    wishes: game.Ints,
    evaluations: int,
    tolerance: float,
    seed: int,
) -> int:
    """Improve ``wishes`` [A] in place; the latency of the best, which is left played in ``state``.

    Args:
        rules: the game.
        state: scratch.
        wishes: as :func:`game_kernels.follow` takes them.
        evaluations: changed strings tried.
        tolerance: a change that loses less than this share of the latency, times the share of
            evaluations left, is kept on the way (threshold accepting); 0 descends.
        seed: of the changes.

    Source: Dueck and Scheuer, "Threshold accepting", Journal of Computational Physics 90, 1990.
    """
    np.random.seed(seed)
    total = rules.decision.shape[0]
    game.reset(rules, state)
    game.follow(rules, state, wishes, PLENTY)
    present = state.scalar[0, game.CYCLES]
    least = present
    best = wishes.copy()
    changed = wishes.copy()
    for n in range(evaluations if total else 0):
        first = total
        for _ in range(DRAWS):
            changed[:] = wishes
            first = change(rules, changed)
            if first < total:
                break
        if first == total:
            continue
        back_to(rules, state, first)
        game.follow(rules, state, changed, PLENTY)
        cycles = state.scalar[0, game.CYCLES]
        allowed = tolerance * present * (1.0 - n / evaluations)
        if cycles <= present + allowed:
            wishes[:] = changed
            present = cycles
            if cycles < least:
                least = cycles
                best[:] = changed
        else:
            back_to(rules, state, first)
            game.follow(rules, state, wishes, PLENTY)
    wishes[:] = best
    game.reset(rules, state)
    game.follow(rules, state, wishes, PLENTY)
    return int(state.scalar[0, game.CYCLES])


@numba.njit(cache=True, nogil=True)
def back_to(rules: game.Rules, state: game.State, first: int) -> None:
    """Take back decisions down to ``first``.

    A Drop forced at a dead end depends on what came before it, so a play with one starts anew.
    """
    forced = False
    for a in range(state.forced.shape[0]):
        forced = forced or state.forced[a] != 0
    if forced:
        game.reset(rules, state)
        return
    while state.scalar[0, game.CURSOR] > first:
        game.undo(state)


@numba.njit(cache=True, nogil=True)
def change(rules: game.Rules, wishes: game.Ints) -> int:
    """Change one to three things; the first decision changed, or the number of decisions."""
    total = rules.decision.shape[0]
    first = total
    for _ in range(np.random.randint(1, 4)):
        a = np.random.randint(0, total)
        wish = np.random.randint(0, WISHES)
        kind = np.random.randint(0, 4)
        if kind == 0:
            first = assign(wishes, a, wish, first)
        elif kind == 1:
            while rules.decision[a, game.PREVIOUS] >= 0:
                a = rules.decision[a, game.PREVIOUS]
            wish = game.DROP if wish < 2 else game.ON_CHIP
            while a >= 0:
                first = assign(wishes, a, wish, first)
                a = rules.decision[a, game.NEXT]
        elif kind == 2:
            wish = game.DROP if wish < 2 else game.ON_CHIP
            while a >= 0:
                first = assign(wishes, a, wish, first)
                a = rules.decision[a, game.NEXT]
        else:
            # Both ends of one gap between uses: what evicting or keeping a storage needs.
            after = rules.decision[a, game.NEXT]
            wish = game.DROP if wish < 2 else game.ON_CHIP
            first = assign(wishes, a, game.ON_CHIP, first)
            if after >= 0:
                first = assign(wishes, after, wish, first)
    return first


@numba.njit(cache=True, nogil=True)
def assign(wishes: game.Ints, a: int, wish: int, first: int) -> int:
    """Change one wish; the first decision changed so far."""
    if wishes[a] == wish:
        return first
    wishes[a] = wish
    return min(first, a)
