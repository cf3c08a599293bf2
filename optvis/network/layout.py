"""Where the batch and the channels stand in what a layer puts out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

_SAME = 0.02
"""How far an image's activations may differ, as a fraction of their norm, in a batch and alone."""


class Layout(NamedTuple):
    """How a layer orders what it puts out.

    Attributes:
        batch: axis of the batch.
        channel: axis of the channels.
        rows: how many rows of the batch axis belong to one image: 1, or the number of windows.
        image_major: True where an image's rows follow each other (``[N * rows]``), False for ``[rows * N]``.
    """

    batch: int = 0
    channel: int = 1
    rows: int = 1
    image_major: bool = True

    def channels_first(self, activation: Tensor) -> Tensor:
        """``[N, C, ...]``, or ``[N, C, rows, ...]`` where an image has several rows."""
        if (self.batch, self.channel) != (0, 1):
            activation = activation.movedim((self.batch, self.channel), (0, 1))
        if self.rows == 1:
            return activation
        if len(activation) % self.rows:
            raise ValueError(
                f"a layer that put out {self.rows} rows an image puts out {len(activation)} now: its number of rows "
                "depends on what is in the image, so it cannot be drawn"
            )
        count = len(activation) // self.rows
        if self.image_major:
            return activation.unflatten(0, (count, self.rows)).movedim(1, 2)
        return activation.unflatten(0, (self.rows, count)).movedim(0, 2)

    def original(self, activation: Tensor) -> Tensor:
        """The reverse of ``channels_first``."""
        if self.rows > 1:
            moved = activation.movedim(2, 1 if self.image_major else 0)
            activation = moved.flatten(0, 1)
        return activation.movedim((0, 1), (self.batch, self.channel))


class Call(NamedTuple):
    """One call of a module in a forward pass: the module, and the shape of what it put out."""

    module: nn.Module
    shape: tuple[int, ...]


class Near(NamedTuple):
    """The calls of modules before a layer's own, which is the last of them, and after it."""

    before: Sequence[Call]
    after: Sequence[Call]


def batch_layout(one: Tensor, two: Tensor, exact: bool) -> tuple[int, int, bool] | None:
    """Axis of the batch, rows of an image, and whether they follow each other.

    Args:
        one: what a layer puts out for one image.
        two: for a batch of this image and another.
        exact: False where the network draws random numbers, so that values cannot be compared.

    Returns:
        ``None`` where the first image's activations are not found in ``two``: the network computes something else for
        an image in a batch than for the image alone.

    Raises:
        LookupError: the axis cannot be told.
    """
    if one.dim() != two.dim():
        return None
    grown = [i for i, (a, b) in enumerate(zip(one.shape, two.shape)) if a != b]
    if len(grown) != 1 or two.shape[grown[0]] != 2 * one.shape[grown[0]]:
        return None
    axis = grown[0]
    rows = one.shape[axis]
    if not exact:
        return axis, rows, True
    first, both = one.movedim(axis, 0), two.movedim(axis, 0)
    size = float(first.norm()) + 1e-12
    if float((both[:rows] - first).norm()) <= _SAME * size:
        return axis, rows, True
    if float((both[::2] - first).norm()) <= _SAME * size:
        return axis, rows, False
    return None


def channel_axis(module: nn.Module, shape: Sequence[int], axes: Sequence[int], near: Near) -> int | None:
    """The axis of the channels among several that did not follow the image's size; ``None`` where it is unclear.

    The layer's own type decides: a fully connected layer puts channels last, a convolution first. For other layers the
    last module of such a type before it decides, if it put out the same shape, and the next ones after it, by the
    numbers of channels that they take; where these disagree, it is unclear.

    Args:
        module: the layer.
        shape: of what it puts out for one image.
        axes: those to choose from.
        near: the calls of modules before and after the layer's.
    """
    own = typed_axis(module, shape)
    if own is not None:
        return own if own in axes else None
    large = [axis for axis in axes if shape[axis] > 1]
    made, taken = _made_axis(shape, axes, near.before), _taken_axis(shape, axes, near.after)
    if made is not None or taken is not None:
        return made if taken in (None, made) else taken if made is None else None
    if len(large) == 1:
        return large[0]
    if len(shape) == 4 and list(axes) == [1, 2, 3] and (shape[1] == shape[2]) != (shape[2] == shape[3]):
        return 3 if shape[1] == shape[2] else 1  # of a square image, the two equal sides are those of a map
    return None


def _made_axis(shape: Sequence[int], axes: Sequence[int], before: Sequence[Call]) -> int | None:
    """The axis of the channels by the last module before that put out the same shape, or else as many channels."""
    typed = [(call, axis) for call in before if (axis := typed_axis(call.module, call.shape)) is not None]
    same = [(call, axis) for call, axis in typed if call.shape == tuple(shape) and axis in axes]
    if not same and (not typed or math.prod(typed[-1][0].shape) > math.prod(shape)):
        return None  # only a part of what the last one put out, which says nothing of the rest
    call, axis = (same or typed)[-1]
    fitting = [other for other in axes if shape[other] == call.shape[axis]]
    return fitting[0] if len(fitting) == 1 else None


def _taken_axis(shape: Sequence[int], axes: Sequence[int], after: Sequence[Call]) -> int | None:
    """The only axis whose length is a number of channels that one of the next modules takes."""
    taken = {_channels_taken(call.module) for call in after[:_NEAR]}
    fitting = [axis for axis in axes if shape[axis] in taken]
    return fitting[0] if len(fitting) == 1 else None


_NEAR = 8
"""So many calls after a layer may tell what it puts out."""


def _channels_taken(module: nn.Module) -> int | None:
    """How many channels a module takes, where its type tells."""
    for name in ("in_features", "in_channels", "num_features", "num_channels"):
        count = getattr(module, name, None)
        if isinstance(count, int):
            return count
    shape = getattr(module, "normalized_shape", None)
    return int(shape[0]) if shape is not None and len(shape) == 1 else None


_FIRST = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    *(nn.GroupNorm, nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.LocalResponseNorm),
    *(nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Dropout2d, nn.PixelShuffle),
    *(nn.PixelUnshuffle, nn.Unfold, nn.Upsample, nn.ZeroPad2d, nn.ReflectionPad2d),
)
_LAST = (nn.Linear, nn.Bilinear, nn.Embedding, nn.MultiheadAttention, nn.RNNBase)


def typed_axis(module: nn.Module, shape: Sequence[int]) -> int | None:
    """Where a module of this type puts its channels; ``None`` where its type does not tell."""
    rank = len(shape)
    if rank < 2:
        return None
    if isinstance(module, _FIRST):
        return 1
    if isinstance(module, _LAST):
        return rank - 1
    wanted: Any = getattr(module, "normalized_shape", None)
    if wanted is None and "RMSNorm" in type(module).__name__:
        wanted = getattr(getattr(module, "weight", None), "shape", None)
    if wanted is None or len(wanted) != 1:
        return None
    fitting = [axis for axis in range(1, rank) if shape[axis] == wanted[0]]
    if len(fitting) == 1:
        return fitting[0]  # a LayerNorm for maps, say, which is derived from nn.LayerNorm
    return rank - 1 if type(module) is nn.LayerNorm and shape[-1] == wanted[0] else None


def patch_grid(tokens: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """The grid of square patches that explains a number of tokens with the fewest further (class, register) ones."""
    best: tuple[int, tuple[int, int]] | None = None
    for patch in range(1, min(size) + 1):
        grid = (size[0] // patch, size[1] // patch)
        further = tokens - math.prod(grid)
        if 0 <= further <= 16 and (best is None or further < best[0]):
            best = (further, grid)
    return best[1] if best else None


def two_images(image: Tensor) -> Tensor:
    """``[2, C, H, W]``: an image ``[1, C, H, W]`` and one of noise."""
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    return torch.cat([image, noise.to(image)])
