"""The command line: a thin face on the public names and on the views."""

from __future__ import annotations

import io
import sys
from typing import Annotated, Any

import typer

from ..text import printable
from ..versions import own_version
from . import demonstrations, drawing, maps, networks  # noqa: F401  # each registers its commands
from .bars import rich_bars
from .command import COMMANDS, Command
from .terminal import ERRORS, Call, say
from .views import commands_of_views

_UsageError: Any = typer.BadParameter.__base__
"""The base of typer's usage errors. Newer versions of typer contain a copy of click with errors of its own."""


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"optvis {own_version()}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """See what a part of a network looks for."""


def commands() -> list[Command]:
    """All commands: those that are written by hand, and one for each other view."""
    return sorted([*COMMANDS.values(), *commands_of_views()], key=lambda one: one.name)


def app() -> typer.Typer:
    """The commands as an app of typer."""
    made = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]}
    )
    made.callback()(_options)
    for one in commands():
        one.add_to(made)
    return made


def run(arguments: list[str] | None = None) -> int:
    """Run a command.

    Returns:
        0; 2 for an error before the first step, 1 for an error later; 130 after Ctrl-C, 143 after SIGTERM.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    call = Call(arguments)
    with call.entered(), rich_bars():
        code = _code(call, arguments)
        try:
            if call.json:
                call.print_json(code)
        except OSError as error:  # as when the reader of a pipe has left
            return call.report(error)
        return code


def _code(call: Call, arguments: list[str]) -> int:
    try:
        code = app()(arguments, standalone_mode=False, prog_name="optvis")
        sys.stdout.flush()
        if call.interrupts.code is not None:  # some versions of typer catch KeyboardInterrupt
            return call.report_interrupt()
        return code if isinstance(code, int) else 0
    except _UsageError as error:
        usage = io.StringIO()
        error.show(usage)
        print("\n".join(map(printable, usage.getvalue().splitlines())), file=sys.stderr)
        call.found["error"] = error.format_message()
        return 2
    except SystemExit as done:  # of typer's completion
        return int(done.code or 0)
    except (typer.Abort, KeyboardInterrupt):
        return call.report_interrupt()
    except ERRORS as error:
        return call.report(error)
