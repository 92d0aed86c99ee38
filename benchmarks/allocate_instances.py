"""Buffers to allocate: tables, perfect packings, random sets and live ranges of real models."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stowplan.ilp.allocate_csv import read_buffers
from stowplan.ir.onnx_import import import_model
from stowplan.passes.liveness import liveness

Ints = NDArray[np.int64]
Box = tuple[int, int, int, int]
"""First moment, one past the last, first unit of memory, one past the last."""


@dataclass(frozen=True, slots=True)
class Buffers:
    """An instance: first moments, ends and sizes [n], and the capacity to meet, if any."""

    name: str
    lower: Ints
    upper: Ints
    size: Ints
    capacity: int | None


def of_table(path: Path) -> Buffers:
    """Instance of a CSV file; a number before the suffix is its capacity (``A.1048576.csv``)."""
    name, _, last = path.stem.rpartition(".")
    rows = [(b.lower, b.upper, b.size_bytes) for b in read_buffers(path)]
    return _buffers(name or last, rows, int(last) if last.isdigit() and name else None)


def of_model(path: Path) -> Buffers:
    """Live ranges of a model's tensors in its own order."""
    graph = import_model(path).graph
    rows = [(r.start, r.end, r.size_bytes) for r in liveness(graph).ranges if not r.weight]
    return _buffers(path.stem, rows, None)


def perfect(count: int, moments: int, units: int, seed: int, kept: float = 1.0) -> Buffers:
    """A rectangle of time and memory cut into about ``count`` boxes, so that it fits exactly.

    Cuts are straight, or five boxes around one in the middle, which no straight cut takes apart.

    Args:
        count: boxes to cut.
        moments: width of the rectangle.
        units: its height, and the capacity of the instance.
        seed: of the cuts.
        kept: share of the boxes that are buffers; others leave room.
    """
    rng = random.Random(seed)
    boxes: list[Box] = [(0, moments, 0, units)]
    stuck: list[Box] = []
    while boxes and len(boxes) + len(stuck) < count:
        weights = [(b[1] - b[0]) * (b[3] - b[2]) for b in boxes]
        box = boxes.pop(rng.choices(range(len(boxes)), weights)[0])
        parts = list(_parts(box, rng))
        (boxes if len(parts) > 1 else stuck).extend(parts)
    chosen = [b for b in boxes + stuck if rng.random() < kept]
    rng.shuffle(chosen)
    rows = [(b[0], b[1], b[3] - b[2]) for b in chosen]
    return _buffers(f"perfect-{count}-{seed}-{kept:g}", rows, units)


def _parts(box: Box, rng: random.Random) -> Iterator[Box]:
    """The box cut in two or five, or itself when it is too small."""
    begin, end, low, high = box
    if end - begin >= 3 and high - low >= 3 and rng.random() < 0.3:
        a, b = sorted(rng.sample(range(begin + 1, end), 2))
        c, d = sorted(rng.sample(range(low + 1, high), 2))
        yield from ((begin, b, low, c), (b, end, low, d), (a, end, d, high))
        yield from ((begin, a, c, high), (a, b, c, d))
    elif end - begin >= 2 and (high - low < 2 or rng.random() < 0.5):
        middle = rng.randrange(begin + 1, end)
        yield from ((begin, middle, low, high), (middle, end, low, high))
    elif high - low >= 2:
        middle = rng.randrange(low + 1, high)
        yield from ((begin, end, low, middle), (begin, end, middle, high))
    else:
        yield box


def crowd(count: int, longest: int, seed: int) -> Buffers:
    """Many buffers of random begin, lifetime below ``longest`` and size below 4 KiB."""
    rng = np.random.default_rng(seed)
    lower = rng.integers(0, count, count)
    upper = lower + 1 + rng.integers(0, longest, count)
    return Buffers(f"random-{count}", lower, upper, rng.integers(1, 4096, count), None)


def _buffers(name: str, rows: list[tuple[int, int, int]], capacity: int | None) -> Buffers:
    lower, upper, size = np.array(rows, np.int64).reshape(-1, 3).T.copy()
    return Buffers(name, lower, upper, size, capacity)
