"""A film: one picture over the course of training."""

from __future__ import annotations

import copy
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from ..checks import as_count, as_list
from ..engine import OPTIONS, OptVis
from ..files import check_path, check_picture_size, write_whole
from ..images import enlarged, grid
from ..objectives import Objective, as_objective
from ..params import Param
from ..view import Context
from ..visualisation import Visualisation

ENDINGS = (".webp", ".gif", ".mp4")
COARSE, KEPT = 0.6, 0.8
"""The share of a frame's steps at the coarse size, and the contrast that is kept of the frame before. Chosen by eye."""
REST = 2.0
"""Seconds for which the last frame stays."""


class Film:
    """One picture over the course of training: each frame is the frame before, optimised for a few more steps.

    A film is one of the ``views`` of ``Watch``, which draws a frame whenever it draws, and writes the film to folders.

    ::

        film = Film(Class("", "goldfish"))
        watch = Watch([film], every=20)
        ...
        film.save("goldfish.mp4")

    Args:
        objective: an ``Objective`` or an address such as ``"features/12:7"``, as for ``OptVis``. One for several
            pictures makes a film of their grid.
        size: of the picture, in pixels or (height, width); by default the network's own, or 224.
        steps: of optimisation for each frame.
        fps: frames per second.
        endings: of the files that are written to folders: ``.webp``, ``.gif`` and ``.mp4``, which needs PyAV.
        options: further arguments of ``OptVis`` and of ``OptVis.vis`` (``lr``, ``transforms``, ...).

    Attributes:
        frames: the frames so far, RGB.
        numbers: the training step or epoch of each frame.

    Raises:
        ValueError: an unknown ending.
        ImportError: ``.mp4``, and PyAV is missing.
    """

    def __init__(
        self,
        objective: Any,
        size: int | Sequence[int] | None = None,
        steps: int = 10,
        fps: int = 12,
        endings: Sequence[str] | str = (".webp",),
        **options: Any,
    ) -> None:
        self.objective: Objective = as_objective(objective)
        self.steps, self.fps = as_count("steps", steps), as_count("fps", fps)
        self.endings = tuple([endings] if isinstance(endings, str) else as_list("endings", endings, "a list of them"))
        for ending in self.endings:
            check_ending(ending)
        self.frames: list[Image.Image] = []
        self.numbers: list[int] = []
        self._size, self._options = size, options
        self._latest: Visualisation | None = None

    def __call__(self, network: nn.Module, context: Context | None = None) -> Visualisation:
        """The next frame, which is not yet in ``frames``."""
        context = context or Context()
        given = {name: one for name in ("names", "mean", "std") if (one := getattr(context, name)) is not None}
        options = {"seed": context.seed, "verbose": False, **given, **self._options}
        own = {name: options.pop(name) for name in OPTIONS if name in options}
        optvis = OptVis(network, self.objective, **own)
        start = self._size if self._latest is None else _faded(self._latest.param)
        if "stages" not in options and self._latest is None:
            options["steps"] = self.steps
        elif self._latest is not None:
            options.setdefault("stages", _stages(self._latest.settings["stages"], self.steps))
        self._latest = optvis.vis(start, **options)
        return self._latest

    def add(self, frame: Visualisation, number: int) -> None:
        """Add a frame that was drawn at a training step or epoch."""
        pictures = enlarged(frame.to_pil()) if len(frame) == 1 else frame.to_pil()
        self.frames.append(grid(pictures, labels=frame.labels if len(frame) > 1 else ()).convert("RGB"))
        self.numbers.append(number)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the film, with the training step below each frame.

        Raises:
            ValueError: there are no frames yet, an unknown ending, or frames too large for the format.
            ImportError: an ``.mp4``, and PyAV is missing.
            OSError: the file cannot be written.
        """
        path = check_path(path, ENDINGS)
        check_ending(path.suffix.lower())
        if not self.frames:
            raise ValueError("the film has no frames yet: save it after training")
        pages = [grid([one], labels=[f"{n}"]) for one, n in zip(self.frames, self.numbers, strict=True)]
        check_picture_size(path, *pages[0].size)
        write_whole(path, _encoded(pages, path.suffix.lower(), self.fps))
        return path

    def __repr__(self) -> str:
        return f"Film({self.objective!r}, steps={self.steps}, {len(self.frames)} frames)"


def _stages(stages: Sequence[Any], steps: int) -> list[tuple[Any, int]]:
    """The steps of a frame: most at the size before the last, so that fine detail is drawn anew, then the rest."""
    sizes = [size for size, _ in stages][-2:]
    fine = steps - round(COARSE * steps)
    return (
        [(sizes[-1], steps)]
        if len(sizes) == 1 or not 0 < fine < steps
        else list(zip(sizes, (steps - fine, fine), strict=True))
    )


@torch.no_grad()
def _faded(param: Param) -> Param:
    """The same pictures with less contrast: without it, frames would saturate, and old features would not vanish."""
    faded = copy.deepcopy(param)
    for parameter in faded.parameters():
        parameter.mul_(KEPT)
    return faded


def check_ending(ending: str) -> None:
    """Raise ``ValueError`` for an unknown ending, and ``ImportError`` for ``.mp4`` if PyAV is missing."""
    if ending not in ENDINGS:
        raise ValueError(f"a film is not saved as {ending!r}: choose {', '.join(ENDINGS)}")
    if ending == ".mp4":
        try:
            import av  # noqa: F401
        except ImportError as error:
            raise ImportError("an .mp4 needs PyAV: pip install 'optvis[film]'") from error


def _encoded(pages: Sequence[Image.Image], ending: str, fps: int) -> bytes:
    data = io.BytesIO()
    if ending == ".mp4":
        _write_mp4(pages, data, fps)
        return data.getvalue()
    durations = [round(1000 / fps)] * (len(pages) - 1) + [round(1000 * REST)]
    how: dict[str, Any] = {"quality": 80, "method": 2} if ending == ".webp" else {}
    pages[0].save(data, ending[1:], save_all=True, append_images=pages[1:], duration=durations, loop=0, **how)
    return data.getvalue()


def _write_mp4(pages: Sequence[Image.Image], file: io.BytesIO, fps: int) -> None:
    import av

    width, height = pages[0].size
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264" if "libx264" in av.codecs_available else "mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        for page in [*pages, *([pages[-1]] * round(fps * REST))]:
            padded = Image.new("RGB", (stream.width, stream.height), "white")
            padded.paste(page)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(padded), format="rgb24")))
        container.mux(stream.encode())
