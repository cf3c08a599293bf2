"""Data sets: images with labels, from folders, tuples, batches, tables and lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_networks import Tiny, seeded
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import optvis
from optvis.data import Classes, Examples, batches, count_of, read_labels
from optvis.network import NetworkInput


@pytest.fixture(scope="module")
def given() -> NetworkInput:
    return NetworkInput.of(seeded(Tiny))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(7, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of two images, one image without a class, and a text."""
    for name in ("cats/1.png", "cats/old/2.png", "dogs/3.png", "4.png", "dogs/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            Image.new("RGB", (20, 24), (len(name), 0, 0)).save(path)
        else:
            path.write_text("no image")
    return tmp_path


def labels_of(parts: Any) -> list[Any]:
    return [label for part in parts for label in part.labels]


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: TensorDataset(x, y),
        lambda x, y: DataLoader(TensorDataset(x, y), 3),
        lambda x, y: ((one, int(label)) for one, label in zip(x, y, strict=True)),
        lambda x, y: [(x[:4], y[:4]), (x[4:], y[4:].tolist())],
        lambda x, y: [{"image": one, "label": label} for one, label in zip(x, y, strict=True)],
        lambda x, y: [(one, np.int64(label), "more") for one, label in zip(x, y, strict=True)],
    ],
)
def test_labels_are_read_with_the_images(given: NetworkInput, images: Tensor, make: Any) -> None:
    parts = list(batches(make(images, torch.arange(7) % 3), 3, given))
    assert [len(part) for part in parts] == [3, 3, 1] and [part.first for part in parts] == [0, 3, 6]
    assert labels_of(parts) == [0, 1, 2, 0, 1, 2, 0]
    assert torch.equal(torch.cat([part.images for part in parts]), images)


def test_sub_folders_name_the_classes(given: NetworkInput, folder: Path) -> None:
    (part,) = batches(folder, 8, given)
    assert part.labels == (None, "cats", "cats", "dogs")
    assert [Path(file or "").name for file in part.files] == ["4.png", "1.png", "2.png", "3.png"]
    assert count_of(folder) == 4


def test_labels_apart_from_the_data(given: NetworkInput, images: Tensor, folder: Path) -> None:
    paths = sorted(folder.rglob("*.png"))
    labels = read_labels(np.array([3, 1, 2, 0]), paths)
    (part,) = batches(paths, 8, given, labels)
    assert part.labels == (3, 1, 2, 0)
    loader = DataLoader(images, 2)  # type: ignore[arg-type]
    assert labels_of(batches(loader, 4, given, read_labels(list("abcdefg"), loader))) == list("abcdefg")


def test_what_is_no_label_is_not_known(given: NetworkInput, images: Tensor) -> None:
    data = [(images[0], {"boxes": 1}), (images[1], 0.5), (images[2], torch.rand(4)), (images[3], True), (images[4],)]
    assert labels_of(batches(data, 2, given)) == [None, None, None, 1, None]


@pytest.mark.parametrize(
    ("data", "labels", "message"),
    [
        (torch.rand(3, 3, 8, 8), [0, 1], "2 labels for 3 images"),
        ([torch.rand(3, 8, 8)] * 3, [0, 1, 2, 0], "4 labels for 3 images"),
        (torch.rand(2, 3, 8, 8), [0, 0.5], "label 0.5 of image 1: give the number or the name of a class"),
        (torch.rand(2, 3, 8, 8), 3, "labels 3: give a list of numbers or names"),
        ([torch.rand(2, 3, 8, 8)], [0, 1, 2], "3 labels for 2 images"),
        ([torch.rand(2, 3, 8, 8)], [0], "1 labels, but the data holds more images"),
        ([(torch.rand(3, 3, 8, 8), [0, 1])], None, "image 0: a batch of 3 images has 2 labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(given: NetworkInput, data: Any, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(batches(data, 4, given, read_labels(labels, data)))


def test_a_row_of_a_table_without_an_image_is_refused(given: NetworkInput) -> None:
    with pytest.raises(TypeError, match="an entry has 'pixels', 'label'; name the image 'image'"):
        list(batches([{"pixels": 1, "label": 0}], 4, given))


def test_classes_are_named_by_the_user_or_the_network() -> None:
    network = seeded(Tiny)
    found = Classes.of([2, None, 0, 2], None, network)
    assert (found.names, found.index.tolist()) == (["0", "2"], [1, -1, 0, 1])
    assert Classes.of([2, 0], ["a", "b", "c"], network).names == ["a", "c"]
    network.output_names = list("vwxyz")  # type: ignore[assignment]
    assert Classes.of([4, 1], None, network).names == ["w", "z"]
    assert Classes.of(["dog", "cat"], None, network).names == ["cat", "dog"]
    assert Classes.of([9], None, network).names == ["9"]  # no class of the network
    two_heads = optvis.load_network("demo")
    assert Classes.of([1, 0], None, two_heads).names == ["0", "1"]  # of which head is not known
    with pytest.raises(ValueError, match="label 3: there are 3 names, for the labels 0 to 2"):
        Classes.of([1, 3], ["a", "b", "c"], network)


def test_no_more_than_a_batch_is_held(given: NetworkInput) -> None:
    read = 0

    def endless() -> Any:
        nonlocal read
        while True:
            read += 1
            yield torch.rand(3, 8, 8), 0

    stream = batches(endless(), 4, given)
    assert isinstance(next(stream), Examples) and read == 5
