"""The smallest scratchpad that does-not-fit names: enough, and nothing smaller is."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from tests.ir.onnx_models import save
from tests.simulator.random_models import random_model

import stowplan
from stowplan.errors import InfeasiblePlanError, Misfit
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Tensor
from stowplan.passes.tiling.boxes import Box, extents, full
from stowplan.passes.tiling.slabs import boxes, channels_first, columns_first, runs, runs_of_bytes
from stowplan.targets.tile_operands import picks

UNIT = 64
"""Alignment of the target's scratchpad."""


def compiled(model: str, size: int, tracked: bool = False) -> stowplan.Compiled:
    return stowplan.compile(
        model,
        planner="greedy",
        precision="int8" if model.startswith("light:") else None,
        overrides=(f"scratchpad.size={size}B",),
        track_weights=tracked,
    )


def misfit(model: str, size: int, tracked: bool = False) -> Misfit:
    with pytest.raises(InfeasiblePlanError) as caught:
        compiled(model, size, tracked)
    return caught.value.misfit


@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_the_figure_named_is_enough_and_less_is_not(
    seed: int, tracked: bool, tmp_path: Path
) -> None:
    model = str(random_model(seed, tmp_path, 10))
    named = misfit(model, UNIT, tracked)
    smallest = named.smallest_capacity_bytes
    assert smallest % UNIT == 0
    assert ("smallest scratchpad" in str(InfeasiblePlanError(named))) == named.smallest_is_exact
    if named.smallest_is_exact:
        for less in {smallest // UNIT // 2 * UNIT, smallest - UNIT} - {0}:
            assert misfit(model, less, tracked).smallest_capacity_bytes == smallest
    found = compiled(model, smallest, tracked)
    assert found.plan.order
    if seed % 3 == 0:
        pytest.importorskip("onnxruntime")
        assert found.prove().passed


@pytest.mark.parametrize(
    ("model", "smallest"), [("light:squeezenet", 2_048), ("light:resnet50", 2_048)]
)
def test_real_networks_name_their_widest_row_that_cannot_be_cut(model: str, smallest: int) -> None:
    found = misfit(model, 1_024)
    assert found.smallest_capacity_bytes == found.needed_bytes == smallest
    # Softmax over 1,000 classes: operand and result, each rounded up to the alignment.
    assert [size for _, size in found.operands] == [1_000, 1_000]


def test_a_table_is_cut_into_rows_and_columns(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gather", ["table", "x"], ["y"], "pick", axis=0)]
    table = np.zeros((50, 4), np.float32)
    model = save(tmp_path, nodes, {"x": (1, 3)}, {"y": None}, {"table": table}, element=7)
    named = misfit(str(model), UNIT, tracked=True)
    # One number of the table, one index, the number picked so far and one result.
    assert named.smallest_is_exact and named.smallest_capacity_bytes == 4 * UNIT
    found = compiled(str(model), named.smallest_capacity_bytes, tracked=True)
    assert any(picks(op) for op in found.graph.operators)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 9), st.data())
@settings(max_examples=80, deadline=None, derandomize=True)
def test_storages_cover_a_region_by_runs_of_their_bytes(
    shape: list[int], power: int, data: st.DataObject
) -> None:
    tensor = Tensor("t", tuple(shape), data.draw(st.sampled_from([DType.INT8, DType.FLOAT32])))
    shaped = data.draw(st.sampled_from([runs_of_bytes, channels_first, columns_first]))
    limit = 4 << power
    steps = shaped(tensor, 4, limit)
    every = list(boxes(tensor, steps, full(tensor.shape)))
    assert sum(_elements(box) for box in every) == tensor.elements
    assert max(map(_elements, every)) * tensor.dtype.bits // 8 <= limit
    region = []
    for extent in shape:
        lower = data.draw(st.integers(0, extent - 1))
        region.append((lower, data.draw(st.integers(lower + 1, extent))))
    met = list(boxes(tensor, steps, tuple(region)))
    parts = [part for storage in met for part in runs(storage, tuple(region))]
    assert sum(map(_elements, parts)) == _elements(tuple(region))
    assert all(_is_run(storage, part) for storage in met for part in runs(storage, tuple(region)))


def _elements(box: Box) -> int:
    count = 1
    for extent in extents(box):
        count *= extent
    return count


def _is_run(storage: Box, part: Box) -> bool:
    """Whether the elements of ``part`` follow one another in ``storage``, row by row."""
    places = [0]
    for (start, end), (lower, upper) in zip(storage, part, strict=True):
        places = [
            place * (end - start) + at - start for place in places for at in range(lower, upper)
        ]
    return places == list(range(places[0], places[0] + len(places)))
