"""ReLUs with a smoothed gradient, so that pictures depend less on the exact weights of one network."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .overrides import Overrides


class _SoftReLU(torch.autograd.Function):
    """A ReLU with the backward pass of ``soft_relu``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ceiling: float | None, softness: float, redirect: bool, in_place: bool) -> Tensor:
        # The mask is saved instead of x, which an in-place ReLU overwrites.
        if softness:
            dtype = torch.promote_types(x.dtype, torch.float32)  # a sum of squares overflows in float16
            norm = torch.linalg.vector_norm(x, dim=tuple(range(1, x.dim())), keepdim=True, dtype=dtype)
            scale = norm.mul_(softness / 3 / math.sqrt(x.numel() / len(x))).to(x.dtype)
            # The band of each picture is mapped to [-3, 3], where hardsigmoid rises.
            passing = F.hardsigmoid(x / scale.clamp_min_(torch.finfo(x.dtype).tiny), inplace=True)
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
            # The loop minimises the negated score: a positive gradient would lower an inactive unit further.
            redirected = torch.where(gradient < 0, gradient, passed)
            alive = (passed != 0).flatten(1).any(dim=1).view(-1, *[1] * (gradient.dim() - 1))
            passed = torch.where(alive, passed, redirected)
        return passed, None, None, None, None


_IN_PLACE = (F.relu_, torch.relu_, Tensor.relu_)
_CEILINGS: dict[Any, float | None] = {**dict.fromkeys((F.relu, torch.relu, Tensor.relu, *_IN_PLACE)), F.relu6: 6.0}


class soft_relu(Overrides):
    """Within the block every ReLU and ReLU6, module or function, has a smoothed gradient.

    The forward pass is unchanged, and neither the network nor torch is patched.

    The exact gradient of a ReLU is a step function. Here it rises linearly from 0 to 1 in a band around 0, and stays 1
    above the ceiling of a ReLU6. Pictures drawn with it are recognised by other networks far more often. After Wang et
    al., "Rethinking the Backward Propagation for Adversarial Transferability", 2023.

    Args:
        softness: half the width of the band, in root mean squares of the ReLU's input (for each picture separately); 0
            for the exact gradient.
        redirect: if the whole gradient of a picture is zero after a ReLU, pass it as if there were no ReLU, except
            parts that would lower inactive units further. This lets pictures with inactive units improve. The rule is
            Lucid's (``redirected_relu_grad``).
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
        if in_place and getattr(x, "_is_view", lambda: True)():  # a custom function cannot change a view in place
            return x.copy_(_SoftReLU.apply(x, ceiling, self.softness, self.redirect, False))
        return _SoftReLU.apply(x, ceiling, self.softness, self.redirect, in_place)
