"""Results that may lie where an operand lay: in-place pairs that placement joins."""

from stowplan.passes.problem import PlanningProblem

Takeovers = tuple[tuple[tuple[int, int], ...], ...]
"""Per operator, (output, input) storages of equal size that may share an address."""


def takeovers(problem: PlanningProblem) -> Takeovers:
    """In-place pairs worth joining, each storage in one pair of an operator at most.

    The input must not be needed in DRAM at the end: its STORE could not complete in time.
    """
    found = []
    for operator, pairs in enumerate(problem.in_place):
        chosen: list[tuple[int, int]] = []
        taken: set[int] = set()
        for output, source in pairs:
            if not taken & {output, source} and _same_place(problem, operator, output, source):
                chosen.append((output, source))
                taken |= {output, source}
        found.append(tuple(chosen))
    return tuple(found)


def _same_place(problem: PlanningProblem, operator: int, output: int, source: int) -> bool:
    """Whether ``output`` is defined here, ``source`` only read, and both take the same space."""
    return (
        output in problem.defines[operator]
        and source not in problem.updates[operator]
        and problem.size[output] == problem.size[source]
        and problem.storages[output].size_bytes <= problem.storages[source].size_bytes
        and not problem.kept(source)
    )
