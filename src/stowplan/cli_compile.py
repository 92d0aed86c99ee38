"""``stowplan compile``: from a model to a checked, simulated plan and its report."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stowplan.cli_options import (
    DimOption,
    EffortOption,
    Format,
    FormatOption,
    ModelArgument,
    Objective,
    ObjectiveOption,
    PassesOption,
    PlannerOption,
    PrecisionOption,
    SeedOption,
    SetOption,
    TargetOption,
    TileOption,
    TileSizeOption,
    Tiling,
    TimeLimitOption,
    TrackWeightsOption,
    VerboseOption,
    WorkersOption,
    dimensions,
)
from stowplan.errors import InfeasiblePlanError

if TYPE_CHECKING:
    from stowplan.api import Compiled, Problem
    from stowplan.cli_progress import LiveLine
    from stowplan.passes.planner import PlanOptions
    from stowplan.recipe import Recipe
    from stowplan.report.data import Summary


def compile_command(
    model: ModelArgument,
    target: TargetOption = "edge-npu",
    planner: PlannerOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Write plan, reports and trace here."),
    ] = None,
    prove: Annotated[
        bool, typer.Option("--prove", help="Execute the plan and compare with ONNX Runtime.")
    ] = False,
    precision: PrecisionOption = None,
    dim: DimOption = None,
    override: SetOption = None,
    track_weights: TrackWeightsOption = False,
    objective: ObjectiveOption = Objective.OFFCHIP,
    time_limit: TimeLimitOption = 10.0,
    seed: SeedOption = 0,
    workers: WorkersOption = 2,
    passes: PassesOption = None,
    tile: TileOption = Tiling.AUTO,
    tile_size: TileSizeOption = None,
    effort: EffortOption = 0,
    verbose: VerboseOption = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Plan MODEL on a target; check, simulate and report the plan.

    Ctrl-C while planning keeps the best plan so far.
    """
    from stowplan.cli_fusion import compile_instance, is_instance_file
    from stowplan.passes.planner import PlanOptions
    from stowplan.recipe import Recipe

    if is_instance_file(model):
        compile_instance(model, out, time_limit, seed, output)
        return
    recipe = Recipe(
        target=target,
        overrides=tuple(override or ()),
        dims=tuple(sorted(dimensions(dim).items())),
        precision=precision,
        passes=passes,
        tile=tile.value,
        track_weights=track_weights,
        tile_sizes=tuple(tile_size or ()),
    )
    options = PlanOptions(
        objective=objective.value,
        time_limit_s=time_limit,
        seed=seed,
        workers=workers,
        track_weights=track_weights,
    )
    if effort:
        recipe = search_live(model, recipe, options, effort)
    run_compile(
        model, recipe, planner, options, out=out, prove=prove, output=output, verbose=verbose
    )


def run_compile(
    model: str,
    recipe: "Recipe",
    planner: str | None,
    options: "PlanOptions",
    *,
    out: Path | None,
    prove: bool,
    output: Format,
    verbose: bool = False,
) -> None:
    """Compile, write the folder and print the summary; a misfit is printed, then raised."""
    from stowplan.api import default_planner, prepare
    from stowplan.cli_output import print_result, warn
    from stowplan.cli_progress import LiveLine
    from stowplan.report.build import misfit_summary
    from stowplan.report.text import summary_lines

    began = time.monotonic()
    with LiveLine() as live:
        live.stage("importing")
        problem = prepare(model, recipe)
        name = planner or default_planner(problem.target, options)
        try:
            compiled = plan_live(problem, name, options, live)
        except InfeasiblePlanError as error:
            subject = problem.subject(time.monotonic() - began)
            summary = misfit_summary(
                subject, name, options.objective, options.track_weights, error.misfit
            )
        else:
            summary = _finish(compiled, out, prove, live)
    warn(summary.warnings)
    print_result(output, summary, summary_lines(summary, verbose))
    if out is not None and summary.status == "ok" and output is Format.TEXT:
        print(f"report       {out / 'report.html'}")
    if summary.status != "ok":
        raise typer.Exit(InfeasiblePlanError.exit_code)


def search_live(model: str, recipe: "Recipe", options: "PlanOptions", effort: int) -> "Recipe":
    """Search for a tiling with the live line shown; Ctrl-C takes the best found so far."""
    from dataclasses import replace

    from stowplan.api import search_tiling
    from stowplan.cli_progress import LiveLine
    from stowplan.interrupt import Interrupt

    with LiveLine() as live, Interrupt() as interrupt:
        live.stage("searching tilings")
        return search_tiling(model, recipe, replace(options, cancelled=interrupt.requested), effort)


def plan_live(
    problem: "Problem", planner: str, options: "PlanOptions", live: "LiveLine"
) -> "Compiled":
    """Plan with the live line fed."""
    from dataclasses import replace

    from stowplan.api import plan_problem

    live.stage(planner)
    return plan_problem(problem, planner, replace(options, on_progress=live.update))


def _finish(compiled: "Compiled", out: Path | None, prove: bool, live: "LiveLine") -> "Summary":
    """Simulate, prove if asked, write the folder."""
    from stowplan.cli_progress import note_compilation

    live.stage("simulating")
    note_compilation(compiled.target, compiled.target.dram.mode)
    compiled.simulate()
    if prove:
        live.stage("proving by execution")
        compiled.prove()
    if out is not None:
        live.stage("writing the report")
        compiled.save(out)
    return compiled.summary
