"""Time planner greedy on synthetic networks of up to ``--operators`` operators.

Run from the repository root: ``python -m benchmarks.greedy [--operators 5000]``. Each network is
planned at several scratchpad sizes, from the largest operator to the peak of the graph's order;
every plan is checked. CPU seconds are of the planning call alone.
"""

import argparse
import random
from time import perf_counter, process_time

from stowplan.ir.check_plan import require_valid
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.ir.traffic import peak_bytes
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.order import live_bytes
from stowplan.passes.planner import PlanOptions
from stowplan.passes.problem import planning_problem
from stowplan.targets.load import load_target
from stowplan.targets.target import Target


def network(operators: int, branching: float, seed: int) -> Graph:
    """Chains of convolutions with weights, joined by additions over random distances.

    Args:
        operators: number of operators.
        branching: probability that an operator also reads an earlier result.
        seed: of the random choices.
    """
    rng = random.Random(seed)
    tensors = [Tensor("x", (1, 64, 56, 56), DType.INT8, Role.INPUT)]
    nodes = []
    for i in range(operators):
        channels, extent = rng.choice((32, 64, 128, 256)), rng.choice((7, 14, 28, 56))
        role = Role.OUTPUT if i == operators - 1 else Role.ACTIVATION
        inputs = ["x" if i == 0 else f"t{i - 1}"]
        if rng.random() < branching and i > 2:
            inputs.append(f"t{max(0, i - 2 - int(rng.expovariate(0.1)))}")
        weight = Tensor(f"w{i}", (channels, 64), DType.INT8, Role.WEIGHT)
        tensors += [weight, Tensor(f"t{i}", (1, channels, extent, extent), DType.INT8, role)]
        nodes.append(Operator(f"o{i}", "Add", (*dict.fromkeys(inputs), weight.name), (f"t{i}",)))
    return Graph(f"synthetic-{operators}-{branching}", tuple(tensors), tuple(nodes))


def sized(target: Target, size_bytes: int) -> Target:
    """``target`` with another scratchpad size."""
    return load_target(target.name, overrides=(f"scratchpad.size={size_bytes}B",))


def main() -> None:
    """Print one line per network, setting and scratchpad size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operators", type=int, default=5000)
    parser.add_argument("--target", default="edge-npu")
    arguments = parser.parse_args()
    target = load_target(arguments.target)
    print("operators branching weights  scratchpad  noncompulsory        peak   cpu_s  wall_s")
    for operators in sorted({max(1, arguments.operators // 10), arguments.operators}):
        for branching in (0.1, 0.5):
            graph = network(operators, branching, seed=1)
            for track in (False, True):
                _compare(graph, target, branching, track)


def _compare(graph: Graph, target: Target, branching: float, track_weights: bool) -> None:
    problem = planning_problem(graph, target.memory_spec(track_weights))
    least = max(map(problem.demand, range(problem.operators)))
    most = max(live_bytes(problem, range(problem.operators)))
    for size in sorted({least, (least + most) // 2, most}):
        machine = sized(target, size)
        wall, cpu = perf_counter(), process_time()
        plan = plan_greedy(graph, machine, PlanOptions(track_weights=track_weights))
        wall, cpu = perf_counter() - wall, process_time() - cpu
        require_valid(graph, plan, machine.memory_spec(track_weights))
        print(
            f"{problem.operators:9} {branching:9} {'tracked' if track_weights else 'streamed':8}"
            f"{size:11,} {plan.proof.value:14,} {peak_bytes(graph, plan):11,}"
            f" {cpu:7.2f} {wall:7.2f}"
        )


if __name__ == "__main__":
    main()
