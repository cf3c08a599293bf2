"""What a function needs to be a command: groups of options become its options, and every command has some more.

A parameter whose type is a dataclass stands for the fields of it, each an argument or option of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer
from typer.models import ArgumentInfo

from .settings import NOT_SETTINGS, read_into, write_settings
from .terminal import current

Function = TypeVar("Function", bound=Callable[..., Any])


def _read(ctx: typer.Context, file: Path | None) -> Path | None:
    if file is not None:
        read_into(ctx, file)
    return file


@dataclass
class Common:
    """The options of every command."""

    settings: Annotated[
        Path | None,
        typer.Option(
            callback=_read, is_eager=True, help="File .toml of arguments and options; those given here come first."
        ),
    ] = None
    write_settings: Annotated[
        Path | None, typer.Option(help="File .toml to write the arguments and options of this call to.")
    ] = None
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; everything else goes to the standard error.")
    ] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.")] = False


@dataclass
class Opening:
    """The option of commands that write files."""

    open: Annotated[bool, typer.Option("--open", help="Open what was written in the system's viewer.")] = False


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        name: as typed.
        function: its parameters have the types that typer reads, or are dataclasses of such.
        epilog: examples, printed at the end of its help.
    """

    name: str
    function: Callable[..., int | None]
    epilog: str

    def add_to(self, app: typer.Typer) -> None:
        """Make it a command of an app."""
        app.command(self.name, help=inspect.getdoc(self.function), epilog=self.epilog)(_called(self.function))


COMMANDS: dict[str, Command] = {}


def command(*examples: str, name: str | None = None) -> Callable[[Function], Function]:
    """Register a function as a command.

    Args:
        examples: of its use, for its help.
        name: as typed; by default that of the function.
    """

    def register(function: Function) -> Function:
        called = name or function.__name__
        COMMANDS[called] = Command(called, function, epilog(*examples))
        return function

    return register


def epilog(*examples: str) -> str:
    """The end of a command's help."""
    return f"Example{'s' if len(examples) > 1 else ''}: {' | '.join(examples)}"


def _called(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """What typer calls: a function of all single arguments and options."""
    hints = get_type_hints(function, include_extras=True)
    writes = not {"out", "folder"}.isdisjoint(inspect.signature(function).parameters)
    groups = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    own = {name: one for name, one in inspect.signature(function).parameters.items() if name not in groups}
    mine = [_parameter(name, hints[name], one.default) for name, one in own.items()]
    shared = [one for group in [*groups.values(), *([Opening] if writes else []), Common] for one in _fields(group)]
    parameters = [one for one in [*shared, *mine] if _is_argument(one)]  # the network comes first
    parameters += [one for one in [*mine, *shared] if not _is_argument(one)]

    def call(ctx: typer.Context, **values: Any) -> int | None:
        stated = current()
        stated.quiet, stated.open = values["quiet"], values.get("open", False)
        with stated.printing():
            listed = ctx.default_map or {}  # click does not look into it for arguments of any number
            kept = {name: one or listed.get(name, one) for name, one in values.items() if name not in NOT_SETTINGS}
            if values["write_settings"] is not None:
                write_settings(values["write_settings"], ctx, kept)
            return function(**_grouped(kept, groups))

    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    call.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in (context, *parameters)}
    return call


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _fields(group: Any) -> list[inspect.Parameter]:
    """A parameter for each field of a dataclass."""
    types = get_type_hints(group, include_extras=True)
    given = {one.name: inspect.Parameter.empty if one.default is MISSING else one.default for one in fields(group)}
    return [_parameter(name, types[name], default) for name, default in given.items()]


def _is_argument(parameter: inspect.Parameter) -> bool:
    return any(isinstance(one, ArgumentInfo) for one in get_args(parameter.annotation))


def _grouped(values: Mapping[str, Any], groups: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with those of each group in an object of it."""
    left, made = dict(values), {}
    for name, group in groups.items():
        made[name] = group(**{one.name: left.pop(one.name) for one in fields(group)})
    return {**left, **made}
