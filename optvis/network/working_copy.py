"""A copy of a network to work with: batch norm folded, weights cast once and laid out for speed.

Only weights that the forward pass uses as far as the layers asked for are copied; all others are shared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .addresses import module_at
from .precision import choose_precision
from .shadow import shadow

Look = Callable[[nn.Module, torch.dtype, torch.memory_format], Mapping[str, Tensor]]
"""Shows a network some image of a type and a layout, and says what its layers put out."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}
"""How far what a copy's layers put out may be from the network's own, as a fraction of its norm."""


def working_copy(
    network: nn.Module, layers: Sequence[str], look: Look, device: torch.device, precision: str
) -> tuple[nn.Module, torch.dtype, torch.memory_format]:
    """The network as it works fastest, with the type and the layout that its input should have.

    A copy is used only if its layers put out what the network's own do; otherwise one with less changed is tried, and
    the network itself is the last resort.

    Args:
        network: a shadow.
        layers: addresses whose activations must stay what they are.
        look: see ``Look``.
        device: where the network runs.
        precision: as ``choose_precision`` takes it; ``"auto"`` is its own where it does not work in another.

    Raises:
        ValueError: the network does not work in the precision asked for.
    """
    own = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
    plain = torch.contiguous_format
    kept = {module_at(network, address) for address in layers}
    with torch.no_grad(), _observed(network) as seen:
        truth = look(network, own, plain)
    why: Exception | None = None
    wanted = choose_precision(precision, device, own)
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
        reason = str(why).splitlines()[0] if why is not None else "its layers put out something else then"
        raise ValueError(
            f"{type(network).__name__} does not work in precision {precision!r} ({reason}): write precision='auto'"
        ) from why
    return network, own, plain


class _Observed(TorchFunctionMode):
    """What a forward pass used: how often each tensor was taken, and which batch norm followed which convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.uses: Counter[int] = Counter()
        self.outputs: dict[nn.Module, list[Tensor]] = {}  # of convolutions; kept alive, so that their ids stay theirs
        self.inputs: dict[nn.Module, list[Tensor]] = {}  # of batch norms

    def __torch_function__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = function(*args, **kwargs)
        if any(True for _ in _tensors(out)):  # to ask for a shape is no use
            self.uses.update(id(tensor) for tensor in _tensors([*args, *kwargs.values()]))
        return out

    def foldable(self, layers: set[nn.Module]) -> dict[nn.Module, nn.Module]:
        """``{batch norm: convolution}`` where the norm, and nothing else, takes what the convolution puts out."""
        makers = {id(outputs[0]): conv for conv, outputs in self.outputs.items() if len(outputs) == 1}
        pairs = {}
        for norm, inputs in self.inputs.items():
            conv = makers.get(id(inputs[0]))
            if conv is None or conv in layers or len(inputs) > 1 or norm.running_var is None:
                continue
            hooked = conv._forward_hooks or norm._forward_hooks or norm._forward_pre_hooks
            if not hooked and self.uses[id(inputs[0])] == self.uses[id(conv.weight)] == 1:
                pairs[norm] = conv
        return pairs


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)


@contextmanager
def _observed(network: nn.Module) -> Iterator[_Observed]:
    seen, hooks = _Observed(), []

    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        seen.uses.pop(id(output), None)  # of a tensor that is gone, and had this id before
        seen.outputs.setdefault(module, []).append(output)

    for module in network.modules():
        if type(module) in _CONVOLUTIONS:
            hooks.append(module.register_forward_hook(note))
        elif type(module) in _BATCH_NORMS:
            hooks.append(module.register_forward_pre_hook(lambda m, x: seen.inputs.setdefault(m, []).append(x[0])))
    try:
        with seen:
            yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _copied(
    network: nn.Module, seen: _Observed, dtype: torch.dtype, layout: torch.memory_format, folded: Mapping[Any, Any]
) -> nn.Module:
    """A shadow of the network with the weights that were used; ``folded`` is as ``_Observed.foldable`` gives it."""
    made = shadow(network)
    twins = dict(zip(network.modules(), made.modules()))
    tensors = dict(zip(_tensors_of(network), _tensors_of(made)))
    values = {twin: t for t, twin in tensors.items() if seen.uses[id(t)] and t.is_floating_point()}
    for norm, conv in folded.items():
        weight, bias = _fold(conv, norm)
        twins[conv].bias = nn.Parameter(bias, requires_grad=False)  # type: ignore[assignment]
        values[tensors[conv.weight]] = weight
        values[twins[conv].bias] = bias  # type: ignore[index]
    gone = {twins[norm] for norm in folded}
    ready = {twin: _laid_out(value.to(dtype), layout) for twin, value in values.items()}
    for module in list(made.modules()):
        for name, child in module._modules.items():
            if child in gone:
                module._modules[name] = nn.Identity().eval()
        for name, parameter in module._parameters.items():
            if parameter in ready:
                module._parameters[name] = nn.Parameter(ready[parameter], requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer in ready:
                module._buffers[name] = ready[buffer]
    return made


def _tensors_of(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _fold(conv: Any, norm: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias of one convolution that does what the convolution and the batch norm after it do."""
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.detach().double()
    if conv.bias is not None:
        shift = shift + conv.bias.detach().double() * scale
    weight = conv.weight.detach().double() * scale.view(-1, *[1] * (conv.weight.dim() - 1))
    return weight.to(conv.weight.dtype), shift.to(conv.weight.dtype)


def _laid_out(tensor: Tensor, layout: torch.memory_format) -> Tensor:
    return tensor.to(memory_format=layout) if tensor.dim() == 4 else tensor


def _alike(made: Mapping[str, Tensor], truth: Mapping[str, Tensor], tolerance: float) -> bool:
    for layer, value in truth.items():
        value, other = value.float(), made[layer].float()
        if other.shape != value.shape or not (other - value).norm() <= tolerance * value.norm().clamp_min(1e-6):
            return False
    return True
