"""Which units run together and how each group is cut, as plain data and as a short text.

``0-12/12@2.2;12;13:1x4.2x2`` says: units 0 to 11 run as a chain in 12 stripes, its two results cut
along dimension 2; unit 12 runs whole; unit 13 in 4 x 2 tiles, along dimension 1 in the outer loop.
A last loop ``kx3`` cuts the sums of a product in 3 parts. ``0-12/8@2.2/3@3.3`` is a chain in 3
panels along dimension 3, one after the other, each of them in 8 stripes along dimension 2.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from stowplan.errors import UsageError
from stowplan.ir.graph import Graph
from stowplan.ir.memory import MemorySpec
from stowplan.passes.base import PassResult
from stowplan.passes.tiling.build import build, jobs_of
from stowplan.passes.tiling.choose import Group
from stowplan.passes.tiling.costs import ChainCost
from stowplan.passes.tiling.grids import TERMS, Grid
from stowplan.passes.tiling.network import Network, Unit
from stowplan.passes.tiling.pieces import Pieces

_ALONG = r"/(\d+)@(\d+(?:\.\d+)*)"
_GROUP = re.compile(rf"(\d+)(?:-(\d+){_ALONG}(?:{_ALONG})?|:((?:\d+|k)x\d+(?:\.(?:\d+|k)x\d+)*))?")


@dataclass(frozen=True, slots=True)
class Cut:
    """How a run of consecutive units is cut.

    Attributes:
        first: index of the first unit.
        last: one past the index of the last unit.
        stripes: of a chain of several units, in every panel.
        axes: of a chain, the dimension cut of each result no unit of it reads, in order.
        grid: of a single unit, (dimension, tiles along it), outermost loop first.
        panels: of a chain.
        across: of a chain in several panels, the dimension they cut of each such result.
    """

    first: int
    last: int
    stripes: int = 1
    axes: tuple[int, ...] = ()
    grid: tuple[tuple[int, int], ...] = ()
    panels: int = 1
    across: tuple[int, ...] = ()

    def __str__(self) -> str:
        if self.last > self.first + 1:
            panels = _along(self.panels, self.across) if self.panels > 1 else ""
            return f"{self.first}-{self.last}{_along(self.stripes, self.axes)}{panels}"
        grid = ".".join(f"{'k' if a == TERMS else a}x{count}" for a, count in self.grid)
        return f"{self.first}:{grid}" if grid else str(self.first)


def _along(count: int, axes: tuple[int, ...]) -> str:
    return f"/{count}@{'.'.join(map(str, axes))}"


@dataclass(frozen=True, slots=True)
class TileGroups:
    """Tile by a text that names the groups, as the search over tilings found them.

    Attributes:
        groups: the text; see the module docstring.
        capacity: bytes of scratchpad.
        alignment: of every address, in bytes.
        track_weights: weights take scratchpad too rather than stream.
        dissolve: views disappear into their readers even where no tensor is cut.
    """

    name: ClassVar[str] = "tile-groups"
    groups: str = ""
    capacity: int = 0
    alignment: int = 64
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
        jobs = jobs_of(network, groups_of(network, cuts))
        memory = MemorySpec(self.capacity, self.alignment)
        tiled = build(network, jobs, Pieces(network, jobs, memory), self.dissolve)
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
            "12 stripes along dimension 2), 0-12/12@2/3@3 (3 panels of them along dimension 3), "
            "13:1x4 (4 tiles along dimension 1) or 13"
        )
    first, last, stripes, axes, panels, across, grid = match.groups()
    if last is not None:
        cut = Cut(int(first), int(last), int(stripes), _axes(axes))
        if panels is not None:
            cut = replace(cut, panels=int(panels), across=_axes(across))
    else:
        loops = [loop.split("x") for loop in grid.split(".")] if grid else []
        tiles = tuple((TERMS if a == "k" else int(a), int(count)) for a, count in loops)
        cut = Cut(int(first), int(first) + 1, grid=tiles)
    counts = (cut.stripes, cut.panels, *(count for _, count in cut.grid))
    if cut.last <= cut.first or min(counts) < 1:
        raise UsageError(f"tile-groups: {part!r}: no units, stripes, panels or tiles")
    return cut


def _axes(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


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
    ranks = [len(network.graph.tensor[name].shape) for name in results]
    loops = []
    for along in (cut.axes, cut.across) if cut.panels > 1 else (cut.axes,):
        if len(results) != len(along):
            raise UsageError(f"tile-groups: {cut}: {len(results)} results leave the chain")
        if any(axis >= rank for axis, rank in zip(along, ranks, strict=True)):
            raise UsageError(f"tile-groups: {cut}: a result has no such dimension")
        loops.append(tuple(sorted(zip(results, along, strict=True))))
    across = loops[1] if cut.panels > 1 else ()
    return Group(units, chain=ChainCost(cut.stripes, loops[0], 0, 0, cut.panels, across))


def cut_of(group: Group) -> Cut:
    """The plain data of a group."""
    first, last = group.units[0].index, group.units[-1].index + 1
    if group.chain is None:
        looped = () if group.grid is None else group.grid.counts
        return Cut(first, last, grid=tuple((a, n) for a, n in looped if n > 1))
    chain, results = group.chain, sinks(group.units)
    axes, across = dict(chain.axes), dict(chain.across)
    return Cut(
        first,
        last,
        chain.stripes,
        tuple(axes[name] for name in results),
        panels=chain.panels,
        across=tuple(across[name] for name in results if name in across),
    )


def sinks(units: Sequence[Unit]) -> tuple[str, ...]:
    """Results that no unit of the chain reads, in order."""
    read = {source.tensor for unit in units for source in unit.sources}
    return tuple(name for unit in units for name in unit.operator.outputs if name not in read)
