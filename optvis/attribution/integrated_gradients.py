"""Integrated gradients, with an adaptive number of steps on the path from the baseline to the image."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import as_count
from .baselines import Baseline, as_baseline
from .captum_bridge import Scores, captum, one_by_one
from .context import Context
from .registry import method

STEPS, MOST_PIECES = 50, 16
TOLERANCE, TOLERANCE_OF_GIVEN_STEPS = 0.01, 0.05


@method("integrated_gradients", summed=False)
def integrated_gradients(
    context: Context, baseline: Baseline = "black", steps: int | None = None, batch_size: int = 32
) -> Tensor:
    """(x - b) times the mean of ∂y/∂x along the path from b to x. Sundararajan, "Axiomatic Attribution ...", 2017.

    Args:
        context: the images and the target.
        baseline: where the path begins, as ``as_baseline`` takes it.
        steps: number of points on the path. ``None`` begins with 50 and adds more until the sum of the values is
            within 1 % of the difference of the scores of image and baseline.
        batch_size: number of images in a forward pass.

    Warns:
        UserWarning: the values are off by more than 1 % after 800 steps, or by more than 5 % after ``steps``.
    """
    if steps is not None:
        as_count("steps", steps)
    as_count("batch_size", batch_size)
    starts = context.forward.normalise(as_baseline(context, baseline))
    context.progress.begin(((steps or STEPS) + 2) * len(context.images))  # two for the scores at the ends
    return one_by_one(context, lambda image, start: _path(image, start, steps, batch_size), starts)


class _Point(NamedTuple):
    """A point of the path, from 0 (the baseline) to 1 (the image): the normalised image there and its score."""

    at: float
    inputs: Tensor
    score: float


class _Piece(NamedTuple):
    """A piece of the path, its values, and ``off``, the error of their sum against the rise of the score."""

    low: _Point
    high: _Point
    values: Tensor
    off: float


def _path(image: Context, start: Tensor, steps: int | None, batch_size: int) -> Tensor:
    """Integrated gradients of one image, ``[1, C, H, W]``.

    The values of a piece of the path must add up to the difference of the scores at its ends. The piece with the
    largest error is halved, and each half gets half as many steps, until the total is right.
    """
    engine, end = captum("IntegratedGradients")(Scores(image)), image.inputs.detach()
    start = start.expand_as(end)

    def point(at: float) -> _Point:
        inputs = start if at == 0 else end if at == 1 else torch.lerp(start, end, at)
        with torch.no_grad():
            return _Point(at, inputs, float(image.run(inputs)[0].sum()))

    def piece(low: _Point, high: _Point, steps: int) -> _Piece:
        values: Tensor = engine.attribute(
            high.inputs, baselines=low.inputs, n_steps=steps, internal_batch_size=batch_size
        ).detach()
        return _Piece(low, high, values, float(values.sum()) - (high.score - low.score))

    pieces = [piece(point(0), point(1), steps or STEPS)]
    (whole,) = pieces
    rise, mass = whole.high.score - whole.low.score, float(whole.values.abs().sum())
    # If the score hardly rises, the bound follows the values, so that rounding errors do not count.
    bound = (TOLERANCE if steps is None else TOLERANCE_OF_GIVEN_STEPS) * max(abs(rise), 0.001 * mass)
    while (off := abs(sum(one.off for one in pieces))) > bound and steps is None and len(pieces) < MOST_PIECES:
        worst = pieces.pop(max(range(len(pieces)), key=lambda i: abs(pieces[i].off)))
        image.progress.extend(2 * (STEPS // 2) + 1)
        middle = point((worst.low.at + worst.high.at) / 2)
        pieces += [piece(worst.low, middle, STEPS // 2), piece(middle, worst.high, STEPS // 2)]
    values = torch.stack([one.values for one in pieces]).sum(0)
    if off > bound:
        warnings.warn(
            f"integrated_gradients of {image.target.labels[0]!r} add up to {float(values.sum()):.4g} in "
            f"{steps or STEPS * len(pieces)} steps, and the scores of image and baseline differ by {rise:.4g}: give "
            "more steps",
            stacklevel=7,
        )
    return values
