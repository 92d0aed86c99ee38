"""Predicted energy of a plan: the simulator's count in its plain DRAM mode, without simulating.

Computation, vector work and the on-chip accesses of operators cost the same under every plan of a
graph; what a plan decides is the bytes that cross the off-chip boundary, each of which is also
written or read on chip once, unless an operator accesses it in DRAM.
"""

from dataclasses import dataclass

from stowplan.ir.graph import Graph
from stowplan.ir.plan import Plan
from stowplan.ir.traffic import Traffic, traffic
from stowplan.passes.problem import PlanningProblem
from stowplan.targets.cost import operator_cost
from stowplan.targets.target import Target


@dataclass(frozen=True, slots=True)
class EnergyModel:
    """What prediction needs of a graph on a target; build one with :func:`energy_model`.

    Attributes:
        constant_pj: energy of all operators, transfers aside.
        moved_pj_per_byte: of a byte moved between DRAM and chip.
        direct_pj_per_byte: of a byte an operator accesses in DRAM.
    """

    constant_pj: float
    moved_pj_per_byte: float
    direct_pj_per_byte: float

    def predict(self, moved: Traffic) -> int:
        """Picojoules of a plan with this traffic."""
        direct = moved.direct_read_bytes + moved.direct_written_bytes
        return self.of_bytes(moved.offchip_bytes - direct, direct)

    def of_bytes(self, moved_bytes: int, direct_bytes: int = 0) -> int:
        """Picojoules when so many bytes are moved, and so many accessed in DRAM."""
        moved = moved_bytes * self.moved_pj_per_byte + direct_bytes * self.direct_pj_per_byte
        return round(self.constant_pj + moved)


def energy_model(graph: Graph, target: Target) -> EnergyModel:
    """Add up what does not depend on the plan."""
    table = target.energy
    constant = 0.0
    for op in graph.operators:
        cost = operator_cost(graph, op, target)
        onchip = sum(size for _, size in (*cost.reads, *cost.writes))
        constant += cost.macs * table.mac_pj + onchip * table.scratchpad_pj_per_byte
        constant += cost.vector_elements * table.vector_pj_per_element
    moved = table.dram_pj_per_byte + table.scratchpad_pj_per_byte
    return EnergyModel(constant, moved, table.dram_pj_per_byte)


def energy_bound(
    problem: PlanningProblem, target: Target, plan: Plan, noncompulsory_bytes: int
) -> int:
    """Picojoules that no plan of the graph undercuts.

    Args:
        problem: the indexed problem.
        target: the machine.
        plan: any valid plan, for the compulsory bytes.
        noncompulsory_bytes: no plan moves fewer beyond the compulsory ones.
    """
    model = energy_model(problem.graph, target)
    if problem.memory.direct_dram:
        # Operators that reach DRAM may read less of an input than this plan loads.
        return model.of_bytes(0)
    compulsory = traffic(problem.graph, plan, problem.memory).compulsory_bytes
    return model.of_bytes(compulsory + noncompulsory_bytes)
