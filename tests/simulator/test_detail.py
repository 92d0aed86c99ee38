"""Full DRAM mode, interleaved banks and several cores: Numba engine against cycle stepping."""

from hypothesis import given, settings
from tests.simulator.programs import detailed_machines, detailed_programs

from stowplan.ir.program import Program
from stowplan.simulator.engine import run
from stowplan.simulator.machine import Machine
from stowplan.simulator.reference import step_through


@settings(max_examples=150, deadline=None)
@given(detailed_programs(), detailed_machines)
def test_event_driven_equals_cycle_stepping(program: Program, machine: Machine) -> None:
    timing = run(program, machine)
    assert timing == step_through(program, machine)
    assert all(sum(row) == timing.cycles for row in timing.causes)
