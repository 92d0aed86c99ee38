"""The support matrix and the warnings that go with it."""

import pytest
from tests.targets.graphs import single

from stowplan.ir.operator_kinds import KINDS
from stowplan.targets.cost import operator_cost
from stowplan.targets.load import load_target
from stowplan.targets.support import cost_warnings, supported_kinds


def test_every_known_kind_has_one_row() -> None:
    rows = supported_kinds()
    assert [(row.domain, row.name) for row in rows] == list(KINDS)


def test_rows_are_consistent() -> None:
    for row in supported_kinds():
        assert row.engine in (("array", "vector") if row.imported else ("",))
        assert row.imported or not (row.cost_model or row.proof)


def test_engines_are_those_the_cost_model_chooses() -> None:
    rows = {(row.domain, row.name): row for row in supported_kinds()}
    target = load_target("edge-npu")
    cases: list[tuple[str, list[tuple[int, ...]], tuple[int, ...]]] = [
        ("Conv", [(1, 4, 8, 8), (4, 4, 1, 1)], (1, 4, 8, 8)),
        ("MatMul", [(4, 4), (4, 4)], (4, 4)),
        ("Softmax", [(4, 4)], (4, 4)),
        ("RotaryEmbedding", [(1, 4, 8)], (1, 4, 8)),
        ("Attention", [(1, 4, 8)] * 3, (1, 4, 8)),
        ("GRU", [(4, 2, 8), (1, 18, 8), (1, 18, 6)], (4, 1, 2, 6)),
    ]
    for kind, inputs, output in cases:
        graph = single(kind, inputs, output)
        assert operator_cost(graph, graph.operators[0], target).engine == rows["", kind].engine


def test_one_warning_names_each_kind_without_a_model() -> None:
    unknown = single("Frobnicate", [(4,)], (4,), domain="acme")
    (warning,) = cost_warnings(unknown)
    assert "Frobnicate" in warning
    assert "acme" in warning
    assert cost_warnings(single("Relu", [(4,)], (4,))) == ()


def test_provable_kinds_have_a_kernel_in_onnx_runtime() -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    kernels = {
        (definition.domain.replace("ai.onnx", ""), definition.op_name)
        for definition in state.get_all_opkernel_def()
        if definition.provider == "CPUExecutionProvider"
    }
    functions = {
        (schema.domain, schema.name)
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.has_function or schema.has_context_dependent_function
    }
    provable = {(row.domain, row.name) for row in supported_kinds() if row.proof}
    assert provable <= kernels | functions
