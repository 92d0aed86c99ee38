"""Elements in slots: what is spread is gathered again, and views meet where the plan says."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowplan.errors import InternalError
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Alias, Graph, Role, Tensor
from stowplan.simulator.execute_layout import layout_of

REAL = (np.int8, np.float16, np.float32, np.int64, np.bool_)
PLANNED = (DType.INT4, DType.INT8, DType.FLOAT16, DType.INT32, DType.INT64)


def numbers(kind: npt.DTypeLike, count: int, seed: int) -> npt.NDArray[Any]:
    return np.random.default_rng(seed).integers(0, 2, count).astype(kind)


@given(
    real=st.lists(st.sampled_from(REAL), min_size=2, max_size=2),
    planned=st.lists(st.sampled_from(PLANNED), min_size=2, max_size=2),
    count=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_any_mix_of_widths_is_laid_out_without_overlap(
    real: list[npt.DTypeLike], planned: list[DType], count: int, seed: int
) -> None:
    first_bytes, second_bytes = (-(-count * dtype.bits // 8) for dtype in planned)
    graph = Graph(
        "g",
        (
            Tensor("base", (first_bytes + second_bytes,), DType.INT8),
            Tensor("first", (count,), planned[0], Role.ACTIVATION, Alias("base")),
            Tensor("second", (1, count), planned[1], Role.ACTIVATION, Alias("base", first_bytes)),
        ),
        (),
    )
    names = ("first", "second")
    widths = {name: np.dtype(kind).itemsize for name, kind in zip(names, real, strict=True)}
    layout = layout_of(graph, widths.items())
    memory = np.full((first_bytes + second_bytes) * layout.factor, 0xFF, np.uint8)
    written = {name: numbers(kind, count, seed) for name, kind in zip(names, real, strict=True)}
    for name, value in written.items():
        storage, offset = layout.place(name)
        spread = layout.spread(name, value)
        assert storage == "base"
        assert spread.size == graph.tensor[name].size_bytes * layout.factor
        memory[offset : offset + spread.size] = spread
    for name, value in written.items():
        _, offset = layout.place(name)
        end = offset + graph.tensor[name].size_bytes * layout.factor
        shape = graph.tensor[name].shape
        found = layout.gather(name, memory[offset:end], value.dtype, shape)
        assert found.shape == shape and found.dtype == value.dtype
        assert found.tobytes() == value.tobytes()


@pytest.mark.parametrize(("planned", "factor"), [(DType.FLOAT32, 1), (DType.INT8, 4)])
def test_equal_widths_leave_no_padding(planned: DType, factor: int) -> None:
    layout = layout_of(Graph("g", (Tensor("t", (8,), planned),), ()), [("t", 4)])
    value = np.arange(8, dtype=np.float32)
    assert layout.factor == factor
    assert layout.spread("t", value).tobytes() == value.tobytes()


def test_a_width_the_layout_was_not_made_for_is_a_bug() -> None:
    layout = layout_of(Graph("g", (Tensor("t", (8,), DType.INT8),), ()), [("t", 1)])
    with pytest.raises(InternalError, match="'t': elements of 4 bytes do not fit slots of 1"):
        layout.spread("t", np.zeros(8, np.float32))
