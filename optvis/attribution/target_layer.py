"""The first pass of the images, the shapes of layers' outputs, and the default layer to attribute to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..checks import Size
from ..network import Forward, LayerShape, Pass, Probe, out_of_memory, to_the_end
from ..network.addresses import layers_of, module_at
from ..network.inputs import channel_names
from ..network.layout import Layout, patch_grid, typed_axis
from .context import Context, has_extent


def first_pass(forward: Forward, images: Tensor, layers: Sequence[str], leaves: bool = False) -> Pass:
    """The first pass of images ``[N, C, H, W]`` in [0, 1] through the whole network, which may refuse them.

    It captures ``layers``; without any, no graph is kept, and with ``leaves`` none before them.
    """
    try:
        with torch.set_grad_enabled(bool(layers)):
            inputs = forward.normalise(images)
            inputs = inputs if leaves else inputs.requires_grad_()
            return forward.run(inputs, layers, to_the_end(layers), missing_ok=True, leaves=leaves)
    except Exception as error:
        if out_of_memory(error):
            raise
        raise _refusal(forward, images, [""], error) from error


def shapes_of(
    forward: Forward, images: Tensor, layers: Sequence[str], first: Pass | None = None
) -> dict[str, LayerShape]:
    """The shapes of layers' outputs for images ``[N, C, H, W]``.

    Layers whose axes are clear from ``first``, a pass of these images, need no other pass.
    """
    size = (images.shape[-2], images.shape[-1])
    found = {layer: _shape(forward, first, layer, size) for layer in layers} if first is not None else {}
    unclear = [layer for layer in layers if found.get(layer) is None]
    probe = Probe(forward.network, unclear, forward.given, forward.take([0], len(images)).extra)
    try:
        probed = probe.at(size).layers if unclear else {}
    except Exception as error:
        if isinstance(error, ValueError) or out_of_memory(error):
            raise
        raise _refusal(forward, images, layers, error) from error
    return {layer: found.get(layer) or probed[layer] for layer in layers}


def _shape(forward: Forward, first: Pass, layer: str, size: Size) -> LayerShape | None:
    """The shape of a layer's output, from a pass of some images; ``None`` if the order of its axes is unclear."""
    activation = first.seen.get(layer)
    if activation is None or activation.dim() < 2 or len(activation) != len(first.inputs):
        return None
    axis = _channel(forward.network, first, layer, size)
    if axis is None:
        return None
    layout = Layout(channel=axis)
    shape = tuple(layout.channels_first(activation).shape[1:])
    grid = patch_grid(shape[1], size) if len(shape) == 2 else None
    return LayerShape(shape, layout, first.calls[layer], grid, channel_names(forward.network, layer, shape[0]))


def _channel(network: nn.Module, first: Pass, layer: str, size: Size) -> int | None:
    """The channel axis, from the type of the layer or of the last layer before it with an output of the same shape."""
    shape = tuple(first.seen[layer].shape)
    own = typed_axis(module_at(network, layer), shape)
    if own is not None or len(shape) == 2:
        return own or 1
    if 1 < len(first.inputs) in shape[1:]:
        return None  # one of several axes may be the batch
    for earlier in reversed(list(first.seen)[: list(first.seen).index(layer)]):
        alike = tuple(first.seen[earlier].shape) == shape
        axis = typed_axis(module_at(network, earlier), shape) if alike else None
        if axis is not None:
            return axis if shape[1:].count(shape[axis]) == 1 else None
    if len(shape) == 4 and size[0] == size[1] and (shape[1] == shape[2]) != (shape[2] == shape[3]):
        return 3 if shape[1] == shape[2] else 1  # for a square image, the two equal axes are height and width
    return None


def _refusal(forward: Forward, images: Tensor, layers: Sequence[str], error: Exception) -> ValueError:
    """An error that says why the network does not run on the images, and which size it takes."""
    kind, (height, width) = type(forward.network).__name__, images.shape[-2:]
    probe = Probe(forward.network, layers, forward.given, forward.take([0], len(images)).extra)
    try:
        own = probe.network_size((height, width))
    except ValueError as reason:
        return reason
    if own is None:  # it runs on a plain image of this size
        return ValueError(f"{kind} does not run on images of {list(images.shape)}: {error}")
    return ValueError(
        f"{kind} takes images of {own[0]} × {own[1]} px, not {height} × {width} px: resize them, or give paths or PIL "
        f"images, which are resized to fit ({error})"
    )


def last_map(context: Context, first: Pass | None = None, uneven: bool = False) -> tuple[str, LayerShape]:
    """The last layer with spatial axes (a map, or tokens in a grid) on whose positions the scores depend; its shape.

    Fully connected layers, and attention maps (whose axes are tokens), are chosen only if there is no other: queries,
    keys and values are only a part of a transformer's state at a position.

    The first image of the context decides. ``first`` is a pass of it through the whole network that captured all
    layers; its graph is kept. With ``uneven`` the gradient's sum over the channels must differ between positions; if it
    does at no layer, the last layer is taken. Raises ``ValueError`` if there is no such layer.
    """
    one = context if len(context.images) == 1 else context.take([0])
    if first is None:
        names = [name for name in layers_of(one.network) if name]
        first = one.forward.run(one.inputs, names, to_the_end(names), missing_ok=True)
    if one.target.objective is None:
        scores = one.target(first.output, {}, 1)
    else:
        scores, seen = one.run(first.inputs, list(first.seen))
        first = first._replace(seen=seen)
    one.check_gradient(scores)
    last: tuple[str, LayerShape] | None = None
    for name in _candidates(one.network, first):
        try:
            shapes = shapes_of(one.forward, one.images, [name], first)
            gradient = _gradient(scores, first.seen[name])
            slopes = replace(one, shapes=shapes).as_map(name, gradient)
            strength = slopes.abs().amax(1)
        except ValueError:
            continue  # no map
        if min(strength.shape[1:]) > 1 and int((strength > 0).sum()) > 1:
            last = last or (name, shapes[name])
            if not uneven or not constant(slopes).any():
                return name, shapes[name]
    if last is not None:
        return last
    kind, label = type(context.network).__name__, context.target.labels[0]
    if not _gradient(scores, first.inputs).any():
        raise ValueError(f"{label!r} does not depend on the image: its gradient is 0 everywhere, choose another target")
    raise ValueError(f"no layer of {kind} on which {label!r} depends has spatial axes: choose a pixel method")


def constant(maps: Tensor) -> Tensor:
    """``[N]``: which maps ``[N, C, h, w]``, summed over the channels, are the same everywhere, and not 0."""
    total = maps.sum(1).flatten(1)
    spread = (total - total[:, :1]).abs().amax(1)
    return (spread <= 1e-5 * total.abs().amax(1)) & (total != 0).any(1)


def _candidates(network: nn.Module, first: Pass) -> list[str]:
    """Layers of a pass of one image that may put out a map, the preferred first."""
    layers = layers_of(network)
    tokens = {a.shape[1] for a in first.seen.values() if a.dim() == 3}
    maps = [
        name
        for name, a in reversed(first.seen.items())
        if a.requires_grad
        and a.dim() in (3, 4)
        and len(a) == 1
        and sum(length > 1 for length in a.shape[1:]) >= a.dim() - 2
    ]

    def partial(name: str) -> bool:
        activation = first.seen[name]
        return isinstance(layers[name], nn.Linear) or (activation.dim() == 4 and bool(tokens & {*activation.shape[1:]}))

    return sorted(maps, key=partial)


def _gradient(scores: Tensor, at: Tensor) -> Tensor:
    """The gradient of the scores with respect to ``at``; the graph is kept."""
    (gradient,) = torch.autograd.grad(scores.sum(), at, allow_unused=True, retain_graph=True)
    return torch.zeros_like(at) if gradient is None else gradient


def check_maps(context: Context, layers: Sequence[str]) -> None:
    """Raise ``ValueError`` if a layer has no spatial axes; the message names one that has."""
    for layer in layers:
        shape = context.shapes[layer]
        if has_extent(shape):
            continue
        try:
            hint = f"choose one with a map, such as {last_map(context)[0]!r}"
        except ValueError:
            hint = "choose a layer with a map, or a pixel method"
        raise ValueError(f"layer {layer!r} puts out {list(shape.shape)}, which has no spatial axes: {hint}")
