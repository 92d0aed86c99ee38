"""Python's collector of cyclic garbage, run seldom while plans are made."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG_OBJECTS = 1_000_000
"""Objects made between two collections. With Python's 700, a quarter of the time that planning a
graph of thousands of tiles takes goes into walking millions of tuples that hold no cycle; reference
counts free them all the same."""


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Collect seldom inside the context or the decorated function; thresholds are put back."""
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], YOUNG_OBJECTS) if before[0] else 0, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
