"""Deletion and insertion: scores as pixels are removed or inserted, from the most to the least important."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..attribution.baselines import Baseline, as_baseline
from ..checks import as_count
from .scorer import Extra, Map, importance, ranks, scoring


@dataclass(frozen=True)
class Curve:
    """Scores as a function of the fraction of changed pixels.

    Attributes:
        fractions: ``[K]`` in [0, 1], rising: the fractions of the pixels.
        scores: ``[N, K]``.
        area: ``[N]``: the mean height of each curve: its area (trapezoid) divided by the range of the fractions.
    """

    fractions: Tensor
    scores: Tensor
    area: Tensor

    @classmethod
    def of(cls, fractions: Tensor | Sequence[float], scores: Tensor) -> Curve:
        """A curve with its areas; the area of a single point is its height."""
        fractions = torch.as_tensor(fractions, dtype=torch.float32)
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
    """The score as pixels are removed, the most important first. With a good map it falls fast: a small area.

    Petsiuk et al., "RISE", 2018.

    Args:
        network: the network that was explained.
        attribution: the map. Pixels of equal value are ordered from top left to bottom right.
        steps: in how many steps all pixels are removed.
        baseline: replaces them: ``"black"``, ``"grey"``, ``"white"``, ``"mean"`` (of the network, as in the paper),
            ``"blur"``, or a colour or image in [0, 1].
        softmax: True to score a class by its probability instead of its output; ignored for other targets.
        sign: which values count: ``"all"`` as they are, ``"absolute"``, ``"positive"`` or ``"negative"``.
        batch_size: number of images in a forward pass.
        extra_inputs: further inputs of the network, as for ``attribute``.

    Returns:
        A curve with ``steps + 1`` points, from the whole image to none of it.
    """
    return _stepwise(network, attribution, steps, baseline, softmax, sign, batch_size, extra_inputs, putting_in=False)


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
    """The score as pixels are inserted, the most important first. With a good map it rises fast: a large area.

    Petsiuk et al., "RISE", 2018. Arguments as for ``deletion``; the pixels are inserted into the baseline, by default
    the blurred image.
    """
    return _stepwise(network, attribution, steps, baseline, softmax, sign, batch_size, extra_inputs, putting_in=True)


def _stepwise(
    network: nn.Module,
    attribution: Map,
    steps: int,
    baseline: Baseline,
    softmax: bool,
    sign: str,
    batch_size: int,
    extra_inputs: Extra,
    putting_in: bool,
) -> Curve:
    as_count("steps", steps)
    rank = ranks(importance(attribution, sign))
    pixels = rank[0].numel()
    counts = torch.linspace(0, pixels, steps + 1, dtype=torch.float64).round().long()
    with scoring(network, attribution, softmax, batch_size, extra_inputs) as scorer:
        images, empty = scorer.images, as_baseline(scorer.context, baseline)
        rank, marks = rank.to(images.device), counts.to(images.device)

        def changed(image: Tensor, step: Tensor) -> Tensor:
            reached = (rank[image] < marks[step, None, None])[:, None]
            return torch.where(reached == putting_in, images[image], empty[image])

        scores = scorer.versions(steps + 1, changed)
    return Curve.of(counts / pixels, scores)
