"""The networks written for Stream, and the arithmetic on what it returns, without Stream."""

from argparse import Namespace
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from benchmarks import stream_run
from benchmarks.networks.builder import Net
from benchmarks.stream_network import BUILT, plain

from stowplan.errors import UsageError
from stowplan.ir.graph import Role
from stowplan.ir.onnx_import import import_model

PUBLISHED_PARAMETERS = {"resnet18": 11_689_512, "fsrcnn": 12_464 - 9 * 9 * 56 + 9 * 16 * 56 + 188}
"""Source: torchvision's documentation; "Accelerating the Super-Resolution Convolutional Neural
Network", Table 1, with another last layer (3 x 3 to 16 maps) and the 188 biases."""


@pytest.mark.parametrize("name", BUILT)
def test_networks_have_their_published_size(name: str, tmp_path: Path) -> None:
    file = tmp_path / "network.onnx"
    onnx.save(plain(BUILT[name]()), file)
    graph = import_model(file).graph
    elements = sum(tensor.elements for tensor in graph.by_role(Role.WEIGHT))
    # Normalisation is folded: two parameters per channel become one bias.
    assert elements == pytest.approx(PUBLISHED_PARAMETERS[name], rel=0.001)


def test_heads_become_convolutions_and_made_weights_are_stored() -> None:
    net = Net("net", (1, 3, 8, 8))
    mean = net.node(
        "ReduceMean", [net.conv(net.x, 4, 3), net.constant(np.array([2, 3]))], (1, 4, 1, 1)
    )
    flat = net.reshape(mean, 1, 4)
    dense = net.node("Gemm", [flat, net.weight(4, 5), net.weight(5)], (1, 5))
    written = plain(net.model(dense))
    kinds = [node.op_type for node in written.graph.node]
    assert kinds == ["Conv", "GlobalAveragePool", "Conv"]
    (result,) = written.graph.output
    assert [d.dim_value for d in result.type.tensor_type.shape.dim] == [1, 5, 1, 1]
    stored = {tensor.name: tuple(tensor.dims) for tensor in written.graph.initializer}
    assert [stored[name] for name in written.graph.node[2].input[1:]] == [(5, 4, 1, 1), (5,)]
    onnx.checker.check_model(written, full_check=True)


def test_means_over_channels_are_refused() -> None:
    net = Net("net", (1, 3, 8, 8))
    mean = net.node("ReduceMean", [net.x, net.constant(np.array([1]))], (1, 1, 8, 8))
    with pytest.raises(UsageError, match="rows and columns"):
        plain(net.model(mean))


def tensor(kind: str, memory: str, bits: int, constants: tuple[str, ...] = ()) -> Any:
    origin = SimpleNamespace(constant_operands=constants)
    return SimpleNamespace(layer_operand=kind, memory_operand=memory, size=bits, origin=origin)


def test_transfers_and_operands_used_in_place_are_counted_by_kind() -> None:
    weight, image = tensor("W", "I2", 80, ("W",)), tensor("I", "I1", 24, ("I", "W"))
    result = tensor("O", "O", 16)
    moved = [(weight, True), (image, True), (result, False), (result, True), (weight, True)]
    moves = SimpleNamespace(rd_out_to_low=3, rd_out_to_high=0, wr_in_by_low=0, wr_in_by_high=0)
    written = SimpleNamespace(rd_out_to_low=1, rd_out_to_high=0, wr_in_by_low=2, wr_in_by_high=0)
    cost = SimpleNamespace(memory_word_access={"W": [None, moves], "O": [written]})
    node = SimpleNamespace(
        memory_operand_links={"W": "I2", "I": "I1", "O": "O"},
        too_large_operands=["I2", "O"],
        constant_operands=["W"],
        __hash__=None,
    )
    schedule = SimpleNamespace(
        accelerator=SimpleNamespace(communication_manager=SimpleNamespace(moved=moved)),
        workload=SimpleNamespace(nodes=lambda: [node]),
    )

    class Costs(dict[Any, Any]):
        def items(self) -> Any:
            return [(node, {"core": cost})]

    word = stream_run.DRAM_BITS_PER_CYCLE
    assert +stream_run.moved_bits(schedule, Costs()) == Counter(
        weights_read=160,
        input_read=24,
        activations_written=16,
        activations_read=16,
        streamed_weights_read=3 * word,
        streamed_activations_read=word,
        streamed_activations_written=2 * word,
    )


def test_cuts_in_the_words_of_stream() -> None:
    def cuts(rows: str, until: int = 0) -> dict[str, Any]:
        return stream_run.cuts(Namespace(rows=rows, until=until, mode=4))

    assert cuts("1") == {"cn_define_mode": 4, "hint_loops": []}
    assert cuts("7")["hint_loops"] == [("OY", 7)]
    assert cuts("all", 13) == {
        "cn_define_mode": 3,
        "hint_loops": [[("OY", "all")], []],
        "layer_cutoffs": [13],
    }


def test_a_missing_library_is_told_in_a_line() -> None:
    with pytest.raises(SystemExit, match="stream-dse"):
        stream_run.library("no_such_library_of_that_name")
