"""Which classes a network takes for which others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ..activations import Reader, find_layers
from ..attribution.targets import class_index, percent
from ..checks import as_count, as_flag, as_list
from ..data import Examples, Label, batches, count_of, read_labels
from ..display import progress_bar
from ..figure import Figure, settings_of
from ..images import enlarged, grid
from ..network import NetworkInput
from ..plots import FAINT, as_rgb, axes_at, new_figure, rendered, short_class, titled, write
from ..view import view

PICTURES = 36
"""The most pictures of a cell: those of the highest probability."""
CELL = 0.37
"""Side of a cell in inches."""
PAIRS = 10


@view("confusion")
def confusion(
    network: nn.Module,
    data: Any,
    labels: Any = None,
    layer: str = "",
    normalise: bool = False,
    most: int = 25,
    cell: Sequence[str] | None = None,
    batch: int = 64,
    *,
    names: Sequence[str] | None = None,
    mean: Any = None,
    std: Any = None,
    verbose: bool | str = True,
) -> Figure:
    """Show how often each class of a labelled data set is predicted as each other class.

    ::

        confusion(network, "validation/").save("confusion.png")
        confusion(network, "validation/", cell=("tabby", "tiger cat")).show()  # the images of one cell

    Args:
        network: any ``nn.Module`` that takes images; it is read, never changed.
        data: as for ``activations``; names of sub-folders and second elements of tuples are labels.
        labels: a number or name for each image; by default those in the data.
        layer: address of the layer that puts out one number for each class; by default the network's output.
        normalise: write the percentage of each row's images in place of counts.
        most: number of classes shown; of more classes, those that occur, or the most confused ones, as the title says.
        cell: true and predicted class, by number or name, whose images are shown in place of the matrix.
        batch: number of images in the network at once.
        names: of the classes, in the order of the outputs; by default the network's own.
        mean: of the normalisation, per channel; by default the network's own.
        std: likewise.
        verbose: as for ``OptVis.vis``.

    Returns:
        A figure. ``values`` holds ``accuracy``, ``count``, the ``classes`` shown and the ten most frequent confusions,
        ``pairs``. ``tensors`` holds ``"matrix"`` of the classes shown (a row for each true class, int64) and
        ``"cells"`` ``[K, 3]``: true class, predicted class and count of every cell that is not 0.

    Raises:
        ValueError: an unknown layer, one that puts out no row of classes, an image without a label, a label that is
            no class of the network, names that are not as many as the outputs.
        ImportError: torchmetrics or matplotlib is not installed.
    """
    (address,) = find_layers(network, [layer])
    normalise, most, batch = as_flag("normalise", normalise), as_count("most", most), as_count("batch", batch)
    asked = None if cell is None else as_list("cell", cell, "the true and the predicted class")
    if asked is not None and len(asked) != 2:
        raise ValueError(f"cell {cell!r}: give two classes, the true and the predicted one")
    new_figure(1, 1, "confusion", "metrics")  # raises its error before the first batch
    given = NetworkInput.of(network, mean, std)
    count = Counter(Reader.of(network, [address], given), address, names, asked)
    with progress_bar(count_of(data) or 0, verbose, "images") as bar:
        for part in batches(data, batch, given, read_labels(labels, data)):
            count.add(part)
            bar.update(len(part))
    matrix = count.matrix
    shown, said = _shown(matrix, most)
    cells = torch.cat([matrix.nonzero(), matrix[matrix > 0][:, None]], 1)
    values = {
        "accuracy": matrix.diagonal().sum().item() / matrix.sum().item(),
        "count": int(matrix.sum()),
        "classes": [count.names[i] for i in shown],
        "pairs": _pairs(matrix, count.names),
    }
    picture = _drawn(matrix, shown, said, count.names, normalise) if asked is None else count.cell_drawn()
    settings = settings_of("confusion", network, layer=address, normalise=normalise, most=most, cell=asked, batch=batch)
    return Figure(picture, settings, values, {"matrix": matrix[shown][:, shown].contiguous(), "cells": cells})


@dataclass(eq=False)
class Counter:
    """Counts predictions, and keeps the pictures of one cell.

    Attributes:
        reader: of the network and the layer.
        layer: its address.
        given: the names of the classes, where the user gave them.
        asked: the true and the predicted class of the cell, by number or name.
    """

    reader: Reader
    layer: str
    given: Sequence[str] | None
    asked: list[Any] | None
    names: list[str] = field(default_factory=list, init=False)
    found: int = field(default=0, init=False)
    _metric: Any = field(default=None, init=False)
    _cell: tuple[int, int] = field(default=(-1, -1), init=False)
    _pictures: list[tuple[float, int, Tensor]] = field(default_factory=list, init=False)
    _known: bool = field(default=False, init=False)

    def add(self, part: Examples) -> None:
        """Count the predictions for a batch."""
        if self._metric is None:
            self._prepare((part.images.shape[-2], part.images.shape[-1]))
        true = torch.tensor([self._class(label, part.first + i) for i, label in enumerate(part.labels)])
        outputs = self.reader(part.images)[self.layer].cpu()
        predicted = outputs.argmax(1)
        self._metric.update(predicted, true)
        inside = ((true == self._cell[0]) & (predicted == self._cell[1])).nonzero()[:, 0].tolist()
        probabilities = outputs.softmax(1)
        self.found += len(inside)
        for i in inside:
            self._pictures.append((probabilities[i, self._cell[1]].item(), -part.first - i, part.images[i].clone()))
        self._pictures = sorted(self._pictures, key=lambda one: one[:2], reverse=True)[:PICTURES]

    @property
    def matrix(self) -> Tensor:
        """``[classes, classes]``, int64: a row for each true class, a column for each predicted one."""
        matrix: Tensor = self._metric.compute()
        return matrix

    def cell_drawn(self) -> Image.Image:
        """The pictures of the cell."""
        true, predicted = (short_class(self.names[i], 40) for i in self._cell)
        what = f"{true}, predicted as {predicted}" if true != predicted else f"{true}, predicted rightly"
        total = int(self.matrix[self._cell[0]].sum())
        title = f"{what}: {self.found:,} of {total:,} images"
        if not self._pictures:
            return titled(None, title)
        pictures = enlarged([as_rgb(image) for _, _, image in self._pictures])
        more = f"; the {len(pictures)} most probable" if self.found > len(pictures) else ""
        return titled(grid(pictures, None, [percent(p) for p, *_ in self._pictures]), title + more)

    def _prepare(self, size: tuple[int, int]) -> None:
        shape = self.reader.shapes(size)[self.layer]
        if len(shape.shape) != 1 or shape.shape[0] < 2:
            raise ValueError(
                f"layer {self.layer!r} puts out {list(shape.shape)} for an image, which is no row of classes: choose "
                "the layer that puts out one number for each class"
            )
        count = shape.shape[0]
        given = shape.names if self.given is None else self.given
        if given is not None and len(given) != count:
            raise ValueError(f"{len(given)} names for {count} outputs: give one name for each output")
        self.names = list(map(str, range(count) if given is None else given))
        self._known = given is not None
        if self.asked is not None:
            true, predicted = (self._index(one) for one in self.asked)
            self._cell = (true, predicted)
        self._metric = _metric(count)

    def _class(self, label: Label, place: int) -> int:
        if label is None:
            raise ValueError(
                f"image {place} has no label: give labels=, tuples of image and label, or a folder with a sub-folder "
                "for each class"
            )
        try:
            if isinstance(label, int) and label < 0:
                raise ValueError(f"no class {label}: the network has {len(self.names)}, numbered from 0")
            return self._index(label)
        except ValueError as error:
            raise ValueError(f"the label of image {place}: {error}") from error

    def _index(self, one: Any) -> int:
        number = isinstance(one, str) and one.isdigit() and not (self._known and one in self.names)
        return class_index(int(one) if number else one, len(self.names), self.names if self._known else None)


def _metric(classes: int) -> Any:
    try:
        from torchmetrics.classification import MulticlassConfusionMatrix
    except ImportError as error:
        raise ImportError("confusion needs torchmetrics: pip install 'optvis[metrics]'") from error
    return MulticlassConfusionMatrix(classes)


def _shown(matrix: Tensor, most: int) -> tuple[list[int], str]:
    """The classes to show, and what is to be said of the choice."""
    count = len(matrix)
    if count <= most:
        return list(range(count)), ""
    occur = (matrix.sum(0) + matrix.sum(1)) > 0
    if int(occur.sum()) <= most:
        return occur.nonzero()[:, 0].tolist(), f"the {int(occur.sum())} of {count:,} classes that occur"
    wrong = matrix - matrix.diagonal().diag()
    errors = wrong.sum(0) + wrong.sum(1)
    chosen = errors.argsort(descending=True, stable=True)[:most].sort().values
    return chosen.tolist(), f"the {most} most confused of {int(occur.sum()):,} classes; accuracy over all"


def _pairs(matrix: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
    """The most frequent confusions."""
    wrong = matrix - matrix.diagonal().diag()
    order = wrong.flatten().argsort(descending=True, stable=True)[:PAIRS].tolist()
    found = [(i // len(matrix), i % len(matrix)) for i in order]
    return [
        {"true": names[i], "predicted": names[j], "count": int(wrong[i, j])} for i, j in found if int(wrong[i, j]) > 0
    ]


def _drawn(matrix: Tensor, shown: list[int], said: str, names: Sequence[str], normalise: bool) -> Image.Image:
    """The matrix: the diagonal in blue, confusions in orange, darker for a greater part of the row."""
    import numpy as np
    from matplotlib import colormaps

    part = matrix[shown][:, shown]
    shares = (part / matrix[shown].sum(1, keepdim=True).clamp_min(1)).numpy()
    count, labels = len(shown), [short_class(names[i]) for i in shown]
    room = 0.25 + 0.085 * max(map(len, labels))
    slanted = 0.35 + 0.62 * room
    side = CELL * count
    accuracy = matrix.diagonal().sum().item() / matrix.sum().item()
    title = f"accuracy {accuracy:.1%} on {int(matrix.sum()):,} images"
    width = max(0.55 + room + side + 0.3, 0.6 + 0.115 * len(title), 0.6 + 0.075 * len(said))
    figure = new_figure(width, 0.95 + side + slanted, "confusion", "metrics")
    write(figure, 0.3, 0.2, title, 13, weight="bold")
    write(figure, 0.3, 0.52, said or ("percent of each row" if normalise else "number of images"), 9, color=FAINT)
    axes = axes_at(figure, 0.45 + room, 0.85, side, side)
    right, wrong = (colormaps[name](np.sqrt(shares) * 0.85)[..., :3] for name in ("Blues", "Oranges"))
    sheet = np.where(np.eye(count, dtype=bool)[..., None], right, wrong)
    sheet[shares == 0] = 1
    axes.imshow(sheet, interpolation="nearest", extent=(0, count, count, 0))
    for place in range(1, count):
        axes.axhline(place, color="#f2f2f2", linewidth=1)
        axes.axvline(place, color="#f2f2f2", linewidth=1)
    for (i, j), share in np.ndenumerate(shares):
        if share > 0:
            text = f"{100 * share:.0f}" if normalise else _short(int(part[i, j]))
            ink = "white" if share > 0.45 else "#333333"
            axes.text(j + 0.5, i + 0.52, text, color=ink, fontsize=8, ha="center", va="center")
    places = [i + 0.5 for i in range(count)]
    axes.set_xticks(places, labels, fontsize=9, parse_math=False, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, labels, fontsize=9, parse_math=False)
    axes.tick_params(length=0, pad=3)
    axes.set_xlabel("predicted", fontsize=9, color=FAINT)
    write(figure, 0.3, 0.85 + side / 2, "true", 9, color=FAINT, rotation=90, ha="center", va="center")
    return rendered(figure)


def _short(count: int) -> str:
    return str(count) if count < 1000 else f"{count / 1000:.1f}k" if count < 10_000 else f"{count // 1000}k"
