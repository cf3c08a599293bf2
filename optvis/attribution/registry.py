"""All methods by their names: an entry here is in ``attribute``, in the command line and in the documentation."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Run = Callable[..., Tensor]


@dataclass(frozen=True)
class Method:
    """A way to attribute.

    Attributes:
        name: what it is called by.
        run: ``run(look, layer, **options)`` where it works at a layer, ``run(look, **options)`` otherwise; gives
            signed values ``[N, C, h, w]``.
        layer: whether it works at a layer.
        summary: a line that says what it computes, and its source.
        summed: whether the sum of its values over the channels is the map.
    """

    name: str
    run: Run
    layer: bool
    summary: str
    summed: bool = False

    def options(self) -> list[str]:
        """Names of the options that the method takes."""
        return [name for name in inspect.signature(self.run).parameters if name not in ("look", "layer")]

    def checked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options; raises ``TypeError`` on one that the method does not take."""
        known = self.options()
        for option in options:
            if option not in known:
                has = f"its options are {', '.join(known)}" if known else "it has none"
                raise TypeError(f"{self.name} has no option {option!r}: {has}")
        return dict(options)


METHODS: dict[str, Method] = {}


def method(name: str, layer: bool = False) -> Callable[[Run], Run]:
    """Register a function as a method whose map is the sum of its values over the channels."""

    def register(run: Run) -> Run:
        METHODS[name] = Method(name, run, layer, (inspect.getdoc(run) or "").split("\n\n")[0], True)
        return run

    return register


def find_method(name: str) -> Method:
    """The method of a name; raises ``ValueError`` with the nearest where there is none."""
    key = name.lower().replace("-", "_").replace(" ", "_") if isinstance(name, str) else name
    if key in METHODS:
        return METHODS[key]
    plain = {known.replace("_", ""): known for known in METHODS}
    if isinstance(key, str) and key.replace("_", "") in plain:
        return METHODS[plain[key.replace("_", "")]]
    near = difflib.get_close_matches(str(key), METHODS, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(METHODS)}"
    raise ValueError(f"no method {name!r}: {hint}")
