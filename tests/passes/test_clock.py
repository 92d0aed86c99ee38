"""The clock of time limits."""

import time

import numba

from stowplan.passes.clock import planning_seconds


def test_clock_stands_still_while_numba_compiles() -> None:
    double = numba.njit(lambda x: x + x)
    wall, planned = time.monotonic(), planning_seconds()
    assert double(4) == 8
    wall, planned = time.monotonic() - wall, planning_seconds() - planned
    assert 0 <= planned < wall / 2


def test_clock_goes_on_otherwise() -> None:
    wall, planned = time.monotonic(), planning_seconds()
    time.sleep(0.02)
    assert planning_seconds() - planned >= 0.02
    assert time.monotonic() - wall >= planning_seconds() - planned - 1e-3
