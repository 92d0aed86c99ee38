"""DRAM model against DRAMsim3, request by request, and its speed.

    python -m benchmarks.dram FOLDER [--requests 200000]

``FOLDER`` holds ``dram_traces.csv`` and ``dram/`` with, per trace, ``*.lst`` and the accept and
completion clocks of DRAMsim3 (``*.dramsim3_1rank.requests.csv.gz``), one rank of DDR4-2400R.
Without ``FOLDER`` only the speed is measured. Speeds are of the kernel alone, warm, in CPU seconds
of one core, best of ``--rounds``.
"""

import argparse
import csv
import gzip
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from stowplan.simulator import dram_kernels as kernels
from stowplan.simulator.dram import (
    new_state,
    simulate_requests,
    split_requests,
    stream_of,
)
from stowplan.simulator.dram_check import check_commands
from stowplan.simulator.dram_rules import rules_of
from stowplan.targets.dram_presets import DramSpec, list_drams, load_dram

Ints = NDArray[np.int64]

TRACES = ("seq_read", "rand_read", "stride8k", "seq_write", "mix_2r1w")
CONFIGURATION = "d4_1rank_2400R.ini"
TAIL_CLOCKS = 5000
"""Idle clocks after the last completion that the reference's command counts include."""
COMMANDS = (("ACT", kernels.ACT), ("PRE", kernels.PRE), ("RD", kernels.READ), ("WR", kernels.WRITE))


@dataclass(frozen=True, slots=True)
class Reference:
    """A trace and what DRAMsim3 made of it, arrays [N]."""

    addresses: Ints
    writes: NDArray[np.bool_]
    accept: Ints
    complete: Ints
    counts: dict[str, int]


def read_reference(folder: Path, name: str) -> Reference:
    """One trace with its per-request clocks and command counts."""
    path = folder / "dram" / f"{name}.dramsim3_1rank.requests.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with (folder / "dram_traces.csv").open(encoding="utf-8") as file:
        (totals,) = (
            row
            for row in csv.DictReader(file)
            if row["trace"] == name and row["config"].startswith(CONFIGURATION)
        )
    return Reference(
        np.array([int(row["addr"], 16) for row in rows]),
        np.array([row["op"] == "W" for row in rows]),
        np.array([int(row["accept_clk"]) for row in rows]),
        np.array([int(row["complete_clk"]) for row in rows]),
        {key: int(totals[key]) for key in ("ACT", "PRE", "RD", "WR", "REF")},
    )


def counts_with_tail(spec: DramSpec, reference: Reference, total_clocks: int) -> dict[str, int]:
    """Commands up to ``TAIL_CLOCKS`` after the end, as the reference counts them."""
    requests = split_requests(spec, reference.addresses, reference.writes, None)
    state = new_state(spec)
    state.scalar[:, kernels.COUNT] = requests.counts
    kernels.advance(rules_of(spec), state, stream_of(requests), 0, total_clocks + TAIL_CLOCKS)
    return {name: int(state.counters[0, kind]) for name, kind in (*COMMANDS, ("REF", kernels.REF))}


def kernel_seconds(spec: DramSpec, addresses: Ints, writes: Ints, rounds: int) -> tuple[int, float]:
    """Clocks of all channels together, and the least CPU seconds of the kernel."""
    requests, rules = split_requests(spec, addresses, writes, None), rules_of(spec)
    best = float("inf")
    clocks = 0
    for _ in range(rounds + 1):
        stream, state = stream_of(requests), new_state(spec)
        state.scalar[:, kernels.COUNT] = requests.counts
        start = process_time()
        kernels.drain(rules, state, stream)
        best = min(best, process_time() - start)
        clocks = int(state.scalar[:, kernels.CLOCK].sum())
    return clocks, best


def latency_table() -> Table:
    """Reads of an idle DRAM against the published latencies."""
    table = Table("unloaded read", "DRAMsim3", "ours", title="Unloaded read latency, clocks")
    spec = load_dram("ddr4-2400")
    for label, second, published in (
        ("row hit", 64, 21),
        ("closed bank", 1 << 13, 37),
        ("row conflict", 1 << 17, 53),
    ):
        run = simulate_requests(spec, [0, second], [0, 0], [0, 200])
        table.add_row(label, str(published), str(int(run.complete[1] - run.accept[1])))
    return table


def validation_table(folder: Path) -> Table:
    """Totals, latencies, command counts, and how many single clocks differ."""
    table = Table(
        *("trace", "requests", "total", "ours", "read latency", "ours"),
        *("accepts differing", "completions differing", "ACT/PRE/RD/WR/REF", "ours", "illegal"),
        title="DRAMsim3, one rank of DDR4-2400R, clocks",
    )
    spec = load_dram("ddr4-2400")
    for name in TRACES:
        reference = read_reference(folder, name)
        run = simulate_requests(spec, reference.addresses, reference.writes, log=True)
        faults = check_commands(spec, run.commands, reference.addresses, reference.writes)
        total = int(reference.complete.max()) + 1
        own = counts_with_tail(spec, reference, total)
        table.add_row(
            name,
            str(len(reference.addresses)),
            str(total),
            str(int(run.complete.max()) + 1),
            _latency(reference.accept, reference.complete, reference.writes),
            _latency(run.accept, run.complete, reference.writes),
            str(int((run.accept != reference.accept).sum())),
            str(int((run.complete != reference.complete).sum())),
            "/".join(str(reference.counts[key]) for key in own),
            "/".join(map(str, own.values())),
            str(len(faults)),
        )
    return table


def _latency(accept: Ints, complete: Ints, writes: NDArray[np.bool_]) -> str:
    reads = (complete - accept)[~writes]
    return f"{reads.mean():.3f}" if len(reads) else "-"


def speed_table(count: int, rounds: int) -> Table:
    """Clocks per second of every preset on three patterns."""
    table = Table(
        *("DRAM", "pattern", "requests", "clocks, all channels", "CPU ms"),
        *("million clocks/s", "million requests/s"),
        title="Speed of the kernel, warm, one core",
    )
    rng = np.random.default_rng(0)
    for name in list_drams():
        spec = load_dram(name)
        size = spec.organisation.access_bytes
        writes = (np.arange(count) % 3 == 2).astype(np.int64)
        reads = np.zeros(count, dtype=np.int64)
        blocks = spec.organisation.capacity_bytes // size
        for pattern, addresses, wanted in (
            ("sequential reads", np.arange(count) * size, reads),
            ("random reads", rng.integers(0, blocks, count) * size, reads),
            ("2 reads : 1 write", np.arange(count) * size + writes * (1 << 28), writes),
        ):
            clocks, seconds = kernel_seconds(spec, addresses, wanted, rounds)
            table.add_row(
                name,
                pattern,
                f"{count:,}",
                f"{clocks:,}",
                f"{seconds * 1e3:.1f}",
                f"{clocks / seconds / 1e6:.1f}",
                f"{count / seconds / 1e6:.1f}",
            )
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    console = Console(width=170)
    console.print(latency_table())
    if arguments.folder is not None:
        if not (arguments.folder / "dram_traces.csv").is_file():
            raise SystemExit(f"{arguments.folder}: no dram_traces.csv there")
        console.print(validation_table(arguments.folder))
    console.print(speed_table(arguments.requests, arguments.rounds))


if __name__ == "__main__":
    main()
