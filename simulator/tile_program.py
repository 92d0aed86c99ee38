"""Programs as hardware needs them: every command with its addresses, strides and extents.

``simulator.lower`` says how long a command takes and what it waits for; here it also says which
bytes it moves and which products it forms, so that an RTL model can run it. Operators are integer
matrix products and convolutions (``MatMul``, ``MatMulInteger``, ``Gemm``, ``Conv``,
``ConvInteger``) with sums of 32 bits. A ``Gemm`` whose third input lies where its result does adds
to it: partial sums.

Chunks of streamed weights follow one another through the weight buffer, which is a ring. Where an
operator's weights stream in several chunks they lie in DRAM chunk by chunk, and in a chunk column
by column with the terms of a column side by side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stowplan.errors import UsageError
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.ir.plan import Plan
from stowplan.ir.program import Command, CommandKind, Program
from stowplan.ir.storage import storage_model
from stowplan.simulator.dram_layout import dram_addresses
from stowplan.simulator.lower import lower
from stowplan.simulator.placement import Placement
from stowplan.targets.gemm_cost import Gemm
from stowplan.targets.gemm_shapes import gemms_of
from stowplan.targets.streamed_cost import Block, streamed_parts
from stowplan.targets.target import Target

SUM_BYTES = 4
KINDS = ("MatMul", "MatMulInteger", "Gemm", "Conv", "ConvInteger")


@dataclass(frozen=True, slots=True)
class Operand:
    """Where the elements of an operand [major, term] lie.

    With ``y, x = divmod(major, outputs_x)``, ``channel, position = divmod(term, kernel)`` and
    ``v, u = divmod(position, kernel_x)`` the element is that of ``channel`` at
    ``(y * step[0] + v * spread[0] - pad[0], x * step[1] + u * spread[1] - pad[1])``, or zero
    outside ``size``. A plain matrix has one output per row and one kernel position.

    Attributes:
        address: of element (0, 0, 0), in bytes.
        streamed: it lies in the weight buffer, not in the scratchpad.
        strides: elements from one channel, row and column to the next.
    """

    address: int
    streamed: bool
    outputs_x: int
    kernel: int
    kernel_x: int
    step: tuple[int, int]
    spread: tuple[int, int]
    pad: tuple[int, int]
    size: tuple[int, int]
    strides: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Move:
    """What a LOAD, STORE or WEIGHT command moves.

    Attributes:
        dram_address: where in DRAM.
        address: where in the scratchpad, or in the weight buffer if ``streamed``.
        streamed: the bytes go to the weight buffer.
        size_bytes: bytes kept.
        moved_bytes: bytes that cross the off-chip boundary, whole bursts.
    """

    dram_address: int
    address: int
    streamed: bool
    size_bytes: int
    moved_bytes: int


@dataclass(frozen=True, slots=True)
class Product:
    """What a COMPUTE command computes: ``[rows, terms] x [terms, columns]``.

    Attributes:
        left: left operand, by row and term.
        right: right operand, by column and term.
        address: of sum (0, 0) in the scratchpad.
        strides: bytes from one row, and from one column, of the result to the next.
        accumulate: sums are added to what is there.
    """

    rows: int
    terms: int
    columns: int
    left: Operand
    right: Operand
    address: int
    strides: tuple[int, int]
    accumulate: bool


@dataclass(frozen=True, slots=True)
class TileProgram:
    """A program with what its commands do.

    Attributes:
        program: commands as the simulator runs them.
        work: per command, what it moves or computes.
        dram_addresses: address of every storage in DRAM.
        weight_order: of weights that stream in several chunks, the numbers that their elements have
            in the tensor, in the order in which they lie in DRAM.
    """

    program: Program
    work: tuple[Move | Product, ...]
    dram_addresses: Mapping[str, int]
    weight_order: Mapping[str, tuple[int, ...]]


def tile_program(graph: Graph, plan: Plan, target: Target) -> TileProgram:
    """Lower a valid plan of ``graph`` and say what every command does.

    Raises:
        UsageError: an operator is no product of this kind, or its streamed weights are cut within
            a channel of a kernel, tiles are strided regions of DRAM, or the weight buffer keeps
            weights.
    """
    if target.weight_buffer.keeps:
        raise UsageError("tile programs fetch all weights: leave weight_buffer.keeps at false")
    if target.dma.dimensions:
        raise UsageError("tile programs move packed tiles: leave dma.dimensions at 0")
    program = lower(graph, plan, target)
    addresses = dram_addresses(graph, plan, storage_model(graph))
    resolver = _Resolver(graph, plan, target, _chunks(program, target.weight_buffer.size_bytes))
    work = tuple(resolver.work(command) for command in program.commands)
    return TileProgram(program, work, addresses, resolver.weight_order)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Streamed weights of one piece and their place in the weight buffer."""

    address: int
    size_bytes: int


def _chunks(program: Program, buffer_bytes: int) -> dict[int, list[_Chunk]]:
    """Chunks of every step whose weights stream, in order."""
    found: dict[int, list[_Chunk]] = {}
    address = 0
    for command in program.commands:
        if command.kind is CommandKind.WEIGHT:
            chunk = _Chunk(address, command.read_bytes)
            found.setdefault(command.step, []).append(chunk)
            address = (address + command.read_bytes) % buffer_bytes
    return found


class _Resolver:
    """Finds what commands do, in list order; mutable."""

    def __init__(
        self, graph: Graph, plan: Plan, target: Target, chunks: Mapping[int, list[_Chunk]]
    ) -> None:
        self.weight_order: dict[str, tuple[int, ...]] = {}
        self._graph, self._plan, self._target, self._chunks = graph, plan, target, chunks
        self._placement = Placement(plan)
        # Pieces and chunks met so far, per step.
        self._pieces: dict[int, int] = {}
        self._streamed: dict[int, int] = {}

    def work(self, command: Command) -> Move | Product:
        if command.kind is CommandKind.COMPUTE:
            return self._product(command)
        ranges = (*command.dram_reads, *command.dram_writes)
        if len(ranges) != 1:
            raise UsageError(f"{command.label}: tile programs move one range of DRAM at a time")
        ((lower_, upper),) = ranges
        if command.kind is CommandKind.WEIGHT:
            number = self._streamed.get(command.step, 0)
            self._streamed[command.step] = number + 1
            address = self._chunks[command.step][number].address
        else:
            address = command.walks[0].address
        streamed = command.kind is CommandKind.WEIGHT
        return Move(lower_, address, streamed, upper - lower_, command.dram_bytes)

    def _product(self, command: Command) -> Product:
        operator = self._graph.operator[command.label]
        piece = self._pieces.get(command.step, 0)
        self._pieces[command.step] = piece + 1
        whole = self._whole(command.step, operator)
        chunks = self._chunks.get(command.step, [])
        if not chunks:
            return whole
        if len(chunks) == 1:
            right = replace(whole.right, address=chunks[0].address, streamed=True)
            return replace(whole, right=right)
        blocks = self._blocks(operator, sum(chunk.size_bytes for chunk in chunks))
        if piece == 0:
            self._order(operator, whole, blocks)
        return self._part(operator, whole, blocks[piece], chunks[piece].address)

    def _blocks(self, operator: Operator, size_bytes: int) -> list[Block]:
        """What the chunks of an operator hold."""
        parts = streamed_parts(self._graph, operator, self._target, size_bytes)
        blocks = [part.block for part in parts if part.block]
        right = self._graph.tensor[self._graph.resolve(operator.inputs[1])[0]]
        if len(blocks) < len(parts) or right.role is not Role.WEIGHT:
            raise UsageError(f"{operator.name}: only right operands stream in several chunks")
        return blocks

    def _part(self, operator: Operator, whole: Product, block: Block, address: int) -> Product:
        """The part of a product whose weights are one chunk at ``address``."""
        (first, last), (term, end) = block.majors, block.terms
        left = whole.left
        if term % left.kernel or (end % left.kernel and end != whole.terms):
            raise UsageError(
                f"{operator.name}: chunks cut its kernel of {left.kernel} elements within a "
                "channel; a weight buffer of twice a fold's weights would do"
            )
        width = self._graph.tensor[operator.inputs[0]].dtype.bits // 8
        skipped = term // left.kernel * left.strides[0] * width
        right = _matrix(address, last - first, (end - term, 1))
        return replace(
            whole,
            terms=end - term,
            columns=last - first,
            left=replace(left, address=left.address + skipped),
            right=replace(right, streamed=True),
            address=whole.address + first * whole.strides[1],
            # Sums over the terms before are there already.
            accumulate=whole.accumulate or term > 0,
        )

    def _order(self, operator: Operator, whole: Product, blocks: Sequence[Block]) -> None:
        """Note in which order the weights lie in DRAM."""
        storage = self._graph.resolve(operator.inputs[1])[0]
        term, column = whole.right.strides[:2]
        order = tuple(
            t * term + c * column
            for block in blocks
            for c in range(*block.majors)
            for t in range(*block.terms)
        )
        elements = self._graph.tensor[storage].elements
        if len(order) != elements or self.weight_order.setdefault(storage, order) != order:
            raise UsageError(f"{storage}: two operators stream these weights in different chunks")

    def _whole(self, step: int, operator: Operator) -> Product:
        """The product of an operator in one piece."""
        gemm = _gemm(self._graph, operator)
        left, right = (self._graph.tensor[name] for name in operator.inputs[:2])
        out = self._graph.tensor[operator.outputs[0]]
        at, is_conv = self._address(step, left), operator.kind in ("Conv", "ConvInteger")
        transposed = bool(operator.attribute("transB", 0)) or is_conv
        left_strides = (1, gemm.m) if operator.attribute("transA", 0) else (gemm.k, 1)
        right_strides = (gemm.k, 1) if transposed else (1, gemm.n)
        streamed = step in self._chunks
        return Product(
            rows=gemm.m,
            terms=gemm.k,
            columns=gemm.n,
            left=_image(operator, left, right, out, at)
            if is_conv
            else _matrix(at, gemm.m, left_strides),
            right=_matrix(0 if streamed else self._address(step, right), gemm.n, right_strides),
            address=self._address(step, out),
            strides=(SUM_BYTES, SUM_BYTES * gemm.m) if is_conv else (SUM_BYTES * gemm.n, SUM_BYTES),
            accumulate=self._accumulates(operator),
        )

    def _address(self, step: int, tensor: Tensor) -> int:
        storage, offset = self._graph.resolve(tensor.name)
        if self._placement.direct(storage, step):
            raise UsageError(f"{tensor.name}: tile programs have no direct accesses to DRAM")
        return self._placement.address(storage, step) + offset

    def _accumulates(self, operator: Operator) -> bool:
        if len(operator.inputs) == 2:
            return False
        resolve = self._graph.resolve
        if resolve(operator.inputs[2]) != resolve(operator.outputs[0]):
            raise UsageError(
                f"{operator.name}: a third operand must lie where the result does, to be added to"
            )
        return True


def _gemm(graph: Graph, operator: Operator) -> Gemm:
    gemms = gemms_of(graph, operator) if operator.kind in KINDS else ()
    operands = [graph.tensor[name] for name in operator.inputs[:2]]
    if (
        len(gemms) != 1
        or gemms[0].groups * gemms[0].repeats > 1
        or operator.epilogue
        or operator.prologue
        or len(operator.inputs) > 3
        or any(tensor.dtype.is_float or tensor.dtype.bits % 8 for tensor in operands)
        or graph.tensor[operator.outputs[0]].dtype.bits != 8 * SUM_BYTES
    ):
        raise UsageError(
            f"{operator.name} ({operator.kind}): tile programs hold single integer products with "
            f"sums of 32 bits, of kinds {', '.join(KINDS)}"
        )
    return gemms[0]


def _matrix(address: int, majors: int, strides: tuple[int, int]) -> Operand:
    """A plain matrix, ``strides`` in elements from one major index and one term to the next."""
    return Operand(
        address=address,
        streamed=False,
        outputs_x=1,
        kernel=1,
        kernel_x=1,
        step=(1, 0),
        spread=(0, 0),
        pad=(0, 0),
        size=(majors, 1),
        strides=(strides[1], strides[0], 0),
    )


def _image(operator: Operator, image: Tensor, kernel: Tensor, out: Tensor, address: int) -> Operand:
    """An image [1, channels, y, x] seen through a kernel."""
    if len(image.shape) != 4 or image.shape[0] != 1:
        raise UsageError(f"{operator.name}: tile programs convolve single images [1, C, H, W]")
    _, _, height, width = image.shape
    pads = _numbers(operator, "pads", (0, 0, 0, 0))
    return Operand(
        address=address,
        streamed=False,
        outputs_x=out.shape[3],
        kernel=kernel.shape[2] * kernel.shape[3],
        kernel_x=kernel.shape[3],
        step=_pair(_numbers(operator, "strides", (1, 1))),
        spread=_pair(_numbers(operator, "dilations", (1, 1))),
        pad=_pair(pads),
        size=(height, width),
        strides=(height * width, width, 1),
    )


def _numbers(operator: Operator, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    value = operator.attribute(name, default)
    return tuple(int(each) for each in value) if isinstance(value, tuple) else default


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    return values[0], values[1]
