"""GEMMs on ONNXim's weight-stationary core, as events: tiling, loads, issue rule, stores.

A core of ``H x H`` units works on two tiles at a time: while one computes, operands of the next
arrive. Loads share one stream of the configuration's bandwidth in program order, stores another.
An instruction multiplies up to ``H`` rows by one block of weights, takes ``2 H - 2 + max(rows, 4)``
cycles and starts ``H`` cycles after the one before (every instruction preloads weights); on an idle
core the preload is exposed and costs ``2 H - 1``.

Source: ONNXim (Ham et al., 2024), github.com/PSAL-POSTECH/ONNXim: core and mapping of release 1.
"""

import math
from dataclasses import dataclass

REQUEST_BYTES = 32
# 16 HBM channels answer one request each per clock of the 1 GHz interconnect.
BYTES_PER_CYCLE = 16 * REQUEST_BYTES
# Unloaded round trips, chosen once for all rows; only their sum matters to a single tile.
READ_LATENCY_CYCLES = 100
WRITE_LATENCY_CYCLES = 40


@dataclass(frozen=True, slots=True)
class Core:
    """A core's side ``H``, its two memories and the size of an element."""

    side: int
    scratchpad_bytes: int
    accumulator_bytes: int
    element_bytes: int


@dataclass(slots=True)
class _Clock:
    """State machine: when each resource is free, in cycles (fractions of a cycle on the streams).

    Attributes:
        load: end of the last load.
        store: end of the last store.
        issue: next cycle an instruction can issue.
        start: when the last instruction started.
        finish: when its results are there.
    """

    load: float = 0.0
    store: float = 0.0
    issue: float = 0.0
    start: float = -math.inf
    finish: float = -math.inf


def gemm_cycles(m: int, k: int, n: int, core: Core) -> int:
    """Cycles of an ``m x k`` by ``k x n`` product, from the first request to the last answer."""
    inner_m, inner_k, inner_n = tile_sizes(m, k, n, core)
    clock = _Clock()
    ends: list[float] = []
    for row in range(0, m, inner_m):
        for col in range(0, n, inner_n):
            for term in range(0, k, inner_k):
                blocks_m = _blocks(min(inner_m, m - row), core.side)
                blocks_n = _blocks(min(inner_n, n - col), core.side)
                terms = min(inner_k, k - term)
                if len(ends) >= 2:
                    clock.load = max(clock.load, ends[-2])
                last = term + inner_k >= k
                ends.append(_tile(clock, blocks_m, blocks_n, terms, last, core))
    return math.ceil(max(clock.finish, clock.store + WRITE_LATENCY_CYCLES))


def tile_sizes(m: int, k: int, n: int, core: Core) -> tuple[int, int, int]:
    """Rows, terms and columns of a tile: halves of halved memories, as square as they allow."""
    block_bytes = core.side * core.side * core.element_bytes
    results = math.isqrt(core.accumulator_bytes // (2 * block_bytes))
    operands = core.scratchpad_bytes // (4 * block_bytes) // results
    limits = (results, operands, results)
    return _even(m, limits[0], core), _even(k, limits[1], core), _even(n, limits[2], core)


def _even(extent: int, limit_blocks: int, core: Core) -> int:
    """Size of each of the fewest tiles of at most ``limit_blocks``, cut down to whole blocks."""
    blocks = -(-extent // core.side)
    tiles = min(blocks, -(-extent // (limit_blocks * core.side)))
    return -(-blocks * core.side // tiles) // core.side * core.side


def _tile(
    clock: _Clock, rows: list[int], cols: list[int], terms: int, last: bool, core: Core
) -> float:
    """Load, multiply and, behind the last terms, store one tile; when the core is done with it."""
    weights, inputs = [], []
    for index, block in enumerate(cols):
        weights.append(_load(clock, block, terms, core))
        if index == 0:
            inputs = [_load(clock, other, terms, core) for other in rows]
    results = []
    for weight_ready, width in zip(weights, cols, strict=True):
        for input_ready, height in zip(inputs, rows, strict=True):
            for _ in range(0, terms, core.side):
                _issue(clock, max(weight_ready, input_ready), height, core.side)
            results.append((height, width, clock.finish))
    if not last:
        return clock.finish
    for height, width, ready in results:
        clock.store = max(clock.store, ready) + _stream_cycles(height, width, core)
    return clock.store


def _load(clock: _Clock, lines: int, extent: int, core: Core) -> float:
    clock.load += _stream_cycles(lines, extent, core)
    return clock.load + READ_LATENCY_CYCLES


def _issue(clock: _Clock, ready: float, height: int, side: int) -> None:
    now = max(ready, clock.issue)
    # A block of rows is never taller than the array, so the preload outlasts the one before.
    clock.start = clock.start + side if clock.finish > now else now + 2 * side - 1
    clock.finish = clock.start + 2 * side - 2 + max(height, 4)
    clock.issue = now + 1


def _stream_cycles(lines: int, extent: int, core: Core) -> float:
    """Cycles to move ``lines`` lines of ``extent`` elements in whole requests."""
    requests = lines * -(-extent * core.element_bytes // REQUEST_BYTES)
    return requests * REQUEST_BYTES / BYTES_PER_CYCLE


def _blocks(extent: int, side: int) -> list[int]:
    return [min(side, extent - first) for first in range(0, extent, side)]
