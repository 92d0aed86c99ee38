"""The ``stowplan`` command. Exit codes: ``0`` ok, ``2`` usage, ``3`` bad model, ``4`` bad target,
``5`` does not fit, ``6`` a check or proof failed, ``70`` a bug in stowplan, ``130`` interrupted.

Results go to stdout, everything else to stderr. Heavy modules are imported by the command that
needs them, so that ``--help`` and completion stay quick.
"""

import sys
from typing import Annotated

import typer

from stowplan.cli_compile import compile_command
from stowplan.cli_info import completion_command, ops_command, targets_command
from stowplan.cli_plan import check_command, prove_command, simulate_command
from stowplan.cli_tools import allocate_command
from stowplan.cli_train import train_command
from stowplan.collector import seldom_collected
from stowplan.errors import InternalError, StowplanError

INTERRUPTED = 130

app = typer.Typer(
    name="stowplan",
    help="Plan, prove and simulate neural networks on accelerators.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=(
        "Exit codes: 0 ok, 2 usage, 3 bad model, 4 bad target, 5 does not fit, "
        "6 a check or proof failed."
    ),
)
app.command("compile")(compile_command)
app.command("simulate")(simulate_command)
app.command("check")(check_command)
app.command("prove")(prove_command)
app.command("targets")(targets_command)
app.command("ops")(ops_command)
app.command("allocate")(allocate_command)
app.command("train")(train_command)
app.command("completion")(completion_command)


def _print_version(asked: bool) -> None:
    if asked:
        from stowplan.version import VERSION

        typer.echo(f"stowplan {VERSION}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; errors of this package become a message and an exit code."""
    try:
        with seldom_collected():
            app()
    except StowplanError as error:
        print(f"{'bug' if isinstance(error, InternalError) else 'error'}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of a pipe went away (`stowplan ops | head`): not an error of ours.
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
