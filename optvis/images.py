"""Pictures from files, arrays and tensors, and at another size."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from .sizes import as_size


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
