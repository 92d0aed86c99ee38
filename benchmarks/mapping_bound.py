"""Lower bounds of the memory-mapping problem, and the plans its integer program leads to.

    python -m benchmarks.mapping_bound MODEL.onnx ... [--seconds 20] [--known memory_mapping.md]

Per model and memory: the bound that counts computation and compulsory bytes only, the linear
relaxation, the integer program after ``--seconds`` (0: left out), and the fastest plan known. Plans
compared are the production-style heuristic's, the program's own, and with ``--known`` those of
``-p rl`` in a table of ``benchmarks.memory_mapping``. Latencies are cycles of the simulator; every
plan is checked.
"""

import argparse
import json
import re
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean
from time import monotonic, process_time

from benchmarks.mapping_pairs import MEMORIES, prepare_pair
from stowplan.ilp.mapping import bound_mapping
from stowplan.ilp.mapping_instance import mapping_instance
from stowplan.ilp.mapping_plan import mapping_plan
from stowplan.ilp.milp import Limits
from stowplan.ir.check_plan import require_valid
from stowplan.rl_mapper.game import build_instance
from stowplan.rl_mapper.heuristic import assign, heuristic_plan
from stowplan.rl_mapper.mapping import OPEN_PROOF, simulated_cycles


@dataclass(frozen=True, slots=True)
class Row:
    """One model at one memory; cycles, and seconds of processor and wall.

    Attributes:
        model: file name.
        memory: fast memory.
        decisions: accesses to decide.
        old: bound by computation and compulsory bytes.
        linear: bound by the linear relaxation.
        integer: bound by the integer program when its time was up.
        optimal: the program was solved.
        cycles: (plan, simulated cycles).
        linear_s: processor seconds of the relaxation.
        integer_s: of the program.
        plan_s: of its plan.
        wall_s: wall seconds of the program.
    """

    model: str
    memory: str
    decisions: int
    old: int
    linear: int
    integer: int
    optimal: bool
    cycles: dict[str, int]
    linear_s: float
    integer_s: float
    plan_s: float
    wall_s: float

    @property
    def best(self) -> int:
        """Latency of the fastest plan."""
        return min(self.cycles.values())

    @property
    def bound(self) -> int:
        """The highest bound."""
        return max(self.old, self.linear, self.integer)


def measure(path: Path, memory: str, seconds: float, known: dict[tuple[str, str], float]) -> Row:
    """One row."""
    prepared = prepare_pair(path, memory)
    graph, target = prepared.graph, prepared.target
    game = build_instance(graph, target)
    instance = mapping_instance(graph, target)
    limits = Limits(seconds, 1, 0, lambda: False)
    clock = [process_time()]
    linear = bound_mapping(instance, limits, integer=False)
    clock.append(process_time())
    wall = monotonic()
    found = bound_mapping(instance, limits) if seconds else linear
    wall = monotonic() - wall
    clock.append(process_time())
    plan = mapping_plan(game.problem, target, game.order, instance, found, OPEN_PROOF, "ilp")
    clock.append(process_time())
    plans = {"greedy": heuristic_plan(game, assign(game))}
    if found.choices:
        plans["program"] = plan
    for each in plans.values():
        require_valid(graph, each, game.problem.memory)
    cycles = {name: simulated_cycles(game, each) for name, each in plans.items()}
    if (path.stem, memory) in known:
        cycles["-p rl"] = round(known[path.stem, memory] * game.bound_cycles)
    linear_s, integer_s, plan_s = (after - before for before, after in pairwise(clock))
    return Row(
        path.stem,
        memory,
        game.decisions,
        game.bound_cycles,
        linear.cycles,
        found.cycles,
        bool(seconds) and found.optimal,
        cycles,
        linear_s,
        integer_s,
        plan_s,
        wall,
    )


def read_known(path: Path) -> dict[tuple[str, str], float]:
    """(model, memory) -> latency of ``-p rl`` over the old bound, from the pairs' table."""
    rows = re.findall(
        r"^\| (\S+) \| (\S+) \| \d+ \| [\d.]+ \| ([\d.]+) \|", path.read_text(), re.MULTILINE
    )
    return {(model, memory): float(ratio) for model, memory, ratio in rows}


def table(rows: list[Row]) -> list[str]:
    """Markdown: a row per pair, then means."""
    lines = [
        "| model | memory | old bound | LP / old | program / old | proven | greedy / old "
        "| -p rl / old | program's plan / old | gap of the best plan | LP CPU s "
        "| program CPU s |",
        "|---" * 12 + "|",
    ]
    for row in rows:
        plans = (row.cycles.get(name) for name in ("greedy", "-p rl", "program"))
        ratios = " | ".join("-" if c is None else f"{c / row.old:.3f}" for c in plans)
        lines.append(
            f"| {row.model} | {row.memory} | {row.old:,} | {row.linear / row.old:.3f} | "
            f"{row.integer / row.old:.3f} | {'yes' if row.optimal else 'no'} | {ratios} | "
            f"{100 * (1 - row.bound / row.best):.1f} % | {row.linear_s:.2f} | {row.integer_s:.1f} |"
        )
    gap = mean(row.best / row.bound - 1 for row in rows)
    lines += [
        "",
        f"{len(rows)} pairs; best plan over bound: {100 * gap:.1f} % on average, "
        f"{100 * mean(row.best / row.linear - 1 for row in rows):.1f} % over the LP, "
        f"{100 * mean(row.best / row.old - 1 for row in rows):.1f} % over the old bound. "
        f"The program's plan is the fastest on {sum(_wins(row) for row in rows)}; "
        f"solved: {sum(row.optimal for row in rows)}.",
    ]
    return lines


def _wins(row: Row) -> bool:
    return row.cycles.get("program") == row.best


def main() -> None:
    """Measure all pairs; print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--memories", default=",".join(MEMORIES))
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--known", type=Path)
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--rows", type=Path, nargs="*", default=[], help="rows measured before")
    arguments = parser.parse_args()
    known = read_known(arguments.known) if arguments.known else {}
    rows = [Row(**row) for rows in arguments.rows for row in json.loads(rows.read_text())]
    for path in arguments.models:
        for memory in arguments.memories.split(","):
            if known and (path.stem, memory) not in known:
                continue
            rows.append(measure(path, memory, arguments.seconds, known))
            print(rows[-1], flush=True)
            if arguments.json is not None:
                data = [asdict(row) for row in rows]
                arguments.json.write_text(json.dumps(data, indent=1) + "\n")
    if rows:
        print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
