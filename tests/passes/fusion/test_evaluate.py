"""The reference evaluator on the worked examples of the problem statement."""

import pytest

from stowplan.passes.fusion.evaluate import InvalidScheduleError, evaluate
from stowplan.passes.fusion.instance import FusionInstance, FusionStep, Granularity

NATIVE = (128, 128)


def pointwise(
    sides: int, capacity: int, *edges: tuple[tuple[int, ...], int, float]
) -> FusionInstance:
    """Point-wise operators (inputs, output, cost) on square tensors."""
    tensors = 1 + max(edge[1] for edge in edges)
    return FusionInstance(
        widths=(sides,) * tensors,
        heights=(sides,) * tensors,
        inputs=tuple(edge[0] for edge in edges),
        outputs=tuple((edge[1],) for edge in edges),
        base_costs=tuple(edge[2] for edge in edges),
        op_types=("Pointwise",) * len(edges),
        fast_memory_capacity=capacity,
        slow_memory_bandwidth=10,
        native_granularity=NATIVE,
    )


def matmuls(capacity: int, cost: float, *edges: tuple[tuple[int, int], int]) -> FusionInstance:
    """MatMuls (operands, output) on 128 x 128 tensors."""
    tensors = 1 + max(edge[1] for edge in edges)
    return FusionInstance(
        widths=(128,) * tensors,
        heights=(128,) * tensors,
        inputs=tuple(edge[0] for edge in edges),
        outputs=tuple((edge[1],) for edge in edges),
        base_costs=(cost,) * len(edges),
        op_types=("MatMul",) * len(edges),
        fast_memory_capacity=capacity,
        slow_memory_bandwidth=10,
        native_granularity=NATIVE,
    )


def step(
    operators: tuple[int, ...],
    granularity: Granularity = (128, 128, 1),
    retained: tuple[int, ...] = (),
    traversal: tuple[int, ...] | None = None,
) -> FusionStep:
    return FusionStep(operators, granularity, retained, traversal, 0.0)


CHAIN = pointwise(128, 35_000, ((0,), 1, 1000), ((1,), 2, 100))
WIDE_CHAIN = pointwise(256, 35_000, ((0,), 1, 1000), ((1,), 2, 100))
DIAMOND = pointwise(128, 50_000, ((0,), 1, 1500), ((1,), 2, 1500), ((1, 2), 3, 1500))
PRODUCT = matmuls(25_000, 1500, ((0, 1), 2))
PRODUCT_CHAIN = matmuls(45_000, 2000, ((0, 1), 3), ((3, 2), 4))


@pytest.mark.parametrize(
    ("instance", "steps", "total"),
    [
        (CHAIN, [step((0,)), step((1,))], 6553.6),
        (CHAIN, [step((0, 1))], 3276.8),
        (CHAIN, [step((0, 1), (64, 64, 1))], 4400.0),
        (WIDE_CHAIN, [step((0,)), step((1,))], 26214.4),
        (WIDE_CHAIN, [step((0, 1))], 13107.2),
        (DIAMOND, [step((0,)), step((1,)), step((2,))], 11468.8),
        (DIAMOND, [step((0, 1), retained=(2,)), step((0, 2))], 6276.8),
        (DIAMOND, [step((0,), retained=(1,)), step((1, 2))], 4638.4),
        (PRODUCT, [step((0,), (64, 64, 128))], 7096.0),
        (PRODUCT, [step((0,), (64, 64, 128), traversal=(0, 1, 3, 2))], 6548.0),
        (PRODUCT_CHAIN, [step((0, 1), (128, 128, 32))], 6915.2),
    ],
)
def test_worked_examples(instance: FusionInstance, steps: list[FusionStep], total: float) -> None:
    assert sum(evaluate(instance, steps)) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize(
    ("instance", "steps", "message"),
    [
        (PRODUCT_CHAIN, [step((0, 1), (128, 128, 128))], "working set"),
        (CHAIN, [step((1,)), step((0,))], "before it is made"),
        (CHAIN, [step((0,))], "never run"),
        (CHAIN, [step((0,)), step((1,), retained=(2,))], "never reach slow memory"),
        (CHAIN, [step((0,), retained=(1,)), step((0,), retained=(2,)), step((1,))], "unmade"),
        (CHAIN, [step((0, 1), (64, 64, 1), traversal=(0, 1, 2, 2))], "no permutation"),
        (DIAMOND, [step((0,)), step((1,)), step((0, 2))], None),
    ],
)
def test_rules(instance: FusionInstance, steps: list[FusionStep], message: str | None) -> None:
    if message is None:
        evaluate(instance, steps)
    else:
        with pytest.raises(InvalidScheduleError, match=message):
            evaluate(instance, steps)
