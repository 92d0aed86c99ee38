"""Streaming networks from files."""

import json
from pathlib import Path

import pytest

from stowplan.errors import ModelError, StowplanError, UsageError
from stowplan.simulator.streaming import load_network, simulate

TOML = """
iterations = 3

[[clock]]
name = "core"
numerator = 1000

[[clock]]
name = "memory"
numerator = 933

[[process]]
name = "read"
clock = "memory"
gives = { tiles = 1 }
latency_cycles = 20

[[process]]
name = "sum"
clock = "core"
takes = { tiles = 1 }
gives = { sums = [[3, 0], [1, 1]] }
interval_cycles = 16

[[process]]
name = "write"
clock = "memory"
takes = { sums = 1 }

[[fifo]]
name = "tiles"
depth = 4
width_bits = 4096
sync_cycles = 2

[[fifo]]
name = "sums"
depth = 2
"""


def write(folder: Path, text: str, name: str = "net.toml") -> Path:
    """A file with ``text``."""
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def test_toml_and_json_describe_the_same_network(tmp_path: Path) -> None:
    network = load_network(write(tmp_path, TOML))
    assert [process.firings for process in network.processes] == [12, 12, 3]
    assert simulate(network).deadlock is None
    plain = {
        "iterations": 3,
        "clock": [{"name": "core", "numerator": 1000}, {"name": "memory", "numerator": 933}],
        "process": [
            {"name": "read", "clock": "memory", "gives": {"tiles": 1}, "latency_cycles": 20},
            {
                "name": "sum",
                "clock": "core",
                "takes": {"tiles": 1},
                "gives": {"sums": [[3, 0], [1, 1]]},
                "interval_cycles": 16,
            },
            {"name": "write", "clock": "memory", "takes": {"sums": 1}},
        ],
        "fifo": [
            {"name": "tiles", "depth": 4, "width_bits": 4096, "sync_cycles": 2},
            {"name": "sums", "depth": 2},
        ],
    }
    assert load_network(write(tmp_path, json.dumps(plain), "net.json")) == network


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TOML.replace("iterations = 3", ""), "process 'read': give either its firings, or iter"),
        (TOML.replace("depth = 4", "deep = 4"), r"net\.toml: Object .* `\$\.fifo\[0\]`"),
        (
            TOML.replace("sums = 1", "sums = 3"),
            r"net\.toml: fifo 'sums': depth 2 is less than the 3",
        ),
        (TOML.replace("iterations = 3", "iterations ="), r"net\.toml: Invalid value"),
        (TOML.replace('name = "sums"', 'name = "summs"'), "writes fifo 'sums': there is no such"),
    ],
)
def test_faults_are_reported_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_network(write(tmp_path, text))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="streaming networks are read from"):
        load_network(tmp_path / "net.yaml")
    with pytest.raises(UsageError, match="No such file"):
        load_network(tmp_path / "none.toml")
    for broken in ("{", '{"process": 3}'):
        with pytest.raises(StowplanError, match=r"net\.json"):
            load_network(write(tmp_path, broken, "net.json"))
