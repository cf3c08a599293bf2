"""Making parameterisations from noise (``ImageParam``) or from a photograph (``ImageFile``)."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ..checks import as_count, as_flag, whole
from ..images import fit, read_image
from .fourier import FourierParam
from .pixel import PixelParam


def ImageParam(
    size: int | Sequence[int], batch: int = 1, fft: bool = True, decorrelate: bool = True, **options: Any
) -> FourierParam | PixelParam:
    """A parameterisation with initial noise: a ``FourierParam`` (``fft=True``) or a ``PixelParam``.

    The other arguments are those of the class, ``options`` being ``channels``, ``seed`` and ``noise_scale``.
    """
    return (FourierParam if as_flag("fft", fft) else PixelParam)(size, batch, decorrelate=decorrelate, **options)


def ImageFile(
    image: str | PathLike[str] | Image.Image | np.ndarray | Tensor,
    size: int | Sequence[int] | None = None,
    fft: bool = True,
    decorrelate: bool = True,
    batch: int = 1,
) -> FourierParam | PixelParam:
    """A parameterisation that begins with a picture, for dreams (error below 1/255).

    Args:
        image: a path, PIL image, array (``[H, W]`` or ``[H, W, C]``; uint8, or floats in [0, 1]) or tensor
            (``[C, H, W]`` or ``[N, C, H, W]``, floats in [0, 1]).
        size: ``None`` keeps the picture's own size; a number is the length of the smaller side; for (height, width) the
            picture is scaled to cover that shape and cropped around its centre.
        fft: optimise the spectrum rather than pixels.
        decorrelate: optimise decorrelated colours (RGB only).
        batch: number of copies of a single picture.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no image, or shape or range of the array are not those of an image.
    """
    smaller_side = whole(size)
    pictures = fit(read_image(image), size if smaller_side is None else smaller_side)
    if pictures.shape[0] == 1:
        pictures = pictures.expand(as_count("batch", batch), -1, -1, -1)
    count, channels, *sides = pictures.shape
    return ImageParam(sides, count, fft, decorrelate, channels=channels).encode(pictures)
