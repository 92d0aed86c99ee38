"""Exhaustive search over orders and residencies by space alone: the oracle of the label search.

A state is (operators done, storages resident, storages DRAM holds). Moves are: store, drop or load
one storage, or run an operator, its results beside or in place of its inputs. Nothing is assumed
about when moving pays.
"""

from collections.abc import Iterator
from heapq import heappop, heappush

from stowplan.ilp.inplace import in_place_pairs
from stowplan.passes.problem import PlanningProblem

State = tuple[frozenset[int], frozenset[int], frozenset[int]]


def least_bytes(problem: PlanningProblem, max_states: int = 200_000) -> int | None:
    """Fewest bytes beyond the compulsory ones; None when there are too many states."""
    users = problem.users()
    clean = frozenset(v for v in range(len(users)) if problem.clean(v) and users[v])
    kept = {v for v in range(len(users)) if problem.kept(v) and users[v]}
    written = {v for o in range(problem.operators) for v in problem.defines[o] + problem.updates[o]}
    size = [storage.size_bytes for storage in problem.storages]
    compulsory = sum(size[v] for v in clean) + sum(size[v] for v in kept & written)
    start: State = (frozenset(), frozenset(), clean)
    best, queue, count = {start: 0}, [(0, 0, start)], 0
    while queue:
        cost, _, state = heappop(queue)
        if best[state] < cost:
            continue
        if len(state[0]) == problem.operators and kept <= state[2]:
            return cost - compulsory
        if len(best) > max_states:
            return None
        for paid, after in _moves(problem, users, size, state):
            after = _buried(problem, users, after)
            if cost + paid < best.get(after, 1 << 60):
                best[after] = cost + paid
                count += 1
                heappush(queue, (cost + paid, count, after))
    return None


def _buried(problem: PlanningProblem, users: tuple[tuple[int, ...], ...], state: State) -> State:
    """Without storages nobody needs any more."""
    done, resident, copied = state
    dead = {v for v in resident | copied if all(o in done for o in users[v])}
    gone = {v for v in dead if v in copied or not problem.kept(v)}
    return done, resident - gone, copied - {v for v in gone if not problem.kept(v)}


def _moves(
    problem: PlanningProblem,
    users: tuple[tuple[int, ...], ...],
    size: list[int],
    state: State,
) -> Iterator[tuple[int, State]]:
    done, resident, copied = state
    space = problem.memory.aligned(problem.memory.capacity_bytes)
    room = space - sum(problem.size[v] for v in resident)
    for v in resident:
        if v not in copied:
            yield size[v], (done, resident, copied | {v})
        yield 0, (done, resident - {v}, copied)
    for v in copied - resident:
        if problem.size[v] <= room and any(o not in done for o in users[v]):
            yield size[v], (done, resident | {v}, copied)
    for o in range(problem.operators):
        if o in done or set(problem.predecessors[o]) - done:
            continue
        if set(problem.needs[o]) - resident:
            continue
        written = {*problem.defines[o], *problem.updates[o]}
        for saved, replaced in _in_place(problem, o):
            defined = sum(problem.size[v] for v in problem.defines[o])
            if defined - saved <= room:
                after = resident - replaced | set(problem.defines[o])
                yield 0, (done | {o}, after, copied - written)


def _in_place(problem: PlanningProblem, operator: int) -> Iterator[tuple[int, frozenset[int]]]:
    """Bytes saved and inputs lost, for every way to let outputs take the place of inputs."""
    pairs = in_place_pairs(problem)[operator]
    for mask in range(1 << len(pairs)):
        chosen = [pair for i, pair in enumerate(pairs) if mask >> i & 1]
        outputs, sources = {a for a, _ in chosen}, {b for _, b in chosen}
        if len(outputs) == len(sources) == len(chosen):
            yield sum(problem.size[v] for v in outputs), frozenset(sources)
