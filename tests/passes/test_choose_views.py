"""Views are elided where the budget has room and kept as copies where it has not."""

import pytest

import stowplan
from stowplan.ir.traffic import traffic


def compiled(size_bytes: int, passes: str | None = None) -> int:
    """Non-compulsory bytes of DenseNet-121 in a scratchpad of ``size_bytes``."""
    result = stowplan.compile(
        "light:densenet121",
        planner="greedy",
        precision=None if passes else "int8",
        overrides=[f"scratchpad.size={size_bytes}"],
        passes=passes,
    )
    memory = result.target.memory_spec()
    return traffic(result.graph, result.plan, memory).noncompulsory_bytes


@pytest.mark.parametrize("size_bytes", [1_605_632, 8_388_608])
def test_never_worse_than_either_way_alone(size_bytes: int) -> None:
    usual = "canonicalise,fuse-conv,fuse-matmul,fuse-elementwise,fuse-qdq,dead-code"
    alone = [
        compiled(size_bytes, f"{usual},precision{{dtype=int8}},{views},in-place")
        for views in ("elide-views", "elide-views{concat=false,split=false}")
    ]
    assert compiled(size_bytes) == min(alone)
