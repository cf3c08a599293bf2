"""A module for each function call for which a method has a rule, so that Captum can hook it.

Captum hooks modules. It cannot see ``torch.nn.functional.relu``, refuses a module that is called twice, and computes
wrong values for in-place activations. Here the network runs inside a ``TorchFunctionMode``, which sees the calls of
modules and functions alike, and each call with a rule is made by a module of its own, which Captum hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Rule = Callable[[str, list[Tensor], tuple[Any, ...], Mapping[str, Any]], nn.Module | None]
"""From a function's plain name, the activations among its arguments, and all arguments to a new module for the call.

``None`` leaves the call unchanged. A rule raises ``LookupError`` for a call that the method cannot handle.
"""


class Replacement(nn.Module):
    """A module that computes the call itself. All other modules only carry hooks and a type."""


class FunctionModules(TorchFunctionMode):
    """Within the block calls are made by modules. The first pass makes the modules; later passes reuse them.

    Args:
        network: a shadow; its layers are named in errors.
        method: the name of the method whose rules these are, for errors.
        rule: which calls get a module.

    Attributes:
        modules: of the calls, in the order of the calls.
        refused: the error that was raised for a call without a rule.
        paused: while True, calls are not replaced.
    """

    def __init__(self, network: nn.Module, method: str, rule: Rule) -> None:
        super().__init__()
        self.network, self.method, self.rule = network, method, rule
        self.modules = nn.ModuleList()
        self.refused: ValueError | None = None
        self.paused = False
        self._names: list[str] = []
        self._inside: list[str] = []  # layers that are running, while modules are made
        self._made = False
        self._turn = 0

    @contextmanager
    def making(self) -> Iterator[None]:
        """Within the block the first pass makes the modules."""
        hooks = []

        def leave(*_: Any) -> None:
            self._inside.pop()

        try:
            for name, module in self.network.named_modules():
                hooks.append(module.register_forward_pre_hook(lambda _m, _x, name=name: self._inside.append(name)))
                hooks.append(module.register_forward_hook(leave))
            yield
        finally:
            for hook in hooks:
                hook.remove()
        self._made = True

    def __enter__(self) -> FunctionModules:
        self._turn = 0
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __torch_function__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "").strip("_")
        if self.paused or not name:
            return function(*args, **kwargs)
        active = {key: value for key, value in (*enumerate(args), *kwargs.items()) if _is_activation(value)}
        try:
            made = self.rule(name, list(active.values()), args, kwargs)
        except LookupError:
            out = function(*args, **kwargs)
            if not any(map(_is_activation, out if isinstance(out, (tuple, list)) else [out])):
                return out  # a shape, for example
            raise self._refusal(f"{self.method} has no rule for {name!r}{self._where()}") from None
        if made is None:
            return function(*args, **kwargs)
        if not self._made:
            self.modules.append(made)
            self._names.append(name)
        elif self._names[self._turn : self._turn + 1] != [name]:
            raise self._refusal(
                f"{type(self.network).__name__} calls different functions in different passes (now {name}), which "
                f"{self.method} cannot follow"
            )
        self._turn += 1
        module = self.modules[self._turn - 1]
        if isinstance(module, Replacement):
            return module(active[0].clone())
        return _called(module, function, args, kwargs, active)

    def _refusal(self, why: str) -> ValueError:
        self.refused = ValueError(f"{why}: choose a method that takes every network, such as integrated_gradients")
        return self.refused

    def _where(self) -> str:
        """Where the current call is made."""
        if not self._inside:
            return ", which the target calls"
        layer = self._inside[-1]
        kind = type(self.network.get_submodule(layer)).__name__
        at = f"layer {layer.replace('.', '/')!r}, a {kind}," if layer else "it"
        return f" in {type(self.network).__name__} ({at} calls it)"


def _called(
    module: nn.Module, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], active: Mapping[Any, Tensor]
) -> Any:
    """``function(*args, **kwargs)`` as a call of ``module`` on ``active``, some of the arguments."""
    in_place: list[Any] = []

    def forward(*tensors: Tensor) -> Any:
        # Clones, because Captum keeps the module's inputs, so they must not change.
        own = {key: tensor.clone() for key, tensor in zip(active, tensors, strict=True)}
        named = {key: own.get(key, value) for key, value in kwargs.items()}
        out = function(*(own.get(i, value) for i, value in enumerate(args)), **named)
        in_place.extend(key for key, tensor in own.items() if tensor is out)
        return out

    module.forward = forward  # type: ignore[method-assign]
    try:
        # Clones, because Captum's hooks need separate inputs for separate calls.
        out = module(*[tensor.clone() for tensor in active.values()])
    finally:
        del module.forward
    return active[in_place[0]].copy_(out) if in_place else out


def _is_activation(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.requires_grad
