"""What one operator costs on a target, before memory traffic is scheduled.

Matrix products run on the array, everything else on the vector unit. Operators fused behind a
product (its epilogue) are pipelined with it: the vector unit works on results as they leave the
array, and the operator takes the longer of the two plus the vector unit's latency. A depth-wise
convolution goes to whichever unit is faster.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from stowplan.ir.graph import Graph, Operator, Role, Tensor
from stowplan.ir.operator_kinds import Category, category
from stowplan.targets.attention_shapes import attention_of
from stowplan.targets.gemm_cost import Gemm, GemmCost, gemm_cost, mac_rate
from stowplan.targets.gemm_shapes import gemms_of, is_depthwise
from stowplan.targets.target import Target
from stowplan.targets.tile_operands import is_tile, joined, spread
from stowplan.targets.vector_cost import passes, vector_cycles, vector_elements, width_bytes

EngineName = Literal["array", "vector"]


@dataclass(frozen=True, slots=True)
class OperatorCost:
    """Cost of one operator.

    Attributes:
        engine: unit it is queued on; an array operator with an epilogue holds both.
        compute_cycles: cycles from start to end when no memory access is in the way, at least 1.
        array_cycles: cycles the array works.
        vector_cycles: cycles the vector unit works, its latency included; its own cycles where it
            works alone and has a clock of its own, else core cycles.
        macs: multiply-accumulates.
        mac_slots: array slots (units times cycles) those take at the operands' rate.
        vector_elements: element operations on the vector unit.
        reads: (tensor, bytes) read on chip, re-reads by later folds included.
        writes: (tensor, bytes) written on chip.
    """

    engine: EngineName
    compute_cycles: int
    array_cycles: int
    vector_cycles: int
    macs: int
    mac_slots: int
    vector_elements: int
    reads: tuple[tuple[str, int], ...]
    writes: tuple[tuple[str, int], ...]

    @property
    def holds_vector(self) -> bool:
        """Whether the vector unit is taken while the operator runs."""
        return self.vector_cycles > 0

    @property
    def times(self) -> tuple[int, int, int]:
        """Cycles in all, of the array, of the vector unit."""
        return self.compute_cycles, self.array_cycles, self.vector_cycles


def operator_cost(graph: Graph, operator: Operator, target: Target) -> OperatorCost:
    """Cost of ``operator`` from its shapes, attributes and element types."""
    if is_tile(operator):
        alone, whole, pieces = joined(graph, operator)
        cost = _cost(alone, whole, target)
        return replace(
            cost,
            reads=spread(graph, pieces, cost.reads),
            writes=spread(graph, pieces, cost.writes),
        )
    return _cost(graph, operator, target)


def _cost(graph: Graph, operator: Operator, target: Target) -> OperatorCost:
    family = category(operator.kind, operator.domain)
    if family is Category.ATTENTION and (cost := _attention_cost(graph, operator, target)):
        return cost
    gemms = gemms_of(graph, operator)
    if not gemms:
        return _vector_cost(graph, operator, target)
    if family is Category.RECURRENT:
        return _recurrent_cost(graph, operator, target, gemms)
    on_array = _array_cost(graph, operator, target, gemms)
    if not is_depthwise(gemms):
        return on_array
    on_vector = _vector_cost(graph, operator, target, gemms[0])
    return min(on_array, on_vector, key=lambda cost: cost.compute_cycles)


def _array_cost(
    graph: Graph, operator: Operator, target: Target, gemms: tuple[Gemm, ...]
) -> OperatorCost:
    inputs, outputs = _operands(graph, operator)
    rate = _rate(target, inputs[:2])
    weights = len(inputs) > 1 and _is_weight(graph, operator.inputs[1])
    costs = [_gemm_cost(gemm, target, rate, weights) for gemm in gemms]
    array = sum(cost.cycles for cost in costs)
    results = sum(tensor.elements for tensor in outputs)
    elements, vector = _epilogue(operator, target, results, outputs)
    if operator.kind == "ConvTranspose":
        # Overlapping kernel positions are added up on the way out.
        added = gemms[0].m * gemms[0].n * gemms[0].groups
        elements += added
        vector += vector_cycles(target.vector, added, width_bytes(outputs), Fraction(1))
    if operator.kind == "DeformConv":
        # Every gathered element is a bilinear blend of four.
        gathered = 4 * gemms[0].m * gemms[0].k * gemms[0].groups
        elements += gathered
        vector += vector_cycles(target.vector, gathered, width_bytes(inputs), Fraction(1))
    return _pipelined(target, operator, graph, costs, rate, array, vector, elements)


def _pipelined(
    target: Target,
    operator: Operator,
    graph: Graph,
    costs: list[GemmCost],
    rate: Fraction,
    array: int,
    vector: int,
    elements: int,
) -> OperatorCost:
    """Array and vector unit in one pipeline: the longer one, plus the latency of the second."""
    behind = target.core_cycles(target.vector.latency_cycles) if vector else 0
    vector = target.core_cycles(vector)
    held = vector + behind
    return OperatorCost(
        engine="array",
        compute_cycles=max(1, max(array, vector) + behind),
        array_cycles=array,
        vector_cycles=held,
        macs=sum(cost.macs for cost in costs),
        mac_slots=_slots(costs, rate),
        vector_elements=elements,
        reads=_gemm_reads(graph, operator, costs),
        writes=_once(graph, operator.outputs),
    )


def _vector_cost(
    graph: Graph, operator: Operator, target: Target, gemm: Gemm | None = None
) -> OperatorCost:
    """One pass per kind of a chain; ``gemm`` is a depth-wise product done without the array."""
    inputs, outputs = _operands(graph, operator)
    width = width_bytes(inputs + outputs)
    base = vector_elements(graph, operator) if gemm is None else gemm.macs
    times = passes(target.vector, operator.kind, operator.domain) if gemm is None else Fraction(1)
    results = sum(tensor.elements for tensor in outputs)
    more, epilogue = _epilogue(operator, target, results, outputs)
    cycles = vector_cycles(target.vector, base, width, times) + epilogue
    cycles += target.vector.latency_cycles
    return OperatorCost(
        engine="vector",
        compute_cycles=target.core_cycles(max(1, cycles)) + target.scratchpad.read_latency_cycles,
        array_cycles=0,
        vector_cycles=max(1, cycles),
        macs=0 if gemm is None else gemm.macs,
        mac_slots=0,
        vector_elements=round(base * times) + more,
        reads=_vector_reads(graph, operator),
        writes=_once(graph, operator.outputs),
    )


def _recurrent_cost(
    graph: Graph, operator: Operator, target: Target, gemms: tuple[Gemm, ...]
) -> OperatorCost:
    """Steps depend on each other, so array and vector unit take turns: their times add up."""
    inputs, outputs = _operands(graph, operator)
    rate = _rate(target, inputs[:3])
    weights = all(_is_weight(graph, name) for name in operator.inputs[1:3])
    costs = [_gemm_cost(gemm, target, rate, weights) for gemm in gemms]
    array = sum(cost.cycles for cost in costs)
    recurrent = gemms[1]
    width = width_bytes(outputs)
    times = passes(target.vector, operator.kind, operator.domain)
    # Each gate value is activated, then combined with the state.
    per_step = vector_cycles(target.vector, 2 * recurrent.m * recurrent.n, width, times)
    vector = target.core_cycles(recurrent.repeats * (per_step + target.vector.latency_cycles))
    return OperatorCost(
        engine="array",
        compute_cycles=max(1, array + vector),
        array_cycles=array,
        vector_cycles=vector,
        macs=sum(cost.macs for cost in costs),
        mac_slots=_slots(costs, rate),
        vector_elements=2 * recurrent.m * recurrent.n * recurrent.repeats,
        reads=_once(graph, operator.inputs),
        writes=_once(graph, operator.outputs),
    )


def _attention_cost(graph: Graph, operator: Operator, target: Target) -> OperatorCost | None:
    """Scores, softmax and context in one pipeline over the query rows."""
    if "Rotary" in operator.kind or operator.kind == "RelativePositionBias":
        return None
    attention = attention_of(graph, operator)
    if attention is None:
        return None
    inputs, outputs = _operands(graph, operator)
    rate = _rate(target, inputs[:3])
    gemms = [attention.projection] if attention.projection else []
    gemms += [attention.scores, attention.context]
    costs = [_gemm_cost(gemm, target, rate) for gemm in gemms]
    softmax = passes(target.vector, "Softmax")
    results = sum(tensor.elements for tensor in outputs)
    elements, vector = _epilogue(operator, target, results, outputs)
    elements += round(attention.probabilities * softmax)
    vector += vector_cycles(
        target.vector, attention.probabilities, width_bytes(inputs[:1]), softmax
    )
    array = sum(cost.cycles for cost in costs)
    pipelined = _pipelined(target, operator, graph, [], rate, array, vector, elements)
    return OperatorCost(
        engine=pipelined.engine,
        compute_cycles=pipelined.compute_cycles,
        array_cycles=array,
        vector_cycles=pipelined.vector_cycles,
        macs=sum(cost.macs for cost in costs),
        mac_slots=_slots(costs, rate),
        vector_elements=elements,
        reads=_once(graph, operator.inputs),
        writes=pipelined.writes,
    )


def _epilogue(
    operator: Operator, target: Target, results: int, outputs: list[Tensor]
) -> tuple[int, int]:
    """Element operations and cycles of everything fused behind and in front.

    Padding and dequantisation in front are part of how operands are addressed and read.
    """
    free = ("Pad", "DequantizeLinear", "QuantizeLinear")
    kinds = [*operator.epilogue, *(kind for kind in operator.prologue if kind not in free)]
    times = sum((passes(target.vector, kind) for kind in kinds), Fraction(0))
    cycles = vector_cycles(target.vector, results, width_bytes(outputs), times)
    return round(results * times), cycles


def _operands(graph: Graph, operator: Operator) -> tuple[list[Tensor], list[Tensor]]:
    return (
        [graph.tensor[name] for name in operator.inputs],
        [graph.tensor[name] for name in operator.outputs],
    )


def _rate(target: Target, tensors: list[Tensor]) -> Fraction:
    """Rate of the slowest operand type."""
    return min(mac_rate(target.array, tensor.dtype) for tensor in tensors)


def _gemm_cost(gemm: Gemm, target: Target, rate: Fraction, weights: bool = False) -> GemmCost:
    return gemm_cost(gemm, target.array, rate, weights, target.scratchpad.read_latency_cycles)


def _slots(costs: Iterable[GemmCost], rate: Fraction) -> int:
    return -(-sum(cost.worked_macs for cost in costs) * rate.denominator // rate.numerator)


def _is_weight(graph: Graph, name: str) -> bool:
    """Whether a tensor is a weight, or a view of one."""
    return graph.tensor[graph.resolve(name)[0]].role is Role.WEIGHT


def _once(graph: Graph, names: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """Every named tensor's bytes, once."""
    return tuple((name, graph.tensor[name].size_bytes) for name in dict.fromkeys(names))


def _gemm_reads(
    graph: Graph, operator: Operator, costs: list[GemmCost]
) -> tuple[tuple[str, int], ...]:
    """Both operands of the first product as often as its folds do, all other inputs once."""
    if not costs:
        return _once(graph, operator.inputs)
    reads = dict(_once(graph, operator.inputs))
    left, right = operator.inputs[:2]
    for name, count in ((left, costs[0].left_reads), (right, costs[0].right_reads)):
        reads[name] = -(-count * graph.tensor[name].dtype.bits // 8)
    return tuple(reads.items())


def _vector_reads(graph: Graph, operator: Operator) -> tuple[tuple[str, int], ...]:
    """Inputs once; of a gathered or sliced input only as much as arrives."""
    if category(operator.kind, operator.domain) is not Category.LAYOUT:
        return _once(graph, operator.inputs)
    written = sum(graph.tensor[name].size_bytes for name in operator.outputs)
    return tuple((name, min(size, written)) for name, size in _once(graph, operator.inputs))
