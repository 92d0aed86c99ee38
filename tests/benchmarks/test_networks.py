"""The networks of the planning literature against their published sizes."""

import onnx
import pytest
from benchmarks.cosma import load_network
from benchmarks.cosma_data import Case
from benchmarks.networks import NETWORKS
from tests.strategies import small_target

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Role
from stowplan.passes.problem import planning_problem

PUBLISHED_MILLIONS = {
    "ResNet-50": 25.6,
    "DenseNet-121": 8.0,
    "ResNeXt-50": 25.0,
    "R(2+1)D-18": 33.3,
    "S3D": 8.3,
    "FCN-ResNet50": 35.3,
    "LR-ASPP": 3.2,
    "DeepLabV3-ResNet50": 42.0,
    "ViT-B/16": 86.6,
    "PNASNet-5": 86.1,
    "NASNet-A": 88.9,
    "DARTS": 4.7,
    "RandWire-WS": 5.6,
}
"""Parameters, in millions.

Sources: the papers named in ``benchmarks.networks`` (RandWire: small regime; NASNet-A, DARTS: their
ImageNet tables); torchvision's model documentation; timm's model documentation for PNASNet-5.
"""


@pytest.mark.parametrize("name", PUBLISHED_MILLIONS)
def test_parameters_are_as_published(name: str) -> None:
    graph, _ = load_network(Case(name, "int8", parameters=False))
    weights = sum(tensor.elements for tensor in graph.by_role(Role.WEIGHT))
    # Normalisation folded into convolutions, and masks, move the count by less than two per cent.
    assert weights / 1e6 == pytest.approx(PUBLISHED_MILLIONS[name], rel=0.02)


@pytest.mark.parametrize("name", NETWORKS)
def test_models_are_valid_with_the_shapes_they_state(name: str) -> None:
    model = NETWORKS[name]()
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    for stated, found in zip(model.graph.output, inferred.graph.output, strict=True):
        assert stated.type == found.type


def test_tensors_are_plain_and_of_the_precision_asked_for() -> None:
    """The widest layer of DenseNet-121: two maps of 64 channels of 112 x 112."""
    largest = {}
    for precision, dtype in (("int8", DType.INT8), ("float32", DType.FLOAT32)):
        graph, nodes = load_network(Case("DenseNet-121", precision, parameters=False))
        activations = graph.by_role(Role.ACTIVATION)
        assert {tensor.dtype for tensor in activations} == {dtype}
        assert all(tensor.alias is None for tensor in graph.tensors)
        assert not any(op.in_place for op in graph.operators)
        assert len(graph.operators) < nodes
        problem = planning_problem(graph, small_target(1 << 30).memory_spec())
        largest[precision] = max(map(problem.demand, range(problem.operators)))
    assert largest["float32"] == 4 * largest["int8"] == 4 * 2 * 802_816


def test_without_fusion_each_node_is_an_operator() -> None:
    fused, nodes = load_network(Case("ResNet-50", "int8", parameters=False))
    apart, same = load_network(Case("ResNet-50", "int8", parameters=False, fused=False))
    assert nodes == same == len(apart.operators) > len(fused.operators)
