"""Small transformers as ONNX models: an encoder and a decoder with every part of the real ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, helper
from tests.ir.onnx_models import save

TOKENS, WIDTH, HEADS, WORDS = 48, 64, 4, 160
Weights = dict[str, npt.NDArray[Any]]


class Network:
    """Nodes and weights in the making."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: Weights = {}
        self._numbers = np.random.default_rng(seed)

    def weight(self, *shape: int) -> str:
        values = self._numbers.standard_normal(shape, dtype=np.float32)
        return self.constant(values / np.float32(np.sqrt(shape[0])))

    def constant(self, value: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(value)
        return name

    def scalar(self, value: float) -> str:
        return self.constant(np.float32(value))

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        at = len(self.nodes)
        made = helper.make_node(kind, inputs, [f"t{at}"], f"{kind}_{at}", **attributes)
        self.nodes.append(made)
        return f"t{at}"

    def linear(self, x: str, width: int, out: int) -> str:
        return self.node("Add", self.node("MatMul", x, self.weight(width, out)), self.weight(out))

    def normalised(self, x: str) -> str:
        scale, bias = self.weight(WIDTH), self.weight(WIDTH)
        return self.node("LayerNormalization", x, scale, bias, axis=-1)

    def gelu(self, x: str) -> str:
        """By the error function."""
        inner = self.node("Erf", self.node("Div", x, self.scalar(np.sqrt(2))))
        outer = self.node("Mul", x, self.node("Add", inner, self.scalar(1)))
        return self.node("Mul", outer, self.scalar(0.5))

    def gelu_by_tanh(self, x: str) -> str:
        """GPT-2's approximation."""
        cubed = self.node("Mul", self.node("Pow", x, self.scalar(3)), self.scalar(0.044715))
        inner = self.node("Mul", self.node("Add", x, cubed), self.scalar(np.sqrt(2 / np.pi)))
        outer = self.node("Add", self.node("Tanh", inner), self.scalar(1))
        return self.node("Mul", self.node("Mul", x, self.scalar(0.5)), outer)

    def heads(self, x: str, *order: int) -> str:
        shape = self.constant(np.array([1, TOKENS, HEADS, WIDTH // HEADS], np.int64))
        return self.node("Transpose", self.node("Reshape", x, shape), perm=order)

    def attention(self, x: str, mask: str = "") -> str:
        queries = self.heads(self.linear(x, WIDTH, WIDTH), 0, 2, 1, 3)
        keys = self.heads(self.linear(x, WIDTH, WIDTH), 0, 2, 3, 1)
        values = self.heads(self.linear(x, WIDTH, WIDTH), 0, 2, 1, 3)
        root = self.scalar(np.sqrt(WIDTH // HEADS))
        scores = self.node("Div", self.node("MatMul", queries, keys), root)
        scores = self.node("Add", scores, mask) if mask else scores
        mixed = self.node("MatMul", self.node("Softmax", scores, axis=-1), values)
        flat = self.constant(np.array([1, TOKENS, WIDTH], np.int64))
        joined = self.node("Transpose", mixed, perm=[0, 2, 1, 3])
        return self.linear(self.node("Reshape", joined, flat), WIDTH, WIDTH)

    def save(self, folder: Path, inputs: Mapping[str, Any], result: str, **options: Any) -> Path:
        made = self.node("Identity", result)
        return save(folder, self.nodes, inputs, {made: None}, self.weights, **options)


def encoder(folder: Path) -> Path:
    """BERT's layer: normalised behind every residual, from vectors to vectors."""
    net = Network(1)
    x = net.normalised(net.node("Add", "x", net.weight(1, TOKENS, WIDTH)))
    x = net.normalised(net.node("Add", x, net.attention(x)))
    inner = net.gelu(net.linear(x, WIDTH, 4 * WIDTH))
    x = net.normalised(net.node("Add", x, net.linear(inner, 4 * WIDTH, WIDTH)))
    return net.save(folder, {"x": (1, TOKENS, WIDTH)}, x)


def decoder(folder: Path) -> Path:
    """GPT-2's layer: normalised before, causal, from words to the logits of the next."""
    net = Network(2)
    words = net.weight(WORDS, WIDTH)
    x = net.node("Add", net.node("Gather", words, "x"), net.weight(TOKENS, WIDTH))
    mask = np.triu(np.full((TOKENS, TOKENS), -1e9, np.float32), 1)
    x = net.node("Add", x, net.attention(net.normalised(x), net.constant(mask)))
    inner = net.gelu_by_tanh(net.linear(net.normalised(x), WIDTH, 4 * WIDTH))
    x = net.node("Add", x, net.linear(inner, 4 * WIDTH, WIDTH))
    head = net.node("Transpose", words, perm=[1, 0])
    logits = net.node("MatMul", net.normalised(x), head)
    return net.save(folder, {"x": (1, TOKENS)}, logits, element=7)
