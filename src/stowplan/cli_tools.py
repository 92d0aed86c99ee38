"""``stowplan allocate``: the allocator on its own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stowplan.cli_options import Format, FormatOption, TimeLimitOption, byte_count
from stowplan.errors import InfeasiblePlanError

if TYPE_CHECKING:
    from stowplan.ilp.allocate_csv import FileAllocation


def allocate_command(
    buffers: Annotated[
        Path,
        typer.Argument(metavar="CSV", help="Rows id,lower,upper,size.", show_default=False),
    ],
    capacity: Annotated[
        str | None,
        typer.Option(
            "--capacity",
            "-c",
            metavar="SIZE",
            help="Memory: 1048576 or 1MiB.",
            show_default="find the smallest memory",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="CSV", help="Write the buffers with their offsets."),
    ] = None,
    time_limit: TimeLimitOption = 60.0,
    output: FormatOption = Format.TEXT,
) -> None:
    """Place buffers with known lifetimes in one memory.

    Without a capacity, in the smallest one. Exit code 5 when they do not fit, or when the time
    limit leaves it open. Ctrl-C ends the search with the best offsets so far.
    """
    from stowplan.cli_output import print_result
    from stowplan.ilp.allocate_csv import allocate_csv
    from stowplan.interrupt import Interrupt

    size = None if capacity is None else byte_count(capacity)
    with Interrupt() as interrupt:
        result = allocate_csv(buffers, size, out, time_limit, interrupt.requested)
    print_result(output, result, allocation_lines(result))
    if not result.placed:
        raise typer.Exit(InfeasiblePlanError.exit_code)


def allocation_lines(result: "FileAllocation") -> list[str]:
    """An allocation for people."""
    from stowplan.report.quantities import human_time

    load = result.load
    when = "" if load.moment is None else f" by {load.buffers:,} buffers at step {load.moment:,}"
    lines = [f"buffers      {result.buffers:,}"]
    if result.capacity_bytes is not None:
        lines.append(f"fits         {_verdict(result)}")
    if result.peak_bytes is not None:
        lines.append(f"peak         {result.peak_bytes:,} bytes: {_proof(result)}")
    return [
        *lines,
        f"live         {load.live_bytes:,} bytes at once{when}; no smaller memory can do",
        f"search       {result.nodes:,} nodes in {human_time(result.wall_s)}",
    ]


def _verdict(result: "FileAllocation") -> str:
    capacity = result.capacity_bytes or 0
    if result.peak_bytes is not None:
        return f"yes: peak {result.peak_bytes:,} of {capacity:,} bytes"
    if result.load.live_bytes > capacity:
        return f"no: proved, {result.load.live_bytes:,} bytes are live at step {result.load.moment}"
    if result.status == "infeasible":
        return f"no: proved for {capacity:,} bytes by search"
    return "unknown: the search was ended"


def _proof(result: "FileAllocation") -> str:
    if result.status == "optimal":
        return "proven minimal"
    peak, bound = result.peak_bytes or 0, result.lower_bound_bytes
    return f"at least {bound:,} are needed, gap {100 * (peak - bound) / max(peak, 1):.2f} %"
