"""Images of the command line: files, folders and patterns. What cannot be read is skipped, named and counted."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files import expanded
from ..images import open_image
from ..text import printable
from .terminal import complain, current

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Endings of the files that are taken from a folder of pictures."""

MOST_NAMED = 5
"""The largest number of skipped files that are named one by one."""


@dataclass(frozen=True)
class Photograph:
    """A file, and the class that its folder names."""

    path: str
    label: str | None = None


def as_pictures(paths: Sequence[str] | None) -> list[str]:
    """Image files that can be read, with folders replaced by the image files in them, sorted, and patterns by theirs.

    Raises:
        ValueError: no images, a folder without any, or none that can be read.
        FileNotFoundError: there is no such file.
    """
    return [one.path for one in _readable([one for path in _each(paths) for one in _in_folder(path, deep=False)])]


def as_data(paths: Sequence[str] | None) -> tuple[list[str], list[str] | None]:
    """Image files of a data set, as ``as_pictures``, and the class of each.

    The classes are the names of the sub-folders of a folder, or those of several folders without sub-folders. There
    are none for single files and for one folder without sub-folders.

    Raises:
        ValueError: as ``as_pictures``; or some images have a class, and others have none.
        FileNotFoundError: there is no such file.
    """
    given = _each(paths)
    folders = sum(expanded(path).is_dir() for path in given)
    found = [one for path in given for one in _in_folder(path, deep=True, named=folders > 1)]
    without = [one for one in found if one.label is None]
    if without and len(without) < len(found):
        raise ValueError(f"{without[0].path!r} is in no folder of a class, and other images are: move it to one")
    found = _readable(found)
    return [one.path for one in found], None if without else [str(one.label) for one in found]


def named(out: Path, files: Sequence[str]) -> list[Path]:
    """The files to write for images, where ``{name}`` in a path stands for the name of the image without its ending."""
    names: dict[str, int] = {}
    outs = []
    for file in files:
        stem = Path(file).stem
        names[stem] = count = names.get(stem, 0) + 1
        outs.append(Path(str(out).replace("{name}", stem if count == 1 else f"{stem}-{count}")))
    return outs


def _each(paths: Sequence[str] | None) -> list[str]:
    """The paths, with patterns replaced by what they match."""
    if not paths:
        raise ValueError("no images: give IMAGE, a file, a folder or a pattern such as 'photos/*.jpg'")
    found: list[str] = []
    for path in paths:
        if any(c in path for c in "*?[") and not expanded(path).exists():
            matching = sorted(glob.glob(str(expanded(path)), recursive=True))
            if not matching:
                raise FileNotFoundError(f"no file matches {path!r}")
            found += matching
        else:
            found.append(path)
    return found


def _in_folder(path: str, deep: bool, named: bool = False) -> list[Photograph]:
    """A file itself, or the image files in a folder; in its sub-folders too if ``deep``."""
    folder = expanded(path)
    if not folder.is_dir():
        return [Photograph(path)]
    inside = sorted(file for file in folder.glob("**/*" if deep else "*") if file.suffix.lower() in ENDINGS)
    if not inside:
        raise ValueError(f"folder {path!r} holds no images: their endings are {', '.join(ENDINGS)}")
    if not deep:
        return [Photograph(str(file)) for file in inside]
    parts = [file.relative_to(folder).parts for file in inside]
    whole = folder.resolve().name if named and all(len(one) == 1 for one in parts) else None
    labels = [one[0] if len(one) > 1 else whole for one in parts]
    return [Photograph(str(file), label) for file, label in zip(inside, labels, strict=True)]


def _readable(files: Sequence[Photograph]) -> list[Photograph]:
    """The files that can be read; the others are printed."""
    good, bad = [], {}
    for one in files:
        try:
            with open_image(one.path) as image:
                image.draft("RGB", (64, 64))  # a fast way to decode JPEGs
                try:
                    image.load()
                except Exception as error:  # Pillow raises nearly every type for damaged files
                    why = printable(error) or type(error).__name__
                    raise ValueError(f"{one.path!r} is no image that Pillow can read: {why}") from error
            good.append(one)
        except ValueError as error:
            bad[one.path] = str(error)
    if bad and not good:
        reason = next(iter(bad.values()))
        raise ValueError(reason if len(bad) == 1 else f"none of {len(bad)} images can be read: {reason}")
    for reason in list(bad.values())[:MOST_NAMED]:
        complain(f"skipped: {reason}")
    if bad:
        complain(f"{len(bad)} of {len(files)} images skipped")
        current().found["skipped"] = [{"file": path, "reason": reason} for path, reason in bad.items()]
    return good
