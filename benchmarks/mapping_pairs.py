"""Pairs of a model and a fast memory, on which memory mappings are measured.

The target is ``tpu-v4i`` scaled down, with a quarter of its DRAM bandwidth; weights are mapped like
any other tensor.
"""

from pathlib import Path

from stowplan import api
from stowplan.recipe import Recipe

BANDWIDTH = "dram.bytes_per_cycle=146"
MEMORIES = ("1MiB", "2MiB", "4MiB")
MEMORY_BOUND = 1.1
"""Latency of the production-style heuristic over the lower bound, from which on a pair counts."""


def prepare_pair(path: Path, memory: str) -> api.Problem:
    """The model on the target with that much fast memory."""
    recipe = Recipe(
        target="tpu-v4i",
        overrides=(f"scratchpad.size={memory}", BANDWIDTH),
        dims=(),
        precision=None,
        passes=None,
        tile="never",
        track_weights=True,
    )
    return api.prepare(path, recipe)
