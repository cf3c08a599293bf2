"""Activations of a network on images or a data set, against a plain hook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_networks import CountingTiny, Tiny, seeded
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from optvis import activations
from optvis.demo import demo_network
from optvis.network.imagenet import IMAGENET_MEAN, IMAGENET_STD

LAYERS = ["first", "second", "head"]


@pytest.fixture
def network() -> Tiny:
    return seeded(Tiny)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(23, 3, 32, 40, generator=torch.Generator().manual_seed(0))


def hooked(network: nn.Module, images: Tensor, layers: list[str]) -> dict[str, Tensor]:
    """The same by plain hooks on a copy."""
    seen: dict[str, Tensor] = {}
    for layer in layers:
        network.get_submodule(layer).register_forward_hook(lambda m, x, y, layer=layer: seen.update({layer: y.clone()}))
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        network(images * (1 / std) + -mean / std)
    return seen


def joined(found: Any) -> dict[str, Tensor]:
    parts = list(found)
    return {layer: torch.cat([part[layer] for part in parts]) for layer in parts[0]}


class Labelled(Dataset[Any]):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.images[i], i % 3


@pytest.mark.parametrize(
    "given",
    [
        lambda images: images,
        list,
        Labelled,
        TensorDataset,
        lambda images: DataLoader(Labelled(images), 5),
        lambda images: DataLoader(Labelled(images), 50),
        lambda images: (image for image in images),
        lambda images: [images[:20], images[20:]],
    ],
)
def test_they_are_those_of_a_plain_hook(network: Tiny, images: Tensor, given: Any) -> None:
    found = list(activations(network, given(images), LAYERS, batch=8))
    assert [len(part["head"]) for part in found] == [8, 8, 7]
    expected = hooked(seeded(Tiny), images, LAYERS)
    for layer in LAYERS:
        seen = torch.cat([part[layer] for part in found])
        assert seen.shape == expected[layer].shape and torch.allclose(seen, expected[layer], rtol=1e-5, atol=1e-6)


def test_the_whole_batch_is_equal_to_the_bit(network: Tiny, images: Tensor) -> None:
    (found,) = activations(network, images, LAYERS, batch=23)
    expected = hooked(seeded(Tiny), images, LAYERS)
    assert all(torch.equal(found[layer], expected[layer]) for layer in LAYERS)


def test_files_folders_and_pil_images(network: Tiny, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    rng = np.random.default_rng(0)
    paths = [tmp_path / "b" / "1.png", tmp_path / "a.jpg", tmp_path / "c.png"]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(path)
    (tmp_path / "notes.txt").write_text("no image")
    by_folder = joined(activations(network, tmp_path, "head"))["head"]
    listed = joined(activations(network, sorted(paths), "head"))["head"]
    pictures = joined(activations(network, [Image.open(path) for path in sorted(paths)], "head"))["head"]
    assert torch.equal(by_folder, listed) and torch.equal(listed, pictures) and len(listed) == 3
    assert torch.allclose(joined(activations(network, paths[0], "head"))["head"][0], listed[1], atol=1e-6)


def test_images_of_several_sizes_are_taken_in_their_order(network: Tiny) -> None:
    images = [torch.rand(3, size, 32, generator=torch.Generator().manual_seed(size)) for size in (32, 32, 40, 32)]
    found = list(activations(network, images, "head", batch=8))
    assert [len(part["head"]) for part in found] == [2, 1, 1]
    each = torch.cat([joined(activations(network, image, "head"))["head"] for image in images])
    assert torch.allclose(torch.cat([part["head"] for part in found]), each, atol=1e-6)


def test_no_more_than_a_batch_is_read_ahead() -> None:
    network, drawn = seeded(CountingTiny), []

    def endless() -> Any:
        while True:
            drawn.append(1)
            yield torch.rand(3, 32, 32)

    stream = activations(network, endless(), "first", batch=4)
    for i in range(1, 4):
        next(stream)
        assert len(drawn) <= 4 * i + 1
    assert network.seen[-3:] == [4, 4, 4]


def test_tokens_and_windows_have_their_channels_first() -> None:
    network = seeded(nn.Sequential, nn.Conv2d(3, 6, 4, 4), nn.Flatten(2), _Transpose(), nn.Linear(6, 7))
    (found,) = activations(network, torch.rand(2, 3, 16, 16), ["0", "2", "3"])
    assert [list(found[layer].shape) for layer in ("0", "2", "3")] == [[2, 6, 4, 4], [2, 6, 16], [2, 7, 16]]


class _Transpose(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mT


def test_a_network_of_one_size_is_shown_images_at_it() -> None:
    network = seeded(nn.Sequential, nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 30 * 30, 5))
    network.input_size = (3, 32, 32)
    (found,) = activations(network, torch.rand(3, 3, 48, 48), "2")
    assert found["2"].shape == (3, 5)


def test_the_demo_network_sees_patterns() -> None:
    (found,) = activations(demo_network(), torch.rand(2, 3, 64, 64), "features/12")
    assert found["features/12"].shape[:2] == (2, 64) or found["features/12"].dim() == 4


@pytest.mark.parametrize(
    ("images", "layers", "error", "message"),
    [
        ([], "head", ValueError, "there are no images"),
        (torch.rand(2, 3, 8, 8) * 3, "head", ValueError, "values run from"),
        (torch.rand(2, 4, 8, 8), "head", ValueError, "image 0: the image has 4 channels, the network takes 3"),
        (7, "head", TypeError, "no images: 7"),
        (torch.rand(1, 3, 8, 8), "hed", ValueError, "did you mean 'head'"),
        (torch.rand(1, 3, 8, 8), [], ValueError, "no layers"),
        (torch.rand(1, 3, 8, 8), "head:1", ValueError, "'head:1'"),
    ],
)
def test_bad_input_is_told(network: Tiny, images: Any, layers: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        list(activations(network, images, layers))


def test_an_unknown_option_and_an_empty_folder(network: Tiny, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no option 'batchsize'"):
        activations(network, torch.rand(1, 3, 8, 8), "head", batchsize=3)
    with pytest.raises(ValueError, match="holds no images"):
        list(activations(network, tmp_path, "head"))
    with pytest.raises(ValueError, match="batch 0"):
        activations(network, torch.rand(1, 3, 8, 8), "head", batch=0)
