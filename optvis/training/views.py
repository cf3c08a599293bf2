"""The views of ``Watch``: titles, and what they are given."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from torch import nn

from ..attribution.inputs import undo_normalisation
from ..checks import shown
from ..network import NetworkInput, find_layer
from ..objectives import Objective
from ..view import VIEWS, Context, View
from .film import Film
from .samples import Pairs, Source, as_images, as_labels, as_normalised
from .settings import Settings

Drawer = Callable[[nn.Module, Context], Any]
"""A view: a function of a network and a context that returns a result or a PIL image."""


_LOOKED_AT = 4
"""Number of images that are read at once, to see that images can be read."""


def titled(views: Any) -> dict[str, Drawer]:
    """Views by title, from what users give ``Watch``.

    Raises:
        ValueError: an unknown view, two of one title, or none.
        TypeError: neither a view nor a name nor a function, or a view that needs an option.
    """
    single = not isinstance(views, (list, tuple)) or (_is_titled(views) and not isinstance(views[1], str))
    found: dict[str, Drawer] = {}
    for one in [views] if single else views:
        title, view = one if _is_titled(one) else (None, one)
        drawer = _drawer(view)
        if title in found:
            raise ValueError(f"two views have the title {title!r}: give them different ones")
        found[title or _free_title(_name(drawer), found)] = drawer
    if not found:
        raise ValueError(f"there are no views: give at least one of {', '.join(VIEWS)}, or a Film")
    return found


def _is_titled(one: Any) -> bool:
    return isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str)


def _drawer(view: Any) -> Drawer:
    if isinstance(view, (View, Film)):
        return view
    if isinstance(view, str) or any(kind.function is view for kind in VIEWS.values()):
        return View(view)
    if callable(view):
        return view  # type: ignore[no-any-return]
    raise TypeError(f"{shown(view)} is no view: give a View, its name, a Film, or a function of network and context")


def _name(drawer: Drawer) -> str:
    if isinstance(drawer, View):
        return drawer.name
    return "film" if isinstance(drawer, Film) else getattr(drawer, "__name__", type(drawer).__name__)


def _free_title(name: str, taken: dict[str, Drawer]) -> str:
    titles = [name, *(f"{name} {number}" for number in range(2, len(taken) + 2))]
    return next(title for title in titles if title not in taken)


def needed(views: dict[str, Drawer]) -> dict[str, str]:
    """What each view cannot do without, ``images`` or ``data``, by title."""
    kinds = {title: view.kind for title, view in views.items() if isinstance(view, View)}
    return {title: kind.needs[0] for title, kind in kinds.items() if kind.needs}


def takes_images(views: dict[str, Drawer]) -> bool:
    """True if a view takes images or a larger set, whether it needs them or not."""
    return any(_taken(view) for view in views.values())


def _taken(view: Drawer) -> set[str]:
    """Which of ``images`` and ``data`` a view takes."""
    if isinstance(view, Film):
        return set()
    taken = set(view.kind.parameters) if isinstance(view, View) else {"images", "data"}
    return ({"images"} if taken & {"image", "images"} else set()) | (taken & {"data"})


def with_addresses(view: Drawer, network: nn.Module) -> Drawer:
    """The view with addresses in place of modules of ``network``, so that it also works with a shadow of it."""
    if not isinstance(view, View):
        return view
    return View(view.name, **{name: _address(value, network) for name, value in view.options.items()})


def _address(value: Any, network: nn.Module) -> Any:
    if isinstance(value, (list, tuple)):
        return [_address(one, network) for one in value]
    with suppress(ValueError):  # a module from elsewhere, such as a parameterisation
        if isinstance(value, nn.Module):
            return find_layer(network, value)
        if isinstance(value, Objective):
            return value.located(lambda layer: find_layer(network, layer))
    return value


class Contexts:
    """Makes the contexts of views: images and a larger set, taken from data of the training, and the normalisation."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.source: Source | None = None
        self._kept: dict[str, tuple[int, Any, Any]] = {}  # by field: number of the sample, images, labels

    def take_from(self, data: Any) -> None:
        """Take images from ``data`` from now on; raises ``ValueError`` or ``TypeError`` if it holds none."""
        source = Source(data)
        if not self.settings.normalised:
            as_images(source.take(_LOOKED_AT, self.settings.seed))  # raises if they cannot be read
        self.source, self._kept = source, {}

    def check(self, given: NetworkInput) -> None:
        """Raise ``ValueError`` if normalised images do not have the network's mean and standard deviation."""
        if self.source is not None and self.settings.normalised:
            self._sample("images", self.settings.n_inputs, given, 0)

    def of(self, view: Drawer, given: NetworkInput, drawing: int) -> Context:
        """The context of a view, for a network with this input, in a drawing of this number."""
        taken = set() if self.source is None else _taken(view)
        images = data = labels = None
        if "images" in taken:
            images, _ = self._sample("images", self.settings.n_inputs, given, drawing)
        if "data" in taken:
            data, labels = self._sample("data", self.settings.n_data, given, drawing)
        names, seed = self.settings.names, self.settings.seed
        return Context(images, data, labels, names, list(given.mean), list(given.std), seed)

    def _sample(self, field: str, count: int, given: NetworkInput, drawing: int) -> tuple[Any, Any]:
        number = drawing if self.settings.resample_inputs else 0
        if field not in self._kept or self._kept[field][0] != number:
            assert self.source is not None
            pairs = self.source.take(count, self.settings.seed + number)
            self._kept[field] = number, self._read(pairs, given), as_labels(pairs)
        return self._kept[field][1:]

    def _read(self, pairs: Pairs, given: NetworkInput) -> Any:
        return undo_normalisation(as_normalised(pairs), given) if self.settings.normalised else as_images(pairs)
