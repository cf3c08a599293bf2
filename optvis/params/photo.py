"""Parameterisations by what they begin with: noise (``ImageParam``) or a photograph (``ImageFile``)."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from .fourier import FourierParam
from .param import as_size
from .pixel import PixelParam


def ImageParam(
    size: int | Sequence[int], batch: int = 1, fft: bool = True, decorrelate: bool = True, **options: Any
) -> FourierParam | PixelParam:
    """Noise to begin with: a ``FourierParam`` (``fft=True``) or a ``PixelParam``.

    Args:
        size: pixels, or (height, width).
        batch: number of pictures.
        fft: optimise the spectrum rather than pixels.
        decorrelate: optimise decorrelated colours (RGB only).
        options: ``channels``, ``seed``, ``noise_scale`` of the class.
    """
    return (FourierParam if fft else PixelParam)(size, batch, decorrelate=decorrelate, **options)


def ImageFile(
    image: str | PathLike[str] | Image.Image | np.ndarray | Tensor,
    size: int | Sequence[int] | None = None,
    fft: bool = True,
    decorrelate: bool = True,
    batch: int = 1,
) -> FourierParam | PixelParam:
    """A picture to begin with, for dreams: it comes out as it was put in (error below 1/255).

    Args:
        image: a path, PIL image, array (``[H, W]`` or ``[H, W, C]``; uint8, or floats in [0, 1]) or tensor
            (``[C, H, W]`` or ``[N, C, H, W]``, floats in [0, 1]).
        size: ``None`` keeps the picture's own size; a number makes the smaller side that long; (height, width) cuts
            the middle to that shape.
        fft: optimise the spectrum rather than pixels.
        decorrelate: optimise decorrelated colours (RGB only).
        batch: number of copies of a single picture.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no image, or the array's shape or range is none of an image.
    """
    pictures = _fit(read_image(image), size)
    if pictures.shape[0] == 1:
        pictures = pictures.expand(batch, -1, -1, -1)
    count, channels, height, width = pictures.shape
    param = (FourierParam if fft else PixelParam)((height, width), count, channels, decorrelate)
    return param.encode(pictures)


def read_image(image: str | PathLike[str] | Image.Image | np.ndarray | Tensor) -> Tensor:
    """Any picture as float32 ``[N, C, H, W]`` in [0, 1]; raises as ``ImageFile`` does."""
    if isinstance(image, (str, PathLike)):
        path = Path(image)
        if not path.exists():
            raise FileNotFoundError(f"there is no file {str(path)!r}")
        try:
            with Image.open(path) as opened:
                image = ImageOps.exif_transpose(opened)
        except (UnidentifiedImageError, IsADirectoryError, OSError) as error:
            raise ValueError(f"{str(path)!r} is no image that Pillow can read: {error}") from error
    if isinstance(image, Image.Image):
        if image.mode.startswith("I"):  # 16-bit grey is "I;16", and "I" in older Pillow
            image = np.asarray(image, dtype=np.float32) / 65535
        else:
            image = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    if isinstance(image, np.ndarray):
        if image.ndim not in (2, 3):
            raise ValueError(f"an array of shape {image.shape} is no image: give [H, W] or [H, W, C]")
        if image.dtype == np.uint8:
            image = image.astype(np.float32) / 255
        image = np.array(image, order="C")
        image = torch.from_numpy(image[..., None] if image.ndim == 2 else image).movedim(-1, 0)
    if not isinstance(image, Tensor):
        raise TypeError(f"no image: {image!r}; give a path, PIL image, array or tensor")
    tensor = (image.float() / 255 if image.dtype == torch.uint8 else image.float()).detach()
    tensor = tensor[None] if tensor.dim() == 3 else tensor
    if tensor.dim() != 4 or 0 in tensor.shape:
        raise ValueError(f"a tensor of shape {list(image.shape)} is no image: give [C, H, W] or [N, C, H, W]")
    low, high = tensor.aminmax()
    if not (low >= -1e-4 and high <= 1 + 1e-4):
        raise ValueError(f"the image's values run from {low:.3g} to {high:.3g}: give floats in [0, 1], or uint8")
    return tensor.clamp(0, 1)


def _fit(pictures: Tensor, size: int | Sequence[int] | None) -> Tensor:
    if size is None:
        return pictures
    height, width = pictures.shape[-2:]
    if isinstance(size, int):
        scale = as_size(size)[0] / min(height, width)
        target = (round(height * scale), round(width * scale))
    else:
        target = as_size(size)
        scale = max(target[0] / height, target[1] / width)
    whole = (max(round(height * scale), target[0]), max(round(width * scale), target[1]))
    pictures = torch.nn.functional.interpolate(pictures, size=whole, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (whole[0] - target[0]) // 2, (whole[1] - target[1]) // 2
    return pictures[..., top : top + target[0], left : left + target[1]]
