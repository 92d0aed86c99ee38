"""Outputs that may replace an input byte for byte, as plans allow it.

An output's residency may begin in the last step of an input's residency at the same address when
the operator defines the output, the output is no larger, and every operand through which the
operator reads the input is one the output may replace.
"""

from stowplan.passes.problem import PlanningProblem

Pairs = tuple[tuple[tuple[int, int], ...], ...]
"""Per operator, (output storage, source storage) pairs."""


def in_place_pairs(problem: PlanningProblem) -> Pairs:
    """Every pair that a plan may use, per operator."""
    graph = problem.graph
    index = {storage.name: v for v, storage in enumerate(problem.storages)}
    found = []
    for o, op in enumerate(graph.operators):
        inputs = [graph.resolve(name) for name in op.inputs] if op.in_place else []
        outputs = [graph.resolve(name) for name in op.outputs] if op.in_place else []
        replaceable: dict[tuple[str, str], set[int]] = {}
        for output, source in op.in_place:
            (new, new_offset), (old, old_offset) = outputs[output], inputs[source]
            if new_offset == old_offset:
                replaceable.setdefault((new, old), set()).add(source)
        pairs = []
        for (new, old), sources in sorted(replaceable.items()):
            readers = {i for i, (storage, _) in enumerate(inputs) if storage == old}
            if new in index and old in index and readers <= sources:
                pairs.append((index[new], index[old]))
        found.append(tuple(pair for pair in pairs if _fits(problem, o, *pair)))
    return tuple(found)


def _fits(problem: PlanningProblem, operator: int, output: int, source: int) -> bool:
    """The operator defines the output, only reads the source, and the output is no larger."""
    return (
        output in problem.defines[operator]
        and source in problem.needs[operator]
        and source not in problem.updates[operator]
        and problem.storages[output].size_bytes <= problem.storages[source].size_bytes
    )
