"""The images of a data set that excite channels of a layer most, beside pictures drawn for them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from ..activations import Reader, find_layers
from ..checks import Size, as_count, as_flag, as_list, as_number, shown, whole
from ..data import Classes, Examples, Label, batches, count_of, read_labels
from ..display import progress_bar
from ..engine import OptVis
from ..figure import Figure, settings_of
from ..names import index_of
from ..network import LayerShape, NetworkInput
from ..objectives import Channel
from ..plots import EDGE, INK, as_rgb, short_class, shortened
from ..receptive_field import ReceptiveField, receptive_field
from ..view import view

TILE, GAP, LINE = 72, 2, 20
"""Side of an example, the space between two, and the height of a title, in pixels."""
MOST_WIDTH = 1900
"""Of the whole figure, in pixels, unless one channel needs more."""
PALE = "#ececec"
LARGEST = 128
"""The default size of a drawn picture is the network's own, but at most this."""


@view("top")
def top_examples(
    network: nn.Module,
    layer: str | nn.Module,
    channels: Iterable[int | str] | None,
    data: Any,
    k: int = 9,
    labels: Any = None,
    draw: bool = True,
    crop: bool = True,
    coverage: float = 0.95,
    size: int | None = None,
    steps: int | None = None,
    batch: int = 64,
    *,
    names: Sequence[str] | None = None,
    mean: Any = None,
    std: Any = None,
    seed: int = 0,
    verbose: bool | str = True,
) -> Figure:
    """Show the images that excite channels of a layer most, beside the picture drawn for each channel.

    An image's score is the highest activation of the channel at any position (of transformers, at any patch token).
    The data is read once, for all channels; memory holds the ``k`` best examples of each channel.

    ::

        top_examples(network, "features/12", range(8), "photographs/").save("examples.png")

    Args:
        network: any ``nn.Module`` that takes images; it is read, never changed.
        layer: address or module.
        channels: numbers or names of channels; ``None`` for all.
        data: as for ``activations``.
        k: number of examples of each channel.
        labels: a number or name for each image, by default those in the data; they are only reported.
        draw: draw the picture that excites each channel most, beside its examples.
        crop: show what the position of the highest activation sees; otherwise the whole image, with that part framed.
        coverage: of the receptive field: the fraction of the gradient's magnitude along height and width; 1 is all.
        size: of drawn pictures in pixels; by default the network's own, or 224, but at most 128.
        steps: of drawn pictures; by default as for ``OptVis.vis``.
        batch: number of images in the network at once.
        names: of the classes, in the order of their numbers; by default the network's own.
        mean: of the normalisation, per channel; by default the network's own.
        std: likewise.
        seed: of drawn pictures.
        verbose: as for ``OptVis.vis``.

    Returns:
        A figure. ``values["channels"]`` holds for each channel its number, its name where it has one, and its examples:
        ``index`` in the data, ``score``, ``box`` (top, left, height, width, in pixels of the image as the network gets
        it), and ``label`` and ``file`` where known. ``tensors`` holds ``"scores"`` and ``"indices"``, ``[channels,
        k]``; where there are fewer images, -infinity and -1.

    Raises:
        ValueError: an unknown layer or channel, no images, or an image that does not fit.
    """
    (address,) = find_layers(network, layer if isinstance(layer, nn.Module) else [layer])
    k, batch, draw, crop = as_count("k", k), as_count("batch", batch), as_flag("draw", draw), as_flag("crop", crop)
    coverage = as_number("coverage", coverage, 0, 1, "(]")
    given = NetworkInput.of(network, mean, std)
    side = min(*given.default_size, LARGEST) if size is None else as_count("size", size)
    reader = Reader.of(network, [address], given)
    wanted = None if channels is None else as_list("channels", channels, "a list of numbers or names")
    search: Search | None = None
    with progress_bar(count_of(data) or 0, verbose, "images") as bar:
        for part in batches(data, batch, given, read_labels(labels, data)):
            if search is None:
                shape = reader.shapes(_size_of(part.images))[address]
                search = Search(reader, _numbers(address, wanted, shape), k, crop, coverage)
            search.add(part)
            bar.update(len(part))
    assert search is not None  # batches raises an error if there are no images
    drawn = None
    if draw:
        drawer = OptVis(network, Channel(address, tuple(search.channels)), mean=mean, std=std)
        drawn = drawer.vis(side, seed=seed, steps=steps, verbose=verbose).images
    told = {"k": k, "draw": draw, "crop": crop, "coverage": coverage, "size": side, "steps": steps}
    settings = settings_of("top", network, layer=address, channels=search.channels, **told, batch=batch, seed=seed)
    titles = [f"{address}:{n}" + (f"  {short_class(shape.names[n])}" if shape.names else "") for n in search.channels]
    values = {"layer": address, "channels": _described(search, Classes.of(search.labels, names, network), shape.names)}
    return Figure(_sheet(search.best, k, titles, drawn), settings, values, _tensors(search.best, k))


def _size_of(images: Tensor) -> Size:
    return images.shape[-2], images.shape[-1]


def _numbers(layer: str, wanted: list[Any] | None, shape: LayerShape) -> list[int]:
    """The numbers of channels, given by number or name; all for ``None``."""
    count = shape.shape[0]
    if wanted is None:
        return list(range(count))
    if not wanted:
        raise ValueError("no channels: give at least one number, or None for all")
    found = []
    for one in wanted:
        number = whole(one)
        if number is None and isinstance(one, str) and shape.names is not None:
            number = index_of(one, shape.names, f"layer {layer!r} has no channel named {one!r}")
        if number is None:
            raise ValueError(f"channel {shown(one)} of layer {layer!r}: give a number; its channels have no names")
        if not -count <= number < count:
            raise ValueError(f"layer {layer!r} has no channel {number}: it has {count}, numbered 0 to {count - 1}")
        found.append(number % count)
    return found


@dataclass(frozen=True, eq=False)
class Example:
    """One of a channel's best images.

    Attributes:
        score: the channel's highest activation.
        index: of the image in the data.
        box: what the position of that activation sees: (top, left, height, width) in pixels.
        tile: the picture to show.
        label: the image's class, where known.
        file: its path, where it was read from a file.
    """

    score: float
    index: int
    box: tuple[int, int, int, int]
    tile: Image.Image
    label: Label
    file: str | None


@dataclass(eq=False)
class Search:
    """The best examples so far of some channels.

    Attributes:
        reader: of the network and the layer.
        channels: their numbers.
        k: number of examples of each channel.
        crop: as for ``top_examples``.
        coverage: as for ``top_examples``.
        best: of each channel, the highest score first; of equal scores, the first image.
    """

    reader: Reader
    channels: list[int]
    k: int
    crop: bool
    coverage: float
    best: list[list[Example]] = field(init=False)
    _fields: dict[Size, ReceptiveField] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.best = [[] for _ in self.channels]

    @property
    def labels(self) -> list[Label]:
        """The labels of the examples of all channels, one after another."""
        return [one.label for examples in self.best for one in examples]

    def add(self, part: Examples) -> None:
        """Keep those images of a batch that are among the best of a channel."""
        (layer,) = self.reader.prepared.layers
        seen = self.reader(part.images)[layer][:, self.channels].cpu()
        fields = self._field(layer, _size_of(part.images))
        positions = seen.flatten(2) if seen.dim() > 2 else seen[..., None]
        positions = positions[..., -fields.positions :] if fields.positions > 1 else positions
        scores, places = positions.max(2)
        least = torch.tensor([one[-1].score if len(one) == self.k else -math.inf for one in self.best])
        better = scores > least
        for row in better.any(0).nonzero()[:, 0].tolist():
            old = [(one.score, -one.index, one) for one in self.best[row]]
            new = [(scores[i, row].item(), -part.first - i, None) for i in better[:, row].nonzero()[:, 0].tolist()]
            kept = sorted([*old, *new], key=lambda one: one[:2], reverse=True)[: self.k]
            self.best[row] = [
                one or self._example(part, -index - part.first, score, fields, int(places[-index - part.first, row]))
                for score, index, one in kept
            ]

    def _example(self, part: Examples, i: int, score: float, fields: ReceptiveField, place: int) -> Example:
        columns = len(fields.columns)
        box = fields.box(place // columns, place % columns) if fields.positions > 1 else fields.box(0, 0)
        image = part.images[i].cpu()
        tile = _cropped(image, box, fields.largest) if self.crop else _framed(image, box)
        return Example(score, part.first + i, box, tile, part.labels[i], part.files[i])

    def _field(self, layer: str, size: Size) -> ReceptiveField:
        if size not in self._fields:
            self._fields[size] = receptive_field(self.reader, layer, size, self.coverage)
        return self._fields[size]


def _described(search: Search, classes: Classes, names: Sequence[str] | None) -> list[dict[str, Any]]:
    """The channels with their examples, as JSON data."""
    index = iter(classes.index.tolist())
    found = []
    for number, examples in zip(search.channels, search.best, strict=True):
        one: dict[str, Any] = {"channel": number, "name": names[number] if names else None, "examples": []}
        for example in examples:
            label = next(index)
            one["examples"].append(
                {
                    "index": example.index,
                    "score": example.score,
                    "box": list(example.box),
                    "label": classes.names[label] if label >= 0 else None,
                    "file": example.file,
                }
            )
        found.append(one)
    return found


def _tensors(best: list[list[Example]], k: int) -> dict[str, Tensor]:
    """Scores and indices ``[channels, k]``; where there are fewer images, -infinity and -1."""
    scores, indices = torch.full((len(best), k), -math.inf), torch.full((len(best), k), -1)
    for row, examples in enumerate(best):
        scores[row, : len(examples)] = torch.tensor([one.score for one in examples])
        indices[row, : len(examples)] = torch.tensor([one.index for one in examples], dtype=torch.long)
    return {"scores": scores, "indices": indices}


def _cropped(image: Tensor, box: Sequence[int], largest: int) -> Image.Image:
    """The part of an image, of the same scale for all positions; pale where it ends at the image's edge."""
    top, left, height, width = box
    part = image[:, top : top + height, left : left + width]
    return _on_tile(part, TILE / largest)


def _framed(image: Tensor, box: Sequence[int]) -> Image.Image:
    """The whole image, with the part framed."""
    scale = TILE / max(image.shape[-2:])
    tile = _on_tile(image, scale)
    height, width = (round(side * scale) for side in image.shape[-2:])
    x, y = (TILE - width) // 2 + box[1] * scale, (TILE - height) // 2 + box[0] * scale
    corners = (x, y, min(x + box[3] * scale, TILE) - 1, min(y + box[2] * scale, TILE) - 1)
    ImageDraw.Draw(tile).rectangle(corners, outline="white", width=1)
    return tile


def _on_tile(part: Tensor, scale: float) -> Image.Image:
    height, width = (min(max(round(side * scale), 1), TILE) for side in part.shape[-2:])
    tile = Image.new("RGB", (TILE, TILE), PALE)
    tile.paste(
        as_rgb(part).resize((width, height), Image.Resampling.BICUBIC), ((TILE - width) // 2, (TILE - height) // 2)
    )
    return tile


def _sheet(best: list[list[Example]], k: int, titles: Sequence[str], drawn: Tensor | None) -> Image.Image:
    """A block for each channel: its title, the drawn picture, and beside it the examples."""
    across = math.ceil(math.sqrt(k))
    down = math.ceil(k / across)
    side = down * (TILE + GAP) - GAP
    start = 0 if drawn is None else side + 2 * GAP
    width, height = start + across * (TILE + GAP) - GAP, side + LINE
    columns = min(len(best), max(1, MOST_WIDTH // width), math.ceil(math.sqrt(len(best) * height / width * 1.6)))
    rows = math.ceil(len(best) / columns)
    sheet = Image.new("RGB", (columns * (width + EDGE) + EDGE, rows * (height + EDGE) + EDGE), "white")
    brush, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for i, examples in enumerate(best):
        left, top = EDGE + i % columns * (width + EDGE), EDGE + i // columns * (height + EDGE)
        brush.text((left, top + 1), shortened(titles[i], width // 7), INK, font)
        if drawn is not None:
            sheet.paste(as_rgb(drawn[i]).resize((side, side), Image.Resampling.BICUBIC), (left, top + LINE))
        for j, example in enumerate(examples):
            place = (left + start + j % across * (TILE + GAP), top + LINE + j // across * (TILE + GAP))
            sheet.paste(example.tile, place)
    return sheet
