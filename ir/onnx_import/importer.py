"""The importer's entry point."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stowplan.ir.graph import Graph
from stowplan.ir.onnx_import.build import build_graph
from stowplan.ir.onnx_import.dims import bind_dims
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
        dims: extents of symbolic input dimensions by name; a nameless one is ``INPUT:AXIS``.
        seed: of the random numbers that stand in for absent weight data.

    Raises:
        ModelError: the file is no usable model, a ``dims`` name is unknown, a shape stays
            unresolved, or control flow depends on data.
    """
    model = bind_dims(read_model(Path(path)), dims)
    resolved = resolve(model)
    graph, warnings = build_graph(resolved)
    return ImportedModel(graph, warnings, ModelSource(resolved, seed))
