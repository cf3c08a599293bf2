"""One vector of activations for each image of a data set, kept for the next figure of the same network and data."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from .activations import Reader
from .data import Examples, Item, Label, batches, count_of, files_of, own_labels
from .display import progress_bar
from .files import expanded, write_whole
from .images import fit
from .network import NetworkInput, unwrap
from .network.shadow import hooks_of
from .prepared import options_of, state_of

THUMBNAIL = 48
"""Side of thumbnails in pixels."""
MOST_BYTES = 512 * 2**20
"""The cache in memory drops what was not used for longest above this size."""


@dataclass(frozen=True, eq=False)
class Features:
    """Activations of N images, one vector for each.

    Attributes:
        vectors: ``[N, C]`` of each layer, float32, on the CPU: the mean over all positions.
        labels: of each image.
        thumbnails: ``[N, 3, 48, 48]``, uint8, where they were asked for.
    """

    vectors: dict[str, Tensor]
    labels: list[Label]
    thumbnails: Tensor | None = None


@dataclass(eq=False)
class Cache:
    """Tensors by key, in memory and, where a folder is given, in its files.

    Attributes:
        most: bytes in memory.
    """

    most: int = MOST_BYTES
    _entries: OrderedDict[str, dict[str, Tensor]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: str, folder: Path | None = None) -> dict[str, Tensor]:
        """The tensors of a key, empty if there are none. A damaged file counts as none."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        file = None if folder is None else folder / f"{key}.safetensors"
        if file is None or not file.is_file():
            return {}
        try:
            return safetensors.torch.load_file(file)
        except Exception:  # safetensors raises an undocumented type
            return {}

    def put(self, key: str, tensors: dict[str, Tensor], folder: Path | None = None) -> None:
        """Keep tensors; the least recently used ones are dropped."""
        with self._lock:
            self._entries[key] = tensors
            self._entries.move_to_end(key)
            while sum(map(_size, self._entries.values())) > self.most and len(self._entries) > 1:
                self._entries.popitem(last=False)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / f"{key}.safetensors", safetensors.torch.save(tensors))

    def clear(self) -> None:
        """Drop everything from memory."""
        with self._lock:
            self._entries.clear()


def _size(tensors: dict[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


KEPT = Cache()
"""The cache of this process."""


def features_of(
    network: nn.Module,
    layers: Sequence[str],
    data: Any,
    labels: Sequence[Label] | None,
    given: NetworkInput,
    *,
    thumbnails: bool = False,
    batch: int = 64,
    folder: str | os.PathLike[str] | None = None,
    verbose: bool | str = False,
) -> Features:
    """The activations of layers, averaged over positions, for all images of a data set.

    A batch of images that the same network has seen before is not computed again. Files are recognised by path, size
    and time of the last change and are then not read; all other images by their values.

    Args:
        network: it is read, never changed.
        layers: addresses, as ``find_layers`` gives them.
        data: as for ``activations``.
        labels: as for ``batches``.
        given: the network's input.
        thumbnails: make thumbnails, too.
        batch: number of images in the network at once.
        folder: where the activations are kept for other processes; by default they are kept in memory only.
        verbose: as for ``progress_bar``.
    """
    place = None if folder is None else expanded(folder)
    base = f"{network_key(network)} {given.mean} {given.std}"
    wanted = (*layers, *([_THUMBNAILS] if thumbnails else []))
    readers: dict[tuple[str, ...], Reader] = {}
    found: list[dict[str, Tensor]] = []
    known: list[Label] = []
    with progress_bar(count_of(data) or 0, verbose, "images") as bar:
        for key, own, read in _parts(data, batch, given, labels):
            key = _digest(f"{base} {key}".encode())
            entry = KEPT.get(key, place)
            if any(name not in entry for name in wanted):
                images = read()
                missing = tuple(layer for layer in layers if layer not in entry)
                if missing and missing not in readers:
                    readers[missing] = Reader.of(network, missing, given)
                new = _means(readers[missing], images) if missing else {}
                entry = {**entry, **new, **({_THUMBNAILS: _thumbnails(images)} if thumbnails else {})}
                KEPT.put(key, entry, place)
            found.append(entry)
            known += own
            bar.update(len(own))
    joined = {name: torch.cat([entry[name] for entry in found]) for name in wanted}
    return Features({layer: joined[layer] for layer in layers}, known, joined.get(_THUMBNAILS))


_THUMBNAILS = "@thumbnails"


def _means(reader: Reader, images: Tensor) -> dict[str, Tensor]:
    return {layer: (x.flatten(2).mean(2) if x.dim() > 2 else x).cpu() for layer, x in reader(images).items()}


def _thumbnails(images: Tensor) -> Tensor:
    small = fit(images if images.shape[1] == 3 else images.mean(1, keepdim=True), (THUMBNAIL, THUMBNAIL))
    return (small.cpu() * 255).round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()


def _parts(
    data: Any, batch: int, given: NetworkInput, labels: Sequence[Label] | None
) -> Iterator[tuple[str, Sequence[Label], Callable[[], Tensor]]]:
    """The key, the labels and the images of each batch; files are read only when their images are asked for."""
    files = files_of(data)
    if files is None:
        for part in batches(data, batch, given, labels):
            yield _digest(part.images.contiguous().cpu().numpy().data), part.labels, _known(part)
        return
    for start in range(0, len(files), batch):
        chunk = files[start : start + batch]
        own = [own_labels(item.labels, 1)[0] for item in chunk] if labels is None else labels[start : start + batch]
        yield _digest(f"{[_stamp(item) for item in chunk]}".encode()), own, _read_later(chunk, given, start)


def _known(part: Examples) -> Callable[[], Tensor]:
    return lambda: part.images


def _read_later(files: Sequence[Item], given: NetworkInput, first: int) -> Callable[[], Tensor]:
    return lambda: next(batches([item.image for item in files], len(files), given, first=first)).images


def _stamp(item: Item) -> tuple[str, int, int]:
    path = expanded(item.image).absolute()
    try:
        facts = path.stat()
    except OSError:  # reading it says what is wrong
        return str(path), 0, 0
    return str(path), facts.st_size, facts.st_mtime_ns


def network_key(network: nn.Module) -> str:
    """A hash that changes with a network's weights and modules; the same in every process.

    If a module has hooks, or functions that were set on it, it holds within one process only.
    """
    modules = [
        (name, type(module).__module__, type(module).__qualname__, hooks_of(module), list(options_of(module)))
        for name, module in unwrap(network).named_modules()
    ]
    return _digest(repr((modules, state_of(network)[1])).encode())


def _digest(data: Any) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
