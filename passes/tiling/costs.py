"""What a way of tiling costs: bytes moved again, and the scratchpad it takes.

For a chain in ``R`` stripes the model counts, in bytes,

* weights read once more per further stripe: all of them when they stream, else those that do not
  fit beside the chain's working set;
* a result that leaves the chain: written and read again, in the share by which it is too large to
  stay (``spilled``).

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
from stowplan.passes.tiling.stripes import Striping, stripe_chain

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
        stripes: how many.
        axes: dimension cut of each result that leaves the chain.
        again_bytes: weights read again.
        working_bytes: working set.
    """

    stripes: int
    axes: tuple[tuple[str, int], ...]
    again_bytes: int
    working_bytes: int


@dataclass(frozen=True, slots=True)
class _Measured:
    """What of a chain's cost does not depend on the budget.

    Attributes:
        peak_bytes: most bytes live at once, weights aside.
        weight_bytes: all weights of the chain.
        largest_bytes: all weights of one unit, the most there is.
    """

    peak_bytes: int
    weight_bytes: int
    largest_bytes: int


class ChainMeter:
    """Measures chains of a network and remembers them; mutable."""

    def __init__(self, network: Network, alignment_bytes: int) -> None:
        self.network = network
        self._alignment_bytes = alignment_bytes
        self._known: dict[tuple[object, ...], _Measured | None] = {}

    def cost(
        self, budget: Budget, units: Sequence[Unit], axes: Mapping[str, int], stripes: int
    ) -> ChainCost | None:
        """Cost of a chain in two or more stripes, judged at the middle; None if it has none."""
        cut = tuple(sorted(axes.items()))
        key = (units[0].index, len(units), cut, stripes)
        if key not in self._known:
            self._known[key] = self._measure(units, axes, stripes)
        found = self._known[key]
        if found is None:
            return None
        again, working = found.weight_bytes, found.peak_bytes
        if self.network.track_weights:
            again = min(again, max(0, working + again - budget.working_bytes))
            working += found.largest_bytes
        return ChainCost(stripes, cut, again * (stripes - 1), working)

    def weight_bytes(self, units: Sequence[Unit]) -> int:
        """Bytes of all weights the units read."""
        return sum(_weights(self.network, units).values())

    def _measure(
        self, units: Sequence[Unit], axes: Mapping[str, int], stripes: int
    ) -> _Measured | None:
        middle = max(1, stripes // 2)
        fractions = [(middle + i) / stripes for i in (-1, 0, 1)]
        found = stripe_chain(self.network, units, axes, fractions)
        if found is None:
            return None
        return _Measured(
            peak_bytes=_peak(self.network, self._alignment_bytes, units, found),
            weight_bytes=self.weight_bytes(units),
            largest_bytes=max(self.weight_bytes((unit,)) for unit in units),
        )


def _weights(network: Network, units: Sequence[Unit]) -> dict[str, int]:
    """Bytes of each weight the units read."""
    names = dict.fromkeys(source.tensor for unit in units for source in unit.sources)
    tensors = [network.graph.tensor[name] for name in names]
    return {t.name: t.size_bytes for t in tensors if t.role is Role.WEIGHT}


def _peak(network: Network, alignment: int, units: Sequence[Unit], found: Striping) -> int:
    """Most bytes live in the second of the stripes ``found`` has."""
    base = 0
    live = [0] * len(units)
    place = {unit.operator.outputs[0]: k for k, unit in enumerate(units)}
    last: dict[str, int] = {}
    first: dict[str, int] = {}
    for k, unit in enumerate(units):
        for source in unit.sources:
            first.setdefault(source.tensor, k)
            last[source.tensor] = k
    for tensor in dict.fromkeys((*place, *last)):
        described = network.graph.tensor[tensor]
        if described.role is Role.WEIGHT:
            continue
        if tensor in found.whole or tensor not in found.axis:
            base += _aligned(described.size_bytes, alignment)
            continue
        row = network.bytes_of(tensor, full(described.shape)) // described.shape[found.axis[tensor]]
        stripe, halo = _lengths(found, tensor)
        begin = place.get(tensor, first.get(tensor, 0))
        end = last.get(tensor, begin)
        if tensor not in place:
            stripe += stripe - halo
        kept, whole = _aligned(halo * row, alignment), _aligned(stripe * row, alignment)
        base += kept
        for k in range(begin, end + 1):
            live[k] += whole - kept
    return base + max(live)


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
