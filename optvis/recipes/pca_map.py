"""The positions of a layer in colours: their first three principal components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..activations import Reader, find_layers
from ..attribution.inputs import read_inputs
from ..checks import Size, as_flag
from ..figure import Figure, settings_of
from ..images import enlarged, grid, to_pil
from ..network import LayerShape, NetworkInput
from ..receptive_field import place_of
from ..view import view

BATCH = 8
CLIPPED = 0.01
"""The fraction of positions beyond each end of a component's range of colours."""
FADED = 0.22
"""Contrast of the grey image behind the background."""


@view("pca")
def pca_map(
    network: nn.Module,
    layer: str | nn.Module,
    images: Any,
    foreground: bool = True,
    size: int | None = None,
    *,
    mean: Any = None,
    std: Any = None,
) -> Figure:
    """Colour the positions of images by the first three principal components of a layer's activations.

    Positions (pixels of a convolution's output, or patch tokens) of similar activations have similar colours, in all
    images, because the components are fitted to all of them together. Each position's activations are scaled to unit
    length. As in DINOv2, the first component separates foreground from background, and three components of the
    foreground alone are drawn: red, green and blue. The threshold is that of Otsu; the background is the side that the
    outer positions of the images belong to. This works for networks trained without labels, and for images with one
    object; for others give ``foreground=False``.

    ::

        pca_map(network, "blocks/11", ["dog.jpg", "cat.jpg"]).save("parts.png")

    Args:
        network: any ``nn.Module`` that takes images; it is read, never changed.
        layer: address or module; its output has positions, ``[N, C, H, W]``, or patch tokens in a grid.
        images: RGB in [0, 1], paths or PIL images, one or a list; several at once make the colours comparable.
        foreground: remove the background by the first component; otherwise, draw the first three of all positions.
        size: of the images for the network, in pixels; by default its own, or 224. Larger images give finer maps.
        mean: of the normalisation, per channel; by default the network's own.
        std: likewise.

    Returns:
        A figure: the images, and below each its colours over the image in grey. ``values`` holds the grid of positions,
        the fraction of the variance that each component explains, and the fraction of each image that is foreground.
        ``tensors`` holds ``"colours"`` ``[N, 3, h, w]`` in [0, 1], ``"foreground"`` ``[N, h, w]`` (bool) and
        ``"components"`` ``[3, C]``.

    Raises:
        ValueError: an unknown layer, one without a grid of positions, or images of different sizes.
    """
    (address,) = find_layers(network, layer if isinstance(layer, nn.Module) else [layer])
    foreground = as_flag("foreground", foreground)
    given = NetworkInput.of(network, mean, std)
    pictures = read_inputs(images, given.channels, given.default_size if size is None else size).images
    vectors = _positions(Reader.of(network, [address], given), address, pictures)
    parts = _separated(vectors) if foreground else _Parts(vectors, torch.ones(vectors.shape[:3], dtype=torch.bool))
    inside = vectors[parts.inside]
    centre = inside.mean(0)
    axes, explained = _components(inside - centre)
    scores = ((vectors - centre) @ axes.T).movedim(-1, 1)
    colours = _as_colours(scores, parts.inside)
    values = {
        "layer": address,
        "grid": list(vectors.shape[1:3]),
        "explained": explained,
        "foreground": parts.inside.float().mean((1, 2)).tolist(),
    }
    tensors = {"colours": colours.contiguous(), "foreground": parts.inside, "components": axes.contiguous()}
    settings = settings_of("pca", network, layer=address, foreground=foreground, size=size)
    return Figure(_drawn(pictures.cpu(), parts, colours), settings, values, tensors)


@dataclass(frozen=True, eq=False)
class _Parts:
    """Foreground and background.

    Attributes:
        level: ``[N, h, w]``, above 0 in the foreground; unused where everything is.
        inside: ``[N, h, w]``, true in the foreground.
    """

    level: Tensor
    inside: Tensor

    @property
    def whole(self) -> bool:
        return bool(self.inside.all())


def _positions(reader: Reader, layer: str, pictures: Tensor) -> Tensor:
    """``[N, h, w, C]``: the activations at each position, of unit length, on the CPU."""
    size = reader.shown_size((pictures.shape[-2], pictures.shape[-1]))
    shape = reader.shapes(size)[layer]
    place = _grid_of(layer, shape)
    found = []
    for part in pictures.split(BATCH):
        seen = reader(part)[layer].cpu()
        tokens = seen.flatten(2)[..., -place[0] * place[1] :]  # class and register tokens come first
        found.append(tokens.unflatten(2, place).movedim(1, -1))
    return F.normalize(torch.cat(found), dim=-1)


def _grid_of(layer: str, shape: LayerShape) -> Size:
    place = place_of(shape)
    if place is None:
        raise ValueError(
            f"layer {layer!r} puts out {list(shape.shape)} for an image, which is no grid of positions: choose a layer "
            "with [C, H, W], or a transformer's block with patch tokens"
        )
    if min(place) < 2 or place[0] * place[1] < 9:
        raise ValueError(
            f"layer {layer!r} has {place[0]} × {place[1]} positions, too few for a map: choose an earlier one"
        )
    return place


def _components(centred: Tensor, count: int = 3) -> tuple[Tensor, list[float]]:
    """The first principal components ``[3, C]`` of centred rows, and the fraction of the variance of each."""
    covariance = centred.double().T @ centred.double() / len(centred)
    variances, axes = torch.linalg.eigh(covariance)
    axes, variances = axes.flip(1)[:, :count].T, variances.flip(0).clamp_min(0)
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    axes = F.pad(axes, (0, 0, 0, count - len(axes)))
    explained = (variances / variances.sum().clamp_min(1e-30)).tolist()[:count]
    return axes.float(), explained


def _separated(vectors: Tensor) -> _Parts:
    """Foreground and background by the first component of all positions."""
    flat = vectors.flatten(0, 2)
    axes, _ = _components(flat - flat.mean(0))
    level = (vectors - flat.mean(0)) @ axes[0]
    level = level - _otsu(level.flatten())
    edge = torch.ones(level.shape[1:], dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    if (level > 0).float()[:, edge].mean() > (level > 0).float()[:, ~edge].mean():
        level = -level
    inside = level > 0
    if inside.sum() < 4:  # a flat image, in which nothing is apart
        return _Parts(level, torch.ones_like(inside))
    return _Parts(level, inside)


def _otsu(values: Tensor) -> float:
    """The threshold that leaves the least variance within both sides (Otsu 1979)."""
    ordered = values.double().sort().values
    count = len(ordered)
    below = torch.arange(1, count)
    left = ordered.cumsum(0)[:-1]
    between = below * (count - below) * (left / below - (ordered.sum() - left) / (count - below)) ** 2
    best = int(between.argmax())
    return float((ordered[best] + ordered[best + 1]) / 2)


def _as_colours(scores: Tensor, inside: Tensor) -> Tensor:
    """Scores ``[N, 3, h, w]`` scaled to [0, 1], each component by its range in the foreground of all images."""
    seen = scores.movedim(1, -1)[inside]
    low, high = (seen.double().quantile(q, 0).float() for q in (CLIPPED, 1 - CLIPPED))
    scaled = (scores - low[:, None, None]) / (high - low).clamp_min(1e-12)[:, None, None]
    return scaled.clamp(0, 1)


def _drawn(pictures: Tensor, parts: _Parts, colours: Tensor) -> Image.Image:
    """Images in rows, and below each its colours; the background is the image in pale grey."""
    size = pictures.shape[-2:]
    large = F.interpolate(colours, size, mode="bicubic", align_corners=False).clamp(0, 1)
    rgb = pictures if pictures.shape[1] == 3 else pictures.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    if not parts.whole:
        level = F.interpolate(parts.level[:, None], size, mode="bicubic", align_corners=False)
        opacity = (level / level.abs().flatten(1).quantile(0.9).clamp_min(1e-12) * 8 + 0.5).clamp(0, 1)
        grey = 1 - FADED * (1 - rgb.mean(1, keepdim=True))
        large = opacity * large + (1 - opacity) * grey
    columns = min(len(pictures), 6)
    cells: list[Image.Image] = []
    for start in range(0, len(pictures), columns):
        row = slice(start, start + columns)
        for shown in (rgb[row], large[row]):
            cells += [to_pil(one) for one in shown]
            cells += [Image.new("RGB", (size[1], size[0]), "white")] * (columns - len(shown))
    return grid(enlarged(cells), columns)
