"""Settings files: the arguments and options of a command as TOML."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from ..checks import nearest, shown
from ..files import check_path, expanded, write_whole
from ..text import printable

NOT_SETTINGS = ("settings", "write_settings", "json", "quiet", "open", "help")
"""Options that say how a command is called, and not what it does."""


def read_into(ctx: Any, file: Path) -> None:
    """Take the defaults of a command from a settings file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no TOML, or contains something that the command does not have.
        ImportError: Python 3.10 without tomli.
    """
    known = {spelling(one): one for one in ctx.command.params if one.name not in NOT_SETTINGS}
    found: dict[str, Any] = {}
    for key, value in _table(file).items():
        option = known.get(key.replace("_", "-"))
        if option is None:
            raise ValueError(f"{str(file)!r}: {ctx.info_name} has no option {key!r}: {nearest(key, known)}")
        listed = value if isinstance(value, list) else [value]
        if not all(isinstance(one, (str, bool, int, float)) for one in listed):
            raise ValueError(f"{str(file)!r}: {key} = {shown(value)}: give a text, a number, true, false or a list")
        several = getattr(option, "multiple", False) or option.nargs == -1
        texts = [one if isinstance(one, bool) else str(one) for one in listed]
        found[option.name] = texts if several else texts[0] if len(texts) == 1 else ",".join(map(str, texts))
    ctx.default_map = found


def _table(file: Path) -> dict[str, Any]:
    path = expanded(file)
    if not path.is_file():
        raise FileNotFoundError(f"there is no settings file {str(file)!r}")
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError as error:
            raise ImportError("--settings needs tomli on Python 3.10: pip install 'optvis[cli]'") from error
    try:
        found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return found
    except ValueError as error:
        raise ValueError(f"{str(file)!r} is no TOML: {printable(error)}") from error


def write_settings(file: Path, ctx: Any, values: Mapping[str, Any]) -> None:
    """Write a settings file with all values that are not ``None``.

    Raises:
        ValueError: an ending other than ``.toml``.
        OSError: the file cannot be written.
    """
    path = check_path(file, (".toml",))
    names = {one.name: spelling(one) for one in ctx.command.params}
    lines = [f"{names[name]} = {_toml(value)}" for name, value in values.items() if value is not None and value != []]
    write_whole(path, "\n".join([f"# optvis {ctx.info_name}", *lines, ""]).encode())


def spelling(option: Any) -> str:
    """The name of an argument or option as it is typed, without dashes in front."""
    if option.param_type_name == "argument":
        return str(option.name)
    return str(max(option.opts, key=len)).lstrip("-")


def _toml(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    text = value.value if isinstance(value, Enum) else str(value)
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON's texts, apart from DEL, are TOML's
