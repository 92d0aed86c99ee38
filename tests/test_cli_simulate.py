"""``stowplan simulate``: both DRAM modes, JSON, the report folder, and the note while compiling."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stowplan.cli import app
from stowplan.cli_progress import note_compilation
from stowplan.targets.load import load_target

MODEL = "light:squeezenet"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled network."""
    out = tmp_path_factory.mktemp("compiled")
    made = run("compile", MODEL, "-p", "greedy", "--precision", "int8", "-o", str(out))
    assert made.exit_code == 0, made.output
    return out


def simulated(folder: Path, *arguments: str) -> dict[str, object]:
    plan = str(folder / "plan.json")
    result = run("simulate", MODEL, plan, "--format", "json", *arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def test_both_modes_tell_everything_they_count(folder: Path) -> None:
    plain, full = simulated(folder), simulated(folder, "--dram", "full")
    for result, mode in ((plain, "bandwidth"), (full, "full")):
        counted = result["simulation"]
        assert isinstance(counted, dict)
        assert counted["mode"] == mode and counted["cycles"] == result["cycles"]
        assert len(counted["operators"]) == result["operators"]
        assert len(counted["buckets"]) == 100
        assert (counted["dram"] is None) == (mode == "bandwidth")
    assert plain["cycles"] != full["cycles"]


def test_full_mode_is_told_in_words_and_on_the_page(folder: Path, tmp_path: Path) -> None:
    plan = str(folder / "plan.json")
    result = run("simulate", MODEL, plan, "--dram", "full", "-o", str(tmp_path))
    assert result.exit_code == 0
    for words in ("lpddr4-3200, 2 channels", "conflicts", "roofline", "dram refresh"):
        assert words in result.output
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Memories and energy" in page and "dram standby" in page
    assert json.loads((tmp_path / "report.json").read_text())["simulation"]["mode"] == "full"


def test_a_mode_that_does_not_exist_is_refused(folder: Path) -> None:
    result = run("simulate", MODEL, str(folder / "plan.json"), "--dram", "ddr4")
    assert result.exit_code == 2 and "Traceback" not in result.output


@pytest.mark.parametrize(("cold", "expected"), [(True, "note: compiling"), (False, "")])
def test_a_note_appears_only_while_the_cache_is_cold(
    cold: bool, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stowplan.simulator.compiled.needs_compiling", lambda machine: cold)
    note_compilation(load_target("edge-npu"), "full")
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith(expected)
    assert bool(captured.err) == cold
