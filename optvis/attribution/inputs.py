"""The images of an attribution: as the user gave them, and as the network gets them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..checks import as_size, shown
from ..images import fit, fitted_part, read_image, with_channels
from ..network import NetworkInput

Picture: TypeAlias = str | PathLike[str] | Image.Image | np.ndarray | Tensor
Part: TypeAlias = tuple[int, int, int, int]
"""A part of an image: (top, left, height, width) in pixels."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """N images, and the parts of them that a network gets.

    Attributes:
        originals: N images ``[C, H, W]`` in [0, 1], float32, on the CPU, with their own channels and sizes.
        images: ``[N, C, h, w]`` in [0, 1], float32, on the CPU, as the network gets them.
        parts: for each image, the part of the original that the network gets.
    """

    originals: tuple[Tensor, ...]
    images: Tensor
    parts: tuple[Part, ...]

    def __len__(self) -> int:
        return len(self.originals)

    def take(self, images: Sequence[int]) -> Inputs:
        """Only these images, in this order."""
        rows = list(images)
        return Inputs(tuple(self.originals[i] for i in rows), self.images[rows], tuple(self.parts[i] for i in rows))


def whole_images(images: Tensor) -> Inputs:
    """Images ``[N, C, H, W]`` of which the network gets all."""
    return Inputs(tuple(images), images, ((0, 0, *images.shape[-2:]),) * len(images))


def undo_normalisation(images: Any, given: NetworkInput) -> Tensor:
    """Images in [0, 1] from a tensor ``[C, H, W]`` or ``[N, C, H, W]`` that was normalised as the network's input is.

    Raises:
        TypeError: it is no tensor.
        ValueError: it has another number of channels, or was normalised with another mean or standard deviation.
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"normalised=True is for a tensor, not for {shown(images)}: leave it out")
    if images.dim() not in (3, 4) or images.shape[-3] != given.channels:
        raise ValueError(f"a tensor {list(images.shape)} is no image: give [C, H, W] with {given.channels} channels")
    mean, std = (torch.tensor(values)[:, None, None] for values in (given.mean, given.std))
    undone = images.detach().float().cpu() * std + mean
    low, high = undone.min().item(), undone.max().item()
    if not -TOLERANCE <= low <= high <= 1 + TOLERANCE:
        raise ValueError(
            f"with mean {list(given.mean)} and std {list(given.std)} the normalised image had values from {low:.3g} to "
            f"{high:.3g}, not from 0 to 1: give mean= and std= with which it was normalised"
        )
    return undone.clamp(0, 1)


TOLERANCE = 0.02
"""How far values of an image may lie outside of [0, 1] before it was normalised, for rounding."""


def read_inputs(image: Picture | Sequence[Picture], channels: int, size: int | Sequence[int] | None = None) -> Inputs:
    """Images for a network.

    The network gets tensors and arrays unchanged. Files and PIL images are scaled to cover ``size`` and cropped to it
    around their centre.

    Args:
        image: a path, a PIL image, an array ``[H, W]`` or ``[H, W, C]``, a tensor ``[C, H, W]`` or ``[N, C, H, W]``
            (floats in [0, 1], or uint8), or a list of these.
        channels: of the network's input. Grey images are converted to RGB and RGB images to grey.
        size: the network's own size if it has one; otherwise 224.

    Raises:
        ValueError: no image, a number of channels that does not fit, or images of different sizes.
        TypeError: something that is no image.
    """
    given: list[Any] = list(image) if isinstance(image, (list, tuple)) else [image]
    if not given:
        raise ValueError("no image: the list is empty, give at least one picture")
    size = as_size(224 if size is None else size)
    originals: list[Tensor] = []
    views: list[Tensor] = []
    parts: list[Part] = []
    for one in given:
        pictures = read_image(one).cpu()
        shown = with_channels(pictures, channels)
        part = (0, 0, *pictures.shape[-2:])
        if not isinstance(one, (Tensor, np.ndarray)):
            shown, part = fit(shown, size), fitted_part(pictures.shape[-2:], size)
        originals.extend(pictures)
        views.append(shown)
        parts.extend([part] * len(pictures))
    sizes = dict.fromkeys(f"{view.shape[-2]}x{view.shape[-1]}" for view in views)
    if len(sizes) > 1:
        raise ValueError(
            f"the network would see pictures of different sizes, {' and '.join(sizes)}: tensors and arrays are taken "
            "as they are, so give them in one size"
        )
    return Inputs(tuple(originals), views[0] if len(views) == 1 else torch.cat(views), tuple(parts))
