"""The operands of a tile operator as its parent's: one tensor where the tile has several pieces.

A tile operator lists, per operand of its parent, how many of its inputs are pieces of it and the
extents of the region it needs, in attribute ``tile_inputs``: ``(pieces, rank, *extents)`` one after
another; likewise ``tile_outputs``.

Where the sums of a product are cut, attribute ``tile_terms`` holds ``(lower, upper, all)``: the
interval of terms this tile adds, of how many. A tile that is not the first has the sums so far as
its last input, one that is not the last writes the sums and nothing else. With attribute
``tile_picks`` the terms are the rows of a table, and instead of sums such tiles pass on what was
picked so far: each overwrites elements whose index is one of its rows and leaves the others.
"""

from collections.abc import Iterator
from dataclasses import replace

from stowplan.ir.graph import Attribute, Graph, Operator, Tensor

Pieces = dict[str, tuple[str, ...]]
"""Tile tensors that make up an operand."""


def joined(graph: Graph, operator: Operator) -> tuple[Graph, Operator, Pieces]:
    """A graph of one operator with the operands' regions in one tensor each."""
    tensors: list[Tensor] = []
    pieces: Pieces = {}
    names: list[tuple[str, ...]] = []
    for kind, operands in (("inputs", operator.inputs), ("outputs", operator.outputs)):
        found: list[str] = []
        rest = list(operands)
        for count, shape in _described(operator.attribute(f"tile_{kind}")):
            own, rest = rest[:count], rest[count:]
            if own:
                name = f"{kind}:{len(found)}"
                tensors.append(replace(graph.tensor[own[0]], name=name, shape=shape, region=None))
                pieces[name] = tuple(own)
                found.append(name)
        names.append(tuple(found))
    tensors = [replace(tensor, alias=None, parent=None) for tensor in tensors]
    whole = replace(operator, inputs=names[0], outputs=names[1], in_place=(), region=None)
    return Graph(operator.name, tuple(tensors), (whole,)), whole, pieces


def is_tile(operator: Operator) -> bool:
    """Whether the operator's operands are pieces of its parent's."""
    return operator.attribute("tile_inputs") is not None


def terms_of(operator: Operator) -> tuple[int, int, int] | None:
    """Interval of the terms of its sums that a tile adds, and how many there are; None for all."""
    value = operator.attribute("tile_terms")
    if not isinstance(value, tuple):
        return None
    lower, upper, terms = (int(each) for each in value)
    return lower, upper, terms


def picks(operator: Operator) -> bool:
    """Whether a tile picks its elements from some of the rows of a table rather than adds terms."""
    return operator.attribute("tile_picks") is not None


def spread(
    graph: Graph, pieces: Pieces, moved: tuple[tuple[str, int], ...]
) -> tuple[tuple[str, int], ...]:
    """Bytes of operands shared out over their pieces by size."""
    found: dict[str, int] = {}
    for name, size in moved:
        sizes = [graph.tensor[piece].size_bytes for piece in pieces[name]]
        total, before = max(1, sum(sizes)), 0
        for piece, part in zip(pieces[name], sizes, strict=True):
            share = size * (before + part) // total - size * before // total
            found[piece] = found.get(piece, 0) + share
            before += part
    return tuple(found.items())


def _described(value: Attribute | None) -> Iterator[tuple[int, tuple[int, ...]]]:
    numbers = [each for each in value if isinstance(each, int)] if isinstance(value, tuple) else []
    at = 0
    while at + 1 < len(numbers):
        count, rank = numbers[at], numbers[at + 1]
        yield count, tuple(numbers[at + 2 : at + 2 + rank])
        at += 2 + rank
