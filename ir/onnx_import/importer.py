"""The importer's entry point."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stowplan.ir.graph import Graph
from stowplan.ir.onnx_import.build import build_graph
from stowplan.ir.onnx_import.dims import bind_dims, unnamed_batches
from stowplan.ir.onnx_import.reader import read_model
from stowplan.ir.onnx_import.resolve import resolve
from stowplan.ir.onnx_import.source import ModelSource

_NO_DIMS: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """A model ready for the passes.

    Attributes:
        graph: one operator per live ONNX node, every shape static.
        warnings: what the user should know, one line each.
        source: runs the model, or parts of it, on real numbers.
    """

    graph: Graph
    warnings: tuple[str, ...]
    source: ModelSource


def import_model(
    path: str | Path, dims: Mapping[str, int] = _NO_DIMS, seed: int = 0
) -> ImportedModel:
    """Import an ONNX file.

    Args:
        path: the ``.onnx`` file; external weight data may be absent.
        dims: extents of symbolic input dimensions by name; a nameless one is ``INPUT:AXIS``. A
            batch dimension the exporter left unnamed is taken as 1, with a warning.
        seed: of the random numbers that stand in for absent weight data.

    Raises:
        ModelError: the file is no usable model, a ``dims`` name is unknown, a shape stays
            unresolved, or control flow depends on data.
    """
    model = read_model(Path(path))
    batches = unnamed_batches(model, dims)
    resolved = resolve(bind_dims(model, {**dims, **dict.fromkeys(batches, 1)}))
    graph, warnings = build_graph(resolved)
    assumed = tuple(
        f"batch dimension {name!r} has no size; assuming 1, set another with --dim {name}=N"
        for name in batches
    )
    return ImportedModel(graph, (*assumed, *warnings), ModelSource(resolved, seed))
