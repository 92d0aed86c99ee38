"""Fusion: what becomes one operator, and what must not."""

import pytest
from tests.passes.graph_language import GraphBuilder

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Alias, Graph, Operator, Role
from stowplan.passes.pipeline import run_pipeline


def _start() -> GraphBuilder:
    built = GraphBuilder()
    built.tensor("x", (1, 4, 2, 2), Role.INPUT)
    built.tensor("w", (4, 4, 1, 1), Role.WEIGHT)
    built.tensor("v", (4,), Role.WEIGHT)
    return built


def _conv(built: GraphBuilder, source: str, name: str, kind: str = "Conv") -> str:
    built.tensor(name, built.tensors[source].shape)
    built.op(kind, (source, "w"), (name,), group=1)
    return name


def _finish(built: GraphBuilder, last: str) -> Graph:
    built.unary("Softmax", last, "y", Role.OUTPUT)
    return built.build()


def _only(graph: Graph, kind: str) -> Operator:
    found = [op for op in graph.operators if op.kind == kind]
    assert len(found) == 1
    return found[0]


def test_conv_takes_batch_normalisation_and_activation() -> None:
    built = _start()
    _conv(built, "x", "c")
    built.tensor("n", (1, 4, 2, 2))
    built.op("BatchNormalization", ("c", "v", "v", "v", "v"), ("n",), epsilon=1e-5)
    built.unary("Relu", "n", "r")
    graph = run_pipeline(_finish(built, "r"), "fuse-conv")
    conv = _only(graph, "Conv")
    assert conv.epilogue == ("BatchNormalization", "Relu")
    assert (conv.inputs, conv.outputs) == (("x", "w", "v"), ("r",))
    assert conv.nodes == ("conv_0", "batchnormalization_1", "relu_2")
    assert conv.attributes == (("group", 1),)
    assert not {"c", "n"} & graph.tensor.keys()


@pytest.mark.parametrize("kinds", [("Clip",), ("HardSwish",), ("LeakyRelu", "Clip"), ("Erf",)])
def test_conv_takes_chains_of_activations(kinds: tuple[str, ...]) -> None:
    built = _start()
    last = _conv(built, "x", "c")
    for i, kind in enumerate(kinds):
        last = built.unary(kind, last, f"a{i}")
    assert _only(run_pipeline(_finish(built, last), "fuse-conv"), "Conv").epilogue == kinds


def test_conv_takes_silu_written_as_two_operators() -> None:
    built = _start()
    _conv(built, "x", "c")
    built.unary("Sigmoid", "c", "s")
    built.binary("Mul", "c", "s", "m")
    conv = _only(run_pipeline(_finish(built, "m"), "fuse-conv"), "Conv")
    assert (conv.epilogue, conv.outputs) == (("Sigmoid", "Mul"), ("m",))


def test_an_activation_with_a_second_reader_outside_is_not_taken() -> None:
    built = _start()
    _conv(built, "x", "c")
    built.unary("Sigmoid", "c", "s")
    built.binary("Mul", "c", "s", "m")
    built.unary("Softmax", "s", "z", Role.OUTPUT)
    graph = _finish(built, "m")
    assert run_pipeline(graph, "fuse-conv") == graph


def test_a_graph_output_is_never_fused_away() -> None:
    built = _start()
    built.tensor("c", (1, 4, 2, 2), Role.OUTPUT)
    built.op("Conv", ("x", "w"), ("c",))
    built.unary("Relu", "c", "r")
    graph = _finish(built, "r")
    assert run_pipeline(graph, "fuse-conv,fuse-elementwise") == graph


def test_residual_add_goes_to_the_later_convolution_and_may_be_in_place() -> None:
    built = _start()
    _conv(built, "x", "side")
    _conv(built, "x", "main")
    built.binary("Add", "side", "main", "sum")
    built.unary("Relu", "sum", "r")
    graph = run_pipeline(_finish(built, "r"), "fuse-conv")
    conv = graph.operator["conv_1"]
    assert (conv.epilogue, conv.inputs) == (("Add", "Relu"), ("x", "w", "side"))
    assert conv.in_place == ((0, 2),)
    without = run_pipeline(_finish(built, "r"), "fuse-conv{residual=false}")
    assert without.operator["conv_1"].epilogue == ()


def test_the_convolutions_own_input_is_no_in_place_residual() -> None:
    built = _start()
    _conv(built, "x", "c")
    built.binary("Add", "c", "x", "sum")
    conv = _only(run_pipeline(_finish(built, "sum"), "fuse-conv"), "Conv")
    assert (conv.inputs, conv.in_place) == (("x", "w"), ())


def test_what_changes_the_shape_is_not_taken() -> None:
    built = _start()
    built.tensor("c", (1, 4, 1, 1))
    built.op("Conv", ("x", "w"), ("c",))
    built.tensor("m", (1, 4, 2, 2))
    built.op("Mul", ("c", "v"), ("m",))
    assert _only(run_pipeline(_finish(built, "m"), "fuse-conv"), "Conv").epilogue == ()


@pytest.mark.parametrize("kind", ["MatMul", "Gemm"])
def test_matrix_products_take_bias_and_gelu(kind: str) -> None:
    built = _start()
    _conv(built, "x", "p", kind)
    built.binary("Add", "p", "v", "b")
    built.binary("Div", "b", "v", "d")
    built.unary("Erf", "d", "e")
    built.binary("Add", "e", "v", "one")
    built.binary("Mul", "b", "one", "m")
    built.binary("Mul", "m", "v", "g")
    product = _only(run_pipeline(_finish(built, "g"), "fuse-matmul"), kind)
    assert product.epilogue == ("Add", "Div", "Erf", "Add", "Mul", "Mul")
    assert (product.inputs, product.outputs) == (("x", "w", "v"), ("g",))


def test_a_reshape_that_regroups_rows_may_stand_before_the_activation() -> None:
    built = GraphBuilder()
    built.tensor("x", (6, 4), Role.INPUT)
    built.tensor("w", (4, 4), Role.WEIGHT)
    built.tensor("p", (6, 4))
    built.op("Gemm", ("x", "w"), ("p",))
    built.tensor("r", (2, 3, 4))
    built.op("Reshape", ("p",), ("r",))
    built.unary("Relu", "r", "a")
    built.tensor("s", (1, 6, 4))
    built.op("Reshape", ("a",), ("s",))
    gemm = _only(run_pipeline(_finish(built, "s"), "fuse-matmul"), "Gemm")
    # The Reshape behind the last activation stays a view.
    assert (gemm.epilogue, gemm.outputs) == (("Reshape", "Relu"), ("a",))


def test_elementwise_chains_fuse_but_bring_in_no_more_activations() -> None:
    built = _start()
    built.unary("Sigmoid", "x", "s")
    built.binary("Mul", "x", "s", "m")
    built.unary("Softmax", "x", "other")
    built.binary("Add", "m", "other", "sum")
    built.unary("Relu", "sum", "r")
    graph = run_pipeline(_finish(built, "r"), "fuse-elementwise")
    assert [(op.kind, op.epilogue) for op in graph.operators] == [
        ("Sigmoid", ("Mul",)),
        ("Softmax", ()),
        ("Add", ("Relu",)),
        ("Softmax", ()),
    ]
    merged = run_pipeline(_finish(built, "r"), "fuse-elementwise{residual=true}")
    assert _only(merged, "Sigmoid").epilogue == ("Mul", "Add", "Relu")


@pytest.mark.parametrize("tail", ["Relu", "Sigmoid"])
def test_a_group_never_reads_what_is_overwritten_before_its_place(tail: str) -> None:
    built = _start()
    built.unary("Softmax", "x", "a")
    _conv(built, "a", "c")
    built.tensor("updated", (1, 4, 2, 2), alias=Alias("a"))
    built.op("Relu", ("a",), ("updated",))
    built.unary(tail, "c", "r")
    built.unary("Softmax", "updated", "z", Role.OUTPUT)
    graph = _finish(built, "r")
    assert run_pipeline(graph, "fuse-conv") == graph


class _Quantised(GraphBuilder):
    """Builds QuantizeLinear and DequantizeLinear pairs."""

    def dequantise(self, source: str, name: str, scale: float = 0.5) -> str:
        self.tensor(name, self.tensors[source].shape)
        self.op("DequantizeLinear", (source,), (name,), x_scale=scale, x_zero_point=1)
        return name

    def quantise(
        self, source: str, name: str, scale: float = 0.5, role: Role = Role.ACTIVATION
    ) -> str:
        self.tensor(name, self.tensors[source].shape, role, DType.INT8)
        self.op("QuantizeLinear", (source,), (name,), y_scale=scale, y_zero_point=1)
        return name


def _quantised() -> _Quantised:
    built = _Quantised()
    built.tensor("xq", (1, 4, 2, 2), Role.INPUT, DType.INT8)
    built.tensor("wq", (4, 4, 1, 1), Role.WEIGHT, DType.INT8)
    built.dequantise("xq", "x")
    built.dequantise("wq", "w")
    return built


def test_dequantise_op_quantise_becomes_one_int8_operator() -> None:
    built = _quantised()
    _conv(built, "x", "c")
    built.unary("Relu", "c", "r")
    built.quantise("r", "y", role=Role.OUTPUT)
    graph = run_pipeline(built.build(), "fuse-conv,fuse-qdq")
    (conv,) = graph.operators
    assert (conv.inputs, conv.outputs) == (("xq", "wq"), ("y",))
    assert conv.prologue == ("DequantizeLinear", "DequantizeLinear")
    assert conv.epilogue == ("Relu", "QuantizeLinear")
    assert conv.nodes[:3] == ("dequantizelinear_0", "dequantizelinear_1", "conv_2")
    assert {tensor.dtype for tensor in graph.tensors} == {DType.INT8}


def test_a_dequantizer_is_duplicated_into_each_consumer() -> None:
    built = _quantised()
    for i in range(2):
        _conv(built, "x", f"c{i}")
        built.quantise(f"c{i}", f"y{i}", role=Role.OUTPUT)
    graph = run_pipeline(built.build(), "fuse-qdq")
    assert [op.inputs for op in graph.operators] == [("xq", "wq")] * 2
    assert all("dequantizelinear_0" in op.nodes for op in graph.operators)


def test_a_dequantised_graph_output_keeps_its_dequantizer() -> None:
    built = _quantised()
    _conv(built, "x", "c")
    built.quantise("c", "q")
    built.dequantise("q", "f")
    built.tensor("f", (1, 4, 2, 2), Role.OUTPUT)
    graph = run_pipeline(built.build(), "fuse-qdq")
    assert [op.kind for op in graph.operators] == ["Conv", "DequantizeLinear"]


def test_a_result_that_is_also_read_in_float_keeps_its_quantizer() -> None:
    built = _quantised()
    _conv(built, "x", "c")
    built.quantise("c", "q", role=Role.OUTPUT)
    built.unary("Softmax", "c", "z", Role.OUTPUT)
    graph = run_pipeline(built.build(), "fuse-qdq")
    assert [op.kind for op in graph.operators] == ["Conv", "QuantizeLinear", "Softmax"]


@pytest.mark.parametrize(("scale", "left"), [(0.5, 0), (0.25, 1)])
def test_moves_between_quantisers_of_one_scale_become_views(scale: float, left: int) -> None:
    built = _quantised()
    built.unary("Softmax", "x", "s")
    built.quantise("s", "sq")
    built.dequantise("sq", "sf")
    built.tensor("f", (1, 16))
    built.op("Reshape", ("sf",), ("f",))
    built.quantise("f", "fq", scale)
    built.dequantise("fq", "ff", scale)
    built.unary("Softmax", "ff", "y", Role.OUTPUT)
    graph = run_pipeline(built.build(), "fuse-qdq,dead-code,elide-views")
    assert sum(op.kind == "Reshape" for op in graph.operators) == left
    assert (graph.tensor["fq"].alias is None) is bool(left)
    assert all(t.dtype is DType.INT8 for t in graph.tensors if t.role is Role.ACTIVATION)


def test_requantising_with_the_same_scale_is_an_identity() -> None:
    built = _quantised()
    built.quantise("x", "same")
    built.dequantise("same", "f")
    built.unary("Softmax", "f", "y", Role.OUTPUT)
    graph = run_pipeline(built.build(), "fuse-qdq,elide-views")
    assert [op.kind for op in graph.operators] == ["Softmax"]
    assert graph.operators[0].inputs == ("same",)


def test_quantised_concat_is_planned_at_int8_sizes() -> None:
    built = _quantised()
    for i in range(2):
        built.unary("Softmax", "x", f"s{i}")
        built.quantise(f"s{i}", f"q{i}")
        built.dequantise(f"q{i}", f"d{i}")
    built.tensor("cat", (1, 8, 2, 2))
    built.op("Concat", ("d0", "d1"), ("cat",), axis=1)
    built.quantise("cat", "y", role=Role.OUTPUT)
    graph = run_pipeline(built.build(), "fuse-qdq,dead-code,elide-views")
    assert [op.kind for op in graph.operators] == ["Softmax", "Softmax"]
    assert graph.resolve("q1") == ("y", 16)
