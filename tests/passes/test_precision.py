"""Planning a float model at the sizes of its reduced-precision form."""

import pytest
from tests.passes.graph_language import GraphBuilder

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Alias, Graph, Role
from stowplan.passes.pipeline import default_pipeline, run_pipeline


def _model() -> Graph:
    built = GraphBuilder()
    built.tensor("x", (1, 4, 2, 2), Role.INPUT)
    built.tensor("w", (4, 4, 1, 1), Role.WEIGHT)
    built.tensor("bias", (4,), Role.WEIGHT)
    built.tensor("column", (4, 1, 1, 1), Role.WEIGHT)
    built.tensor("table", (9, 4), Role.WEIGHT)
    built.tensor("ids", (1, 2), Role.INPUT, DType.INT64)
    built.tensor("c", (1, 4, 2, 2))
    built.op("Conv", ("x", "w", "bias"), ("c",))
    built.tensor("d", (1, 4, 2, 2))
    built.op("Conv", ("c", "column"), ("d",), group=4)
    built.tensor("half", (1, 2, 2, 2))
    built.op("Slice", ("d",), ("half",), starts=(2,), axes=(1,))
    built.tensor("e", (1, 2, 4))
    built.op("Gather", ("table", "ids"), ("e",))
    built.unary("Softmax", "half", "y", Role.OUTPUT)
    built.unary("Softmax", "e", "z", Role.OUTPUT)
    return built.build()


def test_int8_keeps_biases_wide_and_integers_alone() -> None:
    changed = run_pipeline(_model(), default_pipeline("int8"))
    types = {tensor.name: tensor.dtype for tensor in changed.tensors}
    wide = {"bias": DType.INT32, "ids": DType.INT64}
    assert types == {name: wide.get(name, DType.INT8) for name in types}
    assert changed.tensor["half"].alias == Alias("d", 8)


def test_float_types_apply_to_every_float() -> None:
    changed = run_pipeline(_model(), "precision{dtype=float16}")
    assert {t.dtype for t in changed.tensors} == {DType.FLOAT16, DType.INT64}


@pytest.mark.parametrize("dtype", ["int8", "float16", "int4"])
def test_offsets_of_views_scale(dtype: str) -> None:
    before = run_pipeline(_model(), f"precision{{dtype={dtype}}},elide-views")
    after = run_pipeline(_model(), f"elide-views,precision{{dtype={dtype}}}")
    assert before == after


def test_a_view_that_would_start_inside_a_byte_keeps_the_type() -> None:
    built = GraphBuilder()
    built.tensor("x", (1, 3, 1), Role.INPUT)
    built.unary("Softmax", "x", "a")
    built.tensor("part", (1, 2, 1), alias=Alias("a", 4))
    built.unary("Softmax", "part", "y", Role.OUTPUT)
    changed = run_pipeline(built.build(), "precision{dtype=int4}")
    assert changed.tensor["a"].dtype is changed.tensor["part"].dtype is DType.FLOAT32
    assert changed.tensor["y"].dtype is DType.INT4


def test_in_place_pairs_of_unequal_sizes_go() -> None:
    built = GraphBuilder()
    built.tensor("x", (4,), Role.INPUT, DType.INT32)
    built.tensor("f", (4,))
    built.op("Cast", ("x",), ("f",))
    built.unary("Softmax", "f", "y", Role.OUTPUT)
    paired = run_pipeline(built.build(), "in-place")
    assert paired.operators[0].in_place == ((0, 0),)
    assert run_pipeline(paired, "precision").operators[0].in_place == ()
