"""Maps of principal components: layers with a grid, tokens, foreground, colours that mean the same in all images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from small_networks import Tiny, seeded
from torch import Tensor, nn

from optvis import Context, View, activations, load_network, pca_map


@pytest.fixture(scope="module")
def demo() -> nn.Module:
    return load_network("demo")


@pytest.fixture(scope="module")
def scenes() -> Tensor:
    """A striped square at two places on smooth grey."""
    images = torch.full((2, 3, 64, 64), 0.3)
    images += 0.02 * torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    stripes = torch.zeros(3, 24, 24)
    stripes[0, :, ::6], stripes[0, :, 1::6], stripes[1, ::6] = 1, 1, 1
    images[0, :, 10:34, 12:36] = stripes
    images[1, :, 28:52, 26:50] = stripes
    return images


def test_the_object_is_the_foreground(demo: nn.Module, scenes: Tensor) -> None:
    figure = pca_map(demo, "features/10", scenes)
    assert figure.values["grid"] == [16, 16]
    places = torch.zeros(2, 64, 64)
    places[0, 10:34, 12:36] = places[1, 28:52, 26:50] = 1
    wanted = nn.functional.avg_pool2d(places, 4) > 0.5
    found = figure.tensors["foreground"]
    assert (found & wanted).sum() / (found | wanted).sum() > 0.5
    outer = torch.ones(16, 16, dtype=torch.bool)
    outer[1:-1, 1:-1] = False
    assert not found[:, outer].any()


def test_the_same_thing_has_the_same_colours_in_all_images(demo: nn.Module, scenes: Tensor) -> None:
    images = torch.stack([scenes[0], scenes[0].roll((16, 12), (1, 2))])  # whole positions
    colours = pca_map(demo, "features/10", images, foreground=False).tensors["colours"]
    first, second = colours[0, :, 3:8, 4:8], colours[1, :, 7:12, 7:11]
    assert (first - second).abs().mean() < 0.05
    apart = (colours[0, :, 3:8, 4:8] - colours[1, :, 3:8, 4:8]).abs().mean()
    assert apart > 4 * (first - second).abs().mean()


def test_components_are_those_of_all_positions(demo: nn.Module, scenes: Tensor) -> None:
    figure = pca_map(demo, "features/10", scenes, foreground=False)
    (seen,) = activations(demo, scenes, "features/10")
    rows = nn.functional.normalize(seen["features/10"].movedim(1, -1).flatten(0, 2), dim=1)
    centred = rows - rows.mean(0)
    *_, axes = torch.linalg.svd(centred.double(), full_matrices=False)
    cosines = (figure.tensors["components"].double() * axes[:3]).sum(1).abs()
    assert cosines.min() > 0.999
    shares = (centred @ figure.tensors["components"].T).var(0, correction=0) / centred.var(0, correction=0).sum()
    assert figure.values["explained"] == pytest.approx(shares.tolist(), abs=1e-4)
    assert figure.values["foreground"] == [1, 1]


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "vit_dwee_patch16_reg1_gap_256"]
)
def test_tokens_of_a_transformer_have_the_grid_of_its_patches(name: str) -> None:
    network = seeded(timm.create_model, name)
    size = network.patch_embed.img_size[0]
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    image[:, :, : size // 2] = 0
    figure = pca_map(network, "blocks/1", image, foreground=False)
    side = size // 16
    assert figure.values["grid"] == [side, side] and figure.tensors["colours"].shape == (1, 3, side, side)
    (seen,) = activations(network, image, "blocks/1")
    tokens = nn.functional.normalize(seen["blocks/1"][0, :, -side * side :].T, dim=1)
    scores = ((tokens - tokens.mean(0)) @ figure.tensors["components"].T).T.reshape(3, side, side)
    for drawn, score in zip(figure.tensors["colours"][0], scores, strict=True):
        assert torch.corrcoef(torch.stack([drawn.flatten(), score.flatten()]))[0, 1] > 0.98


def test_as_a_view_saved_and_read_back(demo: nn.Module, scenes: Tensor, tmp_path: Path) -> None:
    figure = View("pca", layer="features/10")(demo, Context(images=scenes))
    assert figure.picture.tobytes() == pca_map(demo, "features/10", scenes).picture.tobytes()
    found = type(figure).load(figure.save(tmp_path / "map.png"))
    assert torch.equal(found.tensors["colours"], figure.tensors["colours"]) and found.values == figure.values


def test_sizes_grey_images_and_flat_ones(demo: nn.Module, scenes: Tensor, tmp_path: Path) -> None:
    pca_map(demo, "features/10", scenes[:1]).save(tmp_path / "picture.png")
    assert pca_map(demo, "features/10", tmp_path / "picture.png", size=96).values["grid"] == [24, 24]
    grey = seeded(Tiny, channels=1)
    assert pca_map(grey, "second", torch.rand(8, 1, 32, 32)).picture.mode == "RGB"
    flat = pca_map(demo, "features/10", torch.full((1, 3, 64, 64), 0.5))
    assert torch.isfinite(flat.tensors["colours"]).all()


@pytest.mark.parametrize(
    ("layer", "images", "message"),
    [
        ("pool", torch.rand(1, 3, 64, 64), "'pool' has 1 × 1 positions, too few"),
        ("pattern", torch.rand(1, 3, 64, 64), r"'pattern' puts out \[12\] for an image, which is no grid"),
        ("features/10", [torch.rand(3, 64, 64), torch.rand(3, 48, 64)], "pictures of different sizes"),
        ("features/10", [], "no image"),
    ],
)
def test_bad_input_is_told(demo: nn.Module, layer: str, images: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pca_map(demo, layer, images)
