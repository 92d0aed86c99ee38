"""Readers that cut one tensor differently, each with halos, compute the model."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto, helper
from tests.ir.onnx_models import save

from stowplan.ir.memory import MemorySpec
from stowplan.ir.onnx_import import ImportedModel, import_model
from stowplan.ir.verify import verify
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.pipeline import run_pipeline
from stowplan.passes.planner import PlanOptions
from stowplan.passes.problem import planning_problem
from stowplan.passes.tile_groups import TileGroups, groups_of, parse_cuts
from stowplan.passes.tiling.build import jobs_of
from stowplan.passes.tiling.lattice import finest, without_slivers
from stowplan.passes.tiling.network import Network
from stowplan.passes.tiling.pieces import Job
from stowplan.simulator.execute import prove
from stowplan.targets.load import load_target

pytest.importorskip("onnxruntime")

CHANNELS, ROWS, COLUMNS = 4, 9, 13
ALIGNMENT = 64
counts = st.tuples(st.integers(1, CHANNELS), st.integers(1, 6), st.integers(1, 8))


def imported() -> ImportedModel:
    """A tensor read by windows of several sizes and strides, and by a product over channels."""
    constants: dict[str, Any] = {}
    nodes: list[NodeProto] = [helper.make_node("Relu", ["x"], ["a"])]
    readers = ((5, 2, CHANNELS), (3, 1, CHANNELS), (1, 1, 1))
    for number, (kernel, stride, group) in enumerate(readers):
        name = f"w{number}"
        shape = (CHANNELS, CHANNELS // group, kernel, kernel)
        constants[name] = np.random.default_rng(number).standard_normal(shape, dtype=np.float32)
        window: dict[str, Any] = {"kernel_shape": [kernel] * 2, "pads": [kernel // 2] * 4}
        window |= {"strides": [stride] * 2, "group": group}
        nodes.append(helper.make_node("Conv", ["a", name], [f"y{number}"], **window))
    outputs = dict.fromkeys(f"y{number}" for number in range(len(readers)))
    with tempfile.TemporaryDirectory() as folder:
        path = save(Path(folder), nodes, {"x": (1, CHANNELS, ROWS, COLUMNS)}, outputs, constants)
        return import_model(path)


def coarser(network: Network, jobs: list[Job]) -> bool:
    """Whether cuts of the tensor that all read are left out."""
    touched = {job.unit.regions(job.box)["a"]: 1 for job in jobs if job.unit.index}
    written = {job.box: 1 for job in jobs if not job.unit.index}
    tensor, memory = network.graph.tensor["a"], MemorySpec(0, ALIGNMENT)
    found = without_slivers(tensor, touched | written, written, memory)
    return found.sides != finest(tensor, touched | written, memory).sides


def test_tiles_that_hold_more_than_they_need_compute_the_model() -> None:
    model = imported()
    seen = set()

    @settings(max_examples=40, deadline=None, derandomize=True, database=None)
    @given(st.tuples(counts, counts, counts, counts))
    def computes(tiles: tuple[tuple[int, int, int], ...]) -> None:
        graph = run_pipeline(model.graph, "canonicalise,fuse-conv,dead-code")
        network = Network(graph, track_weights=False)
        text = ";".join(
            f"{i}:1x{channels}.2x{min(rows, 5 if i == 1 else 9)}.3x{min(columns, 7)}"
            for i, (channels, rows, columns) in enumerate(tiles)
        )
        seen.add(coarser(network, jobs_of(network, groups_of(network, parse_cuts(text)))))
        tiled = TileGroups(text, alignment=ALIGNMENT).apply(graph).graph
        verify(tiled)
        problem = planning_problem(tiled, MemorySpec(1 << 30, ALIGNMENT))
        size = max(map(problem.demand, range(problem.operators)))
        target = load_target("edge-npu", (f"scratchpad.size={size}",))
        plan = plan_greedy(tiled, target, PlanOptions())
        prove(model, tiled, plan, target.memory_spec(False)).require()

    computes()
    assert seen == {False, True}
