"""Tile operators on real numbers: the parent's kernel on operands of which only the tile is known.

The pieces a tile operator reads are put where they lie in the parent's operands; everything else is
poison: NaN, or all bits set in integer types. The parent's ONNX nodes run on that, and the tile's
region of the result is kept. A tile that needs an element it was not given gets poison in its
result. As the shapes are the parent's, so is the order of every floating-point sum, and the
result is the whole model's bit for bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stowplan.errors import ModelError
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.simulator.execute_kernels import Array, Kernel, Kernels, Port

_POISON_BYTE = 0xFF


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
        declared = self.session.get_inputs()
        operands = {
            port.tensor: _poisoned(tuple(each.shape), port.dtype)
            for port, each in zip(self.whole, declared, strict=True)
        }
        for port in self.inputs:
            tensor = self.graph.tensor[port.tensor]
            operands[whole_name(tensor)][region_of(tensor)] = values[port.tensor]
        parent = Kernel(self.session, self.whole, self.results)
        found = parent.run(operands)
        return {
            port.tensor: np.ascontiguousarray(found[whole_name(tensor)][region_of(tensor)])
            for port in self.outputs
            for tensor in (self.graph.tensor[port.tensor],)
        }


def compile_all(kernels: Kernels, graph: Graph) -> dict[str, Kernel]:
    """The kernel of each operator of ``graph``, tiles included, by name.

    Raises:
        ModelError: ONNX Runtime does not implement an operator.
    """
    parents = _parents(graph)
    whole = {name: kernels.compile(operator) for name, operator in parents.items()}
    return {
        op.name: kernels.compile(op) if op.parent is None else _tile(graph, op, whole[op.parent])
        for op in graph.operators
    }


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
            inputs=_wholes(graph, [each for op in members for each in op.inputs]),
            outputs=_wholes(graph, members[0].outputs),
            in_place=(),
            parent=name,
            region=None,
        )
        for name, members in tiles.items()
    }


def _wholes(graph: Graph, names: list[str] | tuple[str, ...]) -> tuple[str, ...]:
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
        inputs=_pieces(graph, op.inputs, parent.inputs),
        outputs=_pieces(graph, op.outputs, parent.outputs),
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
