"""Off-chip bytes and cycles of layer-by-layer execution, ``greedy`` and ``lns``.

    python -m benchmarks.fusion light FOLDER... [--sizes 64KiB,256KiB,1MiB] [--only NAME,NAME]
        [--effort 1] [--time-limit 10] [--rows rows.jsonl] [--table table.md]

``light`` stands for the networks that onnx ships. Every row is a plan that passed the checker and
was simulated on ``edge-npu`` with the scratchpad of that size, at int8, weights streamed.

* ``layer``: each layer reads its operands from DRAM and leaves its result there; inside a layer,
  tiles keep what they share. Each layer is cut into the tiles that move fewest bytes, found by
  replaying it alone; only tiles beyond 64 per layer cost something (a transfer's set-up).
* ``greedy``: the tiling of ``--tile always``, planned by ``greedy``.
* ``lns``: tilings searched with ``--effort``, planned by ``lns``.

Rows already in ``--rows`` are not run again. A network is a CNN when it has convolutions and no
product of two activations. Seconds are processor time.
"""

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from math import exp, log
from pathlib import Path

from benchmarks.rows import append_row, read_rows
from stowplan import api
from stowplan.errors import StowplanError
from stowplan.ir.graph import Graph, Role
from stowplan.ir.onnx_import import import_model
from stowplan.ir.traffic import traffic
from stowplan.passes.layer_search import TilePrice, search_layers
from stowplan.passes.pipeline import default_pipeline, print_pass, run_pipeline
from stowplan.passes.planner import PlanOptions
from stowplan.passes.tile_choice import tile_groups
from stowplan.passes.tile_groups import print_cuts
from stowplan.passes.tiling.network import Network
from stowplan.passes.tiling.tile import Tile
from stowplan.recipe import LIGHT_PREFIX, Recipe, light_networks, model_path
from stowplan.targets.load import load_target

METHODS = ("layer", "greedy", "lns")
SIZES = "64KiB,128KiB,256KiB,512KiB,1MiB,2MiB"
MOST_RATIO = 100.0
"""A ratio counts for no more than this in the geometric mean, even where nothing is moved."""


@dataclass(frozen=True, slots=True)
class Row:
    """One plan.

    Attributes:
        model: path of the model, or ``light:NAME``.
        size: scratchpad size.
        method: see the module docstring.
        cnn: whether the network is a CNN.
        tiles: operators planned.
        compulsory_bytes: model inputs, weights and outputs, once.
        noncompulsory_bytes: everything else that is moved.
        bound_bytes: no plan of this tiling moves fewer non-compulsory bytes.
        cycles: simulated.
        cpu_s: processor time of tiling and planning.
        problem: why there is no plan; empty when there is one.
    """

    model: str
    size: str
    method: str
    cnn: bool
    tiles: int = 0
    compulsory_bytes: int = 0
    noncompulsory_bytes: int = 0
    bound_bytes: int = 0
    cycles: int = 0
    cpu_s: float = 0.0
    problem: str = ""


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="+", help="folders of models, or light")
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--only", default="", help="parts of names")
    parser.add_argument("--effort", type=int, default=1)
    parser.add_argument("--time-limit", type=float, default=10.0)
    parser.add_argument("--rows", type=Path, default=Path("fusion_rows.jsonl"))
    parser.add_argument("--table", type=Path, default=None)
    arguments = parser.parse_args()
    rows = [Row(**row) for row in read_rows(arguments.rows)]
    known = {(row.model, row.size, row.method) for row in rows}
    models = [m for m in models_of(arguments.sources) if wanted(m, arguments.only)]
    for size in arguments.sizes.split(","):
        for model in models:
            for method in METHODS:
                if (Path(model).stem if "/" in model else model, size, method) in known:
                    continue
                row = run(model, size, method, arguments.effort, arguments.time_limit)
                rows.append(row)
                print(json.dumps(asdict(row)), flush=True)
                append_row(arguments.rows, asdict(row))
    text = tables(rows)
    print(text)
    if arguments.table is not None:
        arguments.table.write_text(text)


def models_of(sources: Iterable[str]) -> list[str]:
    """Models of folders, and those that onnx ships."""
    found: list[str] = []
    for source in sources:
        if source == "light":
            found += [LIGHT_PREFIX + name for name in light_networks()]
        else:
            found += sorted(str(path) for path in Path(source).glob("*.onnx"))
    return found


def wanted(model: str, only: str) -> bool:
    """Whether a part given with ``--only`` occurs in the name."""
    return not only or any(part in model for part in only.split(","))


def run(model: str, size: str, method: str, effort: int, time_limit_s: float) -> Row:
    """Tile, plan, check and simulate one model by one method."""
    name = Path(model).stem if "/" in model else model
    graph = import_model(model_path(model), dims={}).graph
    row = Row(name, size, method, is_cnn(graph))
    began = time.process_time()
    try:
        compiled = _compiled(model, _recipe(model, size), method, effort, time_limit_s)
    except StowplanError as error:
        return replace(row, problem=str(error).splitlines()[0][:200])
    spent = time.process_time() - began
    memory = compiled.target.memory_spec(compiled.plan.track_weights)
    moved = traffic(compiled.graph, compiled.plan, memory)
    return replace(
        row,
        tiles=len(compiled.graph.operators),
        compulsory_bytes=moved.compulsory_bytes,
        noncompulsory_bytes=moved.noncompulsory_bytes,
        bound_bytes=compiled.plan.proof.lower_bound,
        cycles=compiled.simulate().cycles,
        cpu_s=round(spent, 1),
    )


def _compiled(
    model: str, recipe: Recipe, method: str, effort: int, time_limit_s: float
) -> api.Compiled:
    options = PlanOptions(time_limit_s=time_limit_s)
    if method == "layer":
        return layer_by_layer(model, recipe)
    if method == "greedy":
        return api.plan_problem(api.prepare(model, recipe), "greedy", options)
    searched = api.search_tiling(model, recipe, options, effort) if effort else recipe
    return api.plan_problem(api.prepare(model, searched), "lns", options)


def layer_by_layer(model: str, recipe: Recipe) -> api.Compiled:
    """Each layer in the tiles that move fewest bytes, nothing kept between layers."""
    target = load_target(recipe.target, recipe.overrides)
    usual = Tile.of(target)
    before, after = default_pipeline(recipe.precision, usual).split(f",{print_pass(usual)}")
    graph = import_model(model_path(model), dims=dict(recipe.dims)).graph
    network = Network(run_pipeline(graph, before), recipe.track_weights)
    memory = target.memory_spec(recipe.track_weights)
    setup_bytes = target.dma.setup_cycles * target.dram.bytes_per_cycle
    price = TilePrice(usual.overhead, setup_bytes)
    cuts = search_layers(network, memory, price)
    groups = tile_groups(target, print_cuts(cuts), recipe.track_weights)
    # The members of a Concat would else be one storage, which every layer moves whole.
    tiles = print_pass(replace(groups, dissolve=True))
    alone = replace(recipe, passes=f"{before},{tiles}{after}", precision=None, tile="auto")
    options = PlanOptions(settings=(("fusion", "off"),))
    return api.plan_problem(api.prepare(model, alone), "greedy", options)


def is_cnn(graph: Graph) -> bool:
    """Whether there are convolutions, and no product of two activations."""
    kinds = {op.kind for op in graph.operators}
    weights = {tensor.name for tensor in graph.by_role(Role.WEIGHT)}
    attends = any(
        op.kind == "MatMul" and not weights & set(op.inputs) and _data(graph, op.inputs) > 1
        for op in graph.operators
    )
    return bool(kinds & {"Conv", "QLinearConv", "ConvInteger"}) and not attends


def _data(graph: Graph, names: Sequence[str]) -> int:
    """How many of the operands are no weights, nor made from weights alone."""
    return sum(1 for name in names if graph.tensor[name].role is not Role.WEIGHT)


def _recipe(model: str, size: str) -> Recipe:
    precision = None if Path(model).stem.startswith("q8_") else "int8"
    return Recipe(
        overrides=(f"scratchpad.size={size}",),
        precision=precision,
        tile="always",
    )


def tables(rows: Sequence[Row]) -> str:
    """One table per scratchpad size, and the geometric means."""
    parts = []
    sizes = list(dict.fromkeys(row.size for row in rows))
    for size in sizes:
        parts.append(f"## {size}\n\n{_table([row for row in rows if row.size == size])}")
    return "\n".join(parts)


def _table(rows: Sequence[Row]) -> str:
    by_model: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_model.setdefault(row.model, {})[row.method] = row
    lines = [
        "| network | compulsory | layer | greedy | lns | bound | layer ÷ greedy | layer ÷ lns | "
        "cycles layer | greedy | lns |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    ratios: dict[str, list[float]] = {"greedy": [], "lns": []}
    for model, found in sorted(by_model.items()):
        if set(found) != set(METHODS):
            continue
        cells = [_name(model, found["layer"])]
        failed = next((row.problem for row in found.values() if row.problem), "")
        if failed:
            lines.append(f"| {cells[0]} | {failed} |")
            continue
        layer, greedy, lns = (found[method] for method in METHODS)
        for other in (greedy, lns):
            if layer.cnn:
                ratios[other.method].append(_ratio(layer, other))
        moved = [row.noncompulsory_bytes for row in (layer, greedy, lns)]
        cells += [_kib(lns.compulsory_bytes), *map(_kib, moved), _kib(lns.bound_bytes)]
        cells += [f"{_ratio(layer, greedy):.1f}", f"{_ratio(layer, lns):.1f}"]
        cells += [f"{row.cycles:,}" for row in (layer, greedy, lns)]
        lines.append(f"| {' | '.join(cells)} |")
    means = [f"{method} {_mean(found):.2f}" for method, found in ratios.items() if found]
    count = len(ratios["lns"])
    lines += ["", f"Geometric mean over the {count} CNNs, layer ÷ method: {', '.join(means)}.", ""]
    return "\n".join(lines)


def _name(model: str, row: Row) -> str:
    return model if row.cnn else f"{model} (no CNN)"


def _ratio(layer: Row, other: Row) -> float:
    return min(MOST_RATIO, layer.noncompulsory_bytes / max(1, other.noncompulsory_bytes))


def _mean(ratios: Sequence[float]) -> float:
    return exp(sum(map(log, ratios)) / len(ratios))


def _kib(size_bytes: int) -> str:
    return f"{size_bytes / 1024:,.0f}"


if __name__ == "__main__":
    main()
