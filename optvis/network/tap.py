"""The tap: a forward pass that captures the outputs of some layers and stops after the last of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .addresses import module_at, unwrap


class _Stop(BaseException):
    """Ends a forward pass. A ``BaseException``, so that an ``except Exception`` in a network does not catch it."""


class Tap:
    """Captures outputs of layers, and stops the forward pass after the last one.

    ::

        with Tap(network, ["features/3", "features/12"]) as tap:
            activations = tap(images)  # {"features/3": [N, C, H, W], "features/12": ...}

    The captured value is the layer's own output, even if an in-place activation follows it. The rest of the network
    depends on it, so that gradients with respect to it exist. If a module is called several times in one pass, the last
    call counts. Of a tuple, list, dict or ``ModelOutput``, the first floating-point tensor is captured.

    Args:
        network: wrappers (``DataParallel``, ``torch.compile``) are unwrapped.
        layers: addresses as ``find_layer`` spells them.
        calls: how often each layer is called in a pass (see ``tap.calls`` after a pass without it); the pass stops
            after all these calls. ``None`` runs the whole network and ignores errors after all layers are captured.
        missing_ok: layers that are not called, or output no tensor, are left out instead of being an error.
        on_capture: called with the address and the output of each layer after it was captured.
        leaves: outputs of the layers become leaves unless they require a gradient already.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str],
        calls: Mapping[str, int] | None = None,
        missing_ok: bool = False,
        on_capture: Callable[[str, Tensor], None] | None = None,
        leaves: bool = False,
    ) -> None:
        self.network, self.layers = unwrap(network), tuple(dict.fromkeys(layers))
        self.expected, self.missing_ok, self.on_capture, self.leaves = calls, missing_ok, on_capture, leaves
        self._modules = [module_at(self.network, address) for address in self.layers]
        self.calls: dict[str, int] = {}
        self.output: Any = None
        self._captured: dict[str, Tensor] = {}
        self._running = False
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Tap:
        for address, module in zip(self.layers, self._modules, strict=True):
            self._hooks.append(module.register_forward_hook(partial(self._capture, address)))
        return self

    def __exit__(self, *error: Any) -> None:
        while self._hooks:
            self._hooks.pop().remove()

    def __call__(self, *inputs: Any, **named: Any) -> dict[str, Tensor]:
        """One forward pass; returns the captured activations, in the order of the layers."""
        self.calls, self.output, self._captured, self._running = {}, None, {}, True
        try:
            self.output = self.network(*inputs, **named)
        except _Stop:
            pass
        except Exception:
            if self.expected is not None or not self._captured.keys() >= set(self.layers):
                raise
        finally:
            captured, self._captured, self._running = self._captured, {}, False
        missing = [address for address in self.layers if address not in captured]
        if missing and not self.missing_ok:
            why = "put out no floating tensor" if missing[0] in self.calls else "is not called in the forward pass"
            raise ValueError(f"layer {missing[0]!r} of {type(self.network).__name__} {why}: choose another layer")
        return {address: captured[address] for address in self.layers if address in captured}

    def _capture(self, address: str, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        """The forward hook of a layer; returns the output that the rest of the network gets."""
        if not self._running:
            return None  # other code runs the network, for example a callback of the loop
        self.calls[address] = self.calls.get(address, 0) + 1
        tensor = first_tensor(output)
        done = self.expected is not None and all(self.calls.get(a, 0) >= n for a, n in self.expected.items())
        if tensor is not None:
            if self.leaves and not tensor.requires_grad:
                tensor = tensor.detach().requires_grad_()
            self._captured[address] = tensor
            if self.on_capture is not None:
                self.on_capture(address, tensor)
        if done:
            raise _Stop
        # The rest of the network gets a copy, because it may change its input in place.
        return None if tensor is None else with_first_tensor(output, tensor.clone())


def first_tensor(output: Any) -> Tensor | None:
    """The first floating-point tensor in a tensor, tuple, list, dict or ``ModelOutput``; ``None`` without one."""
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    if isinstance(output, torch.nn.utils.rnn.PackedSequence):
        return None
    if isinstance(output, Mapping):
        output = list(output.values())
    found = map(first_tensor, output) if isinstance(output, (tuple, list)) else ()
    return next((tensor for tensor in found if tensor is not None), None)


def with_first_tensor(output: Any, tensor: Tensor, old: Tensor | None = None) -> Any:
    """``output``, which has a floating-point tensor, with its first one (``old``) replaced by ``tensor``."""
    # No function within a function: one that calls itself would keep the activations until garbage is collected.
    old = first_tensor(output) if old is None else old
    if output is old:
        return tensor
    if isinstance(output, Mapping):
        same: Any = copy.copy(output)
        key = next(key for key, value in output.items() if first_tensor(value) is old)
        same[key] = with_first_tensor(output[key], tensor, old)
        return same
    parts = [with_first_tensor(one, tensor, old) if first_tensor(one) is old else one for one in output]
    return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
