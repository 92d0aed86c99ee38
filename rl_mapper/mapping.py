"""From a finished play to a plan, and what the plan costs under each model of latency."""

from collections.abc import Sequence
from dataclasses import dataclass

from stowplan.errors import InternalError
from stowplan.ir.plan import DirectAccess, Plan, Proof, Residency, Transfer, TransferKind
from stowplan.passes.assemble import plan_in_order
from stowplan.rl_mapper import game_kernels as kernels
from stowplan.rl_mapper.game import DROP, Game, Instance
from stowplan.simulator.engine import simulate
from stowplan.simulator.lower import lower

OPEN_PROOF = Proof("cycles", 0, 0, method="memory-mapping game", bound_source="")
"""Proof of a plan whose objective has not been evaluated yet."""


def plan_of(game: Game, planner: str = "rl", proof: Proof = OPEN_PROOF) -> Plan:
    """The plan of a finished play.

    Args:
        game: a play in which all is decided.
        planner: registry name of the planner.
        proof: what is known of the objective.
    """
    if not game.done:
        raise InternalError("the play is not finished, so it is no plan yet")
    residencies, transfers = _stays(game)
    return plan_of_stays(game.instance, game.actions, residencies, transfers, proof, planner)


def plan_of_stays(
    instance: Instance,
    actions: kernels.Ints,
    residencies: Sequence[Residency],
    transfers: Sequence[Transfer],
    proof: Proof,
    planner: str,
) -> Plan:
    """The plan with these stays, in the instance's order; what ``actions`` drop is in DRAM."""
    problem = instance.problem
    accesses = [
        DirectAccess(problem.storages[row[kernels.STORAGE]].name, int(row[kernels.STEP]))
        for row, action in zip(instance.rules.decision, actions, strict=True)
        if action == DROP
    ]
    return plan_in_order(
        problem,
        instance.target,
        instance.order,
        residencies,
        transfers,
        accesses,
        proof,
        planner,
    )


def _stays(game: Game) -> tuple[list[Residency], list[Transfer]]:
    storages = game.instance.problem.storages
    residencies, transfers = [], []
    for row in game.state.stay[: game.state.scalar[0, kernels.STAYS]].tolist():
        name = storages[row[kernels.S_STORAGE]].name
        reserved, start = row[kernels.S_RESERVED], row[kernels.S_START]
        address = row[kernels.S_ADDRESS]
        residencies.append(Residency(name, start, row[kernels.S_END], address, reserved))
        if row[kernels.S_LOADED]:
            transfers.append(Transfer(TransferKind.LOAD, name, reserved, start))
        if row[kernels.S_DEADLINE] >= 0:
            issue, deadline = row[kernels.S_ISSUE], row[kernels.S_DEADLINE]
            transfers.append(Transfer(TransferKind.STORE, name, issue, deadline))
    return residencies, transfers


@dataclass(frozen=True, slots=True)
class Latencies:
    """Cycles of one play: as the game counts, and as the simulator does."""

    game_cycles: int
    simulated_cycles: int


def simulated_cycles(instance: Instance, plan: Plan) -> int:
    """Cycles of ``plan`` on the simulated machine."""
    program = lower(instance.problem.graph, plan, instance.target)
    return simulate(program, instance.target).cycles


def latencies(game: Game) -> Latencies:
    """Both latencies of a finished play."""
    return Latencies(game.cycles, simulated_cycles(game.instance, plan_of(game)))
