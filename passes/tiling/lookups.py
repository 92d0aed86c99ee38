"""Footprints of look-ups in tables, and of their counterparts that write into one.

Which rows of a table an index picks is known only when it runs, so a tile needs all of them, or is
one of several tiles that look through some of the rows each: the elements whose index is one of its
rows overwrite what is there. What is written into a table (Scatter) is needed whole along the rows.
"""

from stowplan.ir.graph import Graph, Interval, Operator
from stowplan.passes.tiling.boxes import Box, full
from stowplan.passes.tiling.needs import Footprint, Need, PartNeed, all_but, all_terms, same, whole
from stowplan.passes.view_rules import axis_of


def _picked(rank: int, parts: tuple[PartNeed, ...], rows: int) -> Footprint:
    """A look-up whose table is cut along the dimension its indices run over."""
    needs = tuple(all_terms(part, rows) for part in parts)
    return Footprint(all_but(rank), needs, rows, parts, picks=True)


def gather(graph: Graph, op: Operator) -> Footprint | None:
    """Rows of a table [..., V, ...] picked by an operand of indices of any shape."""
    if len(op.inputs) != 2:
        return None
    table, indices = (graph.tensor[name].shape for name in op.inputs)
    axis, rank = axis_of(op, len(table)), len(indices)
    if len(graph.tensor[op.outputs[0]].shape) != len(table) - 1 + rank:
        return None

    def data(box: Box, rows: Interval) -> Box:
        return (*box[:axis], rows, *box[axis + rank :])

    def picked(box: Box, rows: Interval) -> Box:
        return box[axis : axis + rank]

    return _picked(len(table) - 1 + rank, (data, picked), table[axis])


def gather_elements(graph: Graph, op: Operator) -> Footprint | None:
    """One index per element, along one dimension of a table of the same rank."""
    if len(op.inputs) != 2:
        return None
    table, indices = (graph.tensor[name].shape for name in op.inputs)
    axis = axis_of(op, len(table))
    if len(table) != len(indices) or graph.tensor[op.outputs[0]].shape != indices:
        return None

    def data(box: Box, rows: Interval) -> Box:
        return (*box[:axis], rows, *box[axis + 1 :])

    return _picked(len(indices), (data, lambda box, rows: box), table[axis])


def gather_nd(graph: Graph, op: Operator) -> Footprint | None:
    """Indices [batch, ..., k] into a table [batch, d1, ..., dk, ...], which is cut along d1."""
    batch = op.attribute("batch_dims", 0)
    if len(op.inputs) != 2 or not isinstance(batch, int):
        return None
    table, indices = (graph.tensor[name].shape for name in op.inputs)
    outer, picked = len(indices) - 1, indices[-1]
    inner = table[batch + picked :]
    if len(graph.tensor[op.outputs[0]].shape) != outer + len(inner) or not picked:
        return None

    def data(box: Box, rows: Interval) -> Box:
        return (*box[:batch], rows, *full(table[batch + 1 : batch + picked]), *box[outer:])

    def index(box: Box, rows: Interval) -> Box:
        return (*box[:outer], (0, picked))

    return _picked(outer + len(inner), (data, index), table[batch])


def gather_blocks(graph: Graph, op: Operator) -> Footprint | None:
    """GatherBlockQuantized: rows [V, columns] with scales per row and block of columns.

    Several columns may share a byte of the table, several blocks one of the zero points.
    """
    block = op.attribute("block_size", 128)
    if len(op.inputs) < 3 or not isinstance(block, int):
        return None
    table, indices, *scales = (graph.tensor[name].shape for name in op.inputs)
    result = graph.tensor[op.outputs[0]].shape
    if any(len(shape) != 2 or shape[0] != table[0] for shape in (table, *scales)):
        return None
    if op.attribute("gather_axis", 0) != 0 or op.attribute("quantize_axis", 1) not in (1, -1):
        return None
    if len(result) != len(indices) + 1 or any(0 in shape for shape in (table, *scales)):
        return None
    outer = len(indices)

    def columns(extent: int, step: int) -> PartNeed:
        return lambda box, rows: (rows, (box[-1][0] // step, min(-(-box[-1][1] // step), extent)))

    steps = [-(-result[-1] // table[1]), block]
    steps += [block * -(-scales[0][1] // shape[1]) for shape in scales[1:]]
    first, *rest = (columns(s[1], step) for s, step in zip((table, *scales), steps, strict=True))
    return _picked(len(result), (first, lambda box, rows: box[:outer], *rest), table[0])


def scatter_nd(graph: Graph, op: Operator) -> Footprint | None:
    """Updates [..., inner] at indices [..., k] of a table [d1, ..., dk, inner]."""
    if len(op.inputs) != 3:
        return None
    table, indices, updates = (graph.tensor[name].shape for name in op.inputs)
    picked, outer = indices[-1], len(indices) - 1
    if len(updates) != outer + len(table) - picked:
        return None
    written = full(updates[:outer])
    needs: tuple[Need, ...] = (same, whole(indices), lambda box: (*written, *box[picked:]))
    return Footprint(all_but(len(table)), needs)


def scatter_elements(graph: Graph, op: Operator) -> Footprint | None:
    """One index per update, along one dimension of a table of the same rank."""
    if len(op.inputs) != 3:
        return None
    table, indices, updates = (graph.tensor[name].shape for name in op.inputs)
    if not len(table) == len(indices) == len(updates):
        return None
    axis = axis_of(op, len(table))

    def given(box: Box) -> Box | None:
        inside = [(lower, min(upper, e)) for (lower, upper), e in zip(box, indices, strict=True)]
        inside[axis] = (0, indices[axis])
        return tuple(inside) if all(lower < upper for lower, upper in inside) else None

    return Footprint(all_but(len(table)), (same, given, given))


def one_hot(graph: Graph, op: Operator) -> Footprint | None:
    """A new dimension of the result tells which index its elements were."""
    indices, result = (graph.tensor[n].shape for n in (op.inputs[0], op.outputs[0]))
    if len(op.inputs) != 1 or len(result) != len(indices) + 1:
        return None
    if graph.tensor[op.inputs[0]].dtype.is_float:
        return None
    axis = axis_of(op, len(result), -1)
    return Footprint(all_but(len(result)), (lambda box: (*box[:axis], *box[axis + 1 :]),))
