"""Plan a float model at the sizes its reduced-precision form would have."""

from dataclasses import dataclass, replace
from typing import ClassVar

from stowplan.errors import UsageError
from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Alias, Graph, Operator, Role, Tensor
from stowplan.ir.operator_kinds import Category, category
from stowplan.passes.base import PassResult

_TYPES = (
    DType.INT4,
    DType.INT8,
    DType.UINT8,
    DType.INT16,
    DType.FLOAT8,
    DType.FLOAT16,
    DType.BFLOAT16,
)
_PRODUCTS = (Category.CONV, Category.MATMUL, Category.RECURRENT, Category.ATTENTION)
_TABLES = frozenset({"Gather", "EmbedLayerNormalization", "GatherND", "GatherElements"})


@dataclass(frozen=True, slots=True)
class Precision:
    """Give float tensors another element type; shapes, operators and integer tensors stay.

    With an integer type, activations and the weights of products get it. Vectors added or scaled
    per channel (biases, the folded parameters of normalisations) get int32, as in the usual
    quantised forms, where a bias has the scale of the accumulator. Tensors that share storage with
    tensors of another type keep theirs.

    Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", 2018, section 2.4.

    Attributes:
        dtype: element type of activations and weights.
    """

    name: ClassVar[str] = "precision"
    dtype: str = "int8"

    def __post_init__(self) -> None:
        if self.dtype not in _TYPES:
            raise UsageError(
                f"precision {self.dtype!r} is not known; choose one of {', '.join(_TYPES)}"
            )

    def apply(self, graph: Graph) -> PassResult:
        """Change element types and view offsets; in-place pairs of unequal sizes go."""
        wanted = _consistent(graph, self._types(graph))
        tensors = tuple(_retyped(tensor, graph, wanted) for tensor in graph.tensors)
        if tensors == graph.tensors:
            return PassResult(graph, False)
        changed = graph.replace(tensors=tensors)
        operators = tuple(_with_fitting_pairs(op, changed) for op in graph.operators)
        return PassResult(changed.replace(operators=operators), True)

    def _types(self, graph: Graph) -> dict[str, DType]:
        """New element type per float tensor."""
        target = DType(self.dtype)
        found = {t.name: target for t in graph.tensors if t.dtype.is_float}
        if target.is_float:
            return found
        matrices = {name for op in graph.operators for name in _matrix_operands(op)}
        vectors = {t.name for t in graph.by_role(Role.WEIGHT) if _is_vector(t)}
        return found | dict.fromkeys((vectors & found.keys()) - matrices, DType.INT32)


def _matrix_operands(op: Operator) -> tuple[str, ...]:
    """Operands of a product, or the table of a look-up."""
    if category(op.kind, op.domain) in _PRODUCTS:
        return op.inputs[:2]
    return op.inputs[:1] if op.kind in _TABLES else ()


def _is_vector(tensor: Tensor) -> bool:
    """One dimension at most has an extent other than one."""
    return sum(extent != 1 for extent in tensor.shape) <= 1


def _consistent(graph: Graph, wanted: dict[str, DType]) -> dict[str, DType]:
    """Per storage one type: the widest wanted by its tensors, or none if the types differ now."""
    families: dict[str, list[Tensor]] = {}
    for tensor in graph.tensors:
        families.setdefault(graph.resolve(tensor.name)[0], []).append(tensor)
    found: dict[str, DType] = {}
    for members in families.values():
        types = {tensor.dtype for tensor in members}
        chosen = max((wanted.get(t.name, t.dtype) for t in members), key=lambda d: d.bits)
        if len(types) == 1 and _divides(graph, members, chosen):
            found |= {tensor.name: chosen for tensor in members}
    return found


def _divides(graph: Graph, members: list[Tensor], chosen: DType) -> bool:
    """Every view still starts at a whole byte."""
    return all(
        t.alias is None or t.alias.offset_bytes * chosen.bits % t.dtype.bits == 0 for t in members
    )


def _retyped(tensor: Tensor, graph: Graph, wanted: dict[str, DType]) -> Tensor:
    new = wanted.get(tensor.name, tensor.dtype)
    if new is tensor.dtype:
        return tensor
    alias = tensor.alias
    if alias is not None:
        alias = Alias(alias.base, alias.offset_bytes * new.bits // tensor.dtype.bits)
    return replace(tensor, dtype=new, alias=alias)


def _with_fitting_pairs(op: Operator, graph: Graph) -> Operator:
    """``op`` without in-place pairs whose sizes differ now."""
    pairs = tuple(
        (output, source)
        for output, source in op.in_place
        if graph.tensor[op.outputs[output]].size_bytes == graph.tensor[op.inputs[source]].size_bytes
    )
    return op if pairs == op.in_place else replace(op, in_place=pairs)
