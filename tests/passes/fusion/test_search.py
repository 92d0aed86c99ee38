"""Closed-form granularities against the walk of every step, and whole schedules."""

import random
from pathlib import Path

import pytest

from stowplan.errors import InfeasiblePlanError, ModelError
from stowplan.passes.fusion.evaluate import evaluate, step_latency
from stowplan.passes.fusion.granularity import best_tile, group_shape
from stowplan.passes.fusion.instance import (
    FusionInstance,
    FusionStep,
    is_fusion_instance,
    load_instance,
    load_solution,
    save_solution,
    topological,
)
from stowplan.passes.fusion.search import lower_bound, plan_fusion


def random_instance(seed: int, operators: int = 8) -> FusionInstance:
    """A random DAG of matrix products and point-wise operators with consistent shapes."""
    rng = random.Random(seed)
    sides: list[int] = rng.choice(([64, 128, 256], [48, 150, 211]))
    shapes: list[tuple[int, int]] = [(rng.choice(sides), rng.choice(sides)) for _ in range(2)]
    inputs: list[tuple[int, ...]] = []
    outputs: list[tuple[int, ...]] = []
    kinds: list[str] = []
    for _ in range(operators):
        left = rng.randrange(len(shapes))
        if rng.random() < 0.5:
            rows, inner = shapes[left]
            right = next((t for t, s in enumerate(shapes) if s[0] == inner and t != left), None)
            if right is None:
                shapes.append((inner, rng.choice(sides)))
                right = len(shapes) - 1
            inputs.append((left, right))
            shapes.append((rows, shapes[right][1]))
            kinds.append("MatMul")
        else:
            same = [t for t, s in enumerate(shapes) if s == shapes[left]]
            inputs.append(tuple(dict.fromkeys((left, rng.choice(same)))))
            shapes.append(shapes[left])
            kinds.append("Pointwise")
        outputs.append((len(shapes) - 1,))
    return FusionInstance(
        widths=tuple(s[1] for s in shapes),
        heights=tuple(s[0] for s in shapes),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        base_costs=tuple(rng.choice((100.0, 900.0)) for _ in range(operators)),
        op_types=tuple(kinds),
        fast_memory_capacity=rng.choice((20_000, 60_000, 150_000)),
        slow_memory_bandwidth=rng.choice((5, 50)),
        native_granularity=(128, 128),
    )


@pytest.mark.parametrize("seed", range(40))
def test_closed_form_equals_walk(seed: int) -> None:
    instance = random_instance(seed)
    rng = random.Random(seed)
    order = topological(instance)
    for _ in range(6):
        count = rng.choice((1, 1, 2, 3))
        start = rng.randrange(len(order) - count + 1)
        operators = order[start : start + count]
        shape = group_shape(instance, operators)
        if shape is None:
            continue
        candidates = (*shape.group.sources, *shape.group.sinks)
        retained = frozenset(t for t in candidates if rng.random() < 0.2)
        before = frozenset(t for t in shape.group.sources if rng.random() < 0.2)
        choice = best_tile(instance, shape, before, retained)
        if choice is None:
            continue
        step = FusionStep(
            operators, choice.granularity, tuple(retained), choice.traversal(), choice.latency
        )
        walked = step_latency(instance, step, before)
        tensors = [piece[0] for piece in shape.pieces]
        w, h, k = choice.granularity
        even = shape.grid[0] % w == shape.grid[1] % h == shape.grid[2] % k == 0
        if even and len(set(tensors)) == len(tensors):
            assert walked == pytest.approx(choice.latency, rel=1e-9)
        else:  # edge tiles are smaller, slices of one tensor may coincide
            assert walked <= choice.latency * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_schedules_are_valid_and_between_bound_and_singletons(seed: int) -> None:
    instance = random_instance(seed, operators=10)
    alone = plan_fusion(instance, time_limit_s=0.0)
    schedule = plan_fusion(instance, time_limit_s=0.4, seed=seed)
    assert schedule.latency == pytest.approx(sum(evaluate(instance, schedule.steps)))
    assert lower_bound(instance) <= schedule.latency * (1 + 1e-9)
    assert schedule.latency <= alone.latency * (1 + 1e-9)


def test_too_small_memory_names_the_operator() -> None:
    instance = random_instance(3)
    tiny = FusionInstance(
        **{
            **{name: getattr(instance, name) for name in FusionInstance.__slots__},
            "fast_memory_capacity": 1,
        }
    )
    with pytest.raises(InfeasiblePlanError, match="operator 0"):
        plan_fusion(tiny, time_limit_s=0.1)


def test_solution_file_round_trip(tmp_path: Path) -> None:
    schedule = plan_fusion(random_instance(5), time_limit_s=0.1)
    save_solution(tmp_path / "solution.json", schedule.steps)
    assert load_solution(tmp_path / "solution.json") == schedule.steps


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "not a scheduling instance"),
        ('{"fast_memory_capacity": 1}', "not a scheduling instance"),
        (
            '{"widths":[4,4],"heights":[4],"inputs":[[0]],"outputs":[[1]],"base_costs":[1],'
            '"op_types":["Pointwise"],"fast_memory_capacity":9,"slow_memory_bandwidth":1,'
            '"native_granularity":[4,4]}',
            "'heights' has 1",
        ),
        (
            '{"widths":[4,4],"heights":[4,4],"inputs":[[0]],"outputs":[[1]],"base_costs":[1],'
            '"op_types":["Conv"],"fast_memory_capacity":9,"slow_memory_bandwidth":1,'
            '"native_granularity":[4,4]}',
            "operator 0: unknown op_type 'Conv'",
        ),
    ],
)
def test_bad_instances_are_explained(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "instance.json"
    path.write_text(text)
    with pytest.raises(ModelError, match=message):
        load_instance(path)


def test_instances_are_recognised() -> None:
    assert is_fusion_instance(b' {"widths": [1], "fast_memory_capacity": 5}')
    assert not is_fusion_instance(b"\x08\x07onnx")
