"""Regions of a tensor seen in another shape."""

from collections.abc import Callable
from math import prod

from stowplan.ir.graph import Interval
from stowplan.passes.tiling.boxes import Box, full


def reshaped(source: tuple[int, ...], result: tuple[int, ...]) -> Callable[[Box], Box]:
    """Map from a region of ``result`` to the smallest of ``source`` that holds its elements.

    Both are row-major and hold equally many elements.
    """
    blocks = _blocks(source, result)

    def need(box: Box) -> Box:
        found: list[Interval] = []
        for (first, last), (begin, end) in blocks:
            found += relaid(source[first:last], result[begin:end], box[begin:end])
        return tuple(found)

    return need


def _blocks(source: tuple[int, ...], result: tuple[int, ...]) -> list[tuple[Interval, Interval]]:
    """Runs of dimensions of both shapes that hold equally many elements, as short as possible."""
    found, i, j = [], 0, 0
    while i < len(source) or j < len(result):
        begin = i, j
        left = right = 1
        if i < len(source):
            left, i = source[i], i + 1
        if j < len(result):
            right, j = result[j], j + 1
        while left != right:
            if (left < right and i < len(source)) or j == len(result):
                left, i = left * source[i], i + 1
            else:
                right, j = right * result[j], j + 1
        found.append(((begin[0], i), (begin[1], j)))
    return found


def relaid(source: tuple[int, ...], result: tuple[int, ...], box: Box) -> Box:
    """The smallest box of ``source`` that holds the elements of ``box``, both row-major."""
    if source == result:
        return box
    lower = upper = 0
    for extent, (a, b) in zip(result, box, strict=True):
        lower, upper = lower * extent + a, upper * extent + b - 1
    found: list[Interval] = []
    for position in range(len(source)):
        inner = prod(source[position + 1 :])
        first, last = lower // inner, upper // inner
        found.append((first, last + 1))
        if first != last:
            return (*found, *full(source[position + 1 :]))
        lower, upper = lower - first * inner, upper - first * inner
    return tuple(found)
