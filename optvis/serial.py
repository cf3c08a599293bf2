"""Objectives, parameterisations and transforms as JSON, and back.

An object becomes ``{"kind": "Channel", "layer": "features/18", "channel": 12}``; tensors go to a separate dictionary.
Reading creates objects only of classes that are loaded in the process: optvis's own, and every subclass of
``Objective``, ``Param`` or ``Transform`` whose module has been imported. Names in the data are never imported or
evaluated.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .checks import nearest
from .objectives import Objective
from .params import Param
from .params.param import argument_names
from .transforms import Transform

BASES: tuple[type, ...] = (Objective, Param, Transform)
_RESERVED = {"kind", "tensor", "callable", "unknown", "state", "holds_picture"}


def to_data(value: Any, tensors: dict[str, Tensor]) -> Any:
    """JSON data from objectives, parameterisations, transforms, tensors, numbers, strings and tuples of these.

    An object is described by the arguments of its constructor, which it keeps as attributes; a parameterisation that
    is no longer its initial noise also by its state. Tensors are added to ``tensors``, copied to the CPU, under the
    names that the data uses. Values that JSON cannot hold, for example functions, are described by their ``repr``, and
    ``from_data`` refuses them. Raises ``ValueError`` on NaN and infinity.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta:
        name = _digest(value)
        if name not in tensors:
            tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, (list, tuple)):
        return [to_data(one, tensors) for one in value]
    if isinstance(value, dict) and all(isinstance(key, str) and key not in _RESERVED for key in value):
        return {key: to_data(one, tensors) for key, one in value.items()}
    if isinstance(value, BASES):
        names = argument_names(type(value))
        if all(hasattr(value, name) for name in names) and not _RESERVED & set(names):
            data = {name: to_data(getattr(value, name), tensors) for name in names}
            return {"kind": _name_of(type(value)), **data, **_state(value, tensors)}
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(value))  # memory addresses differ from run to run
    return {"callable" if callable(value) else "unknown": text}


def from_data(data: Any, tensors: dict[str, Tensor]) -> Any:
    """The value that ``to_data`` wrote, bit-equal, with tuples for lists.

    Raises ``ValueError`` on data that ``to_data`` did not write, a class that is not loaded, or something that a file
    cannot hold.
    """
    if data is None or isinstance(data, (bool, str, int)):
        return data
    if isinstance(data, float):
        return _finite(data)
    if isinstance(data, (list, tuple)):
        return tuple(from_data(one, tensors) for one in data)
    if not isinstance(data, dict):
        raise ValueError(f"{data!r:.200} is nothing that JSON holds")
    if "kind" in data:
        return _made(data, tensors)
    if "tensor" in data:
        name = data["tensor"]
        if not isinstance(name, str) or name not in tensors:
            raise ValueError(f"no tensor {name!r} beside the data: {nearest(name, tensors)}")
        return tensors[name].clone()
    for key, what in (("callable", "a function"), ("unknown", "something")):
        if key in data:
            raise ValueError(f"drawn with {what} that a file cannot hold: {data[key]!r:.200}")
    return {key: from_data(one, tensors) for key, one in data.items()}


def _made(data: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    kind = _find(data["kind"])
    given = {name: from_data(one, tensors) for name, one in data.items() if name != "kind"}
    state, holds_picture = given.pop("state", None), given.pop("holds_picture", False)
    try:
        made = kind(**given)
        if state is not None:
            made.load_state_dict(state)
        if holds_picture:
            made.holds_picture = True
    except (TypeError, ValueError, AttributeError, KeyError, RuntimeError) as error:
        raise ValueError(f"no {kind.__name__} can be made from its data: {' '.join(str(error).split())}") from error
    return made


def _state(value: Any, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The state of a parameterisation, if its arguments alone do not determine its pictures."""
    if not isinstance(value, Param):
        return {}
    state, fresh = value.state_dict(), type(value)(**value.arguments()).state_dict()
    held = {"holds_picture": True} if value.holds_picture else {}
    if state.keys() == fresh.keys() and all(_digest(state[name]) == _digest(fresh[name]) for name in state):
        return held
    return {"state": {name: to_data(tensor, tensors) for name, tensor in state.items()}, **held}


def _digest(tensor: Tensor) -> str:
    """A hash of a tensor's type, shape and bits."""
    flat = tensor.detach().cpu().resolve_conj().contiguous().flatten()
    data = flat.view(torch.uint8).numpy() if flat.numel() else b""
    return hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)} ".encode() + bytes(data)).hexdigest()[:16]


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(f"{number!r} is no finite number, which a file cannot hold")
    return float(number)


def _loaded(bases: Iterable[type] = BASES) -> Iterator[type]:
    for base in bases:
        kinds: list[type] = base.__subclasses__()
        yield from kinds
        yield from _loaded(kinds)


def _name_of(kind: type) -> str:
    """``Channel`` for a class of optvis, ``module.Name`` for others."""
    own = kind.__module__.partition(".")[0] == __name__.partition(".")[0]
    return kind.__name__ if own else f"{kind.__module__}.{kind.__qualname__}"


def _find(name: Any) -> type:
    """The loaded class of a name; a class defined in a script (``__main__``) is also found in a module of any name."""
    known = {_name_of(kind): kind for kind in _loaded()}
    if isinstance(name, str) and name in known:
        return known[name]
    module, _, last = str(name).rpartition(".")
    own = [full for full in known if full.endswith(f".{last}") and "__main__" in (module, known[full].__module__)]
    if len(own) == 1:
        return known[own[0]]
    raise ValueError(
        f"no objective, parameterisation or transform {name!r} is loaded: {nearest(name, known)} A class of your own "
        "is found after its module is imported"
    )
