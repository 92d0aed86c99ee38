"""What the integer program teaches the memory mapper: near-optimal plays of small games.

Training imitates them. The mapper and the solver do not know each other, so they meet here.
"""

import numpy as np

from stowplan.ilp.mapping import bound_mapping
from stowplan.ilp.mapping_instance import mapping_instance
from stowplan.ilp.milp import Limits
from stowplan.rl_mapper.game import Instance

DECISIONS = 120
"""Most decisions of a game whose program is solved."""
SECONDS = 3.0
"""Most seconds for one program."""


def program_play(instance: Instance) -> np.ndarray | None:
    """Choices of the program by decision [A]; None where the game is large or time ran out."""
    if instance.decisions > DECISIONS:
        return None
    program = mapping_instance(instance.problem.graph, instance.target, True, instance.order)
    found = bound_mapping(program, Limits(SECONDS, 1, 0, lambda: False))
    # Accesses of the program are numbered like decisions of the game, and choices like actions.
    return np.array(found.choices, dtype=np.int64) if found.choices else None
