"""Finding the layer to look at, where none is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..network import LayerShape
from ..network.addresses import layers_of
from .fitting import shapes_of
from .looking import Looking


def last_map(look: Looking) -> tuple[str, LayerShape]:
    """The last layer with an extent in space (a map, or tokens in a grid) on whose places the scores depend; its shape.

    Fully connected layers, and maps whose sides are tokens, are taken only where there is nothing else: queries, keys
    and values are only a part of what a transformer has at a place.

    Raises:
        ValueError: there is none.
    """
    one = look.take([0])
    scores, seen = one.run(one.inputs, [name for name in layers_of(look.network) if name])
    seen = {name: a for name, a in seen.items() if a.requires_grad and a.dim() in (3, 4) and len(a) == 1}
    tokens = {a.shape[1] for a in seen.values() if a.dim() == 3}
    gradients = torch.autograd.grad(scores.sum(), [one.inputs, *seen.values()], allow_unused=True)
    found = [(name, g) for name, g in zip(seen, gradients[1:]) if g is not None and g.any()]
    found.reverse()
    layers = layers_of(look.network)

    def partial(name: str, gradient: Tensor) -> bool:
        return isinstance(layers[name], nn.Linear) or (gradient.dim() == 4 and bool(tokens & {*gradient.shape[1:]}))

    for name, gradient in sorted(found, key=lambda one: partial(*one)):
        try:
            shapes = shapes_of(one, [name])
            meant = replace(one, shapes=shapes).as_map(name, gradient).abs().amax(1)
        except ValueError:
            continue  # no map after all
        if min(meant.shape[1:]) > 1 and int((meant > 0).sum()) > 1:
            return name, shapes[name]
    kind, label = type(look.network).__name__, look.target.labels[0]
    if gradients[0] is None or not gradients[0].any():
        raise ValueError(f"{label!r} does not depend on the image: its gradient is 0 everywhere, choose another target")
    raise ValueError(f"no layer of {kind} on which {label!r} depends has an extent in space: choose a pixel method")


def check_maps(look: Looking, layers: Sequence[str]) -> None:
    """Raises ``ValueError`` where a layer has no extent in space; the message names one that has."""
    for layer in layers:
        shape = look.shapes[layer]
        if len(shape.shape) == 3 or (len(shape.shape) == 2 and shape.grid is not None):
            continue
        try:
            hint = f"choose one with a map, such as {last_map(look)[0]!r}"
        except ValueError:
            hint = "choose a layer with a map, or a pixel method"
        raise ValueError(f"layer {layer!r} puts out {list(shape.shape)}, which has no extent in space: {hint}")
