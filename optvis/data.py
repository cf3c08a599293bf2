"""Data sets: images and their labels, one after another or in batches."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from .checks import as_list, shown, whole
from .files import expanded
from .images import fit, read_image, with_channels
from .network import NetworkInput
from .network.inputs import named_outputs

Label = int | str | None
"""The class of an image: its number, its name, or not known."""

_IMAGE_KEYS, _LABEL_KEYS = ("image", "img"), ("label", "labels")
"""Names of the columns of Hugging Face's data sets."""


class Item(NamedTuple):
    """One entry of a data set: an image or a batch of images, in any form that ``read_image`` takes, and its labels."""

    image: Any
    labels: Any = None


@dataclass(frozen=True, eq=False)
class Examples:
    """A batch of images of one size.

    Attributes:
        images: ``[n, C, H, W]`` in [0, 1], float32, with the number of channels that the network takes.
        labels: of each image.
        files: the path of each image; ``None`` where it was not read from a file.
        first: the index of the first image in the data.
    """

    images: Tensor
    labels: tuple[Label, ...]
    files: tuple[str | None, ...]
    first: int

    def __len__(self) -> int:
        return len(self.images)


def batches(
    data: Any, batch: int, given: NetworkInput, labels: Sequence[Label] | None = None, first: int = 0
) -> Iterator[Examples]:
    """The images of a data set in their order, at most ``batch`` at once; a batch ends where the size changes.

    Args:
        data: as for ``activations``.
        batch: the largest number of images at once.
        given: the network's input. Files and PIL images are fitted to its size, or 224 px.
        labels: one for each image, as ``read_labels`` gives them; by default those that the data contains.
        first: the index of the first image, for ``Examples.first`` and for errors.

    Raises:
        ValueError: there are no images, an image does not fit, or there are not as many labels as images.
        TypeError: ``data`` holds no images.
    """
    waiting: list[tuple[Tensor, Label, str | None]] = []
    count = 0
    for item in items(data):
        try:
            read = with_channels(read_image(item.image), given.channels)
            if not isinstance(item.image, Tensor) and not hasattr(item.image, "shape"):
                read = fit(read, given.default_size)
            own = own_labels(item.labels, len(read)) if labels is None else labels[count : count + len(read)]
        except ValueError as error:
            raise ValueError(f"image {first + count}: {error}") from error
        if len(own) < len(read):
            raise ValueError(f"{count + len(own)} labels, but the data holds more images: give one for each image")
        for one, label in zip(read, own, strict=True):
            if waiting and (len(waiting) == batch or one.shape != waiting[0][0].shape):
                yield _joined(waiting, first + count)
                waiting = []
            waiting.append((one, label, _file(item.image)))
            count += 1
    if not waiting:
        raise ValueError("there are no images: give at least one")
    if labels is not None and len(labels) != count:
        raise ValueError(f"{len(labels)} labels for {count} images: give one for each image")
    yield _joined(waiting, first + count)


def _joined(waiting: Sequence[tuple[Tensor, Label, str | None]], end: int) -> Examples:
    images, labels, files = zip(*waiting, strict=True)
    return Examples(torch.stack(images), labels, files, end - len(images))


def items(data: Any) -> Iterator[Item]:
    """The entries of a data set. Images in sub-folders of a folder are labelled with the name of the first of these.

    Raises:
        ValueError: a folder holds no images.
        TypeError: ``data`` holds no images.
    """
    files = files_of(data)
    if files is not None:
        yield from files
    elif isinstance(data, (Image.Image, Tensor)) or hasattr(data, "__array__"):
        yield from map(Item, read_image(data).split(1) if isinstance(data, Tensor) else [data])
    elif _is_listed(data):  # a data set need not raise IndexError at its end
        yield from (_item(data[i]) for i in range(len(data)))
    elif isinstance(data, Iterable) and not isinstance(data, Mapping):
        yield from map(_item, data)
    else:
        raise TypeError(f"no images: {shown(data)}; give a tensor, paths, a folder, a data set or a DataLoader")


def files_of(data: Any) -> list[Item] | None:
    """The entries of a folder, of a path, or of a list that holds paths only; ``None`` for all other data."""
    if isinstance(data, (str, os.PathLike)):
        folder = expanded(data)
        return _in_folder(folder) if folder.is_dir() else [Item(data)]
    if isinstance(data, (list, tuple)) and data and all(isinstance(one, (str, os.PathLike)) for one in data):
        return [Item(one) for one in data]
    return None


def _in_folder(folder: Path) -> list[Item]:
    endings = Image.registered_extensions()
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in endings)
    if not paths:
        raise ValueError(f"folder {str(folder)!r} holds no images")
    return [Item(path, path.relative_to(folder).parts[0] if path.parent != folder else None) for path in paths]


def count_of(data: Any) -> int | None:
    """The number of images, where it is known without reading them all."""
    files = files_of(data)
    if files is not None:
        return len(files)
    if isinstance(data, Tensor):
        return len(data) if data.dim() == 4 else 1
    if isinstance(data, Image.Image) or hasattr(data, "__array__"):
        return 1
    if not _is_listed(data) or not len(data):
        return None
    first = _item(data[0]).image
    several = isinstance(first, Tensor) and first.dim() == 4
    return None if several else len(data)


def _is_listed(data: Any) -> bool:
    return hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, Mapping)


def _item(entry: Any) -> Item:
    """An entry of a data set: a tuple of image and label, a row of a table, or an image alone."""
    if isinstance(entry, (tuple, list)) and entry:
        return Item(entry[0], entry[1] if len(entry) > 1 else None)
    if isinstance(entry, Mapping):
        image = next((entry[key] for key in _IMAGE_KEYS if key in entry), None)
        if image is None:
            raise TypeError(f"no images: an entry has {', '.join(map(repr, entry))}; name the image 'image'")
        return Item(image, next((entry[key] for key in _LABEL_KEYS if key in entry), None))
    return Item(entry)


def _file(image: Any) -> str | None:
    return str(image) if isinstance(image, (str, os.PathLike)) else None


def own_labels(given: Any, count: int) -> list[Label]:
    """The labels of ``count`` images as a data set contains them; ``None`` for what is neither a number nor a text.

    Raises:
        ValueError: a list that does not have as many labels as there are images.
    """
    listed = given.tolist() if hasattr(given, "tolist") else given
    if not isinstance(listed, (list, tuple)):
        return [_label(listed)] * count
    if len(listed) != count:
        return [None] * count if count == 1 else _refuse_count(len(listed), count)
    return [_label(one) for one in listed]


def _refuse_count(labels: int, images: int) -> list[Label]:
    raise ValueError(f"a batch of {images} images has {labels} labels: give one for each image")


def _label(value: Any) -> Label:
    if isinstance(value, str):
        return value
    return int(value) if isinstance(value, bool) else whole(value)


def read_labels(labels: Any, data: Any) -> list[Label] | None:
    """The labels that a user gave apart from the data: numbers or texts, one for each image.

    Raises:
        ValueError: another number of labels than images, where the number of images is known; or something that is
            neither a number nor a text.
    """
    if labels is None:
        return None
    listed = as_list("labels", labels, "a list of numbers or names, one for each image", 10**8)
    found = [_label(one) for one in listed]
    if None in found:
        place = found.index(None)
        raise ValueError(f"label {shown(listed[place])} of image {place}: give the number or the name of a class")
    count = count_of(data)
    if count is not None and count != len(found):
        raise ValueError(f"{len(found)} labels for {count} images: give one for each image")
    return found


@dataclass(frozen=True, eq=False)
class Classes:
    """The classes that occur among labels.

    Attributes:
        names: in the order of their numbers, or of the alphabet.
        index: ``[N]``, int64: the class of each image as an index into ``names``; -1 where it is not known.
    """

    names: list[str]
    index: Tensor

    @classmethod
    def of(cls, labels: Sequence[Label], names: Sequence[str] | None, network: nn.Module) -> Classes:
        """Classes of labels. Numbers are named by ``names``, or by the network where it names a single row of outputs.

        Raises:
            ValueError: a number for which ``names`` has no name.
        """
        found = {label for label in labels if label is not None}
        numbers = sorted(label for label in found if isinstance(label, int))
        texts = sorted(label for label in found if isinstance(label, str))
        if names is not None and numbers and not 0 <= numbers[0] <= numbers[-1] < len(names):
            wrong = next(number for number in numbers if not 0 <= number < len(names))
            raise ValueError(f"label {wrong}: there are {len(names)} names, for the labels 0 to {len(names) - 1}")
        own = list(named_outputs(network).values())
        if names is None and len(own) == 1 and numbers and 0 <= numbers[0] <= numbers[-1] < len(own[0]):
            names = own[0]
        known: list[Label] = [*numbers, *texts]
        order = {label: i for i, label in enumerate(known)}
        listed = [str(number) if names is None else str(names[number]) for number in numbers]
        return cls([*listed, *texts], torch.tensor([order.get(label, -1) for label in labels]))
