"""``stowplan simulate --pipeline`` from the command line."""

import json
from pathlib import Path

import pytest
from tests.simulator.pipeline_models import residual
from typer.testing import CliRunner, Result

from stowplan.cli import app
from stowplan.cli_pipeline import fifo_depths, pipeline_sizing
from stowplan.errors import ProofError, UsageError


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["simulate", *arguments])


def test_a_model_and_a_plan_of_it_give_the_same_pipeline(tmp_path: Path) -> None:
    model = str(residual(tmp_path))
    compiled = ["compile", model, "-p", "greedy", "--tile", "never", "-o", str(tmp_path)]
    assert CliRunner().invoke(app, compiled).exit_code == 0
    alone = run(model, "--pipeline", "--format", "json")
    planned = run(model, str(tmp_path / "plan.json"), "--pipeline", "--format", "json")
    assert alone.exit_code == planned.exit_code == 0, alone.output
    result = json.loads(alone.stdout)
    assert result == json.loads(planned.stdout)
    assert result["status"] == "ok" and result["speedup"] > 1
    assert {"conv_a", "conv_b", "read x", "write y"} <= {s["name"] for s in result["stages"]}


def test_a_deadlock_is_told_in_words_with_its_exit_code(tmp_path: Path) -> None:
    model = str(residual(tmp_path))
    names = [
        c["name"] for c in json.loads(run(model, "--pipeline", "-f", "json").stdout)["channels"]
    ]
    skip = next(name for name in names if name.startswith("s to ") and "conv_a" not in name)
    result = run(model, "--pipeline", "--fifo", f"{skip}=1")
    assert result.exit_code == ProofError.exit_code
    assert result.output.startswith("deadlock: ") and "stands still after" in result.output
    text = run(model, "--pipeline", "--first", "conv_a", "--last", "conv_b", "--inferences", "3")
    assert text.exit_code == 0 and "3 inferences" in text.output and "stem" not in text.output


def test_without_a_plan_only_pipelines_are_simulated(tmp_path: Path) -> None:
    result = run(str(residual(tmp_path)))
    assert isinstance(result.exception, UsageError) and "--pipeline" in str(result.exception)


def test_depths_are_read_from_text() -> None:
    assert pipeline_sizing("progress") == "progress" and pipeline_sizing("7") == 7
    assert fifo_depths(["a=b=3", "c=1"]) == {"a=b": 3, "c": 1}
    for text in ("most", "-1"):
        with pytest.raises(UsageError, match="--depth"):
            pipeline_sizing(text)
    for entry in ("a", "=3", "a=x"):
        with pytest.raises(UsageError, match="--fifo"):
            fifo_depths([entry])
