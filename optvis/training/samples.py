"""Images for the views, taken from the data of a training run without changing it."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset

from ..checks import shown
from ..images import read_image
from .random_states import kept_random_states

_IMAGES = ("pixel_values", "image", "images", "img", "x")
_LABELS = ("labels", "label", "targets", "target", "y")
"""Keys of the images and labels of data sets whose items are dicts."""

Pairs = list[tuple[Any, Any]]
"""Images with their labels."""


class Source:
    """Where images and labels are taken from.

    A ``DataLoader`` is not iterated, because this would advance its random state: the items are taken from its data set
    and joined by its ``collate_fn``. The data set is used through a shallow copy, and an iterable one through a deep
    copy; random states are restored.

    Args:
        data: a ``DataLoader``; a data set; ``(images, labels)``; a tensor ``[N, C, H, W]``; a list of images, paths or
            batches; a folder of images; or an iterable of batches. Items are images, tuples that begin with an image
            and a label, or dicts.

    Raises:
        TypeError: an iterator, from which images would be missing in training; or no data.
        ValueError: there are no images.
    """

    def __init__(self, data: Any) -> None:
        loader = data if hasattr(data, "dataset") and not hasattr(data, "__getitem__") else None
        self.data = _in_folder(data) if loader is None else loader.dataset
        batched = loader is not None and getattr(loader, "batch_size", 1) is not None
        self.collate = getattr(loader, "collate_fn", None) if batched else None
        self.pairs = isinstance(data, tuple) and len(data) == 2 and getattr(data[0], "ndim", 0) == 4
        self.indices: Sequence[int] | None = None
        self.stream: Iterator[tuple[Any, Any]] | None = None
        if self.pairs:
            self.indices = range(len(data[0]))
        elif _indexed(self.data):
            subset = getattr(getattr(loader, "sampler", None), "indices", None)  # of a SubsetRandomSampler
            self.indices = range(len(self.data)) if subset is None else list(subset)
        elif not isinstance(self.data, Iterable):
            raise TypeError(f"no data: {shown(data)}; give a DataLoader, a data set, a tensor or a list of images")
        elif isinstance(self.data, Iterator):
            raise TypeError(
                f"data is a {type(self.data).__name__}, and images taken from it would be missing in training: give a "
                "DataLoader, a data set or a list"
            )
        if self.indices is not None and not len(self.indices):
            raise ValueError("data holds no images: give at least one")

    def take(self, count: int, seed: int) -> Pairs:
        """Up to ``count`` images with labels (``None`` where there is none); ``seed`` decides which."""
        with kept_random_states(self.data):
            if self.indices is None:
                return self._next(count)
            some = random.Random(seed).sample(range(len(self.indices)), min(count, len(self.indices)))
            chosen = [self.indices[i] for i in some]
            if self.pairs:
                images, labels = self.data
                return [(images[i], None if labels is None else labels[i]) for i in chosen]
            data = _copied(self.data)
            items = [data[i] for i in chosen]
            items = items if self.collate is None else [self.collate(items)]
            return [pair for item in items for pair in _singles(item)][:count]

    def _next(self, count: int) -> Pairs:
        """The next images of an iterable, from its beginning after its end."""
        found: Pairs = []
        for _ in range(2):
            if self.stream is None:
                try:
                    copied = copy.deepcopy(self.data)
                except Exception as error:
                    raise ValueError(
                        f"data: a {type(self.data).__name__} cannot be copied, and images taken from it might be "
                        "missing in training: give a list of images"
                    ) from error
                self.stream = (pair for item in copied for pair in _singles(item))
            found += islice(self.stream, count - len(found))
            if len(found) == count:
                return found
            self.stream = None
        if not found:
            raise ValueError("data holds no images: give at least one")
        return found


def as_images(pairs: Pairs) -> Any:
    """Images as views take them: RGB in [0, 1], in one tensor ``[N, C, H, W]`` if they have one size.

    Raises:
        ValueError: the values are not those of an image.
    """
    try:
        images = [read_image(one) if isinstance(one, (Tensor, np.ndarray)) else one for one, _ in pairs]
    except ValueError as error:
        raise ValueError(
            f"data: {error}. If the data is normalised, give normalised=True, and mean= and std= unless the network "
            "has them"
        ) from error
    return _joined(images)


def as_normalised(pairs: Pairs) -> Tensor:
    """Images that were normalised, as one tensor ``[N, C, H, W]``; raises ``ValueError`` if they are no tensors."""
    joined = _joined([one[None] if isinstance(one, Tensor) else one for one, _ in pairs])
    if not isinstance(joined, Tensor):
        raise ValueError("normalised=True is for tensors of one size: leave it out")
    return joined


def as_labels(pairs: Pairs) -> list[int | str] | None:
    """The labels as numbers or names; ``None`` if not every image has one."""
    labels = [_label(one) for _, one in pairs]
    return None if None in labels else labels  # type: ignore[return-value]


def _joined(images: list[Any]) -> Any:
    """One tensor if all are tensors ``[1, C, H, W]`` of one shape, otherwise the list."""
    if all(isinstance(one, Tensor) for one in images) and len({one.shape for one in images}) == 1:
        return torch.cat([one.detach().float().cpu() for one in images])
    return images


def _label(value: Any) -> int | str | None:
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        value = value.item() if np.prod(value.shape) == 1 else None
    return value if isinstance(value, (int, str)) else None


def _indexed(data: Any) -> bool:
    indexed = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    return indexed and not isinstance(data, (IterableDataset, Mapping))


def _in_folder(data: Any) -> Any:
    """The image files of a folder, or the data itself."""
    if not isinstance(data, (str, os.PathLike)):
        return data
    endings = Image.registered_extensions()
    files = sorted(path for path in Path(data).expanduser().rglob("*") if path.suffix.lower() in endings)
    if not files:
        raise ValueError(f"there are no images in {str(data)!r}: give a folder that holds some")
    return files


def _copied(data: Any) -> Any:
    """A shallow copy of a data set and those inside it, so that files it opens and its counters stay out of training.

    Worker processes that are forked after a data set opened a file would share its position.
    """
    if isinstance(data, (list, tuple, Tensor, np.ndarray)):
        return data
    try:
        copied = copy.copy(data)
        if hasattr(data, "dataset"):
            copied.dataset = _copied(data.dataset)
    except Exception:  # of any type; then the data set itself is read
        return data
    return copied


def _singles(item: Any) -> Pairs:
    """The images of an item, which is an image or a batch, with their labels."""
    image, label = item, None
    if isinstance(item, Mapping):
        image = next((item[key] for key in _IMAGES if key in item), None)
        label = next((item[key] for key in _LABELS if key in item), None)
        if image is None:
            raise ValueError(f"data holds dicts with {', '.join(map(str, item))}, and no {' or '.join(_IMAGES)}")
    elif isinstance(item, (tuple, list)):
        image, label = item[0], item[1] if len(item) > 1 else None
    several = isinstance(image, list) or (isinstance(image, Tensor) and image.dim() == 4)
    if not several:
        return [(image, label)]
    if not isinstance(label, (Tensor, list, tuple)) or len(label) != len(image):
        label = [None] * len(image)
    return list(zip(image, label, strict=True))
