"""The type in which a network computes, and scaling of gradients that would underflow in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(name: str, device: torch.device, network: nn.Module) -> torch.dtype:
    """The type in which a network computes: that of a name in ``PRECISIONS``, or for ``"auto"`` the fastest.

    This is bfloat16 for float32 weights if the device computes in it natively (AMX, AVX-512 BF16, Ampere and newer),
    otherwise the type of the weights. On a CPU, networks with depthwise convolutions also keep their type: bfloat16
    makes them no faster, and the pictures of EfficientNet worse. It depends only on the machine and the network.
    """
    if name in PRECISIONS:
        return PRECISIONS[name]
    if name != "auto":
        raise ValueError(f"precision {name!r}: choose 'auto', 'fp32', 'bf16' or 'fp16'")
    own = own_type(network)
    depthwise = device.type == "cpu" and any(
        1 < getattr(module, "groups", 1) == getattr(module, "in_channels", 0) for module in network.modules()
    )
    return torch.bfloat16 if own == torch.float32 and _has_bf16(device) and not depthwise else own


def own_type(network: nn.Module) -> torch.dtype:
    """The type of a network's weights; float32 if it has none."""
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # These have no public names; some versions of torch lack them.
        checks = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
        return any(check is not None and check() for check in checks)
    return False


class _ScaledUp(torch.autograd.Function):
    """The identity; its backward pass scales the gradients of each picture, and stores the factors."""

    @staticmethod
    def forward(ctx: Any, factor: list[Tensor], *activations: Tensor) -> tuple[Tensor, ...]:
        ctx.factor = factor
        return tuple(activation.view_as(activation) for activation in activations)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        peak = torch.stack([gradient.flatten(1).abs().amax(1) for gradient in gradients]).amax(0)
        # The largest gradient is about 1 then: far above underflow in float16, and well below overflow.
        factor = torch.exp2(torch.floor(torch.log2(1 / peak.clamp_min(1e-30))))
        ctx.factor.append(factor)
        return None, *(gradient * factor.view(-1, *[1] * (gradient.dim() - 1)) for gradient in gradients)


def scaled_gradients(image: Tensor, activations: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Activations, float32 ``[N, ...]``, whose gradients do not underflow in float16 in the backward pass to ``image``.

    Gradients are multiplied by a power of two at the activations, and divided by it at the image.
    """
    factor: list[Tensor] = []
    image.register_hook(lambda gradient: gradient / factor.pop().view(-1, *[1] * (gradient.dim() - 1)))
    scaled: tuple[Tensor, ...] = _ScaledUp.apply(factor, *activations)
    return scaled
