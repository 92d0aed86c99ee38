"""Stripes through a chain of units: where each is cut so that every stripe finds its operands.

The results that leave the chain are cut evenly into ``R`` stripes. Going backward, a tensor's
stripe ``s`` ends where the furthest of its readers' stripes ``s`` ends reading it, so that running
stripe after stripe, and unit after unit in each, is a legal order and no reader waits for more than
it needs. What stripe ``s + 1`` reads again (its halo) stays between the two.

``c[t][s]`` is the boundary between stripes ``s - 1`` and ``s`` of tensor ``t``, along one dimension
per tensor.

A chain may be cut along several dimensions, each as above: into panels of columns, say, each of
which runs all its stripes of rows before the next. What one panel reads of the columns of the one
before is its halo as well. Regions grow with what they are needed for, so a part that ends at
boundary ``s + 1`` of every dimension reads nothing behind these, and what it reads is there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from stowplan.ir.graph import Interval
from stowplan.passes.tiling.boxes import Box
from stowplan.passes.tiling.network import Network, Unit


@dataclass(frozen=True, slots=True)
class Striping:
    """Stripes of a chain.

    Attributes:
        axis: per tensor the chain makes or reads in stripes, the dimension cut.
        cuts: per tensor the chain makes, its boundaries ``c``, one more than stripes.
        needed: per tensor, per stripe, the interval of the dimension its readers in the chain need.
        whole: tensors from outside the chain that every stripe needs as a whole.
    """

    axis: Mapping[str, int]
    cuts: Mapping[str, tuple[int, ...]]
    needed: Mapping[str, tuple[Interval | None, ...]]
    whole: frozenset[str]

    @property
    def stripes(self) -> int:
        """How many there are."""
        return len(next(iter(self.cuts.values()))) - 1

    def box(self, whole: Box, tensor: str, stripe: int) -> Box | None:
        """Region of stripe ``stripe`` of a tensor the chain makes; None when it is empty."""
        lower, upper = self.cuts[tensor][stripe : stripe + 2]
        axis = self.axis[tensor]
        return None if lower == upper else (*whole[:axis], (lower, upper), *whole[axis + 1 :])


Loop = tuple[Mapping[str, int], int]
"""Dimension to cut of each result that no unit of a chain reads, and how many parts."""


def chain_tiles(
    network: Network, units: Sequence[Unit], loops: Sequence[Loop]
) -> Iterator[tuple[Unit, Box]] | None:
    """Tiles of a chain cut along several dimensions, in the order in which they run.

    Args:
        network: the network.
        units: consecutive units.
        loops: cuts, outermost first.

    Returns:
        Units and regions of their results; None when the chain cannot be cut so.
    """
    found = []
    for axes, count in loops:
        striping = stripe_chain(network, units, axes, [i / count for i in range(count + 1)])
        if striping is None:
            return None
        found.append(striping)
    if clash(found) or (len(found) > 1 and not _in_order(network, units, found)):
        return None
    return _tiles(network, units, found)


def clash(cuts: Sequence[Striping]) -> bool:
    """Whether several stripings cut some tensor along the same dimension."""
    names = {name for striping in cuts for name in striping.axis}
    along = ([each.axis[name] for each in cuts if name in each.axis] for name in names)
    return any(len(set(axes)) < len(axes) for axes in along)


def _tiles(
    network: Network, units: Sequence[Unit], cuts: Sequence[Striping]
) -> Iterator[tuple[Unit, Box]]:
    for at in product(*(range(striping.stripes) for striping in cuts)):
        for unit in units:
            box = _cell(network, unit, cuts, at)
            if box is not None:
                yield unit, box


def _cell(network: Network, unit: Unit, cuts: Sequence[Striping], at: Sequence[int]) -> Box | None:
    """Region of a unit's result in the part ``at``; None when it is empty."""
    name = unit.operator.outputs[0]
    box: Box | None = network.whole(unit)
    for striping, stripe in zip(cuts, at, strict=True):
        box = None if box is None else striping.box(box, name, stripe)
    return box


def _in_order(network: Network, units: Sequence[Unit], cuts: Sequence[Striping]) -> bool:
    """Whether every tile reads what tiles before it have made.

    Each striping alone sees to that. Together they do as well where regions grow with what needs
    them, which no footprint promises.
    """
    inner = {unit.operator.outputs[0] for unit in units}
    for at in product(*(range(striping.stripes) for striping in cuts)):
        for unit in units:
            box = _cell(network, unit, cuts, at)
            for tensor, region in unit.regions(box).items() if box is not None else ():
                if tensor in inner and not all(
                    region[striping.axis[tensor]][1] <= striping.cuts[tensor][stripe + 1]
                    for striping, stripe in zip(cuts, at, strict=True)
                ):
                    return False
    return True


def stripe_chain(
    network: Network, units: Sequence[Unit], axes: Mapping[str, int], fractions: Sequence[float]
) -> Striping | None:
    """Cut a chain of units; None when it cannot be run in stripes.

    Args:
        network: the network.
        units: consecutive units.
        axes: dimension to cut of each result that no unit of the chain reads.
        fractions: rising boundaries as fractions of a result, 0 and 1 for all of it.
    """
    state = _State(network, units, fractions)
    for unit in reversed(units):
        if len(unit.operator.outputs) != 1 or not state.place(unit, axes):
            return None
        if not state.read(unit):
            return None
    needed = {tensor: tuple(intervals) for tensor, intervals in state.needed.items()}
    return Striping(state.axis, state.cuts, needed, frozenset(state.whole))


class _State:
    """Grows backward over the units; mutable."""

    def __init__(self, network: Network, units: Sequence[Unit], fractions: Sequence[float]) -> None:
        self.axis: dict[str, int] = {}
        self.cuts: dict[str, tuple[int, ...]] = {}
        self.needed: dict[str, list[Interval | None]] = {}
        self.whole: set[str] = set()
        self._network = network
        self._inner = {unit.operator.outputs[0] for unit in units}
        self._fractions = fractions

    def place(self, unit: Unit, axes: Mapping[str, int]) -> bool:
        """Decide the boundaries of the unit's result from what its readers need."""
        name = unit.operator.outputs[0]
        whole = self._network.whole(unit)
        axis = self.axis.get(name, axes.get(name, -1))
        if axis not in unit.splittable:
            return False
        extent = whole[axis][1]
        needed = self.needed.get(name)
        if needed is None:
            cuts = [round(extent * fraction) for fraction in self._fractions]
        else:
            cuts, reached = [needed[0][0] if needed[0] else 0], 0
            for interval in needed:
                reached = max(reached, cuts[-1], interval[1] if interval else 0)
                cuts.append(reached)
            if self._fractions[0] == 0:
                cuts[0] = 0
            if self._fractions[-1] == 1:
                cuts[-1] = extent
        self.axis[name], self.cuts[name] = axis, tuple(cuts)
        return True

    def read(self, unit: Unit) -> bool:
        """Note what the unit's stripes need of each tensor."""
        name = unit.operator.outputs[0]
        whole, axis, cuts = self._network.whole(unit), self.axis[name], self.cuts[name]
        stripes: list[dict[str, Box] | None] = []
        for lower, upper in pairwise(cuts):
            box = (*whole[:axis], (lower, upper), *whole[axis + 1 :])
            stripes.append(unit.regions(box) if lower < upper else None)
        for tensor in dict.fromkeys(source.tensor for source in unit.sources):
            boxes = [None if found is None else found.get(tensor) for found in stripes]
            if not self._note(tensor, boxes):
                return False
        return True

    def _note(self, tensor: str, boxes: Sequence[Box | None]) -> bool:
        """Merge one reader's regions; False when an inner tensor is not read in stripes."""
        varied = _varied(boxes)
        mixed = self.axis.get(tensor, varied) != varied or tensor in self._network.fixed
        if varied is None or mixed or tensor in self.whole:
            self.whole.add(tensor)
            self.axis.pop(tensor, None)
            self.needed.pop(tensor, None)
            return tensor not in self._inner
        self.axis[tensor] = varied
        merged = self.needed.setdefault(tensor, [None] * len(boxes))
        for stripe, box in enumerate(boxes):
            if box is not None:
                old = merged[stripe]
                lower, upper = box[varied]
                merged[stripe] = (
                    (lower, upper) if old is None else (min(old[0], lower), max(old[1], upper))
                )
        return True


def _varied(boxes: Sequence[Box | None]) -> int | None:
    """The one dimension in which the stripes' regions differ, if there is just one."""
    known = [box for box in boxes if box is not None]
    if len(known) < 2:
        return None
    axes = {i for box in known[1:] for i, side in enumerate(box) if side != known[0][i]}
    return axes.pop() if len(axes) == 1 else None
