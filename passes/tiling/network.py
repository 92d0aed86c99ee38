"""The graph as tiling sees it: units of work over tensors that own bytes, views seen through."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Interval, Operator, Role, Tensor
from stowplan.passes.kinds import is_plain
from stowplan.passes.tiling.boxes import Box, bytes_of, extents, full, hull
from stowplan.passes.tiling.footprint import footprint
from stowplan.passes.tiling.needs import Footprint, Need, PartNeed, whole
from stowplan.passes.tiling.views import copied, slices, view_needs


@dataclass(frozen=True, slots=True)
class Source:
    """One way in which an operand reads a tensor.

    Attributes:
        operand: position of the operand in the operator's inputs.
        tensor: the tensor read, never a view.
        needs: maps from the operand's region back to the tensor's, applied in turn.
    """

    operand: int
    tensor: str
    needs: tuple[Need, ...]


@dataclass(frozen=True, slots=True)
class Unit:
    """An operator that is no view.

    Attributes:
        index: position in :attr:`Network.units`.
        operator: the operator.
        splittable: dimensions of its result that tiles may cut; empty when it stays whole.
        needs: per operand, its region for a region of the result.
        sources: what it reads through views.
        nodes: ONNX nodes of the views it reads through and its own, in topological order.
        terms: terms of its sums, where tiles may cut these; else one.
        parts: regions of the product's operands for some of the terms.
        columns: dimension of the result along an array's columns, if it is a product.
        taps: terms of a sum per step along ``terms``.
        partial: element type of results for some of the terms.
        picks: these hold elements picked so far rather than sums.
        joint: a tile has the same region of every result; otherwise all of every further one.
        form: equal for units that tiles cut alike.
    """

    index: int
    operator: Operator
    splittable: frozenset[int]
    needs: tuple[Need, ...]
    sources: tuple[Source, ...]
    nodes: tuple[str, ...]
    terms: int = 1
    parts: tuple[PartNeed, ...] = ()
    columns: int | None = None
    taps: int = 1
    partial: DType = DType.FLOAT32
    picks: bool = False
    joint: bool = False
    form: tuple[object, ...] = ()

    def need(self, operand: int, box: Box, terms: Interval | None = None) -> Box | None:
        """What region ``box`` of the result needs of an operand, for some or all of the terms.

        What is fused behind a product is needed with the last of the terms only.
        """
        if terms is None:
            return self.needs[operand](box)
        if operand < len(self.parts):
            return self.parts[operand](box, terms)
        return self.needs[operand](box) if terms[1] == self.terms else None

    def reads(self, box: Box, terms: Interval | None = None) -> Iterator[tuple[Source, Box]]:
        """What region ``box`` of the result needs of each tensor."""
        operand, needed = -1, None
        for source in self.sources:
            if source.operand != operand:
                operand, needed = source.operand, self.need(source.operand, box, terms)
            region = needed
            for need in source.needs:
                region = None if region is None else need(region)
            if region is not None:
                yield source, region

    def regions(self, box: Box, terms: Interval | None = None) -> dict[str, Box]:
        """Per tensor, the smallest region around all that ``box`` needs of it."""
        found: dict[str, Box] = {}
        for source, region in self.reads(box, terms):
            known = found.get(source.tensor)
            found[source.tensor] = region if known is None else hull(known, region)
        return found


def partial_name(unit: Unit) -> str:
    """What tensors of results for some of the terms are called."""
    return "picked" if unit.picks else "sums"


class Network:
    """Units, and which of them make and read which tensor.

    Attributes:
        graph: the graph.
        track_weights: weights take scratchpad too.
        fixed: tensors that are never cut.
        units: the operators that are no views, in order.
        apart: some operator was taken apart, so that units and views are not the graph's operators.
    """

    def __init__(self, graph: Graph, track_weights: bool) -> None:
        self.graph = graph
        self.track_weights = track_weights
        self._views: dict[str, tuple[Operator, tuple[Need, ...]]] = {}
        self.apart = False
        self.fixed = _fixed(graph)
        units: list[Unit] = []
        for op in graph.operators:
            for part in self._parts(op):
                needs = self._view_needs(part)
                if needs is None:
                    units.append(self._unit(len(units), part))
                else:
                    self._views |= {
                        name: (part, each) for name, each in zip(part.outputs, needs, strict=True)
                    }
        self.units = tuple(units)

    @cached_property
    def views(self) -> tuple[Operator, ...]:
        """The operators that are views, in order."""
        return tuple({view.name: view for view, _ in self._views.values()}.values())

    @cached_property
    def producer(self) -> Mapping[str, int]:
        """Unit that makes a tensor."""
        return {name: unit.index for unit in self.units for name in unit.operator.outputs}

    @cached_property
    def readers(self) -> Mapping[str, tuple[int, ...]]:
        """Units that read a tensor, in order."""
        found: dict[str, dict[int, None]] = {}
        for unit in self.units:
            for source in unit.sources:
                found.setdefault(source.tensor, {})[unit.index] = None
        return {name: tuple(readers) for name, readers in found.items()}

    def streamed(self, name: str) -> bool:
        """Whether a tensor passes through the weight buffer instead of the scratchpad."""
        return not self.track_weights and self.graph.tensor[name].role is Role.WEIGHT

    def whole(self, unit: Unit) -> Box:
        """The region of all of a unit's first result."""
        return full(self.graph.tensor[unit.operator.outputs[0]].shape)

    def made(self, unit: Unit, position: int, box: Box) -> Box:
        """What of one of its results a tile makes that has region ``box`` of the first."""
        if position == 0 or unit.joint:
            return box
        return full(self.graph.tensor[unit.operator.outputs[position]].shape)

    def bytes_of(self, name: str, box: Box) -> int:
        """Bytes of a region of a tensor."""
        return bytes_of(self.graph.tensor[name], box)

    def view(self, name: str) -> Operator | None:
        """The view that ``name`` is the result of, if it is one."""
        found = self._views.get(name)
        return None if found is None else found[0]

    def _parts(self, op: Operator) -> tuple[Operator, ...]:
        """The operator; a Split that is no view as a whole, as one slice per result."""
        if self._view_needs(op) is not None or any(name in self.fixed for name in op.outputs):
            return (op,)
        found = slices(self.graph, op)
        self.apart = self.apart or bool(found)
        return found or (op,)

    def _view_needs(self, op: Operator) -> tuple[tuple[Need, ...], ...] | None:
        return None if self._touches_fixed(op) else view_needs(self.graph, op)

    def _touches_fixed(self, op: Operator) -> bool:
        return any(name in self.fixed for name in (*op.inputs, *op.outputs))

    def _unit(self, index: int, op: Operator) -> Unit:
        graph = self.graph
        found = None
        if not any(name in self.fixed for name in op.outputs):
            found = footprint(graph, op) or copied(graph, op)
        everything = tuple(whole(graph.tensor[name].shape) for name in op.inputs)
        sources: list[Source] = []
        nodes: dict[str, None] = {}
        for operand, name in enumerate(op.inputs):
            for tensor, needs in self._trace(name, nodes):
                sources.append(Source(operand, tensor, needs))
        views = tuple(nodes)
        nodes |= dict.fromkeys(op.nodes)
        splittable = frozenset[int]() if found is None else found.splittable
        return Unit(
            index=index,
            operator=op,
            splittable=splittable,
            needs=everything if found is None else found.needs,
            sources=tuple(sources),
            nodes=tuple(nodes),
            terms=1 if found is None else found.terms,
            parts=() if found is None else found.parts,
            columns=None if found is None else found.columns,
            taps=1 if found is None else found.taps,
            partial=self._partial(op, found),
            picks=found is not None and found.picks,
            joint=found is not None and found.joint,
            form=self._form(op, splittable, sources) if not views else (index,),
        )

    def _partial(self, op: Operator, found: Footprint | None) -> DType:
        """32 bits for sums; what is picked has the table's type where something is fused to it."""
        if found is None:
            return DType.FLOAT32
        made = self.graph.tensor[op.outputs[0]].dtype
        if found.picks:
            return made if is_plain(op) else self.graph.tensor[op.inputs[0]].dtype
        return DType.FLOAT32 if made.is_float else DType.INT32

    def partial_bytes(self, unit: Unit, box: Box) -> int:
        """Bytes of a unit's result for some of the terms."""
        return -(-prod(extents(box)) * unit.partial.bits // 8)

    def _form(
        self, op: Operator, splittable: frozenset[int], sources: Sequence[Source]
    ) -> tuple[object, ...]:
        """Whatever the footprint of an operator that reads through no view depends on."""
        tensors = [self.graph.tensor[name] for name in (*op.inputs, *op.outputs)]
        return (
            (op.kind, op.domain, op.attributes, op.prologue, op.epilogue, splittable),
            tuple((t.shape, t.dtype, t.role, t.name in self.fixed) for t in tensors),
            tuple(op.inputs.index(source.tensor) for source in sources),
        )

    def _trace(self, name: str, nodes: dict[str, None]) -> list[tuple[str, tuple[Need, ...]]]:
        """Tensors under ``name`` with the maps to them; notes the nodes of the views between."""
        if name not in self._views:
            return [(name, ())]
        view, needs = self._views[name]
        found = [
            (tensor, (need, *inner))
            for operand, need in zip(view.inputs, needs, strict=True)
            for tensor, inner in self._trace(operand, nodes)
        ]
        nodes |= dict.fromkeys(view.nodes)
        return found


def _fixed(graph: Graph) -> frozenset[str]:
    """Tensors that are never cut: parts of shared storages, states, what several write."""
    shared = {t.name for t in graph.tensors if t.alias} | {
        t.alias.base for t in graph.tensors if t.alias
    }
    shared |= {t.name for t in graph.tensors if _uncut(t)}
    written: set[str] = set()
    for op in graph.operators:
        shared |= written & set(op.outputs)
        written |= set(op.outputs)
    return frozenset(shared)


def _uncut(tensor: Tensor) -> bool:
    return tensor.role is Role.STATE or tensor.parent is not None or 0 in tensor.shape
