"""``stowplan allocate``: the allocator on its own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stowplan.cli_options import Format, FormatOption, TimeLimitOption, byte_count
from stowplan.errors import InfeasiblePlanError

if TYPE_CHECKING:
    from stowplan.ilp.allocate_csv import Allocation


def allocate_command(
    buffers: Annotated[
        Path,
        typer.Argument(metavar="CSV", help="Rows id,lower,upper,size.", show_default=False),
    ],
    capacity: Annotated[
        str, typer.Option("--capacity", "-c", metavar="SIZE", help="Memory: 1048576 or 1MiB.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="CSV", help="Write the buffers with their offsets."),
    ] = None,
    time_limit: TimeLimitOption = 60.0,
    output: FormatOption = Format.TEXT,
) -> None:
    """Place buffers with known lifetimes in one memory.

    Exit code 5 when they do not fit, or when the time limit leaves it open.
    """
    from stowplan.cli_output import print_result
    from stowplan.ilp.allocate_csv import allocate_csv

    result = allocate_csv(buffers, byte_count(capacity), out, time_limit)
    print_result(output, result, allocation_lines(result))
    if result.status != "ok":
        raise typer.Exit(InfeasiblePlanError.exit_code)


def allocation_lines(result: "Allocation") -> list[str]:
    """An allocation for people."""
    from stowplan.report.quantities import human_time

    verdict = {
        "ok": f"yes: peak {result.peak_bytes or 0:,} of {result.capacity_bytes:,} bytes",
        "does_not_fit": f"no: proved for {result.capacity_bytes:,} bytes",
        "time_limit": "unknown: the time limit ended the search",
    }
    return [
        f"buffers      {result.buffers:,}",
        f"fits         {verdict[result.status]}",
        f"live         {result.live_bytes:,} bytes at once; no smaller memory can do",
        f"search       {result.nodes:,} nodes in {human_time(result.wall_s)}",
    ]
