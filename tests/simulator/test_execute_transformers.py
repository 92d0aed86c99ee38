"""Tiled plans of an encoder and of a decoder compute the model, bit for bit."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.simulator.transformer_models import decoder, encoder

import stowplan

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize("made", [encoder, decoder])
def test_transformers_in_32_kib_are_proved(
    made: Callable[[Path], Path], tracked: bool, tmp_path: Path
) -> None:
    model = made(tmp_path)
    found = stowplan.compile(
        model,
        planner="greedy",
        overrides=("scratchpad.size=32KiB",),
        track_weights=tracked,
    )
    cut = {op.kind for op in found.graph.operators if op.parent}
    assert {"MatMul", "Softmax", "LayerNormalization"} <= cut
    proof = found.prove()
    assert proof.passed and proof.scratchpad_bytes <= 32 << 10


@pytest.mark.parametrize("made", [encoder, decoder])
def test_a_transformer_at_the_size_of_int8_is_proved(
    made: Callable[[Path], Path], tmp_path: Path
) -> None:
    found = stowplan.compile(
        made(tmp_path), planner="greedy", precision="int8", overrides=("scratchpad.size=8KiB",)
    )
    assert any(op.parent for op in found.graph.operators)
    assert found.prove().passed
