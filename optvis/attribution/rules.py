"""Rules that change gradients on their way back through single function calls.

The network runs within ``Rules``, a function mode, which sees the calls of modules and functions alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from ..network.tap import first_tensor, with_first_tensor
from .targets import Target

Pull = Callable[[Tensor], Sequence[Tensor]]
"""The plain backward pass of a call: from the gradient at its output to those at its activations."""
Backward = Callable[[Sequence[Tensor], Tensor, Tensor, Pull], Sequence[Tensor]]
"""A backward pass: from a call's activations, its output, the gradient at the output and ``Pull`` to new gradients."""
Rule = Callable[[str, Sequence[Tensor], tuple[Any, ...], Mapping[str, Any]], Backward | None]
"""From a function's plain name (``relu`` also for ``relu_``), the activations among its arguments, and all arguments to
the backward pass of the call.

``None`` leaves the call unchanged. A rule raises ``LookupError`` for a call that the method cannot handle.
"""


class Rules(TorchFunctionMode):
    """Within the block the backward pass of calls follows a rule.

    Args:
        network: a shadow; its layers are named in errors.
        method: the name of the method whose rules these are, for errors.
        rule: which calls get which backward pass.

    Attributes:
        count: the number of calls with a rule.
        refused: the error that was raised for a call without a rule.
        paused: while True, calls are left unchanged.
    """

    def __init__(self, network: nn.Module, method: str, rule: Rule) -> None:
        super().__init__()
        self.network, self.method, self.rule = network, method, rule
        self.count = 0
        self.refused: ValueError | None = None
        self.paused = False
        self._inside: list[str] = []  # layers that are running
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Rules:
        def leave(*_: Any) -> None:
            self._inside.pop()

        for name, module in self.network.named_modules():
            self._hooks.append(module.register_forward_pre_hook(lambda *_, name=name: self._inside.append(name)))
            self._hooks.append(module.register_forward_hook(leave))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        while self._hooks:
            self._hooks.pop().remove()

    def __torch_function__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "").strip("_")
        if self.paused or not name:
            return function(*args, **kwargs)
        active = {key: value for key, value in (*enumerate(args), *kwargs.items()) if _is_activation(value)}
        try:
            backward = self.rule(name, list(active.values()), args, kwargs)
        except LookupError:
            out = function(*args, **kwargs)
            if not any(map(_is_activation, out if isinstance(out, (tuple, list)) else [out])):
                return out  # a shape, for example
            why = f"{self.method} has no rule for {name!r}{self._where()}"
            self.refused = ValueError(f"{why}: choose a method that takes every network, such as integrated_gradients")
            raise self.refused from None
        if backward is None:
            return function(*args, **kwargs)
        self.count += 1
        written: list[Any] = []

        def run(*tensors: Tensor) -> Any:
            own = dict(zip(active, tensors, strict=True))
            named = {key: own.get(key, value) for key, value in kwargs.items()}
            out = function(*(own.get(i, value) for i, value in enumerate(args)), **named)
            written.extend(key for key, tensor in own.items() if tensor is out)
            return out

        out = _Ruled.apply(backward, run, *active.values())
        return active[written[0]].copy_(out) if written else out

    def _where(self) -> str:
        """Where the current call is made."""
        if not self._inside:
            return ", which the target calls"
        layer = self._inside[-1]
        kind = type(self.network.get_submodule(layer)).__name__
        at = f"layer {layer.replace('.', '/')!r}, a {kind}," if layer else "it"
        return f" in {type(self.network).__name__} ({at} calls it)"


class _Ruled(torch.autograd.Function):
    """A call with its own backward pass. It works on copies, because the network may change its tensors in place."""

    @staticmethod
    def forward(ctx: Any, backward: Backward, run: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        ctx.change, ctx.inputs = backward, [tensor.detach().clone().requires_grad_() for tensor in tensors]
        with torch.enable_grad():
            ctx.out = run(*[tensor.clone() for tensor in ctx.inputs])
        out: Tensor = ctx.out.detach().clone()
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        def pull(gradient: Tensor) -> Sequence[Tensor]:
            found: Sequence[Tensor] = torch.autograd.grad(ctx.out, ctx.inputs, gradient, retain_graph=True)
            return found

        inputs, out = [tensor.detach() for tensor in ctx.inputs], ctx.out.detach()
        return None, None, *ctx.change(inputs, out, gradients[0], pull)


def _is_activation(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.requires_grad


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

_POOLS = ("max_pool1d", "max_pool2d", "max_pool3d")
_TINY = 1e-10
"""Differences of inputs below this count as 0, as in Captum."""


def relus(backward: Backward) -> Rule:
    """A backward pass for each ReLU and ReLU6."""

    def rule(name: str, active: Sequence[Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Backward | None:
        floor = args[1] if len(args) > 1 else kwargs.get("min_val")
        relu = name in ("relu", "relu6") or (name == "hardtanh" and floor == 0)
        return backward if relu and active else None

    return rule


def guided(_inputs: Sequence[Tensor], _out: Tensor, gradient: Tensor, pull: Pull) -> Sequence[Tensor]:
    """Guided backpropagation: negative gradients are dropped, and all where the ReLU is inactive."""
    return [pull(gradient)[0].relu()]


def deconvolved(_inputs: Sequence[Tensor], _out: Tensor, gradient: Tensor, _pull: Pull) -> Sequence[Tensor]:
    """The deconvolution method: only negative gradients are dropped."""
    return [gradient.relu()]


def rescale(name: str, active: Sequence[Tensor], _args: tuple[Any, ...], _kwargs: Mapping[str, Any]) -> Backward | None:
    """DeepLIFT's rules, for a batch of images followed by their baselines."""
    if not active:
        return None
    if name in _OF_ONE_NUMBER and len(active) == 1:
        return _rescaled
    if name in _POOLS:
        return _rescaled_pool
    if name == "softmax":
        return _rescaled_softmax
    if name in _NO_RESCALE or name in _OF_ONE_NUMBER or (name in _PRODUCTS and len(active) > 1):
        raise LookupError(name)
    return None


def _difference(both: Tensor) -> Tensor:
    """The images' values minus those of their baselines, for both halves of a batch."""
    values, baselines = both.chunk(2)
    return torch.cat([values - baselines] * 2)


def _rescaled(inputs: Sequence[Tensor], out: Tensor, gradient: Tensor, pull: Pull) -> Sequence[Tensor]:
    x = _difference(inputs[0])
    return [torch.where(x.abs() < _TINY, pull(gradient)[0], gradient * _difference(out) / x)]


def _rescaled_softmax(inputs: Sequence[Tensor], out: Tensor, gradient: Tensor, pull: Pull) -> Sequence[Tensor]:
    (found,) = _rescaled(inputs, out, gradient, pull)
    return [found - found.sum() / found.numel()]


def _rescaled_pool(inputs: Sequence[Tensor], out: Tensor, gradient: Tensor, pull: Pull) -> Sequence[Tensor]:
    """The change of a maximum is shared by the pixel that holds it in the image and the one in the baseline."""
    x, (values, baselines) = _difference(inputs[0]), out.chunk(2)
    between = torch.maximum(values, baselines)
    changes = pull(gradient * torch.cat([between - baselines, values - between]))[0]
    change = torch.cat([sum(changes.chunk(2))] * 2)  # type: ignore[list-item]
    return [torch.where(x.abs() < _TINY, pull(gradient)[0][0], change / x)]


def relevance(epsilon: float) -> Rule:
    """LRP's rules: an activation function passes relevance unchanged, a linear function divides it in proportion."""

    def rule(name: str, active: Sequence[Tensor], args: tuple[Any, ...], _kwargs: Mapping[str, Any]) -> Backward | None:
        if not active or name in _MOVING:
            return None
        if name in _ACTIVATIONS and len(active) == 1:
            return _unchanged
        product = name in _PRODUCTS and (
            len(active) > 1 or (name in ("div", "true_divide") and active[0] is not args[0])
        )
        if name not in _LINEAR or product:
            raise LookupError(name)
        return partial(_divided, epsilon)

    return rule


def _unchanged(_inputs: Sequence[Tensor], _out: Tensor, gradient: Tensor, _pull: Pull) -> Sequence[Tensor]:
    return [gradient]


def _divided(epsilon: float, inputs: Sequence[Tensor], out: Tensor, gradient: Tensor, pull: Pull) -> Sequence[Tensor]:
    steadied = epsilon * float(out.float().square().mean().sqrt()) + 1e-9
    shares = pull(gradient / (out + torch.where(out < 0, -steadied, steadied)))
    return [x * share for x, share in zip(inputs, shares, strict=True)]


@dataclass(frozen=True)
class RelevanceTarget(Target):
    """A target for LRP. Its inputs get the relevance input times gradient, so that its own functions need no rules."""

    rules: Rules = field(kw_only=True)

    def __call__(self, output: Any, seen: Mapping[str, Tensor], count: int) -> Tensor:
        """``[N]`` scores, as ``Target``; ``rules`` are paused while they are computed."""

        def opened(x: Tensor) -> Tensor:
            x = x.clone()
            if x.requires_grad:
                x.register_hook(partial(torch.mul, x.detach()))
            return x

        self.rules.paused = True
        try:
            tensor = first_tensor(output)
            if self.objective is None and tensor is not None:
                output = with_first_tensor(output, opened(tensor))
            return super().__call__(output, {layer: opened(x) for layer, x in seen.items()}, count)
        finally:
            self.rules.paused = False
