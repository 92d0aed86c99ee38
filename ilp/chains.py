"""Operators that may be run right before their only consumer without loss.

Operator ``a`` reads one storage ``x``, complete before it (and clean storages nobody else uses),
and defines one storage ``y`` that only ``b`` reads. Running ``a`` later, right before the sequence
that starts with ``m`` and contains ``b``, holds ``x`` where ``y`` was held. That costs nothing when

* nothing but ``b`` has to run after ``a``;
* ``x`` is no larger than ``y`` and no dearer to move, so it can be held, spilled and reloaded in
  place of ``y``;
* the step of ``a`` fits at its new place: ``m`` uses ``x`` anyway, or what ``m`` defines is at
  least as large as what ``a`` adds, and ``m`` cannot define it in place.

So some optimal plan runs ``a`` and the sequence back to back. Applied from the consumers up, this
fuses chains and whole branches of cells into *sequences*; an order is then one of sequences.
"""

from stowplan.ilp.inplace import in_place_pairs
from stowplan.passes.problem import PlanningProblem


def sequences(problem: PlanningProblem) -> tuple[tuple[int, ...], ...]:
    """Partition of the operators into sequences that are run back to back."""
    count = problem.operators
    users = problem.users()
    in_place = in_place_pairs(problem)
    writers: list[set[int]] = [set() for _ in users]
    for o in range(count):
        for v in problem.defines[o] + problem.updates[o]:
            writers[v].add(o)
    members: dict[int, tuple[int, ...]] = {o: (o,) for o in range(count)}
    head_of = list(range(count))
    for a in reversed(range(count)):
        if len(problem.successors[a]) != 1:
            continue
        head = head_of[problem.successors[a][0]]
        if _may_wait(problem, users, writers, a, head, bool(in_place[head])):
            members[a] = (a, *members.pop(head))
            for o in members[a]:
                head_of[o] = a
    return tuple(members[o] for o in sorted(members))


def _may_wait(
    problem: PlanningProblem,
    users: tuple[tuple[int, ...], ...],
    writers: list[set[int]],
    a: int,
    head: int,
    replaces: bool,
) -> bool:
    """Whether ``a`` may run right before ``head``; its only successor lies in that sequence."""
    own = [v for v in problem.needs[a] if problem.clean(v) and users[v] == (a,)]
    read = [v for v in problem.needs[a] if v not in own]
    if len(read) != 1 or len(problem.defines[a]) != 1 or problem.updates[a]:
        return False
    x, y = read[0], problem.defines[a][0]
    if writers[x] - set(problem.predecessors[a]):
        return False
    if users[y] != (a, problem.successors[a][0]) or problem.kept(y):
        return False
    size = problem.size
    if size[x] > size[y] or problem.storages[x].size_bytes > problem.storages[y].size_bytes:
        return False
    shared = x in problem.uses(head)
    if shared and not own:
        return True
    added = sum(size[v] for v in own) + (0 if shared else size[x])
    return not replaces and added <= sum(size[v] for v in problem.defines[head])
