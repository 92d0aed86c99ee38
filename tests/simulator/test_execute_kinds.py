"""Kinds beyond convolutions and products are cut, bit for bit ONNX Runtime's."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import NodeProto, helper
from tests.ir.onnx_models import save

from stowplan.ir.memory import MemorySpec
from stowplan.ir.onnx_import import import_model
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.pipeline import default_pipeline, run_pipeline
from stowplan.passes.planner import PlanOptions
from stowplan.passes.problem import planning_problem
from stowplan.passes.tiling.tile import Tile
from stowplan.simulator.execute import prove
from stowplan.targets.load import load_target

pytest.importorskip("onnxruntime")

Array = npt.NDArray[Any]
UNIT = 16
"""Alignment of the scratchpad."""
MICROSOFT = {"domain": "com.microsoft"}


def node(kind: str, inputs: str, outputs: str = "y", **attributes: Any) -> NodeProto:
    domain = attributes.pop("domain", "")
    names = [name.strip("-") for name in inputs.split()]
    outs = [name.strip("-") for name in outputs.split()]
    return helper.make_node(kind, names, outs, kind, domain=domain, **attributes)


def weight(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)


IMAGE = (2, 12, 10, 9)
TOKENS = (2, 12, 16)
Case = tuple[NodeProto, dict[str, tuple[int, ...]], dict[str, Array]]
CASES: dict[str, Case] = {
    "tile": (node("Tile", "x r"), {"x": (3, 20, 7)}, {"r": np.array([2, 1, 3])}),
    "trilu": (node("Trilu", "x", upper=0), {"x": (3, 20, 19)}, {}),
    "cumulative-sum": (
        node("CumSum", "x a", reverse=1),
        {"x": (6, 20, 9)},
        {"a": np.array(1)},
    ),
    "hardmax": (node("Hardmax", "x", axis=-1), {"x": (30, 20)}, {}),
    "lp-normalisation": (node("LpNormalization", "x", axis=1, p=2), {"x": IMAGE}, {}),
    "mean-variance": (node("MeanVarianceNormalization", "x"), {"x": IMAGE}, {}),
    "group-normalisation": (
        node("GroupNormalization", "x s b", num_groups=4),
        {"x": IMAGE},
        {"s": weight(12), "b": weight(12)},
    ),
    "skip-layer-normalisation": (
        node("SkipLayerNormalization", "x k g b v", "y - - z", **MICROSOFT),
        {"x": TOKENS, "k": TOKENS},
        {"g": weight(16), "b": weight(16), "v": weight(16)},
    ),
    "skip-simplified": (
        node("SkipSimplifiedLayerNormalization", "x k g", **MICROSOFT),
        {"x": TOKENS, "k": TOKENS},
        {"g": weight(16)},
    ),
    "einsum-attention": (
        node("Einsum", "x w", equation="bthd, bshd -> bhts"),
        {"x": (2, 12, 3, 8), "w": (2, 14, 3, 8)},
        {},
    ),
    "einsum-diagonal": (node("Einsum", "x", equation="iij->ji"), {"x": (14, 14, 20)}, {}),
    "packed-blocks": (
        node("MatMulNBits", "x w s z", K=64, N=48, bits=4, block_size=32, **MICROSOFT),
        {"x": (5, 64)},
        {
            "w": np.random.default_rng(0).integers(0, 256, (48, 2, 16)).astype(np.uint8),
            "s": weight(96),
            "z": np.random.default_rng(1).integers(0, 256, (48,)).astype(np.uint8),
        },
    ),
    "attention-in-heads": (
        node("Attention", "q k v m", is_causal=1),
        {"q": (2, 6, 10, 8), "k": (2, 3, 12, 8), "v": (2, 3, 12, 4), "m": (10, 12)},
        {},
    ),
    "attention-of-rows": (
        node("Attention", "q k v", q_num_heads=4, kv_num_heads=2),
        {"q": (2, 30, 32), "k": (2, 12, 16), "v": (2, 12, 16)},
        {},
    ),
    "multi-head-attention": (
        node("MultiHeadAttention", "q k v", num_heads=4, **MICROSOFT),
        {"q": (2, 30, 32), "k": (2, 12, 32), "v": (2, 12, 32)},
        {},
    ),
}
LATEST = {"Attention": 23, "GroupNormalization": 21}
"""Operator sets of kinds that are newer than the others."""


@pytest.mark.parametrize("share", [0.75, 0.4])
@pytest.mark.parametrize("case", CASES)
def test_the_kind_is_cut(case: str, share: float, tmp_path: Path) -> None:
    made, inputs, constants = CASES[case]
    results = dict.fromkeys(name for name in made.output if name)
    opset = LATEST.get(made.op_type, 17)
    imported = import_model(save(tmp_path, [made], inputs, results, constants, opset))
    whole = run_pipeline(imported.graph, default_pipeline())
    problem = planning_problem(whole, MemorySpec(1, UNIT, stream_weights=False))
    capacity = int(share * max(map(problem.demand, range(problem.operators))))
    tile = Tile(capacity=capacity, alignment=UNIT, track_weights=True)
    graph = run_pipeline(imported.graph, default_pipeline(None, tile))
    assert any(op.parent for op in graph.operators)
    overrides = (f"scratchpad.size={capacity}", f"scratchpad.alignment={UNIT}")
    target = load_target("edge-npu", overrides)
    plan = plan_greedy(graph, target, PlanOptions(track_weights=True, time_limit_s=5))
    prove(imported, graph, plan, target.memory_spec(True)).require()
