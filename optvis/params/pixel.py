"""Parameterisation by pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from .color import ColorParam

Self = TypeVar("Self", bound="PixelParam")


class PixelParam(ColorParam):
    """Images ``[N, C, H, W]`` from one number for each pixel and channel; arguments as for ``ColorParam``."""

    def start(self) -> None:
        self.pixels = nn.Parameter(self.noise(self.channels, *self.size) * self.noise_scale)

    def values(self) -> Tensor:
        return self.pixels

    def set_values(self, values: Tensor) -> None:
        self.pixels.copy_(values)

    @torch.no_grad()
    def grow(self: Self, size: int | Sequence[int]) -> Self:
        """The same pictures at another size, resampled (bilinear, antialiased)."""
        grown = self._at(size)
        same = grown.size == self.size
        grown.pixels.copy_(
            self.pixels if same else interpolate(self.pixels, grown.size, mode="bilinear", antialias=True)
        )
        return grown
