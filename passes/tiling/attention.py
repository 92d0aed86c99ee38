"""Footprints of attention: heads and query rows are cut, keys and values stay whole."""

from dataclasses import dataclass

from stowplan.ir.graph import Graph, Interval, Operator
from stowplan.ir.operator_kinds import MICROSOFT
from stowplan.passes.tiling.boxes import Box
from stowplan.passes.tiling.needs import Footprint, Need, all_but, broadcast


@dataclass(frozen=True, slots=True)
class _Operand:
    """Queries, keys or values.

    Attributes:
        heads: how many; several heads of queries share one of keys and values.
        shape: ``[batch, heads, rows, width]``, or ``[batch, rows, heads * width]``.
    """

    heads: int
    shape: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Tokens."""
        return self.shape[-2]

    def region(self, batch: Interval, heads: Interval, rows: Interval) -> Box:
        """Some heads of some tokens."""
        if len(self.shape) == 4:
            return (batch, heads, rows, (0, self.shape[3]))
        width = self.shape[2] // self.heads
        return (batch, rows, (heads[0] * width, heads[1] * width))


def attention(graph: Graph, op: Operator) -> Footprint | None:
    """Separate queries, keys and values, and perhaps a mask; nothing remembered between calls.

    Heads beside each other in one dimension stay together, as cost models count them there.
    """
    operands = _operands(graph, op)
    result = graph.tensor[op.outputs[0]].shape
    if operands is None or len(result) != len(operands[0].shape):
        return None
    queries, keys, values = operands
    out = _Operand(queries.heads, result)
    if queries.heads % keys.heads or keys.heads != values.heads or out.rows != queries.rows:
        return None
    mask = _mask(graph, op, (result[0], queries.heads, queries.rows, keys.rows))
    if mask is None:
        return None
    shared = queries.heads // keys.heads

    def heads_and_rows(box: Box) -> tuple[Interval, Interval]:
        if len(box) == 4:
            return box[1], box[2]
        return (0, queries.heads), box[1]

    def first(box: Box) -> Box:
        return queries.region(box[0], *heads_and_rows(box))

    def other(operand: _Operand) -> Need:
        def need(box: Box) -> Box:
            (lower, upper), _ = heads_and_rows(box)
            heads = (lower // shared, -(-upper // shared))
            return operand.region(box[0], heads, (0, operand.rows))

        return need

    def masked(need: Need) -> Need:
        return lambda box: need((box[0], *heads_and_rows(box), (0, keys.rows)))

    needs = (first, other(keys), other(values), *(masked(need) for need in mask))
    return Footprint(all_but(len(result), len(result) - 1), needs)


def _operands(graph: Graph, op: Operator) -> tuple[_Operand, _Operand, _Operand] | None:
    """Queries, keys and values; None where they are packed, biased or remembered."""
    shapes = [graph.tensor[name].shape for name in op.inputs[:3]]
    ranks = {len(shape) for shape in shapes}
    if len(shapes) < 3 or len(op.outputs) != 1:
        return None
    if op.domain == MICROSOFT:
        heads = op.attribute("num_heads")
        if op.kind != "MultiHeadAttention" or len(op.inputs) > 3 or ranks != {3}:
            return None
        counts = [heads] * 3
    elif ranks == {4}:
        counts = [shape[1] for shape in shapes]
    elif ranks == {3}:
        names = ("q_num_heads", "kv_num_heads", "kv_num_heads")
        counts = [op.attribute(name) for name in names]
    else:
        return None
    found = []
    for count, shape in zip(counts, shapes, strict=True):
        if not isinstance(count, int) or count < 1 or shape[-1] % (1 if len(shape) == 4 else count):
            return None
        found.append(_Operand(count, shape))
    return found[0], found[1], found[2]


def _mask(graph: Graph, op: Operator, scores: tuple[int, ...]) -> tuple[Need, ...] | None:
    """The region of a mask that broadcasts to all scores; None for operands that are no mask."""
    if len(op.inputs) > 4:
        return None
    needs = [broadcast(graph.tensor[name].shape, scores) for name in op.inputs[3:]]
    known = tuple(need for need in needs if need is not None)
    return known if len(known) == len(needs) else None
