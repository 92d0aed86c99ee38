"""How operators that run at once hand their tensors on: in what tokens, and who needs which when.

Between operators a tensor travels in *tokens*, in the order of its rows. In networks of images a
token is a line, all channels of one position along the first spatial axis; elsewhere it is a row,
the elements along the last axis. Operators that neither slide a window nor multiply matrices take
the tokens that their neighbours use.

An operator makes one output token per firing, and before it can make the ``r``-th it needs the
first ``need(r)`` tokens of each input:

* element by element, and along the last axis (softmax, normalisation): ``r + 1``;
* a window (convolution, pooling) of ``k`` lines, ``d`` apart, stride ``s``, ``p`` lines of padding:
  ``r s - p + (k - 1) d + 1``, within the image;
* a product: ``r + 1`` rows of the left operand, and all rows of the right one in its batch;
* a sum over trailing axes of the tokens: a firing per input token, a result after the last one;
* anything else, and operands of other shapes: all tokens, before the first result.

What an operator has taken but still uses (lines of a window, the right operand) it keeps itself.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod

from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.ir.operator_kinds import Category, category

Need = Callable[[int], int]
"""Tokens needed before the result of a firing, numbered from 0, can be made."""

_FLOWING = (Category.ELEMENTWISE, Category.QUANTISE)
_WINDOWED = ("Conv", "ConvInteger", "QLinearConv", "FusedConv", "AveragePool", "MaxPool", "LpPool")
_GLOBAL = ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "QLinearGlobalAveragePool")
_CASTS = ("Cast", "CastLike", "Identity")


@dataclass(frozen=True, slots=True)
class Flow:
    """How an operator works through its operands.

    Attributes:
        firings: how often it fires.
        results_every: firings per output token; each result comes with the last of them.
        needs: (tensor read, need) of each operand that is no weight, names unique.
    """

    firings: int
    results_every: int
    needs: tuple[tuple[str, Need], ...]


class Tokens:
    """Which tokens every tensor of a graph travels in."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._lines = _tensors_in_lines(graph)

    def in_lines(self, name: str) -> bool:
        """Whether the tensor travels in lines rather than rows."""
        return self.graph.resolve(name)[0] in self._lines and len(self._shape(name)) >= 3

    def count(self, name: str) -> int:
        """Tokens of the tensor, at least one."""
        shape = self._shape(name)
        if self.in_lines(name):
            return max(1, shape[0] * shape[2])
        return max(1, prod(shape[:-1]))

    def flow(self, operator: Operator) -> Flow:
        """How ``operator`` works through its operands."""
        read = [
            (place, name)
            for place, name in enumerate(operator.inputs)
            if self.graph.tensor[self.graph.resolve(name)[0]].role is not Role.WEIGHT
        ]
        every = self._results_every(operator)
        firings = self.count(operator.outputs[0]) * every
        needs: dict[str, Need] = {}
        for place, name in read:
            need = self._need(operator, place, name, firings)
            needs[name] = _later(needs[name], need) if name in needs else need
        return Flow(firings, every, tuple(needs.items()))

    def like(self, written: str, read: str) -> bool:
        """Whether the tokens of a tensor as written are those of the tensor as read."""
        if self.count(written) != self.count(read):
            return False
        before, after = self._shape(written), self._shape(read)
        if before == after:
            return True
        if self.in_lines(read):
            return len(before) == len(after) and before[:1] + before[2:] == after[:1] + after[2:]
        return before[:-1] == after[:-1] or before[-1:] == after[-1:]

    def _shape(self, name: str) -> tuple[int, ...]:
        return self.graph.tensor[name].shape

    def _results_every(self, operator: Operator) -> int:
        """Input tokens that one output token sums up, 1 where outputs follow inputs."""
        source, result = operator.inputs[0], operator.outputs[0]
        before, after = self.count(source), self.count(result)
        if operator.kind in _GLOBAL and self.in_lines(source):
            return before // after if before % after == 0 else 1
        axes = _reduced_axes(operator, len(self._shape(source)))
        token_axes = len(self._shape(source)) - 1
        trailing = sorted(set(range(token_axes + 1)) - set(axes)) == list(
            range(token_axes + 1 - len(axes))
        )
        if not axes or not trailing or self.in_lines(source) or before % after:
            return 1
        return before // after

    def _need(self, operator: Operator, place: int, name: str, firings: int) -> Need:
        count = self.count(name)
        family = category(operator.kind, operator.domain)
        same = self._shape(name) == self._shape(operator.outputs[0])
        if family is Category.MATMUL and place < 2:
            return self._product_need(operator, place, count, firings)
        if place == 0 and operator.kind in _WINDOWED and self.in_lines(name):
            return self._window_need(operator, name)
        if self._results_every(operator) > 1:
            return _in_step if place == 0 else _whole(count)
        flows = family in _FLOWING or operator.kind in _CASTS or place > 0
        if same and flows and count == firings:
            return _in_step
        if place == 0 and same and count == firings and self._along_last(operator, family):
            return _in_step
        reduces = place == 0 and _reduced_axes(operator, len(self._shape(name))) == (
            len(self._shape(name)) - 1,
        )
        if reduces and count == firings and not self.in_lines(name):
            return _in_step
        return _whole(count)

    def _along_last(self, operator: Operator, family: Category) -> bool:
        """Whether a softmax or normalisation stays within a token."""
        if operator.kind == "BatchNormalization":
            return True
        rank = len(self._shape(operator.inputs[0]))
        axis = operator.attribute("axis", -1)
        last = isinstance(axis, int) and axis % max(1, rank) == rank - 1
        kinds = ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
        known = family is Category.SOFTMAX or operator.kind in kinds
        return known and last and not self.in_lines(operator.inputs[0])

    def _product_need(self, operator: Operator, place: int, count: int, firings: int) -> Need:
        """Rows of the left operand one by one, the right operand batch by batch."""
        plain = operator.kind in ("MatMul", "MatMulInteger", "QLinearMatMul")
        left = self._shape(operator.inputs[0])
        result = self._shape(operator.outputs[0])
        lined = self.in_lines(operator.inputs[place]) or self.in_lines(operator.outputs[0])
        turned = operator.attribute("transA", 0)
        if lined or turned or not (plain or operator.kind == "Gemm"):
            return _whole(count)
        if place == 0:
            return _in_step if count == firings and left[:-1] == result[:-1] else _whole(count)
        right = self._shape(operator.inputs[1])
        rows = prod(result[-2:-1])
        batches = firings // rows
        if not plain or batches < 2 or right[:-2] != result[:-2]:
            return _whole(count)
        per_batch = count // batches
        return lambda r: (r // rows + 1) * per_batch

    def _window_need(self, operator: Operator, name: str) -> Need:
        images, _, height = self._shape(name)[:3]
        result = self._shape(operator.outputs[0])
        lines = result[2] if len(result) == len(self._shape(name)) else 1
        kernel = _first(operator, "kernel_shape", self._kernel(operator))
        stride = _first(operator, "strides", 1)
        reach = (kernel - 1) * _first(operator, "dilations", 1) + 1
        pad = _padding(operator, height, lines, stride, reach)

        def need(r: int) -> int:
            image, line = divmod(r, lines)
            own = height if line == lines - 1 else min(height, max(0, line * stride - pad + reach))
            return image * height + own

        return (
            need if images * lines == self.count(operator.outputs[0]) else _whole(self.count(name))
        )

    def _kernel(self, operator: Operator) -> int:
        weights = operator.inputs[1:2]
        shape = self._shape(weights[0]) if weights else ()
        return shape[2] if len(shape) > 2 else 1


def _in_step(r: int) -> int:
    return r + 1


def _whole(count: int) -> Need:
    return lambda r: count


def _later(one: Need, other: Need) -> Need:
    return lambda r: max(one(r), other(r))


def _first(operator: Operator, name: str, default: int) -> int:
    """First entry of a list of spatial settings."""
    value = operator.attribute(name)
    if isinstance(value, tuple) and value and isinstance(value[0], int):
        return value[0]
    return default


def _padding(operator: Operator, height: int, lines: int, stride: int, reach: int) -> int:
    """Lines of padding before the first; none where it is unknown, which only delays results."""
    if operator.prologue and "Pad" in operator.prologue:
        return 0
    auto = str(operator.attribute("auto_pad", "NOTSET"))
    if auto.startswith("SAME"):
        total = max(0, (lines - 1) * stride + reach - height)
        return total // 2 if auto == "SAME_UPPER" else -(-total // 2)
    return _first(operator, "pads", 0) if auto == "NOTSET" else 0


def _reduced_axes(operator: Operator, rank: int) -> tuple[int, ...]:
    """Axes a reduction sums over, ascending; empty if it is none or does not say."""
    if not operator.kind.startswith("Reduce"):
        return ()
    axes = operator.attribute("axes")
    if not isinstance(axes, tuple):
        return ()
    return tuple(sorted(axis % rank for axis in axes if isinstance(axis, int)))


def _tensors_in_lines(graph: Graph) -> frozenset[str]:
    """Storages joined, through operators that work element by element, to a sliding window."""
    found: set[str] = set()
    joined: list[set[str]] = []
    for operator in graph.operators:
        family = category(operator.kind, operator.domain)
        result = graph.tensor[operator.outputs[0]]
        if family in (Category.CONV, Category.POOL):
            found |= _roots(graph, (operator.inputs[0], *operator.outputs))
        flowing = family in _FLOWING or operator.kind in (*_CASTS, "BatchNormalization")
        same = [
            name
            for place, name in enumerate(operator.inputs)
            if (flowing or place > 1) and _alike(graph.tensor[name], result)
        ]
        joined.append(_roots(graph, (*same, operator.outputs[0])))
    while True:
        more = {name for group in joined if group & found for name in group} - found
        if not more:
            return frozenset(found)
        found |= more


def _alike(tensor: Tensor, other: Tensor) -> bool:
    return tensor.role is not Role.WEIGHT and tensor.shape == other.shape


def _roots(graph: Graph, names: Iterable[str]) -> set[str]:
    return {graph.resolve(name)[0] for name in names}
