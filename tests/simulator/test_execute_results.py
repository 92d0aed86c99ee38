"""Operators with several results are cut, bit for bit ONNX Runtime's."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import NodeProto, helper
from tests.ir.onnx_models import save

from stowplan.ir.graph import Graph
from stowplan.ir.onnx_import import ImportedModel, import_model
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.pipeline import default_pipeline, run_pipeline
from stowplan.passes.planner import PlanOptions
from stowplan.passes.tiling.network import Network
from stowplan.passes.tiling.tile import Tile
from stowplan.simulator.execute import prove
from stowplan.targets.load import load_target

pytest.importorskip("onnxruntime")

Array = npt.NDArray[Any]
UNIT = 16
"""Alignment of the scratchpad."""


def node(kind: str, inputs: str, outputs: str = "y", **attributes: Any) -> NodeProto:
    return helper.make_node(kind, inputs.split(), outputs.split(), kind + outputs, **attributes)


def tiled(imported: ImportedModel, capacity: int) -> Graph:
    tile = Tile(capacity=capacity, alignment=UNIT, track_weights=True)
    return run_pipeline(imported.graph, default_pipeline(None, tile))


def require_proof(imported: ImportedModel, graph: Graph, capacity: int) -> None:
    overrides = (f"scratchpad.size={capacity}", f"scratchpad.alignment={UNIT}")
    target = load_target("edge-npu", overrides)
    plan = plan_greedy(graph, target, PlanOptions(track_weights=True, time_limit_s=5))
    prove(imported, graph, plan, target.memory_spec(True)).require()


CASES: dict[str, tuple[list[NodeProto], tuple[int, ...], str, dict[str, Array]]] = {
    "split-results": (
        [node("Split", "x p", "a b c", axis=1)],
        (6, 40, 9),
        "a b c",
        {"p": np.array([7, 22, 11])},
    ),
    "split-result-and-view": (
        [node("Relu", "x", "r"), node("Split", "r", "a b", axis=-1), node("Sigmoid", "b", "c")],
        (6, 20, 18),
        "a c",
        {},
    ),
    "split-of-an-input": (
        [node("Split", "x", "a b", axis=0), node("Add", "a b", "c"), node("Neg", "a", "d")],
        (8, 100),
        "c d",
        {},
    ),
    "top": (
        [node("Neg", "x", "n"), node("TopK", "n k", "v i", axis=1), node("Exp", "v", "e")],
        (6, 12, 20),
        "e i",
        {"k": np.array([3])},
    ),
    "top-of-rows": (
        [node("TopK", "x k", "v i", largest=0)],
        (40, 30),
        "v i",
        {"k": np.array([4])},
    ),
    "max-pool-with-places": (
        [node("MaxPool", "x", "v i", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 1, 1])],
        (1, 8, 14, 13),
        "v i",
        {},
    ),
}


@pytest.mark.parametrize("capacity", [512, 1_536])
@pytest.mark.parametrize("case", CASES)
def test_several_results_are_cut(case: str, capacity: int, tmp_path: Path) -> None:
    nodes, shape, results, constants = CASES[case]
    outputs = dict.fromkeys(results.split())
    imported = import_model(save(tmp_path, nodes, {"x": shape}, outputs, constants))
    graph = tiled(imported, capacity)
    assert any(op.parent for op in graph.operators)
    require_proof(imported, graph, capacity)


def test_a_split_that_is_a_view_stays_one(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "r"), node("Split", "r", "a b", axis=1), node("Add", "a b")]
    imported = import_model(save(tmp_path, nodes, {"x": (4, 6)}, {"y": None}))
    assert [view.kind for view in Network(imported.graph, False).views] == ["Split"]
