"""The result of a run: images, scores and how they came about; saving, showing, and ``norm`` and ``denorm``."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

IMAGENET_STATS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FORMATS = (".png", ".webp", ".jpg", ".jpeg", ".gif", ".npy")


class Visualisation:
    """What a run made.

    Attributes:
        param: the parameterisation at its end; call it for images with a gradient, or give it to ``vis`` to go on.
        scores: ``[N]``, the objective of the finished images, without transforms.
        history: ``[steps, N]``, the objective at each step, under transforms.
        frames: ``{step: [N, C, H, W]}``, the images kept at each ``thresh``.
        settings: everything that made it, with versions; JSON can hold it.
        labels: what each picture shows, for ``grid``.
        pictures: the numbers of the pictures; not all are here where a run of many was ended early.
    """

    def __init__(
        self,
        param: Any,
        scores: Tensor,
        history: Tensor,
        frames: dict[int, Tensor] | None = None,
        settings: dict[str, Any] | None = None,
        labels: Sequence[str] = (),
        pictures: Sequence[int] | None = None,
    ) -> None:
        self.param = param
        self.scores = scores
        self.history = history
        self.frames = frames or {}
        self.settings = settings or {}
        self.labels = tuple(labels)
        self.pictures = list(range(len(scores)) if pictures is None else pictures)

    @cached_property
    def images(self) -> Tensor:
        """``[N, C, H, W]`` in [0, 1], float32, on the CPU."""
        with torch.no_grad():
            return self.param().float().clamp(0, 1).cpu()

    def __len__(self) -> int:
        return self.images.shape[0]

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


def write_picture(image: Image.Image, file: Any, ending: str, settings: dict[str, Any] | None = None) -> None:
    """One PIL image in the format of an ending; PNG carries the settings as text."""
    if ending == ".png":
        text = PngInfo()
        if settings:
            text.add_itxt("optvis", json.dumps(settings, ensure_ascii=False))
        image.save(file, "PNG", pnginfo=text)
    elif ending == ".webp":
        image.save(file, "WEBP", quality=90)
    else:
        image.convert("RGB").save(file, "JPEG", quality=92)


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings that a saved PNG carries.

    Raises:
        ValueError: the file carries none.
    """
    with Image.open(path) as image:
        text = getattr(image, "text", {}).get("optvis")
    if text is None:
        raise ValueError(f"{str(path)!r} carries no settings of optvis: only its .png files do")
    return json.loads(text)


def check_path(path: str | os.PathLike[str], endings: Sequence[str] = FORMATS) -> Path:
    """Whether a file can be written there, asked before the work begins; raises as ``Visualisation.save`` does."""
    path = Path(path).expanduser()
    if path.suffix.lower() not in endings:
        raise ValueError(f"cannot save {path.name!r}: the ending must be one of {', '.join(endings)}")
    if path.is_dir():
        raise IsADirectoryError(f"cannot save to {str(path)!r}: it is a folder")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot save to {str(path)!r}: there is no folder {str(path.parent)!r}")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise PermissionError(f"cannot save to {str(path)!r}: no permission to write there")
    return path


def write_whole(path: Path, data: bytes) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, never half of one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def to_pil(image: Tensor) -> Image.Image:
    """``[C, H, W]`` in [0, 1] as a PIL image; neither 1 nor 3 channels become grey pictures side by side."""
    data = (image.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    if data.shape[0] == 3:
        return Image.fromarray(data.permute(1, 2, 0).contiguous().numpy(), "RGB")
    return Image.fromarray(torch.cat(list(data), dim=1).numpy(), "L")


def grid(
    pictures: Sequence[Image.Image], columns: int | None = None, labels: Sequence[str] = (), gap: int = 2
) -> Image.Image:
    """Pictures of one size in rows on white, each with a line of text under it where there are labels."""
    if columns is None:
        root = math.ceil(math.sqrt(len(pictures)))
        columns = min(range(root, root * 3 // 2 + 1), key=lambda n: (-len(pictures) % n, n))  # the fewest empty places
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    width, height = pictures[0].size
    if len(pictures) == 1 and not labels:
        return pictures[0]
    points = max(9, min(width // 10, 14))
    font = ImageFont.load_default(size=points)
    line = points * 3 // 2 if labels else 0
    mode = "RGB" if labels or any(picture.mode != "L" for picture in pictures) else "L"
    sheet = Image.new(mode, (columns * (width + gap) - gap, rows * (height + line + gap) - gap), "white")
    draw = ImageDraw.Draw(sheet)
    for i, picture in enumerate(pictures):
        x, y = i % columns * (width + gap), i // columns * (height + line + gap)
        sheet.paste(picture, (x, y))
        if i < len(labels):
            text = labels[i]
            while text and draw.textlength(text, font) > width:
                text = text[:-2] + "…" if len(text) > 2 else ""
            draw.text((x + width / 2, y + height + line / 2), text, "black", font, anchor="mm")
    return sheet


def norm(
    image: Any,
    mean: Sequence[float] = IMAGENET_STATS[0],
    std: Sequence[float] = IMAGENET_STATS[1],
    input_range: tuple[float, float] = (0, 255),
    unsqueeze: bool = True,
    grad: bool = True,
) -> Tensor:
    """Bring an image to what a network takes: scaled to [0, 1], minus the mean, over the standard deviation.

    Args:
        image: PIL image, array ``[H, W, C]`` or tensor ``[C, H, W]`` or ``[N, C, H, W]``.
        mean: per channel.
        std: per channel.
        input_range: lowest and highest value of ``image``.
        unsqueeze: give a single image a batch axis.
        grad: whether the result requires a gradient.
    """
    if not isinstance(image, Tensor):
        array = np.array(image, order="C")
        image = torch.from_numpy(array[..., None] if array.ndim == 2 else array).movedim(-1, 0)
    low, high = input_range
    image = (image.float() - low) / (high - low)
    shape = (-1, 1, 1)
    image = (image - image.new_tensor(mean).view(shape)) / image.new_tensor(std).view(shape)
    if unsqueeze and image.dim() == 3:
        image = image[None]
    return image.detach().requires_grad_() if grad else image


def denorm(
    image: Tensor, mean: Sequence[float] = IMAGENET_STATS[0], std: Sequence[float] = IMAGENET_STATS[1]
) -> Image.Image | list[Image.Image]:
    """The PIL image that ``norm`` made ``[C, H, W]`` or ``[1, C, H, W]`` from; a list of them for a batch."""
    shape = (-1, 1, 1)
    image = image.detach().float().cpu()
    image = image * image.new_tensor(std).view(shape) + image.new_tensor(mean).view(shape)
    if image.dim() == 3:
        return to_pil(image)
    pictures = [to_pil(one) for one in image]
    return pictures[0] if len(pictures) == 1 else pictures


def has_screen() -> bool:
    """Whether the system's viewer has a screen to show pictures on."""
    if os.name != "posix" or os.uname().sysname == "Darwin":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def notebook_display() -> Any:
    """The ``display`` of a running notebook, or ``None``; loads nothing that is not loaded already."""
    import sys

    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or "IPKernelApp" not in shell.config:
        return None
    from IPython.display import display

    return display
