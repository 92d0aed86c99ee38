"""Records of the joint-planning benchmark, and the JSON file that collects them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from stowplan.errors import InternalError
from stowplan.ir.files import write_atomic

SCHEMA_VERSION = 1
BUDGETS = ("M_R", "M_mean", "M_P")


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """One network in one setting.

    Attributes:
        network: its name.
        precision: element type of its tensors.
        parameters: weights are planned in the scratchpad too.
        fused: operators are fused before planning; otherwise each ONNX node is one.
    """

    network: str
    precision: str
    parameters: bool
    fused: bool = True

    @property
    def setting(self) -> str:
        """Everything but the network, in words."""
        fusion = "" if self.fused else ", unfused"
        return f"{self.precision}{fusion}, {'with' if self.parameters else 'without'} parameters"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a case before it is planned.

    Attributes:
        nodes: ONNX nodes.
        operators: operators planned, after fusion.
        weights: weight elements.
        largest_bytes: M_R, the largest demand of one operator.
        peak_bytes: M_P, the smallest peak found over all orders.
        peak_bound_bytes: no order has a smaller peak.
        peak_s: seconds it took to find.
        peak_order: the order with that peak, as operator indices.
    """

    case: Case
    nodes: int
    operators: int
    weights: int
    largest_bytes: int
    peak_bytes: int
    peak_bound_bytes: int
    peak_s: float
    peak_order: tuple[int, ...]

    def improved_by(self, earlier: "Facts | None") -> "Facts":
        """With an earlier result's order and bound where they are better."""
        if earlier is None or (earlier.operators, earlier.largest_bytes) != (
            self.operators,
            self.largest_bytes,
        ):
            return self
        best = min(self, earlier, key=lambda facts: facts.peak_bytes)
        bound = max(self.peak_bound_bytes, earlier.peak_bound_bytes)
        return replace(best, peak_bound_bytes=min(bound, best.peak_bytes))

    def budgets(self) -> dict[str, int]:
        """Capacity by name of the budget; M_R alone when it is the minimum peak as well."""
        if self.peak_bytes <= self.largest_bytes:
            return {"M_R": self.largest_bytes}
        mean = (self.largest_bytes + self.peak_bytes) // 2
        return dict(zip(BUDGETS, (self.largest_bytes, mean, self.peak_bytes), strict=True))


@dataclass(frozen=True, slots=True)
class Run:
    """A checked plan of a case.

    Attributes:
        capacity_bytes: scratchpad size.
        planner: registry name of the planner, or name of the baseline.
        value_bytes: non-compulsory bytes, counted from the plan.
        bound_bytes: no plan moves fewer.
        seconds: wall time of the planner, all of it.
        cpu_s: processor time meanwhile, solvers included; other load does not stretch it.
        limit_s: time limit given.
        method: how the plan was found.
        bound_source: what proves the bound.
        solver: solver and version, if one was used.
    """

    case: Case
    capacity_bytes: int
    planner: str
    value_bytes: int
    bound_bytes: int
    seconds: float
    cpu_s: float
    limit_s: float = 0.0
    method: str = ""
    bound_source: str = ""
    solver: str = ""

    @property
    def gap(self) -> float:
        """(value - bound) / value; 0 for a plan without avoidable traffic."""
        return 1 - self.bound_bytes / self.value_bytes if self.value_bytes else 0.0

    @property
    def optimal(self) -> bool:
        """The bound meets the value."""
        return self.bound_bytes >= self.value_bytes

    @property
    def key(self) -> tuple[Case, int, str]:
        """What the run is of."""
        return self.case, self.capacity_bytes, self.planner


@dataclass(frozen=True, slots=True)
class Results:
    """Everything measured so far.

    Attributes:
        environment: (name, value) pairs: machine, versions, date, command.
        facts: one per case.
        runs: one per case, capacity and planner.
    """

    environment: tuple[tuple[str, str], ...] = ()
    facts: tuple[Facts, ...] = ()
    runs: tuple[Run, ...] = ()
    schema_version: int = SCHEMA_VERSION

    def facts_of(self, case: Case) -> Facts | None:
        """Facts of a case, if they are known."""
        return next((facts for facts in self.facts if facts.case == case), None)

    def run_of(self, case: Case, capacity_bytes: int, planner: str) -> Run | None:
        """A run, if it was made."""
        key = case, capacity_bytes, planner
        return next((run for run in self.runs if run.key == key), None)

    def with_facts(self, facts: Facts) -> "Results":
        """With the facts of a case; runs at capacities that are no longer its budgets go."""
        capacities = facts.budgets().values()
        kept = tuple(f for f in self.facts if f.case != facts.case)
        runs = tuple(r for r in self.runs if r.case != facts.case or r.capacity_bytes in capacities)
        return replace(self, facts=(*kept, facts), runs=runs)

    def with_run(self, run: Run) -> "Results":
        """With one more run, which must agree with the others of its case and capacity.

        Raises:
            InternalError: some run's value is below another one's bound, so one of them is wrong.
        """
        kept = tuple(r for r in self.runs if r.key != run.key)
        _agree(r for r in (*kept, run) if r.key[:2] == run.key[:2])
        return replace(self, runs=(*kept, run))

    def save(self, path: Path) -> None:
        """Write the JSON form; the file appears complete or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, msgspec.json.encode(self, order="deterministic"))

    @staticmethod
    def load(path: Path) -> "Results":
        """Read the JSON form; nothing is known when there is no file."""
        if not path.exists():
            return Results()
        return msgspec.json.decode(path.read_bytes(), type=Results)


def _agree(runs: Iterable[Run]) -> None:
    known = tuple(runs)
    lowest = min(known, key=lambda run: run.value_bytes)
    highest = max(known, key=lambda run: run.bound_bytes)
    if lowest.value_bytes < highest.bound_bytes:
        raise InternalError(
            f"{highest.case}: {highest.planner!r} claims that {highest.bound_bytes:,} bytes are "
            f"the least at {highest.capacity_bytes:,}, but {lowest.planner!r} has a plan that "
            f"moves {lowest.value_bytes:,}"
        )
