"""A sparse integer program, built row by row; far cheaper than expressions of a modelling layer."""

from dataclasses import dataclass, field

from ortools.math_opt import model_pb2
from ortools.math_opt.python import mathopt

Terms = list[tuple[int, float]]
"""(column, coefficient) pairs; a column may repeat."""
INFINITY = float("inf")


@dataclass(slots=True)
class Matrix:
    """Columns and rows so far; minimise. Column :attr:`one` is fixed to one."""

    low: list[float] = field(default_factory=lambda: [1.0])
    high: list[float] = field(default_factory=lambda: [1.0])
    cost: list[float] = field(default_factory=lambda: [0.0])
    integer: list[bool] = field(default_factory=lambda: [False])
    rows: list[dict[int, float]] = field(default_factory=list)
    row_low: list[float] = field(default_factory=list)
    row_high: list[float] = field(default_factory=list)

    @property
    def one(self) -> int:
        """Column fixed to one."""
        return 0

    def column(
        self, low: float = 0.0, high: float = INFINITY, cost: float = 0.0, integer: bool = False
    ) -> int:
        """A new variable."""
        self.low.append(low)
        self.high.append(high)
        self.cost.append(cost)
        self.integer.append(integer)
        return len(self.low) - 1

    def row(self, terms: Terms, low: float, high: float) -> None:
        """``low <= terms <= high``."""
        merged: dict[int, float] = {}
        for column, weight in terms:
            merged[column] = merged.get(column, 0.0) + weight
        self.rows.append(merged)
        self.row_low.append(low)
        self.row_high.append(high)

    def at_least(self, terms: Terms, low: float) -> None:
        """``terms >= low``."""
        self.row(terms, low, INFINITY)

    def at_most(self, terms: Terms, high: float) -> None:
        """``terms <= high``."""
        self.row(terms, -INFINITY, high)

    def equal(self, terms: Terms, value: float) -> None:
        """``terms == value``."""
        self.row(terms, value, value)

    def model(self, name: str) -> mathopt.Model:
        """The program for MathOpt; variable numbers are column numbers."""
        proto = model_pb2.ModelProto(name=name)
        variables, rows = proto.variables, proto.linear_constraints
        variables.ids.extend(range(len(self.low)))
        variables.lower_bounds.extend(self.low)
        variables.upper_bounds.extend(self.high)
        variables.integers.extend(self.integer)
        rows.ids.extend(range(len(self.rows)))
        rows.lower_bounds.extend(self.row_low)
        rows.upper_bounds.extend(self.row_high)
        costs = [(column, cost) for column, cost in enumerate(self.cost) if cost]
        proto.objective.linear_coefficients.ids.extend(column for column, _ in costs)
        proto.objective.linear_coefficients.values.extend(cost for _, cost in costs)
        matrix = proto.linear_constraint_matrix
        for number, row in enumerate(self.rows):
            entries = sorted((column, weight) for column, weight in row.items() if weight)
            matrix.row_ids.extend([number] * len(entries))
            matrix.column_ids.extend(column for column, _ in entries)
            matrix.coefficients.extend(weight for _, weight in entries)
        return mathopt.Model.from_model_proto(proto)
