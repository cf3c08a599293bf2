"""Pictures from files, arrays and tensors, and at another size."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from .checks import Size, as_size


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


def fit(pictures: Tensor, size: int | Sequence[int] | None) -> Tensor:
    """Pictures ``[N, C, H, W]`` at another size; as ``ImageFile`` says."""
    if size is None:
        return pictures
    whole, top, left, (height, width) = _fitted(pictures.shape[-2:], size)
    pictures = torch.nn.functional.interpolate(pictures, size=whole, mode="bicubic", antialias=True).clamp(0, 1)
    return pictures[..., top : top + height, left : left + width]


def fitted_part(picture: Sequence[int], size: int | Sequence[int]) -> tuple[int, int, int, int]:
    """Which part of a picture of (height, width) ``fit`` leaves: (top, left, height, width), in its own pixels."""
    whole, *corner, target = _fitted(picture, size)
    starts, lengths = [], []
    for pixels, scaled, start, wanted in zip(picture, whole, corner, target):
        starts.append(min(round(start * pixels / scaled), pixels - 1))
        lengths.append(min(max(round(wanted * pixels / scaled), 1), pixels - starts[-1]))
    return (starts[0], starts[1], lengths[0], lengths[1])


def _fitted(picture: Sequence[int], size: int | Sequence[int]) -> tuple[Size, int, int, Size]:
    """The size to which a picture of (height, width) is scaled, and top, left and size of what is cut out of it."""
    height, width = picture
    if isinstance(size, int):
        scale = as_size(size)[0] / min(height, width)
        target = (round(height * scale), round(width * scale))
    else:
        target = as_size(size)
        scale = max(target[0] / height, target[1] / width)
    whole = (max(round(height * scale), target[0]), max(round(width * scale), target[1]))
    return whole, (whole[0] - target[0]) // 2, (whole[1] - target[1]) // 2, target
