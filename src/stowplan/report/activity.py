"""What the simulator measured, in the terms of a report."""

from collections.abc import Mapping
from dataclasses import dataclass

from stowplan.ir.program import Command, CommandKind, Program, queue_labels
from stowplan.report.data import Span
from stowplan.simulator.result import SimResult, step_spans


@dataclass(frozen=True, slots=True)
class Activity:
    """Engine activity of one run.

    Attributes:
        cycles: core cycles until everything has finished.
        utilisation: share of the array's multiply-accumulate slots used, 0 to 1.
        bound_by: the engine that is active longest.
        busy: (engine, share of the cycles it is active), busiest first.
        energy_pj: energy spent.
        spans: every busy interval, by engine and start.
        operators: operator -> (engine, first cycle, cycle after the last).
        macs: operator -> multiply-accumulates.
        loads: (storage, step of issue) -> (first cycle, cycle after the last) of its LOAD.
        causes: engine -> (what it does or waits for, cycles).
        result: everything the simulator counted.
    """

    cycles: int
    utilisation: float
    bound_by: str
    busy: tuple[tuple[str, float], ...]
    energy_pj: float
    spans: tuple[Span, ...]
    operators: Mapping[str, tuple[str, int, int]]
    macs: Mapping[str, int]
    loads: Mapping[tuple[str, int], tuple[int, int]]
    causes: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    result: SimResult | None = None


def activity_of(program: Program, result: SimResult) -> Activity:
    """Activity of a simulated program."""
    computing = [command for command in program.commands if command.kind is CommandKind.COMPUTE]
    labels = queue_labels(program.cores)
    engine = {c.step: "+".join(labels[queue] for queue in c.queues) for c in computing}
    macs: dict[str, int] = {}
    for command in computing:
        name = program.steps[command.step]
        macs[name] = macs.get(name, 0) + command.work.macs
    return Activity(
        cycles=result.cycles,
        utilisation=result.utilisation,
        bound_by=result.bound_by,
        busy=result.busy,
        energy_pj=result.total_pj,
        spans=_spans(program, result),
        operators={
            name: (engine.get(step, ""), min(span), span[1])
            for step, (name, span) in enumerate(
                zip(program.steps, step_spans(program, result), strict=True)
            )
        },
        macs=macs,
        loads={
            (command.label, command.step): (start, end)
            for command, start, end in zip(program.commands, result.start, result.end, strict=True)
            if command.kind is CommandKind.LOAD
        },
        causes=tuple((engine.name, engine.causes) for engine in result.engines),
        result=result,
    )


def _spans(program: Program, result: SimResult) -> tuple[Span, ...]:
    """Busy intervals by engine and start; a command that holds two engines shows on both."""
    timed = list(zip(program.commands, result.start, result.end, strict=True))
    return tuple(
        Span(
            engine=label,
            label=_label(command),
            start_cycle=start,
            end_cycle=end,
            step=command.step,
            size_bytes=command.read_bytes + command.written_bytes,
        )
        for queue, label in enumerate(queue_labels(program.cores))
        for command, start, end in timed
        if queue in command.queues
    )


def _label(command: Command) -> str:
    if command.kind is CommandKind.COMPUTE:
        return command.label
    return f"{command.kind.value} {command.label}"
