"""How off-chip traffic and time fall as the scratchpad grows.

python examples/sweep_scratchpad.py light:squeezenet
"""

import argparse

import stowplan
from stowplan.errors import InfeasiblePlanError

SIZES_KIB = (128, 256, 512, 768, 1024, 1536, 2048, 4096)


def main() -> None:
    """Print one line per scratchpad size."""
    parser = argparse.ArgumentParser(description="Sweep the size of the scratchpad.")
    parser.add_argument("model", help="ONNX file or light:NAME")
    parser.add_argument("--target", default="edge-npu", help="target by name or file")
    parser.add_argument("--time-limit", type=float, default=5.0, help="seconds per size")
    arguments = parser.parse_args()
    print(f"{'scratchpad':>10}  {'non-compulsory':>14}  {'bound':>12}  {'cycles':>12}")
    for size in SIZES_KIB:
        try:
            compiled = stowplan.compile(
                arguments.model,
                target=arguments.target,
                precision="int8",
                time_limit_s=arguments.time_limit,
                overrides=[f"scratchpad.size={size}KiB"],
            )
        except InfeasiblePlanError as error:
            print(f"{size:>6} KiB  does not fit: {error.misfit.operator}")
            continue
        proof, cycles = compiled.plan.proof, compiled.simulate().cycles
        print(f"{size:>6} KiB  {proof.value:>14,}  {proof.lower_bound:>12,}  {cycles:>12,}")


if __name__ == "__main__":
    main()
