"""What a way of tiling costs: bytes moved again, and the scratchpad it takes.

For a chain in ``R`` stripes the model counts, in bytes,

* weights read once more per further stripe: when they stream, all of them unless the weight buffer
  keeps all, else those that do not fit beside the chain's working set;
* a result that leaves the chain: written and read again, in the share by which it is too large to
  stay (``spilled``).

A chain may run in ``P`` panels along another dimension, one after the other, each in ``R`` stripes.
Then weights are read ``R P - 1`` times more, and per further panel

* the columns that it shares with the panel before: written and read again for a result of the
  chain, read again for an operand, unless all of them fit beside the working set.

The working set is the most that is live at any unit of a stripe: stripes made and not yet read for
the last time, halos kept for the next stripe, operands every stripe reads, and the next stripe of
the chain's own inputs, so that it can be fetched meanwhile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import numpy.typing as npt

from stowplan.ir.graph import Role, Tensor
from stowplan.passes.tiling.boxes import full
from stowplan.passes.tiling.network import Network, Unit
from stowplan.passes.tiling.stripes import Loop, Striping, clash, stripe_chain

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ArrayShape:
    """The matrix array, as far as tile sizes depend on it.

    Attributes:
        rows: of units.
        cols: of units.
        dataflow: which operand stays, as in a target.
        bytes_per_cycle: bytes that could be moved meanwhile.
    """

    rows: int
    cols: int
    dataflow: str
    bytes_per_cycle: int

    def cycles(self, m: Integers, n: Integers, k: Integers) -> Integers:
        """Cycles of products ``[m, k] x [k, n]``; arrays of one shape.

        Source: ``stowplan.targets.gemm_cost``, folds one after another at one term per cycle.
        """
        filled = self.rows + self.cols - 2
        if self.dataflow == "output_stationary":
            return -(-m // self.rows) * -(-n // self.cols) * (k + filled)
        first, streamed = (n, m) if self.dataflow == "weight_stationary" else (m, n)
        return -(-k // self.rows) * -(-first // self.cols) * (streamed + filled + self.rows)


@dataclass(frozen=True, slots=True)
class Budget:
    """Scratchpad that tiles may take.

    Attributes:
        capacity_bytes: what one tile may need at most.
        working_bytes: what a chain's working set may take.
        kept_bytes: a result of up to this size is taken to stay between chains.
        alignment_bytes: of every address.
        tile_bytes: what one more tile costs, as bytes that could be moved meanwhile.
        array: what multiplies; None leaves its shape out of account.
        burst_bytes: least bytes moved at once.
        most_rows: rows of an image or a matrix that a tile has at most; 0 leaves it open.
        kept_weights_bytes: of streamed weights that stay until others need the room.
        storages: per tensor, extents of its storages where these are decided already (``slabs``).
    """

    capacity_bytes: int
    working_bytes: int
    kept_bytes: int
    alignment_bytes: int
    tile_bytes: int
    array: ArrayShape | None = None
    burst_bytes: int = 64
    most_rows: int = 0
    kept_weights_bytes: int = 0
    storages: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def stripes(self, shape: Sequence[int], axis: int) -> int:
        """Fewest tiles along a dimension of a result that keep to ``most_rows``."""
        if not self.most_rows or axis != (2 if len(shape) >= 4 else len(shape) - 2):
            return 1
        return -(-shape[axis] // self.most_rows)

    def aligned(self, size_bytes: int) -> int:
        """Bytes a tile of ``size_bytes`` takes."""
        return _aligned(size_bytes, self.alignment_bytes)

    def taken(self, tensor: Tensor, sides: Sequence[Integers]) -> Integers:
        """Most bytes a region of a tensor takes, by its extents; arrays of one shape."""
        steps = self.storages.get(tensor.name)
        if steps is None:
            return self.rounded(-(-product_of(sides) * tensor.dtype.bits // 8))
        count: Integers = np.asarray(1, dtype=np.int64)
        for extent, step, side in zip(tensor.shape, steps, sides, strict=True):
            # A region of two elements or more may begin with the last element of a storage.
            met = np.where(side > 1, (side - 2) // step + 2, side)
            count = count * np.minimum(met, -(-extent // step))
        return count * self.aligned(prod(steps) * tensor.dtype.bits // 8)

    def rounded(self, size: Integers) -> Integers:
        """Sizes as the scratchpad takes them."""
        return -(-size // self.alignment_bytes) * self.alignment_bytes

    def spilled(self, size_bytes: int) -> int:
        """Bytes moved for a result of ``size_bytes`` between two chains."""
        if size_bytes >= self.kept_bytes:
            return 2 * size_bytes
        return 2 * size_bytes * size_bytes // (4 * self.kept_bytes)


def product_of(sides: Sequence[Integers]) -> Integers:
    """Elements of regions, by their extents."""
    count: Integers = np.asarray(1, dtype=np.int64)
    for side in sides:
        count = count * side
    return count


def _aligned(size_bytes: int, alignment_bytes: int) -> int:
    return -(-size_bytes // alignment_bytes) * alignment_bytes


@dataclass(frozen=True, slots=True)
class ChainCost:
    """A chain in stripes.

    Attributes:
        stripes: how many, in every panel.
        axes: dimension cut of each result that leaves the chain.
        again_bytes: weights and halos of panels moved again.
        working_bytes: working set.
        panels: how many.
        across: dimension that panels cut of each result that leaves the chain.
    """

    stripes: int
    axes: tuple[tuple[str, int], ...]
    again_bytes: int
    working_bytes: int
    panels: int = 1
    across: tuple[tuple[str, int], ...] = ()

    @property
    def loops(self) -> tuple[Loop, ...]:
        """The cuts, outermost first."""
        stripes = dict(self.axes), self.stripes
        return (stripes,) if self.panels == 1 else ((dict(self.across), self.panels), stripes)

    @property
    def rounds(self) -> int:
        """Tiles of a unit."""
        return self.stripes * self.panels


@dataclass(frozen=True, slots=True)
class _Side:
    """A chain cut along one dimension, judged in the middle.

    Attributes:
        striping: two of its stripes.
        lengths: per tensor that is cut, the extent of a stripe, what it shares with the one before
            included, and how much that is.
    """

    striping: Striping
    lengths: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Measured:
    """What of a chain's cost does not depend on the budget.

    Attributes:
        peak_bytes: most bytes live at once, weights aside.
        weight_bytes: all weights of the chain.
        largest_bytes: all weights of one unit, the most there is.
        shared_bytes: of the chain's results, what a panel shares with the one before.
        again_bytes: of operands from outside, what a panel shares with the one before.
    """

    peak_bytes: int
    weight_bytes: int
    largest_bytes: int
    shared_bytes: int = 0
    again_bytes: int = 0


class ChainMeter:
    """Measures chains of a network and remembers them; mutable."""

    def __init__(self, network: Network, alignment_bytes: int) -> None:
        self.network = network
        self._alignment_bytes = alignment_bytes
        self._known: dict[tuple[object, ...], _Measured | None] = {}
        self._sides: dict[tuple[object, ...], _Side | None] = {}
        self._weights: dict[tuple[int, int], int] = {}

    def cost(
        self,
        budget: Budget,
        units: Sequence[Unit],
        axes: Mapping[str, int],
        stripes: int,
        panels: Loop | None = None,
    ) -> ChainCost | None:
        """Cost of a chain in two or more stripes, judged at the middle; None if it has none.

        Args:
            budget: scratchpad it may take.
            units: of the chain.
            axes: dimension to cut of each result that leaves the chain.
            stripes: how many.
            panels: dimension that panels cut of each such result, and how many; two at least.
        """
        across, count = panels or ({}, 1)
        cut, other = tuple(sorted(axes.items())), tuple(sorted(across.items()))
        key = (units[0].index, len(units), cut, stripes, other, count)
        if key not in self._known:
            sides = [self._side(units, axes, stripes)]
            sides += [] if panels is None else [self._side(units, across, count)]
            self._known[key] = self._measure(units, [s for s in sides if s], len(sides))
        found = self._known[key]
        if found is None:
            return None
        again, working = self.again_bytes(budget, units), found.peak_bytes
        if self.network.track_weights:
            again = min(found.weight_bytes, working + found.weight_bytes - budget.working_bytes)
            again = max(0, again)
            working += found.largest_bytes
        spare = max(0, budget.working_bytes - working)
        halo = found.again_bytes + 2 * max(0, found.shared_bytes - spare)
        total = again * (stripes * count - 1) + halo * (count - 1)
        return ChainCost(stripes, cut, total, working, count, other)

    def again_bytes(self, budget: Budget, units: Sequence[Unit]) -> int:
        """Bytes of weights that every further tile of a chain streams again at least.

        First in, first out: of weights used in turn that do not all fit, none is found again.
        """
        weights = self.weight_bytes(units)
        if self.network.track_weights or weights <= budget.kept_weights_bytes:
            return 0
        return weights

    def weight_bytes(self, units: Sequence[Unit]) -> int:
        """Bytes of all weights the units, which follow one another, read."""
        key = units[0].index, len(units)
        if key not in self._weights:
            self._weights[key] = _weights(self.network, units)
        return self._weights[key]

    def _side(self, units: Sequence[Unit], axes: Mapping[str, int], stripes: int) -> _Side | None:
        key = (units[0].index, len(units), tuple(sorted(axes.items())), stripes)
        if key not in self._sides:
            middle = max(1, stripes // 2)
            fractions = [(middle + i) / stripes for i in (-1, 0, 1)]
            found = stripe_chain(self.network, units, axes, fractions)
            self._sides[key] = None
            if found is not None:
                lengths = {name: _lengths(found, name) for name in found.axis}
                self._sides[key] = _Side(found, lengths)
        return self._sides[key]

    def _measure(
        self, units: Sequence[Unit], sides: Sequence[_Side], wanted: int
    ) -> _Measured | None:
        if len(sides) < wanted or clash([side.striping for side in sides]):
            return None
        shared, again = _shared(self.network, units, sides[1]) if len(sides) > 1 else (0, 0)
        return _Measured(
            peak_bytes=_peak(self.network, self._alignment_bytes, units, sides),
            weight_bytes=self.weight_bytes(units),
            largest_bytes=max(self.weight_bytes((unit,)) for unit in units),
            shared_bytes=shared,
            again_bytes=again,
        )


def _shared(network: Network, units: Sequence[Unit], panels: _Side) -> tuple[int, int]:
    """Bytes of the chain's results, and of its operands, that two panels share."""
    made = {unit.operator.outputs[0] for unit in units}
    shared = again = 0
    for name, (_, halo) in panels.lengths.items():
        described = network.graph.tensor[name]
        size = network.bytes_of(name, full(described.shape))
        size = size * halo // described.shape[panels.striping.axis[name]]
        if name in made:
            shared += size
        elif described.role is not Role.WEIGHT:
            again += size
    return shared, again


def _weights(network: Network, units: Sequence[Unit]) -> int:
    """Bytes of all weights the units read."""
    names = dict.fromkeys(source.tensor for unit in units for source in unit.sources)
    tensors = [network.graph.tensor[name] for name in names]
    return sum(tensor.size_bytes for tensor in tensors if tensor.role is Role.WEIGHT)


def _peak(network: Network, alignment: int, units: Sequence[Unit], sides: Sequence[_Side]) -> int:
    """Most bytes live in a stripe cut as ``sides`` say, the dimension of stripes first."""
    base = 0
    live = [0] * len(units)
    place = {unit.operator.outputs[0]: k for k, unit in enumerate(units)}
    last: dict[str, int] = {}
    first: dict[str, int] = {}
    for k, unit in enumerate(units):
        for source in unit.sources:
            first.setdefault(source.tensor, k)
            last[source.tensor] = k
    rows, panels = sides[0], sides[1:]
    for tensor in dict.fromkeys((*place, *last)):
        described = network.graph.tensor[tensor]
        if described.role is Role.WEIGHT:
            continue
        width = _panel_bytes(network, panels, tensor)
        if tensor in rows.striping.whole or tensor not in rows.striping.axis:
            base += _aligned(width, alignment)
            continue
        row = width // described.shape[rows.striping.axis[tensor]]
        stripe, halo = rows.lengths[tensor]
        begin = place.get(tensor, first.get(tensor, 0))
        end = last.get(tensor, begin)
        if tensor not in place:
            stripe += stripe - halo
        kept, whole = _aligned(halo * row, alignment), _aligned(stripe * row, alignment)
        base += kept
        for k in range(begin, end + 1):
            live[k] += whole - kept
    return base + max(live)


def _panel_bytes(network: Network, panels: Sequence[_Side], tensor: str) -> int:
    """Bytes of a tensor in one panel; of all of it where there are none."""
    described = network.graph.tensor[tensor]
    size = network.bytes_of(tensor, full(described.shape))
    for side in panels:
        if tensor in side.lengths:
            size = size * side.lengths[tensor][0] // described.shape[side.striping.axis[tensor]]
    return size


def _lengths(found: Striping, tensor: str) -> tuple[int, int]:
    """Rows of a tensor needed for the second stripe, and how many of them it shares."""
    needed = found.needed.get(tensor)
    made = 0
    if tensor in found.cuts:
        made = found.cuts[tensor][2] - found.cuts[tensor][1]
    if needed is None or needed[1] is None:
        return made, 0
    stripe = needed[1][1] - needed[1][0]
    halo = max(0, needed[0][1] - needed[1][0]) if needed[0] else 0
    return max(stripe, made + halo), halo
