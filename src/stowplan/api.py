"""The Python interface: from a model to a plan that is checked, simulated and proved."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from stowplan.collector import seldom_collected
from stowplan.errors import InternalError, UsageError
from stowplan.interrupt import Interrupt
from stowplan.ir.check_plan import require_valid
from stowplan.ir.graph import Graph
from stowplan.ir.plan import Plan
from stowplan.ir.traffic import traffic
from stowplan.passes.planner import PlanOptions, Progress
from stowplan.recipe import Recipe, model_path
from stowplan.targets.load import DEFAULT_TARGET, load_target
from stowplan.targets.target import DramMode, Target

if TYPE_CHECKING:
    from stowplan.ir.onnx_import import ImportedModel
    from stowplan.ir.program import Program
    from stowplan.report.build import Subject
    from stowplan.report.data import Report, Summary
    from stowplan.simulator.execute import ProofResult
    from stowplan.simulator.result import SimResult

DEFAULT_TIME_LIMIT_S = 10.0
PREFERRED_PLANNERS = ("exact", "lns", "greedy")


@dataclass(frozen=True, slots=True)
class Problem:
    """A model made ready to plan.

    Attributes:
        model: the model as the caller named it.
        graph: the graph after the passes.
        target: the machine.
        recipe: how graph and target were made.
        imported: the model's weights and kernels; None when a graph was given.
        wall_s: seconds it took.
    """

    model: str
    graph: Graph
    target: Target
    recipe: Recipe
    imported: "ImportedModel | None"
    wall_s: float

    def subject(self, wall_s: float) -> "Subject":
        """What a report says of the problem after ``wall_s`` seconds."""
        from stowplan.report.build import Subject
        from stowplan.targets.support import cost_warnings

        imported = self.imported.warnings if self.imported is not None else ()
        return Subject(
            model=self.model,
            graph=self.graph,
            target=self.target,
            precision=self.recipe.precision,
            warnings=(*imported, *cost_warnings(self.graph)),
            wall_s=wall_s,
        )


@seldom_collected()
def compile(
    model: str | Path | Graph,
    target: str | Path | Target = DEFAULT_TARGET,
    planner: str | None = None,
    *,
    objective: str = "offchip",
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
    precision: str | None = None,
    dims: Mapping[str, int] | None = None,
    overrides: Sequence[str] = (),
    passes: str | None = None,
    tile: str = "auto",
    tile_sizes: Sequence[str] = (),
    effort: int = 0,
    track_weights: bool = False,
    seed: int = 0,
    workers: int = 2,
    settings: Sequence[tuple[str, str]] = (),
    on_progress: Callable[[Progress], None] | None = None,
) -> "Compiled":
    """Plan ``model`` on ``target`` and check the plan.

    Ctrl-C while planning keeps the best plan so far; a second one aborts.

    Args:
        model: ONNX file, ``light:NAME`` for a network shipped with onnx, or a graph, which is
            planned as it is unless ``passes`` or ``precision`` are given.
        target: name of a shipped target, a target file, or a target.
        planner: registry name; None takes the best registered.
        objective: ``offchip``, ``peak``, ``cycles`` or ``energy``.
        time_limit_s: planning time after which the best plan so far is kept.
        precision: plan a float model at the sizes of this element type, ``int8``.
        dims: sizes of symbolic dimensions.
        overrides: ``field=value`` changes to the target, ``scratchpad.size=256KiB``.
        passes: pipeline text instead of the usual passes; excludes ``precision``.
        tile: ``auto`` tiles a model file some operator of which does not fit, ``always`` tiles
            whatever gains by it, ``never`` leaves operators whole. Not with ``passes``.
        tile_sizes: the most that tiles of single operators may have, ``conv1:rows=8,channels=32``;
            a pattern such as ``layer1*`` names several. They are tiled even if everything fits.
        effort: 0 tiles by a cost model, 1 to 3 search longer for better tilings of a model file.
        track_weights: plan weights as scratchpad storages rather than stream them.
        seed: random seed.
        workers: threads a solver may use.
        settings: planner-specific (name, value) switches.
        on_progress: called with the state of the search now and then.

    Raises:
        UsageError: unknown planner, objective, precision or pass.
        ModelError: the model cannot be read or has unresolved shapes.
        TargetError: no such target, or a mistake in it.
        InfeasiblePlanError: some operator does not fit; carries the report.
    """
    recipe = Recipe(
        target=target.name if isinstance(target, Target) else str(target),
        overrides=tuple(overrides),
        dims=tuple(sorted((dims or {}).items())),
        precision=precision,
        passes=passes,
        tile=tile,
        track_weights=track_weights,
        tile_sizes=tuple(tile_sizes),
    )
    options = PlanOptions(
        objective=objective,
        time_limit_s=time_limit_s,
        seed=seed,
        workers=workers,
        track_weights=track_weights,
        settings=tuple(settings),
        on_progress=on_progress or (lambda progress: None),
    )
    machine = target if isinstance(target, Target) else None
    if effort:
        recipe = search_tiling(model, recipe, options, effort, machine)
    return plan_problem(prepare(model, recipe, machine), planner, options)


@seldom_collected()
def search_tiling(
    model: str | Path | Graph,
    recipe: Recipe,
    options: PlanOptions,
    effort: int,
    target: Target | None = None,
) -> Recipe:
    """The recipe with the best tiling that a search finds; as it is where nothing has to be cut.

    Args:
        model: a model file, as in :func:`compile`.
        recipe: the choices to make on the way.
        options: the objective that tilings are judged by, and whether to stop.
        effort: 1 to 3.
        target: the machine, where the recipe's target is not to be loaded.

    Raises:
        UsageError: there is nothing to search: a graph, own passes, or no tiling at all.
    """
    from stowplan.ir.onnx_import import import_model
    from stowplan.passes.tile_choice import EFFORTS, Choice, choose_tiling

    if not 0 <= effort < EFFORTS:
        raise UsageError(f"effort {effort}: choose 0 to {EFFORTS - 1}")
    if isinstance(model, Graph) or recipe.passes is not None or recipe.tile == "never":
        raise UsageError(
            "effort searches tilings of a model file: not of a graph, and not with passes of your "
            "own or without tiling"
        )
    if recipe.tile_sizes:
        raise UsageError("effort searches tile sizes: give either, not both")
    machine = target or load_target(recipe.target, recipe.overrides)
    imported = import_model(model_path(model), dims=dict(recipe.dims)).graph
    if recipe.tile == "auto" and _fits_whole(imported, recipe, machine):
        return recipe
    choice = Choice(
        target=machine,
        precision=recipe.precision,
        objective=options.objective,
        track_weights=recipe.track_weights,
        effort=effort,
        cancelled=options.cancelled,
    )
    return replace(recipe, groups=choose_tiling(imported, choice))


@seldom_collected()
def prepare(model: str | Path | Graph, recipe: Recipe, target: Target | None = None) -> Problem:
    """Import a model, run the passes and load the target.

    Args:
        model: as in :func:`compile`.
        recipe: the choices to make on the way.
        target: the machine, where the recipe's target is not to be loaded.
    """
    began = perf_counter()
    target = target or load_target(recipe.target, recipe.overrides)
    imported: ImportedModel | None = None
    if isinstance(model, Graph):
        graph, name = model, model.name
    else:
        from stowplan.ir.onnx_import import import_model

        imported = import_model(model_path(model), dims=dict(recipe.dims))
        graph, name = imported.graph, str(model)
    return Problem(
        model=name,
        graph=_run_passes(graph, recipe, target, usual=imported is not None),
        target=target,
        recipe=recipe,
        imported=imported,
        wall_s=perf_counter() - began,
    )


@seldom_collected()
def plan_problem(problem: Problem, planner: str | None, options: PlanOptions) -> "Compiled":
    """Plan a prepared problem and check the plan.

    Raises:
        InfeasiblePlanError: some operator does not fit.
        ProofError: the planner returned a plan that breaks a rule (a bug in the planner).
    """
    from stowplan.planners import get_planner

    began = perf_counter()
    name = planner or default_planner(problem.target, options)
    with Interrupt() as interrupt:
        asked = options.cancelled
        options = replace(options, cancelled=lambda: asked() or interrupt.requested())
        plan = get_planner(name)(problem.graph, problem.target, options)
    plan = replace(plan, origin=problem.recipe.origin(problem.model))
    return _checked(problem, plan, perf_counter() - began)


def reopen(model: str | Path | Graph, plan: Plan, target: Target | None = None) -> "Compiled":
    """Make the graph of a saved plan again and check the plan against it.

    Raises:
        UsageError: the plan is of another model or was made for another target.
        ProofError: the plan breaks a rule.
    """
    return _checked(rebuild(model, plan, target), plan, 0.0)


def rebuild(model: str | Path | Graph, plan: Plan, target: Target | None = None) -> Problem:
    """Make the problem of a saved plan again.

    Raises:
        UsageError: the plan is of another model or was made for another target.
    """
    problem = prepare(model, Recipe.from_plan(plan), target)
    # The target first: tiles depend on it, so another target makes another graph too.
    if plan.target_hash != problem.target.hash:
        raise UsageError(
            f"the plan was made for another target: its hash is {plan.target_hash[:12]}, and "
            f"{problem.target.name} has {problem.target.hash[:12]}; plan the model again with "
            "`stowplan compile`"
        )
    if plan.model_hash != problem.graph.hash:
        raise UsageError(
            f"the plan is of another model: it was made for graph {plan.model_hash[:12]}, and "
            f"{problem.model} makes graph {problem.graph.hash[:12]}; plan this model with "
            "`stowplan compile`"
        )
    return problem


def default_planner(target: Target, options: PlanOptions) -> str:
    """Name of the planner used when none is asked for: the best that knows what is asked.

    The branch and bound of ``exact`` knows neither energy nor weights that stream or not depending
    on the order.
    """
    from stowplan.planners import planner_names

    keeps = target.memory_spec(options.track_weights).keeps_weights
    unknown = {"exact"} if keeps or options.objective == "energy" else set[str]()
    installed = {*planner_names()} - unknown
    return next(name for name in PREFERRED_PLANNERS if name in installed)


@dataclass
class Compiled:
    """A model with its checked plan. Simulation and proof run on demand and are remembered.

    Attributes:
        problem: graph and target planned for.
        plan: the plan; no rule is broken.
        wall_s: seconds spent so far, from reading the model on.
    """

    problem: Problem
    plan: Plan
    wall_s: float
    _simulation: "SimResult | None" = field(default=None, repr=False)
    _proof: "ProofResult | None" = field(default=None, repr=False)

    @property
    def graph(self) -> Graph:
        """The planned graph."""
        return self.problem.graph

    @property
    def target(self) -> Target:
        """The machine."""
        return self.problem.target

    @cached_property
    def program(self) -> "Program":
        """The plan as command queues of the machine's engines."""
        from stowplan.simulator.lower import lower

        return lower(self.graph, self.plan, self.target)

    def simulate(self, dram: "DramMode | None" = None) -> "SimResult":
        """Run the plan on the simulated machine.

        Args:
            dram: ``bandwidth`` or ``full``; None repeats the last run's, at first the target's.

        Raises:
            TargetError: the target's DRAM device does not exist or is too small; full mode only.
        """
        last = self._simulation
        if last is None or dram not in (None, last.mode):
            from stowplan.simulator.engine import simulate

            began = perf_counter()
            last = self._simulation = simulate(self.program, self.target, dram)
            self.wall_s += perf_counter() - began
        return last

    def prove(self, seed: int = 0) -> "ProofResult":
        """Execute the plan on real numbers and compare with ONNX Runtime.

        Args:
            seed: of the random inputs.

        Raises:
            UsageError: the model was given as a graph, or onnxruntime is not installed.
            ProofError: the plan computes other numbers.
        """
        from stowplan.simulator.execute import prove

        if self.problem.imported is None:
            raise UsageError("a graph alone cannot be proved: compile the model's file instead")
        began = perf_counter()
        memory = self.target.memory_spec(self.plan.track_weights)
        result = prove(self.problem.imported, self.graph, self.plan, memory, seed=seed)
        self.wall_s += perf_counter() - began
        result.require()
        self._proof = result
        return result

    def report(self) -> "Report":
        """Everything there is to show; simulates first if that has not been done."""
        from stowplan.report.activity import activity_of
        from stowplan.report.build import build_report, execution

        measured = activity_of(self.program, self.simulate())
        proof = execution(self._proof) if self._proof is not None else None
        return build_report(self.problem.subject(self.wall_s), self.plan, measured, proof)

    @property
    def summary(self) -> "Summary":
        """The figures of this compilation, simulation included."""
        return self.report().summary

    def save(self, folder: str | Path) -> Path:
        """Write plan, reports, trace and graph into ``folder``, which is created if need be."""
        from stowplan.report.folder import write_folder

        return write_folder(Path(folder), self.graph, self.plan, self.report())


def _run_passes(graph: Graph, recipe: Recipe, target: Target, usual: bool) -> Graph:
    """Run the recipe's passes; where it names none, the usual ones if ``usual``, and tiling."""
    from stowplan.passes.pipeline import default_pipeline, print_pass, run_pipeline
    from stowplan.passes.tile_choice import tile_groups
    from stowplan.passes.tiling.sizes import parse_rule, print_rules
    from stowplan.passes.tiling.tile import Tile, fits

    if recipe.passes is not None and recipe.precision is not None:
        raise UsageError(
            "precision and passes exclude each other: put "
            f"precision{{dtype={recipe.precision}}} where it belongs among the passes"
        )
    if recipe.passes is not None:
        return run_pipeline(graph, recipe.passes)
    memory = target.memory_spec(recipe.track_weights)
    sizes = print_rules(map(parse_rule, recipe.tile_sizes))
    tile = replace(Tile.of(target, recipe.track_weights), sizes=sizes)
    if usual and recipe.groups:
        found = tile_groups(target, recipe.groups, recipe.track_weights)
        return run_pipeline(graph, default_pipeline(recipe.precision, found))
    if usual:
        if recipe.tile != "always" and not sizes:
            whole = _whole(graph, recipe, target)
            if recipe.tile == "never" or fits(whole, memory):
                return whole
        tiled = run_pipeline(graph, default_pipeline(recipe.precision, tile))
        # Tiles dissolve views that make large storages; where nothing is cut, others see to that.
        cut = any(op.parent for op in tiled.operators)
        return tiled if cut else _whole(graph, recipe, target)
    steps = [] if recipe.precision is None else [f"precision{{dtype={recipe.precision}}}"]
    if recipe.tile == "always" or sizes:
        steps.append(print_pass(tile))
    return run_pipeline(graph, ",".join(steps))


def _fits_whole(graph: Graph, recipe: Recipe, target: Target) -> bool:
    """Whether every operator fits without tiling."""
    from stowplan.passes.tiling.tile import fits

    return fits(_whole(graph, recipe, target), target.memory_spec(recipe.track_weights))


def _whole(graph: Graph, recipe: Recipe, target: Target) -> Graph:
    """The usual passes without tiling, with as many views as help under the target's memory."""
    from stowplan.passes.choose_views import least_traffic
    from stowplan.passes.elide_views import ElideViews
    from stowplan.passes.pipeline import default_pipeline, run_pipeline

    choices = (ElideViews(), ElideViews(concat=False, split=False))
    variants = (
        run_pipeline(graph, default_pipeline(recipe.precision, views=views)) for views in choices
    )
    return least_traffic(variants, target, recipe.track_weights)


def _checked(problem: Problem, plan: Plan, spent_s: float) -> Compiled:
    """Hold a plan to the independent checker and its claim to the independent count."""
    began = perf_counter()
    memory = problem.target.memory_spec(plan.track_weights)
    require_valid(problem.graph, plan, memory)
    counted = traffic(problem.graph, plan, memory).noncompulsory_bytes
    if plan.proof.objective == "offchip" and plan.proof.value != counted:
        raise InternalError(
            f"planner {plan.planner!r} claims {plan.proof.value:,} non-compulsory bytes, its plan "
            f"moves {counted:,}: please report the model and the command"
        )
    return Compiled(problem, plan, problem.wall_s + spent_s + perf_counter() - began)
