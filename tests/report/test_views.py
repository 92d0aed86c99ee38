"""Each view of a report holds the report's data and nothing from outside."""

import json
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.report.samples import sample_report

from stowplan.errors import Misfit
from stowplan.report.data import Execution, Report
from stowplan.report.html import render_html
from stowplan.report.quantities import human_bytes, human_time, percent
from stowplan.report.svg import render_svg
from stowplan.report.text import objective_line, summary_lines
from stowplan.report.trace import render_trace

HOSTILE = '</script><img src=x onerror="alert(1)">'


def embedded(page: str) -> dict[str, Any]:
    """The page's data, read as a browser would find its end."""
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def renamed(report: Report, name: str) -> Report:
    """The report with the first operator and block renamed."""
    operators = (replace(report.operators[0], name=name), *report.operators[1:])
    blocks = (replace(report.blocks[0], storage=name), *report.blocks[1:])
    return replace(report, operators=operators, blocks=blocks)


def test_page_embeds_every_operator_block_and_span() -> None:
    report = sample_report()
    data = embedded(render_html(report))
    assert len(data["operators"]) == len(report.operators)
    assert len(data["blocks"]) == len(report.blocks)
    assert data["cycles"] == report.summary.cycles
    (lane,) = data["engines"]
    assert len(lane["spans"]) == len(report.spans)


def test_page_needs_nothing_from_outside() -> None:
    page = render_html(sample_report())
    assert not re.findall(r"""(?:src|href)\s*=|@import|url\(|https?://|\bfetch\(""", page)


def test_names_cannot_break_out_of_the_page() -> None:
    report = renamed(sample_report(), HOSTILE)
    page = render_html(report)
    assert HOSTILE not in page
    assert embedded(page)["operators"][0]["name"] == HOSTILE
    assert "a warning &lt;b&gt;" in page


def test_page_of_a_thousand_operators_stays_small() -> None:
    report = sample_report()
    rows = tuple(
        replace(report.operators[0], step=step, name=f"/stage/{step}/conv") for step in range(2000)
    )
    spans = tuple(replace(report.spans[0], label=row.name, step=row.step) for row in rows)
    blocks = tuple(replace(report.blocks[0], storage=f"{row.name}_output") for row in rows)
    page = render_html(replace(report, operators=rows, spans=spans, blocks=blocks))
    assert len(page) < 1_500_000


def test_svg_draws_every_block_and_escapes_names() -> None:
    report = renamed(sample_report(), HOSTILE)
    root = ElementTree.fromstring(render_svg(report))
    space = "{http://www.w3.org/2000/svg}"
    groups = root.findall(f"{space}g")
    assert len(groups) == len(report.blocks)
    titles = [group.findtext(f"{space}title") or "" for group in groups]
    assert titles[0].startswith(HOSTILE)


def test_trace_has_one_complete_event_per_span_in_microseconds() -> None:
    report = sample_report()
    events = json.loads(render_trace(report))["traceEvents"]
    complete = [event for event in events if event["ph"] == "X"]
    assert len(complete) == len(report.spans)
    # 1 GHz: ten cycles are ten nanoseconds.
    assert complete[1]["ts"] == pytest.approx(0.01)
    assert complete[1]["dur"] == pytest.approx(0.01)
    threads = {event["tid"] for event in events if event["name"] == "thread_name"}
    assert {event["tid"] for event in complete} <= threads


def test_json_names_its_schema_and_every_summary_key() -> None:
    data = json.loads(sample_report().to_json())
    assert data["schema_version"] == 1
    documented = """status model target planner operators capacity_bytes peak_bytes offchip_bytes
        compulsory_bytes noncompulsory_bytes objective bound gap proven checked cycles wall_s"""
    assert set(documented.split()) <= set(data["summary"])


def test_summary_has_at_most_fifteen_lines_and_the_figures() -> None:
    report = sample_report()
    execution = Execution(14, 3, 1, True, 1, 0.1)
    lines = summary_lines(replace(report.summary, execution=execution))
    text = "\n".join(lines)
    assert len(lines) <= 15
    for figure in (
        report.summary.peak_bytes,
        report.summary.offchip_bytes,
        report.summary.compulsory_bytes,
        report.summary.cycles,
    ):
        assert f"{figure:,}" in text
    assert "bit-identical" in text
    assert "bound by     vector" in text


def test_summary_of_a_misfit_names_operator_and_remedy() -> None:
    operands = tuple((f"operand{i}", 100 - i) for i in range(20))
    misfit = Misfit("conv1", 1_800, 1_000, operands, 2_048)
    lines = summary_lines(
        replace(sample_report().summary, status="does_not_fit", misfit=misfit, peak_bytes=None)
    )
    text = "\n".join(lines)
    assert len(lines) <= 15
    assert "operator conv1 needs 1,800 bytes" in text and "800 more" in text
    assert "--set scratchpad.size=2048" in text
    assert "and 16 more" in text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (8 << 20, "8.00 MiB"),
        (150 << 10, "150 KiB"),
    ],
)
def test_bytes_for_people(count: int, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0000021, "2.1 µs"), (0.0015, "1.5 ms"), (12.34, "12.3 s")]
)
def test_time_for_people(seconds: float, text: str) -> None:
    assert human_time(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0%"), (1.0, "100%"), (0.1234, "12.3%"), (0.00123, "0.12%")]
)
def test_share_for_people(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("proven", [False, True])
def test_proofs_of_tiled_graphs_are_said_to_hold_for_their_tiling(
    tiled: bool, proven: bool
) -> None:
    report = sample_report()
    shown = replace(report, summary=replace(report.summary, tiled=tiled, proven=proven, gap=0.25))
    line = objective_line(shown.summary)
    assert ("for this tiling" in line) == tiled
    assert ("proven optimal" in line) == proven
    assert ("for this tiling" in render_html(shown)) == tiled
