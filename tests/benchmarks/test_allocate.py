"""The allocator's benchmark: its instances, and a run on a tiny folder."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from benchmarks import allocate as benchmark
from benchmarks.allocate_instances import crowd, of_table, perfect

from stowplan.ilp.allocate import allocate


@pytest.mark.parametrize("seed", range(5))
def test_a_perfect_packing_fills_its_rectangle(seed: int) -> None:
    buffers = perfect(25, 12, 40, seed)
    live = [int(buffers.size[(buffers.lower <= t) & (t < buffers.upper)].sum()) for t in range(12)]
    assert live == [40] * 12 and 25 <= len(buffers.size) <= 29
    assert 0 < len(perfect(25, 12, 40, seed, 0.5).size) < len(buffers.size)


def test_perfect_packings_are_found_again() -> None:
    for seed in range(6):
        run = benchmark.timed(perfect(20, 15, 60, seed), 60.0)
        assert run.found.status == "optimal" and run.found.height == 60


def test_the_name_of_a_table_holds_its_capacity(tmp_path: Path) -> None:
    text = "id,lower,upper,size\na,0,2,4\n"
    for name, capacity in (("x.12.csv", 12), ("x.csv", None), ("12.csv", None)):
        (tmp_path / name).write_text(text)
        buffers = of_table(tmp_path / name)
        assert (buffers.capacity, buffers.name) == (capacity, name.split(".")[0])
        assert np.array_equal(buffers.size, [4])


def test_tables_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.12.csv").write_text("id,lower,upper,size\na,0,2,4\nb,1,4,4\nc,3,5,8\n")
    instant = benchmark.Timed(allocate([], [], []), 1.5, 0.5)
    monkeypatch.setattr(benchmark, "cold", lambda: instant)
    out = tmp_path / "out.md"
    arguments = argparse.Namespace(
        folder=tmp_path, models=None, time_limit=5.0, crowds=[200], perfect=0, cold=True, out=out
    )
    lines = benchmark.report(arguments)
    text = out.read_text()
    assert text == "\n".join(lines) + "\n"
    assert "| t | 3 | optimal |" in text and "0.5 s of CPU, 1.5 s of wall" in text
    assert "| t | 3 | 12 | 12 | 0.00 | optimal |" in text
    assert crowd(200, 200, 1).name in text
