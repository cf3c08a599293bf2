"""Matching: how similar the activations of a picture are to those of a given image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..checks import as_flag, as_kind, as_list, as_number, as_numbers, choice
from ..images import read_image
from ..network.addresses import IMAGE, Address
from .algebra import Combined, Objective, earlier_equals, objective
from .batches import Batch

Similarity = Literal["l2", "dot", "cosine", "dot_cosine"]
SIMILARITIES: tuple[Similarity, ...] = ("l2", "dot", "cosine", "dot_cosine")
LEAST = 1e-6
"""Smaller norms are replaced by this one, so that a layer that does not respond gives finite scores."""


@objective
class Match(Objective):
    """The similarity of a picture's activations to those of a given image, the target.

    With a the activations of a layer for the picture, t those for the target, both as one vector over all channels and
    positions, and cos = a·t / (|a| |t|), the score of each picture of a batch is

    - ``"l2"``: -|a - t|² / |t|², at most 0 (Mahendran, Vedaldi, "Understanding Deep Image Representations by Inverting
      Them", 2015);
    - ``"dot"``: a·t / |t|², which is 1 where a = t;
    - ``"cosine"``: cos;
    - ``"dot_cosine"``: a·t / |t|² max(cos, 0.1)^power, which exaggerates what the layer sees in the target (Lucid's
      caricatures). The lower limit of 0.1 avoids powers of negative numbers and zero gradients.

    The score of several layers is the weighted mean of theirs. The target is scaled to cover the picture, and cropped
    around its centre, at each stage. The score depends on absolute position: tiling is refused.

    Args:
        layers: address or module, or a list of these; ``"@image"`` is the image itself.
        image: the target, as a path, PIL image, array or tensor (``read_image``); ``[N, C, H, W]`` or a list of N
            images of one size for a batch of N pictures, one target each.
        similarity: ``"l2"``, ``"dot"``, ``"cosine"`` or ``"dot_cosine"``.
        power: the power of the cosine in ``"dot_cosine"``, 0 or more.
        same_transforms: True if the network gets the target under the same random transforms and the same channel
            noise as the picture in each step, which costs another forward pass. False if the target's activations are
            computed once, without transforms.
        weights: of the layers, one for each; by default all equal.

    Raises:
        ValueError: no layers, no such similarity, or images of several sizes.
        TypeError: no image.
    """

    layers: Any = ()
    image: Any = None
    similarity: Similarity = "l2"
    power: float = 2.0
    same_transforms: bool = True
    weights: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        one = isinstance(self.layers, (str, nn.Module))
        layers = (self.layers,) if one else tuple(as_list("layers", self.layers, "an address, or a list of these"))
        if not layers:
            raise ValueError("Match needs at least one layer, as in Match('features/12', 'photograph.jpg')")
        for layer in layers:
            as_kind(layer, (str, nn.Module), "a layer is an address such as 'features/18' or a module")
            if isinstance(layer, str) and layer != IMAGE:
                Address.of_layer(layer)
        choice("similarity", self.similarity, SIMILARITIES)
        as_number("power", self.power, low=0)
        as_flag("same_transforms", self.same_transforms)
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "image", _read(self.image))
        if self.weights is not None:
            object.__setattr__(self, "weights", _weights(self.weights, len(layers)))

    @property
    def placed(self) -> bool:
        return True

    def located(self, find: Callable[[str | nn.Module], str]) -> Objective:
        return self._with(layers=tuple(layer if layer == IMAGE else find(layer) for layer in self.layers))

    def twins(self, count: int) -> list[int]:
        return earlier_equals([one.numpy().tobytes() for one in self.image]) if self.pictures else list(range(count))

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG002
        raise ValueError(f"{self!r} is scored in a run, which knows the activations of its image: give it to OptVis")

    def shown(self, image: Tensor) -> Match:
        """The same with other target images ``[N, C, H, W]``: larger or smaller, or on another device."""
        return self._with(image=image)

    def against(self, activations: Mapping[str, Tensor]) -> Objective:
        """The objective that compares with the target's activations, ``[N, C, ...]`` or ``[1, C, ...]``."""
        targets = tuple(activations[layer].detach() for layer in self.layers)
        return Matched(self.layers, targets, self.similarity, self.power, self.weights)

    def _each_picture(self) -> dict[str, Any]:
        image = self.image
        return {"image": image} if isinstance(image, Tensor) and image.dim() == 4 and len(image) > 1 else {}


@objective
class Matched(Objective):
    """As ``Match``, for known ``targets``: the activations ``[N, C, ...]`` or ``[1, C, ...]`` of each layer."""

    layers: tuple[str, ...] = ()
    targets: tuple[Tensor, ...] = ()
    similarity: Similarity = "l2"
    power: float = 2.0
    weights: tuple[float, ...] | None = None

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        weights = self.weights or (1.0,) * len(self.layers)
        scores = [
            weight / sum(weights) * similarity_of(activations[layer], target, self.similarity, self.power)
            for layer, target, weight in zip(self.layers, self.targets, weights, strict=True)
        ]
        return torch.stack(scores).sum(0)


def similarity_of(activations: Tensor, targets: Tensor, similarity: Similarity, power: float = 2.0) -> Tensor:
    """``[N]``: the similarities that ``Match`` defines, of activations ``[N, ...]`` to targets ``[N or 1, ...]``.

    Each image is compared with its own target alone.
    """
    found = activations.flatten(1)
    target = targets.flatten(1).expand_as(found)
    scale: Tensor = target.norm(dim=1).clamp_min(LEAST)
    if similarity == "l2":
        return -((found - target) / scale[:, None]).square().sum(1)
    dot: Tensor = (found * target / scale[:, None]).sum(1)
    if similarity == "dot":
        return dot / scale
    cosine: Tensor = dot / found.norm(dim=1).clamp_min(LEAST)
    return cosine if similarity == "cosine" else dot / scale * cosine.clamp_min(0.1).pow(power)


def matched(whole: Objective, change: Callable[[Match, slice], Objective], pictures: slice = slice(None)) -> Objective:
    """An objective with each ``Match`` within it replaced by what ``change`` makes of it.

    ``change`` is also given the pictures of the batch that the ``Match`` scores.
    """
    if isinstance(whole, Match):
        return change(whole, pictures)
    if isinstance(whole, Batch):
        parts = (matched(one, change, slice(i, i + 1)) for i, one in enumerate(whole.objectives))
        return Batch(tuple(parts))
    if isinstance(whole, Combined):
        return whole._each(lambda part: matched(part, change, pictures))  # noqa: SLF001
    return whole


def _read(image: Any) -> Tensor:
    """Target images as float32 ``[N, C, H, W]`` in [0, 1]."""
    if not isinstance(image, (list, tuple)):
        return read_image(image)
    images = [read_image(one) for one in image]
    if not images:
        raise ValueError("an empty list of images makes no picture: give at least one")
    sizes = sorted({tuple(one.shape[1:]) for one in images})
    if len(sizes) > 1:
        raise ValueError(f"the images have {len(sizes)} shapes, {sizes[0]} and {sizes[1]}: give them in one size")
    return torch.cat(images)


def _weights(weights: Sequence[float], count: int) -> tuple[float, ...]:
    numbers = tuple(as_numbers("weights", weights, count, "layers"))
    if min(numbers) < 0 or not sum(numbers):
        raise ValueError(f"weights {numbers}: give numbers of at least 0, not all zero")
    return numbers
