"""The ascending search against the restarted one, and under limits."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stowplan.ilp.allocate_ascent import ascents
from stowplan.ilp.allocate_ascent_kernels import INFEASIBLE, RUNNING, SOLVED, ascend
from stowplan.ilp.allocate_check import packing_faults
from stowplan.ilp.allocate_instance import Boxes, build_instance, fresh_state, sections
from stowplan.ilp.allocate_kernels import Instance, Ints, search

Buffers = list[tuple[int, int, int]]
EFFORT = 1_000_000

buffer = st.tuples(st.integers(0, 9), st.integers(1, 6), st.integers(1, 7)).map(
    lambda t: (t[0], t[0] + t[1], t[2])
)


def prepared(buffers: Buffers, extra: int) -> tuple[Instance, Ints, Ints, Boxes, int]:
    """Kernel arrays, kernel order, crowds, boxes and capacity: the greatest load and ``extra``."""
    starts, ends, sizes = np.array(buffers, np.int64).T.copy()
    zeros = np.zeros(len(sizes), np.int64)
    boxes = Boxes(sections(starts, ends), ends - starts, sizes, zeros, zeros - 1)
    loads = boxes.section_loads()
    capacity = int(max(loads.max(), sizes.max())) + extra
    instance, order = build_instance(boxes, capacity)
    crowd = [loads[a:b].max() for a, b in zip(instance.first, instance.last, strict=True)]
    return instance, order, np.array(crowd, np.int64), boxes, capacity


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(buffer, min_size=1, max_size=16), st.integers(0, 1))
def test_every_preorder_agrees_with_the_restarted_search(buffers: Buffers, extra: int) -> None:
    instance, order, crowd, boxes, capacity = prepared(buffers, extra)
    expected = search(instance, fresh_state(instance, 8), EFFORT)
    assert expected in (SOLVED, INFEASIBLE)
    for state in ascents(instance, boxes.lifetime[order], crowd).paused:
        assert ascend(instance, state, EFFORT) == expected
        if expected == SOLVED:
            grain = int(boxes.size[order[0]] // instance.size[0])
            lower, upper, size = np.array(buffers)[order].T.tolist()
            assert not packing_faults(lower, upper, size, (state.offset * grain).tolist(), capacity)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(buffer, min_size=6, max_size=16))
def test_learned_preorders_agree_with_the_restarted_search(buffers: Buffers) -> None:
    instance, order, crowd, boxes, capacity = prepared(buffers, 0)
    expected = search(instance, fresh_state(instance, 8), EFFORT)
    climbers = ascents(instance, boxes.lifetime[order], crowd)
    for _ in range(3):
        climbers.learn(2, lambda: False)
    assert climbers.weight.min() >= 1
    status, offsets = climbers.learn(EFFORT, lambda: False)
    assert status == expected
    if offsets is not None:
        grain = int(boxes.size[order[0]] // instance.size[0])
        lower, upper, size = np.array(buffers)[order].T.tolist()
        assert not packing_faults(lower, upper, size, (offsets * grain).tolist(), capacity)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(buffer, min_size=6, max_size=14), st.integers(1, 5))
def test_pausing_changes_nothing(buffers: Buffers, slice_nodes: int) -> None:
    instance, order, crowd, boxes, _ = prepared(buffers, 0)
    lifetime = boxes.lifetime[order]
    whole, sliced = (ascents(instance, lifetime, crowd).paused[2] for _ in range(2))
    expected = ascend(instance, whole, EFFORT)
    status = RUNNING
    while status == RUNNING:
        status = ascend(instance, sliced, slice_nodes)
    assert status == expected
    assert sliced.cell.tolist() == whole.cell.tolist()
    assert sliced.offset.tolist() == whole.offset.tolist()


def test_limits_of_nodes_and_time_are_kept() -> None:
    instance, order, crowd, boxes, _ = prepared([(i % 7, i % 7 + 3, 5) for i in range(12)], 0)
    climbers = ascents(instance, boxes.lifetime[order], crowd)
    assert climbers.advance(1, lambda: False) == (RUNNING, None)
    assert climbers.nodes == len(climbers.paused) == 3
    assert climbers.advance(100, lambda: True) == (RUNNING, None)
    assert climbers.nodes == 3


def test_fixed_offsets_are_left_to_the_other_search() -> None:
    instance, order, crowd, boxes, _ = prepared([(0, 2, 1), (1, 3, 1)], 0)
    fixed = instance._replace(fixed=np.array([0, -1], np.int64))
    assert not ascents(fixed, boxes.lifetime[order], crowd).paused
