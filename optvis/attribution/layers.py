"""Finding the layer to look at, where none is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..network import LayerShape, Probe
from ..network.addresses import layers_of
from .looking import Looking


def last_map(look: Looking) -> str:
    """The last layer with an extent in space (a map, or tokens in a grid) on whose places the scores depend.

    Raises:
        ValueError: there is none.
    """
    one = replace(look, images=look.images[:1], target=look.target.take([0]))
    scores, seen = one.run(one.inputs, [name for name in layers_of(look.network) if name])
    gradients = torch.autograd.grad(scores.sum(), list(seen.values()), allow_unused=True)
    for name, gradient in reversed(list(zip(seen, gradients))):
        if gradient is None or gradient.dim() not in (3, 4):
            continue
        try:
            meant = replace(one, shapes=shapes_of(look, [name])).as_map(name, gradient).abs().amax(1)
        except ValueError:
            continue  # no map after all
        if min(meant.shape[1:]) > 1 and int((meant > 0).sum()) > 1:
            return name
    raise ValueError(
        f"no layer of {type(look.network).__name__} has an extent in space on which the target depends: give layer="
    )


def shapes_of(look: Looking, layers: Sequence[str]) -> dict[str, LayerShape]:
    """What layers put out for images like these."""
    probe = Probe(look.network, layers, look.given, look.images.device, look.extra)
    return probe.at((look.images.shape[-2], look.images.shape[-1]))
