"""Plans for the networks and memories that ``benchmarks/stream_run.py`` schedules with Stream.

    python -m benchmarks.stream_plans network.onnx... [--sizes 64KiB,256KiB,1MiB]
        [--methods greedy,lns] [--effort 1] [--time-limit 10] [--joined | --keeps]

One JSON object per plan: bytes over the off-chip boundary by kind, simulated cycles, seconds.
Weights stream through ``edge-npu``'s weight buffer at every use. With ``--keeps`` that buffer keeps
them until others need the room, as the memory for weights of the other tool does. ``--joined``
plans one memory of the scratchpad's size plus the weight buffer's instead, where weights stay as
the plan likes.
"""

import argparse
import json
from dataclasses import replace
from time import perf_counter, process_time

from stowplan import api
from stowplan.errors import StowplanError
from stowplan.ir.traffic import traffic
from stowplan.passes.planner import PlanOptions
from stowplan.recipe import Recipe
from stowplan.targets.load import load_target
from stowplan.targets.units import parse_quantity


def main() -> None:
    """Plan every network at every size by every method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--sizes", default="64KiB,256KiB,1MiB")
    parser.add_argument("--methods", default="greedy,lns")
    parser.add_argument("--effort", type=int, default=1)
    parser.add_argument("--time-limit", type=float, default=10.0)
    parser.add_argument("--joined", action="store_true")
    parser.add_argument("--keeps", action="store_true")
    arguments = parser.parse_args()
    for network in arguments.networks:
        for size in arguments.sizes.split(","):
            for method in arguments.methods.split(","):
                recipe = recipe_of(
                    parse_quantity("size_bytes", size), arguments.joined, arguments.keeps
                )
                facts = {"network": network, "size": size, "joined": arguments.joined}
                facts["keeps"] = arguments.keeps
                effort = arguments.effort if method == "lns" else 0
                found = planned(network, recipe, method, effort, arguments.time_limit)
                print(json.dumps({**facts, "method": method, **found}), flush=True)


def recipe_of(scratchpad_bytes: int, joined: bool, keeps: bool) -> Recipe:
    """``edge-npu`` with the scratchpad of that size, or with one memory for everything."""
    size = scratchpad_bytes
    if joined:
        size += load_target("edge-npu").weight_buffer.size_bytes
    overrides = (f"scratchpad.size={size}", *(("weight_buffer.keeps=true",) if keeps else ()))
    recipe = Recipe(overrides=overrides, precision="int8", tile="always")
    return replace(recipe, track_weights=joined)


def planned(
    network: str, recipe: Recipe, method: str, effort: int, time_limit_s: float
) -> dict[str, int | float | str]:
    """Bytes, cycles and seconds of one plan, or why there is none."""
    options = PlanOptions(time_limit_s=time_limit_s, track_weights=recipe.track_weights)
    began, began_cpu = perf_counter(), process_time()
    try:
        searched = api.search_tiling(network, recipe, options, effort) if effort else recipe
        compiled = api.plan_problem(api.prepare(network, searched), method, options)
    except StowplanError as error:
        return {"problem": str(error).splitlines()[0]}
    spent = {"wall_s": perf_counter() - began, "cpu_s": process_time() - began_cpu}
    moved = traffic(
        compiled.graph, compiled.plan, compiled.target.memory_spec(recipe.track_weights)
    )
    return {
        "tiles": len(compiled.graph.operators),
        "loaded": moved.loaded_bytes,
        "stored": moved.stored_bytes,
        "streamed": moved.streamed_bytes,
        "compulsory": moved.compulsory_bytes,
        "total": moved.offchip_bytes,
        "cycles": compiled.simulate().cycles,
        **{name: round(seconds, 1) for name, seconds in spent.items()},
    }


if __name__ == "__main__":
    main()
