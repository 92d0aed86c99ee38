"""Storages of a graph, which operators touch them, and the precedence that follows.

Every operand of every operator is a byte range of one storage. Two operators are ordered when a
range one of them writes meets a range the other reads or writes; the direction is that of graph
order. The first writer of a storage also precedes every other operator that touches it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from stowplan.ir.derived import once_per_graph
from stowplan.ir.graph import Graph, Role


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes that live and move as one.

    Attributes:
        name: the storage tensor's name, or ``<operator>:workspace``.
        size_bytes: its size.
        weight: whether it holds weights.
        starts_in_dram: DRAM holds its content before the first step (inputs, weights, states).
        ends_in_dram: DRAM must hold its final content after the last step (outputs).
    """

    name: str
    size_bytes: int
    weight: bool
    starts_in_dram: bool
    ends_in_dram: bool


@dataclass(frozen=True, slots=True)
class Access:
    """One operator touching one storage.

    Attributes:
        storage: index into :attr:`StorageModel.storages`.
        reads: half-open byte ranges of the storage it reads.
        writes: half-open byte ranges it writes.
        defines: it is the storage's first writer and the storage has no content before it, so no
            resident copy is needed beforehand.
    """

    storage: int
    reads: tuple[tuple[int, int], ...]
    writes: tuple[tuple[int, int], ...]
    defines: bool


@dataclass(frozen=True, slots=True)
class StorageModel:
    """Storages and accesses of a graph.

    Attributes:
        storages: every storage some operator touches, in graph order, then workspaces.
        accesses: per operator in graph order, its accesses, one per storage.
        predecessors: per operator, the sorted indices of operators that must run before it.
    """

    storages: tuple[Storage, ...]
    accesses: tuple[tuple[Access, ...], ...]
    predecessors: tuple[tuple[int, ...], ...]


def workspace_name(operator: str) -> str:
    """Name under which a plan places the workspace of ``operator``."""
    return f"{operator}:workspace"


@once_per_graph
def storage_model(graph: Graph) -> StorageModel:
    """Resolve views and derive accesses and precedence.

    Runs in time proportional to the operands plus, per storage, writers times accesses.
    """
    places = {tensor.name: graph.resolve(tensor.name) for tensor in graph.tensors}
    storages, index = _storages(graph, places)
    size_bytes = graph.size_bytes
    accesses: list[tuple[Access, ...]] = []
    defined = {i for i, storage in enumerate(storages) if storage.starts_in_dram}
    for op in graph.operators:
        reads: dict[int, list[tuple[int, int]]] = {}
        writes: dict[int, list[tuple[int, int]]] = {}
        for names, ranges in ((op.inputs, reads), (op.outputs, writes)):
            for name in dict.fromkeys(names):
                base, offset = places[name]
                extent = (offset, offset + size_bytes[name])
                ranges.setdefault(index[base], []).append(extent)
        if op.workspace_bytes:
            writes[index[workspace_name(op.name)]] = [(0, op.workspace_bytes)]
        touched = sorted(reads.keys() | writes.keys())
        accesses.append(
            tuple(
                Access(
                    i,
                    tuple(reads.get(i, ())),
                    tuple(writes.get(i, ())),
                    i in writes and i not in defined and i not in reads,
                )
                for i in touched
            )
        )
        # Not `|=`: with a view of keys that makes a new set every time.
        defined.update(writes)
    return StorageModel(storages, tuple(accesses), _predecessors(len(storages), accesses))


def _storages(
    graph: Graph, places: Mapping[str, tuple[str, int]]
) -> tuple[tuple[Storage, ...], dict[str, int]]:
    touched = {places[name][0] for op in graph.operators for name in (*op.inputs, *op.outputs)}
    roles: dict[str, set[Role]] = {}
    for tensor in graph.tensors:
        roles.setdefault(places[tensor.name][0], set()).add(tensor.role)
    storages = [
        Storage(
            tensor.name,
            tensor.size_bytes,
            weight=Role.WEIGHT in roles[tensor.name],
            starts_in_dram=bool(roles[tensor.name] & {Role.INPUT, Role.WEIGHT, Role.STATE}),
            ends_in_dram=Role.OUTPUT in roles[tensor.name],
        )
        for tensor in graph.tensors
        if tensor.name in touched
    ]
    storages += [
        Storage(workspace_name(op.name), op.workspace_bytes, False, False, False)
        for op in graph.operators
        if op.workspace_bytes
    ]
    return tuple(storages), {storage.name: i for i, storage in enumerate(storages)}


def _predecessors(
    storage_count: int, accesses: list[tuple[Access, ...]]
) -> tuple[tuple[int, ...], ...]:
    by_storage: list[list[tuple[int, Access]]] = [[] for _ in range(storage_count)]
    for op, touched in enumerate(accesses):
        for access in touched:
            by_storage[access.storage].append((op, access))
    before: list[set[int]] = [set() for _ in accesses]
    for users in by_storage:
        if not any(access.writes for _, access in users):
            continue
        first_writer: int | None = None
        writers: list[tuple[int, Access]] = []
        readers: list[tuple[int, Access]] = []
        for op, access in users:
            if first_writer is not None:
                before[op].add(first_writer)
            before[op].update(w for w, other in writers if _meet(other.writes, access.reads))
            if access.writes:
                before[op].update(w for w, other in writers if _meet(other.writes, access.writes))
                before[op].update(r for r, other in readers if _meet(other.reads, access.writes))
                first_writer = op if first_writer is None else first_writer
                writers.append((op, access))
            if access.reads:
                readers.append((op, access))
    return tuple(tuple(sorted(ops - {i})) for i, ops in enumerate(before))


def _meet(left: tuple[tuple[int, int], ...], right: tuple[tuple[int, int], ...]) -> bool:
    return any(a < d and c < b for a, b in left for c, d in right)
