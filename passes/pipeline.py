"""Pass manager: a pipeline text names passes and options, and is run with checks in between.

``canonicalise,fuse-conv{residual=false},dead-code`` runs three passes, the second with an option
other than its default. Options are ``true``, ``false``, integers or words, separated by commas.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from time import perf_counter
from typing import Any

from stowplan.errors import InternalError, ModelError, UsageError
from stowplan.ir.graph import Graph
from stowplan.ir.verify import verify
from stowplan.passes.base import Pass, PassResult
from stowplan.passes.canonicalise import Canonicalise
from stowplan.passes.dead_code import DeadCode
from stowplan.passes.elide_views import ElideViews
from stowplan.passes.fuse_conv import FuseConv
from stowplan.passes.fuse_elementwise import FuseElementwise
from stowplan.passes.fuse_matmul import FuseMatmul
from stowplan.passes.fuse_qdq import FuseQdq
from stowplan.passes.in_place import InPlace
from stowplan.passes.precision import Precision
from stowplan.passes.tile_groups import TileGroups
from stowplan.passes.tiling.tile import Tile

PASSES: Mapping[str, type[Pass]] = {
    each.name: each
    for each in (
        Canonicalise,
        DeadCode,
        ElideViews,
        FuseConv,
        FuseElementwise,
        FuseMatmul,
        FuseQdq,
        InPlace,
        Precision,
        Tile,
        TileGroups,
    )
}
"""Every pass by the name it has in pipeline texts."""

_ITEM = re.compile(r"\s*([a-z][a-z0-9-]*)\s*(?:\{([^{}]*)\})?\s*(,|\Z)")


@dataclass(frozen=True, slots=True)
class PassEvent:
    """What a pass did, for callbacks that print or measure.

    Attributes:
        text: the pass as in a pipeline text.
        before: graph it was given.
        result: what it returned.
        wall_s: seconds it took, checks not counted.
    """

    text: str
    before: Graph
    result: PassResult
    wall_s: float


OnPass = Callable[[PassEvent], None]


def default_pipeline(
    precision: str | None = None,
    tile: Tile | TileGroups | None = None,
    views: ElideViews | None = None,
) -> str:
    """The usual passes; with ``precision``, sizes are those of the model in that element type.

    Tiling comes before views are elided: between tiles, views are regions.
    """
    fusion = "canonicalise,fuse-conv,fuse-matmul,fuse-elementwise,fuse-qdq,dead-code"
    sizes = "" if precision is None else f",{print_pass(Precision(precision))}"
    tiles = "" if tile is None else f",{print_pass(tile)},dead-code"
    return f"{fusion}{sizes}{tiles},{print_pass(views or ElideViews())},in-place"


def parse_pipeline(text: str) -> tuple[Pass, ...]:
    """Passes of a pipeline text; an empty text has none.

    Raises:
        UsageError: a syntax error, an unknown pass or option, or a value of the wrong type.
    """
    passes: list[Pass] = []
    position, separator = 0, "," if text.strip() else ""
    while separator:
        match = _ITEM.match(text, position)
        if match is None:
            raise UsageError(
                f"pipeline {text!r}: expected a pass such as fuse-conv{{residual=false}} at "
                f"position {position}"
            )
        passes.append(_make(match.group(1), match.group(2) or ""))
        position, separator = match.end(), match.group(3)
    return tuple(passes)


def print_pipeline(passes: Sequence[Pass]) -> str:
    """The pipeline text of ``passes``; options at their default are left out."""
    return ",".join(map(print_pass, passes))


def print_pass(one: Pass) -> str:
    """The text of one pass."""
    options = [
        f"{field.name}={_print_value(getattr(one, field.name))}"
        for field in _options(type(one))
        if getattr(one, field.name) != field.default
    ]
    return f"{one.name}{{{','.join(options)}}}" if options else one.name


def run_pipeline(graph: Graph, pipeline: str, on_pass: OnPass | None = None) -> Graph:
    """Run the passes of a pipeline text, verifying the graph before and after each.

    Args:
        graph: a valid graph.
        pipeline: pipeline text; see the module docstring.
        on_pass: called after each pass.

    Raises:
        UsageError: the text is not a pipeline.
        ModelError: ``graph`` is not valid.
        InternalError: a pass broke the graph.
    """
    return run_passes(graph, parse_pipeline(pipeline), on_pass)


def run_passes(graph: Graph, passes: Sequence[Pass], on_pass: OnPass | None = None) -> Graph:
    """Run passes one after another; see :func:`run_pipeline`."""
    verify(graph)
    for one in passes:
        began = perf_counter()
        result = one.apply(graph)
        wall_s = perf_counter() - began
        if result.modified:
            _verify_after(one, result.graph)
        if on_pass is not None:
            on_pass(PassEvent(print_pass(one), graph, result, wall_s))
        graph = result.graph
    return graph


def _verify_after(one: Pass, graph: Graph) -> None:
    try:
        verify(graph)
    except ModelError as error:
        raise InternalError(f"pass {print_pass(one)!r} broke the graph: {error}") from error


def _options(kind: type[Pass]) -> tuple[Any, ...]:
    return fields(kind)  # type: ignore[arg-type]


def _make(name: str, text: str) -> Pass:
    kind = PASSES.get(name)
    if kind is None:
        raise UsageError(f"there is no pass {name!r}; there are {', '.join(sorted(PASSES))}")
    known = {field.name: field for field in _options(kind)}
    options: dict[str, object] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or key not in known or key in options:
            listed = ", ".join(known) or "none"
            raise UsageError(f"pass {name!r}: {item!r} is no option of its own; options: {listed}")
        options[key] = _parse_value(name, key, value, type(known[key].default))
    return kind(**options)


def _parse_value(name: str, key: str, value: str, kind: type) -> object:
    if kind is bool:
        if value not in ("true", "false"):
            raise UsageError(f"pass {name!r}: option {key} is true or false, not {value!r}")
        return value == "true"
    if kind is int:
        if not value.lstrip("-").isdecimal():
            raise UsageError(f"pass {name!r}: option {key} is an integer, not {value!r}")
        return int(value)
    return value


def _print_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
