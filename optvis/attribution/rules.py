"""Rules: the module that makes each function call, for the methods that change gradients in the backward pass.

A rule gets a function's plain name (``relu`` also for ``relu_``), the activations among its arguments, and all
arguments; see ``Rule``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from ..checks import as_pair
from ..network.tap import first_tensor, with_first_tensor
from .function_modules import FunctionModules, Replacement, Rule
from .targets import Target


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ACTIVATIONS = _words(
    "relu relu6 leaky_relu prelu rrelu elu celu selu gelu silu mish hardswish hardtanh tanh tanhshrink softshrink "
    "hardshrink threshold clamp clamp_min clamp_max clip"
)
"""Elementwise functions, most of them 0 at 0."""

_OF_ONE_NUMBER = _ACTIVATIONS | _words(
    "sigmoid hardsigmoid softplus softsign logsigmoid exp log log1p sqrt rsqrt abs square reciprocal rdiv pow sin "
    "cos erf"
)

_PRODUCTS = _words("mul multiply div divide true_divide matmul mm bmm einsum linear conv1d conv2d conv3d bilinear")

_NO_RESCALE = _words(
    "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d max_pool1d_with_indices max_pool2d_with_indices "
    "max_pool3d_with_indices lp_pool1d lp_pool2d layer_norm group_norm instance_norm rms_norm local_response_norm "
    "scaled_dot_product_attention multi_head_attention_forward maximum minimum max min amax amin cosine_similarity "
    "normalize norm glu logsumexp log_softmax prod std var"
)

_LINEAR = _words(
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear batch_norm mean sum add sub rsub "
    "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d max_pool1d "
    "max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d amax interpolate upsample "
    "neg mul multiply div divide true_divide matmul mm bmm"
)

_MOVING = _words(
    "get view view_as reshape flatten unflatten permute transpose movedim moveaxis swapaxes t squeeze unsqueeze expand "
    "expand_as cat concat concatenate stack split chunk unbind select narrow getitem contiguous clone to float double "
    "half bfloat16 type_as dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout pad roll flip "
    "repeat repeat_interleave index_select gather pixel_shuffle pixel_unshuffle channel_shuffle unfold requires_grad "
    "copy setitem"
)
"""Functions that only move or drop values: their backward pass needs no rule."""

_POOLS: dict[str, Any] = {"max_pool1d": nn.MaxPool1d, "max_pool2d": nn.MaxPool2d, "max_pool3d": nn.MaxPool3d}


class _OverlappingPool(Replacement):
    """A max pooling with overlapping windows as one without overlap: Captum's rule loses values shared by windows."""

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.sizes = [as_pair(x) for x in (pool.kernel_size, pool.stride, pool.padding, pool.dilation)]
        self.ceil_mode = pool.ceil_mode
        self.of_windows = nn.MaxPool1d(self.sizes[0][0] * self.sizes[0][1])

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride, padding, dilation = self.sizes
        whole = x if x.dim() == 4 else x[None]
        shape = F.max_pool2d(whole.detach(), kernel, stride, padding, dilation, self.ceil_mode).shape
        pads: list[int] = []
        for i in (1, 0):  # F.pad takes the last axis first
            end = (shape[2 + i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1
            pads += [padding[i], end - padding[i] - whole.shape[2 + i]]
        padded = F.pad(whole, pads, value=float(whole.detach().min()) - 1)  # never the largest of a window
        windows = F.unfold(padded, kernel, dilation, stride=stride)  # [N, C * window, positions]
        windows = windows.view(len(windows), shape[1], -1, windows.shape[2]).transpose(2, 3).flatten(1, 2)
        pooled: Tensor = self.of_windows(windows)
        return pooled.view(shape).view(*shape[4 - x.dim() :])


def _overlap(pool: nn.MaxPool2d) -> bool:
    kernel, stride, dilation = (as_pair(x) for x in (pool.kernel_size, pool.stride, pool.dilation))
    return any(s < (k - 1) * d + 1 for k, s, d in zip(kernel, stride, dilation, strict=True))


def relus(name: str, active: list[Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> nn.Module | None:
    """A module for each ReLU and ReLU6 whose input requires a gradient."""
    floor = args[1] if len(args) > 1 else kwargs.get("min_val")
    relu = name in ("relu", "relu6") or (name == "hardtanh" and floor == 0)
    return nn.ReLU() if relu and active else None


def rescale(name: str, active: list[Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> nn.Module | None:
    """DeepLIFT's rules: a module for each nonlinear call. Captum chooses its rule by the class of the module.

    The rescale rule is the same for every elementwise function, so all of them get an ``nn.ReLU``.
    """
    if not active:
        return None
    if name in _OF_ONE_NUMBER and len(active) == 1:
        return nn.ReLU()
    if name in _POOLS:
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
        given = dict(zip(names, args[1:], strict=False))  # not all are given by position
        pool: nn.Module = _POOLS[name](**given, **{key: kwargs[key] for key in names if key in kwargs})
        return _OverlappingPool(pool) if isinstance(pool, nn.MaxPool2d) and _overlap(pool) else pool
    if name == "softmax":
        return nn.Softmax()
    if name in _NO_RESCALE or name in _OF_ONE_NUMBER or (name in _PRODUCTS and len(active) > 1):
        raise LookupError(name)
    return None


def relevance(epsilon: float) -> Rule:
    """LRP's rules: an activation function passes relevance unchanged, a linear function divides it in proportion."""
    from captum.attr._utils.lrp_rules import EpsilonRule

    class _Stabilised(EpsilonRule):  # type: ignore[misc]  # Captum has no types
        @override
        def forward_hook(self, module: Any, inputs: Any, outputs: Any) -> Any:
            if epsilon:
                self.STABILITY_FACTOR = epsilon * float(outputs.detach().float().square().mean().sqrt()) + 1e-9
            return super().forward_hook(module, inputs, outputs)

    def rule(name: str, active: list[Tensor], args: tuple[Any, ...], _kwargs: Mapping[str, Any]) -> nn.Module | None:
        if not active or name in _MOVING:
            return None
        if name in _ACTIVATIONS and len(active) == 1:
            return nn.ReLU()
        product = name in _PRODUCTS and (
            len(active) > 1 or (name in ("div", "true_divide") and active[0] is not args[0])
        )
        if name not in _LINEAR or product:
            raise LookupError(name)
        module = nn.Identity()
        module.rule = _Stabilised()  # type: ignore[assignment]
        return module

    return rule


@dataclass(frozen=True)
class RelevanceTarget(Target):
    """A target for LRP. Its inputs get the relevance input times gradient, so that its own functions need no rules."""

    calls: FunctionModules = field(kw_only=True)

    def __call__(self, output: Any, seen: Mapping[str, Tensor], count: int) -> Tensor:
        """``[N]`` scores, as ``Target``; ``calls`` are paused while they are computed."""
        score: list[Tensor] = []

        def opened(x: Tensor) -> Tensor:
            x = x.clone()
            if x.requires_grad:
                x.register_hook(lambda g: g * x.detach() / _off_zero(score[0], x))
            return x

        self.calls.paused = True
        try:
            tensor = first_tensor(output)
            if self.objective is None and tensor is not None:
                output = with_first_tensor(output, opened(tensor))
            scores = super().__call__(output, {layer: opened(x) for layer, x in seen.items()}, count)
        finally:
            self.calls.paused = False
        score.append(scores.detach())
        return scores


def _off_zero(scores: Tensor, like: Tensor) -> Tensor:
    scores = torch.where(scores < 0, scores - 1e-9, scores + 1e-9)
    return scores.view(-1, *[1] * (like.dim() - 1)).to(like.dtype)
