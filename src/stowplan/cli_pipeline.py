"""``stowplan simulate --pipeline``: operators at once, joined by FIFOs."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from stowplan.cli_options import Format
from stowplan.errors import ProofError, UsageError

if TYPE_CHECKING:
    from stowplan.recipe import Recipe
    from stowplan.simulator.pipeline_run import PipelineResult, Sizing


def pipeline_sizing(text: str) -> "Sizing | int":
    """``throughput``, ``progress`` or a number of tokens.

    Raises:
        UsageError: anything else.
    """
    if text == "throughput":
        return "throughput"
    if text == "progress":
        return "progress"
    if text.isdecimal():
        return int(text)
    raise UsageError(f"--depth {text}: 'throughput', 'progress' or a number of tokens")


def fifo_depths(entries: Sequence[str]) -> dict[str, int]:
    """``NAME=DEPTH`` entries as a mapping.

    Raises:
        UsageError: an entry without name or number.
    """
    found = {}
    for entry in entries:
        name, _, depth = entry.rpartition("=")
        if not name or not depth.isdecimal():
            raise UsageError(f"--fifo {entry}: expected NAME=DEPTH, as in --fifo relu_1=4")
        found[name] = int(depth)
    return found


def run_pipeline_command(
    model: str,
    source: "Path | Recipe",
    bounds: tuple[str | None, str | None],
    sizing: str,
    fifos: Sequence[str],
    inferences: int,
    output: Format,
) -> None:
    """Build, simulate and print the pipeline of a plan's graph, or of a model and its recipe."""
    import msgspec

    from stowplan.api import prepare, rebuild
    from stowplan.cli_output import print_result, warn
    from stowplan.ir.plan import Plan
    from stowplan.simulator.pipeline import build_pipeline, select_operators
    from stowplan.simulator.pipeline_run import run_pipeline

    wanted, depths = pipeline_sizing(sizing), fifo_depths(fifos)
    if isinstance(source, Path):
        problem = rebuild(model, Plan.load(source))
    else:
        problem = prepare(model, source)
        warn(problem.imported.warnings if problem.imported else ())
    operators = select_operators(problem.graph, *bounds)
    pipeline = build_pipeline(problem.graph, operators, problem.target, inferences)
    result = run_pipeline(pipeline, wanted, depths)
    status = "ok" if result.deadlock is None else "deadlock"
    fields = {"status": status, "model": model, "speedup": result.speedup}
    print_result(output, fields | msgspec.to_builtins(result), list(pipeline_lines(result)))
    if result.deadlock is not None:
        raise typer.Exit(ProofError.exit_code)


def pipeline_lines(result: "PipelineResult") -> Iterator[str]:
    """A pipeline for people."""
    from stowplan.cli_output import columns
    from stowplan.report.quantities import human_bytes

    if result.deadlock is not None:
        yield result.deadlock
        yield f"stands still after {result.cycles:,} cycles"
    else:
        yield (
            f"cycles       {result.cycles:,}, sequential {result.sequential_cycles:,}: "
            f"{result.speedup:.2f} times as fast, {result.inferences} inferences"
        )
    yield (
        f"bottleneck   {result.bottleneck}: {result.bottleneck_cycles:,} cycles per inference, "
        "which further inferences are apart at best"
    )
    proof = ", proven" if result.proven else ""
    yield f"fifos        {human_bytes(result.fifo_bytes)}, depths {result.sizing}{proof}"
    yield ""
    rows: list[tuple[str, ...]] = [("process", "firings", "busy", "no data", "no space")]
    rows += [
        (s.name, *(f"{n:,}" for n in (s.firings, s.busy_cycles, s.empty_cycles, s.full_cycles)))
        for s in result.stages
    ]
    yield from columns(rows)
    yield ""
    rows = [("fifo", "depth", "peak", "token bytes", "from", "to")]
    rows += [
        (c.name, f"{c.depth:,}", f"{c.peak_tokens:,}", f"{c.token_bytes:,}", c.writer, c.reader)
        for c in result.channels
    ]
    yield from columns(rows)
