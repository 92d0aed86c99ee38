"""Operators and whole models run by ONNX Runtime, bit for bit alike.

Graph optimisations, weight prepacking and threading are off, so that an operator computes the same
bits alone as it does inside the whole model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from stowplan.errors import ModelError, UsageError
from stowplan.ir.graph import Graph, Operator
from stowplan.ir.onnx_import.anonymous import without_names

if TYPE_CHECKING:
    import onnxruntime

Array = npt.NDArray[Any]
INSTALL_HINT = "the proof needs ONNX Runtime: pip install 'stowplan[verify]'"

_NUMPY_TYPES: Mapping[str, npt.DTypeLike] = {
    "tensor(double)": np.float64,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int16)": np.int16,
    "tensor(int8)": np.int8,
    "tensor(uint64)": np.uint64,
    "tensor(uint32)": np.uint32,
    "tensor(uint16)": np.uint16,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


class Source(Protocol):
    """Where operators and values come from: the importer's ``ModelSource``.

    Its models may have further outputs behind the ones asked for.
    """

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the model's outputs."""
        ...

    def kernel(self, operator: Operator, graph: Graph) -> bytes:
        """ONNX model that computes the operator's outputs from its inputs."""
        ...

    def whole(self) -> bytes:
        """The whole ONNX model."""
        ...

    def weight(self, name: str) -> Array:
        """Value of a weight."""
        ...

    def random_inputs(self, seed: int) -> dict[str, Array]:
        """A value for each model input."""
        ...


class Imported(Protocol):
    """What the importer returns, as far as the proof needs it."""

    @property
    def source(self) -> Source:
        """Where operators and values come from."""
        ...


class KernelFault(Exception):
    """An operator cannot compute from the values it was given, or not what was planned."""


@dataclass(frozen=True, slots=True)
class Port:
    """An operand of a kernel.

    Attributes:
        tensor: the graph's name of it.
        name: the kernel's name of it.
        dtype: its type in the model.
    """

    tensor: str
    name: str
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Kernel:
    """One operator ready to run."""

    session: "onnxruntime.InferenceSession"
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def input_shapes(self, graph: Graph) -> tuple[tuple[int, ...], ...]:
        """Shape of each operand: the kernel's own where it is static, else the graph's."""
        found = []
        for port, declared in zip(self.inputs, self.session.get_inputs(), strict=True):
            static = tuple(extent for extent in declared.shape if isinstance(extent, int))
            planned = graph.tensor[port.tensor].shape
            found.append(static if len(static) == len(declared.shape) else planned)
        return tuple(found)

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Output values by tensor name, from input values by tensor name.

        Raises:
            KernelFault: ONNX Runtime fails on these values.
        """
        feed = {port.name: values[port.tensor] for port in self.inputs}
        try:
            found: Any = self.session.run([port.name for port in self.outputs], feed)
        except Exception as error:
            raise KernelFault(f"ONNX Runtime fails: {_first_line(error)}") from error
        return {port.tensor: value for port, value in zip(self.outputs, found, strict=True)}


def load_runtime() -> Any:
    """Import ONNX Runtime. Raises UsageError with the way to install it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(INSTALL_HINT) from error
    return onnxruntime


class Kernels:
    """Compiles operators; those that differ in names alone share one session. Mutable."""

    def __init__(self, source: Source, graph: Graph) -> None:
        self._source = source
        self._graph = graph
        self._runtime = load_runtime()
        self._sessions: dict[bytes, onnxruntime.InferenceSession] = {}

    @property
    def distinct(self) -> int:
        """Number of sessions compiled."""
        return len(self._sessions)

    def compile(self, operator: Operator) -> Kernel:
        """The kernel of ``operator``.

        Raises:
            ModelError: ONNX Runtime does not implement it.
            UsageError: an operand's type has no NumPy equivalent.
        """
        model = without_names(self._source.kernel(operator, self._graph))
        key = sha256(model).digest()
        what = f"operator {operator.name!r} ({operator.kind})"
        if key not in self._sessions:
            self._sessions[key] = _session(self._runtime, model, what)
        session = self._sessions[key]
        return Kernel(
            session,
            _ports(operator.inputs, session.get_inputs(), what),
            _ports(operator.outputs, session.get_outputs()[: len(operator.outputs)], what),
        )


def run_whole(source: Source, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Output values of the whole model by name.

    Raises:
        ModelError: ONNX Runtime cannot run it.
    """
    session = _session(load_runtime(), source.whole(), "the whole model")
    wanted = {port.name for port in session.get_inputs()}
    names = list(dict.fromkeys(source.output_names))
    feed = {name: value for name, value in inputs.items() if name in wanted}
    try:
        return dict(zip(names, session.run(names, feed), strict=True))
    except Exception as error:
        raise ModelError(
            f"ONNX Runtime cannot run the whole model: {_first_line(error)}"
        ) from error


def _session(runtime: Any, model: bytes, what: str) -> Any:
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    options.use_deterministic_compute = True
    options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(
            f"{what}: ONNX Runtime cannot compile it, so the plan cannot be proved by execution: "
            f"{_first_line(error)}"
        ) from error


def _ports(tensors: tuple[str, ...], found: Any, what: str) -> tuple[Port, ...]:
    """Pair a kernel's operands with the graph's by position, or by name if it lacks some."""
    names = list(dict.fromkeys(tensors))
    kernel_names = [port.name for port in found]
    if len(kernel_names) == len(names):
        pairs = list(zip(names, found, strict=True))
    elif set(kernel_names) <= set(names):
        pairs = [(port.name, port) for port in found]
    else:
        raise ModelError(f"{what}: its kernel has operands {kernel_names}, not {names}")
    for _, port in pairs:
        if port.type not in _NUMPY_TYPES:
            raise UsageError(
                f"{what}: ONNX Runtime cannot hand {port.type} to Python, "
                f"so the plan cannot be proved by execution"
            )
    return tuple(Port(name, port.name, np.dtype(_NUMPY_TYPES[port.type])) for name, port in pairs)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
