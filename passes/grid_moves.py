"""Grids near one grid of a single unit, for searches that climb."""

from collections.abc import Iterator

from stowplan.passes.tiling.grids import TERMS
from stowplan.passes.tiling.network import Network, Unit

Loops = tuple[tuple[int, int], ...]
"""(dimension, tiles along it), outermost loop first."""
_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


def regridded(network: Network, unit: Unit, grid: Loops) -> Iterator[Loops]:
    """Grids near that of a single unit, and all simple ones."""
    whole = network.whole(unit)
    axes = [axis for axis in sorted(unit.splittable) if whole[axis][1] > 1]
    yield ()
    for axis in axes:
        for count in _COUNTS[1:]:
            if count <= whole[axis][1]:
                yield ((axis, count),)
    if len(grid) > 1 and grid[-1][0] != TERMS:
        yield tuple(reversed(grid))
    for position, (axis, count) in enumerate(grid):
        extent = unit.terms if axis == TERMS else whole[axis][1]
        near = min(range(len(_COUNTS)), key=lambda i: abs(_COUNTS[i] - count))
        for step in (-1, 1):
            if 0 < near + step < len(_COUNTS) and _COUNTS[near + step] <= extent:
                changed = (axis, _COUNTS[near + step])
                yield (*grid[:position], changed, *grid[position + 1 :])
    if len(grid) == 1:
        for axis in axes:
            if axis != grid[0][0]:
                for count in _COUNTS[1:4]:
                    if count <= whole[axis][1]:
                        yield ((axis, count), *grid)
                        if grid[0][0] != TERMS:
                            yield (*grid, (axis, count))
