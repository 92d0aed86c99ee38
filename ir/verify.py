"""Verifier: small named checks that every graph passes before and after each pass.

Checks run in stages, because later ones rely on what earlier ones establish: names and operands,
then views, then the flow of bytes. Only the first stage that finds something reports.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from stowplan.errors import ModelError
from stowplan.ir.graph import Graph, Interval, Operator, Role, Tensor
from stowplan.ir.verify_bytes import Coverage, StorageMap, storage_map

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Violation:
    """One fault of a graph.

    Attributes:
        check: name of the check that found it.
        message: what is wrong and where.
    """

    check: str
    message: str


def violations(graph: Graph) -> tuple[Violation, ...]:
    """Every fault that the first failing stage finds; empty for a valid graph."""
    for stage in (_STRUCTURE, _VIEWS):
        found = tuple(Violation(name, text) for name, check in stage for text in check(graph))
        if found:
            return found
    places = storage_map(graph)
    return tuple(
        Violation(name, text) for name, byte_check in _BYTES for text in byte_check(graph, places)
    )


def verify(graph: Graph) -> None:
    """Raise ModelError that lists the faults of ``graph``, if any."""
    found = violations(graph)
    if not found:
        return
    shown = [f"  {fault.check}: {fault.message}" for fault in found[:_SHOWN]]
    if len(found) > _SHOWN:
        shown.append(f"  and {len(found) - _SHOWN} more")
    raise ModelError("\n".join([f"graph {graph.name!r} is not valid:", *shown]))


def describe(op: Operator) -> str:
    """An operator with its neighbourhood, for messages."""
    return f"{op.name!r} ({op.kind}: {', '.join(op.inputs)} -> {', '.join(op.outputs)})"


def unique_names(graph: Graph) -> Iterator[str]:
    """Tensor names are unique, and so are operator names."""
    for what, names in (
        ("tensor", [tensor.name for tensor in graph.tensors]),
        ("operator", [op.name for op in graph.operators]),
    ):
        seen: set[str] = set()
        for name in names:
            if name in seen:
                yield f"two {what}s are named {name!r}"
            seen.add(name)


def operands_exist(graph: Graph) -> Iterator[str]:
    """Operands are tensors of the graph; no operator names an output twice."""
    for op in graph.operators:
        for name in (*op.inputs, *op.outputs):
            if name not in graph.tensor:
                yield f"operator {describe(op)}: there is no tensor {name!r}"
        if len(set(op.outputs)) != len(op.outputs):
            yield f"operator {describe(op)} names an output twice"


def sizes_sane(graph: Graph) -> Iterator[str]:
    """Extents and workspaces are not negative."""
    for tensor in graph.tensors:
        if any(extent < 0 for extent in tensor.shape):
            yield f"tensor {tensor.name!r} has a negative extent: {tensor.shape}"
    for op in graph.operators:
        if op.workspace_bytes < 0:
            yield f"operator {describe(op)} has a workspace of {op.workspace_bytes} bytes"


def regions_sane(graph: Graph) -> Iterator[str]:
    """Regions are intervals; a tile tensor's region has the tensor's shape."""
    items: tuple[Tensor | Operator, ...] = (*graph.tensors, *graph.operators)
    for item in items:
        what = "tensor" if isinstance(item, Tensor) else "operator"
        if item.region is None:
            continue
        if any(not 0 <= lower <= upper for lower, upper in item.region):
            yield f"{what} {item.name!r}: region {item.region} is no list of intervals"
        elif isinstance(item, Tensor) and _extents(item.region) != item.shape:
            yield f"tensor {item.name!r}: region {item.region} does not have shape {item.shape}"


def attributes_sorted(graph: Graph) -> Iterator[str]:
    """Attributes are sorted by name, each name once."""
    for op in graph.operators:
        names = [name for name, _ in op.attributes]
        if names != sorted(set(names)):
            yield f"operator {describe(op)}: attributes {names} are not sorted and unique"


def in_place_pairs(graph: Graph) -> Iterator[str]:
    """In-place pairs name operands of equal size and never replace a weight."""
    for op in graph.operators:
        for output, source in op.in_place:
            if not (0 <= output < len(op.outputs) and 0 <= source < len(op.inputs)):
                yield f"operator {describe(op)}: in-place pair {(output, source)} out of range"
                continue
            new, old = graph.tensor[op.outputs[output]], graph.tensor[op.inputs[source]]
            if new.size_bytes != old.size_bytes:
                yield (
                    f"operator {describe(op)}: {new.name!r} ({new.size_bytes} B) cannot replace "
                    f"{old.name!r} ({old.size_bytes} B) in place"
                )
            if old.role is Role.WEIGHT:
                yield f"operator {describe(op)} would replace the weight {old.name!r} in place"


def views_in_range(graph: Graph) -> Iterator[str]:
    """A view lies within its base, which exists."""
    for tensor in graph.tensors:
        if tensor.alias is None:
            continue
        base = graph.tensor.get(tensor.alias.base)
        if base is None:
            yield f"tensor {tensor.name!r} is a view of {tensor.alias.base!r}, which is not there"
            continue
        lower = tensor.alias.offset_bytes
        upper = lower + tensor.size_bytes
        if lower < 0 or upper > base.size_bytes:
            yield (
                f"tensor {tensor.name!r} is bytes [{lower}, {upper}) of {base.name!r}, "
                f"which has {base.size_bytes}"
            )


def views_acyclic(graph: Graph) -> Iterator[str]:
    """Following views ends at a storage."""
    ends: set[str] = set()
    for tensor in graph.tensors:
        path: dict[str, None] = {}
        current: Tensor | None = tensor
        while current is not None and current.name not in ends:
            if current.name in path:
                yield f"the views {', '.join(path)} are circular"
                break
            path[current.name] = None
            current = graph.tensor.get(current.alias.base) if current.alias else None
        ends.update(path)


def reads_follow_writes(graph: Graph, places: StorageMap) -> Iterator[str]:
    """In graph order, every byte read was there from the start or has been written."""
    coverage = Coverage(graph, places)
    for op in graph.operators:
        for name in dict.fromkeys(op.inputs):
            missing = coverage.missing(name)
            if missing is not None:
                yield (
                    f"operator {describe(op)} reads {name!r} before anything has written bytes "
                    f"[{missing[0]}, {missing[1]}) of storage {places[name][0]!r}"
                )
        for name in op.outputs:
            coverage.write(name)
    for tensor in graph.by_role(Role.OUTPUT):
        if coverage.missing(tensor.name) is not None:
            yield f"nothing writes all of output {tensor.name!r}"


def read_only_storages(graph: Graph, places: StorageMap) -> Iterator[str]:
    """No operator writes into the storage of an input or a weight."""
    fixed = {
        places[tensor.name][0]: tensor
        for tensor in graph.tensors
        if tensor.role in (Role.INPUT, Role.WEIGHT)
    }
    for op in graph.operators:
        for name in op.outputs:
            kept = fixed.get(places[name][0])
            if kept is not None and graph.tensor[name].size_bytes:
                yield f"operator {describe(op)} writes {name!r} into {kept.role} {kept.name!r}"


def outputs_disjoint(graph: Graph, places: StorageMap) -> Iterator[str]:
    """Two outputs of one operator share no byte."""
    for op in graph.operators:
        if len(op.outputs) < 2:
            continue
        ranges = sorted(
            (root, offset, offset + graph.tensor[name].size_bytes, name)
            for name in op.outputs
            for root, offset in [places[name]]
            if graph.tensor[name].size_bytes
        )
        for (left, _, upper, first), (right, lower, _, second) in pairwise(ranges):
            if left == right and lower < upper:
                yield f"operator {describe(op)}: outputs {first!r} and {second!r} overlap"


def _extents(region: tuple[Interval, ...]) -> tuple[int, ...]:
    return tuple(upper - lower for lower, upper in region)


Check = Callable[[Graph], Iterator[str]]
_STRUCTURE: tuple[tuple[str, Check], ...] = (
    ("unique-names", unique_names),
    ("operands-exist", operands_exist),
    ("sizes-sane", sizes_sane),
    ("regions-sane", regions_sane),
    ("attributes-sorted", attributes_sorted),
)
_VIEWS: tuple[tuple[str, Check], ...] = (
    ("views-in-range", views_in_range),
    ("views-acyclic", views_acyclic),
    ("in-place-pairs", in_place_pairs),
)
_BYTES: tuple[tuple[str, Callable[[Graph, StorageMap], Iterator[str]]], ...] = (
    ("reads-follow-writes", reads_follow_writes),
    ("read-only-storages", read_only_storages),
    ("outputs-disjoint", outputs_disjoint),
)
