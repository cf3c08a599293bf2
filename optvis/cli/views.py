"""Commands made from views: arguments and options from the signature of each, their help from its docstring."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from ..files import check_path
from ..result import PICTURES, Result
from ..view import VIEWS, Context, Kind, View
from . import options as opt
from .command import COMMANDS, Command, epilog
from .pictures import as_data, as_pictures, named
from .terminal import current, write
from .values import Value, value_of

EXAMPLES = {"layers": "blocks/3/2", "layer": "blocks/3/2", "channels": "0-3", "objective": "blocks/3/2:4"}
"""What examples say for options that a view cannot do without."""

DATA = "A folder of pictures with a sub-folder for each class; or files, folders and patterns."


def commands_of_views() -> Iterator[Command]:
    """A command for each view that has none written by hand."""
    for kind in VIEWS.values():
        if kind.name not in COMMANDS:
            yield Command(kind.name, function_of(kind), epilog(*_examples(kind)))


def function_of(kind: Kind) -> Callable[..., int]:
    """The function of a view's command, with the signature that typer reads."""
    values = {name: found for name, one in kind.options.items() if (found := value_of(kind, one)) is not None}

    def draw(given: opt.Given, out: Path, **texts: Any) -> int:
        return _draw(kind, values, given, out, texts)

    parameters = [_parameter("given", opt.Given), *_sources(kind)]
    parameters += [_parameter(name, one.annotation, one.default) for name, one in values.items()]
    if "seed" in kind.parameters or kind.free:
        parameters.append(_parameter("seed", opt.Seed, 0))
    several = "; {name} in it stands for the picture's name, for a file for each" if _images(kind) else ""
    place = typer.Option("--out", "-o", help=f"File to write: {' '.join(_endings(kind))}{several}.")
    parameters.append(_parameter("out", Annotated[Path, place], Path(f"{kind.name}.png")))
    draw.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    draw.__annotations__ = {one.name: one.annotation for one in parameters}
    draw.__doc__ = kind.summary.replace("``", "")
    return draw


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _images(kind: Kind) -> str | None:
    """The name of the view's parameter of images, if it has one."""
    return next((name for name in ("images", "image") if name in kind.parameters), None)


def _sources(kind: Kind) -> list[inspect.Parameter]:
    """The parameters for images and data: an argument for what the view needs first, options for the rest."""
    helps = {"images": opt.IMAGES, "data": DATA}
    wanted = {"images": _images(kind), "data": "data" if "data" in kind.parameters else None}
    there = [name for name, parameter in wanted.items() if parameter is not None]
    first = next((name for name in there if wanted[name] in kind.needs), None)
    found = []
    for name in there:
        shown: Any = typer.Option(f"--{name}", help=f"{helps[name]} May be repeated.")
        if name == first:
            metavar = "IMAGE..." if name == "images" else "DATA..."
            shown = typer.Argument(help=helps[name], metavar=metavar, show_default=False)
        found.append(_parameter(name, Annotated[list[str] | None, shown], None))
    return found


def _endings(kind: Kind) -> tuple[str, ...]:
    """The endings of the files that the view's result can be saved to."""
    try:
        result = get_type_hints(kind.function).get("return")
    except NameError:  # a name that its module imports for type checkers alone
        result = None
    return result.endings if isinstance(result, type) and issubclass(result, Result) else (*PICTURES, ".json")


def _examples(kind: Kind) -> list[str]:
    """Commands that run: the smallest one, and one that writes a file for each picture."""
    words = [f"optvis {kind.name} efficientnet_lite0"]
    words += {"data": ["data/"]}.get(next(iter(kind.needs), ""), ["cat.jpg"] if kind.needs else [])
    for name, one in kind.options.items():
        if one.default is one.empty:
            words.append(f"--{name.replace('_', '-')} {EXAMPLES.get(name, '1')}")
    found = [" ".join([*words, f"-o {kind.name}.png"])]
    if _images(kind) in kind.needs:
        found.append(" ".join([*words, f"-o '{{name}}-{kind.name}.png'"]).replace("cat.jpg", "photos/"))
    return found


def _draw(kind: Kind, values: dict[str, Value], given: opt.Given, out: Path, texts: dict[str, Any]) -> int:
    """Draw a view of all images, or one of each, and write it."""
    chosen = {name: one.convert(texts[name]) for name, one in values.items() if texts[name] not in (None, [])}
    images, data, labels = None, None, None
    if "images" in texts and (texts["images"] or _images(kind) in kind.needs):
        images = as_pictures(texts["images"])
    if "data" in texts and (texts["data"] or "data" in kind.needs):
        data, labels = as_data(texts["data"])
    if "{name}" in str(out) and images is None:
        raise ValueError(f"{str(out)!r}: {{name}} is for commands that draw given pictures")
    each = "{name}" in str(out)
    outs = [check_path(one, _endings(kind)) for one in (named(out, images or ()) if each else [out])]
    view = View(kind.name, **chosen)
    context = {"data": data, "labels": labels, "seed": texts.get("seed", 0), **given.normalisation}
    network = given.on_device()
    current().stage = "drawing"
    code = 0
    for one, files in zip(outs, [[file] for file in images or ()] if each else [images], strict=True):
        result = view(network, Context(images=files, verbose=current().verbose, **context))
        code = write(result, one, given.origin) or code
        if code:
            break
    return code
