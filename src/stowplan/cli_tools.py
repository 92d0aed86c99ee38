"""``stowplan allocate``: the allocator on its own."""

from pathlib import Path
from typing import Annotated

import typer

from stowplan.cli_options import Format, FormatOption, TimeLimitOption, byte_count


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
    """Place buffers with known lifetimes in one memory."""
