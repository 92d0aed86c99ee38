"""Footprints of matrix products."""

from collections.abc import Callable
from dataclasses import replace
from math import prod

from stowplan.ir.graph import Graph, Interval, Operator
from stowplan.passes.kinds import MATRIX_PRODUCTS
from stowplan.passes.tiling.boxes import Box, full, hull
from stowplan.passes.tiling.needs import (
    Footprint,
    Need,
    PartNeed,
    Shape,
    all_but,
    all_terms,
    broadcast,
    same,
)
from stowplan.passes.tiling.reshapes import reshaped

_INNER = "result before the reshape"


def behind_reshape(graph: Graph, op: Operator) -> Footprint | None:
    """A matrix product whose result is given another shape before something is fused behind.

    Operands of what is fused may belong to either shape; where they fit both, they get the region
    around both.
    """
    after = graph.tensor[op.outputs[0]]
    shape = _product_shape(graph, op)
    if shape is None or prod(shape) != prod(after.shape):
        return None
    inner = graph.replace(tensors=(*graph.tensors, replace(after, name=_INNER, shape=shape)))
    head = matmul(inner, replace(op, outputs=(_INNER,)))
    if head is None:
        return None
    before = reshaped(shape, after.shape)
    needs = [_through(need, before) for need in head.needs]
    for name in op.inputs[len(needs) :]:
        operand = graph.tensor[name].shape
        inside, outside = broadcast(operand, shape), broadcast(operand, after.shape)
        through = None if inside is None else _through(inside, before)
        need = _around(through, outside)
        if need is None:
            return None
        needs.append(need)
    parts = tuple(_part_through(part, before) for part in head.parts)
    return Footprint(frozenset(range(len(after.shape))), tuple(needs), head.terms, parts)


def _product_shape(graph: Graph, op: Operator) -> Shape | None:
    """Shape of the matrix product itself."""
    if op.kind not in MATRIX_PRODUCTS or len(op.inputs) < 2:
        return None
    left, right = (graph.tensor[name].shape for name in op.inputs[:2])
    if len(left) < 2 or len(right) < 2:
        return None
    rank = max(len(left), len(right))
    padded = [(1,) * (rank - len(shape)) + shape for shape in (left, right)]
    batch = tuple(max(pair) for pair in zip(padded[0][:-2], padded[1][:-2], strict=True))
    rows = left[-1] if op.attribute("transA", 0) else left[-2]
    columns = right[-2] if op.attribute("transB", 0) else right[-1]
    return (*batch, rows, columns)


def _through(need: Need, before: Callable[[Box], Box]) -> Need:
    return lambda box: need(before(box))


def _part_through(part: PartNeed, before: Callable[[Box], Box]) -> PartNeed:
    return lambda box, terms: part(before(box), terms)


def _around(first: Need | None, second: Need | None) -> Need | None:
    """The region around what either needs."""
    if first is None or second is None:
        return first or second

    def both(box: Box) -> Box | None:
        left, right = first(box), second(box)
        return hull(left, right) if left and right else left or right

    return both


def matmul(graph: Graph, op: Operator) -> Footprint | None:
    """[..., M, K] x [..., K, N]."""
    if len(op.inputs) < 2:
        return None
    left, right = (graph.tensor[name].shape for name in op.inputs[:2])
    result = graph.tensor[op.outputs[0]].shape
    flipped = [bool(op.attribute(name, 0)) for name in ("transA", "transB")]
    odd = any(op.attribute(name, 0) for name in ("transBatchA", "transBatchB"))
    if odd or len(left) < 2 or len(right) < 2 or len(result) != max(len(left), len(right)):
        return None
    rows, terms = left[-2:][::-1] if flipped[0] else left[-2:]
    columns = right[-2] if flipped[1] else right[-1]
    outer = (broadcast(left[:-2], result[:-2]), broadcast(right[:-2], result[:-2]))
    if result[-2:] != (rows, columns) or None in outer:
        return None

    def operand(batch: Need, side: int, flip: bool, first: bool) -> PartNeed:
        def need(box: Box, some: Interval) -> Box:
            pair = (box[side], some) if first != flip else (some, box[side])
            return (*(batch(box[:-2]) or ()), *pair)

        return need

    parts = (
        operand(outer[0] or same, -2, flipped[0], True),
        operand(outer[1] or same, -1, flipped[1], False),
    )
    needs = tuple(all_terms(part, terms) for part in parts)
    return Footprint(all_but(len(result)), needs, terms, parts, len(result) - 1)


def einsum(graph: Graph, op: Operator) -> Footprint | None:
    """Dimensions by letter; those of the result may be cut, those summed over stay whole."""
    equation = str(op.attribute("equation", "")).replace(" ", "")
    given, arrow, letters = equation.partition("->")
    terms = given.split(",")
    if not arrow or "." in equation or len(terms) != len(op.inputs):
        return None
    shapes = [graph.tensor[name].shape for name in op.inputs]
    if any(len(term) != len(shape) for term, shape in zip(terms, shapes, strict=True)):
        return None
    pairs = zip(terms, shapes, strict=True)
    return Footprint(all_but(len(letters)), tuple(_lettered(letters, *pair) for pair in pairs))


def _lettered(letters: str, term: str, shape: Shape) -> Need:
    def need(box: Box) -> Box:
        known = dict(zip(letters, box, strict=True))
        sides = zip(term, shape, strict=True)
        return tuple((0, e) if e == 1 else known.get(letter, (0, e)) for letter, e in sides)

    return need


def packed_blocks(graph: Graph, op: Operator) -> Footprint | None:
    """MatMulNBits: [..., K] times packed weights [N, ...]; vectors of blocks follow the columns."""
    result, columns = graph.tensor[op.outputs[0]].shape, op.attribute("N")
    shapes = [graph.tensor[name].shape for name in op.inputs]
    if len(shapes) < 3 or not result or columns != result[-1] or shapes[1][0] != columns:
        return None
    if len(shapes[0]) != len(result):
        return None
    terms = (0, shapes[0][-1])
    needs: list[Need] = [lambda box: (*box[:-1], terms)]
    for shape in shapes[1:]:
        need = _by_column(shape, result[-1])
        if need is None:
            return None
        needs.append(need)
    return Footprint(all_but(len(result)), tuple(needs), columns=len(result) - 1)


def _by_column(shape: Shape, columns: int) -> Need | None:
    """An operand whose first dimension holds equally many numbers per column of the result."""
    each, rest = divmod(shape[0] if shape else 0, columns)
    if rest or not each:
        return None
    inner = full(shape[1:])
    return lambda box: ((box[-1][0] * each, box[-1][1] * each), *inner)
