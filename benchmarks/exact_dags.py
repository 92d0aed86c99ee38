"""Planner ``exact`` against exhaustive planning of small random DAGs.

    python -m benchmarks.exact_dags [--count 500] [--first 0] [--time-limit S]

Each DAG is planned with order, residencies and addresses, its scratchpad no larger than its largest
operator needs or a byte more, and compared with the cheapest path through every machine state
(``tests.ilp.brute_force``). DAGs with too many states are left out and replaced by the next seed.
Ends with an error at the first difference.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from tests.ilp.brute_force import least_noncompulsory_bytes
from tests.ilp.instances import Features, random_graph, small_target

from stowplan.ilp.exact import plan_exact
from stowplan.ir.check_plan import require_valid
from stowplan.ir.traffic import traffic
from stowplan.passes.planner import PlanOptions
from stowplan.passes.problem import planning_problem

MAX_STATES = 30_000


def compared(seed: int, time_limit_s: float) -> int | None:
    """The least bytes of one DAG, None when it has too many states.

    Raises:
        SystemExit: the planner's value or bound differs.
    """
    rng = random.Random(seed)
    track = bool(seed % 2)
    graph = random_graph(seed, Features(operators=rng.randint(3, 6), sizes=(1, 2, 3)))
    problem = planning_problem(graph, small_target(1 << 20).memory_spec(track))
    demand = max(map(problem.demand, range(problem.operators)))
    target = small_target(demand + rng.choice((0, 0, 0, 1)))
    memory = target.memory_spec(track)
    try:
        least = least_noncompulsory_bytes(graph, memory, MAX_STATES)
    except MemoryError:
        return None
    options = PlanOptions(track_weights=track, time_limit_s=time_limit_s, workers=1)
    plan = plan_exact(graph, target, options)
    require_valid(graph, plan, memory)
    still = replace(plan, residencies=(), transfers=(), direct=())
    again = traffic(graph, still, memory).noncompulsory_bytes
    proof = plan.proof
    if least is None or not proof.value == proof.lower_bound == least + again:
        raise SystemExit(
            f"seed {seed}: exact says {proof.value} (bound {proof.lower_bound}), "
            f"exhaustive planning {least} and {again} for weights streamed again"
        )
    return least


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare as many DAGs as asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=500, help="DAGs to compare")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds per plan")
    given = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    equal, costly, skipped = 0, 0, 0
    for seed in count(given.first):
        if equal == given.count:
            break
        least = compared(seed, given.time_limit)
        if least is None:
            skipped += 1
            continue
        equal += 1
        costly += least > 0
    print(f"{equal} DAGs equal, {costly} with avoidable traffic, {skipped} too large")


if __name__ == "__main__":
    main()
