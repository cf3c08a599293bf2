"""A fast copy of a network: batch norms folded, weights cast once and in the fastest memory layout.

Only weights that the forward pass uses up to the given layers are copied; all others are shared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from .addresses import module_at
from .precision import choose_precision, own_type
from .shadow import hooks_of, shadow

Look = Callable[[nn.Module, torch.dtype, torch.memory_format], Mapping[str, Tensor]]
"""Runs a network on an image of a type and a memory layout, and returns the outputs of its layers."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}
"""The largest difference between the outputs of a copy's layers and the network's, as a fraction of their norm."""


def working_copy(
    network: nn.Module, layers: Sequence[str], look: Look, device: torch.device, precision: str
) -> tuple[nn.Module, torch.dtype, torch.memory_format]:
    """The fastest copy of the network, with the type and the memory layout of its input.

    A copy is used only if the outputs of its layers equal the network's (a shadow's); otherwise a copy with fewer
    changes is tried, and at last the network itself is used. ``precision`` is as for ``choose_precision``; ``"auto"``
    falls back to the network's own type, and for any other ``ValueError`` says that the network does not work in it.
    """
    own = own_type(network)
    plain = torch.contiguous_format
    kept = {module_at(network, address) for address in layers}
    with torch.no_grad(), _Observed(network) as seen:
        truth = look(network, own, plain)
    why: Exception | None = None
    wanted = choose_precision(precision, device, network)
    for dtype in dict.fromkeys([wanted, own] if precision == "auto" else [wanted]):
        fast = torch.channels_last if device.type == "cpu" or dtype != torch.float32 else plain
        for fold, layout in ((True, fast), (False, fast), (False, plain)):
            try:
                made = _copied(network, seen, dtype, layout, seen.foldable(kept) if fold else {})
                with torch.no_grad():
                    same = _alike(look(made, dtype, layout), truth, _TOLERANCE.get(dtype, 1e-3))
            except Exception as error:
                why = error
                continue
            if same:
                return made, dtype, layout
    if wanted != own and precision != "auto":
        reason = str(why).splitlines()[0] if why is not None else "the outputs of its layers are different"
        raise ValueError(
            f"{type(network).__name__} does not work in precision {precision!r} ({reason}): write precision='auto'"
        ) from why
    return network, own, plain


class _Observed(TorchFunctionMode):
    """Records a forward pass: how often each tensor was used, and which batch norm followed which convolution."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.hooks: list[RemovableHandle] = []
        self.uses: Counter[int] = Counter()
        self.outputs: dict[nn.Module, list[Tensor]] = {}  # of convolutions; kept alive so that their ids stay valid
        self.inputs: dict[nn.Module, list[Tensor]] = {}  # of batch norms

    def __enter__(self) -> _Observed:
        for module in self.network.modules():
            if type(module) in _CONVOLUTIONS:
                self.hooks.append(module.register_forward_hook(self._note))
            elif type(module) in _BATCH_NORMS:
                self.hooks.append(module.register_forward_pre_hook(self._note_input))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for hook in self.hooks:
            hook.remove()

    def _note(self, module: nn.Module, _inputs: Any, output: Tensor) -> None:
        self.uses.pop(id(output), None)  # a freed tensor may have had the same id
        self.outputs.setdefault(module, []).append(output)

    def _note_input(self, module: nn.Module, inputs: Any) -> None:
        self.inputs.setdefault(module, []).append(inputs[0])

    def __torch_function__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = function(*args, **kwargs)
        if _tensors(out):  # reading a shape does not count as a use
            self.uses.update(map(id, _tensors([*args, *kwargs.values()])))
        return out

    def foldable(self, layers: set[nn.Module]) -> dict[nn.Module, nn.Module]:
        """``{batch norm: convolution}`` for convolutions whose output is used by the norm only."""
        makers = {id(outputs[0]): conv for conv, outputs in self.outputs.items() if len(outputs) == 1}
        pairs = {}
        for norm, inputs in self.inputs.items():
            conv = makers.get(id(inputs[0]))
            if conv is None or conv in layers or len(inputs) > 1 or norm.running_var is None:
                continue
            hooked = hooks_of(conv)[0] or any(hooks_of(norm))
            if not hooked and self.uses[id(inputs[0])] == self.uses[id(conv.weight)] == 1:
                pairs[norm] = conv
        return pairs


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, (tuple, list)):
        return [tensor for part in value for tensor in _tensors(part)]
    return [value] if isinstance(value, Tensor) else []


def _copied(
    network: nn.Module, seen: _Observed, dtype: torch.dtype, layout: torch.memory_format, folded: Mapping[Any, Any]
) -> nn.Module:
    """A shadow of the network with copies of the used weights; ``folded`` is a result of ``_Observed.foldable``."""
    made = shadow(network)
    copies: dict[nn.Module, Any] = dict(zip(network.modules(), made.modules(), strict=True))
    own, others = (*network.parameters(), *network.buffers()), (*made.parameters(), *made.buffers())
    tensors = dict(zip(own, others, strict=True))
    values = {copied: t for t, copied in tensors.items() if seen.uses[id(t)] and t.is_floating_point()}
    for norm, conv in folded.items():
        weight, bias = _fold(conv, norm)
        copies[conv].bias = nn.Parameter(bias, requires_grad=False)
        values[tensors[conv.weight]] = weight
        values[copies[conv].bias] = bias
    ready: dict[Any, Any] = {copies[norm]: nn.Identity().eval() for norm in folded}
    for copied, value in values.items():
        value = value.to(dtype)
        value = value.to(memory_format=layout) if value.dim() == 4 else value
        ready[copied] = nn.Parameter(value, requires_grad=False) if isinstance(copied, nn.Parameter) else value
    for module in list(made.modules()):
        # These dicts have no public names; without one of them the copy is refused for its outputs.
        for held in (getattr(module, kind, {}) for kind in ("_modules", "_parameters", "_buffers")):
            held.update({name: ready[part] for name, part in held.items() if part in ready})
    return made


def _fold(conv: Any, norm: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias of one convolution that equals the convolution and the batch norm after it."""
    tensors = (conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    weight, bias, mean, variance, factor, shift = (None if t is None else t.detach().double() for t in tensors)
    folded = fuse_conv_bn_weights(weight, bias, mean, variance, norm.eps, factor, shift)  # type: ignore[arg-type]
    return folded[0].detach().to(conv.weight.dtype), folded[1].detach().to(conv.weight.dtype)


def _alike(made: Mapping[str, Tensor], truth: Mapping[str, Tensor], tolerance: float) -> bool:
    pairs = ((made[layer].float(), value.float()) for layer, value in truth.items())
    return all(
        other.shape == value.shape and bool((other - value).norm() <= tolerance * value.norm().clamp_min(1e-6))
        for other, value in pairs
    )
