"""Best tile width, height and reduction step of a group, in closed form over all candidates.

When the tile divides the grid every step of a group belongs to one of few classes, so its latency
is a sum of (count x max(compute, transfers)) terms; when it does not, tiles at the edge are counted
as whole ones, which bounds latency and memory from above. All candidate granularities are evaluated
at once; ``evaluate.step_latency`` is the walk-every-step reference for one of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from stowplan.passes.fusion.evaluate import Group, group_of
from stowplan.passes.fusion.instance import FusionInstance, Granularity

Vector = npt.NDArray[np.float64]
Extent = str | int
"""``w``, ``h``, ``k``: follows the granularity; an integer: a whole dimension."""


@dataclass(frozen=True, slots=True)
class TileChoice:
    """A granularity and how its tiles are walked.

    Attributes:
        latency: time units of the whole group.
        granularity: tile width, height, reduction step.
        tiles: tiles across and down.
        reductions: reduction steps per tile.
        by_rows: the snake runs along rows of tiles, else along columns.
    """

    latency: float
    granularity: Granularity
    tiles: tuple[int, int]
    reductions: int
    by_rows: bool

    @property
    def steps(self) -> int:
        """Steps the group takes."""
        return self.tiles[0] * self.tiles[1] * self.reductions

    def traversal(self) -> tuple[int, ...]:
        """Raster numbers of the tiles in snake order."""
        across, down = self.tiles
        numbers = np.arange(across * down).reshape(down, across)
        if not self.by_rows:
            numbers = numbers.T
        snake = [row if i % 2 == 0 else row[::-1] for i, row in enumerate(numbers)]
        return tuple(int(tile) for tile in np.concatenate(snake))


@dataclass(frozen=True, slots=True)
class GroupShape:
    """A group with the extents of its slices expressed in the granularity.

    Attributes:
        group: operators and boundary.
        grid: columns, rows and reduction depth of the sinks.
        pieces: (tensor, row extent, column extent) of each slice moved in.
        work: (base cost, row extent, column extent, depth extent or 0) of each slice made.
    """

    group: Group
    grid: tuple[int, int, int]
    pieces: tuple[tuple[int, Extent, Extent], ...]
    work: tuple[tuple[float, Extent, Extent, Extent], ...]


def group_shape(instance: FusionInstance, operators: tuple[int, ...]) -> GroupShape | None:
    """Slices of a group, or None when its sinks share no grid."""
    group = group_of(instance, operators)
    producer = {t: op for op in operators for t in instance.outputs[op]}
    grids = set()
    for sink in group.sinks:
        op = producer[sink]
        depth = instance.widths[instance.inputs[op][0]] if instance.is_matmul(op) else 1
        grids.add((instance.widths[sink], instance.heights[sink], depth))
    if len(grids) != 1:
        return None
    wanted: list[tuple[int, Extent, Extent]] = [(sink, "h", "w") for sink in group.sinks]
    pieces, made = set(), set()
    while wanted:
        piece = wanted.pop()
        tensor, rows, columns = piece
        source = producer.get(tensor)
        if source is None:
            pieces.add(piece)
            continue
        if piece in made:
            continue
        made.add(piece)
        read = instance.inputs[source]
        if instance.is_matmul(source):
            inner: Extent = "k" if tensor in group.sinks else instance.widths[read[0]]
            wanted += [(read[0], rows, inner), (read[1], inner, columns)]
        else:
            wanted += [(t, rows, columns) for t in read]
    work = []
    for tensor, rows, columns in sorted(made, key=str):
        op = producer[tensor]
        depth_extent: Extent = 0
        if instance.is_matmul(op):
            depth_extent = "k" if tensor in group.sinks else instance.widths[instance.inputs[op][0]]
        work.append((instance.base_costs[op], rows, columns, depth_extent))
    return GroupShape(group, next(iter(grids)), tuple(sorted(pieces, key=str)), tuple(work))


def best_tile(
    instance: FusionInstance,
    shape: GroupShape,
    before: frozenset[int],
    retained: frozenset[int],
) -> TileChoice | None:
    """Fastest granularity that fits, or None.

    Args:
        instance: the problem.
        shape: the group.
        before: tensors in fast memory when the group starts.
        retained: tensors in fast memory when it ends.
    """
    kept = before | retained
    room = instance.fast_memory_capacity - sum(instance.size(t) for t in kept)
    if room < 0:
        return None
    table = _table(instance, shape)
    moving = [i for i, piece in enumerate(shape.pieces) if piece[0] not in before]
    streamed = [i for i, piece in enumerate(shape.pieces) if piece[0] not in kept]
    sinks = sum(t not in retained for t in shape.group.sinks)
    out = sinks * table.w * table.h
    fits = out + table.size[streamed].sum(axis=0) <= room
    if not fits.any():
        return None
    best: TileChoice | None = None
    for by_rows in (True, False):
        latency = np.where(fits, _latency(instance, table, moving, out, by_rows), np.inf)
        i = int(latency.argmin())
        if best is None or latency[i] < best.latency:
            w, h, k = int(table.w[i]), int(table.h[i]), int(table.k[i])
            tiles = (-(-shape.grid[0] // w), -(-shape.grid[1] // h))
            best = TileChoice(float(latency[i]), (w, h, k), tiles, -(-shape.grid[2] // k), by_rows)
    return best


def smallest_working_set(instance: FusionInstance, shape: GroupShape) -> int:
    """Elements of fast memory below which no granularity of the group fits."""
    table = _table(instance, shape)
    out = len(shape.group.sinks) * table.w * table.h
    return int((out + table.size.sum(axis=0)).min())


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Candidate granularities [N] with slice sizes [pieces, N] and compute per step [N]."""

    w: Vector
    h: Vector
    k: Vector
    across: Vector
    down: Vector
    steps: Vector
    size: Vector
    follows: tuple[frozenset[str], ...]
    compute: Vector


@lru_cache(maxsize=2048)
def _table(instance: FusionInstance, shape: GroupShape) -> _Table:
    columns, rows, depth = shape.grid
    native_w, native_h = instance.native_granularity
    w, h, k = (
        axis.ravel().astype(float)
        for axis in np.meshgrid(
            _extents(columns, native_w),
            _extents(rows, native_h),
            _extents(depth, native_w),
            indexing="ij",
        )
    )
    extents: dict[Extent, Vector] = {"w": w, "h": h, "k": k}

    def extent(name: Extent) -> Vector:
        return extents[name] if isinstance(name, str) else np.full(len(w), float(name))

    size = np.array([extent(r) * extent(c) for _, r, c in shape.pieces]).reshape(-1, len(w))
    compute = np.zeros(len(w))
    for cost, r, c, d in shape.work:
        rows_made, columns_made = extent(r) / native_h, extent(c) / native_w
        if d == 0:
            compute += cost * np.ceil(rows_made) * np.ceil(columns_made)
            continue
        tiles = (rows_made if r == "k" else np.ceil(rows_made)) * (
            columns_made if c == "k" else np.ceil(columns_made)
        )
        compute += cost * tiles * extent(d) / native_w
    follows = tuple(
        frozenset(name for name in (r, c) if isinstance(name, str)) for _, r, c in shape.pieces
    )
    across, down, steps = np.ceil(columns / w), np.ceil(rows / h), np.ceil(depth / k)
    return _Table(w, h, k, across, down, steps, size, follows, compute)


def _extents(whole: int, native: int) -> npt.NDArray[np.int64]:
    """Tile extents worth trying: divisors, multiples of the native extent, powers of two."""
    numbers = np.arange(1, whole + 1)
    power = (numbers & (numbers - 1)) == 0
    return np.asarray(numbers[(whole % numbers == 0) | (numbers % native == 0) | power])


def _latency(
    instance: FusionInstance, table: _Table, moving: Iterable[int], out: Vector, by_rows: bool
) -> Vector:
    """Latency of every candidate: class of step -> how many, what moves."""
    indices = list(moving)

    def moved(changing: str) -> Vector:
        some = [i for i in indices if table.follows[i] & set(changing)]
        return np.asarray(table.size[some].sum(axis=0))

    streams = table.steps > 1
    first = np.asarray(table.size[indices].sum(axis=0))
    next_column = np.where(streams, moved("wk"), moved("w"))
    next_row = np.where(streams, moved("hk"), moved("h"))
    if by_rows:
        columns, rows = table.down * (table.across - 1), table.down - 1
    else:
        columns, rows = table.across - 1, table.across * (table.down - 1)

    def time(elements: Vector) -> Vector:
        return np.maximum(table.compute, elements / instance.slow_memory_bandwidth)

    total = np.zeros(len(table.w))
    for count, entering in ((1.0, first), (columns, next_column), (rows, next_row)):
        inner = moved("k")
        streamed = time(entering) + (table.steps - 2) * time(inner) + time(inner + out)
        total += count * np.where(streams, streamed, time(entering + out))
    return total
