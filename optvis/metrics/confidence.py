"""Average drop and increase in confidence: the score of the image times its map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..attribution.baselines import Baseline, as_baseline
from .scorer import Extra, Map, Scorer, scoring


def average_drop(
    network: nn.Module,
    attribution: Map,
    baseline: Baseline = "black",
    softmax: bool = True,
    batch_size: int = 32,
    extra_inputs: Extra = (),
) -> Tensor:
    """``[N]`` in [0, 1]: the share of the score that the image times its map loses; small is good.

    max(0, y - o) / y, with y the score of the image and o that of image times map (Chattopadhay et al., "Grad-CAM++",
    2018). Its mean over many images is the average drop of the paper.

    The map is that of ``heatmap()``, in [0, 1]; ``baseline`` is what the image shows where it is 0. Arguments as for
    ``deletion``.

    Raises:
        ValueError: a score is below 0.
    """
    with scoring(network, attribution, softmax, batch_size, extra_inputs) as scorer:
        before, after = _before_and_after(scorer, attribution, baseline)
    if (before < 0).any():
        worst = int(before.argmin())
        raise ValueError(
            f"image {worst} has the score {float(before[worst]):.3g}: a drop is a fraction of a positive score, "
            "explain a class, with softmax=True"
        )
    return torch.where(before > 0, (before - after).relu() / before.clamp(min=torch.finfo(torch.float32).tiny), 0.0)


def increase_in_confidence(
    network: nn.Module,
    attribution: Map,
    baseline: Baseline = "black",
    softmax: bool = True,
    batch_size: int = 32,
    extra_inputs: Extra = (),
) -> Tensor:
    """``[N]``: 1 where the image times its map has a higher score than the image, else 0; 1 is good.

    Chattopadhay et al., "Grad-CAM++", 2018. Arguments as for ``average_drop``.
    """
    with scoring(network, attribution, softmax, batch_size, extra_inputs) as scorer:
        before, after = _before_and_after(scorer, attribution, baseline)
    return (after > before).float()


def _before_and_after(scorer: Scorer, attribution: Map, baseline: Baseline) -> tuple[Tensor, Tensor]:
    images = scorer.context.images
    shown = attribution.heatmap().detach().to(images)[:, None]
    return scorer.once(images), scorer.once(torch.lerp(as_baseline(scorer.context, baseline), images, shown))
