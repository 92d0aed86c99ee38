"""``stowplan train``: train the networks of planner ``rl``."""

from pathlib import Path
from typing import Annotated

import typer


def train_command(
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder of state, metrics and weights; resumes."),
    ] = Path("training"),
    games: Annotated[int, typer.Option(min=1, help="Training games.")] = 300,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds after imitation.")] = 5,
    evaluations: Annotated[int, typer.Option(min=1, help="Local search per game.")] = 400,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the plays per round.")] = 6,
    seed: Annotated[int, typer.Option(min=0, max=900_000, help="Random seed.")] = 0,
    dynamics: Annotated[
        str,
        typer.Option(
            help="exact: policy for search on the game; learned: model of the game; "
            "pooled: proposals to local search."
        ),
    ] = "exact",
    imitate: Annotated[
        str,
        typer.Option(help="Plays that pooled begins with: program, search or heuristic."),
    ] = "program",
) -> None:
    """Train the memory mapper on synthetic graphs: imitation, then expert iteration or self-play.

    Needs the extra train; planning with the shipped weights does not.
    """
    from stowplan.mapping_play import program_play
    from stowplan.rl_mapper.train import train
    from stowplan.rl_mapper.train_run import TrainOptions

    def show(metrics: dict[str, float]) -> None:
        typer.echo("  ".join(f"{name} {value:.4g}" for name, value in metrics.items()), err=True)

    options = TrainOptions(
        out,
        games,
        rounds,
        evaluations,
        epochs,
        seed,
        dynamics,
        imitate,
        program_play,
        on_epoch=show,
    )
    typer.echo(str(train(options)))
