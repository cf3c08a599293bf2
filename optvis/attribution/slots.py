"""Calls made visible to Captum: a slot, which is a module, for each call of a function that a method has a rule for.

Captum hooks modules. It cannot see ``torch.nn.functional.relu``, gives up on a module that is used twice, and gets an
activation wrong that works in place. Here the network runs inside a ``TorchFunctionMode``, which sees modules and
functions alike, and each call that matters is made through a slot of its own. Captum hooks the slots: nothing of the
network is copied, hooked or patched for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..checks import as_pair
from ..network.tap import first_tensor, with_first_tensor
from .targets import Target

Rule = Callable[[str, list[Tensor], tuple[Any, ...], Mapping[str, Any]], nn.Module | None]
"""From a function's plain name, the activations that it is given, and its arguments, to a new slot for the call.

``None`` leaves the call as it is; ``LookupError`` says that the method has no rule for it.
"""


class Slots(TorchFunctionMode):
    """Within the block calls go through slots. The first pass makes the slots, every later one uses the same.

    Args:
        network: frozen; its modules are named in errors.
        method: the name of the method whose rules these are, for errors.
        rule: what is given a slot.

    Attributes:
        modules: the slots, in the order of the calls.
        refused: the error that was raised on a call that the method has no rule for.
    """

    def __init__(self, network: nn.Module, method: str, rule: Rule) -> None:
        super().__init__()
        self.network, self.method, self.rule = network, method, rule
        self.modules = nn.ModuleList()
        self.refused: ValueError | None = None
        self._names: list[str] = []
        self._inside: list[str] = []  # addresses of the modules that are being called, while slots are made
        self._made = False
        self._turn = 0
        self._paused = False

    @contextmanager
    def making(self) -> Iterator[None]:
        """Around the first pass."""
        hooks = []

        def leave(module: nn.Module, inputs: Any, output: Any) -> None:
            self._inside.pop()

        try:
            for name, module in self.network.named_modules():
                hooks.append(module.register_forward_pre_hook(lambda m, x, name=name: self._inside.append(name)))
                hooks.append(module.register_forward_hook(leave))
            yield
        finally:
            for hook in hooks:
                hook.remove()
        self._made = True

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within the block calls are left as they are."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def __enter__(self) -> Slots:
        self._turn = 0
        super().__enter__()
        return self

    def __torch_function__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        places = [key for key, value in (*enumerate(args), *kwargs.items()) if _is_activation(value)]
        name = getattr(function, "__name__", "").strip("_")
        if self._paused or not name:
            return function(*args, **kwargs)
        active: list[Tensor] = [args[key] if isinstance(key, int) else kwargs[key] for key in places]
        try:
            made = self.rule(name, active, args, kwargs)
        except LookupError:
            out = function(*args, **kwargs)
            if not _any_activation(out):
                return out  # a shape, say
            self.refused = ValueError(self._refusal(name))
            raise self.refused from None
        if made is None:
            return function(*args, **kwargs)
        slot = self._slot(name, made)
        in_place: list[int] = []

        def forward(*tensors: Tensor) -> Any:
            own = [tensor.clone() for tensor in tensors]  # Captum keeps what a slot is given: not to be overwritten
            given = dict(zip(places, own))
            positional = [given.get(i, value) for i, value in enumerate(args)]
            out = function(*positional, **{key: given.get(key, value) for key, value in kwargs.items()})
            in_place.extend(i for i, tensor in enumerate(own) if tensor is out)
            return out

        if isinstance(slot, _Windows):
            return slot(active[0].clone())
        slot.forward = forward  # type: ignore[method-assign]
        try:
            # Clones, so that each call has its own input to hang a hook on.
            out = slot(*[tensor.clone() for tensor in active])
        finally:
            del slot.forward
        return active[in_place[0]].copy_(out) if in_place else out

    def _slot(self, name: str, made: nn.Module) -> nn.Module:
        if not self._made:
            self.modules.append(made)
            self._names.append(name)
        elif self._names[self._turn : self._turn + 1] != [name]:
            self.refused = ValueError(
                f"{type(self.network).__name__} calls other functions from pass to pass ({name} now), which "
                f"{self.method} cannot follow: {INSTEAD}"
            )
            raise self.refused
        self._turn += 1
        return self.modules[self._turn - 1]

    def _refusal(self, name: str) -> str:
        kind = type(self.network).__name__
        where = self._inside[-1] if self._inside else None
        if where is None:
            return f"{self.method} has no rule for {name!r}, which the target calls: {INSTEAD}"
        module = self.network.get_submodule(where)
        at = f"layer {where.replace('.', '/')!r}, a {type(module).__name__}," if where else "it"
        return f"{self.method} has no rule for {name!r} in {kind} ({at} calls it): {INSTEAD}"


INSTEAD = "choose a method that takes every network, such as integrated_gradients"


def _is_activation(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.requires_grad


def _any_activation(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(_any_activation(part) for part in value)
    return _is_activation(value)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ACTIVATIONS = _words(
    "relu relu6 leaky_relu prelu rrelu elu celu selu gelu silu mish hardswish hardtanh tanh tanhshrink softshrink "
    "hardshrink threshold clamp clamp_min clamp_max clip"
)
"""Of one number, and 0 at 0 as a rule."""

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
"""These only move numbers, or leave them out: what flows back through them needs no rule."""

_POOLS: dict[str, Any] = {"max_pool1d": nn.MaxPool1d, "max_pool2d": nn.MaxPool2d, "max_pool3d": nn.MaxPool3d}


class _Windows(nn.Module):
    """A pooling whose windows overlap, as one whose windows do not: Captum's rule loses what two windows share."""

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
        for i in (1, 0):  # F.pad begins with the last axis
            end = (shape[2 + i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1
            pads += [padding[i], end - padding[i] - whole.shape[2 + i]]
        padded = F.pad(whole, pads, value=float(whole.detach().min()) - 1)  # never the largest of a window
        windows = F.unfold(padded, kernel, dilation, stride=stride)  # [N, C * window, places]
        windows = windows.unflatten(1, (shape[1], -1)).transpose(2, 3).flatten(1, 2)
        return self.of_windows(windows).view(shape).view(*shape[4 - x.dim() :])


def _overlap(pool: nn.MaxPool2d) -> bool:
    kernel, stride, dilation = (as_pair(x) for x in (pool.kernel_size, pool.stride, pool.dilation))
    return any(s < (k - 1) * d + 1 for k, s, d in zip(kernel, stride, dilation))


def relus(name: str, active: list[Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> nn.Module | None:
    """Each ReLU and ReLU6 that is passed by a gradient."""
    floor = [*args[1:2], *(kwargs[key] for key in ("min_val",) if key in kwargs)]
    relu = name in ("relu", "relu6") or (name == "hardtanh" and floor[:1] == [0])
    return nn.ReLU() if relu and active else None


def rescale(name: str, active: list[Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> nn.Module | None:
    """DeepLIFT's: whatever is not linear. Captum knows its rule by the slot's class.

    The rescale rule is the same for every function of one number, for which ``nn.ReLU`` stands here.
    """
    if not active:
        return None
    if name in _OF_ONE_NUMBER and len(active) == 1:
        return nn.ReLU()
    if name in _POOLS:
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
        pool = _POOLS[name](**{**dict(zip(names, args[1:])), **{key: kwargs[key] for key in names if key in kwargs}})
        return _Windows(pool) if name == "max_pool2d" and _overlap(pool) else pool
    if name == "softmax":
        return nn.Softmax()
    if name in _NO_RESCALE or name in _OF_ONE_NUMBER or (name in _PRODUCTS and len(active) > 1):
        raise LookupError(name)
    return None


def relevance(epsilon: float) -> Rule:
    """LRP's: relevance passes activations unchanged, and is shared out in proportion by whatever is linear.

    Args:
        epsilon: what steadies the division, as a fraction of the root mean square of what a layer puts out; 0 for
            none (LRP-0).
    """
    from captum.attr._utils.lrp_rules import EpsilonRule

    class _Steadied(EpsilonRule):
        def forward_hook(self, module: Any, inputs: Any, outputs: Any) -> Any:
            if epsilon:
                self.STABILITY_FACTOR = epsilon * float(outputs.detach().float().square().mean().sqrt()) + 1e-9
            return super().forward_hook(module, inputs, outputs)

    def rule(name: str, active: list[Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> nn.Module | None:
        if not active or name in _MOVING:
            return None
        if name in _ACTIVATIONS and len(active) == 1:
            return nn.ReLU()
        product = name in _PRODUCTS and (
            len(active) > 1 or (name in ("div", "true_divide") and active[0] is not args[0])
        )
        if name not in _LINEAR or product:
            raise LookupError(name)
        slot = nn.Identity()
        slot.rule = _Steadied()  # type: ignore[assignment]
        return slot

    return rule


@dataclass(frozen=True)
class PaidTarget(Target):
    """A target for LRP: what it was computed from is relevant as its gradient times itself is; no rule is needed."""

    calls: Slots | None = None

    def __call__(self, output: Any, seen: Mapping[str, Tensor]) -> Tensor:
        assert self.calls is not None
        with self.calls.paused():
            score: list[Tensor] = []

            def opened(x: Tensor) -> Tensor:
                x = x.clone()
                if x.requires_grad:
                    x.register_hook(lambda g: g * x.detach() / _off_zero(score[0], x))
                return x

            tensor = first_tensor(output)
            if self.objective is None and tensor is not None:
                output = with_first_tensor(output, opened(tensor))
            scores = super().__call__(output, {layer: opened(x) for layer, x in seen.items()})
            score.append(scores.detach())
            return scores


def _off_zero(scores: Tensor, like: Tensor) -> Tensor:
    scores = torch.where(scores < 0, scores - 1e-9, scores + 1e-9)
    return scores.view(-1, *[1] * (like.dim() - 1)).to(like.dtype)
