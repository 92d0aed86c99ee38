"""Chains in panels: where they are cut, what the cost model says of them, when they are chosen."""

from itertools import product

import pytest

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.ir.memory import MemorySpec
from stowplan.ir.verify import verify
from stowplan.passes.tile_groups import Cut, group_of, groups_of
from stowplan.passes.tile_search import SearchLimits, search_tilings
from stowplan.passes.tiling.build import jobs_of
from stowplan.passes.tiling.costs import Budget, ChainMeter
from stowplan.passes.tiling.network import Network
from stowplan.passes.tiling.replay import Replay
from stowplan.passes.tiling.stripes import chain_tiles
from stowplan.passes.tiling.tile import Tile

ROWS, COLUMNS, CHANNELS, LAYERS = 24, 160, 8, 4


@pytest.fixture(scope="module")
def network() -> Network:
    """Convolutions of 3 x 3 on wide maps with few weights."""
    shape = (1, CHANNELS, ROWS, COLUMNS)
    tensors = [Tensor("t0", shape, DType.INT8, Role.INPUT)]
    operators = []
    window = (("kernel_shape", (3, 3)), ("pads", (1,) * 4), ("strides", (1, 1)))
    for i in range(LAYERS):
        role = Role.OUTPUT if i == LAYERS - 1 else Role.ACTIVATION
        weight = Tensor(f"w{i}", (CHANNELS, CHANNELS, 3, 3), DType.INT8, Role.WEIGHT)
        tensors += [weight, Tensor(f"t{i + 1}", shape, DType.INT8, role)]
        operators.append(
            Operator(f"conv{i}", "Conv", (f"t{i}", f"w{i}"), (f"t{i + 1}",), attributes=window)
        )
    graph = Graph("wide", tuple(tensors), tuple(operators))
    verify(graph)
    return Network(graph, track_weights=False)


def chain(stripes: int, panels: int) -> Cut:
    across = (3,) if panels > 1 else ()
    return Cut(0, LAYERS, stripes, (2,), panels=panels, across=across)


def budget(size_bytes: int) -> Budget:
    return Budget(size_bytes, size_bytes, size_bytes, 16, tile_bytes=0)


@pytest.mark.parametrize(("stripes", "panels"), [(4, 1), (4, 3), (24, 7), (2, 160)])
def test_tiles_cover_every_result_once_and_read_what_is_there(
    network: Network, stripes: int, panels: int
) -> None:
    group = group_of(network, chain(stripes, panels))
    assert group.chain is not None
    tiles = chain_tiles(network, group.units, group.chain.loops)
    made = {f"t{i}": set[tuple[int, int]]() for i in range(LAYERS + 1)}
    made["t0"] = set(product(range(ROWS), range(COLUMNS)))
    for unit, box in tiles or ():
        for name, region in unit.regions(box).items():
            if name in made:
                assert made[name] >= set(product(range(*region[2]), range(*region[3])))
        cells = set(product(range(*box[2]), range(*box[3])))
        assert not cells & made[unit.operator.outputs[0]]
        made[unit.operator.outputs[0]] |= cells
    assert all(len(cells) == ROWS * COLUMNS for cells in made.values())


@pytest.mark.parametrize(("stripes", "panels"), [(6, 2), (6, 4), (12, 5)])
def test_halo_columns_cost_what_is_shared_and_no_replay_moves_more(
    network: Network, stripes: int, panels: int
) -> None:
    """Two columns of each inner result, both ways; those of the input again; alignment aside."""
    group = group_of(network, chain(stripes, panels))
    assert group.chain is not None
    axes, across = dict(group.chain.axes), dict(group.chain.across)
    meter = ChainMeter(network, 1)
    cost = meter.cost(budget(0), group.units, axes, stripes, (across, panels))
    assert cost is not None and cost.rounds == stripes * panels
    column = ROWS * CHANNELS
    weights = meter.weight_bytes(group.units) * (stripes * panels - 1)
    assert cost.again_bytes - weights == 2 * column * (2 * (LAYERS - 1) + 1) * (panels - 1)
    memory = MemorySpec(cost.working_bytes, 1, stream_weights=True)
    replayed = Replay(network, memory).run(jobs_of(network, [group]))
    assert not replayed.over_bytes
    compulsory = 2 * column * COLUMNS + meter.weight_bytes(group.units)
    assert 0 < replayed.moved_bytes - compulsory <= cost.again_bytes


def test_halos_stay_where_the_scratchpad_has_room(network: Network) -> None:
    group = group_of(network, chain(6, 4))
    assert group.chain is not None
    axes, across = dict(group.chain.axes), (dict(group.chain.across), 4)
    meter = ChainMeter(network, 1)
    sizes = (0, 4 << 10, 1 << 20)
    again = []
    for size in sizes:
        cost = meter.cost(budget(size), group.units, axes, 6, across)
        assert cost is not None
        again.append(cost.again_bytes)
    assert again[0] >= again[1] > again[2]


def test_panels_along_the_dimension_of_the_stripes_are_refused(network: Network) -> None:
    group = group_of(network, Cut(0, LAYERS, 4, (2,), panels=3, across=(2,)))
    assert group.chain is not None
    assert chain_tiles(network, group.units, group.chain.loops) is None
    axes = dict(group.chain.axes)
    assert ChainMeter(network, 1).cost(budget(0), group.units, axes, 4, (axes, 3)) is None


def test_wide_maps_are_cut_in_panels_and_move_less(network: Network) -> None:
    """Four rows of four maps do not fit, so stripes alone cannot pass them on."""
    size = 12 << 10
    memory = MemorySpec(size, 64, stream_weights=True)
    plain, *_, found = search_tilings(network, memory, SearchLimits(40, 200))
    assert any(cut.panels > 1 for cut in found) and not any(cut.panels > 1 for cut in plain)
    replay = Replay(network, memory)
    moved = [replay.run(jobs_of(network, groups_of(network, cuts))) for cuts in (plain, found)]
    assert not any(each.over_bytes for each in moved)
    assert moved[1].moved_bytes + 200 * moved[1].tiles < moved[0].moved_bytes + 200 * moved[0].tiles


def test_the_tile_pass_cuts_wide_maps_in_panels(network: Network) -> None:
    tile = Tile(capacity=12 << 10, overhead=200)
    tiled = tile.apply(network.graph).graph
    verify(tiled)
    last = [op.region for op in tiled.operators if op.parent == f"conv{LAYERS - 1}"]
    assert len({region[3] for region in last if region}) > 1
    order = [op.parent for op in tiled.operators]
    assert order.index(f"conv{LAYERS - 1}") < len(order) - order[::-1].index("conv0") - 1
