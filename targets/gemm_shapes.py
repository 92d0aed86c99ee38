"""Matrix products behind convolution, matrix-multiplication and recurrent operators.

Shapes are in ONNX layout. Convolutions become im2col products: every output position is a row,
every kernel element of the group's input channels a term of the sum.
"""

from collections.abc import Callable
from math import prod

from stowplan.ir.graph import Graph, Operator, Tensor
from stowplan.ir.operator_kinds import Category, category
from stowplan.targets.gemm_cost import Gemm
from stowplan.targets.tile_operands import is_tile


def gemms_of(graph: Graph, operator: Operator) -> tuple[Gemm, ...]:
    """The products of an operator, run one after another; empty when it has none.

    The first one's left operand is the operator's first input, its right operand the second.
    """
    family = category(operator.kind, operator.domain)
    inputs = [graph.tensor[name] for name in operator.inputs]
    output = graph.tensor[operator.outputs[0]]
    if len(inputs) < 2:
        return ()
    if special := _SPECIAL.get(operator.kind):
        return special(operator, inputs, output)
    if family is Category.CONV:
        return _convolution(operator, inputs, output)
    if family is Category.MATMUL:
        return _matmul(operator, inputs, output)
    if family is Category.RECURRENT:
        return _recurrent(operator, inputs, output)
    return ()


def is_depthwise(gemms: tuple[Gemm, ...]) -> bool:
    """Whether the products are many narrow ones, which a vector unit may do faster."""
    return len(gemms) == 1 and gemms[0].groups > 1 and gemms[0].n == 1


def _integer(operator: Operator, name: str, default: int) -> int:
    value = operator.attribute(name, default)
    return value if isinstance(value, int) else default


def _convolution(operator: Operator, inputs: list[Tensor], output: Tensor) -> tuple[Gemm, ...]:
    """[positions, kernel] x [kernel, channels] per group; weights are [out, in / group, ...]."""
    weight = inputs[1]
    channels = weight.shape[0] if weight.shape else 0
    groups = _integer(operator, "group", 1)
    if operator.kind == "CausalConvWithState":
        groups = channels
    if not channels or groups < 1 or channels % groups:
        return ()
    return (
        Gemm(output.elements // channels, weight.elements // channels, channels // groups, groups),
    )


def _transposed(operator: Operator, inputs: list[Tensor], output: Tensor) -> tuple[Gemm, ...]:
    """Every input position times the kernel; overlaps are added up behind the array.

    Weights are [in, out / group, ...].
    """
    source, weight = inputs[:2]
    channels = weight.shape[0] if weight.shape else 0
    groups = _integer(operator, "group", 1)
    if not channels or groups < 1 or channels % groups:
        return ()
    return (
        Gemm(source.elements // channels, channels // groups, weight.elements // channels, groups),
    )


def _matmul(operator: Operator, inputs: list[Tensor], output: Tensor) -> tuple[Gemm, ...]:
    left, right = (_matrix(tensor, first) for tensor, first in ((inputs[0], 1), (inputs[1], 0)))
    if _integer(operator, "transA", 0):
        left = (*left[:-2], left[-1], left[-2])
    if _integer(operator, "transB", 0):
        right = (*right[:-2], right[-1], right[-2])
    m, k = left[-2:]
    n = right[-1]
    batches = max(prod(left[:-2]), prod(right[:-2]))
    # A right operand without batch dimensions serves all rows of a single product.
    if prod(right[:-2]) == 1:
        return (Gemm(m * batches, k, n),)
    return (Gemm(m, k, n, batches),)


def _matrix(tensor: Tensor, row_vector: int) -> tuple[int, ...]:
    if len(tensor.shape) >= 2:
        return tensor.shape
    return (1, tensor.elements) if row_vector else (tensor.elements, 1)


def _quantised_blocks(operator: Operator, inputs: list[Tensor], output: Tensor) -> tuple[Gemm, ...]:
    """MatMulNBits and kin: packed weights, so K and N come from attributes."""
    k = _integer(operator, "K", inputs[0].shape[-1] if inputs[0].shape else 1)
    n = _integer(operator, "N", output.shape[-1] if output.shape else 1)
    if is_tile(operator) and output.shape:
        n = output.shape[-1]
    k, n = max(1, k), max(0, n)
    return (Gemm(inputs[0].elements // k, k, n),)


def _mixture(operator: Operator, inputs: list[Tensor], output: Tensor) -> tuple[Gemm, ...]:
    """Mixture of experts: every token passes ``k`` experts' layers [experts, a, b]."""
    tokens = inputs[0].elements // max(1, inputs[0].shape[-1] if inputs[0].shape else 1)
    active = tokens * max(0, _integer(operator, "k", 1))
    layers = [tensor for tensor in inputs[1:] if len(tensor.shape) == 3]
    return tuple(Gemm(active, layer.shape[1], layer.shape[2]) for layer in layers)


def _einsum(operator: Operator, inputs: list[Tensor], output: Tensor) -> tuple[Gemm, ...]:
    equation = operator.attribute("equation", "")
    text = str(equation).replace(" ", "")
    terms = text.partition("->")[0].split(",")
    if "." in text or "->" not in text or len(terms) != 2 or len(inputs) < 2:
        return ()
    extent: dict[str, int] = {}
    for term, tensor in zip(terms, inputs, strict=False):
        extent.update(zip(term, tensor.shape, strict=False))
    left, right, kept = set(terms[0]), set(terms[1]), set(text.partition("->")[2])

    def size(indices: set[str]) -> int:
        return prod(extent.get(index, 1) for index in indices)

    shared = left & right
    return (Gemm(size(left - right), size(shared - kept), size(right - left), size(shared & kept)),)


def _recurrent(operator: Operator, inputs: list[Tensor], output: Tensor) -> tuple[Gemm, ...]:
    """All inputs at once, then one recurrent product per step.

    X is [steps, batch, input], W [directions, gates * hidden, input] and R
    [directions, gates * hidden, hidden].
    """
    if len(inputs) < 3 or any(len(tensor.shape) != 3 for tensor in inputs[:3]):
        return ()
    source, recurrent = inputs[0].shape, inputs[2].shape
    steps, batch = source[:2] if not _integer(operator, "layout", 0) else source[1::-1]
    directions, gates, hidden = recurrent
    return (
        Gemm(steps * batch, source[2], gates, repeats=directions),
        Gemm(batch, hidden, gates, repeats=directions * steps),
    )


_SPECIAL: dict[str, Callable[[Operator, list[Tensor], Tensor], tuple[Gemm, ...]]] = {
    "ConvTranspose": _transposed,
    "Einsum": _einsum,
    "MatMulNBits": _quantised_blocks,
    "MatMulBnb4": _quantised_blocks,
    "MatMulFpQ4": _quantised_blocks,
    "MoE": _mixture,
    "QMoE": _mixture,
}
