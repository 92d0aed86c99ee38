"""``stowplan simulate``, ``check`` and ``prove``: a saved plan against its model."""

from pathlib import Path
from typing import Annotated

import typer

from stowplan.cli_compile import plan_live
from stowplan.cli_options import (
    DimOption,
    Dram,
    DramOption,
    Format,
    FormatOption,
    ModelArgument,
    PlanArgument,
    PlannerOption,
    PrecisionOption,
    SeedOption,
    SetOption,
    TargetOption,
    TimeLimitOption,
    TrackWeightsOption,
    dimensions,
)
from stowplan.errors import ProofError, UsageError


def simulate_command(
    model: ModelArgument,
    plan: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PLAN]",
            help="plan.json of a compilation; a pipeline can do without.",
            show_default=False,
        ),
    ] = None,
    dram: DramOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Write plan, reports and trace there."),
    ] = None,
    pipeline: Annotated[
        bool,
        typer.Option("--pipeline", help="Run operators at once, joined by FIFOs, instead."),
    ] = False,
    first: Annotated[
        str | None, typer.Option("--first", metavar="OPERATOR", help="First one of the pipeline.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--last", metavar="OPERATOR", help="Last one of the pipeline.")
    ] = None,
    depth: Annotated[
        str,
        typer.Option(
            "--depth",
            help="Smallest FIFOs for full 'throughput' or for 'progress', or tokens in each.",
        ),
    ] = "throughput",
    fifo: Annotated[
        list[str] | None, typer.Option("--fifo", metavar="NAME=DEPTH", help="Depth of one FIFO.")
    ] = None,
    inferences: Annotated[
        int, typer.Option("--inferences", help="Inferences that follow each other.")
    ] = 1,
    target: TargetOption = "edge-npu",
    precision: PrecisionOption = None,
    dim: DimOption = None,
    override: SetOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Simulate PLAN of MODEL on the target it was made for.

    With --pipeline the operators, or those from --first to --last, run at once
    on units of their own, and tensors pass between them through bounded FIFOs.
    Without PLAN, MODEL is taken as it is imported for --target. Exit code 6 if
    the pipeline deadlocks.
    """
    if pipeline:
        from stowplan.cli_pipeline import run_pipeline_command
        from stowplan.recipe import Recipe

        recipe = Recipe(
            target=target,
            overrides=tuple(override or ()),
            dims=tuple(sorted(dimensions(dim).items())),
            precision=precision,
            tile="never",
        )
        bounds = (first, last)
        run_pipeline_command(model, plan or recipe, bounds, depth, fifo or (), inferences, output)
        return
    if plan is None:
        raise UsageError("simulate needs the PLAN of a compilation, or --pipeline")
    _simulate_plan(model, plan, dram, out, output)


def _simulate_plan(
    model: str, plan: Path, dram: Dram | None, out: Path | None, output: Format
) -> None:
    import msgspec

    from stowplan.api import reopen
    from stowplan.cli_output import print_result
    from stowplan.cli_progress import note_compilation
    from stowplan.ir.plan import Plan
    from stowplan.report.simulation import simulation_lines, simulation_of
    from stowplan.report.text import summary_lines

    compiled = reopen(model, Plan.load(plan))
    mode = dram.value if dram else compiled.target.dram.mode
    note_compilation(compiled.target, mode)
    simulation = simulation_of(compiled.simulate(mode))
    summary = compiled.summary
    result = msgspec.to_builtins(summary) | {"simulation": simulation}
    lines = (*summary_lines(summary), *simulation_lines(simulation))
    if out is not None:
        compiled.save(out)
        lines = (*lines, f"report       {out / 'report.html'}")
    print_result(output, result, lines)


def check_command(
    model: ModelArgument, plan: PlanArgument, output: FormatOption = Format.TEXT
) -> None:
    """List every rule that PLAN of MODEL breaks."""
    from stowplan.api import rebuild
    from stowplan.cli_output import print_result
    from stowplan.ir.check_plan import check_plan
    from stowplan.ir.plan import Plan

    read = Plan.load(plan)
    problem = rebuild(model, read)
    memory = problem.target.memory_spec(read.track_weights)
    found = check_plan(problem.graph, read, memory)
    result = {
        "status": "violations" if found else "ok",
        "model": model,
        "plan": str(plan),
        "violations": found,
    }
    lines = [f"{violation.check}: {violation.message}" for violation in found]
    verdict = f"{len(found)} violations" if found else "no violation"
    print_result(output, result, [*lines, f"{plan}: {verdict}"])
    if found:
        raise typer.Exit(ProofError.exit_code)


def prove_command(
    model: ModelArgument,
    plan: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PLAN]",
            help="plan.json of a compilation; without it the model is planned first.",
            show_default=False,
        ),
    ] = None,
    target: TargetOption = "edge-npu",
    planner: PlannerOption = None,
    precision: PrecisionOption = None,
    dim: DimOption = None,
    override: SetOption = None,
    track_weights: TrackWeightsOption = False,
    time_limit: TimeLimitOption = 10.0,
    seed: SeedOption = 0,
    output: FormatOption = Format.TEXT,
) -> None:
    """Execute a plan of MODEL and compare with ONNX Runtime.

    Every resident byte lives in one scratchpad buffer at its planned
    address. The options apply where no PLAN is given; a PLAN knows how it was made.
    """
    from stowplan.api import default_planner, prepare, reopen
    from stowplan.cli_output import print_result
    from stowplan.cli_progress import LiveLine
    from stowplan.ir.plan import Plan
    from stowplan.passes.planner import PlanOptions
    from stowplan.recipe import Recipe
    from stowplan.report.build import execution
    from stowplan.report.text import execution_line

    with LiveLine() as live:
        live.stage("importing")
        if plan is not None:
            compiled = reopen(model, Plan.load(plan))
        else:
            recipe = Recipe(
                target=target,
                overrides=tuple(override or ()),
                dims=tuple(sorted(dimensions(dim).items())),
                precision=precision,
                track_weights=track_weights,
            )
            options = PlanOptions(time_limit_s=time_limit, seed=seed, track_weights=track_weights)
            problem = prepare(model, recipe)
            name = planner or default_planner(problem.target, options)
            compiled = plan_live(problem, name, options, live)
        live.stage("proving by execution")
        proof = compiled.prove(seed)
    result = {"status": "ok", "model": model, "planner": compiled.plan.planner, "proof": proof}
    print_result(output, result, [f"{model}: {execution_line(execution(proof))}"])
