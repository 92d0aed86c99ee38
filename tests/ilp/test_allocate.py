"""The allocator: smallest memories and refutations against CP-SAT, options, very many buffers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ortools.sat.python import cp_model

from stowplan.errors import UsageError
from stowplan.ilp.allocate import Reserved, allocate
from stowplan.ilp.allocate_check import packing_faults
from stowplan.ilp.allocate_instance import sections
from stowplan.ilp.allocate_pack import pack
from stowplan.ilp.allocate_sweep import sweep_fit

Buffers = list[tuple[int, int, int]]

buffer = st.tuples(st.integers(0, 9), st.integers(1, 6), st.integers(1, 9)).map(
    lambda t: (t[0], t[0] + t[1], t[2])
)
crowds = st.lists(buffer, min_size=1, max_size=12)


def least_height(buffers: Buffers) -> int:
    """Smallest memory by CP-SAT's two-dimensional no-overlap."""
    model = cp_model.CpModel()
    total = sum(size for *_, size in buffers)
    height = model.new_int_var(0, total, "height")
    times, places = [], []
    for i, (lower, upper, size) in enumerate(buffers):
        offset = model.new_int_var(0, total, f"offset[{i}]")
        times.append(model.new_fixed_size_interval_var(lower, upper - lower, f"time[{i}]"))
        places.append(model.new_fixed_size_interval_var(offset, size, f"place[{i}]"))
        model.add(offset + size <= height)
    model.add_no_overlap_2d(times, places)
    model.minimize(height)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 1
    assert solver.solve(model) == cp_model.OPTIMAL
    return int(solver.value(height))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(crowds)
def test_smallest_memory_is_that_of_cp_sat(buffers: Buffers) -> None:
    lower, upper, size = np.array(buffers).T
    found = allocate(lower, upper, size)
    assert found.status == "optimal"
    assert found.height == found.lower_bound == least_height(buffers)
    fits = allocate(lower, upper, size, found.height)
    assert fits.status in ("optimal", "feasible") and fits.height == found.height
    assert allocate(lower, upper, size, found.height - 1).status == "infeasible"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(crowds, st.sampled_from((1, 2, 4)), st.data())
def test_offsets_obey_every_option(buffers: Buffers, alignment: int, data: st.DataObject) -> None:
    lower, upper, size = (column.tolist() for column in np.array(buffers).T)
    pinned = data.draw(st.integers(0, len(buffers) - 1))
    fixed = [-1] * len(buffers)
    fixed[pinned] = alignment * data.draw(st.integers(0, 5))
    region = Reserved(12, 14, 8, data.draw(st.integers(0, 9)))
    if lower[pinned] < region.upper and region.lower < upper[pinned]:
        region = Reserved(20, 21, 0, 100)
    found = allocate(lower, upper, size, alignment=alignment, fixed=fixed, reserved=(region,))
    offsets = [*found.offsets, region.offset]
    columns = ([*lower, region.lower], [*upper, region.upper], [*size, region.size_bytes])
    assert packing_faults(*columns, offsets) == ()
    assert offsets[pinned] == fixed[pinned]
    assert all(offset % alignment == 0 for offset in found.offsets)
    assert max(o + s for o, s in zip(found.offsets, size, strict=True)) == found.height


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(buffer, min_size=1, max_size=60))
def test_sweep_is_a_packing_no_higher_than_all_sizes(buffers: Buffers) -> None:
    lower, upper, size = np.array(buffers).T
    found = sections(lower, upper)
    offsets = sweep_fit(found.first, found.last, size)
    total = int(size.sum())
    columns = (lower.tolist(), upper.tolist(), size.tolist(), offsets.tolist())
    assert packing_faults(*columns, total) == ()


def test_sweep_keeps_thousands_of_holes_apart() -> None:
    rng = np.random.default_rng(3)
    count = 20_000
    lower = rng.integers(0, count, count)
    upper = lower + 1 + rng.integers(0, count // 2, count)
    size = rng.integers(1, 5000, count)
    offsets = sweep_fit(lower, upper, size)
    columns = (lower.tolist(), upper.tolist(), size.tolist(), offsets.tolist())
    assert packing_faults(*columns) == ()


@pytest.mark.parametrize(
    ("offsets", "fault"),
    [
        ([0, 3, 0], "overlap at address 3"),
        ([0, 4, 3], "overlap at address 4"),
        ([-1, 4, 0], "below address 0"),
        ([0, 5, 0], "not aligned to 2"),
        ([0, 14, 0], "ends at 18, beyond 16"),
    ],
)
def test_checker_finds_every_fault(offsets: list[int], fault: str) -> None:
    lower, upper, size = [0, 1, 2], [2, 4, 3], [4, 4, 2]
    assert packing_faults(lower, upper, size, [0, 4, 0], 16, 2) == ()
    assert any(fault in found for found in packing_faults(lower, upper, size, offsets, 16, 2))


def test_node_limit_decides_alike_every_time() -> None:
    rng = np.random.default_rng(5)
    lower = rng.integers(0, 40, 80)
    upper = lower + rng.integers(1, 15, 80)
    size = rng.integers(1, 60, 80)
    capacity = allocate(lower, upper, size, time_limit_s=60.0).lower_bound
    answers = [pack(lower, upper, size, capacity, 600.0, node_limit=3000) for _ in range(2)]
    assert answers[0].nodes == answers[1].nodes <= 3000 + 1
    assert answers[0].offsets is not None and answers[1].offsets is not None
    assert np.array_equal(answers[0].offsets, answers[1].offsets)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0], [1], [-1]), "negative size"),
        (([1], [0], [1]), "ends before it begins"),
        (([0], [1], [1.5]), "integers"),
        (([0], [1], [1, 2]), "elements"),
        (([0], [1], [1 << 60]), "more than"),
        (([0], [1], [1], -1), "capacity"),
        (([0], [1], [1], 1, 0.0), "time limit"),
        (([0], [1], [1], 1, 1.0, 0), "alignment"),
        (([0, 0], [1, 1], [4, 4], 9, 1.0, 1, [0, 2]), "overlap"),
    ],
)
def test_mistakes_are_usage_errors(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        allocate(*arguments)  # type: ignore[arg-type]


def test_nothing_needs_no_memory() -> None:
    assert allocate([], [], []).height == 0
    assert allocate([0], [5], [0], 0).offsets == (0,)
