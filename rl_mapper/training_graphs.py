"""Synthetic graphs to train on: random members of a few families, none of them a real network."""

import random
from collections.abc import Callable

from stowplan.errors import InternalError
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.rl_mapper.game import Instance, build_instance
from stowplan.targets.load import load_target
from stowplan.targets.target import Target

MEMORIES_KIB = (256, 512, 1024, 2048, 4096)
BANDWIDTHS = (74, 146, 292, 585)
DECISIONS = (20, 600)
"""Fewest and most decisions of a training game."""
VALIDATION = 1_000_000
"""First seed of the games that gains are measured on; training seeds stay below."""


class _Builder:
    """Grows a graph; every method returns the name of the result."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.dtype = rng.choice((DType.FLOAT32, DType.FLOAT32, DType.INT8))
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []

    def tensor(self, shape: tuple[int, ...], role: Role = Role.ACTIVATION) -> str:
        name = f"t{len(self.tensors)}"
        self.tensors.append(Tensor(name, shape, self.dtype, role))
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[int(name[1:])].shape

    def add_operator(
        self,
        kind: str,
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
        in_place: tuple[tuple[int, int], ...] = (),
    ) -> str:
        output = self.tensor(shape)
        name = f"o{len(self.operators)}"
        self.operators.append(Operator(name, kind, inputs, (output,), in_place=in_place))
        return output

    def product(self, x: str, width: int) -> str:
        rows, inner = self.shape(x)
        weight = self.tensor((inner, width), Role.WEIGHT)
        return self.add_operator("MatMul", (x, weight), (rows, width))

    def unary(self, kind: str, x: str) -> str:
        return self.add_operator(kind, (x,), self.shape(x), ((0, 0),))

    def add(self, x: str, y: str) -> str:
        if x == y:
            return self.unary("Relu", x)
        return self.add_operator("Add", (x, y), self.shape(x), ((0, 0), (0, 1)))

    def norm(self, x: str) -> str:
        scale = self.tensor((self.shape(x)[1],), Role.WEIGHT)
        return self.add_operator("LayerNormalization", (x, scale), self.shape(x))

    def concat(self, parts: list[str]) -> str:
        rows = self.shape(parts[0])[0]
        width = sum(self.shape(part)[1] for part in parts)
        return self.add_operator("Concat", tuple(parts), (rows, width))

    def pool(self, x: str) -> str:
        rows, width = self.shape(x)
        return self.add_operator("MaxPool", (x,), (max(1, rows // 4), width))

    def finish(self, family: str) -> Graph:
        last = self.operators[-1].outputs[0]
        read = {name for op in self.operators for name in op.inputs}
        final = {op.outputs[0] for op in self.operators} - read | {last}
        tensors = tuple(
            Tensor(t.name, t.shape, t.dtype, Role.OUTPUT if t.name in final else t.role)
            for t in self.tensors
        )
        return Graph(family, tensors, tuple(self.operators))


def _residual(build: _Builder, x: str) -> None:
    rng = build.rng
    for _ in range(rng.randint(4, 14)):
        width = build.shape(x)[1]
        y = build.product(x, width * rng.choice((1, 2, 4)) // rng.choice((1, 2)))
        y = build.unary("Relu", y) if rng.random() < 0.4 else y
        y = build.product(y, width)
        x = build.add(x, y)
        if rng.random() < 0.2:
            x = build.product(build.pool(x), 2 * width)


def _dense(build: _Builder, x: str) -> None:
    rng = build.rng
    growth = rng.choice((16, 32, 64))
    for _ in range(rng.randint(1, 3)):
        parts = [x]
        for _ in range(rng.randint(3, 10)):
            whole = build.concat(parts) if len(parts) > 1 else parts[0]
            parts.append(build.product(build.product(whole, 4 * growth), growth))
        x = build.pool(build.product(build.concat(parts), build.shape(x)[1] + growth))


def _branches(build: _Builder, x: str) -> None:
    rng = build.rng
    for _ in range(rng.randint(2, 8)):
        width = build.shape(x)[1]
        parts = []
        for _ in range(rng.randint(2, 4)):
            y = x
            for _ in range(rng.randint(1, 3)):
                y = build.product(y, max(8, width // rng.choice((1, 2, 4))))
            parts.append(y)
        x = build.concat(parts)
        if rng.random() < 0.3:
            x = build.product(build.pool(x), width)


def _attention(build: _Builder, x: str) -> None:
    rng = build.rng
    rows, width = build.shape(x)
    for _ in range(rng.randint(2, 6)):
        y = build.norm(x)
        query, key, value = (build.product(y, width) for _ in range(3))
        turned = build.add_operator("Transpose", (key,), (width, rows))
        scores = build.add_operator("MatMul", (query, turned), (rows, rows))
        mixed = build.add_operator("MatMul", (build.unary("Softmax", scores), value), (rows, width))
        x = build.add(x, build.product(mixed, width))
        y = build.product(build.norm(x), 4 * width)
        x = build.add(x, build.product(build.unary("Gelu", y), width))


def _cells(build: _Builder, x: str) -> None:
    rng = build.rng
    before, x = x, build.product(x, build.shape(x)[1])
    for _ in range(rng.randint(2, 7)):
        width = build.shape(x)[1]
        states = [before, x]
        for _ in range(rng.randint(2, 5)):
            left, right = (build.product(rng.choice(states), width) for _ in range(2))
            states.append(build.add(left, right))
        before, x = x, build.product(build.concat(states[2:]), width)


def _bottlenecks(build: _Builder, x: str) -> None:
    """Narrow tensors between wide ones, and gates of one row."""
    rng = build.rng
    for _ in range(rng.randint(4, 12)):
        width = build.shape(x)[1]
        y = build.unary("Relu", build.product(x, width * rng.choice((2, 3, 4, 6))))
        shrunk = rng.random() < 0.3 and build.shape(y)[0] >= 64
        y = build.norm(build.pool(y) if shrunk else y)
        if rng.random() < 0.5:
            inner = build.shape(y)[1]
            mean = build.add_operator("GlobalAveragePool", (y,), (1, inner))
            gate = build.product(build.product(mean, max(4, inner // 16)), inner)
            gate = build.unary("Sigmoid", gate)
            y = build.add_operator("Mul", (y, gate), build.shape(y), ((0, 0),))
        after = width * rng.choice((1, 2)) if shrunk else width
        y = build.product(y, after)
        x = y if shrunk else build.add(x, y)


def _hourglass(build: _Builder, x: str) -> None:
    """Down and up again, with results kept all the way between."""
    rng = build.rng
    waiting = []
    for _ in range(rng.randint(2, 4)):
        for _ in range(rng.randint(1, 2)):
            x = build.unary("Relu", build.product(x, build.shape(x)[1]))
        waiting.append(x)
        x = build.product(build.pool(x), 2 * build.shape(x)[1])
    for skip in reversed(waiting):
        rows, width = build.shape(skip)
        x = build.add_operator("Resize", (build.product(x, width),), (rows, width))
        x = build.concat([x, skip])
        for _ in range(rng.randint(1, 2)):
            x = build.unary("Relu", build.product(x, width))


Family = Callable[[_Builder, str], None]
FAMILIES: dict[str, Family] = {
    "residual": _residual,
    "dense": _dense,
    "branches": _branches,
    "attention": _attention,
    "bottlenecks": _bottlenecks,
}
HELD_BACK: dict[str, Family] = {"cells": _cells, "hourglass": _hourglass}
"""Families of validation games alone."""


ROWS = {"attention": (128, 196, 256), "bottlenecks": (784, 3136, 12544)}
WIDTHS = {"bottlenecks": (16, 24, 32, 48)}


def training_graph(seed: int, held_back: bool = False) -> Graph:
    """A random graph; the same for the same seed. ``held_back`` admits the families held back."""
    rng = random.Random(seed)
    families = FAMILIES | HELD_BACK if held_back else FAMILIES
    family = rng.choice(sorted(families))
    build = _Builder(rng)
    rows = rng.choice(ROWS.get(family, (196, 784, 3136, 6272)))
    x = build.tensor((rows, rng.choice(WIDTHS.get(family, (32, 64, 128, 256)))), Role.INPUT)
    families[family](build, x)
    return build.finish(family)


def training_target(seed: int) -> Target:
    """A scaled-down ``tpu-v4i``; the same for the same seed."""
    rng = random.Random(seed)
    size, rate = rng.choice(MEMORIES_KIB), rng.choice(BANDWIDTHS)
    return load_target("tpu-v4i", (f"scratchpad.size={size}KiB", f"dram.bytes_per_cycle={rate}"))


def training_game(seed: int) -> Instance:
    """A game of bounded length in which there is something to gain; the same for the same seed."""
    for attempt in range(100):
        number = seed * 1000 + attempt
        graph = training_graph(number, seed >= VALIDATION)
        instance = build_instance(graph, training_target(number))
        if DECISIONS[0] <= instance.decisions <= DECISIONS[1] and instance.scale_cycles > 1000:
            return instance
    raise InternalError(f"no training game can be made from seed {seed}")
