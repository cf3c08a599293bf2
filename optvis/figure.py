"""The result of a view that is neither a visualisation nor an attribution: a picture, numbers and settings."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor, nn

from .display import show_picture
from .images import as_json, open_image
from .network.addresses import unwrap
from .result import PICTURES, Result, read_facts, read_settings, read_tensors
from .versions import versions


@dataclass(eq=False)
class Figure(Result):
    """A picture with the numbers that it shows.

    Attributes:
        picture: the whole figure.
        settings: everything that decided it, with versions, as JSON data.
        values: the numbers that it shows, as JSON data, such as cosines or class names.
        tensors: what it was made of, by name, such as the points of an embedding.
    """

    endings = (*PICTURES, ".json")

    picture: Image.Image = field(repr=False)
    settings: dict[str, Any] = field(default_factory=dict, repr=False)
    values: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def sheet(self, **_: Any) -> Image.Image:
        """The picture."""
        return self.picture

    def show(self) -> None:
        """Show the figure in a notebook or in the system's viewer; without a screen, print a hint."""
        show_picture(self.picture)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the figure. The file is written completely or not at all.

        The ending is ``.png`` (contains settings, values and tensors), ``.webp``, ``.jpg``, or ``.json`` for settings
        and values.

        Raises:
            ValueError: an unknown ending, or a figure too large for the format.
            OSError: the path cannot be written; the message says why, and which PNG was written instead.
        """
        return self._write(path)

    def encoded(self, ending: str) -> bytes:
        """The content of a ``.json`` file."""
        if ending != ".json":
            raise ValueError(f"a figure is not saved as {ending}")
        return as_json({"values": self.values, "settings": self.settings}).encode()

    def facts(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The values and the tensors."""
        return self.values, {name: one.contiguous() for name, one in self.tensors.items()}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Figure:
        """Read a PNG that ``save`` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, or was not written by ``save``.
        """
        settings, values, tensors = read_settings(path), read_facts(path), read_tensors(path)
        with open_image(path) as image:
            return cls(image.convert("RGB"), settings, values, tensors)


def settings_of(view: str, network: nn.Module, **options: Any) -> dict[str, Any]:
    """The settings of a figure: the view, the network's class, the view's options as JSON data, and versions."""
    return {
        "view": view,
        "network": type(unwrap(network)).__name__,
        "options": {name: _as_json(one) for name, one in options.items()},
        "versions": versions(),
    }


def _as_json(value: Any) -> Any:
    """A value as JSON data; its ``repr`` where it has no such form."""
    if isinstance(value, (list, tuple)):
        return [_as_json(one) for one in value]
    return value if isinstance(value, bool | int | float | str | None) else repr(value)
