"""The result of an attribution: signed maps, their arithmetic, showing and saving."""

from __future__ import annotations

import copy
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..checks import as_flag, as_list, as_number, as_size, choice, shown, whole
from ..images import to_pil
from ..result import PICTURES, Result, read_facts, read_settings, read_tensors
from .inputs import Inputs, whole_images
from .plotting import KINDS, SIGNS, colour_map, draw, drawn_heat, figure_of, heat_of, present, resized, title_of, titled
from .soundness import sound, zeros
from .targets import Target

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

ENDINGS = (*PICTURES, ".npy", ".json")


class Attribution(Result):
    """How much each position of N images contributes to the target's score.

    Attributions can be added, subtracted and multiplied elementwise, and multiplied and divided by numbers. If their
    sizes differ, the smaller map is enlarged; a map with one channel is used for each channel of the other.

    Attributes:
        values: ``[N, C, h, w]``, signed and unscaled, float32, on the CPU; 0 where not finite. C is 1 for the map of a
            layer, and the image's number of channels for a method that works on pixels.
        inputs: the images.
        target: what was explained; its ``labels`` name it for each image.
        scores: ``[N]``, the target's scores of the images.
        settings: everything that decided the values, as JSON data; includes ``method`` and ``layer``, a list.
    """

    endings = ENDINGS
    __array_ufunc__ = None  # a NumPy number times an attribution then calls __rmul__

    def __init__(
        self, values: Tensor, inputs: Inputs, target: Target, scores: Tensor, settings: Mapping[str, Any]
    ) -> None:
        if values.dim() != 4 or 0 in values.shape or len(values) != len(inputs):
            raise ValueError(
                f"values of shape {list(values.shape)} for {len(inputs)} images: give [N, C, h, w], one for each"
            )
        scores = torch.as_tensor(scores, dtype=torch.float32, device="cpu").detach()
        if scores.shape != (len(values),) or len(target.labels) != len(values):
            raise ValueError(
                f"scores of shape {list(scores.shape)} and {len(target.labels)} labels for {len(values)} images: "
                "give one for each"
            )
        self.inputs, self.target, self.scores, self.settings = inputs, target, scores, dict(settings)
        self.values = sound(values, self.method, target.labels)

    @property
    def method(self) -> str:
        """The name of the method, or a formula of several."""
        return str(self.settings.get("method", ""))

    @property
    def layer(self) -> tuple[str, ...]:
        """Addresses of the layers; empty for a method that works on pixels."""
        return tuple(self.settings.get("layer", ()))

    @property
    def images(self) -> Tensor:
        """``[N, C, H, W]`` in [0, 1], as the network got them."""
        return self.inputs.images

    @property
    def fine(self) -> bool:
        """True if the maps are as large as the images."""
        return self.values.shape[2:] == self.images.shape[2:]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, i: int) -> Attribution:
        """The attribution of one image."""
        place = whole(i)
        if place is None or not -len(self) <= place < len(self):
            raise IndexError(f"no image {shown(i)}: there are {len(self)}, numbered 0 to {len(self) - 1}")
        rows = [place % len(self)]
        one = copy.copy(self)
        one.values, one.scores = self.values[rows], self.scores[rows]
        one.inputs, one.target = self.inputs.take(rows), self.target.take(rows)
        return one

    def __iter__(self) -> Iterator[Attribution]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        more = ", …" if len(self) > 4 else ""
        labels = ", ".join(map(repr, self.target.labels[:4])) + more
        scores = ", ".join(f"{score:.4g}" for score in self.scores.tolist()[:4]) + more
        layer = f", layer={', '.join(self.layer)}" if self.layer else ""
        return (
            f"Attribution({self.method}{layer}, target=[{labels}], scores=[{scores}], values={list(self.values.shape)})"
        )

    # Arithmetic

    def __add__(self, other: Attribution) -> Attribution:
        return self._with(other, torch.add, "{} + {}")

    def __radd__(self, other: Any) -> Attribution:
        # ``sum`` begins with 0.
        return self if isinstance(other, Real) and other == 0 else NotImplemented

    def __sub__(self, other: Attribution) -> Attribution:
        return self._with(other, torch.sub, "{} - {}")

    def __mul__(self, other: Attribution | float) -> Attribution:
        if isinstance(other, Real):
            return self._derived(self.values * float(other), f"{float(other):g} * {_factor(self.method)}")
        return self._with(other, torch.mul, "{} * {}")

    __rmul__ = __mul__

    def __truediv__(self, other: float) -> Attribution:
        if not isinstance(other, Real):
            return NotImplemented
        if other == 0:
            raise ZeroDivisionError("an attribution cannot be divided by 0")
        return self._derived(self.values / float(other), f"{_factor(self.method)} / {float(other):g}")

    def __neg__(self) -> Attribution:
        return self._derived(-self.values, f"-{_factor(self.method)}")

    def _derived(self, values: Tensor, method: str, *others: Attribution, target: Target | None = None) -> Attribution:
        """This attribution with other values, made of it and of ``others``."""
        made, both = copy.copy(self), (self, *others)
        layers = dict.fromkeys(layer for one in both for layer in one.layer)
        combined = {"method": method, "layer": list(layers), "of": [one.settings for one in both]}
        made.settings = combined if others else {**self.settings, "method": method}
        made.target = target or self.target
        known = torch.stack([zeros(one.values) for one in both]).any(0)
        made.values = sound(values, method, made.target.labels, known)
        return made

    def _with(self, other: object, work: Callable[[Tensor, Tensor], Tensor], formula: str) -> Attribution:
        if not isinstance(other, Attribution):
            return NotImplemented  # type: ignore[no-any-return]
        mine, others = self.values.shape, other.values.shape
        if len(self) != len(other):
            raise ValueError(
                f"{self.method} has {len(self)} images, {other.method} {len(other)}: give the same number of images"
            )
        if mine[1] != others[1] and 1 not in (mine[1], others[1]):
            raise ValueError(
                f"{self.method} has {mine[1]} channels, {other.method} {others[1]}: give the same number, or 1"
            )
        size = (max(mine[2], others[2]), max(mine[3], others[3]))
        left = _factor(self.method) if "*" in formula else self.method
        pairs = zip(self.target.labels, other.target.labels, strict=True)
        labels = tuple(a if a == b else formula.format(a, b) for a, b in pairs)
        return self._derived(
            work(resized(self.values, size), resized(other.values, size)),
            formula.format(left, _factor(other.method)),
            other,
            target=None if self.target.labels == other.target.labels else Target(labels),
        )

    # Pictures

    def heatmap(self, size: int | Sequence[int] | None = None, sign: str = "positive", outliers: float = 0.0) -> Tensor:
        """The maps at the size of the images, each scaled on its own.

        The channels are summed, the sign is selected, the map is scaled from its minimum and maximum to [0, 1], resized
        and scaled again.

        Args:
            size: in pixels; by default that of ``images``.
            sign: ``"positive"`` for positions that raise the score, ``"negative"`` for those that lower it,
                ``"absolute"`` for both without their sign, ``"all"`` for both with their sign, divided by the largest
                absolute value.
            outliers: percentage of the strongest positions that are clipped to the strength of the next one.

        Returns:
            ``[N, H, W]`` in [0, 1]; in [-1, 1] for ``"all"``.

        Raises:
            ValueError: an unknown sign, or an invalid size.
        """
        choice("sign", sign, SIGNS)
        outliers = as_number("outliers", outliers, 0, 100)
        size = as_size(tuple(self.images.shape[-2:]) if size is None else size)
        return heat_of(self.values, size, sign, outliers)

    def overlay(
        self,
        alpha: float | None = None,
        cmap: str | Colormap | None = None,
        sign: str = "positive",
        on: str = "original",
    ) -> Image.Image | list[Image.Image]:
        """The picture with its coloured map on top; a list of them for several images.

        The map is transparent where it is low. A map as large as the image is smoothed, its strongest percent is
        clipped, and it is drawn on the picture in pale grey.

        Args:
            alpha: opacity of the map where it is at least half of its maximum, 0 to 1; by default 0.5, or 0.9 for a map
                as large as the image.
            cmap: a colour map of matplotlib. By default ``"jet"``, or ``"seismic"`` if ``sign`` is ``"all"``; for a map
                as large as the image ``"Greens"``, ``"Reds"``, ``"Blues"`` or ``"PiYG"``, by ``sign``.
            sign: as for ``heatmap``.
            on: ``"original"`` for the user's picture, unchanged where the network did not see it; ``"view"`` for the
                picture as the network got it.

        Raises:
            ValueError: an unknown choice, or a number out of range.
            ImportError: matplotlib is not installed.
        """
        pictures = [to_pil(drawn) for drawn in self.drawn("overlay", sign, cmap, alpha, on)]
        return pictures[0] if len(pictures) == 1 else pictures

    def show(
        self,
        kinds: str | Sequence[str] = ("overlay",),
        sign: str = "positive",
        cmap: str | Colormap | None = None,
        colorbar: bool = False,
        titles: bool = True,
    ) -> Figure:
        """Show a figure with a row for each image, in a notebook or on a screen; returns it.

        Args:
            kinds: the columns: ``"heat map"``, ``"overlay"``, ``"original"``, ``"masked"`` (the picture multiplied by
                the map) and ``"blended"`` (an overlay in colour whose opacity is the map).
            sign: as for ``heatmap``.
            cmap: as for ``overlay``.
            colorbar: add a colour bar.
            titles: write the method, the target with its probability, and the kind above each picture.

        Raises:
            ValueError: an unknown choice.
            ImportError: matplotlib is not installed.
        """
        kinds = (kinds,) if isinstance(kinds, str) else as_list("kinds", kinds, f"some of {', '.join(KINDS)}")
        if not kinds:
            raise ValueError(f"no kinds to show: choose some of {', '.join(KINDS)}")
        colorbar, titles = as_flag("colorbar", colorbar), as_flag("titles", titles)
        columns = [self.drawn(kind, sign, cmap) for kind in kinds]
        rows = [
            [
                (drawn, title_of(f"{self.method}: {label}", kind if len(kinds) > 1 else "") if titles else "")
                for kind, drawn in zip(kinds, row, strict=True)
            ]
            for label, row in zip(self.target.titles, zip(*columns, strict=True), strict=True)
        ]
        figure = figure_of(rows, colour_map(cmap, sign, self.fine) if colorbar else None, -1 if sign == "all" else 0)
        present(figure)
        return figure

    def drawn(
        self, kind: str, sign: str, cmap: str | Colormap | None = None, alpha: float | None = None, on: str = "original"
    ) -> list[Tensor]:
        """N pictures ``[3, H, W]`` of one kind; arguments as for ``show`` and ``overlay``."""
        choice("kind", kind, KINDS)
        choice("sign", sign, SIGNS)
        choice("place to draw on", on, ("original", "view"))
        fine = self.fine
        opacity = (0.9 if fine else 0.5) if alpha is None else as_number("alpha", alpha, 0, 1)
        colours = colour_map(cmap, sign, fine)
        inputs = self.inputs if on == "original" else whole_images(self.images)
        return [
            draw(kind, picture, drawn_heat(values[None], part[2:], sign, fine)[0], part, colours, sign, opacity, fine)
            for picture, values, part in zip(inputs.originals, self.values, inputs.parts, strict=True)
        ]

    def save(
        self,
        path: str | os.PathLike[str],
        sign: str = "positive",
        kind: str = "overlay",
        alpha: float | None = None,
    ) -> Path:
        """Save the attribution. The file is written completely or not at all.

        Args:
            path: ``.png`` (contains settings, scores and values, see ``load``), ``.webp`` or ``.jpg`` for pictures,
                several in one grid, below each its method, target and probability; ``.npy`` for the values; ``.json``
                for settings, method, layer, labels and scores. Small pictures are enlarged without smoothing.
            sign: of the pictures, as for ``heatmap``.
            kind: of the pictures, as for ``show``.
            alpha: of overlays, as for ``overlay``.

        Raises:
            ValueError: another ending, or a picture too large for the format.
            OSError: the path cannot be written; the message says why, and which PNG was written instead.
            ImportError: matplotlib, which pictures need, is not installed.
        """
        return self._write(path, sign=sign, kind=kind, alpha=alpha)

    def sheet(self, **how: Any) -> Image.Image:
        """All pictures of a kind in one, with titles; arguments as for ``save``."""
        return sheet_of([self], **how)

    def encoded(self, ending: str) -> bytes:
        """The content of a ``.npy`` or ``.json`` file."""
        if ending == ".json":
            facts = {key: self.facts()[0][key] for key in ("labels", "scores")}
            about = {**facts, "method": self.method, "layer": list(self.layer), "settings": self.settings}
            return json.dumps(about, ensure_ascii=False, indent=2).encode()
        data = io.BytesIO()
        np.save(data, self.values.numpy())
        return data.getvalue()

    def facts(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Labels, scores and probabilities; the values, and the images in 8 bits."""
        images = (self.images * 255).round().to(torch.uint8)
        # JSON has no NaN.
        scores = [score if math.isfinite(score) else None for score in self.scores.tolist()]
        facts = {"labels": list(self.target.labels), "scores": scores, "probabilities": self.target.probabilities}
        return facts, {"values": self.values.contiguous(), "images": images.contiguous()}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Attribution:
        """Read a PNG that ``save`` wrote: values, labels, scores and settings, and the images rounded to 8 bits.

        Its target has labels but no score, so that metrics, which need it, refuse it.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, or was not written by ``save``.
        """
        settings, facts, tensors = read_settings(path), read_facts(path), read_tensors(path)
        try:
            images, labels, scores = tensors["images"].float() / 255, facts["labels"], facts["scores"]
            kept = torch.tensor([math.nan if score is None else float(score) for score in scores])
            chances = facts.get("probabilities")
            known = None if chances is None else tuple(map(float, chances))
            target = Target(tuple(map(str, labels)), probabilities=known)
            return cls(tensors["values"], whole_images(images), target, kept, settings)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{str(path)!r} holds no attribution that can be read: {error}") from error


def sheet_of(
    attributions: Sequence[Attribution],
    columns: int | None = None,
    kind: str = "overlay",
    sign: str = "positive",
    alpha: float | None = None,
) -> Image.Image:
    """The pictures of attributions in one grid, with titles; all as the network got them if their sizes differ."""

    def drawn(on: str) -> list[Image.Image]:
        return [to_pil(one) for each in attributions for one in each.drawn(kind, sign, None, alpha, on)]

    pictures = drawn("original")
    if len({picture.size for picture in pictures}) > 1:
        pictures = drawn("view")
    titles = [f"{each.method}\n{title}" for each in attributions for title in each.target.titles]
    return titled(pictures, titles, columns)


def _factor(formula: str) -> str:
    """A formula, in brackets if it is a sum."""
    return f"({formula})" if " + " in formula or " - " in formula or formula.startswith("-") else formula
