"""ONNX importer: the only place that knows onnx.

``import_model`` reads a file into a :class:`~stowplan.ir.graph.Graph` with static shapes;
:class:`ModelSource` keeps what is needed to run the model or parts of it on real numbers.
"""

from stowplan.ir.onnx_import.importer import ImportedModel, import_model
from stowplan.ir.onnx_import.source import ModelSource

__all__ = ["ImportedModel", "ModelSource", "import_model"]
