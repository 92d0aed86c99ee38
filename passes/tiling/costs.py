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
from dataclasses import dataclass

from stowplan.ir.graph import Role
from stowplan.passes.tiling.boxes import full
from stowplan.passes.tiling.network import Network, Unit
from stowplan.passes.tiling.stripes import Striping, stripe_chain


@dataclass(frozen=True, slots=True)
class Budget:
    """Scratchpad that tiles may take.

    Attributes:
        capacity_bytes: what one tile may need at most.
        working_bytes: what a chain's working set may take.
        kept_bytes: a result of up to this size is taken to stay between chains.
        alignment_bytes: of every address.
    """

    capacity_bytes: int
    working_bytes: int
    kept_bytes: int
    alignment_bytes: int

    def aligned(self, size_bytes: int) -> int:
        """Bytes a tile of ``size_bytes`` takes."""
        return -(-size_bytes // self.alignment_bytes) * self.alignment_bytes

    def spilled(self, size_bytes: int) -> int:
        """Bytes moved for a result of ``size_bytes`` between two chains."""
        if size_bytes >= self.kept_bytes:
            return 2 * size_bytes
        return 2 * size_bytes * size_bytes // (4 * self.kept_bytes)


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


def chain_cost(
    network: Network,
    budget: Budget,
    units: Sequence[Unit],
    axes: Mapping[str, int],
    stripes: int,
) -> ChainCost | None:
    """Cost of a chain in two or more stripes, judged at the middle; None if it cannot be cut."""
    middle = max(1, stripes // 2)
    fractions = [(middle + i) / stripes for i in (-1, 0, 1)]
    found = stripe_chain(network, units, axes, fractions)
    if found is None:
        return None
    weights = _weights(network, units)
    peak = _peak(network, budget, units, found)
    again = sum(weights.values())
    if network.track_weights:
        largest = max((_weights_of(network, unit) for unit in units), default=0)
        again = min(again, max(0, peak + again - budget.working_bytes))
        peak += largest
    return ChainCost(stripes, tuple(sorted(axes.items())), again * (stripes - 1), peak)


def _weights(network: Network, units: Sequence[Unit]) -> dict[str, int]:
    """Bytes of each weight the units read."""
    names = dict.fromkeys(source.tensor for unit in units for source in unit.sources)
    tensors = [network.graph.tensor[name] for name in names]
    return {t.name: t.size_bytes for t in tensors if t.role is Role.WEIGHT}


def _weights_of(network: Network, unit: Unit) -> int:
    return sum(_weights(network, (unit,)).values())


def _peak(network: Network, budget: Budget, units: Sequence[Unit], found: Striping) -> int:
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
            base += budget.aligned(described.size_bytes)
            continue
        row = network.bytes_of(tensor, full(described.shape)) // described.shape[found.axis[tensor]]
        stripe, halo = _lengths(found, tensor)
        begin = place.get(tensor, first.get(tensor, 0))
        end = last.get(tensor, begin)
        if tensor not in place:
            stripe += stripe - halo
        kept, whole = budget.aligned(halo * row), budget.aligned(stripe * row)
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
