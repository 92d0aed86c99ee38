"""Traffic figures of hand-made plans, worked out by hand."""

from stowplan.ir.dtypes import DType
from stowplan.ir.graph import Alias, Graph, Operator, Role, Tensor
from stowplan.ir.memory import MemorySpec
from stowplan.ir.plan import DirectAccess, Plan, Proof, Residency, Transfer, TransferKind
from stowplan.ir.traffic import Traffic, peak_bytes, traffic

LOAD, STORE = TransferKind.LOAD, TransferKind.STORE
GRAPH = Graph(
    "two-layer",
    (
        Tensor("x", (100,), DType.INT8, Role.INPUT),
        Tensor("unused", (7,), DType.INT8, Role.INPUT),
        Tensor("w", (40,), DType.INT8, Role.WEIGHT),
        Tensor("w_half", (20,), DType.INT8, Role.WEIGHT, Alias("w", 10)),
        Tensor("a", (60,), DType.INT8),
        Tensor("y", (30,), DType.INT8, Role.OUTPUT),
    ),
    (
        Operator("first", "Gemm", ("x", "w"), ("a",)),
        Operator("second", "Gemm", ("a", "w_half"), ("y",)),
    ),
)


def plan(
    track_weights: bool,
    transfers: tuple[Transfer, ...] = (),
    direct: tuple[DirectAccess, ...] = (),
    residencies: tuple[Residency, ...] = (),
) -> Plan:
    return Plan(
        GRAPH.hash,
        "",
        "test",
        track_weights,
        ("first", "second"),
        residencies,
        transfers,
        Proof("offchip", 0, 0, "test", "none"),
        direct,
    )


def test_streamed_weights_count_at_each_use() -> None:
    moves = (Transfer(LOAD, "x", 0, 0), Transfer(STORE, "y", 2, 2))
    found = traffic(GRAPH, plan(False, moves), MemorySpec(1000))
    assert found == Traffic(100, 30, 60, 0, 0, compulsory_bytes=100 + 40 + 30)
    assert found.offchip_bytes == 190
    assert found.noncompulsory_bytes == 20


def test_spill_and_reload_are_noncompulsory() -> None:
    moves = (
        Transfer(LOAD, "x", 0, 0),
        Transfer(LOAD, "w", 0, 0),
        Transfer(STORE, "a", 1, 1),
        Transfer(LOAD, "a", 1, 1),
        Transfer(LOAD, "w", 1, 1),
        Transfer(STORE, "y", 2, 2),
    )
    found = traffic(GRAPH, plan(True, moves), MemorySpec(1000, stream_weights=False))
    assert found.streamed_bytes == 0
    assert found.noncompulsory_bytes == 60 + 60 + 40
    assert found.compulsory_bytes == 100 + 40 + 30


def test_direct_accesses_count_the_ranges_touched() -> None:
    direct = tuple(
        DirectAccess(*item) for item in [("x", 0), ("a", 0), ("a", 1), ("w", 1), ("y", 1)]
    )
    found = traffic(GRAPH, plan(True, direct=direct), MemorySpec(1000, direct_dram=True))
    assert found.direct_read_bytes == 100 + 60 + 20
    assert found.direct_written_bytes == 60 + 30
    assert found.compulsory_bytes == 100 + 20 + 30
    assert found.noncompulsory_bytes == 60 + 60


def test_a_weight_used_twice_by_one_operator_streams_once() -> None:
    graph = GRAPH.replace(operators=(Operator("one", "Gemm", ("x", "w", "w_half"), ("y",)),))
    empty = plan(False)
    assert traffic(graph, empty, MemorySpec(1000)).streamed_bytes == 40


def test_peak_is_the_highest_byte_in_use() -> None:
    stays = (Residency("x", 0, 1, 64, 0), Residency("a", 0, 2, 0, 0))
    assert peak_bytes(GRAPH, plan(True, residencies=stays)) == 164
    assert peak_bytes(GRAPH, plan(True)) == 0
