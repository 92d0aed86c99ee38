"""The planning problem: storages, accesses and memory in the indexed form planners work on.

Sets and parameters, as the planners' docstrings cite them:

* operators ``o = 0..n-1`` in graph order, with ``predecessors[o]``;
* storages ``v = 0..m-1`` with ``size[v]``, already rounded up to the alignment;
* ``needs[o]``: storages whose content must be valid in the scratchpad when ``o`` starts;
* ``defines[o]``: storages that come into being at ``o``; ``updates[o]``: storages ``o`` changes
  that existed before; ``uses[o] = needs[o] | defines[o]``: storages that must be resident while
  ``o`` runs;
* ``clean[v]``: DRAM holds the content from the start; ``kept[v]``: DRAM must hold it at the end.
"""

from dataclasses import dataclass

from stowplan.errors import InfeasiblePlanError, Misfit
from stowplan.ir.graph import Graph
from stowplan.ir.memory import MemorySpec
from stowplan.ir.storage import Storage, storage_model


@dataclass(frozen=True, slots=True)
class PlanningProblem:
    """A graph and a memory in indexed form; see the module docstring for the fields."""

    graph: Graph
    memory: MemorySpec
    storages: tuple[Storage, ...]
    size: tuple[int, ...]
    needs: tuple[tuple[int, ...], ...]
    defines: tuple[tuple[int, ...], ...]
    updates: tuple[tuple[int, ...], ...]
    predecessors: tuple[tuple[int, ...], ...]
    successors: tuple[tuple[int, ...], ...]
    in_place: tuple[tuple[tuple[int, int], ...], ...]

    @property
    def operators(self) -> int:
        """Number of operators."""
        return len(self.needs)

    def uses(self, operator: int) -> tuple[int, ...]:
        """Storages that must be resident while ``operator`` runs."""
        return self.needs[operator] + self.defines[operator]

    def clean(self, storage: int) -> bool:
        """DRAM holds the content from the start."""
        return self.storages[storage].starts_in_dram

    def kept(self, storage: int) -> bool:
        """DRAM must hold the content at the end."""
        return self.storages[storage].ends_in_dram

    def users(self) -> tuple[tuple[int, ...], ...]:
        """Per storage, the operators that use it, in graph order."""
        found: list[list[int]] = [[] for _ in self.storages]
        for operator in range(self.operators):
            for storage in self.uses(operator):
                found[storage].append(operator)
        return tuple(map(tuple, found))

    def demand(self, operator: int) -> int:
        """Bytes ``operator`` needs resident at once, in-place reuse not counted."""
        return sum(self.size[storage] for storage in self.uses(operator))

    def check_fits(self) -> None:
        """Raise InfeasiblePlanError unless each operator alone fits the scratchpad.

        A target with direct DRAM access fits everything.
        """
        if self.memory.direct_dram or not self.operators:
            return
        worst = max(range(self.operators), key=self.demand)
        if self.demand(worst) > self.memory.capacity_bytes:
            raise InfeasiblePlanError(self.misfit(worst))

    def misfit(self, operator: int) -> Misfit:
        """Report of why ``operator`` does not fit."""
        operands = sorted(
            ((self.storages[v].name, self.storages[v].size_bytes) for v in self.uses(operator)),
            key=lambda item: -item[1],
        )
        return Misfit(
            operator=self.graph.operators[operator].name,
            needed_bytes=self.demand(operator),
            capacity_bytes=self.memory.capacity_bytes,
            operands=tuple(operands),
            smallest_capacity_bytes=max(map(self.demand, range(self.operators))),
            tile_of=self.graph.operators[operator].parent or "",
        )


def planning_problem(graph: Graph, memory: MemorySpec) -> PlanningProblem:
    """Index ``graph`` for planning under ``memory``; streamed weights are left out."""
    model = storage_model(graph)
    planned = [
        i
        for i, storage in enumerate(model.storages)
        if storage.size_bytes and not (storage.weight and memory.stream_weights)
    ]
    index = {old: new for new, old in enumerate(planned)}
    storages = tuple(model.storages[i] for i in planned)
    needs, defines, updates = [], [], []
    for accesses in model.accesses:
        touched = [(index[a.storage], a) for a in accesses if a.storage in index]
        needs.append(tuple(v for v, access in touched if not access.defines))
        defines.append(tuple(v for v, access in touched if access.defines))
        updates.append(tuple(v for v, a in touched if a.writes and not a.defines))
    successors: list[list[int]] = [[] for _ in model.predecessors]
    for operator, before in enumerate(model.predecessors):
        for earlier in before:
            successors[earlier].append(operator)
    by_name = {storage.name: v for v, storage in enumerate(storages)}
    return PlanningProblem(
        graph=graph,
        memory=memory,
        storages=storages,
        size=tuple(memory.aligned(storage.size_bytes) for storage in storages),
        needs=tuple(needs),
        defines=tuple(defines),
        updates=tuple(updates),
        predecessors=model.predecessors,
        successors=tuple(map(tuple, successors)),
        in_place=_in_place(graph, by_name),
    )


def _in_place(graph: Graph, by_name: dict[str, int]) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Per operator, (output storage, input storage) pairs that may share addresses.

    Only whole storages qualify: both operands start their storage and fill it. Every operand by
    which the operator reads the input's storage must be one that the output may replace.
    """
    pairs = []
    for op in graph.operators:
        found = []
        bases = [graph.resolve(name)[0] for name in op.inputs]
        for output, source in op.in_place:
            out_name, in_name = op.outputs[output], op.inputs[source]
            whole = graph.tensor[out_name].alias is None and graph.tensor[in_name].alias is None
            readers = {i for i, base in enumerate(bases) if base == in_name}
            whole = whole and readers <= {i for out, i in op.in_place if out == output}
            if whole and out_name in by_name and in_name in by_name:
                found.append((by_name[out_name], by_name[in_name]))
        pairs.append(tuple(found))
    return tuple(pairs)
