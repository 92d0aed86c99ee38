"""A pipeline of operators simulated: its FIFOs sized, its cycles beside sequential execution."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from stowplan.errors import UsageError
from stowplan.simulator.pipeline import Pipeline
from stowplan.simulator.streaming_depths import minimum_depths
from stowplan.simulator.streaming_engine import simulate
from stowplan.simulator.streaming_network import Network, with_depths
from stowplan.simulator.streaming_result import StreamResult

Sizing = Literal["throughput", "progress"]

MOST_RUNS = 300
"""Simulations after which the search for the smallest FIFOs gives way to a descent."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One process of a pipeline.

    Attributes:
        name: operator, or ``read`` or ``write`` and a tensor.
        firings: how often it fired.
        busy_cycles: cycles it worked.
        empty_cycles: cycles it waited for a tensor.
        full_cycles: cycles it waited for space.
    """

    name: str
    firings: int
    busy_cycles: int
    empty_cycles: int
    full_cycles: int


@dataclass(frozen=True, slots=True)
class Channel:
    """One FIFO of a pipeline.

    Attributes:
        name: the tensor, and its reader where there are several.
        writer: process that writes it.
        reader: process that reads it.
        depth: tokens it holds.
        peak_tokens: most slots taken at once, claimed ones included.
        token_bytes: bytes of a token, rounded up.
    """

    name: str
    writer: str
    reader: str
    depth: int
    peak_tokens: int
    token_bytes: int


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """What a pipeline does.

    Attributes:
        cycles: cycles until the last result is written; in a deadlock, until it stands still.
        sequential_cycles: cycles of the same work without overlap.
        inferences: how often everything ran.
        bottleneck: process with the most work.
        bottleneck_cycles: its work per inference; no pipeline of these units starts inferences
            closer to each other.
        fifo_bytes: bytes of all FIFOs.
        sizing: how depths were chosen.
        proven: no FIFOs of fewer bits do the same.
        deadlock: who waits for whom, in words; None if everything completed.
        stages: processes in order.
        channels: FIFOs in order.
    """

    cycles: int
    sequential_cycles: int
    inferences: int
    bottleneck: str
    bottleneck_cycles: int
    fifo_bytes: int
    sizing: str
    proven: bool
    deadlock: str | None
    stages: tuple[Stage, ...]
    channels: tuple[Channel, ...]

    @property
    def speedup(self) -> float:
        """Sequential cycles per cycle of the pipeline."""
        return self.sequential_cycles / max(1, self.cycles)


def run_pipeline(
    pipeline: Pipeline,
    sizing: Sizing | int = "throughput",
    depths: Mapping[str, int] | None = None,
) -> PipelineResult:
    """Size the FIFOs and simulate.

    Args:
        pipeline: what to run.
        sizing: the smallest FIFOs that keep full throughput or that do not deadlock, or one depth
            for all (but at least what one firing moves).
        depths: depths of single FIFOs by name, instead; deadlocks become part of the result.

    Raises:
        UsageError: a FIFO that does not exist, or a depth below 1.
    """
    network, proven, rule = pipeline.network, False, "given"
    if isinstance(sizing, int):
        _at_least_one(sizing, "every fifo")
        given = {fifo.name: max(sizing, fifo.depth) for fifo in network.fifos}
        network = with_depths(network, given)
    else:
        report = minimum_depths(network, sizing, MOST_RUNS)
        network = with_depths(network, dict(report.depths))
        proven, rule = report.proven, f"smallest for {sizing}"
    for name, depth in (depths or {}).items():
        _known(network, name)
        _at_least_one(depth, f"fifo '{name}'")
        proven, rule = False, "given"
    network = with_depths(network, dict(depths or {}))
    return _result(pipeline, network, simulate(network), rule, proven)


def _known(network: Network, name: str) -> None:
    names = [fifo.name for fifo in network.fifos]
    if name not in names:
        near = [known for known in names if name.lower() in known.lower()] or names
        raise UsageError(f"the pipeline has no fifo '{name}'; there are {', '.join(near[:8])}")


def _at_least_one(depth: int, what: str) -> None:
    if depth < 1:
        raise UsageError(f"depth {depth} of {what}; at least 1")


def _result(
    pipeline: Pipeline, network: Network, run: StreamResult, rule: str, proven: bool
) -> PipelineResult:
    writers, readers = network.writers(), network.readers()
    bottleneck, work = max(pipeline.work_cycles, key=lambda pair: pair[1])
    channels = tuple(
        Channel(
            name=fifo.name,
            writer=writers[fifo.name][0].name,
            reader=readers[fifo.name][0].name,
            depth=fifo.depth,
            peak_tokens=activity.peak_slots,
            token_bytes=-(-fifo.width_bits // 8),
        )
        for fifo, activity in zip(network.fifos, run.fifos, strict=True)
    )
    stages = tuple(
        Stage(p.name, p.firings, p.busy_cycles, p.empty_cycles, p.full_cycles)
        for p in run.processes
    )
    return PipelineResult(
        cycles=run.cycles(),
        sequential_cycles=pipeline.sequential_cycles,
        inferences=pipeline.inferences,
        bottleneck=bottleneck,
        bottleneck_cycles=work,
        fifo_bytes=sum(channel.depth * channel.token_bytes for channel in channels),
        sizing=rule,
        proven=proven,
        deadlock=None if run.deadlock is None else str(run.deadlock),
        stages=stages,
        channels=channels,
    )
