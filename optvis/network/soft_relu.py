"""Gradients of ReLUs without their edge, so that a picture climbs by what many networks would agree on."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .overrides import Overrides


class _SoftReLU(torch.autograd.Function):
    """ReLU, whose backward pass lets gradients through as ``soft_relu`` says."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ceiling: float | None, softness: float, redirect: bool, in_place: bool) -> Tensor:
        # What passes is kept, and not x, which an in-place ReLU overwrites.
        if softness:
            passing = F.hardsigmoid(x / _scale(x, softness), inplace=True)
        else:
            passing = x > 0 if ceiling is None else (x > 0) & (x < ceiling)
        ctx.save_for_backward(passing)
        ctx.redirect = redirect
        if in_place:
            ctx.mark_dirty(x)
        return x.clamp_(0, ceiling) if in_place else x.clamp(0, ceiling)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (passing,), gradient = ctx.saved_tensors, gradients[0]
        passed = gradient * passing
        if ctx.redirect:
            # The loop descends on the negated score: a positive gradient would push a shut unit further down.
            redirected = torch.where(gradient < 0, gradient, passed)
            alive = (passed != 0).flatten(1).any(dim=1).view(-1, *[1] * (gradient.dim() - 1))
            passed = torch.where(alive, passed, redirected)
        return passed, None, None, None, None


def _scale(x: Tensor, softness: float) -> Tensor:
    """``[N, 1, ...]``: what to divide pictures by for ``hardsigmoid``, which rises from -3 to 3, to fit the band."""
    dtype = torch.promote_types(x.dtype, torch.float32)  # a sum of squares overflows in float16
    norm = torch.linalg.vector_norm(x, dim=tuple(range(1, x.dim())), keepdim=True, dtype=dtype)
    share = softness / 3 / math.sqrt(x.numel() / len(x))
    return norm.mul_(share).to(x.dtype).clamp_min_(torch.finfo(x.dtype).tiny)


_CEILINGS = {
    F.relu: None,
    F.relu_: None,
    torch.relu: None,
    torch.relu_: None,
    Tensor.relu: None,
    Tensor.relu_: None,
    F.relu6: 6.0,
}

_IN_PLACE = (F.relu_, torch.relu_, Tensor.relu_)


class soft_relu(Overrides):
    """Within the block gradients pass every ReLU and ReLU6, module or function, as if its edges were soft.

    The forward pass is unchanged, and nothing of the network or of torch is patched.

    The exact gradient jumps wherever a unit opens or shuts, and a picture that follows it fills with what this one
    network happens to switch on. With a gradient that rises from none to all in a band about the edge, and stays whole
    above a ceiling, other networks see the same thing in the picture far more often. After Wang et al., "Rethinking
    the Backward Propagation for Adversarial Transferability", 2023.

    Args:
        softness: how far the band reaches to either side of the edge, in root mean squares of what enters the ReLU (of
            each picture by itself); 0 for the exact gradient.
        redirect: where a picture's whole gradient dies at a ReLU, let it pass as if the ReLU were not there, but for
            parts that would push shut units further down: a picture on which a unit is silent can climb. The rule
            is Lucid's (``redirected_relu_grad``).
    """

    def __init__(self, softness: float = 0.0, redirect: bool = False) -> None:
        exact = not (softness or redirect)
        super().__init__({} if exact else dict.fromkeys((*_CEILINGS, F.hardtanh), self._relu))
        self.softness, self.redirect = softness, redirect

    def _relu(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = args[0] if args else kwargs["input"]
        ceiling = _CEILINGS.get(function)
        if function is F.hardtanh:
            bounds = [*args[1:3], *(kwargs[key] for key in ("min_val", "max_val") if key in kwargs)]
            if len(bounds) != 2 or bounds[0] != 0:
                return function(*args, **kwargs)
            ceiling = float(bounds[1])
        if x.dim() < 2 or not x.requires_grad:
            return function(*args, **kwargs)
        in_place = function in _IN_PLACE or kwargs.get("inplace", False) or any(a is True for a in args[1:])
        if in_place and x._is_view():  # a function of our own cannot change part of a tensor in place
            return x.copy_(_SoftReLU.apply(x, ceiling, self.softness, self.redirect, False))
        return _SoftReLU.apply(x, ceiling, self.softness, self.redirect, in_place)
