"""Stripes through a chain of units: where each is cut so that every stripe finds its operands.

The results that leave the chain are cut evenly into ``R`` stripes. Going backward, a tensor's
stripe ``s`` ends where the furthest of its readers' stripes ``s`` ends reading it, so that running
stripe after stripe, and unit after unit in each, is a legal order and no reader waits for more than
it needs. What stripe ``s + 1`` reads again (its halo) stays between the two.

``c[t][s]`` is the boundary between stripes ``s - 1`` and ``s`` of tensor ``t``, along one dimension
per tensor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

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

    def box(self, whole: Box, tensor: str, stripe: int) -> Box | None:
        """Region of stripe ``stripe`` of a tensor the chain makes; None when it is empty."""
        lower, upper = self.cuts[tensor][stripe : stripe + 2]
        axis = self.axis[tensor]
        return None if lower == upper else (*whole[:axis], (lower, upper), *whole[axis + 1 :])


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
