"""What visualisations and attributions have in common: a picture to look at, settings, saving and reading back."""

from __future__ import annotations

import base64
import io
import json
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import safetensors.torch
from PIL import Image
from torch import Tensor

from .files import check_path, check_picture_size, save_or_rescue
from .images import as_json, open_image, write_picture
from .text import printable

PICTURES = (".png", ".webp", ".jpg", ".jpeg")

MOST_DATA = 48 * 2**20
"""The longest text of tensors that a PNG contains: Pillow opens no PNG with more than 64 mebibytes of text."""


class Result(ABC):
    """The base of ``Visualisation`` and ``Attribution``, which can be saved to files with one of ``endings``."""

    endings: ClassVar[tuple[str, ...]] = PICTURES
    settings: dict[str, Any]

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the kind of file that the ending says."""

    @abstractmethod
    def sheet(self, **how: Any) -> Image.Image:
        """All pictures in one."""

    def on_screen(self) -> Image.Image:
        """All pictures in one, as a notebook shows them."""
        return self.sheet()

    @abstractmethod
    def encoded(self, ending: str) -> bytes:
        """The content of a file with an ending that is not one of ``PICTURES``."""

    @abstractmethod
    def facts(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What a PNG contains besides the settings, to be read back: JSON data, and tensors by name."""

    def _write(self, path: str | os.PathLike[str], **how: Any) -> Path:
        """Write the kind of file that the ending says; a picture is drawn as ``sheet`` draws it."""
        path = check_path(path, self.endings)
        ending = path.suffix.lower()
        if ending in PICTURES:
            sheet = self.sheet(**how)
            check_picture_size(path, *sheet.size)
            save_or_rescue(path, lambda: self._drawn(sheet, ending), lambda: self._drawn(sheet, ".png"))
        else:
            save_or_rescue(path, lambda: self.encoded(ending), lambda: self._drawn(self.sheet(**how), ".png"))
        return path

    def _drawn(self, sheet: Image.Image, ending: str) -> bytes:
        data, texts = io.BytesIO(), {}
        if ending == ".png" and self.settings:
            facts, tensors = self.facts()
            texts = {"optvis": as_json(self.settings), "optvis-result": as_json(facts)}
            packed = base64.b64encode(safetensors.torch.save(tensors)).decode() if tensors else ""
            if 0 < len(packed) <= MOST_DATA:
                texts["optvis-tensors"] = packed
        write_picture(sheet, data, ending, texts)
        return data.getvalue()

    def _repr_png_(self) -> bytes | None:
        data = io.BytesIO()
        try:
            self.on_screen().save(data, "PNG")
        except ImportError:  # no matplotlib; a notebook then prints the repr
            return None
        return data.getvalue()


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings in a saved PNG.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an image, is damaged, or contains no settings.
    """
    return _read_json(path, "optvis", "settings")


def read_facts(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a saved PNG contains besides the settings, see ``Result.facts``; raises as ``read_settings``."""
    return _read_json(path, "optvis-result", "result")


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors in a saved PNG, none if it has none; raises as ``read_settings``."""
    try:
        text = _text(path, "optvis-tensors")
        return {} if text is None else safetensors.torch.load(base64.b64decode(text, validate=True))
    except (ValueError, safetensors.SafetensorError) as error:
        raise ValueError(f"the tensors in {str(path)!r} are damaged: {error}") from error


def _read_json(path: str | os.PathLike[str], key: str, what: str) -> dict[str, Any]:
    text = _text(path, key)
    try:
        found = json.loads(text or "null")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{str(path)!r} carries no {what} of optvis: only its .png files do")
    return found


def _text(path: str | os.PathLike[str], key: str) -> str | None:
    with open_image(path) as image:
        try:
            text = getattr(image, "text", {}).get(key)
        except Exception as error:  # Pillow reads the whole file for it, and raises nearly every type
            raise ValueError(f"{str(path)!r} is damaged: {printable(error)}") from error
    return text if isinstance(text, str) else None
