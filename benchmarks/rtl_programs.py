"""Random plans of tiled products and convolutions, with the numbers they must compute.

A case is a product ``A B`` cut into tiles along rows, columns and terms (partial sums add up in the
result's tile), or a convolution cut into stripes of rows and blocks of output channels. Its tiles
run in a random nesting of the loops. Half of the plans come from the greedy planner under a small
scratchpad; the others keep each operand in one or two slots, single or double buffering as a
person would write it.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import msgspec
import numpy as np
import numpy.typing as npt

from benchmarks.rtl_machine import Hardware, image
from stowplan.errors import InfeasiblePlanError, ProofError, UsageError
from stowplan.ir.check_plan import require_valid
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Alias, Graph, Operator, Role, Tensor
from stowplan.ir.plan import Plan, Proof, Residency, Transfer, TransferKind
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.planner import PlanOptions
from stowplan.simulator.tile_program import TileProgram, tile_program
from stowplan.targets.target import Target

Matrix = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Problem:
    """A tiled graph with its numbers.

    Attributes:
        text: what it is, for tables.
        contents: operands as they lie in DRAM, by storage.
        expected: results by storage.
    """

    text: str
    graph: Graph
    contents: Mapping[str, bytes]
    expected: Mapping[str, Matrix]


@dataclass(frozen=True, slots=True)
class Case:
    """A problem, a plan of it, and the program that comes of it."""

    problem: Problem
    hardware: Hardware
    planner: str
    tiles: TileProgram

    @property
    def memory(self) -> bytes:
        """DRAM before the run, with room for the last burst."""
        commands = self.tiles.program.commands
        ends = [end for c in commands for _, end in (*c.dram_reads, *c.dram_writes)]
        size = max(ends, default=0) + self.hardware.burst_bytes
        contents = dict(self.problem.contents)
        for name, order in self.tiles.weight_order.items():
            plain = np.frombuffer(contents[name], f"<i{self.hardware.element_bytes}")
            contents[name] = plain[list(order)].tobytes()
        return image(self.tiles.dram_addresses, contents, size)


def random_case(seed: int, hardware: Hardware) -> Case:
    """A program for ``hardware``; the same for the same arguments."""
    rng = random.Random(seed)
    while True:
        make = rng.choice((random_product, random_product, random_convolution))
        problem = make(rng, hardware)
        planner = rng.choice(("single buffers", "double buffers", "greedy", "greedy"))
        track = rng.random() < 0.7
        try:
            plan, target = _planned(problem.graph, hardware, planner, track, rng)
            tiles = tile_program(problem.graph, plan, target)
        except (InfeasiblePlanError, ProofError, UsageError):
            continue
        weights = "tracked weights" if track else "streamed weights"
        return Case(problem, hardware, f"{planner}, {weights}", tiles)


def streamed_case(seed: int, hardware: Hardware) -> Case:
    """One product whose weights stream in several chunks."""
    rng = random.Random(seed)
    half = hardware.buffer_bytes // 2
    k = rng.choice([size for size in (2, 4, 8, 16, 32) if size * hardware.element_bytes <= half])
    least = half // (k * hardware.element_bytes) + 1
    n = rng.randint(least, 3 * least)
    m = rng.randint(1, max(1, min(30, hardware.scratchpad_bytes // 8 // n)))
    left, right = _numbers(rng, (m, k), hardware), _numbers(rng, (k, n), hardware)
    build = _Builder(hardware)
    operands = build.operand("a", left, Role.INPUT), build.operand("b", right.T, Role.WEIGHT)
    build.operator("Gemm", operands, build.result("y", (m, n), left @ right, 0)[-1], transB=1)
    return as_case(build.problem(f"{m}x{k}x{n}"), hardware, track_weights=False)


def as_case(problem: Problem, hardware: Hardware, track_weights: bool = True) -> Case:
    """A problem planned with single buffers."""
    target = hardware.target()
    plan = slotted_plan(problem.graph, target, 1, track_weights)
    require_valid(problem.graph, plan, target.memory_spec(track_weights))
    return Case(problem, hardware, "single buffers", tile_program(problem.graph, plan, target))


def plain_product(m: int, k: int, n: int, hardware: Hardware) -> Problem:
    """``A B`` in one tile."""
    rng = random.Random(0)
    left, right = _numbers(rng, (m, k), hardware), _numbers(rng, (k, n), hardware)
    build = _Builder(hardware)
    operands = build.operand("a", left, Role.INPUT), build.operand("b", right, Role.WEIGHT)
    build.operator("MatMulInteger", operands, *build.result("y", (m, n), left @ right, 0)[-1:])
    return build.problem(f"{m}x{k}x{n}")


def _planned(
    graph: Graph, hardware: Hardware, planner: str, track: bool, rng: random.Random
) -> tuple[Plan, Target]:
    target = hardware.target()
    if planner == "greedy":
        size = rng.randrange(256, hardware.scratchpad_bytes + 1, 64)
        pad = msgspec.structs.replace(target.scratchpad, size_bytes=size)
        target = msgspec.structs.replace(target, scratchpad=pad)
        plan = plan_greedy(graph, target, PlanOptions(track_weights=track, workers=1))
    else:
        plan = slotted_plan(graph, target, 2 if planner.startswith("double") else 1, track)
    require_valid(graph, plan, target.memory_spec(track))
    return plan, target


def random_product(rng: random.Random, hardware: Hardware) -> Problem:
    """``A B`` in tiles."""
    m, k, n = (rng.choice((rng.randint(1, 9), rng.randint(1, 40))) for _ in range(3))
    cuts = {axis: _cuts(rng, extent) for axis, extent in (("m", m), ("k", k), ("n", n))}
    trans_a, trans_b = rng.random() < 0.3, rng.random() < 0.5
    left, right = (_numbers(rng, shape, hardware) for shape in ((m, k), (k, n)))
    build = _Builder(hardware)
    nesting = rng.choice(list(permutations("mkn")))
    seen: dict[str, int] = {}
    for chosen in product(*(cuts[axis] for axis in nesting)):
        span = dict(zip(nesting, chosen, strict=True))
        (a, b), (c, d), (e, f) = span["m"], span["k"], span["n"]
        x = build.operand(f"a{a}_{c}", _maybe_transposed(left[a:b, c:d], trans_a), Role.INPUT)
        w = build.operand(f"b{c}_{e}", _maybe_transposed(right[c:d, e:f], trans_b), Role.WEIGHT)
        name = f"y{a}_{e}"
        part = seen[name] = seen.get(name, -1) + 1
        y = build.result(name, (b - a, f - e), left[a:b] @ right[:, e:f], part)
        build.operator("Gemm", (x, w, *y[:-1]), y[-1], transA=int(trans_a), transB=int(trans_b))
    counts = "x".join(str(len(cuts[axis])) for axis in "mkn")
    text = f"{m}x{k}x{n} in {counts} tiles, {''.join(nesting)}"
    return build.problem(text)


def random_convolution(rng: random.Random, hardware: Hardware) -> Problem:
    """A padded, strided, dilated convolution in stripes and blocks of channels."""
    channels, outputs = rng.randint(1, 4), rng.randint(1, 10)
    kernel = (rng.randint(1, 3), rng.randint(1, 3))
    step, spread = (rng.randint(1, 2), rng.randint(1, 2)), (rng.randint(1, 2), rng.randint(1, 2))
    pad = tuple(rng.randint(0, size - 1) for size in (kernel[0], kernel[1], *kernel))
    reach = tuple((size - 1) * far + 1 for size, far in zip(kernel, spread, strict=True))
    shape = tuple(rng.randint(far, far + 8) for far in reach)
    source = _numbers(rng, (channels, *shape), hardware)
    weight = _numbers(rng, (outputs, channels, *kernel), hardware)
    padded = np.pad(source, ((0, 0), (pad[0], pad[2]), (pad[1], pad[3])))
    result = convolution(padded, weight, step, spread)
    build = _Builder(hardware)
    stripes, blocks = _cuts(rng, result.shape[1]), _cuts(rng, outputs)
    rows_first = rng.random() < 0.5
    for one, other in product(stripes, blocks) if rows_first else product(blocks, stripes):
        (a, b), (e, f) = (one, other) if rows_first else (other, one)
        first, last = a * step[0] - pad[0], (b - 1) * step[0] + reach[0] - pad[0]
        inside = source[:, max(0, first) : min(shape[0], last)]
        above, below = max(0, -first), max(0, last - shape[0])
        x = build.operand(f"x{a}", inside[None], Role.INPUT)
        w = build.operand(f"w{e}", weight[e:f], Role.WEIGHT)
        part = result[e:f, a:b]
        y = build.result(f"y{a}_{e}", (1, *part.shape), part[None], 0)
        build.operator(
            "ConvInteger",
            (x, w),
            y[-1],
            kernel_shape=kernel,
            strides=step,
            dilations=spread,
            pads=(above, pad[1], below, pad[3]),
        )
    text = (
        f"convolution {channels}x{shape[0]}x{shape[1]} to {outputs}, "
        f"kernel {kernel[0]}x{kernel[1]}, {len(stripes)}x{len(blocks)} tiles"
    )
    return build.problem(text)


def convolution(
    padded: Matrix, weight: Matrix, step: tuple[int, int], spread: tuple[int, int]
) -> Matrix:
    """Convolve ``padded`` [C, H, W] with ``weight`` [O, C, v, u], written out."""
    rows = (padded.shape[1] - (weight.shape[2] - 1) * spread[0] - 1) // step[0] + 1
    cols = (padded.shape[2] - (weight.shape[3] - 1) * spread[1] - 1) // step[1] + 1
    found = np.zeros((weight.shape[0], rows, cols), np.int64)
    for v, u in np.ndindex(*weight.shape[2:]):
        top, edge = v * spread[0], u * spread[1]
        down = slice(top, top + (rows - 1) * step[0] + 1, step[0])
        across = slice(edge, edge + (cols - 1) * step[1] + 1, step[1])
        seen = padded[:, down, across]
        found += np.einsum("oc,cyx->oyx", weight[:, :, v, u], seen)
    return found


def _cuts(rng: random.Random, extent: int) -> list[tuple[int, int]]:
    """Tiles of one random size, the last one smaller."""
    size = rng.randint(max(1, extent // 4), extent)
    return [(a, min(extent, a + size)) for a in range(0, extent, size)]


def _numbers(rng: random.Random, shape: Sequence[int], hardware: Hardware) -> Matrix:
    limit = 1 << (8 * hardware.element_bytes - 1)
    return np.random.default_rng(rng.getrandbits(32)).integers(-limit, limit, tuple(shape))


def _maybe_transposed(matrix: Matrix, transposed: bool) -> Matrix:
    return matrix.T if transposed else matrix


class _Builder:
    """Grows a tiled graph and its numbers; mutable."""

    def __init__(self, hardware: Hardware) -> None:
        self._bytes = hardware.element_bytes
        self._tensors: dict[str, Tensor] = {}
        self._operators: list[Operator] = []
        self._contents: dict[str, bytes] = {}
        self._expected: dict[str, Matrix] = {}

    def operand(self, name: str, values: Matrix, role: Role) -> str:
        """Name of an operand's tile, entered once."""
        dtype = DType.INT8 if self._bytes == 1 else DType.INT16
        if name not in self._tensors:
            self._tensors[name] = Tensor(name, values.shape, dtype, role)
            packed = np.ascontiguousarray(values).astype(f"<i{self._bytes}")
            self._contents[name] = packed.tobytes()
        return name

    def result(
        self, name: str, shape: tuple[int, ...], values: Matrix, part: int
    ) -> tuple[str, ...]:
        """Names of a result's tile before and after its ``part``-th partial sum."""
        names = (name, *(f"{name}:{i}" for i in range(1, part + 1)))
        alias = Alias(name) if part else None
        role = Role.ACTIVATION if part else Role.OUTPUT
        self._tensors[names[-1]] = Tensor(names[-1], shape, DType.INT32, role, alias)
        self._expected[name] = values
        return names[-2:]

    def operator(
        self, kind: str, inputs: tuple[str, ...], output: str, **attributes: int | tuple[int, ...]
    ) -> None:
        name = f"op{len(self._operators)}"
        pairs = tuple(sorted(attributes.items()))
        self._operators.append(Operator(name, kind, inputs, (output,), pairs))

    def problem(self, text: str) -> Problem:
        graph = Graph("tiles", tuple(self._tensors.values()), tuple(self._operators))
        return Problem(text, graph, self._contents, self._expected)


@dataclass(slots=True)
class _Slot:
    """Where one storage of a class stays at a time; mutable."""

    address: int
    storage: str = ""
    start: int = 0
    reserved: int = 0
    used: int = -1


def slotted_plan(graph: Graph, target: Target, depth: int, track_weights: bool) -> Plan:
    """Graph order with ``depth`` slots per operand; with two, loads begin a step ahead."""
    planner = _SlotPlanner(graph, target, depth)
    for step, operator in enumerate(graph.operators):
        for position, name in enumerate((*operator.inputs[:2], operator.outputs[0])):
            if position != 1 or track_weights:
                planner.use(step, position, graph.resolve(name)[0])
    return planner.plan(track_weights)


class _SlotPlanner:
    """Assigns slots step by step; mutable."""

    def __init__(self, graph: Graph, target: Target, depth: int) -> None:
        self._graph, self._target = graph, target
        self._ahead = depth - 1
        self._residencies: list[Residency] = []
        self._transfers: list[Transfer] = []
        self._stored: set[str] = set()
        self._slots: list[list[_Slot]] = []
        address, align = 0, target.scratchpad.alignment_bytes
        for position in range(3):
            names = {(*op.inputs[:2], op.outputs[0])[position] for op in graph.operators}
            size = max(graph.tensor[graph.resolve(name)[0]].size_bytes for name in names)
            size = -(-size // align) * align
            self._slots.append([_Slot(address + i * size) for i in range(depth)])
            address += depth * size

    def use(self, step: int, position: int, storage: str) -> None:
        """The operator at ``step`` uses ``storage`` as its left, right or resulting tile."""
        slots = self._slots[position]
        slot = next((each for each in slots if each.storage == storage), None)
        if slot is None:
            slot = min(slots, key=lambda each: each.used)
            loaded = position < 2 or storage in self._stored
            early = max(slot.used + 1, step - self._ahead)
            reserved = early if position < 2 and loaded else step
            self._leave(slot, position, reserved)
            slot.storage, slot.start, slot.reserved = storage, step, reserved
            if loaded:
                self._transfers.append(Transfer(TransferKind.LOAD, storage, reserved, step))
        slot.used = step

    def _leave(self, slot: _Slot, position: int, until: int) -> None:
        """End a stay; results are stored first."""
        if not slot.storage:
            return
        end = slot.used + 1
        if position == 2:
            self._transfers.append(Transfer(TransferKind.STORE, slot.storage, end, until))
            self._stored.add(slot.storage)
            end = until
        self._residencies.append(
            Residency(slot.storage, slot.start, end, slot.address, slot.reserved)
        )

    def plan(self, track_weights: bool) -> Plan:
        steps = len(self._graph.operators)
        for position, slots in enumerate(self._slots):
            for slot in slots:
                self._leave(slot, position, steps)
        self._transfers.sort(key=lambda t: (t.issue, t.deadline, t.kind.value, t.storage))
        return Plan(
            model_hash=self._graph.hash,
            target_hash=self._target.hash,
            planner="slots",
            track_weights=track_weights,
            order=tuple(op.name for op in self._graph.operators),
            residencies=tuple(sorted(self._residencies, key=lambda r: (r.start, r.address))),
            transfers=tuple(self._transfers),
            proof=Proof("offchip", 0, 0, "slots", "none"),
        )
