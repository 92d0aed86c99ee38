"""View elision, in-place sharing and canonical forms."""

from dataclasses import replace

import pytest
from tests.passes.graph_language import GraphBuilder

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Alias, Graph, Role
from stowplan.ir.verify import verify
from stowplan.passes.pipeline import run_pipeline

_Shape = tuple[int, ...]


def _start(shape: _Shape = (1, 4, 2, 2)) -> GraphBuilder:
    built = GraphBuilder()
    built.tensor("x", shape, Role.INPUT, DType.INT8)
    return built


def _view(kind: str, source: _Shape, result: _Shape, **attributes: int | _Shape) -> Graph:
    """``x -> Softmax -> a -> view -> b -> Softmax -> y``."""
    built = _start(source)
    built.unary("Softmax", "x", "a")
    built.tensor("b", result, dtype=DType.INT8)
    built.op(kind, ("a",), ("b",), **attributes)
    built.unary("Softmax", "b", "y", Role.OUTPUT)
    return built.build()


def _kinds(graph: Graph) -> list[str]:
    return [op.kind for op in graph.operators]


@pytest.mark.parametrize(
    ("graph", "offset"),
    [
        (_view("Reshape", (1, 4), (2, 2)), 0),
        (_view("Flatten", (1, 4, 2), (1, 8), axis=1), 0),
        (_view("Squeeze", (1, 4), (4,)), 0),
        (_view("Unsqueeze", (4,), (1, 4)), 0),
        (_view("Identity", (4,), (4,)), 0),
        (_view("Dropout", (4,), (4,)), 0),
        (_view("Transpose", (1, 4, 1, 2), (4, 2, 1, 1), perm=(1, 3, 0, 2)), 0),
        (_view("Transpose", (1, 4), (4, 1)), 0),
        (_view("Pad", (1, 4), (1, 4), pads=(0, 0, 0, 0)), 0),
        (_view("Slice", (1, 4, 2), (1, 2, 2), starts=(1,), ends=(3,), axes=(1,)), 2),
        (_view("Slice", (1, 4, 2), (1, 3, 2), starts=(-3,), ends=(9,), axes=(-2,)), 2),
        (_view("Slice", (3, 4, 2), (1, 2, 2), starts=(1, 1), ends=(2, 3), axes=(0, 1)), 10),
        (_view("Slice", (3, 4), (2, 4), starts=(1, 0), ends=(3, 4)), 4),
        (_view("Gather", (3, 4), (4,), indices=-1, axis=0), 8),
        (_view("Gather", (1, 3, 4), (1, 1, 4), indices=(1,), axis=1), 4),
    ],
)
def test_contiguous_views_are_elided(graph: Graph, offset: int) -> None:
    changed = run_pipeline(graph, "elide-views")
    assert _kinds(changed) == ["Softmax", "Softmax"]
    assert changed.tensor["b"].alias == Alias("a", offset)


@pytest.mark.parametrize(
    "graph",
    [
        _view("Transpose", (2, 4), (4, 2), perm=(1, 0)),
        _view("Dropout", (4,), (4,), training_mode=1),
        _view("Slice", (2, 4), (2, 2), starts=(1,), ends=(3,), axes=(1,)),
        _view("Slice", (1, 4), (1, 2), starts=(0,), ends=(4,), axes=(1,), steps=(2,)),
        _view("Slice", (1, 4), (1, 4), starts=(3,), ends=(-9,), axes=(1,), steps=(-1,)),
        _view("Gather", (2, 3), (2,), indices=0, axis=1),
        _view("Gather", (4,), (2,), indices=(0, 2), axis=0),
        _view("Pad", (1, 4), (1, 4), pads=(0, 1, 0, -1)),
        _view("Cast", (1, 4), (1, 5)),
    ],
)
def test_what_moves_bytes_stays(graph: Graph) -> None:
    assert run_pipeline(graph, "elide-views") == graph


def test_split_parts_are_views_of_the_whole() -> None:
    built = _start()
    built.unary("Softmax", "x", "a")
    for name in ("l", "r"):
        built.tensor(name, (1, 2, 2, 2), dtype=DType.INT8)
    built.op("Split", ("a",), ("l", "r"), axis=1)
    built.unary("Softmax", "l", "y", Role.OUTPUT)
    built.unary("Softmax", "r", "z", Role.OUTPUT)
    graph = built.build()
    changed = run_pipeline(graph, "elide-views")
    assert _kinds(changed) == ["Softmax"] * 3
    assert [changed.resolve(name) for name in ("l", "r")] == [("a", 0), ("a", 8)]
    assert run_pipeline(graph, "elide-views{split=false}") == graph


def _concat(built: GraphBuilder, members: tuple[str, ...], name: str, axis: int = 1) -> None:
    shapes = [built.tensors[member].shape for member in members]
    shape = tuple(
        sum(s[d] for s in shapes) if d == axis else extent for d, extent in enumerate(shapes[0])
    )
    built.tensor(name, shape, dtype=DType.INT8)
    built.op("Concat", members, (name,), axis=axis)


def _dense_block(layers: int, flat: bool) -> Graph:
    """Every layer concatenates all earlier features, as one Concat or onto the last one."""
    built = _start()
    built.unary("Softmax", "x", "f0")
    features, whole = ["f0"], "f0"
    for i in range(1, layers + 1):
        built.tensor(f"f{i}", (1, 4, 2, 2), dtype=DType.INT8)
        built.op("Conv", (whole,), (f"f{i}",))
        features.append(f"f{i}")
        _concat(built, tuple(features) if flat else (whole, f"f{i}"), f"c{i}")
        whole = f"c{i}"
    built.unary("Softmax", whole, "y", Role.OUTPUT)
    return built.build()


@pytest.mark.parametrize("flat", [True, False])
def test_nested_concats_share_the_last_ones_storage(flat: bool) -> None:
    changed = run_pipeline(_dense_block(5, flat), "elide-views")
    assert "Concat" not in _kinds(changed)
    assert [changed.resolve(f"f{i}") for i in range(6)] == [("c5", 16 * i) for i in range(6)]
    assert all(changed.resolve(f"c{i}") == ("c5", 0) for i in range(1, 6))
    kept = run_pipeline(_dense_block(5, flat), "elide-views{concat=false}")
    assert _kinds(kept).count("Concat") == 5


@pytest.mark.parametrize(
    "members",
    [
        pytest.param(("a", "a"), id="one place per tensor"),
        pytest.param(("x", "a"), id="an input keeps its storage"),
        pytest.param(("w", "a"), id="a weight keeps its storage"),
        pytest.param(("o", "a"), id="an output keeps its storage"),
    ],
)
def test_concats_that_need_a_copy_stay(members: tuple[str, ...]) -> None:
    built = _start()
    built.tensor("w", (1, 4, 2, 2), Role.WEIGHT, DType.INT8)
    built.unary("Softmax", "x", "a")
    built.unary("Softmax", "x", "o", Role.OUTPUT)
    _concat(built, members, "c")
    built.unary("Softmax", "c", "y", Role.OUTPUT)
    built.op("Conv", ("w",), (built.tensor("z", (2,), Role.OUTPUT),))
    assert "Concat" in _kinds(run_pipeline(built.build(), "elide-views"))


def test_concat_along_an_inner_dimension_stays() -> None:
    built = _start((2, 2))
    built.unary("Softmax", "x", "a")
    built.unary("Softmax", "x", "b")
    _concat(built, ("a", "b"), "c")
    built.unary("Softmax", "c", "y", Role.OUTPUT)
    assert "Concat" in _kinds(run_pipeline(built.build(), "elide-views"))


def test_a_tensor_of_two_concats_lies_in_one_of_them() -> None:
    built = _start()
    for name in ("a", "b", "c"):
        built.unary("Softmax", "x", name)
    _concat(built, ("a", "b"), "ab")
    _concat(built, ("c", "a"), "ca")
    built.unary("Softmax", "ab", "y", Role.OUTPUT)
    built.unary("Softmax", "ca", "z", Role.OUTPUT)
    changed = run_pipeline(built.build(), "elide-views")
    assert _kinds(changed).count("Concat") == 1


def test_parts_of_one_split_put_together_again_are_the_whole() -> None:
    built = _start()
    for name in ("l", "r"):
        built.tensor(name, (1, 2, 2, 2), dtype=DType.INT8)
    built.op("Split", ("x",), ("l", "r"), axis=1)
    _concat(built, ("l", "r"), "c")
    built.unary("Softmax", "c", "y", Role.OUTPUT)
    changed = run_pipeline(built.build(), "elide-views")
    assert sum(kind in ("Split", "Concat") for kind in _kinds(changed)) <= 1


def test_a_reshaped_output_keeps_its_own_storage() -> None:
    built = _start()
    built.unary("Softmax", "x", "a")
    built.tensor("y", (16,), Role.OUTPUT, DType.INT8)
    built.op("Reshape", ("a",), ("y",))
    changed = run_pipeline(built.build(), "elide-views")
    assert changed.tensor["a"].alias == Alias("y", 0)
    assert changed.tensor["y"].alias is None


def test_an_input_reshaped_into_an_output_is_copied() -> None:
    built = _start()
    built.tensor("y", (16,), Role.OUTPUT, DType.INT8)
    built.op("Reshape", ("x",), ("y",))
    graph = built.build()
    assert run_pipeline(graph, "elide-views") == graph


def test_views_of_inputs_are_never_overwritten() -> None:
    built = _start()
    built.tensor("v", (16,), dtype=DType.INT8)
    built.op("Reshape", ("x",), ("v",))
    built.unary("Relu", "v", "r")
    built.unary("Softmax", "r", "y", Role.OUTPUT)
    changed = run_pipeline(built.build(), "elide-views,in-place")
    assert changed.resolve("v") == ("x", 0)
    assert changed.resolve("r") == ("r", 0)


def _relu(readers: int, source: Role = Role.ACTIVATION) -> Graph:
    built = _start()
    built.unary("Softmax", "x", "a", source)
    built.unary("Relu", "a", "r")
    built.unary("Softmax", "r", "y", Role.OUTPUT)
    for i in range(readers - 1):
        built.unary("Softmax", "a", f"z{i}", Role.OUTPUT)
    return built.build()


def test_the_only_reader_overwrites_its_operand() -> None:
    changed = run_pipeline(_relu(1), "in-place")
    assert changed.tensor["r"].alias == Alias("a", 0)
    assert all(not op.in_place for op in changed.operators)


@pytest.mark.parametrize("graph", [_relu(2), _relu(1, Role.OUTPUT)])
def test_other_cases_are_candidates(graph: Graph) -> None:
    changed = run_pipeline(graph, "in-place")
    assert changed.tensor["r"].alias is None
    assert changed.operator["relu_1"].in_place == ((0, 0),)


def test_without_sharing_all_cases_are_candidates() -> None:
    changed = run_pipeline(_relu(1), "in-place{share=false}")
    assert changed.tensor["r"].alias is None
    assert changed.operator["relu_1"].in_place == ((0, 0),)


def test_an_output_lends_its_storage_to_what_it_replaces() -> None:
    built = _start()
    built.unary("Softmax", "x", "a")
    built.unary("Relu", "a", "y", Role.OUTPUT)
    changed = run_pipeline(built.build(), "in-place")
    assert changed.tensor["a"].alias == Alias("y", 0)


def test_chains_of_additions_share_one_accumulator() -> None:
    built = _start()
    built.unary("Softmax", "x", "s0")
    for i in range(1, 4):
        built.unary("Softmax", "x", f"t{i}")
        built.tensor(f"s{i}", (1, 4, 2, 2), dtype=DType.INT8)
        built.op("Add", (f"s{i - 1}", f"t{i}"), (f"s{i}",))
    built.unary("Softmax", "s3", "y", Role.OUTPUT)
    changed = run_pipeline(built.build(), "in-place")
    assert {changed.resolve(f"s{i}") for i in range(4)} == {("s0", 0)}


def test_an_operand_that_is_also_read_elsewhere_in_the_operator_stays() -> None:
    built = _start((1, 4))
    built.unary("Softmax", "x", "a")
    built.tensor("part", (1, 1), dtype=DType.INT8)
    built.op("Slice", ("a",), ("part",), starts=(2,), axes=(1,))
    built.tensor("m", (1, 4), dtype=DType.INT8)
    built.op("Mul", ("a", "part"), ("m",))
    built.unary("Softmax", "m", "y", Role.OUTPUT)
    changed = run_pipeline(built.build(), "elide-views,in-place")
    assert changed.resolve("part") == ("a", 2)
    assert changed.resolve("m") == ("m", 0)


def test_broadcast_operands_and_wider_results_are_no_candidates() -> None:
    built = _start((1, 4))
    built.unary("Softmax", "x", "a")
    built.tensor("wide", (4, 4), dtype=DType.INT8)
    built.op("Add", ("a", "a"), ("wide",))
    built.tensor("cast", (4, 4), dtype=DType.INT32)
    built.op("Cast", ("wide",), ("cast",))
    built.unary("Softmax", "cast", "y", Role.OUTPUT)
    changed = run_pipeline(built.build(), "in-place")
    assert all(t.alias is None for t in changed.tensors)
    assert all(not op.in_place for op in changed.operators)


def test_canonical_reinterpretations_are_reshapes() -> None:
    changed = run_pipeline(_view("Flatten", (1, 4, 2), (1, 8), axis=1), "canonicalise")
    assert _kinds(changed) == ["Softmax", "Reshape", "Softmax"]
    assert changed.operators[1].nodes == ("flatten_1",)


def test_canonical_axes_count_from_the_front() -> None:
    built = _start((1, 4))
    built.unary("Softmax", "x", "y", Role.OUTPUT)
    graph = built.build()
    softmax = replace(graph.operators[0], attributes=(("axis", -1),))
    changed = run_pipeline(graph.replace(operators=(softmax,)), "canonicalise")
    assert changed.operators[0].attribute("axis") == 1


def test_dead_code_drops_operators_tensors_and_trailing_outputs() -> None:
    built = _start()
    for name in ("a", "mask", "unused"):
        built.tensor(name, (4,))
    built.op("Dropout", ("x",), ("a", "mask"))
    built.op("Relu", ("a",), ("unused",))
    built.unary("Softmax", "a", "y", Role.OUTPUT)
    changed = run_pipeline(built.build(), "dead-code")
    assert _kinds(changed) == ["Dropout", "Softmax"]
    assert changed.operators[0].outputs == ("a",)
    assert changed.tensor.keys() == {"x", "a", "y"}


def test_dead_code_keeps_unused_inputs() -> None:
    built = _start()
    built.tensor("spare", (4,), Role.INPUT)
    built.unary("Softmax", "x", "y", Role.OUTPUT)
    graph = built.build()
    assert run_pipeline(graph, "dead-code") == graph
    verify(graph)
