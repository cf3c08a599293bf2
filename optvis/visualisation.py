"""The result of a run: images, scores and how they came about; saving and showing."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .display import has_screen, notebook_display
from .files import check_path, write_whole
from .images import grid, open_image, to_pil, write_picture


class Visualisation:
    """What a run made.

    Attributes:
        param: the parameterisation at its end; call it for images with a gradient, or give it to ``vis`` to go on.
        scores: ``[N]``, the objective of the finished images, without transforms.
        history: ``[steps, N]``, the objective at each step, under transforms.
        frames: ``{step: [N, C, H, W]}``, the images kept at each ``thresh``.
        settings: everything that made it, with versions; JSON can hold it.
        pictures: the numbers of the pictures; not all are here where a run of many was ended early.
    """

    def __init__(
        self,
        param: Any,
        scores: Tensor,
        history: Tensor,
        frames: dict[int, Tensor] | None = None,
        settings: Mapping[str, Any] | None = None,
        pictures: Sequence[int] | None = None,
    ) -> None:
        self.param = param
        self.scores = scores
        self.history = history
        self.frames = frames or {}
        self.settings = dict(settings or {})
        self.pictures = list(range(len(scores)) if pictures is None else pictures)

    @cached_property
    def images(self) -> Tensor:
        """``[N, C, H, W]`` in [0, 1], float32, on the CPU."""
        with torch.no_grad():
            return self.param().float().clamp(0, 1).cpu()

    @property
    def labels(self) -> tuple[str, ...]:
        """What each picture shows, for ``grid``; empty where all show the same."""
        return tuple(self.settings.get("labels", ()))

    @property
    def interrupted(self) -> bool:
        """True if Ctrl-C ended the run."""
        return bool(self.settings.get("interrupted", False))

    def __len__(self) -> int:
        return len(self.scores)

    def split(self) -> Iterator[Visualisation]:
        """A visualisation of each picture by itself."""
        for i, picture in enumerate(self.pictures):
            settings = {**self.settings, "labels": list(self.labels[i : i + 1])}
            frames = {step: images[i : i + 1] for step, images in self.frames.items()}
            yield Visualisation(
                self.param.take([i]), self.scores[i : i + 1], self.history[:, i : i + 1], frames, settings, [picture]
            )

    def __repr__(self) -> str:
        scores = ", ".join(f"{score:.4g}" for score in self.scores.tolist()[:4]) + (
            ", …" if len(self.scores) > 4 else ""
        )
        return f"Visualisation(images={list(self.images.shape)}, scores=[{scores}], steps={len(self.history)})"

    def to_pil(self) -> list[Image.Image]:
        """One PIL image for each picture. Of images with neither 1 nor 3 channels, the channels side by side."""
        return [to_pil(image) for image in self.images]

    def grid(self, columns: int | None = None, labels: Sequence[str] | None = None) -> Image.Image:
        """All pictures in one, row by row.

        Args:
            columns: pictures in a row; by default as many as leave the fewest places empty, near a square.
            labels: a line under each picture; ``()`` for none, by default ``self.labels`` where there are several.
        """
        labels = (self.labels if len(self) > 1 else ()) if labels is None else labels
        return grid(self.to_pil(), columns, labels)

    def show(self) -> None:
        """Show the pictures: in a notebook in place, otherwise in the system's viewer; without a screen, say so."""
        shell = notebook_display()
        if shell is not None:
            shell(self.grid())
            return
        if not has_screen():
            print("no screen to show pictures on: use .save('picture.png')")
            return
        self.grid().show()

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        self.grid().save(data, "PNG")
        return data.getvalue()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the pictures; several become one grid. The file is written whole or not at all.

        Args:
            path: ``.png`` (carries the settings, see ``read_settings``), ``.webp``, ``.jpg``, ``.gif`` (the frames,
                then the finished picture) or ``.npy`` (``[N, C, H, W]`` float32).

        Raises:
            ValueError: another ending.
            OSError: the path cannot be written; the message says why.
        """
        path = check_path(path)
        ending = path.suffix.lower()
        data = io.BytesIO()
        if ending == ".npy":
            np.save(data, self.images.numpy())
        elif ending == ".gif":
            kept = [image for _, image in sorted(self.frames.items())] + [self.images]
            size = self.to_pil()[0].size
            pages = [grid([to_pil(i).resize(size) for i in images]).convert("RGB") for images in kept]
            durations = [400] * (len(pages) - 1) + [1600]
            pages[0].save(data, "GIF", save_all=True, append_images=pages[1:], duration=durations, loop=0)
        else:
            write_picture(self.grid(), data, ending, self.settings)
        write_whole(path, data.getvalue())
        return path


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings that a saved PNG carries.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no picture, or carries none.
    """
    with open_image(path) as image:
        text = getattr(image, "text", {}).get("optvis")
    try:
        settings = json.loads(text) if text is not None else None
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise ValueError(f"{str(path)!r} carries no settings of optvis: only its .png files do")
    return settings
