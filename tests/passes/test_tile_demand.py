"""What tiles take is measured on their regions exactly as on the graph built from them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.passes.graph_language import GraphBuilder

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Role
from stowplan.ir.memory import MemorySpec
from stowplan.passes.grid_moves import Loops, regridded
from stowplan.passes.layer_search import TilePrice, search_layers
from stowplan.passes.tile_groups import Cut, groups_of
from stowplan.passes.tiling.build import build, jobs_of
from stowplan.passes.tiling.demand import TileDemands, TileMeter, demands
from stowplan.passes.tiling.grids import TERMS
from stowplan.passes.tiling.network import Network
from stowplan.passes.tiling.pieces import Pieces
from stowplan.passes.tiling.replay import Replay

CAPACITY = 6_000


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Convolutions, a sum that reads one result twice, a view that moves and one that does not."""
    made = GraphBuilder("branches")
    made.tensor("x", (1, 8, 24, 24), Role.INPUT, DType.INT8)
    for name, shape in (("w0", (16, 8, 3, 3)), ("w1", (16, 16, 1, 1)), ("w2", (384, 10))):
        made.tensor(name, shape, Role.WEIGHT, DType.INT8)
    for name in ("a", "b", "sum"):
        made.tensor(name, (1, 16, 24, 24), dtype=DType.INT8)
    made.tensor("half", (1, 8, 24, 24), dtype=DType.INT8)
    made.tensor("flat", (8, 576), dtype=DType.INT8)
    made.tensor("rows", (24, 384), dtype=DType.INT8)
    made.tensor("y", (24, 10), Role.OUTPUT, DType.INT8)
    made.tensor("z", (8, 576), Role.OUTPUT, DType.INT8)
    pads = (1, 1, 1, 1)
    made.op("Conv", ["x", "w0"], ["a"], kernel_shape=(3, 3), pads=pads, strides=(1, 1))
    made.op("Conv", ["a", "w1"], ["b"], kernel_shape=(1, 1), strides=(1, 1))
    made.op("Add", ["a", "b"], ["sum"])
    made.op("Slice", ["sum"], ["half"], starts=(4,), ends=(12,), axes=(1,), steps=(1,))
    made.op("Reshape", ["half"], ["flat"], shape=(8, 576))
    made.op("Relu", ["flat"], ["z"])
    made.op("Reshape", ["sum"], ["rows"], shape=(24, 384))
    made.op("MatMul", ["rows", "w2"], ["y"])
    return Graph(made.name, tuple(made.tensors.values()), tuple(made.operators))


def expected(network: Network, built: Graph, memory: MemorySpec) -> TileDemands:
    needed = demands(built, memory)
    index = {unit.operator.name: unit.index for unit in network.units}
    worst: dict[int, int] = {}
    for op, size in zip(built.operators, needed, strict=True):
        unit = index.get(op.parent or op.name)
        if unit is not None and size > memory.capacity_bytes:
            worst[unit] = max(size, worst.get(unit, 0))
    return TileDemands(len(needed), max(needed), worst)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data(), st.booleans())
def test_measured_tiles_take_what_built_ones_take(
    graph: Graph, data: st.DataObject, tracked: bool
) -> None:
    network = Network(graph, tracked)
    memory = MemorySpec(CAPACITY, 64, stream_weights=not tracked)
    meter = TileMeter(network, memory)
    for _ in range(3):
        cuts = []
        for unit in network.units:
            grids: list[Loops] = list(regridded(network, unit, ((TERMS, 2),) * (unit.terms > 1)))
            cuts.append(Cut(unit.index, unit.index + 1, grid=data.draw(st.sampled_from(grids))))
        jobs = jobs_of(network, groups_of(network, cuts))
        pieces = Pieces(network, jobs, memory)
        built = build(network, jobs, pieces)
        assert meter.measure(jobs, pieces) == expected(network, built, memory)


@pytest.mark.parametrize("size", [3_000, 6_000, 12_000, 1 << 20])
def test_no_near_grid_of_a_layer_that_fits_moves_less(graph: Graph, size: int) -> None:
    network, memory = Network(graph, False), MemorySpec(size, 64)
    replay = Replay(network, memory)
    cuts = search_layers(network, memory, TilePrice(8_448, 256))
    assert not replay.run(jobs_of(network, groups_of(network, cuts))).misfits
    units = network.units

    def alone(cut: Cut) -> tuple[int, int]:
        whole = tuple(cut if i == cut.first else Cut(i, i + 1) for i in range(len(units)))
        found = replay.run(jobs_of(network, [groups_of(network, whole)[cut.first]]))
        return found.over_bytes, found.moved_bytes

    if size < 1 << 14:
        return
    for cut in cuts:
        for grid in regridded(network, units[cut.first], cut.grid):
            assert alone(cut) <= alone(Cut(cut.first, cut.last, grid=grid))
