"""The result of a run: images, scores, history and settings; saving, loading and showing."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .checks import as_list
from .display import show_picture
from .files import FORMATS, check_picture_size
from .images import enlarged, grid, grid_places, grid_size, read_image, to_pil
from .network import isolated
from .params import PixelParam
from .result import Result, read_facts, read_settings, read_tensors


@dataclass(eq=False, repr=False)
class Visualisation(Result):
    """The result of a run.

    Attributes:
        param: the final parameterisation; call it for images with a gradient, or give it to ``vis`` to continue.
        scores: ``[N]``, the objective of the finished images, without transforms.
        history: ``[steps, N]``, the objective at each step, under transforms.
        frames: ``{step: [N, C, H, W]}``, the images kept at each ``thresh``.
        settings: everything that decided the pictures, with versions, as JSON data.
        tensors: the tensors that the settings name: vectors of directions, photographs.
    """

    endings = FORMATS

    param: Any
    scores: Tensor
    history: Tensor
    frames: dict[int, Tensor] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def images(self) -> Tensor:
        """``[N, C, H, W]`` in [0, 1], float32, on the CPU."""
        with isolated(next(self.param.parameters()).device), torch.no_grad():
            images: Tensor = self.param()
            return images.float().clamp(0, 1).cpu()

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the pictures in ``grid``; empty if all have the same objective."""
        return tuple(self.settings.get("labels", ()))

    @property
    def pictures(self) -> list[int]:
        """The numbers of the pictures; an interrupted run may not contain all."""
        return list(self.settings.get("pictures", range(len(self.scores))))

    @property
    def interrupted(self) -> bool:
        """True if Ctrl-C ended the run."""
        return bool(self.settings.get("interrupted", False))

    def __len__(self) -> int:
        return len(self.scores)

    def described(self, **more: Any) -> Visualisation:
        """A copy with further settings."""
        return replace(self, settings={**self.settings, **more})

    def split(self) -> Iterator[Visualisation]:
        """Yield a visualisation for each picture."""
        for i, picture in enumerate(self.pictures):
            yield replace(
                self.described(labels=list(self.labels[i : i + 1]), pictures=[picture]),
                param=self.param.take([i]),
                scores=self.scores[i : i + 1],
                history=self.history[:, i : i + 1],
                frames={step: images[i : i + 1] for step, images in self.frames.items()},
            )

    def __repr__(self) -> str:
        scores = ", ".join(f"{score:.4g}" for score in self.scores.tolist()[:4]) + ", …" * (len(self) > 4)
        return f"Visualisation(images={list(self.images.shape)}, scores=[{scores}], steps={len(self.history)})"

    def to_pil(self) -> list[Image.Image]:
        """One PIL image for each picture; with neither 1 nor 3 channels, the channels are side by side."""
        return [to_pil(image) for image in self.images]

    def grid(self, columns: int | None = None, labels: Sequence[str] | None = None) -> Image.Image:
        """All pictures in one, row by row.

        By default it is near a square, in the shape that leaves the fewest empty cells, and several pictures have their
        ``labels`` below them; ``()`` is for none.
        """
        if labels is None:
            labels = self.labels if len(self) > 1 else ()
        labels = as_list("labels", labels, "a list of texts")
        if len(labels) not in (0, len(self)):
            raise ValueError(f"{len(labels)} labels for {len(self)} pictures: give one for each, or none")
        return grid(self.to_pil(), columns, labels)

    def show(self) -> None:
        """Show the pictures in a notebook or in the system's viewer; without a screen, print a hint.

        Small pictures are enlarged by a whole number, without smoothing; ``save`` and ``grid`` keep their size.
        """
        show_picture(self.on_screen())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the pictures, several as one grid. The file is written completely or not at all.

        The ending is ``.png`` (contains settings and scores, see ``load``), ``.webp``, ``.jpg``, ``.gif`` (the frames,
        then the finished picture) or ``.npy`` (``[N, C, H, W]`` float32).

        Raises:
            ValueError: an unknown ending, or a grid too large for the format.
            OSError: the path cannot be written; the message says why, and which PNG was written instead.
        """
        return self._write(path)

    def sheet(self, **how: Any) -> Image.Image:
        """All pictures in one, as ``grid`` draws them by default."""
        return self.grid(**how)

    def on_screen(self) -> Image.Image:
        """The grid as it is shown, with small pictures enlarged."""
        return grid(enlarged(self.to_pil()), labels=self.labels if len(self) > 1 else ())

    def encoded(self, ending: str) -> bytes:
        """The content of a ``.npy`` or ``.gif`` file."""
        data = io.BytesIO()
        if ending == ".npy":
            np.save(data, self.images.numpy())
            return data.getvalue()
        kept = [image for _, image in sorted(self.frames.items())] + [self.images]
        size = self.to_pil()[0].size
        pages = [grid([to_pil(i).resize(size) for i in images]).convert("RGB") for images in kept]
        check_picture_size("a.gif", *pages[0].size)
        durations = [400] * (len(pages) - 1) + [1600]
        pages[0].save(data, "GIF", save_all=True, append_images=pages[1:], duration=durations, loop=0)
        return data.getvalue()

    def facts(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The scores and the shape of the images, and the tensors that the settings name."""
        return {"scores": self.scores.tolist(), "shape": list(self.images.shape)}, self.tensors

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Visualisation:
        """Read a PNG that ``save`` wrote: its pictures, rounded to 8 bits, with settings and scores.

        History and frames are not in the file. ``optvis.redraw`` draws the pictures again.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, or was not written by ``save``.
        """
        settings, facts, tensors = read_settings(path), read_facts(path), read_tensors(path)
        try:
            count, channels, height, width = (int(n) for n in facts["shape"])
            sheet = read_image(path)[0]
            across = width if channels in (1, 3) else width * channels
            labelled = count > 1 and bool(settings.get("labels"))
            if tuple(sheet.shape[-2:]) != grid_size(count, (height, across), None, labelled):
                raise ValueError(f"it has not the size of {count} pictures")
            places = grid_places(count, (height, across), None, labelled)
            pictures = [sheet[:, y : y + height, x : x + across] for x, y in places]
            if channels not in (1, 3):
                pictures = [one.mean(0).reshape(height, channels, width).movedim(1, 0) for one in pictures]
            images = torch.stack([picture[:1] if channels == 1 else picture for picture in pictures])
            param = PixelParam((height, width), count, channels, decorrelate=False).encode(images)
            scores = torch.tensor([float(score) for score in facts["scores"]])
            for name in ("labels", "pictures"):
                settings[name] = as_list(name, settings.get(name, range(count) if name == "pictures" else ()), "a list")
            if len(scores) != count or len(settings["pictures"]) != count or len(settings["labels"]) not in (0, count):
                raise ValueError(f"scores, labels and numbers are not those of {count} pictures")
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{str(path)!r} holds no visualisation that can be read: {error}") from error
        return cls(param, scores, torch.zeros(0, count), settings=settings, tensors=tensors)
