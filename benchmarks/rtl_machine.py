"""Verilated machines: build one for a target, give it a tile program, read what it did.

The hardware is in ``tests/rtl/hardware``. Builds are kept in the temporary directory under a hash
of sources, parameters, flags and compiler, and made again only if one of them changes.
"""

import getpass
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path

from stowplan.errors import StowplanError
from stowplan.ir.program import CommandKind, Engine, Program
from stowplan.simulator.tile_program import Move, Operand, Product, TileProgram
from stowplan.targets.target import (
    Array,
    Banking,
    Dma,
    Dram,
    Energy,
    Scratchpad,
    Target,
    Vector,
    WeightBuffer,
)

HARDWARE = Path(__file__).resolve().parent.parent / "tests" / "rtl" / "hardware"
MODULES = (
    "machine_types",
    "command_queue",
    "dma_in",
    "dma_out",
    "dram",
    "scratchpad",
    "element_outputs",
    "output_register",
    "array_outputs",
    "element_weights",
    "array_weights",
    "machine",
)
ENGINES = (Engine.DMA_IN, Engine.DMA_OUT, Engine.ARRAY)
MISSING = "needs verilator and g++ (Debian: apt-get install verilator g++ make)"
_EVENT = re.compile(r"(\S+) (\d+) (start|end) (\d+)")
_POISON = 0xEE
_FLAGS = (
    *("--cc", "--exe", "--build", "-Wall", "-Wno-WIDTH", "-Wno-UNUSEDSIGNAL", "-Wno-UNUSEDPARAM"),
    *("-O3", "-CFLAGS", "-O1", "--top-module", "machine"),
)


class RtlError(StowplanError):
    """Verilator, the compiler or the simulated machine failed."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """Parameters of the RTL machine, and of the target that stands for it.

    Attributes:
        element_bytes: bytes of an operand's element.
        read_clock: what the scratchpad reads in one clock reaches the array in the next.
        bytes_per_cycle: lanes to off-chip memory, even so that two streams can share them.
        banked: single-ported banks that conflict; otherwise every master has ports of its own.
        banking: how the target treats banks.
        turns: two streams use the lanes to memory in turn instead of half each.
    """

    rows: int
    cols: int
    dataflow: str = "output_stationary"
    pipelined: bool = False
    stages: int = 0
    double_buffered: bool = False
    element_bytes: int = 1
    scratchpad_bytes: int = 8192
    banks: int = 64
    bank_width_bytes: int = 64
    buffer_bytes: int = 1024
    bytes_per_cycle: int = 8
    latency_cycles: int = 10
    setup_cycles: int = 4
    burst_bytes: int = 16
    read_clock: bool = False
    banked: bool = False
    banking: Banking = "spread"
    turns: bool = False

    @property
    def name(self) -> str:
        """Short form for tables."""
        kind = {"o": "OS", "w": "WS", "i": "IS"}[self.dataflow[0]]
        extras = [
            word
            for word, on in (
                ("pipelined", self.pipelined),
                ("double-buffered", self.double_buffered),
                (f"int{8 * self.element_bytes}", self.element_bytes > 1),
                ("read clock", self.read_clock),
            )
            if on
        ]
        return ", ".join([f"{self.rows}x{self.cols} {kind}", f"P = {self.stages}", *extras])

    def target(self) -> Target:
        """The machine as stowplan describes it."""
        array = {
            "rows": self.rows,
            "cols": self.cols,
            "dataflow": self.dataflow,
            "fold_mode": "pipelined" if self.pipelined else "drained",
            "element_stages": self.stages,
            "double_buffered": self.double_buffered,
        }
        return Target(
            name="rtl",
            description=f"the RTL machine, {self.name}",
            clock_hz=1_000_000_000,
            array=Array(**array),  # type: ignore[arg-type]
            vector=Vector(lanes=1),
            scratchpad=Scratchpad(
                size_bytes=self.scratchpad_bytes,
                alignment_bytes=16,
                banks=self.banks,
                bank_width_bytes=self.bank_width_bytes,
                banking=self.banking,
                read_latency_cycles=int(self.read_clock),
            ),
            weight_buffer=WeightBuffer(size_bytes=self.buffer_bytes),
            dma=Dma(setup_cycles=self.setup_cycles, burst_bytes=self.burst_bytes),
            dram=Dram(bytes_per_cycle=self.bytes_per_cycle, latency_cycles=self.latency_cycles),
            energy=Energy(mac_pj=1.0, scratchpad_pj_per_byte=1.0, dram_pj_per_byte=1.0),
        )

    def parameters(self) -> dict[str, int]:
        """Parameters of module ``machine``."""
        return {
            "ROWS": self.rows,
            "COLS": self.cols,
            "WIDTH": 8 * self.element_bytes,
            "WEIGHTS": int(self.dataflow != "output_stationary"),
            "PIPELINED": int(self.pipelined),
            "DOUBLE": int(self.double_buffered),
            "STAGES": self.stages,
            "READ_CLOCK": int(self.read_clock),
            "PAD_SIZE": self.scratchpad_bytes,
            "BANKED": int(self.banked),
            "BANKS": self.banks,
            "WORD": self.bank_width_bytes,
            "BUFFER_SIZE": self.buffer_bytes,
            "BYTES": self.bytes_per_cycle,
            "LATENCY": self.latency_cycles,
            "SETUP": self.setup_cycles,
            "TURNS": int(self.turns),
        }


@dataclass(frozen=True, slots=True)
class Trace:
    """What the hardware did.

    Attributes:
        start: per command, its first clock.
        end: per command, the clock after its last.
        memory: off-chip memory afterwards.
    """

    start: tuple[int, ...]
    end: tuple[int, ...]
    memory: bytes

    @property
    def cycles(self) -> int:
        """Clocks until the last command had ended."""
        return max(self.end, default=0)


def available() -> bool:
    """Whether machines can be built here."""
    return all(shutil.which(tool) for tool in ("verilator", "g++", "make"))


def build(hardware: Hardware) -> Path:
    """The simulator of ``hardware``, built if there is none yet.

    Raises:
        RtlError: Verilator or the compiler rejects it.
    """
    version = _call(["verilator", "--version"])
    sources = [HARDWARE / f"{name}.sv" for name in MODULES] + [HARDWARE / "main.cpp"]
    flags = [*_FLAGS, *(f"-G{name}={value}" for name, value in hardware.parameters().items())]
    key = sha256(repr((version, flags)).encode())
    for source in sources:
        key.update(source.read_bytes())
    folder = Path(tempfile.gettempdir()) / f"stowplan-rtl-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise RtlError(f"{folder} belongs to somebody else: remove it or set TMPDIR")
    binary = folder / key.hexdigest()[:24]
    if binary.exists():
        return binary
    with tempfile.TemporaryDirectory(dir=folder) as work:
        _call(["verilator", *flags, "--Mdir", work, *map(str, sources)])
        (Path(work) / "Vmachine").replace(binary)
    return binary


def run(hardware: Hardware, tiles: TileProgram, memory: bytes) -> Trace:
    """Run a tile program on the hardware with ``memory`` as content of DRAM.

    Raises:
        RtlError: the machine stops with an error.
    """
    binary = build(hardware)
    mirrored = hardware.dataflow == "input_stationary"
    queues = {engine: tiles.program.queue(engine) for engine in ENGINES}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        arguments = [f"+memory={folder / 'memory'}", f"+result={folder / 'result'}"]
        arguments += [f"+used={len(memory)}"]
        (folder / "memory").write_text("\n".join(f"{byte:02x}" for byte in memory) + "\n")
        for engine, queue in queues.items():
            lines = [_encode(tiles, index, mirrored) for index in queue]
            (folder / engine.label).write_text("\n".join(lines) + "\n")
            arguments += [f"+{engine.label}={folder / engine.label}"]
            arguments += [f"+{engine.label}_count={len(queue)}"]
        printed = _call([str(binary), *arguments])
        words = (folder / "result").read_text().split()
    after = bytes(int(word, 16) for word in words if not word.startswith(("/", "@")))
    times = {"start": [-1] * len(tiles.work), "end": [-1] * len(tiles.work)}
    labels = {engine.label: queue for engine, queue in queues.items()}
    for label, number, event, clock in _EVENT.findall(printed):
        times[event][labels[label][int(number)]] = int(clock)
    return Trace(tuple(times["start"]), tuple(times["end"]), after)


def _encode(tiles: TileProgram, index: int, mirrored: bool) -> str:
    """A command as hexadecimal digits, fields in the order of ``command_t``."""
    command, work = tiles.program.commands[index], tiles.work[index]
    words = list(reversed(_waits(tiles.program, command.waits)))
    if isinstance(work, Move):
        words += [int(work.streamed), work.dram_address, work.address]
        words += [work.size_bytes, work.moved_bytes]
        words += [0] * (3 + 2 * len(_OPERAND_WORDS) + 4)
        return _hexadecimal(words)
    if command.kind is not CommandKind.COMPUTE:
        raise RtlError("a transfer computes nothing")
    product = transposed(work) if mirrored else work
    words += [0] * 5
    words += [product.rows, product.terms, product.columns]
    words += [*_operand(product.left), *_operand(product.right)]
    words += [product.address, *product.strides, int(product.accumulate)]
    return _hexadecimal(words)


def transposed(product: Product) -> Product:
    """The same product with its operands exchanged: what is stationary is now the left one."""
    return Product(
        rows=product.columns,
        terms=product.terms,
        columns=product.rows,
        left=product.right,
        right=product.left,
        address=product.address,
        strides=(product.strides[1], product.strides[0]),
        accumulate=product.accumulate,
    )


def _waits(program: Program, waits: tuple[int, ...]) -> list[int]:
    """Per engine, how many of its commands must have finished."""
    found = []
    for engine in ENGINES:
        queue = program.queue(engine)
        found.append(max((queue.index(wait) + 1 for wait in waits if wait in queue), default=0))
    return found


_OPERAND_WORDS = (
    *("address", "streamed", "outputs_x", "kernel", "kernel_x", "step", "step", "spread"),
    *("spread", "pad", "pad", "size", "size", "strides", "strides", "strides"),
)


def _operand(operand: Operand) -> list[int]:
    words: list[int] = []
    for value in (getattr(operand, field.name) for field in fields(operand)):
        words += value if isinstance(value, tuple) else [int(value)]
    return words


def _hexadecimal(words: list[int]) -> str:
    return "".join(f"{word & 0xFFFFFFFF:08x}" for word in words)


def _call(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RtlError(f"{command[0]}: {error}") from error
    if done.returncode:
        raise RtlError(f"{command[0]} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def image(addresses: Mapping[str, int], contents: Mapping[str, bytes], size: int) -> bytes:
    """DRAM of ``size`` bytes with ``contents`` by storage, everything else poisoned."""
    memory = bytearray([_POISON]) * size
    for name, content in contents.items():
        memory[addresses[name] : addresses[name] + len(content)] = content
    return bytes(memory)
