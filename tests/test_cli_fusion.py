"""``stowplan compile`` on a contest instance."""

import json
from pathlib import Path

from typer.testing import CliRunner

from stowplan.cli import app

INSTANCE = {
    "widths": [128] * 4,
    "heights": [128] * 4,
    "inputs": [[0], [1], [1, 2]],
    "outputs": [[1], [2], [3]],
    "base_costs": [1500, 1500, 1500],
    "op_types": ["Pointwise"] * 3,
    "fast_memory_capacity": 50000,
    "slow_memory_bandwidth": 10,
    "native_granularity": [128, 128],
}


def test_instance_is_recognised_and_solved(tmp_path: Path) -> None:
    path = tmp_path / "diamond.json"
    path.write_text(json.dumps(INSTANCE))
    arguments = ["compile", str(path), "-o", str(tmp_path / "out"), "--time-limit", "1"]
    result = CliRunner().invoke(app, [*arguments, "--format", "json"])
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert summary["objective"] == summary["bound"] == 4500
    assert summary["proven"] and summary["checked"]
    solution = json.loads((tmp_path / "out" / "solution.json").read_text())
    assert sum(solution["subgraph_latencies"]) == 4500
    assert {op for group in solution["subgraphs"] for op in group} == {0, 1, 2}


def test_broken_instance_is_a_model_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(INSTANCE | {"heights": [128]}))
    result = CliRunner().invoke(app, ["compile", str(path)])
    assert result.exit_code != 0
    assert "'heights' has 1 entries" in str(result.exception)
