"""Finding the layer to look at, where none is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..network import LayerShape
from ..network.addresses import layers_of
from .context import Context, to_the_end
from .fitting import first_pass, shapes_of


def last_map(look: Context) -> tuple[str, LayerShape]:
    """The last layer with an extent in space (a map, or tokens in a grid) on whose places the scores depend; its shape.

    Fully connected layers, and maps whose sides are tokens, are taken only where there is nothing else: queries, keys
    and values are only a part of what a transformer has at a place.

    Raises:
        ValueError: there is none.
    """
    one = look if look.first is not None and len(look.images) == 1 else look.take([0])
    layers = layers_of(look.network)
    names = [name for name in layers if name]
    if one.first is None:  # that the network takes such images may be known by now
        known = look.first is not None
        one = replace(one, first=one.passed(one.inputs, names, to_the_end(names))) if known else first_pass(one, names)
    first = one.first
    assert first is not None
    if one.target.objective is None:
        scores = one.target(first.output, {})
    else:
        scores, seen = one.run(first.inputs, list(first.seen))
        first.seen = seen
    one.check_gradient(scores)
    tokens = {a.shape[1] for a in first.seen.values() if a.dim() == 3}

    def partial(name: str) -> bool:
        activation = first.seen[name]
        return isinstance(layers[name], nn.Linear) or (activation.dim() == 4 and bool(tokens & {*activation.shape[1:]}))

    maps = [name for name, a in first.seen.items() if a.requires_grad and a.dim() in (3, 4) and len(a) == 1]
    maps.reverse()
    for name in sorted(maps, key=partial):
        gradient = _slope(scores, first.seen[name])
        try:
            shapes = shapes_of(one, [name])
            meant = replace(one, shapes=shapes).as_map(name, gradient).abs().amax(1)
        except ValueError:
            continue  # no map after all
        if min(meant.shape[1:]) > 1 and int((meant > 0).sum()) > 1:
            return name, shapes[name]
    kind, label = type(look.network).__name__, look.target.labels[0]
    if not _slope(scores, first.inputs).any():
        raise ValueError(f"{label!r} does not depend on the image: its gradient is 0 everywhere, choose another target")
    raise ValueError(f"no layer of {kind} on which {label!r} depends has an extent in space: choose a pixel method")


def _slope(scores: Tensor, at: Tensor) -> Tensor:
    """The gradient of scores, for as often as it is asked for."""
    (gradient,) = torch.autograd.grad(scores.sum(), at, allow_unused=True, retain_graph=True)
    return torch.zeros_like(at) if gradient is None else gradient


def check_maps(look: Context, layers: Sequence[str]) -> None:
    """Raises ``ValueError`` where a layer has no extent in space; the message names one that has."""
    for layer in layers:
        shape = look.shapes[layer]
        if len(shape.shape) == 3 or (len(shape.shape) == 2 and shape.grid is not None):
            continue
        try:
            hint = f"choose one with a map, such as {last_map(replace(look, first=None))[0]!r}"
        except ValueError:
            hint = "choose a layer with a map, or a pixel method"
        raise ValueError(f"layer {layer!r} puts out {list(shape.shape)}, which has no extent in space: {hint}")
