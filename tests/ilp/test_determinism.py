"""Planner ``exact`` gives one plan, whatever the process and the order of Python's hashes."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from dataclasses import replace
import stowplan
compiled = stowplan.compile(
    sys.argv[1], planner="exact", precision="int8", tile="never", time_limit_s=600,
    overrides=[f"scratchpad.size={sys.argv[2]}"],
)
plan = replace(compiled.plan, proof=replace(compiled.plan.proof, wall_s=0.0))
sys.stdout.buffer.write(plan.to_json())
"""


@pytest.mark.parametrize(
    ("model", "size"), [("light:densenet121", "1600KiB"), ("light:squeezenet", "1MiB")]
)
def test_two_processes_write_the_same_bytes(model: str, size: str) -> None:
    plans = []
    for hash_seed in ("1", "4242"):
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, model, size],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        )
        plans.append(run.stdout)
    assert plans[0] == plans[1]
    assert b'"planner": "exact"' in plans[0]
