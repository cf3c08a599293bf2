"""Gradients through shut ReLUs, so that a picture on which a unit is silent can still climb."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class _OpenReLU(torch.autograd.Function):
    """ReLU whose backward pass lets gradients through shut units of a picture where no open unit passes any.

    The rule is Lucid's (``redirected_relu_grad``): for a picture whose whole gradient dies at this ReLU, the
    gradient passes as if the ReLU were not there, but for parts that would push shut units further down.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, ceiling: float | None) -> Tensor:
        is_open = x > 0 if ceiling is None else (x > 0) & (x < ceiling)
        ctx.save_for_backward(is_open)  # not x, which an in-place ReLU overwrites
        return x.clamp(0, ceiling)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (is_open,), gradient = ctx.saved_tensors, gradients[0]
        passed = gradient * is_open
        # The loop descends on the negated score: a positive gradient would push a shut unit further down.
        redirected = gradient * (is_open | (gradient < 0))
        alive = (passed != 0).flatten(1).any(dim=1).view(-1, *[1] * (gradient.dim() - 1))
        return torch.where(alive, passed, redirected), None


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


class open_relus(TorchFunctionMode):
    """Within the block every ReLU and ReLU6, module or function, lets gradients through as ``_OpenReLU`` says.

    Nothing of the network or of torch is patched, and the forward pass is unchanged.
    """

    def __torch_function__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function not in _CEILINGS and function is not F.hardtanh:
            return function(*args, **kwargs)
        x = args[0] if args else kwargs["input"]
        ceiling = _CEILINGS.get(function)
        if function is F.hardtanh:
            bounds = [*args[1:3], *(kwargs[key] for key in ("min_val", "max_val") if key in kwargs)]
            if len(bounds) != 2 or bounds[0] != 0:
                return function(*args, **kwargs)
            ceiling = float(bounds[1])
        if x.dim() < 2 or not x.requires_grad:
            return function(*args, **kwargs)
        out = _OpenReLU.apply(x, ceiling)
        in_place = function in _IN_PLACE or kwargs.get("inplace", False) or any(a is True for a in args[1:])
        # A caller that drops the result of an in-place call reads it from the tensor itself.
        return x.copy_(out) if in_place else out
