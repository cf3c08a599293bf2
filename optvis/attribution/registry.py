"""All methods by name. A registered method is available in ``attribute``, the command line and the documentation."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..checks import choice

Run = Callable[..., Tensor]


@dataclass(frozen=True)
class Method:
    """A method of attribution.

    Attributes:
        name: as users write it.
        run: ``run(context, layer, **options)`` for a method of a layer, ``run(context, **options)`` otherwise; returns
            signed values ``[N, C, h, w]``.
        layer: True for a method that attributes to a layer.
        summed: True if the map is the sum of the values over the channels.
        uneven: True if its default layer must have a gradient that differs from position to position.
    """

    name: str
    run: Run
    layer: bool
    summed: bool
    uneven: bool = False

    @property
    def summary(self) -> str:
        """The first paragraph of its docstring: the formula and its source."""
        return (inspect.getdoc(self.run) or "").split("\n\n")[0]

    def options(self) -> dict[str, Any]:
        """The options of the method and their defaults."""
        parameters = list(inspect.signature(self.run).parameters.values())
        return {parameter.name: parameter.default for parameter in parameters[2 if self.layer else 1 :]}

    def checked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options as a dict; raises ``TypeError`` for one that the method does not have."""
        known = self.options() if options else {}
        for option in options:
            if option not in known:
                has = f"its options are {', '.join(known)}" if known else "it has none"
                raise TypeError(f"{self.name} has no option {option!r}: {has}")
        return dict(options)


METHODS: dict[str, Method] = {}


def method(name: str, layer: bool = False, summed: bool = True, uneven: bool = False) -> Callable[[Run], Run]:
    """Register a function as a method.

    Args:
        name: as users write it.
        layer: True for a function of a context and a layer; False for a function of a context alone.
        summed: True if its map is the sum of its values over the channels, or their first principal component where
            ``attribute`` is called with ``eigen_smooth=True``.
        uneven: True if its map is the gradient, without the activations: it is the same everywhere at a layer before a
            global average, which is then not chosen by default.
    """

    def register(run: Run) -> Run:
        METHODS[name] = Method(name, run, layer, summed, uneven)
        return run

    return register


def find_method(name: str) -> Method:
    """The method of a name, with any hyphens and case; raises ``ValueError``, naming the nearest, if there is none."""
    plain = {known.replace("_", ""): known for known in METHODS}
    spelled = plain.get(re.sub("[-_ ]", "", name.lower()), name) if isinstance(name, str) else name
    return METHODS[choice("method", spelled, METHODS)]
