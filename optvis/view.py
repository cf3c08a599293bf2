"""Views: functions from a network, and perhaps images, to a figure.

A view is registered once with ``@view``. Python calls the function, the command line makes a command of its signature,
and ``training.Watch`` calls it while a network learns.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import nn

from .checks import choice, nearest
from .result import Result

GIVEN = ("image", "images", "data", "labels", "names", "mean", "std", "seed", "verbose")
"""Parameters of views that come from the context; all others are options of the view."""

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, eq=False)
class Context:
    """What a view is given besides the network.

    Attributes:
        images: a few images to look at, in any form that ``attribute`` takes: RGB in [0, 1], paths or PIL images.
        data: a larger set of images, in any form that ``activations`` takes.
        labels: the classes of ``data``, where it does not contain them: a number or name for each image.
        names: of the network's outputs, in their order.
        mean: of the normalisation, per channel; by default the network's own.
        std: likewise.
        seed: of everything random.
        verbose: as for ``OptVis.vis``.
    """

    images: Any = None
    data: Any = None
    labels: Any = None
    names: Sequence[str] | None = None
    mean: Any = None
    std: Any = None
    seed: int = 0
    verbose: bool | str = False

    @property
    def image(self) -> Any:
        """``images``, as the parameter of a view is called that also takes one image."""
        return self.images


@dataclass(frozen=True)
class Kind:
    """A registered view.

    Attributes:
        name: as users write it; also the name of its command.
        function: ``function(network, ...)``; its parameters named in ``GIVEN`` come from a ``Context``.
    """

    name: str
    function: Callable[..., Any]

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """All parameters after the network, by name, except ``**options``."""
        found = list(inspect.signature(self.function).parameters.items())[1:]
        return {name: one for name, one in found if one.kind is not one.VAR_KEYWORD}

    @property
    def free(self) -> bool:
        """True if the function takes further options and passes them on."""
        return any(one.kind is one.VAR_KEYWORD for one in inspect.signature(self.function).parameters.values())

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The parameters that do not come from the context."""
        return {name: one for name, one in self.parameters.items() if name not in GIVEN}

    @property
    def needs(self) -> tuple[str, ...]:
        """Which of ``image``, ``images`` and ``data`` the view cannot do without."""
        needed = [self.parameters.get(name) for name in ("image", "images", "data")]
        return tuple(one.name for one in needed if one is not None and one.default is one.empty)

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.function) or "").split("\n")[0]

    @property
    def help(self) -> dict[str, str]:
        """What the docstring says of each argument."""
        text = (inspect.getdoc(self.function) or "").partition("Args:\n")[2].split("\n\n")[0]
        entries = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", text, re.MULTILINE)
        return {name: re.sub(r"\s+", " ", said) for name, said in entries}


VIEWS: dict[str, Kind] = {}


def view(name: str) -> Callable[[Function], Function]:
    """Register a function as a view.

    Args:
        name: as users write it, and the name of its command.
    """

    def register(function: Function) -> Function:
        VIEWS[name] = Kind(name, function)
        return function

    return register


def find_view(name: str | Callable[..., Any]) -> Kind:
    """The view of a name, or of the function that was registered.

    Raises:
        ValueError: there is none; the message names the nearest.
    """
    for kind in VIEWS.values():
        if kind.function is name:
            return kind
    return VIEWS[choice("view", getattr(name, "__name__", name), VIEWS)]


@dataclass(frozen=True, init=False)
class View:
    """A view with its settings: ``View("caricature", layers="features/12")``.

    Called with a network and a context, it returns a result: a ``Visualisation``, an ``Attribution`` or a ``Figure``.

    Attributes:
        name: of the view.
        options: arguments of its function that do not come from the context.

    Raises:
        ValueError: an unknown view.
        TypeError: an option that the view does not have, or one that it needs and was not given.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __init__(self, name: str | Callable[..., Any], **options: Any) -> None:
        kind = find_view(name)
        known = kind.options
        for option in options:
            if option in GIVEN:
                raise TypeError(f"{kind.name}: {option} comes from the context, not from the view's options")
            if option not in known and not kind.free:
                raise TypeError(f"view {kind.name!r} has no option {option!r}: {nearest(option, known)}")
        for option, one in known.items():
            if one.default is one.empty and option not in options:
                raise TypeError(f"view {kind.name!r} needs {option}=")
        object.__setattr__(self, "name", kind.name)
        object.__setattr__(self, "options", dict(options))

    @property
    def kind(self) -> Kind:
        """The registered view."""
        return VIEWS[self.name]

    def __call__(self, network: nn.Module, context: Context | None = None) -> Result:
        """Draw the view.

        Raises:
            ValueError: the view needs images or data, and the context has none; and all that its function raises.
        """
        context, kind = context or Context(), self.kind
        for name in kind.needs:
            if getattr(context, name) is None:
                raise ValueError(f"view {self.name!r} needs {name}: give them in the context")
        taken = kind.parameters
        given = {name: getattr(context, name) for name in GIVEN if name in taken}
        if kind.free:  # functions such as collage pass these on to OptVis
            given |= {name: one for name in ("names", "mean", "std") if (one := getattr(context, name)) is not None}
        result: Result = kind.function(network, **given, **self.options)
        return result

    def __repr__(self) -> str:
        return f"View({', '.join([repr(self.name), *(f'{key}={value!r}' for key, value in self.options.items())])})"
