"""The examples run as their docstrings say."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run_example(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_sweep_prints_a_line_per_size(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_example(monkeypatch, "sweep_scratchpad.py", "light:squeezenet", "--time-limit", "0.3")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    traffic = [int(line.split()[2].replace(",", "")) for line in lines[1:]]
    assert traffic[0] > 0
    # With four mebibytes nothing needs to leave the chip twice.
    assert traffic[-1] == 0


def test_comparison_prints_a_line_per_planner(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_example(monkeypatch, "compare_planners.py", "light:zfnet512", "--time-limit", "1")
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert {"greedy", "exact"} <= set(names)
