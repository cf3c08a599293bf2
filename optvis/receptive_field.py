"""The part of an image that a position of a layer sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .activations import Reader
from .checks import Size
from .network import LayerShape, isolated
from .rng import Rng

UNITS, ROUNDS = 8, 2
"""Positions along the diagonal whose fields are measured, and the number of noise images for each."""


@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """The receptive fields of a layer's positions.

    Attributes:
        size: (height, width) of the image in pixels.
        rows: ``[h, 2]``: the first pixel row that each row of positions sees, and the one after the last.
        columns: ``[w, 2]``: likewise.
    """

    size: Size
    rows: Tensor
    columns: Tensor

    @property
    def positions(self) -> int:
        """The number of positions; 1 for a layer without a grid."""
        return len(self.rows) * len(self.columns)

    @property
    def largest(self) -> int:
        """The longest side of a field in pixels."""
        return int(max((ends[:, 1] - ends[:, 0]).max() for ends in (self.rows, self.columns)))

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """(top, left, height, width) in pixels of what a position sees, within the image."""
        (top, bottom), (left, right) = self.rows[row].tolist(), self.columns[column].tolist()
        return top, left, bottom - top, right - left


def place_of(shape: LayerShape) -> Size | None:
    """The grid of positions of a layer; for tokens, of its patches; ``None`` if the positions have no grid."""
    if len(shape.shape) == 3 and shape.layout.rows == 1:
        return shape.shape[1], shape.shape[2]
    return shape.grid


def receptive_field(reader: Reader, layer: str, size: Size, coverage: float = 0.95) -> ReceptiveField:
    """Measure the receptive fields of a layer by gradients on noise.

    For positions along the diagonal, the gradient of a random combination of channels with respect to noise images is
    taken; its absolute values are summed over pixel rows and columns. A field is the range that holds ``coverage`` of
    that sum, in height and width each, with equal rests at both ends (the effective receptive field, Luo et al. 2016);
    with a coverage of 1 it holds every pixel with an effect. Fields of one size, at centres on a straight line, are
    fitted to the measured ones that do not touch the image's edge; where fewer than two are free of it, as in deep
    layers, ends are interpolated between the measured ones.

    Args:
        reader: of the network and layer.
        layer: its address.
        size: (height, width) of the images in pixels.
        coverage: above 0 and up to 1.
    """
    place = place_of(reader.shapes(size)[layer])
    whole = ReceptiveField(size, torch.tensor([[0, size[0]]]), torch.tensor([[0, size[1]]]))
    if place is None:
        return whole
    units = min(UNITS, max(place))
    steps = torch.linspace(0, 1, units, dtype=torch.float64)
    rows, columns = ((steps * (n - 1)).round().long() for n in place)
    influence = sum(_influence(reader, layer, size, rows * place[1] + columns, seed) for seed in range(ROUNDS))
    assert isinstance(influence, Tensor)
    fitted = [
        _fitted(rows, _ranges(influence.sum(2), coverage), place[0], size[0]),
        _fitted(columns, _ranges(influence.sum(1), coverage), place[1], size[1]),
    ]
    return ReceptiveField(size, *fitted)


def _influence(reader: Reader, layer: str, size: Size, units: Tensor, seed: int) -> Tensor:
    """``[units, H, W]``: absolute gradients of positions with respect to noise images, one image for each."""
    channels = reader.prepared.given.channels
    noise = Rng([seed * len(units) + i for i in range(len(units))]).normal(channels, *size)
    with isolated(reader.prepared.given.device), torch.enable_grad():
        images = (0.5 + 0.2 * noise).clamp(0, 1).requires_grad_()
        seen = reader(images, gradient=True)[layer]
        tokens = seen.flatten(2)
        place = place_of(reader.shapes(size)[layer])
        assert place is not None
        tokens = tokens[..., -place[0] * place[1] :]
        weights = Rng([seed]).normal(tokens.shape[1]).to(tokens)
        own = tokens[torch.arange(len(units)), :, units.to(tokens.device)]
        (gradient,) = torch.autograd.grad((own * weights).sum(), images)
    return gradient.abs().sum(1).double().cpu()


def _ranges(sums: Tensor, coverage: float) -> Tensor:
    """``[units, 2]``: first and one after the last index of the range that holds ``coverage`` of ``[units, n]``."""
    total = sums.sum(1, keepdim=True)
    part = sums.cumsum(1) / total.clamp_min(1e-300)
    rest = (1 - coverage) / 2
    first = (part <= rest).sum(1)
    after = (part < 1 - rest - 1e-12).sum(1) + 1
    none = total[:, 0] == 0  # a position that is silent on noise
    first, after = torch.where(none, 0, first), torch.where(none, sums.shape[1], after.clamp_max(sums.shape[1]))
    return torch.stack([first, after], 1)


def _fitted(places: Tensor, ranges: Tensor, count: int, pixels: int) -> Tensor:
    """``[count, 2]``: the ranges of all positions from those of some, within the image."""
    free = (ranges[:, 0] > 0) & (ranges[:, 1] < pixels)
    if places[free].unique().numel() < 2:
        return _interpolated(places, ranges, count)
    known, (first, after) = places[free].double(), ranges[free].double().T
    middle = (first + after) / 2
    slope = ((known - known.mean()) * (middle - middle.mean())).sum() / (known - known.mean()).square().sum()
    start = middle.mean() - slope * known.mean()
    before, beyond = ((start + slope * known) - first).max(), (after - (start + slope * known)).max()
    firsts = (start + slope * torch.arange(count) - before + 1e-6).floor()
    found = torch.stack([firsts, firsts + (before + beyond - 1e-6).ceil()], 1).long().clamp(0, pixels)
    # A position may see nothing but padding.
    return torch.stack([found[:, 0].clamp_max(pixels - 1), found[:, 1].clamp_min(1)], 1)


def _interpolated(places: Tensor, ranges: Tensor, count: int) -> Tensor:
    """``[count, 2]``: the ranges of all positions from those of some; outwards where between whole pixels."""
    at = torch.arange(count)
    after = torch.searchsorted(places, at).clamp(1, max(len(places) - 1, 1)).clamp_max(len(places) - 1)
    before = (after - 1).clamp_min(0)
    share = ((at - places[before]) / (places[after] - places[before]).clamp_min(1)).double()[:, None]
    found = ranges[before] * (1 - share) + ranges[after] * share
    return torch.stack([(found[:, 0] + 1e-6).floor(), (found[:, 1] - 1e-6).ceil()], 1).long()
