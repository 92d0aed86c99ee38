"""Operator orders: cheap candidates for planners that fix the order first."""

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from stowplan.passes.problem import PlanningProblem


def candidate_orders(problem: PlanningProblem) -> tuple[tuple[int, ...], ...]:
    """Distinct legal orders: graph order, depth-first, and two memory-aware list schedules."""
    orders = (
        tuple(range(problem.operators)),
        depth_first_order(problem),
        list_schedule(problem, recent_first=True),
        list_schedule(problem, recent_first=False),
    )
    return tuple(dict.fromkeys(orders))


def depth_first_order(problem: PlanningProblem) -> tuple[int, ...]:
    """Post-order from the sinks; of several predecessors the heavier branch comes first.

    The weight of a branch is the largest demand on the way to it, as in register allocation for
    expression trees.
    Source: Sethi and Ullman, "The generation of optimal code for arithmetic expressions", 1970.
    """
    weight: list[int] = []
    for operator in range(problem.operators):
        before = max((weight[p] for p in problem.predecessors[operator]), default=0)
        weight.append(max(before, problem.demand(operator)))
    done = bytearray(problem.operators)
    order: list[int] = []
    for sink in (o for o in range(problem.operators) if not problem.successors[o]):
        stack = [(sink, False)]
        while stack:
            operator, expanded = stack.pop()
            if done[operator]:
                continue
            if expanded:
                done[operator] = 1
                order.append(operator)
                continue
            stack.append((operator, True))
            # The stack reverses: the heaviest predecessor, pushed last, runs first.
            stack.extend(
                (p, False)
                for p in sorted(problem.predecessors[operator], key=lambda p: (weight[p], -p))
                if not done[p]
            )
    return tuple(order)


def list_schedule(problem: PlanningProblem, recent_first: bool) -> tuple[int, ...]:
    """Of the ready operators, run the one after which the fewest bytes are live.

    Args:
        problem: the indexed problem.
        recent_first: break ties towards the operator that became ready last (depth-first in
            spirit) rather than towards graph order.

    Runs in O(E log n): the growth of an operator changes only when one of its storages is left
    with a single user, and then only for that user; its new key is pushed, the old entry expires.
    """
    users = problem.users()
    left = [set(operators) for operators in users]
    # Clean storages are left out of what is born: charging a shared weight to its first reader
    # would postpone that reader for bytes the others need anyway.
    growth = [sum(problem.size[v] for v in d if len(left[v]) > 1) for d in problem.defines]
    waiting = [len(before) for before in problem.predecessors]
    arrival = [0] * problem.operators

    def key(operator: int) -> tuple[int, int, int]:
        return growth[operator], -arrival[operator] if recent_first else 0, operator

    ready = [key(o) for o in range(problem.operators) if not waiting[o]]
    heapify(ready)
    done = bytearray(problem.operators)
    order: list[int] = []
    while ready:
        entry = heappop(ready)
        operator = entry[2]
        if done[operator] or entry != key(operator):
            continue
        done[operator] = 1
        order.append(operator)
        for storage in problem.uses(operator):
            left[storage].discard(operator)
            if len(left[storage]) == 1:
                (last,) = left[storage]
                growth[last] -= problem.size[storage]
                if not waiting[last]:
                    heappush(ready, key(last))
        for after in problem.successors[operator]:
            waiting[after] -= 1
            if not waiting[after]:
                arrival[after] = len(order)
                heappush(ready, key(after))
    return tuple(order)


def live_bytes(problem: PlanningProblem, order: Sequence[int]) -> list[int]:
    """Bytes live at each step when nothing is evicted, from first to last use."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for step, operator in enumerate(order):
        for storage in problem.uses(operator):
            first.setdefault(storage, step)
            last[storage] = step
    change = [0] * (len(order) + 1)
    for storage, step in first.items():
        change[step] += problem.size[storage]
        change[last[storage] + 1] -= problem.size[storage]
    live, total = [], 0
    for delta in change[:-1]:
        total += delta
        live.append(total)
    return live
