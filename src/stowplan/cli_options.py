"""Options that several commands share, and how their text is read."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stowplan.errors import UsageError


class Format(StrEnum):
    """How a result is printed."""

    TEXT = "text"
    JSON = "json"


class Objective(StrEnum):
    """What a planner minimises."""

    OFFCHIP = "offchip"
    PEAK = "peak"
    CYCLES = "cycles"
    ENERGY = "energy"


class Dram(StrEnum):
    """How DRAM is simulated."""

    BANDWIDTH = "bandwidth"
    FULL = "full"


class Tiling(StrEnum):
    """When operators are split into tiles."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


def complete_targets(incomplete: str) -> list[str]:
    """Shipped targets that begin with ``incomplete``, for the shell."""
    from stowplan.targets.load import list_targets

    return [name for name in list_targets() if name.startswith(incomplete)]


def complete_planners(incomplete: str) -> list[str]:
    """Planners that begin with ``incomplete``, for the shell."""
    from stowplan.planners import planner_names

    return [name for name in planner_names() if name.startswith(incomplete)]


FormatOption = Annotated[
    Format, typer.Option("--format", "-f", help="Print a text for people or one JSON object.")
]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="List every group of fused layers.")
]
ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="ONNX file, or light:NAME for a network shipped with onnx (light:squeezenet).",
        show_default=False,
    ),
]
PlanArgument = Annotated[
    Path, typer.Argument(metavar="PLAN", help="plan.json of a compilation.", show_default=False)
]
TargetOption = Annotated[
    str,
    typer.Option(
        "--target",
        "-t",
        help="Target by name (see `stowplan targets`) or TOML file.",
        autocompletion=complete_targets,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a target field: scratchpad.size=256KiB."
    ),
]
DimOption = Annotated[
    list[str] | None,
    typer.Option("--dim", metavar="NAME=SIZE", help="Bind a symbolic dimension: batch=1."),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(help="Plan a float model at the sizes of this element type: int8."),
]
PassesOption = Annotated[
    str | None, typer.Option(metavar="PIPELINE", help="Run these passes instead of the usual ones.")
]
TileOption = Annotated[
    Tiling,
    typer.Option(help="Split operators into tiles: when one does not fit, always, or never."),
]
TileSizeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tile-size",
        metavar="OPERATOR:DIM=N,...",
        help="Tiles of an operator (or of several: layer1*) have at most this many: "
        "conv1:rows=8,channels=32.",
    ),
]
EffortOption = Annotated[
    int,
    typer.Option(
        min=0, max=3, help="Search for better tiles and fused layers: 0 not at all, 3 longest."
    ),
]
TrackWeightsOption = Annotated[
    bool,
    typer.Option("--track-weights", help="Plan weights in the scratchpad instead of streaming."),
]
DramOption = Annotated[
    Dram | None,
    typer.Option(
        help="DRAM by bandwidth and latency, or a full controller clock by clock.",
        show_default="as the target says",
    ),
]
PlannerOption = Annotated[
    str | None,
    typer.Option(
        "--planner",
        "-p",
        help="Planner by name.",
        show_default="the best registered",
        autocompletion=complete_planners,
    ),
]
ObjectiveOption = Annotated[Objective, typer.Option(help="What to minimise.")]
TimeLimitOption = Annotated[
    float,
    typer.Option(
        metavar="SECONDS", min=0.0, help="Planning time; the best plan so far is kept at its end."
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of whatever is random.")]
WorkersOption = Annotated[int, typer.Option(min=1, help="Threads a solver may use.")]


def pairs(option: str, items: Sequence[str] | None) -> tuple[tuple[str, str], ...]:
    """Split ``KEY=VALUE`` items. Raises UsageError when one has no ``=`` or no key."""
    found = []
    for item in items or ():
        key, separator, value = item.partition("=")
        if not separator or not key.strip():
            raise UsageError(f"{option} {item!r}: expected KEY=VALUE")
        found.append((key.strip(), value.strip()))
    return tuple(found)


def dimensions(items: Sequence[str] | None) -> dict[str, int]:
    """Read ``--dim`` items. Raises UsageError unless each size is a positive integer."""
    found = {}
    for name, text in pairs("--dim", items):
        if not text.isdecimal() or int(text) < 1:
            raise UsageError(f"--dim {name}={text}: the size must be a positive integer")
        found[name] = int(text)
    return found


def byte_count(text: str) -> int:
    """Read ``1048576``, ``256KiB`` or ``8 MiB``. Raises UsageError for anything else."""
    from stowplan.targets.units import parse_quantity

    try:
        return parse_quantity("size_bytes", text)
    except ValueError as error:
        raise UsageError(str(error)) from error
