"""Addresses for the stays of a play whose memory was pooled: offline packing in Numba.

Stays are rectangles of address x time whose times are known. They are placed one after another at
the lowest address that is free all the time; whoever finds none comes earlier in the next round. An
output that takes the place of an operand shares its address, so both are placed as one. Those that
are left over get no address: the game decides about them when it is played with what was found.
"""

from dataclasses import replace

import numpy as np

from stowplan.rl_mapper import game_kernels as kernels
from stowplan.rl_mapper import packing_kernels
from stowplan.rl_mapper.game import Game, Instance

ROUNDS = 200
"""Orders of placement tried."""


def pooled(instance: Instance, share: float = 1.0) -> Instance:
    """The game in which only the bytes in use count, with ``share`` of the memory."""
    limits = instance.rules.limits.copy()
    limits[kernels.POOLED] = 1
    limits[kernels.CAPACITY] = int(limits[kernels.CAPACITY] * share)
    return replace(instance, rules=instance.rules._replace(limits=limits))


def packed_hints(game: Game, capacity_bytes: int, rounds: int = ROUNDS) -> kernels.Ints:
    """Addresses for a finished play by decision [A + 1], -1 where there is none."""
    hints = np.full(game.instance.decisions + 1, -1, dtype=np.int64)
    packing_kernels.pack(game.instance.rules, game.state, capacity_bytes, rounds, hints)
    return hints
