"""Engine activity as Chrome trace events, for Perfetto and chrome://tracing.

Source: "Trace Event Format", Google, sections "Complete Events", "Counter Events" and "Metadata
Events". Times are microseconds.
"""

import msgspec

from stowplan.report.data import Report

PROCESS = 1
MICROSECONDS_PER_SECOND = 1_000_000


def render_trace(report: Report) -> bytes:
    """JSON object with the trace of ``report``."""
    engines = list(dict.fromkeys(span.engine for span in report.spans))
    events = [
        _metadata("process_name", 0, f"{report.summary.model} on {report.summary.target}"),
        *(_metadata("thread_name", i + 1, engine) for i, engine in enumerate(engines)),
        *_activity(report, {engine: i + 1 for i, engine in enumerate(engines)}),
        *_occupancy(report),
    ]
    return msgspec.json.encode(
        {
            "traceEvents": events,
            "displayTimeUnit": "ns",
            "otherData": {"clock_hz": report.summary.clock_hz, "cycles": report.summary.cycles},
        }
    )


def _metadata(name: str, thread: int, value: str) -> dict[str, object]:
    return {"ph": "M", "pid": PROCESS, "tid": thread, "name": name, "args": {"name": value}}


def _microseconds(report: Report, cycles: int) -> float:
    return cycles * MICROSECONDS_PER_SECOND / report.summary.clock_hz


def _activity(report: Report, thread: dict[str, int]) -> list[dict[str, object]]:
    return [
        {
            "ph": "X",
            "pid": PROCESS,
            "tid": thread[span.engine],
            "name": span.label,
            "cat": span.engine,
            "ts": _microseconds(report, span.start_cycle),
            "dur": _microseconds(report, span.end_cycle - span.start_cycle),
            "args": {
                "step": span.step,
                "start_cycle": span.start_cycle,
                "end_cycle": span.end_cycle,
                "bytes": span.size_bytes,
            },
        }
        for span in report.spans
    ]


def _occupancy(report: Report) -> list[dict[str, object]]:
    return [
        {
            "ph": "C",
            "pid": PROCESS,
            "name": "scratchpad bytes",
            "ts": _microseconds(report, row.start_cycle),
            "args": {"live": row.live_bytes},
        }
        for row in report.operators
    ]
