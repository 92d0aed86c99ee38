"""The live line: content, and silence where nobody watches."""

import io
import time

import pytest
from rich.console import Console

from stowplan.cli_progress import LiveLine, progress_text
from stowplan.passes.planner import Progress


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (None, "exact"),
        (Progress("blocks", None, 5, 1.0), "exact: blocks   no plan yet   bound 5"),
        (
            Progress("blocks", 2000, 1500, 1.0),
            "exact: blocks   best 2,000   bound 1,500   gap 25.0%",
        ),
        (Progress("blocks", 0, 0, 1.0), "exact: blocks   best 0   bound 0   gap 0%"),
    ],
)
def test_line_tells_incumbent_bound_and_gap(progress: Progress | None, text: str) -> None:
    assert progress_text("exact", progress) == text


def drawn(quiet_s: float, terminal: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100)
    with LiveLine(console, quiet_s=quiet_s) as live:
        live.stage("exact")
        live.update(Progress("blocks", 2000, 1500, 1.0))
        time.sleep(0.3)
    return stream.getvalue()


def test_terminal_sees_the_line_with_elapsed_time() -> None:
    assert "best 2,000   bound 1,500   gap 25.0%" in drawn(quiet_s=0.0, terminal=True)


def test_short_work_shows_no_text() -> None:
    assert "best" not in drawn(quiet_s=60.0, terminal=True)


def test_no_terminal_no_output() -> None:
    assert drawn(quiet_s=0.0, terminal=False) == ""
