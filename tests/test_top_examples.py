"""The best examples of channels, and the receptive fields by which they are cropped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from small_networks import Tiny, seeded
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from optvis import Context, View, activations, load_network, top_examples
from optvis.activations import Reader
from optvis.demo import PATTERNS, make_pictures
from optvis.images import to_pil
from optvis.network import NetworkInput
from optvis.receptive_field import ReceptiveField, receptive_field


@pytest.fixture(scope="module")
def demo() -> nn.Module:
    return load_network("demo")


@pytest.fixture(scope="module")
def pictures() -> tuple[Tensor, Tensor, Tensor]:
    return make_pictures(300, seed=6)


def found_by(network: nn.Module, layer: str, channels: Any, data: Any, k: int = 9, **options: Any) -> Any:
    return top_examples(network, layer, channels, data, k, **{"draw": False, "verbose": False, **options})


def field_of(network: nn.Module, layer: str, size: int, coverage: float = 1.0) -> ReceptiveField:
    given = NetworkInput.of(network)
    return receptive_field(Reader.of(network, [layer], given), layer, (size, size), coverage)


@pytest.mark.parametrize("layer", ["features/2", "features/19", "pattern"])
def test_they_are_those_of_brute_force(demo: nn.Module, pictures: Any, layer: str) -> None:
    images = pictures[0][:150]
    figure = found_by(demo, layer, None, DataLoader(TensorDataset(images), 23), batch=32)
    seen = torch.cat([part[layer][..., None].flatten(2).amax(2) for part in activations(demo, images, layer, batch=32)])
    order = seen.sort(dim=0, descending=True, stable=True)
    assert torch.equal(figure.tensors["scores"], order.values[:9].T)
    assert torch.equal(figure.tensors["indices"], order.indices[:9].T)


def test_of_equal_scores_the_first_image_is_kept(demo: nn.Module) -> None:
    images = torch.rand(1, 3, 64, 64).expand(30, -1, -1, -1)
    assert found_by(demo, "features/2", [0], images, 4, batch=7).tensors["indices"].tolist() == [[0, 1, 2, 3]]


def test_boxes_and_facts(demo: nn.Module, pictures: Any, tmp_path: Path) -> None:
    images, patterns, _ = pictures
    for i in range(40):
        (tmp_path / PATTERNS[patterns[i]]).mkdir(exist_ok=True)
        to_pil(images[i]).save(tmp_path / PATTERNS[patterns[i]] / f"{i:02}.png")
    figure = found_by(demo, "features/11", [3, -1], tmp_path, 2, coverage=1)
    files = sorted(tmp_path.rglob("*.png"))
    first, last = figure.values["channels"]
    assert (first["channel"], last["channel"]) == (3, 63)
    for example in first["examples"]:
        assert example["file"] == str(files[example["index"]]) and example["label"] == Path(example["file"]).parent.name
        (seen,) = activations(demo, example["file"], "features/11")
        place = int(seen["features/11"][0, 3].argmax())
        box = field_of(demo, "features/11", 64).box(place // 16, place % 16)
        assert example["box"] == list(box)


@pytest.mark.parametrize(("layer", "side"), [("features/2", 6), ("features/5", 10), ("features/11", 28)])
def test_fields_of_a_plain_network_are_exact(demo: nn.Module, layer: str, side: int) -> None:
    field = field_of(demo, layer, 96)
    middle = len(field.rows) // 2
    assert field.box(middle, middle)[2:] == (side, side)
    (seen,) = activations(demo, torch.rand(1, 3, 96, 96), layer)
    assert len(field.rows) == seen[layer].shape[2]
    image = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    before = next(activations(demo, image, layer))[layer]
    for row, column in ((0, 0), (1, middle), (middle, len(field.rows) - 1), (middle, middle - 1)):
        top, left, height, width = field.box(row, column)
        other = torch.rand(image.shape, generator=torch.Generator().manual_seed(1))
        other[..., top : top + height, left : left + width] = image[..., top : top + height, left : left + width]
        after = next(activations(demo, other, layer))[layer]
        assert torch.allclose(before[..., row, column], after[..., row, column], atol=1e-4)


def test_crops_contain_what_excites(demo: nn.Module, pictures: Any) -> None:
    images = pictures[0]
    for layer in ("features/11", "features/15"):
        figure = found_by(demo, layer, range(12), images, 3)
        kept = []
        for one in figure.values["channels"]:
            for example in one["examples"]:
                top, left, height, width = example["box"]
                alone = images[example["index"]].mean((1, 2), keepdim=True).repeat(1, 64, 64)
                inside = (slice(None), slice(top, top + height), slice(left, left + width))
                alone[inside] = images[example["index"]][inside]
                (seen,) = activations(demo, alone, layer)
                kept.append(seen[layer][0, one["channel"]].max().item() / example["score"])
        assert np.median(kept) > 0.9 and min(kept) > 0.5


def test_the_crop_is_in_the_picture(demo: nn.Module) -> None:
    images = torch.zeros(5, 3, 64, 64)
    images[3, :, 20:40, 30:50] = torch.tensor([1.0, 0.5, 0.0])[:, None, None]
    (seen,) = activations(demo, images, "features/11")
    channel = int(seen["features/11"][3].flatten(1).amax(1).argmax())
    figure = found_by(demo, "features/11", [channel], images, 1)
    assert figure.values["channels"][0]["examples"][0]["index"] == 3
    orange = np.abs(np.asarray(figure.picture).astype(int) - [255, 128, 0]).max(2) < 8
    assert orange.sum() > 72 * 72 / 4
    whole = found_by(demo, "features/11", [channel], images, 1, crop=False)
    orange = np.abs(np.asarray(whole.picture).astype(int) - [255, 128, 0]).max(2) < 8
    assert 0.5 * 22**2 < orange.sum() < 1.1 * 23**2


def test_patch_tokens_have_a_place_and_others_do_not_count() -> None:
    network = seeded(timm.create_model, "vit_tiny_patch16_224")
    images = torch.rand(6, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    figure = found_by(network, "blocks/0", [0, 5], images, 2)
    (seen,) = activations(network, images, "blocks/0")
    expected = seen["blocks/0"][:, [0, 5], 1:].amax(2).sort(0, descending=True).values[:2].T
    assert torch.allclose(figure.tensors["scores"], expected, atol=1e-4)


def test_drawn_pictures_are_those_of_the_channels(demo: nn.Module, pictures: Any) -> None:
    options = {"draw": True, "steps": 4, "size": 32, "seed": 3}
    figure = found_by(demo, "pattern", ["rings", 2], pictures[0][:20], 4, **options)
    plain = found_by(demo, "pattern", ["rings", 2], pictures[0][:20], 4)
    assert [one["name"] for one in figure.values["channels"]] == ["rings", "checks"]
    assert figure.picture.width > plain.picture.width
    again = View("top", layer="pattern", channels=("rings", 2), k=4, steps=4, size=32)
    assert again(demo, Context(data=pictures[0][:20], seed=3)).picture.tobytes() == figure.picture.tobytes()


def test_fewer_images_than_examples_and_several_sizes(demo: nn.Module, tmp_path: Path) -> None:
    images = [torch.rand(3, 64, 64), torch.rand(3, 96, 64), torch.rand(3, 64, 64)]
    figure = found_by(demo, "features/11", [0], images)
    assert figure.tensors["indices"][0, 3:].tolist() == [-1] * 6 and len(figure.values["channels"][0]["examples"]) == 3
    assert type(figure).load(figure.save(tmp_path / "examples.png")).values == figure.values


def test_images_are_let_go(demo: nn.Module) -> None:
    alive: list[Any] = []
    most = 0

    def stream() -> Iterator[Tensor]:
        import weakref

        nonlocal most
        for i in range(100):
            image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(i))
            alive.append(weakref.ref(image))
            most = max(most, sum(one() is not None for one in alive))
            yield image
            del image

    found_by(demo, "features/2", None, stream(), batch=8)
    assert most <= 20


@pytest.mark.parametrize(
    ("channels", "options", "message"),
    [
        ([64], {}, "layer 'features/11' has no channel 64: it has 64, numbered 0 to 63"),
        (["rings"], {}, "channel 'rings' of layer 'features/11': give a number; its channels have no names"),
        ([], {}, "no channels: give at least one number"),
        ([0], {"k": 0}, "k 0"),
        ([0], {"coverage": 0}, "coverage 0"),
    ],
)
def test_bad_input_is_told(demo: nn.Module, channels: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        found_by(demo, "features/11", channels, torch.rand(2, 3, 64, 64), **options)


def test_a_grey_network_and_one_that_is_silent() -> None:
    network = seeded(Tiny, channels=1)
    assert found_by(network, "second", [0], torch.rand(3, 1, 32, 32)).picture.mode == "RGB"
    dead = seeded(Tiny)
    nn.init.zeros_(dead.second.weight)
    field = field_of(dead, "second", 32)
    assert field.box(3, 3) == (0, 0, 32, 32)
