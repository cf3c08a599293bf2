"""Parameterisation by pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..checks import as_number
from .color import Color
from .param import Param

Self = TypeVar("Self", bound="PixelParam")


class PixelParam(Param):
    """Images ``[N, C, H, W]`` from one number for each pixel and channel.

    Args:
        size: pixels, or (height, width).
        batch: number of pictures.
        channels: 3 for RGB, or any other number.
        decorrelate: optimise decorrelated colours (RGB only).
        seed: of the first picture's noise, with consecutive seeds for the others; or one for each picture.
        noise_scale: standard deviation of the numbers at the start.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        batch: int = 1,
        channels: int = 3,
        decorrelate: bool = True,
        seed: int | Sequence[int] = 0,
        noise_scale: float = 0.01,
    ) -> None:
        super().__init__(size, batch, channels, seed)
        self.noise_scale = as_number("noise_scale", noise_scale, 0)
        self.color = Color(self.channels, decorrelate)
        self.decorrelate = self.color.decorrelate
        self.pixels = nn.Parameter(self.noise(self.channels, *self.size) * self.noise_scale)

    def forward(self) -> Tensor:
        image: Tensor = self.color(self.pixels)
        return image

    @torch.no_grad()
    def encode(self, image: Tensor) -> PixelParam:
        """Set the pixels to those of images ``[N, C, H, W]`` in [0, 1] (error below 1/255); returns itself."""
        self.pixels.copy_(self.color.encode(self._fitting(image)))
        self.holds_picture = True
        return self

    @torch.no_grad()
    def grow(self: Self, size: int | Sequence[int]) -> Self:
        """The same pictures at another size, resampled (bilinear, antialiased)."""
        grown = self._at(size)
        if grown.size == self.size:
            grown.pixels.copy_(self.pixels)
        else:
            resized = nn.functional.interpolate(self.pixels, size=grown.size, mode="bilinear", antialias=True)
            grown.pixels.copy_(resized)
        return grown
