"""Options of views on the command line: their types from annotations, and texts converted to these types."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from ..objectives import channel_of
from ..view import Kind
from .texts import as_floats, as_names, as_numbers, as_numbers_or_names, as_size

_LISTS = (Sequence, Iterable, list, tuple)


@dataclass(frozen=True)
class Value:
    """An option of a view.

    Attributes:
        annotation: for typer: the type of the text, and its help.
        default: of the option: the view's own if typer can show it; ``None``, which leaves the view its own; or empty.
        convert: from the text or texts to the view's argument.
    """

    annotation: Any
    default: Any
    convert: Callable[[Any], Any]


def value_of(kind: Kind, parameter: inspect.Parameter) -> Value | None:
    """The option of a view's parameter; ``None`` if no text can stand for it and the view has a default."""
    name, needed = parameter.name, parameter.default is parameter.empty
    found = _converter(name, _alternatives(kind, parameter))
    if found is None and not needed:
        return None
    typed, convert = found or (str, str)
    shows = needed or typed in (bool, int, float) or (typed is str and isinstance(parameter.default, str))
    default = parameter.default if shows else None
    spelling = f"--{name.rstrip('_').replace('_', '-')}"
    shown = typer.Option(
        f"{spelling}/--no-{spelling[2:]}" if typed is bool else spelling,
        help=_help(kind, name, typed is list),
        show_default=_shown(parameter, default),
    )
    text: Any = list[str] if typed is list else typed
    return Value(Annotated[text if default is not None else text | None, shown], default, convert)


def _shown(parameter: inspect.Parameter, default: Any) -> Any:
    """What the help shows as the default: False for nothing."""
    if default is not None:
        return True
    given = parameter.default
    if given in (None, (), []) or given is parameter.empty:
        return False
    return ",".join(map(str, given)) if isinstance(given, (tuple, list)) else str(given)


def _help(kind: Kind, name: str, several: bool) -> str:
    """A plain sentence from the docstring."""
    said = re.sub(r"`+", "", kind.help.get(name, "")).strip()
    said = said[:1].upper() + said[1:]
    return f"{said} May be repeated." if several else said


def _alternatives(kind: Kind, parameter: inspect.Parameter) -> list[Any]:
    """The types of an annotation."""
    try:
        hint = get_type_hints(kind.function).get(parameter.name, Any)
    except NameError:  # a name that its module imports for type checkers alone
        hint = Any
    if parameter.annotation is parameter.empty and parameter.default not in (parameter.empty, None):
        hint = type(parameter.default)
    return _flat([hint])


def _converter(name: str, kinds: list[Any]) -> tuple[Any, Callable[[Any], Any]] | None:
    """The type for typer (``list`` for texts that may be repeated) and the conversion; ``None`` for no text."""
    if name == "size":
        return str, as_size
    items = [item for one in kinds if get_origin(one) in _LISTS or one in _LISTS for item in get_args(one) or (str,)]
    if items:
        return list, lambda texts: _listed(name, texts, _flat(items), kinds)
    for one in (bool, float, int):
        if one in kinds and str not in kinds:
            return one, one
    if any(get_origin(one) is Literal for one in kinds):
        return str, str
    if Any in kinds or (int in kinds and str in kinds):
        return str, channel_of
    return (str, str) if str in kinds or Path in kinds else None


def _flat(items: list[Any]) -> list[Any]:
    """The types in unions."""
    return [one for item in items for one in (get_args(item) if _is_union(item) else [item])]


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def _listed(name: str, texts: list[str], items: list[Any], kinds: list[Any]) -> Any:
    """The values in texts, with commas between.

    A single one is not in a list where the view takes it alone; ``all`` is ``None`` where it takes that.
    """
    if texts == ["all"] and type(None) in kinds:
        return None
    joined = ",".join(texts)
    found: Sequence[Any]
    if float in items:
        values = as_floats(name, joined)
        found = values if isinstance(values, list) else [values]
    elif int in items and str not in items:
        found = as_numbers(name, joined)
    else:
        found = as_numbers_or_names(name, texts) if int in items else as_names(texts)
    alone = any(one in (str, int, float, Any) for one in kinds)
    return found[0] if alone and len(found) == 1 else list(found)
