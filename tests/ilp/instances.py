"""Small random planning instances and a plain target for them."""

import random
from dataclasses import dataclass

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Alias, Graph, Operator, Role, Tensor
from stowplan.targets.target import (
    Array,
    Dma,
    Dram,
    Energy,
    Scratchpad,
    Target,
    Vector,
    WeightBuffer,
)


def small_target(size_bytes: int, alignment_bytes: int = 1, direct: bool = False) -> Target:
    """A machine of which only the scratchpad matters."""
    return Target(
        name="test",
        description="for tests",
        clock_hz=1_000_000_000,
        array=Array(rows=4, cols=4),
        vector=Vector(lanes=4),
        scratchpad=Scratchpad(size_bytes=size_bytes, alignment_bytes=alignment_bytes),
        weight_buffer=WeightBuffer(size_bytes=64),
        dma=Dma(),
        dram=Dram(bytes_per_cycle=8, direct_operands=direct),
        energy=Energy(mac_pj=1.0, scratchpad_pj_per_byte=1.0, dram_pj_per_byte=10.0),
    )


@dataclass(frozen=True, slots=True)
class Features:
    """What random graphs may contain.

    Attributes:
        operators: how many operators.
        sizes: tensor sizes to draw from, in bytes.
        concats: some tensors are members of one storage written by several operators.
        in_place: some outputs may replace an input.
        workspaces: some operators need scratch bytes.
        weights: some operators read weights.
    """

    operators: int = 5
    sizes: tuple[int, ...] = (1, 2, 3, 4)
    concats: bool = True
    in_place: bool = True
    workspaces: bool = True
    weights: bool = True


def random_graph(seed: int, features: Features) -> Graph:
    """A connected-ish random DAG: operator ``k`` reads earlier tensors and writes one or two."""
    rng = random.Random(seed)

    def size() -> int:
        return rng.choice(features.sizes)

    tensors = [_tensor(f"x{i}", size(), Role.INPUT) for i in range(rng.randint(1, 2))]
    operators: list[Operator] = []
    readable = [tensor.name for tensor in tensors]
    for k in range(features.operators):
        recent = readable[-4:]
        inputs = rng.sample(recent, min(len(recent), rng.choice((1, 1, 2, 2, 3))))
        if features.weights and rng.random() < 0.25:
            tensors.append(_tensor(f"w{k}", size(), Role.WEIGHT))
            inputs.append(f"w{k}")
        outputs = []
        for j in range(rng.choice((1, 1, 1, 2))):
            tensors.append(_tensor(f"t{k}_{j}", size(), Role.ACTIVATION))
            outputs.append(f"t{k}_{j}")
        pairs: tuple[tuple[int, int], ...] = ()
        if features.in_place and rng.random() < 0.4:
            pairs = ((0, 0),) if rng.random() < 0.6 else tuple((0, i) for i in range(len(inputs)))
        workspace = size() if features.workspaces and rng.random() < 0.15 else 0
        operators.append(
            Operator(
                f"op{k}",
                "Generic",
                tuple(inputs),
                tuple(outputs),
                in_place=pairs,
                workspace_bytes=workspace,
            )
        )
        readable += outputs
    if features.concats:
        tensors = _join(tensors, rng)
    return Graph(f"random{seed}", tuple(_outputs(tensors, operators, rng)), tuple(operators))


def _tensor(name: str, size_bytes: int, role: Role) -> Tensor:
    return Tensor(name, (size_bytes,), DType.INT8, role)


def _join(tensors: list[Tensor], rng: random.Random) -> list[Tensor]:
    """Turn two activations of one graph into members of a common storage, now and then."""
    members = [t for t in tensors if t.role is Role.ACTIVATION]
    if len(members) < 4 or rng.random() < 0.5:
        return tensors
    first, second = sorted(rng.sample(range(len(members)), 2))
    a, b = members[first], members[second]
    joint = Tensor("joint", (a.size_bytes + b.size_bytes,), DType.INT8)
    views = {
        a.name: Tensor(a.name, a.shape, a.dtype, a.role, Alias("joint")),
        b.name: Tensor(b.name, b.shape, b.dtype, b.role, Alias("joint", a.size_bytes)),
    }
    return [views.get(t.name, t) for t in tensors] + [joint]


def _outputs(tensors: list[Tensor], operators: list[Operator], rng: random.Random) -> list[Tensor]:
    """Unread activations become outputs, and a few others too."""
    read = {name for op in operators for name in op.inputs}
    found = []
    for t in tensors:
        final = t.role is Role.ACTIVATION and (
            (t.name not in read and rng.random() < 0.7) or rng.random() < 0.07
        )
        role = Role.OUTPUT if final and t.name != "joint" else t.role
        found.append(Tensor(t.name, t.shape, t.dtype, role, t.alias))
    return found
