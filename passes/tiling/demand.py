"""What each operator of a tiled graph needs on chip at once."""

from stowplan.ir.graph import Graph, Role
from stowplan.ir.memory import MemorySpec


def demands(graph: Graph, memory: MemorySpec) -> list[int]:
    """Bytes each operator needs resident at once, in graph order, in-place reuse not counted.

    The same as ``PlanningProblem.demand``, without indexing the graph for planning: tilings that do
    not fit yet are measured over and over.
    """
    bases = {tensor.name: graph.resolve(tensor.name)[0] for tensor in graph.tensors}
    streamed: set[str] = set()
    if memory.stream_weights:
        streamed = {bases[t.name] for t in graph.tensors if t.role is Role.WEIGHT}
    size = {
        name: 0 if name in streamed else memory.aligned(graph.tensor[name].size_bytes)
        for name in set(bases.values())
    }
    found = []
    for op in graph.operators:
        touched = {bases[name] for name in (*op.inputs, *op.outputs)}
        workspace = memory.aligned(op.workspace_bytes) if op.workspace_bytes else 0
        found.append(sum(size[name] for name in touched) + workspace)
    return found
