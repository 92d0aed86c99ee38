"""Predicted latency of a plan: a model of one pass over its steps, far cheaper than simulation.

The model: operators run one after another, each for its computed cycles, chunk by chunk where its
weights stream (``targets.streamed_cost``). One channel to DRAM serves transfers in the order in
which they become possible, at the sustained bandwidth, whole bursts and a set-up each. A step waits
for all transfers due at its boundary. Streamed weights of a step are fetched from the start of the
step before (double buffering) and direct operands while it runs; the step ends no earlier than they
do. Banks, DRAM pages and the separate queues are left to the simulator.
"""

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field

from stowplan.ir.graph import Graph, Interval
from stowplan.ir.memory import MemorySpec
from stowplan.ir.plan import Plan, Transfer, TransferKind
from stowplan.ir.storage import storage_model
from stowplan.ir.weight_ring import fetches, same_stream
from stowplan.targets.streamed_cost import streamed_cycles
from stowplan.targets.target import Target


@dataclass(frozen=True, slots=True)
class LatencyModel:
    """What prediction needs of a graph on a target; build one with :func:`latency_model`.

    Attributes:
        compute_cycles: per operator name, those of all chunks of its weights.
        streamed_bytes: per operator name, bytes of weights that stream while it runs.
        streams: per operator name, which ones; operators with the same need the same.
        kept_bytes: of weights that the weight buffer keeps.
        size_bytes: per storage name.
        accessed_bytes: per (operator, storage) names, bytes read and written.
        target: the machine.
    """

    compute_cycles: dict[str, int]
    streamed_bytes: dict[str, int]
    size_bytes: dict[str, int]
    accessed_bytes: dict[tuple[str, str], int]
    target: Target
    streams: dict[str, Hashable] = field(default_factory=dict)
    kept_bytes: int = 0

    def predict(self, plan: Plan) -> int:
        """Cycles from the first transfer to the end of the last one."""
        due, possible = _by_boundary(plan)
        direct: dict[int, int] = defaultdict(int)
        for access in plan.direct:
            direct[access.step] += self.accessed_bytes[plan.order[access.step], access.storage]
        done: dict[Transfer, int] = {}
        now = 0
        streamed = self._streamed(plan)
        channel = fetched = self._moved(0, streamed[0])
        for step in range(len(plan.order) + 1):
            for transfer in possible[step]:
                channel = self._moved(max(now, channel), self.size_bytes[transfer.storage])
                done[transfer] = channel
            now = max([now, *(done[transfer] for transfer in due[step])])
            if step == len(plan.order):
                break
            ready = fetched
            if direct[step]:
                channel = self._moved(max(now, channel), direct[step])
                ready = max(ready, channel)
            following = streamed[step + 1]
            if following:
                channel = fetched = self._moved(max(now, channel), following)
            now = max(now + self.compute_cycles[plan.order[step]], ready)
        return now

    def least(self, compulsory_bytes: int) -> int:
        """Cycles that no plan undercuts: all computation, or all compulsory bytes."""
        rate = self.target.dram.bytes_per_cycle
        return max(sum(self.compute_cycles.values()), -(-compulsory_bytes // rate))

    def _streamed(self, plan: Plan) -> list[int]:
        """Bytes fetched for each step, and none after the last."""
        if plan.track_weights:
            return [0] * (len(plan.order) + 1)
        sizes = [self.streamed_bytes[name] for name in plan.order]
        if self.kept_bytes:
            keys = [self.streams[name] for name in plan.order]
            needed = fetches(zip(keys, sizes, strict=True), self.kept_bytes)
            sizes = [size if fetch else 0 for size, fetch in zip(sizes, needed, strict=True)]
        return [*sizes, 0]

    def transfer_cycles(self, size_bytes: int) -> int:
        """Cycles the channel needs to move ``size_bytes``: whole bursts and a set-up."""
        if not size_bytes:
            return 0
        burst = self.target.dma.burst_bytes
        moved = -(-size_bytes // burst) * burst
        return self.target.dma.setup_cycles + -(-moved // self.target.dram.bytes_per_cycle)

    def _moved(self, begin: int, size_bytes: int) -> int:
        """Cycle at which a transfer that begins at ``begin`` is complete."""
        return begin + self.transfer_cycles(size_bytes)


def latency_model(graph: Graph, target: Target, memory: MemorySpec) -> LatencyModel:
    """Collect costs and sizes once for any number of plans of ``graph``."""
    model = storage_model(graph)
    streamed: dict[str, int] = {}
    accessed: dict[tuple[str, str], int] = {}
    streams: dict[str, Hashable] = {}
    for op, accesses in zip(graph.operators, model.accesses, strict=True):
        streamed[op.name] = 0
        weights: list[tuple[str, tuple[Interval, ...]]] = []
        for access in accesses:
            storage = model.storages[access.storage]
            size = sum(b - a for a, b in (*access.reads, *access.writes))
            accessed[op.name, storage.name] = size
            if storage.weight and memory.stream_weights:
                streamed[op.name] += size
                weights.append((storage.name, access.reads))
        streams[op.name] = same_stream(weights)
    return LatencyModel(
        compute_cycles={
            op.name: streamed_cycles(graph, op, target, streamed[op.name]) for op in graph.operators
        },
        streamed_bytes=streamed,
        size_bytes={storage.name: storage.size_bytes for storage in model.storages},
        accessed_bytes=accessed,
        target=target,
        streams=streams,
        kept_bytes=memory.kept_weights_bytes,
    )


def _by_boundary(plan: Plan) -> tuple[dict[int, list[Transfer]], dict[int, list[Transfer]]]:
    """Transfers by deadline, and by issue with stores before loads."""
    due: dict[int, list[Transfer]] = defaultdict(list)
    possible: dict[int, list[Transfer]] = defaultdict(list)
    for transfer in sorted(plan.transfers, key=lambda t: t.kind is TransferKind.LOAD):
        due[transfer.deadline].append(transfer)
        possible[transfer.issue].append(transfer)
    return due, possible
