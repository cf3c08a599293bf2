"""Where the pictures of a training run go: TensorBoard, a folder with an index page, or any function."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..checks import as_list, shown
from ..files import expanded, write_whole
from ..images import as_json
from ..result import Result
from .film import Film
from .page import Row, page


class Sink(ABC):
    """Takes the pictures of a training run."""

    @abstractmethod
    def write(self, number: int, drawn: Mapping[str, Result], films: Mapping[str, Film]) -> None:
        """Take the results that were drawn at a training step or epoch, by title.

        ``films`` holds the films among the views; frames that were drawn now are also in ``drawn``.
        """

    def finish(self, films: Mapping[str, Film], report: str) -> None:  # noqa: B027
        """Write what is left at the end of training; ``report`` says how long drawing took."""


class Folder(Sink):
    """A folder with a PNG for each picture, which contains the settings, a file for each film, and an index page.

    ``index.html`` shows all pictures of this run, and those of earlier steps if the folder has some, from a run that is
    continued. A film is written whenever its number of frames has doubled, and at the end.

    Args:
        path: of the folder, which is made.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = expanded(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._rows: dict[str, Row] = {}
        self._first: int | None = None

    def write(self, number: int, drawn: Mapping[str, Result], films: Mapping[str, Film]) -> None:
        """Save the results and write the index page."""
        self._first = number if self._first is None else self._first
        for title, result in drawn.items():
            row = self._row(title)
            row.settings = as_json(result.settings)
            if title in films:
                frames = len(films[title].frames)
                if frames & (frames - 1) == 0:  # 1, 2, 4, 8, ...
                    self._save_film(row, films[title])
                continue
            file = self.path / row.name / f"{number:08d}.png"
            file.parent.mkdir(exist_ok=True)
            result.save(file)
            row.pictures[number] = f"{row.name}/{file.name}"
        self._write_page("", runs=True)

    def finish(self, films: Mapping[str, Film], report: str) -> None:
        """Save the films and write the index page a last time."""
        for title, film in films.items():
            if film.frames:
                self._save_film(self._row(title), film)
        self._write_page(report, runs=False)

    def _row(self, title: str) -> Row:
        if title not in self._rows:
            name = re.sub(r"[^\w.-]+", "-", title).strip("-.") or "view"
            taken = {row.name.lower() for row in self._rows.values()} | {"index.html"}
            while name.lower() in taken:
                name += "-2"
            row = self._rows[title] = Row(title, name)
            for file in sorted((self.path / name).glob("*.png")):  # of a run that is continued
                if file.stem.isdigit() and int(file.stem) < (self._first or 0):
                    row.pictures[int(file.stem)] = f"{name}/{file.name}"
        return self._rows[title]

    def _save_film(self, row: Row, film: Film) -> None:
        row.films = [film.save(self.path / f"{row.name}{ending}").name for ending in film.endings]

    def _write_page(self, report: str, runs: bool) -> None:
        write_whole(self.path / "index.html", page(list(self._rows.values()), report, runs).encode())

    def __repr__(self) -> str:
        return f"Folder({str(self.path)!r})"


class TensorBoard(Sink):
    """TensorBoard: pictures as images, activations of an embedding for its projector, settings as text.

    Args:
        to: a ``SummaryWriter``, or a folder for a new one.

    Raises:
        ImportError: TensorBoard is missing.
    """

    def __init__(self, to: Any) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise ImportError("TensorBoard needs tensorboard: pip install 'optvis[training]'")
        self._writer = to if hasattr(to, "add_image") else None
        self._own = self._writer is None
        self._folder = None if self._writer is not None else str(expanded(to))
        self._written: dict[str, str] = {}  # settings by title

    @property
    def writer(self) -> Any:
        """The ``SummaryWriter``, which is made when it is first needed."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(self._folder)
        return self._writer

    def write(self, number: int, drawn: Mapping[str, Result], films: Mapping[str, Film]) -> None:  # noqa: ARG002
        """Write images, and settings where they have changed."""
        for title, result in drawn.items():
            picture = np.asarray(result.sheet().convert("RGB"))
            self.writer.add_image(title, picture, number, dataformats="HWC")
            lasting = {name: one for name, one in result.settings.items() if name != "fingerprint"}  # of the weights
            settings = as_json(lasting)
            if self._written.get(title) != settings:
                self._written[title] = settings
                self.writer.add_text(f"{title}/settings", f"```\n{settings}\n```", number)
            self._write_embedding(title, result, number)
        self.writer.flush()

    def _write_embedding(self, title: str, result: Result, number: int) -> None:
        """Write activations ``[N, C]`` for the projector, with labels and thumbnails, where a result holds them."""
        values, tensors = result.facts()
        for name, activations in tensors.items():
            if name.split("/")[0] != "activations":
                continue
            count, tag = len(activations), "-".join(re.findall(r"\w+", "/".join([title, *name.split("/")[1:]])))
            labels, thumbnails = _labels(values, tensors), tensors.get("thumbnails")
            self.writer.add_embedding(
                activations.flatten(1),
                metadata=labels if len(labels) == count else None,
                label_img=thumbnails.float() / 255 if thumbnails is not None and len(thumbnails) == count else None,
                global_step=number,
                tag=tag,
            )

    def finish(self, films: Mapping[str, Film], report: str) -> None:  # noqa: ARG002
        """Write the report; a writer that was made here is closed."""
        self.writer.add_text("optvis", report)
        self.writer.close() if self._own else self.writer.flush()

    def __repr__(self) -> str:
        return f"TensorBoard({self._folder or self._writer!r})"


def _labels(values: Mapping[str, Any], tensors: Mapping[str, Any]) -> list[str]:
    """The labels of an embedding: those in its values, or the names of its classes; empty if there are none."""
    if isinstance(values.get("labels"), Sequence):
        return [str(label) for label in values["labels"]]
    classes = values.get("classes", ())
    return [str(classes[i]) if 0 <= i < len(classes) else "?" for i in tensors.get("labels", torch.empty(0)).tolist()]


class Call(Sink):
    """A function that is called as ``function({title: picture}, number)``, such as ``wandb.log``.

    Pictures are PIL images; functions of W&B get them as ``wandb.Image``.
    """

    def __init__(self, function: Callable[[dict[str, Any], int], Any]) -> None:
        self.function = function

    def write(self, number: int, drawn: Mapping[str, Result], films: Mapping[str, Film]) -> None:  # noqa: ARG002
        """Call the function."""
        owner = getattr(self.function, "__module__", None) or type(self.function).__module__
        wrap = sys.modules["wandb"].Image if owner.split(".")[0] == "wandb" else _same
        self.function({title: wrap(result.sheet()) for title, result in drawn.items()}, number)

    def __repr__(self) -> str:
        return f"Call({self.function!r})"


def _same(picture: Image.Image) -> Image.Image:
    return picture


def as_sinks(to: Any) -> list[Sink]:
    """Sinks from a path, a ``SummaryWriter``, a function or a sink, or a list of these.

    Raises:
        TypeError: none of these.
    """
    return [_sink(one) for one in (as_list("to", to, "a list of sinks") if isinstance(to, (list, tuple)) else [to])]


def _sink(to: Any) -> Sink:
    if isinstance(to, Sink):
        return to
    if isinstance(to, (str, os.PathLike)):
        return Folder(Path(to))
    if hasattr(to, "add_image"):
        return TensorBoard(to)
    if callable(to):
        return Call(to)
    raise TypeError(
        f"to={shown(to)}: give a folder, a SummaryWriter, TensorBoard(folder), or a function such as wandb.log"
    )
