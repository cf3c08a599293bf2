"""The default parameterisation: the spectrum of an image with decorrelated colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from ..checks import Size
from .color import ColorParam

Self = TypeVar("Self", bound="FourierParam")


class FourierParam(ColorParam):
    """Images ``[N, C, H, W]`` from their Fourier coefficients, each divided by its frequency.

    Natural images have such a spectrum, and a step of the optimiser then changes all frequencies alike. From Olah,
    Mordvintsev, Schubert, "Feature Visualization", 2017 (Lucid). Frequencies are measured in cycles per picture, so
    that coefficients keep their values when a picture grows.

    Arguments are those of ``ColorParam``.

    Attributes:
        decay: power of the frequency by which coefficients are divided; a subclass may set another.
    """

    decay: ClassVar[float] = 1.0
    scale: Tensor

    def start(self) -> None:
        self.register_buffer("scale", _scale(self.size, self.decay), persistent=False)
        start = self.noise(self.channels, self.size[0], self.size[1] // 2 + 1, 2)
        self.coefficients = nn.Parameter(start * self.noise_scale)

    def values(self) -> Tensor:
        values: Tensor = torch.fft.irfft2(self._spectrum(), s=self.size, norm="forward")
        return values

    def set_values(self, values: Tensor) -> None:
        self.coefficients.copy_(torch.view_as_real(torch.fft.rfft2(values, norm="forward") / self.scale))

    def _spectrum(self) -> Tensor:
        return torch.view_as_complex(self.coefficients * self.scale[..., None])

    @torch.no_grad()
    def grow(self: Self, size: int | Sequence[int]) -> Self:
        """The same pictures at another size: their spectrum padded with zeros, or cut."""
        grown = self._at(size)
        wider = torch.view_as_real(pad_spectrum(self._spectrum(), self.size, grown.size) / grown.scale)
        grown.coefficients.copy_(wider)
        return grown


def _scale(size: Size, decay: float) -> Tensor:
    """``[H, W // 2 + 1]``: 1/4 divided by the frequency, in cycles per picture, to the power of ``decay``."""
    height, width = size
    fy = torch.fft.fftfreq(height, dtype=torch.float32, device="cpu")[:, None]
    fx = torch.fft.rfftfreq(width, dtype=torch.float32, device="cpu")[None]
    cycles: Tensor = (fx.square() + fy.square()).sqrt() * (height * width) ** 0.5
    scale: Tensor = 0.25 / cycles.clamp_min((height * width) ** 0.5 / max(height, width)) ** decay
    return scale


def pad_spectrum(spectrum: Tensor, old: Size, new: Size) -> Tensor:
    """A half spectrum ``[..., H, W // 2 + 1]`` (``norm="forward"``) of images of size ``old``, for size ``new``.

    The highest frequency of an even size represents both its signs: it is split if the picture grows and joined if it
    shrinks, so that growing and shrinking back gives the same picture.
    """
    spectrum = _resize_rows(spectrum, old[0], new[0])
    columns = min(old[1] // 2, new[1] // 2) + 1
    out = spectrum.new_zeros(*spectrum.shape[:-1], new[1] // 2 + 1)
    out[..., :columns] = spectrum[..., :columns]
    if new[1] > old[1] and old[1] % 2 == 0:
        out[..., old[1] // 2] *= 0.5
    if new[1] < old[1] and new[1] % 2 == 0:
        # The column of the new highest frequency is the sum of both signs: the column and its mirror image.
        edge = spectrum[..., new[1] // 2]
        mirror = edge.flip(-1).roll(1, -1).conj()
        out[..., new[1] // 2] = edge + mirror
    return out


def _resize_rows(spectrum: Tensor, old: int, new: int) -> Tensor:
    if old == new:
        return spectrum
    small = min(old, new)
    out = spectrum.new_zeros(*spectrum.shape[:-2], new, spectrum.shape[-1])
    above, below = (small + 1) // 2, (small - 1) // 2  # numbers of rows with frequencies ≥ 0 and < 0
    out[..., :above, :] = spectrum[..., :above, :]
    if below:
        out[..., -below:, :] = spectrum[..., -below:, :]
    if small % 2 == 0:
        edge = small // 2
        if new > old:
            out[..., edge, :] = 0.5 * spectrum[..., edge, :]
            out[..., -edge, :] = 0.5 * spectrum[..., edge, :]
        else:
            out[..., edge, :] = spectrum[..., edge, :] + spectrum[..., -edge, :]
    return out
