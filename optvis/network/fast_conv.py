"""A faster backward pass through a network's first convolution."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import as_pair
from .overrides import Overrides


class _FastConv(torch.autograd.Function):
    """A strided convolution whose backward pass is a single convolution of stride 1.

    With a stride of ``s``, the gradient at pixel ``s * i + r`` depends only on the weights ``w[s * j + r]``. So the
    gradients for all ``r`` are channels of one small convolution of stride 1, which ``pixel_shuffle`` interleaves.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: Any) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.size, ctx.stride, ctx.padding = image.shape[-2:], stride, padding
        return F.conv2d(image, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (weight,), s, (top, left) = ctx.saved_tensors, ctx.stride, ctx.padding
        out, channels, height, width = weight.shape
        rows, columns = -(-height // s), -(-width // s)  # in strides, rounded up; the rest is padded with zeros
        weight = F.pad(weight, (0, s * columns - width, 0, s * rows - height))
        taps = weight.reshape(out, channels, rows, s, columns, s).flip(2, 4).permute(1, 3, 5, 0, 2, 4)
        taps = taps.reshape(channels * s * s, out, rows, columns).contiguous(memory_format=torch.channels_last)
        padded = F.pixel_shuffle(F.conv2d(gradients[0], taps, padding=(rows - 1, columns - 1)), s)
        below, right = ctx.size[0] + top - padded.shape[2], ctx.size[1] + left - padded.shape[3]
        return F.pad(padded, (-left, right, -top, below)), None, None, None, None


class fast_first_conv(Overrides):
    """Within the block the backward pass through a network's first convolution is faster, on a CPU.

    The backward pass of oneDNN computes image channels in blocks of 16, although an image has few: with 7 x 7 weights
    and a stride of 2 it takes five times as long as the forward pass, a seventh of a whole step of SqueezeNet. The
    gradients are equal up to rounding.

    Args:
        network: if it has no such convolution, nothing is replaced.
    """

    def __init__(self, network: nn.Module) -> None:
        convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
        pays = any(_pays(conv.weight, conv.stride, conv.dilation) for conv in convolutions)
        super().__init__({F.conv2d: _conv2d} if pays else {})


def _pays(weight: Tensor, stride: tuple[int, ...], dilation: tuple[int, ...]) -> bool:
    """True if this backward pass is faster than torch's own: by far for large kernels, not for 3 x 3."""
    known = weight.device.type == "cpu" and weight.dtype == torch.float32 and set(dilation) == {1}
    return known and weight.shape[1] <= 4 and min(weight.shape[2:]) > 3 and stride[0] == stride[1] > 1


_ARGUMENTS = {"input": None, "weight": None, "bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
"""The arguments of ``F.conv2d`` in their order, with their default values."""


def _conv2d(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``F.conv2d`` with the faster backward pass, if that pays."""
    given = {**_ARGUMENTS, **dict(zip(_ARGUMENTS, args, strict=False)), **kwargs}
    image, weight, bias, stride, padding, dilation, groups = given.values()
    stride = as_pair(stride)
    frozen = image.requires_grad and not weight.requires_grad
    known = frozen and image.dim() == 4 and groups == 1 and not isinstance(padding, str)
    if not known or not _pays(weight, stride, as_pair(dilation)):
        return function(*args, **kwargs)
    return _FastConv.apply(image, weight, bias, stride[0], as_pair(padding))
