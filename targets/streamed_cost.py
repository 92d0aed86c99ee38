"""What an operator costs whose weights pass through the weight buffer in several chunks.

A chunk is at most half of the buffer, so that the next one arrives while the array works on it. The
array takes one chunk after another, and each costs what its part of the product costs alone: chunks
are cut where folds end (``targets.gemm_cost``), and the sum exceeds the cost in one go by what
every chunk fills and drains again.

The streamed operand has *majors* (columns of a right operand, rows of a left one) and *terms*. A
chunk holds whole majors of as many folds as fit, or, of terms, as many folds as fit for all majors,
whichever is faster in all. Where not even the majors of one fold fit with all their terms, their
terms are cut: every chunk but the first adds to the sums so far, which lie where the result does,
and a vector unit behind the array works on the last. A fold that is larger than half of the buffer
itself becomes several smaller ones, each of which takes the fill and drain of a whole one. Groups
stay whole if one fits.

Weights lie in DRAM in the order of their chunks, other streamed operands (biases, scales) in
proportion beside them. Operators without a single product (recurrent ones, mixtures of experts,
attention) and those on the vector unit are cut into half buffers, each an equal share of the time
per byte.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from stowplan.ir.graph import Graph, Operator, Role
from stowplan.ir.operator_kinds import Category, category
from stowplan.targets.cost import OperatorCost, operator_cost
from stowplan.targets.gemm_cost import Gemm, gemm_cost, mac_rate
from stowplan.targets.gemm_shapes import gemms_of
from stowplan.targets.target import Array, Target
from stowplan.targets.tile_operands import is_tile, joined


@dataclass(frozen=True, slots=True)
class Block:
    """Half-open ranges of the groups, majors and terms that a chunk holds."""

    groups: tuple[int, int]
    majors: tuple[int, int]
    terms: tuple[int, int]

    @property
    def elements(self) -> int:
        """Weights it holds."""
        sizes = [upper - lower for lower, upper in (self.groups, self.majors, self.terms)]
        return sizes[0] * sizes[1] * sizes[2]


@dataclass(frozen=True, slots=True)
class Part:
    """An operator's work on one chunk.

    Attributes:
        begin_bytes: where the chunk begins in the stream.
        end_bytes: where it ends.
        compute_cycles: cycles it takes.
        array_cycles: cycles the array works.
        vector_cycles: cycles the vector unit works, its latency included.
        block: part of the product, None if it is not one product.
    """

    begin_bytes: int
    end_bytes: int
    compute_cycles: int
    array_cycles: int
    vector_cycles: int
    block: Block | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of the chunk."""
        return self.end_bytes - self.begin_bytes


@dataclass(frozen=True, slots=True)
class _Product:
    """The product of an operator and which of its operands streams."""

    gemm: Gemm
    array: Array
    rate: Fraction
    sparse: bool
    right: bool
    read_latency: int

    @property
    def majors(self) -> int:
        return self.gemm.n if self.right else self.gemm.m

    @property
    def fold(self) -> tuple[int, int]:
        """Majors and terms of a fold; 1 where any number costs the same in proportion."""
        rows, cols = self.array.rows, self.array.cols
        if self.array.dataflow == "output_stationary":
            return (cols if self.right else rows), 1
        stationary = self.right == (self.array.dataflow == "weight_stationary")
        return (cols if stationary else 1), rows

    def cycles(self, groups: int, majors: int, terms: int) -> int:
        m, n = (self.gemm.m, majors) if self.right else (majors, self.gemm.n)
        part = Gemm(m, terms, n, groups)
        return gemm_cost(part, self.array, self.rate, self.sparse, self.read_latency).cycles


def streamed_parts(
    graph: Graph, operator: Operator, target: Target, size_bytes: int
) -> tuple[Part, ...]:
    """The parts of ``operator`` when ``size_bytes`` of its operands stream, one per chunk."""
    half = max(1, target.weight_buffer.size_bytes // 2)
    cost = operator_cost(graph, operator, target)
    if not size_bytes:
        return ()
    if size_bytes <= half:
        product = _product(graph, operator, target, cost)
        block = _whole(product) if product else None
        return (Part(0, size_bytes, *cost.times, block),)
    product = _product(graph, operator, target, cost)
    room = half * _whole(product).elements // size_bytes if product else 0
    if product is None or not room:
        return tuple(_shares(cost, size_bytes, half))
    latency = target.core_cycles(target.vector.latency_cycles)
    ways = [_priced(product, cost, size_bytes, latency, blocks) for blocks in _ways(product, room)]
    return min(ways, key=lambda parts: sum(part.compute_cycles for part in parts))


def streamed_cycles(graph: Graph, operator: Operator, target: Target, size_bytes: int) -> int:
    """Cycles of all parts of ``operator``; those of the operator itself if nothing streams."""
    parts = streamed_parts(graph, operator, target, size_bytes)
    if not parts:
        return operator_cost(graph, operator, target).compute_cycles
    return sum(part.compute_cycles for part in parts)


def _shares(cost: OperatorCost, size_bytes: int, half: int) -> Iterator[Part]:
    """Chunks of half a buffer, each with its share of the operator's time."""
    for begin in range(0, size_bytes, half):
        end = min(begin + half, size_bytes)
        times = (t * end // size_bytes - t * begin // size_bytes for t in cost.times)
        compute, array, vector = times
        yield Part(begin, end, max(1, compute), array, vector)


def _product(
    graph: Graph, operator: Operator, target: Target, cost: OperatorCost
) -> _Product | None:
    if is_tile(operator):
        graph, operator, _ = joined(graph, operator)
    if cost.engine != "array" or category(operator.kind, operator.domain) is Category.ATTENTION:
        return None
    gemms = gemms_of(graph, operator)
    if len(gemms) != 1 or gemms[0].repeats > 1 or not gemms[0].macs:
        return None
    tensors = [graph.tensor[name] for name in operator.inputs[:2]]
    weights = [graph.tensor[graph.resolve(t.name)[0]].role is Role.WEIGHT for t in tensors]
    if not any(weights):
        return None
    rate = min(mac_rate(target.array, tensor.dtype) for tensor in tensors)
    latency = target.scratchpad.read_latency_cycles
    return _Product(gemms[0], target.array, rate, weights[1], weights[1], latency)


def _whole(product: _Product) -> Block:
    return Block((0, product.gemm.groups), (0, product.majors), (0, product.gemm.k))


def _ways(product: _Product, room: int) -> Iterator[list[Block]]:
    """Cuts into blocks of at most ``room`` weights: majors outside, or terms."""
    groups, majors, terms = product.gemm.groups, product.majors, product.gemm.k
    of_majors, of_terms = product.fold
    whole_groups = room // (majors * terms)
    if whole_groups:
        step = _grid(groups, majors * terms, 1, 1, room)[0]
        yield [Block(g, (0, majors), (0, terms)) for g in _spans(groups, step)]
        return
    single = list(_spans(groups, 1))
    step, inner = _grid(majors, terms, of_majors, of_terms, room)
    cells = [(m, t) for m in _spans(majors, step) for t in _spans(terms, inner)]
    yield [Block(g, m, t) for g in single for m, t in cells]
    step, inner = _grid(terms, majors, of_terms, of_majors, room)
    cells = [(m, t) for t in _spans(terms, step) for m in _spans(majors, inner)]
    yield [Block(g, m, t) for g in single for m, t in cells]


def _grid(outer: int, inner: int, fold: int, inner_fold: int, room: int) -> tuple[int, int]:
    """Extents of a block: whole ``inner`` if one fold of ``outer`` fits with it, else cut."""
    least = min(outer, fold)
    fits = room // inner
    if fits >= least:
        return (outer if fits >= outer else fits // fold * fold), inner
    fits = min(inner, room // least)
    if fits:
        return least, fits // inner_fold * inner_fold or fits
    return room, 1


def _spans(extent: int, step: int) -> Iterator[tuple[int, int]]:
    return ((at, min(at + step, extent)) for at in range(0, extent, step))


def _priced(
    product: _Product, cost: OperatorCost, size_bytes: int, latency: int, blocks: list[Block]
) -> tuple[Part, ...]:
    """Parts of ``blocks``, which cover the product in the order they are streamed."""
    array_cycles = lru_cache(maxsize=None)(product.cycles)
    weights = _whole(product).elements
    all_majors = product.gemm.groups * product.majors
    vector = max(0, cost.vector_cycles - latency)
    parts: list[Part] = []
    before = 0
    for block in blocks:
        begin, end = (size_bytes * at // weights for at in (before, before + block.elements))
        before += block.elements
        groups, majors, terms = (b - a for a, b in (block.groups, block.majors, block.terms))
        array = array_cycles(groups, majors, terms)
        # Packed groups may fill the array better in few than in all: no gain is claimed of that.
        if product.gemm.groups > 1:
            array = max(array, -(-cost.array_cycles * block.elements // weights))
        over = block.terms[1] == product.gemm.k
        held = -(-vector * groups * majors // all_majors) + latency if over and vector else 0
        compute = max(1, max(array, held - latency) + (latency if held else 0))
        parts.append(Part(begin, end, compute, array, held, block))
    return tuple(parts)
