"""Deletion and insertion: the score as pixels are taken away or put in, the most important first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..attribution.baselines import Baseline, as_baseline
from ..checks import as_count
from .scorer import Extra, Map, Scorer, importance, scoring


@dataclass(frozen=True)
class Curve:
    """Scores by the fraction of the pixels that were changed.

    Attributes:
        fractions: ``[K]`` in [0, 1], rising.
        scores: ``[N, K]``.
        area: ``[N]``: the area under each curve (trapezoid) divided by the range of the fractions: its mean height.
    """

    fractions: Tensor
    scores: Tensor
    area: Tensor

    @classmethod
    def of(cls, fractions: Tensor | Sequence[float], scores: Tensor) -> Curve:
        """A curve and its areas; the area of a single point is its height."""
        fractions = torch.as_tensor(fractions, dtype=torch.float32, device=scores.device)
        extent = float(fractions[-1] - fractions[0])
        area = torch.trapezoid(scores, fractions, dim=1) / extent if extent else scores.mean(1)
        return cls(fractions, scores, area)


def deletion(
    network: nn.Module,
    attribution: Map,
    steps: int = 100,
    baseline: Baseline = "mean",
    softmax: bool = True,
    sign: str = "all",
    batch_size: int = 32,
    extra_inputs: Extra = (),
) -> Curve:
    """The score as pixels are removed, the most important first. A good map has a small area: the score falls fast.

    Petsiuk et al., "RISE", 2018.

    Args:
        network: the network that was explained.
        attribution: the map. Pixels of equal value are taken in reading order.
        steps: number of steps in which all pixels are removed.
        baseline: what replaces them: ``"black"``, ``"grey"``, ``"white"``, ``"mean"`` (of the network, as in
            the paper), ``"blur"``, or a colour or image in [0, 1].
        softmax: True to score a class by its probability instead of its output.
        sign: which values count: ``"all"`` as they are, ``"absolute"``, ``"positive"`` or ``"negative"``.
        batch_size: number of images in a forward pass.
        extra_inputs: further inputs of the network, as for ``attribute``.

    Returns:
        A curve with ``steps + 1`` points, from the whole image to none of it.
    """
    with scoring(network, attribution, softmax, batch_size, extra_inputs) as scorer:
        return _stepwise(scorer, importance(attribution, sign), steps, baseline, putting_in=False)


def insertion(
    network: nn.Module,
    attribution: Map,
    steps: int = 100,
    baseline: Baseline = "blur",
    softmax: bool = True,
    sign: str = "all",
    batch_size: int = 32,
    extra_inputs: Extra = (),
) -> Curve:
    """The score as pixels are added, the most important first. A good map has a large area: the score rises fast.

    Petsiuk et al., "RISE", 2018. Arguments as for ``deletion``; the baseline is the image at the start, by default the
    blurred image.
    """
    with scoring(network, attribution, softmax, batch_size, extra_inputs) as scorer:
        return _stepwise(scorer, importance(attribution, sign), steps, baseline, putting_in=True)


def _stepwise(scorer: Scorer, important: Tensor, steps: int, baseline: Baseline, putting_in: bool) -> Curve:
    as_count("steps", steps)
    images, empty = scorer.context.images, as_baseline(scorer.context, baseline)
    pixels = important[0].numel()
    counts = torch.linspace(0, pixels, steps + 1, dtype=torch.float64, device="cpu").round().long()

    def changed(image: Tensor, reached: Tensor) -> Tensor:
        return torch.where(reached == putting_in, images[image], empty[image])

    return Curve.of(counts / pixels, scorer.most_important(important, counts, changed))
