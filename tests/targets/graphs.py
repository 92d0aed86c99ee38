"""One-operator graphs for tests of cost models."""

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Attribute, Graph, Operator, Role, Tensor


def single(
    kind: str,
    inputs: list[tuple[int, ...]],
    output: tuple[int, ...],
    dtype: DType = DType.INT8,
    attributes: dict[str, Attribute] | None = None,
    epilogue: tuple[str, ...] = (),
    domain: str = "",
) -> Graph:
    """A graph of one operator ``op`` with inputs ``i0``, ``i1``, ... and output ``y``."""
    names = tuple(f"i{n}" for n in range(len(inputs)))
    tensors = [Tensor(n, s, dtype, Role.INPUT) for n, s in zip(names, inputs, strict=True)]
    tensors.append(Tensor("y", output, dtype, Role.OUTPUT))
    operator = Operator(
        name="op",
        kind=kind,
        inputs=names,
        outputs=("y",),
        attributes=tuple(sorted((attributes or {}).items())),
        epilogue=epilogue,
        domain=domain,
    )
    return Graph("single", tuple(tensors), (operator,))
