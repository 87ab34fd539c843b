# SPDX-License-Identifier: Apache-2.0
"""``bittwin``: the group of commands, and how their errors become exit codes.

Exit codes: 0 equal or done, 1 differs, 2 bad usage or bad input (one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from bittwin.cli.inspect_command import inspect
from bittwin.cli.kernels_command import kernels
from bittwin.cli.selftest_command import selftest
from bittwin.cli.simulate_command import simulate
from bittwin.cli.verify_command import verify
from bittwin.errors import BittwinError


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from bittwin import __version__

        click.echo(f"bittwin {__version__}")
        context.exit()


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=False,
    invoke_without_command=True,
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version,
    help="Show the version and exit.",
)  # fmt: skip
@click.pass_context
def cli(context: click.Context) -> None:
    """The bit-exact twin of an integer NPU.

    Exit codes: 0 equal, 1 differs, 2 bad usage or bad input.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


cli.add_command(verify)
cli.add_command(simulate)
cli.add_command(inspect)
cli.add_command(kernels)
cli.add_command(selftest)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: arguments without the program's name; those of the process by default.

    Returns:
        The exit code.
    """
    try:
        code = cli.main(
            args=None if argv is None else list(argv), prog_name="bittwin", standalone_mode=False
        )
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        return _fail(error.format_message())
    except BrokenPipeError:
        _silence()
        return 1
    except (BittwinError, OSError) as error:
        return _fail(_text(error))
    except RuntimeError as error:
        if not str(error).startswith("BITTWIN_KERNEL"):
            raise
        return _fail(str(error))  # the variable names a kernel that cannot be had
    return code if isinstance(code, int) else 0


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _fail(message: str) -> int:
    """Say what is wrong in one line."""
    from bittwin.golden.report.tables import harmless

    line = " ".join(message.split())
    click.echo(f"bittwin: error: {harmless(line)}", err=True)
    return 2


def _silence() -> None:
    """Keep Python from complaining about the closed pipe when it exits."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
