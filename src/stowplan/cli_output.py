"""Printing results: one JSON object, or lines for people."""

import sys
from collections.abc import Iterable

import msgspec

from stowplan.cli_options import Format


def print_result(output: Format, result: object, lines: Iterable[str]) -> None:
    """Print ``result`` as JSON or ``lines`` as text on stdout."""
    if output is Format.JSON:
        text = msgspec.json.format(msgspec.json.encode(result, order="deterministic"), indent=2)
        sys.stdout.write(text.decode("utf-8") + "\n")
    else:
        sys.stdout.writelines(line + "\n" for line in lines)
    sys.stdout.flush()


def warn(messages: Iterable[str]) -> None:
    """Print warnings on stderr."""
    for message in messages:
        print(f"warning: {message}", file=sys.stderr)


def columns(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Rows of cells as aligned lines, two blanks apart."""
    table = list(rows)
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
