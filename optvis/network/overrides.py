"""Replacing functions of torch within a block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch.overrides import TorchFunctionMode
from typing_extensions import Self

Function = Callable[..., Any]


class Overrides(TorchFunctionMode):
    """Within the block some functions of torch are replaced by others; torch is not patched.

    Calls made by a replacement are not replaced in turn. ``a | b`` makes the replacements of both in a single mode,
    because a mode costs a few microseconds for each call and a step makes hundreds of calls. A function in both is
    replaced by ``b``, whose ``function`` argument is then the replacement of ``a``.

    Args:
        replaced: ``{function: other}``: ``other(function, args, kwargs)`` replaces ``function(*args, **kwargs)``.
    """

    def __init__(self, replaced: Mapping[Function, Function]) -> None:
        super().__init__()
        self.replaced = dict(replaced)

    def __or__(self, other: Overrides) -> Overrides:
        both = {
            function: partial(_on_top, other.replaced[function], replacement)
            for function, replacement in self.replaced.items()
            if function in other.replaced
        }
        return Overrides({**self.replaced, **other.replaced, **both})

    def __enter__(self) -> Self:
        if self.replaced:
            super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        if self.replaced:
            super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_function__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        other = self.replaced.get(function)
        return function(*args, **(kwargs or {})) if other is None else other(function, args, kwargs or {})


def _on_top(upper: Function, lower: Function, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return upper(lambda *args, **kwargs: lower(function, args, kwargs), args, kwargs)
