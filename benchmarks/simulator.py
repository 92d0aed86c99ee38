"""Speed of the whole-plan simulator: products, ResNet-50, growth, and peers beside it.

    python -m benchmarks.simulator [--resnet MODEL.onnx] [--scalesim-python PYTHON]
        [--onnxim onnxim_gemm.csv] [--no-own]

Processor seconds of one core, warm, best of several; ``run`` is the engine with arrays made from a
program, ``all`` is everything from a graph on: cost, plan, lowering, engine. ``--scalesim-python``
names an interpreter that has `scalesim`, which then simulates the same products; ``--onnxim`` a
file with the speeds that ONNXim reached (`cycles_per_s`), on another, loaded machine.
"""

import argparse
import csv
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import process_time

from rich.console import Console
from rich.table import Table

from stowplan.api import plan_problem, prepare
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.ir.program import Command, CommandKind, Engine, Program
from stowplan.passes.greedy import plan_greedy
from stowplan.passes.planner import PlanOptions
from stowplan.recipe import Recipe
from stowplan.simulator.engine import run
from stowplan.simulator.lower import lower
from stowplan.simulator.machine import Machine, Timing, machine_of
from stowplan.targets.load import load_target
from stowplan.targets.target import DramMode, Target

ROUNDS = 5
MODES: tuple[DramMode, ...] = ("bandwidth", "full")
SCALE_SIM = (
    (64, 64, 64, 16),
    (256, 256, 256, 16),
    (512, 512, 512, 16),
    (512, 512, 512, 32),
)


@dataclass(frozen=True, slots=True)
class Product:
    """``[m, k] x [k, n]`` on an array of ``side`` x ``side``."""

    m: int
    k: int
    n: int
    side: int

    def __str__(self) -> str:
        return f"{self.m}x{self.k}x{self.n}"

    def graph(self) -> Graph:
        """The product with streamed weights."""
        tensors = (
            Tensor("x", (self.m, self.k), DType.INT8, Role.INPUT),
            Tensor("w", (self.k, self.n), DType.INT8, Role.WEIGHT),
            Tensor("y", (self.m, self.n), DType.INT8, Role.OUTPUT),
        )
        return Graph("product", tensors, (Operator("product", "MatMul", ("x", "w"), ("y",)),))

    def target(self) -> Target:
        """The default target with such an array."""
        return load_target("edge-npu", (f"array.rows={self.side}", f"array.cols={self.side}"))


def best(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Least processor seconds of ``work``; short work is repeated until it can be measured."""
    work()
    found = float("inf")
    for _ in range(rounds):
        count, began = 0, process_time()
        while not count or (process_time() - began < 0.02):
            work()
            count += 1
        found = min(found, (process_time() - began) / count)
    return found


def whole(product: Product, target: Target, mode: DramMode) -> Timing:
    """From the graph to the end of the simulation."""
    graph = product.graph()
    plan = plan_greedy(graph, target, PlanOptions())
    return run(lower(graph, plan, target), machine_of(target, mode))


def products_table() -> Table:
    """Cycles per second on single products."""
    table = Table(
        *("product", "array", "mode", "commands", "cycles", "DRAM clocks", "run ms", "all ms"),
        *("M cycles/s, run", "M cycles/s, all", "M DRAM clocks/s"),
        title="Products with streamed weights",
    )
    for shape in (*SCALE_SIM, (1024, 1024, 1024, 32), (2048, 2048, 2048, 128)):
        product = Product(*shape)
        graph, target = product.graph(), product.target()
        program = lower(graph, plan_greedy(graph, target, PlanOptions()), target)
        for mode in MODES:
            machine = machine_of(target, mode)
            timing = run(program, machine)
            running = best(lambda m=machine, p=program: run(p, m))  # type: ignore[misc]
            every = best(lambda p=product, t=target, m=mode: whole(p, t, m), 2)  # type: ignore[misc]
            full = mode == "full"
            table.add_row(
                *(str(product), f"{product.side}x{product.side}", mode),
                *(f"{len(program.commands)}", f"{timing.cycles:,}"),
                f"{timing.dram_clocks:,}" if full else "",
                *(f"{running * 1e3:.2f}", f"{every * 1e3:.2f}"),
                *(f"{timing.cycles / s / 1e6:,.0f}" for s in (running, every)),
                f"{timing.dram_clocks / running / 1e6:.1f}" if full else "",
            )
    return table


def resnet_table(path: Path) -> Table:
    """A whole network in both modes."""
    table = Table(
        *("precision", "mode", "commands", "cycles", "DRAM clocks", "lower s", "run s"),
        *("M cycles/s", "M DRAM clocks/s"),
        title=f"{path.stem}, whole network",
    )
    for precision in ("int8", None):
        recipe = Recipe("edge-npu", (), (), precision, None, "auto", False)
        compiled = plan_problem(prepare(path, recipe), "greedy", PlanOptions())
        lowering = best(lambda c=compiled: lower(c.graph, c.plan, c.target), 1)  # type: ignore[misc]
        program = compiled.program
        for mode in MODES:
            machine = machine_of(compiled.target, mode)
            timing = run(program, machine)
            seconds = best(lambda m=machine, p=program: run(p, m), 2)  # type: ignore[misc]
            full = mode == "full"
            table.add_row(
                *(precision or "float32", mode, str(len(program.commands))),
                *(f"{timing.cycles:,}", f"{timing.dram_clocks:,}" if full else ""),
                *(f"{lowering:.3f}", f"{seconds:.4f}", f"{timing.cycles / seconds / 1e6:,.1f}"),
                f"{timing.dram_clocks / seconds / 1e6:.1f}" if full else "",
            )
    return table


def pipeline(commands: int, length: int, spread: int = 1) -> Program:
    """Alternating loads and computations, each computation ``length`` cycles long."""
    found: list[Command] = []
    for i in range(commands // 2):
        lower_ = 64 * spread * i
        load = Command(
            *(CommandKind.LOAD, (Engine.DMA_IN,), "load", 0, (), 8, 64 * spread),
            dram_reads=((lower_, lower_ + 64 * spread),),
        )
        compute = Command(
            *(CommandKind.COMPUTE, (Engine.ARRAY,), "compute", 0, (2 * i,), 0, 0, length)
        )
        found += (load, compute)
    return Program(tuple(found))


def growth_table() -> Table:
    """Time against commands, and against cycles at the same number of commands."""
    table = Table(
        *("mode", "commands", "cycles per computation", "cycles", "DRAM accesses", "run ms"),
        *("us per command", "M cycles/s"),
        title="Time grows with events, not with cycles",
    )
    target = load_target("edge-npu")
    cases = [(1_000, 100), (10_000, 100), (100_000, 100)]
    cases += [(10_000, 1_000), (10_000, 10_000), (10_000, 100_000)]
    for mode in MODES:
        machine = machine_of(target, mode)
        for commands, length in cases:
            if mode == "full" and commands * length > 10**8:
                # Refreshes go on while nothing else happens: shown once, at the length before.
                continue
            program = pipeline(commands, length)
            timing = _run(program, machine)
            seconds = best(lambda p=program, m=machine: _run(p, m), 3)  # type: ignore[misc]
            accesses = timing.dram.reads + timing.dram.writes if timing.dram else 0
            table.add_row(
                *(mode, f"{commands:,}", f"{length:,}", f"{timing.cycles:,}"),
                *(f"{accesses:,}" if accesses else "", f"{seconds * 1e3:.1f}"),
                *(f"{seconds / commands * 1e6:.2f}", f"{timing.cycles / seconds / 1e6:,.0f}"),
            )
    return table


def _run(program: Program, machine: Machine) -> Timing:
    return run(program, machine)


def scalesim_table(python: str) -> Table:
    """The same products in SCALE-Sim, weights stationary, without memory stalls."""
    table = Table(
        *("product", "array", "SCALE-Sim cycles", "SCALE-Sim s", "cycles/s", "ours, array cycles"),
        *("all ms", "run ms", "ratio, all", "ratio, run"),
        title="SCALE-Sim 3.0.0 beside it, processor time of both",
    )
    script = Path(__file__).with_name("simulator_scalesim.py")
    for shape in SCALE_SIM:
        product = Product(*shape)
        numbers = map(str, (product.m, product.k, product.n, product.side))
        command = [python, "-P", "-W", "ignore", str(script), *numbers, "ws"]
        cycles, peer = subprocess.run(
            command, capture_output=True, check=True, text=True
        ).stdout.split()
        target = load_target(
            "edge-npu",
            (
                *(f"array.{side}={product.side}" for side in ("rows", "cols")),
                "array.dataflow=weight_stationary",
            ),
        )
        graph = product.graph()
        program = lower(graph, plan_greedy(graph, target, PlanOptions()), target)
        machine = machine_of(target, "bandwidth")
        own = sum(command.work.array_cycles for command in program.commands)
        running = best(lambda p=program, m=machine: run(p, m))  # type: ignore[misc]
        every = best(lambda p=product, t=target: whole(p, t, "bandwidth"), 2)  # type: ignore[misc]
        seconds = float(peer)
        table.add_row(
            *(str(product), f"{product.side}x{product.side}", f"{int(cycles):,}"),
            *(f"{seconds:.2f}", f"{int(cycles) / seconds:,.0f}", f"{own:,}"),
            *(f"{every * 1e3:.2f}", f"{running * 1e3:.3f}"),
            *(f"{seconds / every:,.0f}", f"{seconds / running:,.0f}"),
        )
    return table


def onnxim_table(path: Path) -> Table:
    """Published-format speeds of ONNXim against ours on the same products, full DRAM both."""
    table = Table(
        *("product", "array", "ONNXim cycles", "ONNXim cycles/s", "ours, cycles, full DRAM"),
        *("all ms", "cycles/s", "ratio of cycles/s", "ratio of times"),
        title="ONNXim (recorded elsewhere), processor time of ours",
    )
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        product = Product(*(int(row[key]) for key in ("M", "K", "N", "array")))
        target = load_target(
            "tpu-v4i",
            (
                *(f"array.{side}={product.side}" for side in ("rows", "cols")),
                *("array.count=1", "dram.channels=8", "dram.path_cycles=1"),
            ),
        )
        timing = whole(product, target, "full")
        seconds = best(lambda p=product, t=target: whole(p, t, "full"), 2)  # type: ignore[misc]
        table.add_row(
            *(str(product), f"{product.side}x{product.side}", f"{int(row['total_cycles']):,}"),
            *(f"{int(row['cycles_per_s']):,}", f"{timing.cycles:,}", f"{seconds * 1e3:.1f}"),
            f"{timing.cycles / seconds:,.0f}",
            f"{timing.cycles / seconds / float(row['cycles_per_s']):,.0f}",
            f"{float(row['wall_s']) / seconds:,.0f}",
        )
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--no-own", dest="own", action="store_false", help="peers alone")
    parser.add_argument("--resnet", type=Path, default=None)
    parser.add_argument("--scalesim-python", default=None)
    parser.add_argument("--onnxim", type=Path, default=None)
    arguments = parser.parse_args()
    console = Console(width=200)
    if arguments.own:
        console.print(products_table())
        console.print(growth_table())
    if arguments.resnet is not None:
        console.print(resnet_table(arguments.resnet))
    if arguments.scalesim_python is not None:
        console.print(scalesim_table(arguments.scalesim_python))
    if arguments.onnxim is not None:
        console.print(onnxim_table(arguments.onnxim))


if __name__ == "__main__":
    main()
