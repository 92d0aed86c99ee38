"""What each planner finds on one model, and how long it takes.

python examples/compare_planners.py light:resnet50 --set scratchpad.size=1MiB
"""

import argparse

import stowplan
from stowplan.errors import InfeasiblePlanError
from stowplan.planners import planner_names


def main() -> None:
    """Print one line per planner."""
    parser = argparse.ArgumentParser(description="Compare the planners on one model.")
    parser.add_argument("model", help="ONNX file or light:NAME")
    parser.add_argument("--target", default="edge-npu", help="target by name or file")
    parser.add_argument("--set", action="append", default=[], help="override a target field")
    parser.add_argument("--time-limit", type=float, default=10.0, help="seconds per planner")
    arguments = parser.parse_args()
    print(f"{'planner':>8}  {'non-compulsory':>14}  {'bound':>12}  {'gap':>6}  {'seconds':>7}")
    for name in planner_names():
        try:
            compiled = stowplan.compile(
                arguments.model,
                target=arguments.target,
                planner=name,
                precision="int8",
                time_limit_s=arguments.time_limit,
                overrides=arguments.set,
            )
        except InfeasiblePlanError as error:
            print(f"{name:>8}  {error}")
            continue
        proof = compiled.plan.proof
        print(
            f"{name:>8}  {proof.value:>14,}  {proof.lower_bound:>12,}  {proof.gap:>6.1%}"
            f"  {proof.wall_s:>7.2f}"
        )


if __name__ == "__main__":
    main()
