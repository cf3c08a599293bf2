"""Checking that a file can be written, and writing it completely or not at all."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path

from .checks import shown
from .text import printable

FORMATS = (".png", ".webp", ".jpg", ".jpeg", ".gif", ".npy")

LARGEST_SIDE = {".webp": 16_383, ".jpg": 65_500, ".jpeg": 65_500, ".gif": 65_535}
"""The largest width and height in pixels that a format, as Pillow writes it, can hold."""


def expanded(path: str | PathLike[str]) -> Path:
    """A path with ``~`` expanded; raises ``ValueError`` if it cannot be a path, ``TypeError`` if it is no text."""
    if not isinstance(path, (str, PathLike)):
        raise TypeError(f"a path is a str or a Path, not {shown(path)}")
    try:
        if "\0" in os.fspath(path):
            raise RuntimeError("it holds a null character")
        return Path(path).expanduser()
    except RuntimeError as error:  # also if there is no such home folder
        raise ValueError(f"{str(path)!r} is no path: {error}") from error


def check_path(path: str | PathLike[str], endings: Sequence[str] = FORMATS) -> Path:
    """The path, with ``~`` expanded, if a file can be written there; creates and removes a file to find out.

    Raises:
        ValueError: an unknown ending, or an invalid path.
        OSError: no file can be written there; the message says why.
    """
    path = expanded(path)
    if path.suffix.lower() not in endings:
        raise ValueError(f"cannot save {path.name!r}: the ending must be one of {', '.join(endings)}")
    target = Path(os.path.realpath(path))
    beside = _beside(target)
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        if not target.parent.is_dir():  # of the user's path, or of the target of a symbolic link
            missing = target.parent if path.parent.is_dir() else path.parent
            raise FileNotFoundError(f"there is no folder {str(missing)!r}")
        if target.exists() and not target.is_file():
            raise OSError("it is not a regular file")
        if not all(os.access(place, os.W_OK) for place in (target.parent, target) if place.exists()):
            raise PermissionError("no permission to write there")
        try:
            beside.touch(exist_ok=False)
        except FileNotFoundError as error:  # as in /proc
            raise OSError("no file can be created there") from error
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        why = str(error) if error.errno is None else f"no file can be created there ({error.strerror})"
        raise type(error)(f"cannot save to {str(path)!r}: {why}") from error
    return path


def _beside(target: Path) -> Path:
    """A new name in the folder of a file, short, so that the file's own name may be as long as the system allows."""
    return target.with_name(f".optvis-{os.getpid()}-{secrets.token_hex(4)}.part")


def check_picture_size(path: str | PathLike[str], width: int, height: int) -> None:
    """Raise ``ValueError`` if the format of the ending cannot hold an image of this size in pixels."""
    ending = Path(path).suffix.lower()
    largest = LARGEST_SIDE.get(ending)
    if largest is not None and max(width, height) > largest:
        raise ValueError(
            f"cannot save {Path(path).name!r}: the picture has {width:,} × {height:,} px, and {ending} holds at most "
            f"{largest:,} a side; save it as .png"
        )


def write_whole(path: Path, data: bytes) -> None:
    """Write a temporary file beside the target and rename it, so that readers never see an incomplete file.

    A symbolic link is kept and its target is written. The mode of an existing file is kept.
    """
    target = Path(os.path.realpath(path))
    beside = _beside(target)
    try:
        beside.write_bytes(data)
        if target.exists():
            shutil.copymode(target, beside)
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def save_or_rescue(path: Path, encode: Callable[[], bytes], as_png: Callable[[], bytes]) -> None:
    """Write a file completely; if this fails, write a PNG beside it, or else to the temporary folder.

    ``encode`` and ``as_png`` return the contents. Raises ``OSError`` if the file could not be written; the message
    names the PNG that was written instead, if any.
    """
    try:
        write_whole(path, encode())
    except Exception as error:  # encoders raise many types, and the picture must not be lost
        why = getattr(error, "strerror", None) or printable(error) or type(error).__name__
        failed = f"{str(path)!r} could not be written ({why})"
        kept = _rescued(path, as_png)
        if kept is None:
            raise OSError(f"{failed}, nor could a PNG beside it or in {tempfile.gettempdir()!r}") from error
        raise OSError(f"{failed}; the picture was saved as {str(kept)!r} instead") from error


def _rescued(path: Path, as_png: Callable[[], bytes]) -> Path | None:
    """A new file with the PNG, or ``None`` if none could be written."""
    for folder in (path.parent, Path(tempfile.gettempdir())):
        names = (folder / f"{path.stem[:50]}-rescued{n or ''}.png" for n in itertools.count())
        with suppress(Exception):
            kept = next(name for name in names if not os.path.lexists(name))
            write_whole(kept, as_png())
            return kept
    return None
