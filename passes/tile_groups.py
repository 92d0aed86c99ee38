"""Which units run together and how each group is cut, as plain data and as a short text.

``0-12/12@2.2;12;13:1x4.2x2`` says: units 0 to 11 run as a chain in 12 stripes, its two results cut
along dimension 2; unit 12 runs whole; unit 13 in 4 x 2 tiles, along dimension 1 in the outer loop.
A last loop ``kx3`` cuts the sums of a product in 3 parts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from stowplan.errors import UsageError
from stowplan.ir.graph import Graph
from stowplan.passes.base import PassResult
from stowplan.passes.tiling.build import build, jobs_of
from stowplan.passes.tiling.choose import Group
from stowplan.passes.tiling.costs import ChainCost
from stowplan.passes.tiling.grids import TERMS, Grid
from stowplan.passes.tiling.network import Network, Unit

_GROUP = re.compile(r"(\d+)(?:-(\d+)/(\d+)@(\d+(?:\.\d+)*)|:((?:\d+|k)x\d+(?:\.(?:\d+|k)x\d+)*))?")


@dataclass(frozen=True, slots=True)
class Cut:
    """How a run of consecutive units is cut.

    Attributes:
        first: index of the first unit.
        last: one past the index of the last unit.
        stripes: of a chain of several units.
        axes: of a chain, the dimension cut of each result no unit of it reads, in order.
        grid: of a single unit, (dimension, tiles along it), outermost loop first.
    """

    first: int
    last: int
    stripes: int = 1
    axes: tuple[int, ...] = ()
    grid: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        if self.last > self.first + 1:
            axes = ".".join(map(str, self.axes))
            return f"{self.first}-{self.last}/{self.stripes}@{axes}"
        grid = ".".join(f"{'k' if a == TERMS else a}x{count}" for a, count in self.grid)
        return f"{self.first}:{grid}" if grid else str(self.first)


@dataclass(frozen=True, slots=True)
class TileGroups:
    """Tile by a text that names the groups, as the search over tilings found them.

    Attributes:
        groups: the text; see the module docstring.
        joined: contiguous pieces are joined into storages of at least this many bytes.
        track_weights: weights take scratchpad too rather than stream.
        dissolve: views disappear into their readers even where no tensor is cut.
    """

    name: ClassVar[str] = "tile-groups"
    groups: str = ""
    joined: int = 1
    track_weights: bool = False
    dissolve: bool = False

    def apply(self, graph: Graph) -> PassResult:
        """Tile ``graph``; without groups it stays whole.

        Raises:
            UsageError: the text does not describe the graph.
        """
        if not self.groups:
            return PassResult(graph, False)
        network = Network(graph, self.track_weights)
        cuts = parse_cuts(self.groups)
        tiled = build(
            network, jobs_of(network, groups_of(network, cuts)), self.joined, self.dissolve
        )
        return PassResult(tiled, tiled is not graph)


def print_cuts(cuts: Sequence[Cut]) -> str:
    """The text of groups."""
    return ";".join(map(str, cuts))


def parse_cuts(text: str) -> tuple[Cut, ...]:
    """Groups of a text. Raises UsageError for anything else."""
    return tuple(_parsed(part.strip()) for part in text.split(";") if part.strip())


def _parsed(part: str) -> Cut:
    match = _GROUP.fullmatch(part)
    if match is None:
        raise UsageError(
            f"tile-groups: {part!r} is no group: expected 0-12/12@2 (a chain of units 0 to 11 in "
            "12 stripes along dimension 2), 13:1x4 (4 tiles along dimension 1) or 13"
        )
    first, last, stripes, axes, grid = match.groups()
    if last is not None:
        cut = Cut(int(first), int(last), int(stripes), tuple(map(int, axes.split("."))))
    else:
        loops = [loop.split("x") for loop in grid.split(".")] if grid else []
        counts = tuple((TERMS if a == "k" else int(a), int(count)) for a, count in loops)
        cut = Cut(int(first), int(first) + 1, grid=counts)
    if cut.last <= cut.first or cut.stripes < 1 or any(count < 1 for _, count in cut.grid):
        raise UsageError(f"tile-groups: {part!r}: no units, stripes or tiles")
    return cut


def groups_of(network: Network, cuts: Sequence[Cut]) -> tuple[Group, ...]:
    """The groups that ``cuts`` describe.

    Raises:
        UsageError: they do not cover the network's units one after another, or cut what has no
            such dimension.
    """
    reached = 0
    for cut in cuts:
        if cut.first != reached:
            raise UsageError(f"tile-groups: group {cut} does not follow unit {reached - 1}")
        reached = cut.last
    if reached != len(network.units):
        raise UsageError(
            f"tile-groups: the groups cover {reached} of {len(network.units)} units: they were "
            "made for another model or another pipeline"
        )
    return tuple(group_of(network, cut) for cut in cuts)


def group_of(network: Network, cut: Cut) -> Group:
    """One group. Raises UsageError when it cuts what has no such dimension."""
    units = network.units[cut.first : cut.last]
    if len(units) == 1:
        whole = network.whole(units[0])
        most = {axis: whole[axis][1] for axis in units[0].splittable}
        most[TERMS] = units[0].terms
        if any(count > most.get(axis, 1) for axis, count in cut.grid):
            raise UsageError(f"tile-groups: {cut}: tiles of this unit cannot be cut so")
        return Group(units, grid=Grid(cut.grid, again_bytes=0, needed_bytes=0))
    results = sinks(units)
    if len(results) != len(cut.axes):
        raise UsageError(f"tile-groups: {cut}: {len(results)} results leave the chain")
    ranks = [len(network.graph.tensor[name].shape) for name in results]
    if any(axis >= rank for axis, rank in zip(cut.axes, ranks, strict=True)):
        raise UsageError(f"tile-groups: {cut}: a result has no such dimension")
    axes = tuple(sorted(zip(results, cut.axes, strict=True)))
    return Group(units, chain=ChainCost(cut.stripes, axes, again_bytes=0, working_bytes=0))


def cut_of(group: Group) -> Cut:
    """The plain data of a group."""
    first, last = group.units[0].index, group.units[-1].index + 1
    if group.chain is None:
        looped = () if group.grid is None else group.grid.counts
        return Cut(first, last, grid=tuple((a, n) for a, n in looped if n > 1))
    axes = dict(group.chain.axes)
    return Cut(first, last, group.chain.stripes, tuple(axes[name] for name in sinks(group.units)))


def sinks(units: Sequence[Unit]) -> tuple[str, ...]:
    """Results that no unit of the chain reads, in order."""
    read = {source.tensor for unit in units for source in unit.sources}
    return tuple(name for unit in units for name in unit.operator.outputs if name not in read)
