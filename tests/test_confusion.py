"""Confusion matrices: counts, names, choices of classes, pictures of a cell."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import Tiny, seeded
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from optvis import Context, View, confusion, load_network
from optvis.demo import COLOURS, PATTERNS, make_pictures
from optvis.images import to_pil

pytest.importorskip("torchmetrics")
pytest.importorskip("matplotlib")


class Fixed(nn.Module):
    """Predicts the class that the first pixel's red says, as a fraction of the number of classes."""

    image_mean, image_std = [0.0] * 3, [1.0] * 3

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)
        self.places = nn.Parameter(torch.arange(classes).float() / classes)

    def forward(self, x: Tensor) -> Tensor:
        return -((x[:, :1, 0, 0] + 0 * self.conv(x).mean() - self.places) ** 2) * 1000


def predicting(classes: list[int], count: int) -> Tensor:
    return (torch.tensor(classes) / count)[:, None, None, None].expand(-1, 3, 8, 8).contiguous()


@pytest.fixture(scope="module")
def demo() -> nn.Module:
    return load_network("demo")


def drawn(network: nn.Module, data: Any, labels: Any = None, **options: Any) -> Any:
    return confusion(network, data, labels, verbose=False, **options)


def test_counts_are_those_of_a_plain_loop(demo: nn.Module) -> None:
    images, patterns, colours = make_pictures(150, seed=9)
    with torch.no_grad():
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (demo.image_mean, demo.image_std))
        output = demo((images - mean) / std)
    for layer, labels, names in (("", patterns, PATTERNS), ("colour", colours, COLOURS)):
        figure = drawn(demo, DataLoader(TensorDataset(images, labels), 40), layer=layer)
        expected = torch.zeros(len(names), len(names), dtype=torch.long)
        for true, found in zip(labels, output[layer or "pattern"].argmax(1), strict=True):
            expected[true, found] += 1
        assert torch.equal(figure.tensors["matrix"], expected)
        assert figure.values["classes"] == list(names)
        assert figure.values["accuracy"] == pytest.approx(expected.diagonal().sum().item() / 150)
        assert figure.tensors["cells"][:, 2].sum() == 150


def test_labels_are_numbers_or_names(demo: nn.Module, tmp_path: Path) -> None:
    images, patterns, _ = make_pictures(40, seed=9)
    names = [PATTERNS[i] for i in patterns]
    for i, (image, name) in enumerate(zip(images, names, strict=True)):
        (tmp_path / name).mkdir(exist_ok=True)
        to_pil(image).save(tmp_path / name / f"{i}.png")
    by_number, by_name = drawn(demo, images, patterns), drawn(demo, images, names)
    assert torch.equal(by_number.tensors["matrix"], by_name.tensors["matrix"])
    assert by_number.picture.tobytes() == by_name.picture.tobytes()
    assert torch.equal(drawn(demo, tmp_path).tensors["matrix"].sum(1), by_name.tensors["matrix"].sum(1))


def test_names_are_those_given(demo: nn.Module) -> None:
    figure = drawn(Fixed(3), predicting([0, 1, 1, 2], 3), ["a", "b", "c", "c"], names=["a", "b", "c"])
    assert figure.values["pairs"] == [{"true": "c", "predicted": "b", "count": 1}]
    assert figure.tensors["matrix"].tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    assert figure.tensors["cells"].tolist() == [[0, 0, 1], [1, 1, 1], [2, 1, 1], [2, 2, 1]]


def test_of_many_classes_those_that_occur_or_are_most_confused_are_shown() -> None:
    network = Fixed(200)
    few = drawn(network, predicting([3, 7, 7], 200), [3, 7, 9])
    assert few.values["classes"] == ["3", "7", "9"]
    true = [*range(60), 10, 10, 10, 50, 50]
    found = [*range(60), 11, 11, 11, 12, 12]
    many = drawn(network, predicting(found, 200), true, most=4)
    assert many.values["classes"] == ["10", "11", "12", "50"]
    assert many.values["accuracy"] == pytest.approx(60 / 65)
    assert many.tensors["matrix"].tolist() == [[1, 3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 2, 1]]


def test_the_pictures_of_a_cell() -> None:
    images = predicting([1, 1, 2, 1], 4)
    images[1, 1:] = torch.tensor([0.9, 0.1])[:, None, None]  # green, which the prediction does not see
    figure = drawn(Fixed(4), images, [1, 3, 3, 1], cell=(3, 1))
    seen = np.asarray(figure.picture).reshape(-1, 3).astype(int)
    green = np.array([64, 230, 26])
    assert (np.abs(seen - green).max(1) < 4).sum() > 1000
    assert torch.equal(figure.tensors["matrix"], drawn(Fixed(4), images, [1, 3, 3, 1]).tensors["matrix"])
    names = list("abcd")
    named = drawn(Fixed(4), images, [1, 3, 3, 1], cell=("d", "b"), names=names)
    assert named.picture.size[1] == figure.picture.size[1]
    empty = drawn(Fixed(4), images, [1, 3, 3, 1], cell=("0", "1"))
    assert empty.picture.height < 80


def test_normalised_it_shows_percentages(demo: nn.Module) -> None:
    images, patterns, _ = make_pictures(40, seed=9)
    plain, parts = drawn(demo, images, patterns), drawn(demo, images, patterns, normalise=True)
    assert plain.picture.tobytes() != parts.picture.tobytes()
    assert torch.equal(plain.tensors["matrix"], parts.tensors["matrix"])


def test_as_a_view_saved_and_read_back(demo: nn.Module, tmp_path: Path) -> None:
    images, patterns, _ = make_pictures(30, seed=9)
    figure = View("confusion")(demo, Context(data=images, labels=patterns))
    assert figure.picture.tobytes() == drawn(demo, images, patterns).picture.tobytes()
    found = type(figure).load(figure.save(tmp_path / "matrix.png"))
    assert found.values == figure.values and torch.equal(found.tensors["matrix"], figure.tensors["matrix"])


def test_without_torchmetrics_it_says_what_to_install(demo: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("torchmetrics"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"confusion needs torchmetrics: pip install 'optvis\[metrics\]'"):
        drawn(demo, torch.rand(2, 3, 64, 64), [0, 1])


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (None, {}, "image 0 has no label: give labels="),
        ([0, 12], {}, "the label of image 1: no class 12: the network has 12"),
        ([0, -1], {}, "the label of image 1: no class -1"),
        (["rings", "ring"], {}, "the label of image 1: no class 'ring': did you mean 'rings'"),
        ([0], {}, "1 labels for 2 images"),
        ([0, 1], {"layer": "features/2"}, r"'features/2' puts out \[32, 32, 32\] for an image, which is no row"),
        ([0, 1], {"names": ["a", "b"]}, "2 names for 12 outputs"),
        ([0, 1], {"cell": ("rings",)}, "give two classes"),
        ([0, 1], {"cell": ("rings", "dot")}, "no class 'dot': did you mean 'dots'"),
    ],
)
def test_bad_input_is_told(demo: nn.Module, labels: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drawn(demo, torch.rand(2, 3, 64, 64), labels, **options)


def test_names_need_a_network_that_has_them() -> None:
    with pytest.raises(ValueError, match="the label of image 0: class 'dog': the network's outputs have no names"):
        drawn(seeded(Tiny), torch.rand(1, 3, 32, 32), ["dog"])
