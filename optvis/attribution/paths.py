"""The way from a baseline to an image, in as many steps as it takes."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from .looking import Looking

STEPS, MOST_PIECES = 50, 16


def adding_up(engine: Any, look: Looking, given: dict[str, Any]) -> Tensor:
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

    def piece(low: float, high: float, steps: int) -> tuple[float, float, float, Tensor]:
        """The ends, how far off it is, and its values."""
        first, last = (start if at == 0 else end if at == 1 else torch.lerp(start, end, at) for at in (low, high))
        values: Tensor = engine.attribute(last, baselines=first, n_steps=steps, **given).detach()
        with torch.no_grad():
            rise = float((look.run(last)[0] - look.run(first)[0]).sum())
        return low, high, float(values.sum()) - rise, values

    pieces = [piece(0, 1, asked or STEPS)]
    total, mass = float(pieces[0][3].sum()) - pieces[0][2], float(pieces[0][3].abs().sum())
    bound = (0.01 if asked is None else 0.05) * max(abs(total), 0.001 * mass)  # what is no more than rounding is right
    while (off := abs(sum(one[2] for one in pieces))) > bound and asked is None and len(pieces) < MOST_PIECES:
        worst = max(pieces, key=lambda one: abs(one[2]))
        pieces.remove(worst)
        middle = (worst[0] + worst[1]) / 2
        pieces += [piece(worst[0], middle, STEPS // 2), piece(middle, worst[1], STEPS // 2)]
    values = torch.stack([one[3] for one in pieces]).sum(0)
    if off > bound:
        warnings.warn(
            f"integrated_gradients of {look.target.labels[0]!r} add up to {float(values.sum()):.4g} in "
            f"{asked or STEPS * len(pieces)} steps, and the scores of image and baseline differ by {total:.4g}: give "
            "more steps",
            stacklevel=6,
        )
    return values
