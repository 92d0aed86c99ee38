"""``stowplan targets``, ``ops`` and ``completion``: what there is to choose from."""

import os
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from stowplan.cli_options import Format, FormatOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stowplan.targets.support import SupportedKind
    from stowplan.targets.target import Target

TARGET_HEAD = ("target", "array", "scratchpad", "DRAM", "clock", "what it is")

MATRIX_HEAD = ("domain", "operator", "category", "planned", "engine", "cost", "proof", "note")


class MatrixFormat(StrEnum):
    """How the support matrix is printed."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


class Shell(StrEnum):
    """Shells that completion scripts exist for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def targets_command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="Show every field of this target.", show_default=False
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of target files.")
    ] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """List the shipped targets, or show one of them with its sources."""
    from stowplan.cli_output import columns, print_result
    from stowplan.targets.load import list_targets, load_target, target_schema

    if schema:
        print_result(Format.JSON, target_schema(), ())
    elif name is not None:
        target = load_target(name)
        print_result(output, target, target_lines(target))
    else:
        targets = [load_target(shipped) for shipped in list_targets()]
        print_result(output, targets, columns([TARGET_HEAD, *map(target_row, targets)]))


def target_row(target: "Target") -> tuple[str, ...]:
    """One target as cells under :data:`TARGET_HEAD`."""
    from stowplan.report.quantities import human_bytes

    direct = " direct" if target.dram.direct_operands else ""
    return (
        target.name,
        f"{target.array.rows}x{target.array.cols}",
        human_bytes(target.scratchpad.size_bytes),
        f"{target.dram.bytes_per_cycle} B/cycle{direct}",
        f"{target.clock_hz / 1e6:,.0f} MHz",
        target.description,
    )


def target_lines(target: "Target") -> list[str]:
    """Every field of a target with the source of its number."""
    import msgspec

    from stowplan.cli_output import columns

    fields = msgspec.to_builtins(target)
    sources = fields.pop("sources")
    rows = [
        (key, str(value), sources.get(key, sources.get(key.split(".")[0], "")))
        for key, value in _flat(fields, ())
    ]
    return columns(rows)


def _flat(table: dict[str, object], path: tuple[str, ...]) -> "list[tuple[str, object]]":
    rows: list[tuple[str, object]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            rows += _flat(value, (*path, key))
        else:
            rows.append((".".join((*path, key)), value))
    return rows


def ops_command(
    output: Annotated[
        MatrixFormat, typer.Option("--format", "-f", help="Print text, JSON or Markdown.")
    ] = MatrixFormat.TEXT,
) -> None:
    """Print which ONNX operators are supported."""
    from stowplan.cli_output import columns, print_result
    from stowplan.targets.support import supported_kinds

    kinds = supported_kinds()
    if output is MatrixFormat.MARKDOWN:
        print_result(Format.TEXT, kinds, matrix_markdown(kinds))
    else:
        print_result(Format(output.value), kinds, columns([MATRIX_HEAD, *map(_kind_row, kinds)]))


def _kind_row(kind: "SupportedKind") -> tuple[str, ...]:
    cost = "own" if kind.cost_model else "generic" if kind.imported else ""
    return (
        kind.domain or "ai.onnx",
        kind.name,
        kind.category,
        _yes(kind.imported),
        kind.engine,
        cost,
        _yes(kind.proof),
        kind.note,
    )


def _yes(condition: bool) -> str:
    return "yes" if condition else "no"


def matrix_markdown(kinds: "Sequence[SupportedKind]") -> list[str]:
    """The support matrix as the page ``docs/operators.md``."""
    imported = sum(kind.imported for kind in kinds)
    lines = [
        "# Operators",
        "",
        f"{imported} of {len(kinds)} known operator kinds are planned. Any other kind imports with",
        "a warning and a generic cost: one element-wise pass over its largest operand.",
        "`stowplan ops --format markdown` prints this page.",
        "",
        f"| {' | '.join(MATRIX_HEAD)} |",
        f"|{'---|' * len(MATRIX_HEAD)}",
    ]
    return [*lines, *(f"| {' | '.join(_kind_row(kind))} |" for kind in kinds)]


def completion_command(
    shell: Annotated[Shell, typer.Argument(help="Shell to print the script for.")],
    output: FormatOption = Format.TEXT,
) -> None:
    """Print a completion script for a shell.

    For bash: stowplan completion bash >> ~/.bashrc
    """
    from stowplan.cli_output import print_result

    script = completion_script(shell)
    print_result(output, {"shell": shell, "script": script}, script.splitlines())


def completion_script(shell: Shell) -> str:
    """The script typer makes for ``shell``; it asks the command itself for candidates."""
    import subprocess
    import sys

    environment = {**os.environ, "_STOWPLAN_COMPLETE": f"source_{shell.value}"}
    run = subprocess.run(
        [sys.executable, "-c", "from stowplan.cli import app; app(prog_name='stowplan')"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout
