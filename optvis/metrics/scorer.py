"""Helpers of all metrics: maps at the size of their image, and scores of changed images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.alone import forward_of
from ..attribution.context import Context
from ..attribution.plotting import SIGNS, of_sign, resized
from ..attribution.result import Attribution
from ..attribution.target_layer import shapes_of
from ..attribution.targets import Target, logits
from ..checks import as_count, as_flag, choice, shown
from ..network import NetworkInput, isolated

Make = Callable[[Tensor, Tensor], Tensor]
"""From indices of images ``[M]`` and of their versions ``[M]`` to changed images ``[M, C, H, W]`` in [0, 1]."""

Extra = Sequence[Any] | Mapping[str, Any] | Tensor
"""Further inputs of a network, as ``attribute`` takes them."""


Map = Attribution
"""What metrics measure; only its values, images, target, settings, method, layers and ``heatmap`` are used."""


def as_map(attribution: Any) -> Map:
    """``attribution``; raises ``TypeError`` where it is none."""
    if not (isinstance(getattr(attribution, "values", None), Tensor) and hasattr(attribution, "target")):
        raise TypeError(f"an attribution is what attribute() returns, not {shown(attribution)}")
    return attribution  # type: ignore[no-any-return]


def importance(attribution: Map, sign: str = "all") -> Tensor:
    """``[N, H, W]``, float32: the values at each pixel of the images, summed over the channels, of one of ``SIGNS``."""
    choice("sign", sign, SIGNS)
    maps = as_map(attribution).values.detach().float().sum(1, keepdim=True)
    if not torch.isfinite(maps).all():
        raise ValueError(f"the map of {attribution.method} holds NaN or infinite values, which have no order")
    maps = of_sign(maps, sign)
    size = attribution.images.shape[-2:]
    return (maps if maps.shape[-2:] == size else resized(maps, size))[:, 0]


@dataclass(frozen=True, eq=False)
class Scorer:
    """Scores changed images by the target of an attribution; ``context`` is that of the unchanged images."""

    context: Context
    softmax: bool
    batch_size: int

    @torch.no_grad()
    def versions(self, count: int, make: Make) -> Tensor:
        """``[N, count]`` scores of ``count`` versions of each image, float32, on the CPU."""
        images, target = len(self.context.images), self.context.target
        # A function of the output, or a further input, may depend on the index of an image: keep the order.
        extra = self.context.forward.extra
        given = extra.values() if isinstance(extra, Mapping) else extra
        own = any(isinstance(one, Tensor) and one.dim() and len(one) == images for one in given)
        by_place = images > 1 and (own or (target.classes is None and target.objective is None))
        rows = torch.arange(images * count, device=self.context.images.device)
        parts = rows.split(images if by_place else self.batch_size)
        scores = [self._scores(make(part % images, part // images), (part % images).tolist()) for part in parts]
        return torch.cat(scores).view(count, images).mT.contiguous()

    def most_important(self, important: Tensor, counts: Tensor, change: Make) -> Tensor:
        """``[N, K]`` scores of the images with their ``counts[k]`` most important pixels changed.

        ``change`` gets indices of images ``[M]`` and ``[M, 1, H, W]``, true for these pixels. Of equal ones, those
        nearest to the top left come first.
        """
        order = important.flatten(1).argsort(dim=1, descending=True, stable=True)
        places = torch.arange(order.shape[1], device=order.device).expand_as(order).contiguous()
        rank = torch.empty_like(order).scatter_(1, order, places).view_as(important).to(self.context.images.device)
        counts = counts.to(rank.device)
        return self.versions(
            len(counts), lambda image, step: change(image, (rank[image] < counts[step, None, None])[:, None])
        )

    def once(self, images: Tensor) -> Tensor:
        """``[N]`` scores of one version ``[N, C, H, W]`` of each image."""
        return self.versions(1, lambda image, _: images[image])[:, 0]

    def _scores(self, images: Tensor, owners: Sequence[int]) -> Tensor:
        target = self.context.target.take(owners)
        if self.softmax and target.classes is not None:
            target = Target(target.labels, _probability(target.classes))
        scores = replace(self.context, target=target).run(self.context.forward.normalise(images))[0]
        return scores.detach().float().cpu()


@contextmanager
def scoring(
    network: nn.Module, attribution: Map, softmax: bool = True, batch_size: int = 32, extra_inputs: Extra = ()
) -> Iterator[Scorer]:
    """A ``Scorer`` by the attribution's target; isolated from the caller's torch contexts within the block."""
    as_count("batch_size", batch_size)
    softmax = as_flag("softmax", softmax)
    target = as_map(attribution).target
    if target.score is None and target.objective is None:
        raise ValueError(f"{attribution.method} combines attributions for different targets, which have no one score")
    settings = attribution.settings
    while settings.get("of"):  # of a combination of attributions, those of the first
        settings = settings["of"][0]
    given = NetworkInput.of(network, settings.get("mean"), settings.get("std"))
    with isolated(given.device):
        forward = forward_of(network, given, extra_inputs)
        images = attribution.images.detach().to(given.device).float()
        if images.shape[1] != given.channels:
            raise ValueError(
                f"the images have {images.shape[1]} channels, {type(forward.network).__name__} takes {given.channels}: "
                "give the network that was explained"
            )
        context = Context.of(forward, images, target, shapes_of(forward, images, target.layers))
        yield Scorer(context, softmax, batch_size)


def _probability(classes: Sequence[int]) -> Callable[[Any], Tensor]:
    def score(output: Any) -> Tensor:
        rows = logits(output).float()
        # The softmax of a single output is always 1.
        probabilities = rows.softmax(1) if rows.shape[1] > 1 else rows.sigmoid()
        return probabilities.gather(1, torch.tensor(list(classes), device=rows.device)[:, None])[:, 0]

    return score
