"""Tile operators on real numbers: the parent's kernel on operands of which only the tile is known.

The pieces a tile operator reads are put where they lie in the parent's operands; everything else is
poison: NaN, or all bits set in integer types. The parent's ONNX nodes run on that, and the tile's
region of the result is kept. A tile that needs an element it was not given gets poison in its
result. As the shapes are the parent's, so is the order of every floating-point sum, and the
result is the whole model's bit for bit.

Tiles that add only some terms of their sums are proved without adding: what such a tile was given
is kept aside, and its sums hold a fingerprint that no other tile writes. The tile that completes
the sums computes them from all that was kept, unless the fingerprint it finds is another.

Tiles that look through some rows of a table run on these, and overwrite what they find there with
the elements that are no poison: those whose index is one of the rows. An element that is poison
in the table itself stays what the first tile made it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import numpy as np

from stowplan.errors import ModelError
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.simulator.execute_kernels import Array, Kernel, Kernels, Port
from stowplan.targets.tile_operands import picks, terms_of

_POISON_BYTE = 0xFF
_COPYING = frozenset(("Gather", "GatherElements", "GatherND"))
"""Look-ups whose results are a table's elements as they are."""


@dataclass(frozen=True, slots=True)
class TileKernel(Kernel):
    """One tile operator ready to run.

    Attributes:
        graph: the tiled graph.
        whole: the parent's operands by name, with their types.
        results: the parent's results.
    """

    graph: Graph
    whole: tuple[Port, ...]
    results: tuple[Port, ...]

    def input_shapes(self, graph: Graph) -> tuple[tuple[int, ...], ...]:
        """Shapes of the pieces."""
        return tuple(graph.tensor[port.tensor].shape for port in self.inputs)

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Pieces of the result by name, from pieces of the operands by name."""
        operands = self.unknown()
        self.fill(operands, values)
        return self.compute(operands)

    def unknown(self) -> dict[str, Array]:
        """The parent's operands, all poison."""
        declared = self.session.get_inputs()
        return {
            port.tensor: _poisoned(tuple(each.shape), port.dtype)
            for port, each in zip(self.whole, declared, strict=True)
        }

    def fill(self, operands: Mapping[str, Array], values: Mapping[str, Array]) -> None:
        """Put pieces where they lie in the parent's operands."""
        for port in self.inputs:
            tensor = self.graph.tensor[port.tensor]
            operands[whole_name(tensor)][region_of(tensor)] = values[port.tensor]

    def compute(self, operands: Mapping[str, Array]) -> dict[str, Array]:
        """Pieces of the result, from the parent's operands."""
        parent = Kernel(self.session, self.whole, self.results)
        found = parent.run(operands)
        return {
            port.tensor: np.ascontiguousarray(found[whole_name(tensor)][region_of(tensor)])
            for port in self.outputs
            for tensor in (self.graph.tensor[port.tensor],)
        }


@dataclass(frozen=True, slots=True)
class PartKernel(Kernel):
    """A tile operator that adds some terms of its sums.

    Attributes:
        tile: the tile as if it added all of them.
        sums: name of the tensor that holds the sums.
        shape: its shape.
        first: no tile has begun the sums before it.
        last: it completes the sums.
        kept: by name of sums, what its tiles were given so far and the fingerprint expected;
            shared by all kernels of a graph.
    """

    tile: TileKernel
    sums: str
    shape: tuple[int, ...]
    first: bool
    last: bool
    kept: dict[str, tuple[dict[str, Array], Array]] = field(compare=False)

    def input_shapes(self, graph: Graph) -> tuple[tuple[int, ...], ...]:
        """Shapes of the pieces and of the sums so far."""
        return tuple(graph.tensor[port.tensor].shape for port in self.inputs)

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """The sums, or pieces of the result once they are complete."""
        known = None if self.first else self.kept.pop(self.sums, None)
        if known is None or not np.array_equal(known[1], values[self.sums]):
            operands, before = self.tile.unknown(), np.zeros(self.shape, np.int32)
        else:
            operands, before = known
        self.tile.fill(operands, values)
        if self.last:
            return self.tile.compute(operands)
        after = _fingerprint(self.sums, before)
        self.kept[self.sums] = operands, after
        return {self.sums: after}


@dataclass(frozen=True, slots=True)
class PickKernel(Kernel):
    """A tile operator that picks what it finds in some rows of a table.

    Attributes:
        tile: the tile as if it had all rows.
        picked: what holds the elements picked so far.
        box: region of the parent's result.
        first: no tile has picked elements before it.
        last: it completes them.
        blank: the parent's operands, all poison; shared by all its tiles.
    """

    tile: TileKernel
    picked: Port
    box: tuple[slice, ...]
    first: bool
    last: bool
    blank: dict[str, Array] = field(compare=False)

    def input_shapes(self, graph: Graph) -> tuple[tuple[int, ...], ...]:
        """Shapes of the pieces and of the elements picked so far."""
        return tuple(graph.tensor[port.tensor].shape for port in self.inputs)

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """The elements picked so far, or pieces of the result once they are complete."""
        found = self._found(values)
        poison = _poisoned(found.shape, found.dtype)
        before = poison if self.first else values[self.picked.tensor]
        kept = (_bits(found) == _bits(poison)).all(axis=-1)
        merged = np.where(kept, before, found)
        if not self.last:
            return {self.picked.tensor: merged}
        return {port.tensor: self._piece(port, merged) for port in self.outputs}

    def _found(self, values: Mapping[str, Array]) -> Array:
        """The tile's region of the parent's result, poison where these rows do not matter."""
        if not self.blank:
            self.blank.update(self.tile.unknown())
        self.tile.fill(self.blank, values)
        parent = Kernel(self.session, self.tile.whole, self.tile.results)
        (result,) = parent.run(self.blank).values()
        for port in self.tile.inputs:
            tensor = self.tile.graph.tensor[port.tensor]
            part = self.blank[whole_name(tensor)]
            part[region_of(tensor)] = _poisoned((), part.dtype)
        return np.array(result[self.box], order="C")

    def _piece(self, port: Port, merged: Array) -> Array:
        """What of the tile's region a piece of the result holds."""
        region = region_of(self.tile.graph.tensor[port.tensor]) or self.box
        within = tuple(
            slice(side.start - own.start, side.stop - own.start)
            for side, own in zip(region, self.box, strict=True)
        )
        return np.array(merged[within], order="C")


def _bits(value: Array) -> Array:
    """Bytes of each element, along a further dimension."""
    flat = np.ascontiguousarray(value).view(np.uint8)
    return flat.reshape(*value.shape, value.dtype.itemsize)


def _fingerprint(name: str, before: Array) -> Array:
    """Numbers that depend on the sums' name and what they held before."""
    seed = sha256(name.encode() + before.tobytes()).digest()
    random = np.random.default_rng(np.frombuffer(seed, np.uint32))
    return random.integers(-(2**31), 2**31, before.shape, np.int64).astype(np.int32)


def compile_all(kernels: Kernels, graph: Graph) -> dict[str, Kernel]:
    """The kernel of each operator of ``graph``, tiles included, by name.

    Raises:
        ModelError: ONNX Runtime does not implement an operator.
    """
    parents = _parents(graph)
    whole = {name: kernels.compile(operator) for name, operator in parents.items()}
    found: dict[str, Kernel] = {}
    kept: dict[str, tuple[dict[str, Array], Array]] = {}
    plain = _plain(graph)
    blank: dict[str, dict[str, Array]] = {}
    for op in graph.operators:
        if op.parent is None:
            found[op.name] = kernels.compile(op)
            continue
        tile = _tile(graph, op, whole[op.parent])
        terms = terms_of(op)
        if terms is None:
            found[op.name] = tile
        elif op.parent in plain:
            found[op.name] = _pick(op, tile, terms, blank.setdefault(op.parent, {}))
        else:
            found[op.name] = _part(graph, op, tile, terms, kept)
    return found


def _plain(graph: Graph) -> set[str]:
    """Operators whose tiles pick elements of a table and do nothing else to them."""
    tiles = [op for op in graph.operators if op.kind in _COPYING and picks(op)]
    found = {op.parent for op in tiles if op.parent is not None}
    for op in tiles:
        lower, _, _ = terms_of(op) or (0, 0, 0)
        if op.parent is not None and (op.prologue or len(op.epilogue) != (lower > 0)):
            found.discard(op.parent)
    return found


def _pick(
    op: Operator, tile: TileKernel, terms: tuple[int, int, int], blank: dict[str, Array]
) -> PickKernel:
    first, last = terms[0] == 0, terms[1] == terms[2]
    name = op.inputs[-1] if not first else op.outputs[0]
    port = Port(name, name, tile.results[0].dtype)
    return PickKernel(
        session=tile.session,
        inputs=tile.inputs + (port,) * (not first),
        outputs=tile.outputs if last else (port,),
        tile=tile,
        picked=port,
        box=tuple(slice(*side) for side in op.region or ()),
        first=first,
        last=last,
        blank=blank,
    )


def _part(
    graph: Graph,
    op: Operator,
    tile: TileKernel,
    terms: tuple[int, int, int],
    kept: dict[str, tuple[dict[str, Array], Array]],
) -> PartKernel:
    first, last = terms[0] == 0, terms[1] == terms[2]
    sums = op.inputs[-1] if not first else op.outputs[0]
    port = (Port(sums, sums, np.dtype(np.int32)),)
    return PartKernel(
        session=tile.session,
        inputs=tile.inputs + port * (not first),
        outputs=tile.outputs if last else port,
        tile=tile,
        sums=sums,
        shape=graph.tensor[sums].shape,
        first=first,
        last=last,
        kept=kept,
    )


def whole_name(tensor: Tensor) -> str:
    """Name of the model's tensor that ``tensor`` is, or is a tile of."""
    return tensor.name if tensor.parent is None else tensor.parent


def region_of(tensor: Tensor) -> tuple[slice, ...]:
    """Where ``tensor`` lies in the model's."""
    if tensor.region is None:
        return ()
    return tuple(slice(lower, upper) for lower, upper in tensor.region)


def assembled_outputs(graph: Graph) -> dict[str, list[Tensor]]:
    """The tensors that make up each output of the model; tiles that are views of one are left."""
    found: dict[str, list[Tensor]] = {}
    for tensor in graph.by_role(Role.OUTPUT):
        if tensor.parent is not None and tensor.alias is not None:
            continue
        found.setdefault(whole_name(tensor), []).append(tensor)
    return found


def _parents(graph: Graph) -> dict[str, Operator]:
    """The operators that were tiled, with every operand some tile of them has."""
    tiles: dict[str, list[Operator]] = {}
    for op in graph.operators:
        if op.parent is not None:
            tiles.setdefault(op.parent, []).append(op)
    return {
        name: replace(
            members[0],
            name=name,
            inputs=_wholes(graph, (each for op in members for each in _operands(op)[0])),
            outputs=_wholes(graph, (each for op in members for each in _operands(op)[1])),
            in_place=(),
            parent=name,
            region=None,
        )
        for name, members in tiles.items()
    }


def _operands(op: Operator) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Inputs and outputs of a tile, incomplete sums left out."""
    terms = terms_of(op)
    if terms is None:
        return op.inputs, op.outputs
    lower, upper, every = terms
    return op.inputs[: len(op.inputs) - (lower > 0)], op.outputs if upper == every else ()


def _wholes(graph: Graph, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(whole_name(graph.tensor[name]) for name in names))


def _tile(graph: Graph, op: Operator, parent: Kernel) -> TileKernel:
    for port, declared in zip(parent.inputs, parent.session.get_inputs(), strict=True):
        if not all(isinstance(extent, int) for extent in declared.shape):
            raise ModelError(
                f"operator {op.parent!r}: its operand {port.tensor!r} has no static shape, so its "
                "tiles cannot be proved by execution"
            )
    return TileKernel(
        session=parent.session,
        inputs=_pieces(graph, _operands(op)[0], parent.inputs),
        outputs=_pieces(graph, _operands(op)[1], parent.outputs),
        graph=graph,
        whole=parent.inputs,
        results=parent.outputs,
    )


def _pieces(graph: Graph, names: tuple[str, ...], ports: tuple[Port, ...]) -> tuple[Port, ...]:
    """Ports of the pieces, each of its whole's type; operands the kernel does not read are left."""
    known = {port.tensor: port for port in ports}
    return tuple(
        Port(name, known[whole].name, known[whole].dtype)
        for name in dict.fromkeys(names)
        if (whole := whole_name(graph.tensor[name])) in known
    )


def _poisoned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "f":
        return np.full(shape, np.nan, dtype)
    one = np.frombuffer(bytes([_POISON_BYTE] * dtype.itemsize), dtype)[0]
    return np.full(shape, one, dtype)
