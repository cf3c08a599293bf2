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

ALTERNATIVE = "choose a method that takes every network, such as integrated_gradients"


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
    """

    def __init__(self, network: nn.Module, method: str, rule: Rule) -> None:
        super().__init__()
        self.network, self.method, self.rule = network, method, rule
        self.modules = nn.ModuleList()
        self.refused: ValueError | None = None
        self._names: list[str] = []
        self._inside: list[str] = []  # layers that are running, while modules are made
        self._made = False
        self._turn = 0
        self._paused = False

    @contextmanager
    def making(self) -> Iterator[None]:
        """Within the block the first pass makes the modules."""
        hooks = []

        def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
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

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within the block calls are not replaced."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def __enter__(self) -> FunctionModules:
        self._turn = 0
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __torch_function__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "").strip("_")
        if self._paused or not name:
            return function(*args, **kwargs)
        where = [key for key, value in (*enumerate(args), *kwargs.items()) if _is_activation(value)]
        active: list[Tensor] = [args[key] if isinstance(key, int) else kwargs[key] for key in where]
        try:
            made = self.rule(name, active, args, kwargs)
        except LookupError:
            out = function(*args, **kwargs)
            if not _any_activation(out):
                return out  # a shape, for example
            self.refused = ValueError(self._refusal(name))
            raise self.refused from None
        if made is None:
            return function(*args, **kwargs)
        module = self._module(name, made)
        if isinstance(module, Replacement):
            return module(active[0].clone())
        return _called(module, function, args, kwargs, where, active)

    def _module(self, name: str, made: nn.Module) -> nn.Module:
        """The module of the current call."""
        if not self._made:
            self.modules.append(made)
            self._names.append(name)
        elif self._names[self._turn : self._turn + 1] != [name]:
            self.refused = ValueError(
                f"{type(self.network).__name__} calls different functions in different passes (now {name}), which "
                f"{self.method} cannot follow: {ALTERNATIVE}"
            )
            raise self.refused
        self._turn += 1
        return self.modules[self._turn - 1]

    def _refusal(self, name: str) -> str:
        kind = type(self.network).__name__
        where = self._inside[-1] if self._inside else None
        if where is None:
            return f"{self.method} has no rule for {name!r}, which the target calls: {ALTERNATIVE}"
        module = self.network.get_submodule(where)
        at = f"layer {where.replace('.', '/')!r}, a {type(module).__name__}," if where else "it"
        return f"{self.method} has no rule for {name!r} in {kind} ({at} calls it): {ALTERNATIVE}"


def _called(
    module: nn.Module,
    function: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    where: list[Any],
    active: list[Tensor],
) -> Any:
    """``function(*args, **kwargs)`` as a call of ``module`` on ``active``, the arguments at the keys ``where``."""
    in_place: list[int] = []

    def forward(*tensors: Tensor) -> Any:
        own = [tensor.clone() for tensor in tensors]  # Captum keeps the module's inputs, so they must not change
        given = dict(zip(where, own, strict=True))
        positional = [given.get(i, value) for i, value in enumerate(args)]
        out = function(*positional, **{key: given.get(key, value) for key, value in kwargs.items()})
        in_place.extend(i for i, tensor in enumerate(own) if tensor is out)
        return out

    module.forward = forward  # type: ignore[method-assign]
    try:
        # Clones, because Captum's hooks need separate inputs for separate calls.
        out = module(*[tensor.clone() for tensor in active])
    finally:
        del module.forward
    return active[in_place[0]].copy_(out) if in_place else out


def _is_activation(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.requires_grad


def _any_activation(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(_any_activation(part) for part in value)
    return _is_activation(value)
