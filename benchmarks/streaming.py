"""Speed of the streaming simulator, and the FIFO depths that attention needs.

    python -m benchmarks.streaming [--rounds 5] [--markdown FILE]

Times are CPU seconds of one core for a whole call of ``simulate``, compiled, best of ``--rounds``.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from time import process_time

from rich.console import Console
from rich.table import Table

from stowplan.simulator.streaming import (
    AttentionStream,
    Clock,
    Effort,
    Fifo,
    Network,
    Process,
    Rate,
    StreamResult,
    attention_stream,
    minimum_depths,
    phases,
    simulate_with_effort,
    step_through,
)
from stowplan.simulator.streaming_attention import Variant

PRIMES = (97, 101, 103, 107, 109, 113, 127, 131)


def irregular(firings: int, scale: int) -> Network:
    """A chain of eight processes whose intervals, in pattern lengths of primes, never repeat."""
    random = Random(0)
    last = len(PRIMES) - 1
    processes = tuple(
        Process(
            f"p{i}",
            firings,
            (Rate(f"f{i - 1}"),) if i > 0 else (),
            (Rate(f"f{i}"),) if i < last else (),
            interval_cycles=phases(*(scale * random.randint(1, 3) for _ in range(prime))),
        )
        for i, prime in enumerate(PRIMES)
    )
    return Network(processes, tuple(Fifo(f"f{i}", 4) for i in range(last)))


def crossing(firings: int) -> Network:
    """A writer at 1000 and a reader at 933 cycles per unit of time."""
    writer = Process("writer", firings, gives=(Rate("x"),), clock="fast")
    reader = Process("reader", firings, takes=(Rate("x"),), clock="slow")
    clocks = (Clock("fast", 1000), Clock("slow", 933))
    return Network((writer, reader), (Fifo("x", 8, sync_cycles=2),), clocks)


def attention(size: int, variant: Variant) -> Network:
    """Self-attention over ``size`` tokens with FIFOs for full throughput."""
    rows = {"scores": size + 2, "exponentials": size + 2} if variant == "naive" else {}
    return attention_stream(AttentionStream(size, size), variant, rows)


def measured(network: Network, rounds: int) -> tuple[StreamResult, Effort, float]:
    """Result, effort, and the least CPU seconds."""
    result, effort = simulate_with_effort(network)
    return result, effort, least_seconds(lambda: simulate_with_effort(network), rounds)


def least_seconds(call: Callable[[], object], rounds: int) -> float:
    """The least CPU seconds of ``call``."""
    best = float("inf")
    for _ in range(rounds):
        start = process_time()
        call()
        best = min(best, process_time() - start)
    return best


def steady_table(rounds: int) -> Table:
    """Networks that become periodic: time does not grow with cycles."""
    table = Table(
        *("network", "cycles", "firings", "simulated one by one", "jumps", "CPU ms", "cycles/s"),
        title="Periodic networks",
    )
    cases = [
        (f"{variant} attention, {size} tokens", attention(size, variant))
        for variant in _VARIANTS
        for size in (64, 1024, 16384)
    ]
    cases += [(f"crossing 1000:933, 10^{k} tokens", crossing(10**k)) for k in (3, 6, 9, 12)]
    for label, network in cases:
        result, effort, seconds = measured(network, rounds)
        clock = network.clocks[0].name
        table.add_row(
            label,
            f"{result.cycles(clock):,}",
            f"{sum(process.firings for process in network.processes):,}",
            f"{effort.firings:,}",
            str(effort.jumps),
            f"{seconds * 1e3:.2f}",
            f"{result.cycles(clock) / seconds:.2g}",
        )
    return table


def irregular_table(rounds: int) -> Table:
    """A network without any period: time follows firings, whatever the cycles."""
    table = Table(
        *("mean interval", "cycles", "firings", "jumps", "CPU ms", "ns per firing", "cycles/s"),
        title="Eight processes, never periodic",
    )
    for scale in (1, 1000):
        for firings in (1_000, 10_000, 100_000, 1_000_000):
            result, effort, seconds = measured(irregular(firings, scale), rounds)
            table.add_row(
                f"{2 * scale:,}",
                f"{result.cycles():,}",
                f"{effort.firings:,}",
                str(effort.jumps),
                f"{seconds * 1e3:.2f}",
                f"{seconds / effort.firings * 1e9:.0f}",
                f"{result.cycles() / seconds:.2g}",
            )
    return table


def reference_table(rounds: int) -> Table:
    """The plain-Python reference beside it, on what it finishes; results compared."""
    table = Table(
        *("network", "cycles", "stepping, CPU s", "cycles/s", "event-driven, CPU ms", "ratio"),
        title="Against stepping every clock edge (same results)",
    )
    cases = [(f"{variant} attention, 64 tokens", attention(64, variant)) for variant in _VARIANTS]
    cases.append(("eight irregular processes", irregular(3_000, 1)))
    cases.append(("crossing 1000:933, 10^4 tokens", crossing(10**4)))
    for label, network in cases:
        result, _, seconds = measured(network, rounds)
        start = process_time()
        stepped = step_through(network)
        slow = process_time() - start
        if stepped != result:
            raise SystemExit(f"{label}: the engines disagree")
        cycles = result.cycles(network.clocks[0].name)
        table.add_row(
            label,
            f"{cycles:,}",
            f"{slow:.2f}",
            f"{cycles / slow:.2g}",
            f"{seconds * 1e3:.2f}",
            f"{slow / seconds:,.0f}",
        )
    return table


def depth_table() -> Table:
    """Smallest depths of streaming attention at full throughput."""
    table = Table(
        *("variant", "row", "depths above 2", "all other depths", "bits", "proven", "runs"),
        "CPU s",
        title="Smallest FIFOs for full throughput, 16 rows",
    )
    for variant in _ALL_VARIANTS:
        for keys in (64, 256, 1024, 4096):
            network = attention_stream(AttentionStream(16, keys), variant)
            start = process_time()
            report = minimum_depths(network, "throughput")
            seconds = process_time() - start
            deep = [f"{name} {depth}" for name, depth in report.depths if depth > 2]
            rest = sorted({depth for _, depth in report.depths if depth <= 2})
            table.add_row(
                variant,
                str(keys),
                ", ".join(deep) or "none",
                "1 to 2" if len(rest) > 1 else str(rest[0]),
                f"{report.total_bits:,}",
                "yes" if report.proven else "no",
                str(report.runs),
                f"{seconds:.3f}",
            )
    return table


_VARIANTS: tuple[Variant, ...] = ("naive", "online")
_ALL_VARIANTS: tuple[Variant, ...] = ("naive", "reordered", "online")


def markdown(tables: Sequence[Table]) -> str:
    """The results page with these tables."""
    parts = [_INTRODUCTION]
    for table in tables:
        rows = [[str(column.header) for column in table.columns], ["---"] * len(table.columns)]
        cells = zip(*(column.cells for column in table.columns), strict=True)
        rows += [list(map(str, line)) for line in cells]
        parts.append(f"## {table.title}\n")
        parts.append("\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n")
    return "\n".join(parts)


_INTRODUCTION = """# Streaming networks: speed, and the FIFOs that attention needs

`python -m benchmarks.streaming --markdown benchmarks/results/streaming.md`; CPU seconds of one
core for whole calls of `simulate` (checks and conversions of the network included), warm, best of
several. "Simulated one by one" are the firings outside jumps over periods. Time follows firings,
not cycles: a thousand times the cycles per firing change nothing, ten times the firings take ten
times as long, beyond the constant part of a call (0.3 to 3 ms). Periodic networks take the time of
their first periods whatever their length. The first call ever compiles for about 20 CPU seconds;
the result is cached.
"""


def main() -> None:
    """Print or write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    rounds = arguments.rounds
    simulate_with_effort(irregular(10, 1))
    tables = (
        *(steady_table(rounds), irregular_table(rounds), reference_table(rounds)),
        depth_table(),
    )
    if arguments.markdown is not None:
        arguments.markdown.write_text(markdown(tables), "utf-8")
        return
    console = Console(width=150)
    for table in tables:
        console.print(table)


if __name__ == "__main__":
    main()
