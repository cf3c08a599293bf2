"""Caricature and inversion: their figures, numbers and default layers; on real networks, that they are alike."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from small_networks import Tiny, seeded
from torch import Tensor, nn

from optvis import Context, View, caricature, invert, load_network
from optvis.network import NetworkInput
from optvis.recipes.matching import layers_at_depths

SHARED = Path(os.environ.get("OPTVIS_SHARED", "/nowhere"))


@pytest.fixture
def network() -> Tiny:
    return seeded(Tiny)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))


def test_a_row_for_each_image_with_the_prediction_and_the_cosines(network: Tiny, images: Tensor) -> None:
    figure = caricature(network, images, ["first", "second"], steps=12, names=list("abcde"), verbose=False)
    assert figure.picture.mode == "RGB" and figure.picture.height > 2 * 24 and figure.picture.width > 3 * 24
    assert figure.values["layers"] == ["first", "second"]
    given = NetworkInput.of(network)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (given.mean, given.std))
    chances = network((images - mean) / std).softmax(1)
    for one, row in zip(figure.values["predictions"], chances, strict=True):
        assert one == {"class": "abcde"[int(row.argmax())], "probability": pytest.approx(row.max().item(), abs=1e-3)}
    for layer in ("first", "second"):
        assert all(0.3 < cosine <= 1 for cosine in figure.values["cosines"][layer])
    longer = caricature(network, images, ["first"], steps=60, verbose=False).values["cosines"]["first"]
    assert sum(longer) > sum(figure.values["cosines"]["first"])


def test_each_image_is_as_alone(network: Tiny, images: Tensor) -> None:
    both = caricature(network, images, "second", steps=8, verbose=False).values["cosines"]["second"]
    alone = caricature(network, images[1], "second", steps=8, verbose=False).values["cosines"]["second"]
    assert both[1] == pytest.approx(alone[0], abs=0.02)


def test_an_inversion_lowers_the_error(network: Tiny, images: Tensor) -> None:
    values = invert(network, images, ["first", "second"], steps=150, smoothness=0.0, verbose=False).values
    for layer in ("first", "second"):
        for error, start in zip(values["errors"][layer], values["start"][layer], strict=True):
            assert error < 0.3 * start


def test_they_are_views(network: Tiny, images: Tensor) -> None:
    drawn = View("caricature", layers="second", steps=4)(network, Context(images, names=list("abcde")))
    assert drawn.settings["view"] == "caricature" and drawn.settings["options"]["layers"] == ["second"]
    drawn = View("invert", layers="second", steps=4)(network, Context(images))
    assert drawn.settings["view"] == "invert" and list(drawn.values["errors"]) == ["second"]


def test_a_network_that_is_no_classifier(images: Tensor) -> None:
    class Pyramid(Tiny):
        def forward(self, x: Tensor) -> list[Tensor]:
            return [super().forward(x)[:, 0]]

    figure = caricature(seeded(Pyramid), images, "second", steps=2, verbose=False)
    assert figure.values["predictions"] == [None, None]


def test_default_layers_run_from_early_to_late() -> None:
    blocks = [nn.Sequential(nn.Conv2d(n, n + 1, 3, 2, 1), nn.ReLU()) for n in range(3, 8)]
    network = seeded(lambda: nn.Sequential(*blocks, nn.Flatten(), nn.LazyLinear(9)))
    network(torch.zeros(1, 3, 64, 64))
    found = layers_at_depths(network, torch.rand(1, 3, 64, 64), NetworkInput.of(network), 3)
    assert found == ["1/1", "3/1", "4/1"]
    assert len(layers_at_depths(network, torch.rand(1, 3, 64, 64), NetworkInput.of(network), 5)) == 5
    assert len(layers_at_depths(seeded(Tiny), torch.rand(1, 3, 24, 24), NetworkInput.of(seeded(Tiny)), 3)) == 3


def test_default_layers_are_whole_blocks_where_there_are_enough() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 3, 3, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.two(self.one(x)))

    network = seeded(lambda: nn.Sequential(*(Block() for _ in range(4)), nn.Conv2d(3, 40, 1), nn.Flatten()))
    found = layers_at_depths(network, torch.rand(1, 3, 64, 64), NetworkInput.of(network), 3)
    assert found == ["1", "2", "3"]  # without the wide layer after the blocks


def test_wrong_arguments_are_told_before_the_first_step(network: Tiny, images: Tensor) -> None:
    with pytest.raises(ValueError, match="did you mean 'second'"):
        caricature(network, images, "secnd")
    with pytest.raises(ValueError, match="steps 0"):
        caricature(network, images, "second", steps=0)
    with pytest.raises(ValueError, match="smoothness"):
        invert(network, images, "second", smoothness=-1)
    with pytest.raises(ValueError, match="no layers"):
        invert(network, images, [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "early", "late"),
    [("squeezenet1_0", "features/4", "features/12"), ("mobilenet_v2", "features/3", "features/17")],
)
def test_a_caricature_is_like_its_photograph(name: str, early: str, late: str) -> None:
    if not (SHARED / "weights" / "load.py").exists():
        pytest.skip("the weights are not there")
    sys.path.insert(0, str(SHARED / "weights"))
    from load import load  # type: ignore[import-not-found]

    values = caricature(load(name), SHARED / "images" / "flamingo.jpg", [early, late], verbose=False).values
    assert values["predictions"][0]["class"] == "flamingo"
    assert values["cosines"][early][0] > 0.9 and values["cosines"][late][0] > 0.65


def test_the_demo_network_needs_no_layers() -> None:
    image = torch.rand(3, 48, 48, generator=torch.Generator().manual_seed(0))
    assert len(caricature(load_network("demo"), image, steps=2, verbose=False).values["layers"]) == 3
