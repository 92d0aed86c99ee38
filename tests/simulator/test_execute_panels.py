"""Chains in panels of columns and stripes of rows compute the model, whatever is in the chain."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto, helper
from tests.ir.onnx_models import save

from stowplan.api import plan_problem, prepare
from stowplan.ir.graph import Graph
from stowplan.ir.memory import MemorySpec
from stowplan.ir.onnx_import import ImportedModel, import_model
from stowplan.ir.verify import verify
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.pipeline import run_pipeline
from stowplan.passes.planner import PlanOptions
from stowplan.passes.problem import planning_problem
from stowplan.passes.tile_groups import TileGroups, groups_of, parse_cuts
from stowplan.passes.tiling.network import Network
from stowplan.passes.tiling.stripes import chain_tiles
from stowplan.recipe import Recipe
from stowplan.simulator.execute import ProofResult, prove
from stowplan.targets.load import load_target

pytest.importorskip("onnxruntime")

CHANNELS = 4
IMAGE = (1, CHANNELS, 10, 26)
side = st.integers(1, 3)
LAYERS: dict[str, dict[str, st.SearchStrategy[int]]] = {
    "conv": {"kernel": side, "wide": side, "stride": st.integers(1, 2), "dilation": side},
    "depthwise": {"kernel": side, "wide": side, "stride": st.integers(1, 2), "dilation": side},
    "max": {"kernel": side, "wide": side, "stride": st.integers(1, 2)},
    "mean": {"kernel": side, "wide": side, "stride": st.integers(1, 2)},
    "transposed": {"kernel": st.integers(1, 4), "wide": side, "stride": st.integers(1, 3)},
    "resize": {"factor": st.integers(2, 3)},
    "shuffle": {},
    "relu": {},
    "residual": {},
}
layers = st.lists(
    st.sampled_from(sorted(LAYERS)).flatmap(
        lambda kind: st.tuples(st.just(kind), st.fixed_dictionaries(LAYERS[kind]))
    ),
    min_size=2,
    max_size=5,
)


class Chain:
    """Nodes one after another, each on the result of the one before; mutable."""

    def __init__(self, pads: tuple[int, int]) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Any] = {}
        self._pads, self._last = pads, "x"

    def add(self, kind: str, **sizes: int) -> None:
        """One more layer that keeps the number of channels."""
        kernel = [sizes.get("kernel", 1), sizes.get("wide", 1)]
        strides = [sizes.get("stride", 1)] * 2
        dilations = [sizes.get("dilation", 1)] * 2
        # Padding smaller than the kernel, as pooling demands, and another before than behind.
        pads = [min(each, k - 1) for each, k in zip(self._pads * 2, kernel * 2, strict=True)]
        window = {"kernel_shape": kernel, "strides": strides, "pads": pads}
        if kind in ("conv", "depthwise"):
            group = CHANNELS if kind == "depthwise" else 1
            weight = self._weight(CHANNELS, CHANNELS // group, *kernel)
            self._node("Conv", weight, group=group, dilations=dilations, **window)
        elif kind == "transposed":
            self._node("ConvTranspose", self._weight(CHANNELS, CHANNELS, *kernel), **window)
        elif kind in ("max", "mean"):
            self._node("MaxPool" if kind == "max" else "AveragePool", **window)
        elif kind == "resize":
            scales = np.array([1, 1, sizes["factor"], sizes["factor"]], np.float32)
            self._node("Resize", "", self._constant(scales), mode="linear")
        elif kind == "shuffle":
            self._node("Conv", self._weight(4 * CHANNELS, CHANNELS, 1, 1))
            self._node("DepthToSpace", blocksize=2)
        elif kind == "relu":
            self._node("Relu")
        else:
            before = self._last
            self._node("Conv", self._weight(CHANNELS, CHANNELS, 3, 3), pads=[1] * 4)
            self._node("Add", before)

    def _weight(self, *shape: int) -> str:
        numbers = np.random.default_rng(len(self.constants))
        return self._constant(numbers.standard_normal(shape, dtype=np.float32))

    def _constant(self, value: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    def _node(self, kind: str, *operands: str, **attributes: Any) -> None:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self._last, *operands], [name], **attributes))
        self._last = name

    def imported(self) -> ImportedModel:
        """The chain as a model."""
        self._node("Relu")
        with tempfile.TemporaryDirectory() as folder:
            outputs = {self._last: None}
            path = save(Path(folder), self.nodes, {"x": IMAGE}, outputs, self.constants)
            return import_model(path)


def cut(imported: ImportedModel, stripes: int, panels: int) -> Graph | None:
    """All units as one chain; None where it cannot be cut so."""
    graph = run_pipeline(imported.graph, "canonicalise,fuse-conv,dead-code")
    network = Network(graph, track_weights=False)
    text = f"0-{len(network.units)}/{stripes}@2/{panels}@3"
    if len(network.units) < 2:
        return None
    (group,) = groups_of(network, parse_cuts(text))
    if group.chain is None or chain_tiles(network, group.units, group.chain.loops) is None:
        return None
    tiled = TileGroups(text).apply(graph).graph
    verify(tiled)
    return tiled


def proved(imported: ImportedModel, graph: Graph) -> ProofResult:
    """Proof of the plan in the smallest scratchpad, so that halos leave and come back."""
    memory = MemorySpec(1 << 30, 16, stream_weights=True)
    problem = planning_problem(graph, memory)
    size = max(map(problem.demand, range(problem.operators)))
    target = load_target("edge-npu", (f"scratchpad.size={size}", "scratchpad.alignment=16"))
    plan = plan_greedy(graph, target, PlanOptions())
    return prove(imported, graph, plan, target.memory_spec(False))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(layers, st.tuples(side, side), st.integers(2, 4), st.integers(2, 5))
def test_chains_in_panels_compute_the_model(
    drawn: list[tuple[str, dict[str, int]]], pads: tuple[int, int], stripes: int, panels: int
) -> None:
    chain = Chain(pads)
    for kind, sizes in drawn:
        chain.add(kind, **sizes)
    imported = chain.imported()
    assume(min(imported.graph.tensors[-1].shape) > 0)
    graph = cut(imported, stripes, panels)
    assume(graph is not None)
    assert graph is not None
    proved(imported, graph).require()


@pytest.mark.parametrize("panels", [2, 3, 7])
def test_super_resolution_is_cut_and_halos_are_shared(panels: int) -> None:
    chain = Chain((1, 1))
    for _ in range(3):
        chain.add("conv", kernel=3, wide=3)
    chain.add("transposed", kernel=4, wide=3, stride=2)
    imported = chain.imported()
    graph = cut(imported, 3, panels)
    assert graph is not None
    made = {op.parent for op in graph.operators}
    for parent in made:
        regions = [op.region for op in graph.operators if op.parent == parent]
        assert len(regions) == len(set(regions)) == 3 * panels
    proved(imported, graph).require()


def test_an_int8_chain_in_panels_is_bit_identical(tmp_path: Path) -> None:
    scale: dict[str, Any] = {"s": np.array(0.05, np.float32), "z": np.array(3, np.uint8)}
    nodes, numbers, last = [], np.random.default_rng(0), "x"
    for i in range(3):
        scale[f"w{i}"] = numbers.integers(-99, 99, (8, 8, 3, 3)).astype(np.int8)
        steps = [
            ("DequantizeLinear", [last, "s", "z"], f"a{i}", {}),
            ("DequantizeLinear", [f"w{i}", "s"], f"v{i}", {}),
            ("Conv", [f"a{i}", f"v{i}"], f"c{i}", {"pads": [1] * 4}),
            ("QuantizeLinear", [f"c{i}", "s", "z"], f"q{i}", {}),
        ]
        nodes += [
            helper.make_node(kind, operands, [out], out, **more)
            for kind, operands, out, more in steps
        ]
        last = f"q{i}"
    path = save(
        tmp_path, nodes, {"x": (1, 8, 9, 64)}, {last: None}, scale, element=TensorProto.UINT8
    )
    recipe = Recipe(overrides=("scratchpad.size=4KiB",), groups="0-3/3@2/4@3")
    compiled = plan_problem(prepare(path, recipe), "greedy", PlanOptions())
    assert sum(op.parent is not None for op in compiled.graph.operators) == 3 * 3 * 4
    assert compiled.prove().passed
