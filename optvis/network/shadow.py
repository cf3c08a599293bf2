"""The shadow of a network: new module objects over the same weights, so that the network itself is only read."""

from __future__ import annotations

import copy
import functools
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .addresses import compiled_module, unwrap
from .fast_pool import MaxPool2d

T = TypeVar("T")

_PLAIN = {str, bytes, int, float, bool, complex, type(None)}
_OPAQUE = (*_PLAIN, type, types.ModuleType, torch.dtype, torch.device)
_CHECKPOINTING = {"grad_checkpointing", "gradient_checkpointing", "memory_efficient", "use_checkpoint", "with_cp"}
"""Names of flags, in timm, torchvision, Hugging Face and OpenMMLab, that save memory by recomputing activations in the
backward pass, where ``Overrides`` have no effect."""
_REGISTRIES = vars(nn.Module()).keys() - {"training"}
"""Attributes of every module: its parameters, buffers, modules and hooks. Most are empty, and nothing shares those."""
_EMPTY = types.CellType()
_MOST_OBJECTS = 20_000
"""A search for references back into the network ends after this number of objects."""


def shadow(network: nn.Module) -> nn.Module:
    """New module objects over the same weights that compute the same as ``network``.

    Weights are detached aliases, which take no memory and require no gradient; buffers and other tensors are copies;
    hooks, flags and containers are new. Every module is in eval mode, and wrappers (``DataParallel``,
    ``torch.compile``) are left out. Scripted parts cannot be shadowed and are copied completely. Attributes that refer
    to modules of the network (lists, bound methods, closures, partial functions, weak references) refer to its own.

    Raises:
        ValueError: the network has weights without values (lazy modules, the meta device), weights spread over several
            processes (FSDP), or an attribute that refers back to the network and cannot be copied.
    """
    inner = unwrap(network)
    with torch.inference_mode(False), torch.no_grad():
        made: nn.Module = _Shadower(inner).copy(inner)
    return made


def scripted_parts(network: nn.Module) -> list[str]:
    """Addresses of the parts of a shadow that TorchScript compiled."""
    return [name.replace(".", "/") for name, part in network.named_modules() if isinstance(part, ScriptedPart)]


def hooks_of(module: nn.Module) -> tuple[list[int], list[int]]:
    """The keys of a module's forward hooks and of its forward pre-hooks, for which torch has no public name."""
    return list(getattr(module, "_forward_hooks", ())), list(getattr(module, "_forward_pre_hooks", ()))


class ScriptedPart(nn.Module):
    """A copy of a part that TorchScript compiled, wrapped in a module that takes hooks."""

    def __init__(self, part: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.scripted = copy.deepcopy(part)
        self.eval().requires_grad_(False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the scripted part."""
        return self.scripted(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("scripted"), name)


class _Shadower:
    """Makes one shadow; ``copies`` maps the ``id`` of each object of the network to the object and its counterpart."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.kind = network, type(network).__name__
        self.copies: dict[int, tuple[object, Any]] = {}

    def copy(self, value: Any) -> Any:
        """The counterpart of a value: the value itself unless it refers to modules or tensors of the network."""
        kind = type(value)
        if kind in _PLAIN:  # most attributes of a module: a set is far quicker than isinstance of many types
            return value
        if id(value) in self.copies:
            return self.copies[id(value)][1]
        if kind is dict or kind is OrderedDict:
            made: Any = self._note(value, kind())
            made.update([(key, self.copy(part)) for key, part in list(value.items())])
            return made
        if kind is tuple and _PLAIN.issuperset(map(type, value)):  # of a convolution's options
            return value
        if isinstance(value, Tensor):
            return self._note(value, self._tensor(value))
        if isinstance(value, nn.Module):
            return self._module(value)
        if isinstance(value, _OPAQUE):
            return value
        if isinstance(value, torch.fx.Graph):
            made = self._note(value, copy.deepcopy(value))
            made.owning_module = self.copies.get(id(value.owning_module), (None, None))[1]
            return made
        if kind is list:
            made = self._note(value, [])
            made.extend(map(self.copy, list(value)))
            return made
        if kind in (tuple, set, frozenset, deque):
            return self._note(value, kind(map(self.copy, list(value))))
        return self._other(value)

    def _note(self, value: object, made: T) -> T:
        """``made``, recorded as the counterpart of ``value``, which stays alive, so that its ``id`` stays its own."""
        self.copies[id(value)] = value, made
        return made

    def _module(self, module: nn.Module) -> nn.Module:
        inner = compiled_module(module)
        made: nn.Module
        if inner is not None:
            made = self._note(module, self.copy(inner))
            return made
        kinds = {base.__name__ for base in type(module).__mro__}
        if kinds & {"FullyShardedDataParallel", "FSDPModule"}:
            raise ValueError(
                f"the weights of {self.kind} are spread over processes (FSDP): gather them into one network"
            )
        if isinstance(module, (ScriptedPart, torch.jit.ScriptModule)):
            return self._note(module, ScriptedPart(module.scripted if isinstance(module, ScriptedPart) else module))
        kind = type(module)
        made = self._note(module, object.__new__(MaxPool2d if kind is nn.MaxPool2d else kind))
        # A trainer refers to the whole training run.
        left_out = ("_trainer", "_fabric") if "LightningModule" in kinds else ()
        state = {**module.__dict__, "training": False, "_compiled_call_impl": None}
        object.__setattr__(made, "__dict__", state)
        for name, value in state.items():
            if value is True and name in _CHECKPOINTING:
                state[name] = False
            elif type(value) not in _PLAIN:
                empty = name in _REGISTRIES and not value
                state[name] = None if name in left_out else type(value)() if empty else self.copy(value)
        return made

    def _tensor(self, tensor: Tensor) -> Tensor:
        """An alias of a weight; a copy of any other tensor, because a forward pass may change it in place."""
        if tensor.is_meta or is_lazy(tensor):
            self._check_values(tensor)
        if isinstance(tensor, nn.Parameter):
            # Unlike that of detach(), the version of .data is its own: the network may be trained meanwhile.
            same = tensor.clone() if tensor.is_inference() else tensor.data
            if type(tensor) is not nn.Parameter and type(same) is Tensor:
                made = same.as_subclass(type(tensor))
                made.__dict__.update(tensor.__dict__)
                return made
            return nn.Parameter(same, requires_grad=False)
        return tensor.data if tensor.requires_grad else tensor.clone()

    def _check_values(self, tensor: Tensor) -> None:
        named = (*self.network.named_parameters(), *self.network.named_buffers())
        name = next((name for name, other in named if other is tensor), None)
        if name is not None and is_lazy(tensor):
            raise ValueError(
                f"{name!r} of {self.kind} has no values yet (a lazy module): run the network once on an image"
            )
        if name is not None:
            raise ValueError(f"{name!r} of {self.kind} is on the meta device, without values: load the weights")

    @functools.cached_property
    def _tree(self) -> set[int]:
        """The ``id`` of each module and parameter of the network."""
        return {*map(id, self.network.modules()), *map(id, self.network.parameters())}

    def _other(self, value: Any) -> Any:
        """The counterpart of a function, method or object: the same unless it refers to the network."""
        original = getattr(value, "_torchdynamo_orig_callable", None)  # of a function that torch.compile compiled
        if original is not None:
            return self._note(value, self.copy(original))
        if not self._refers(value):
            return value
        if isinstance(value, types.MethodType):
            return self._note(value, types.MethodType(self.copy(value.__func__), self.copy(value.__self__)))
        if isinstance(value, functools.partial):
            named = {name: self.copy(part) for name, part in value.keywords.items()}
            return self._note(value, functools.partial(self.copy(value.func), *map(self.copy, value.args), **named))
        if isinstance(value, weakref.ref):
            return self._note(value, weakref.ref(self.copy(value())))
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, tuple):  # a named tuple
            return self._note(value, type(value)(*map(self.copy, value)))
        return self._object(value)

    def _object(self, value: Any) -> Any:
        """A copy of an object that holds counterparts in the place of what it holds."""
        try:
            made = self._note(value, copy.copy(value))
            if hasattr(value, "__dict__"):
                made.__dict__.update([(name, self.copy(part)) for name, part in list(vars(value).items())])
            if isinstance(value, dict):
                made.update([(key, self.copy(part)) for key, part in list(value.items())])
            elif isinstance(value, list):
                made[:] = [self.copy(part) for part in list(value)]
        except Exception as error:
            raise ValueError(
                f"{self.kind} holds a {type(value).__name__} that refers back to the network and cannot be copied "
                f"({str(error).splitlines()[0] if str(error) else type(error).__name__}): remove it before drawing"
            ) from error
        if any(id(part) in self._tree for part in _parts(made)):
            raise ValueError(
                f"{self.kind} holds a {type(value).__name__} that points back into the network from where it cannot be "
                "followed: remove it before drawing"
            )
        return made

    def _function(self, function: types.FunctionType) -> types.FunctionType:
        cells = tuple(types.CellType() for _ in function.__closure__ or ())
        made = types.FunctionType(function.__code__, function.__globals__, function.__name__, closure=cells)
        self._note(function, made)
        made.__defaults__, made.__kwdefaults__ = self.copy(function.__defaults__), self.copy(function.__kwdefaults__)
        made.__dict__.update((name, self.copy(value)) for name, value in function.__dict__.items())
        for cell, old in zip(cells, function.__closure__ or (), strict=True):
            if old != _EMPTY:
                cell.cell_contents = self.copy(old.cell_contents)
        return made

    def _refers(self, value: Any) -> bool:
        """True if a value refers to a module or weight of the network, directly or indirectly."""
        seen, waiting = {id(value)}, [value]
        while waiting and len(seen) < _MOST_OBJECTS:
            for part in _parts(waiting.pop()):
                if id(part) in self._tree:
                    return True
                if id(part) not in seen and not isinstance(part, (*_OPAQUE, Tensor)):
                    seen.add(id(part))
                    waiting.append(part)
        return False


def _parts(value: Any) -> Iterator[Any]:
    """The objects that an object refers to directly."""
    if isinstance(value, types.MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, types.FunctionType):
        yield from (cell.cell_contents for cell in value.__closure__ or () if cell != _EMPTY)
        yield from (value.__defaults__, value.__kwdefaults__)
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, weakref.ref):
        yield value()
    elif isinstance(value, dict):
        yield from list(value.values())
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        yield from list(value)
    if hasattr(value, "__dict__"):
        yield from list(vars(value).values())
