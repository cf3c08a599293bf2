"""The way from a baseline to an image, in as many steps as it takes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .context import Context

STEPS, MOST_PIECES = 50, 16


@dataclass(frozen=True, eq=False)
class _Place:
    """Where on the way (0 the baseline, 1 the image), the image there, and its score."""

    place: float
    image: Tensor
    score: float


@dataclass(frozen=True, eq=False)
class _Piece:
    """A part of the way, its values, and by how much these add up to more than the rise of the score."""

    low: _Place
    high: _Place
    values: Tensor
    off: float


def adding_up(engine: Any, look: Context, given: dict[str, Any]) -> Tensor:
    """Integrated gradients of one image, ``[1, C, H, W]``, that add up to the difference of the scores within 1 %.

    What a piece of the way has to add up to is known: the difference of the scores at its ends. So the piece that is
    furthest off is halved, and each half gets half as many steps, until the sum is right.

    Args:
        engine: Captum's ``IntegratedGradients``.
        look: at one image.
        given: what Captum is given; where ``n_steps`` is a number, so many are made, whatever they add up to.

    Warns:
        UserWarning: they are off by more than 1 % after 800 steps, or by more than 5 % after those that were asked for.
    """
    asked, start, end = given.pop("n_steps"), given.pop("baselines").expand_as(look.inputs), look.inputs.detach()

    def at(place: float) -> _Place:
        image = start if place == 0 else end if place == 1 else torch.lerp(start, end, place)
        with torch.no_grad():
            return _Place(place, image, float(look.run(image)[0].sum()))

    def between(low: _Place, high: _Place, steps: int) -> _Piece:
        values: Tensor = engine.attribute(high.image, baselines=low.image, n_steps=steps, **given).detach()
        return _Piece(low, high, values, float(values.sum()) - (high.score - low.score))

    pieces = [between(at(0), at(1), asked or STEPS)]
    (whole,) = pieces
    total, mass = whole.high.score - whole.low.score, float(whole.values.abs().sum())
    bound = (0.01 if asked is None else 0.05) * max(abs(total), 0.001 * mass)  # what is no more than rounding is right
    while (off := abs(sum(piece.off for piece in pieces))) > bound and asked is None and len(pieces) < MOST_PIECES:
        worst = max(pieces, key=lambda piece: abs(piece.off))
        pieces.remove(worst)
        middle = at((worst.low.place + worst.high.place) / 2)
        pieces += [between(worst.low, middle, STEPS // 2), between(middle, worst.high, STEPS // 2)]
    values = torch.stack([piece.values for piece in pieces]).sum(0)
    if off > bound:
        warnings.warn(
            f"integrated_gradients of {look.target.labels[0]!r} add up to {float(values.sum()):.4g} in "
            f"{asked or STEPS * len(pieces)} steps, and the scores of image and baseline differ by {total:.4g}: give "
            "more steps",
            stacklevel=6,
        )
    return values
