"""What footprints are made of: maps from a region of a result to regions of operands."""

from collections.abc import Callable
from dataclasses import dataclass

from stowplan.ir.graph import Interval
from stowplan.passes.tiling.boxes import Box, full

Shape = tuple[int, ...]
Need = Callable[[Box], Box | None]
"""Region of one operand needed for a region of the result; None when nothing of it is."""
PartNeed = Callable[[Box, Interval], Box]
"""Region of a product's operand needed for an interval of the terms of its sums."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """How an operator may be split.

    Attributes:
        splittable: dimensions of the result that tiles may cut.
        needs: per operand of the operator.
        terms: along which the sums of a product may be cut, as extent of that dimension.
        parts: per operand of the product, its region for some of the terms; empty when sums are
            not cut.
        picks: the terms are not added: every element of the result is picked from one of them.
        columns: dimension of the result that lies along the columns of an array; None when the
            operator is no product that fills one.
        taps: terms of a sum per step along ``terms``.
        joint: a tile has the same region of every result.
    """

    splittable: frozenset[int]
    needs: tuple[Need, ...]
    terms: int = 1
    parts: tuple[PartNeed, ...] = ()
    columns: int | None = None
    taps: int = 1
    picks: bool = False
    joint: bool = False


def same(box: Box) -> Box:
    """The operand's region is the result's."""
    return box


def whole(shape: Shape) -> Need:
    """Always the whole operand."""
    everything = full(shape)
    return lambda box: everything


def all_terms(part: PartNeed, terms: int) -> Need:
    """The need of an operand for all terms, from that for some of them."""
    return lambda box: part(box, (0, terms))


def all_but(rank: int, *kept: int) -> frozenset[int]:
    """The dimensions of a result but for some."""
    return frozenset(range(rank)) - frozenset(kept)


def broadcast(shape: Shape, result: Shape) -> Need | None:
    """An operand that broadcasts to the result; None if it does not."""
    while len(shape) > len(result) and shape[0] == 1:
        return _stripped(broadcast(shape[1:], result))
    skipped = len(result) - len(shape)
    if skipped < 0:
        return None
    if any(e not in (1, r) for e, r in zip(shape, result[skipped:], strict=True)):
        return None
    if shape == result:
        return same
    fixed = tuple(extent == 1 for extent in shape)
    return lambda box: tuple(
        (0, 1) if one else side for one, side in zip(fixed, box[skipped:], strict=True)
    )


def _stripped(need: Need | None) -> Need | None:
    """The need of an operand with one more leading dimension of extent one."""
    if need is None:
        return None

    def widened(box: Box) -> Box | None:
        inner = need(box)
        return None if inner is None else ((0, 1), *inner)

    return widened


def channels(shape: Shape, result: Shape) -> Need | None:
    """A vector along dimension 1."""
    if shape[0] == result[-1]:
        return whole(shape)
    return (lambda box: (box[1],)) if shape[0] == result[1] else None
