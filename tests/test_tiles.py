"""Large pictures in tiles: nothing larger than a tile is seen, and where places do not matter nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_networks import Tiny, seeded
from torch import Tensor, nn

from optvis import Channel, ImageFile, ImageParam, OptVis
from optvis.rng import Rng
from optvis.tiles import in_tiles, tile_size


@pytest.mark.parametrize(
    ("size", "tile", "expected"),
    [((100, 100), 100, (100, 100)), ((101, 50), 100, (51, 50)), ((3000, 4000), 512, (500, 500)), ((7, 7), 1, (1, 1))],
)
def test_tiles_are_even_and_none_is_too_large(size: tuple[int, int], tile: int, expected: tuple[int, int]) -> None:
    assert tile_size(size, tile) == expected


@pytest.mark.parametrize("size", [(24, 24), (25, 31), (7, 40)])
@pytest.mark.parametrize("shift", [True, False])
def test_where_places_do_not_matter_tiles_change_nothing(size: tuple[int, int], shift: bool) -> None:
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def see(image: Tensor, rng: Rng) -> Tensor:
        return image.square().sum(1).mean((1, 2))

    weights = torch.tensor([1.0, -3.0])
    scores = in_tiles(see, 10, shift)(image, Rng([1, 2]))
    (found,) = torch.autograd.grad((scores * weights).sum(), image)
    assert torch.allclose(scores, see(image, Rng([1])), atol=1e-5)
    expected = 2 * image / (size[0] * size[1]) * weights.view(2, 1, 1, 1)
    assert torch.allclose(found, expected, atol=1e-6)


def test_seams_lie_elsewhere_each_time() -> None:
    image, rng = torch.zeros(1, 1, 8, 8), Rng([1])

    def edges(image: Tensor, rng: Rng) -> Tensor:
        return image[..., 0, :].sum((1, 2))  # only the first row of a tile counts

    rows = set()
    for _ in range(12):
        leaf = image.clone().requires_grad_()
        in_tiles(edges, 4, True)(leaf, rng).sum().backward()
        assert leaf.grad is not None
        seams = leaf.grad[0, 0].any(1).nonzero().flatten().tolist()
        assert len(seams) == 2 and seams[1] - seams[0] == 4
        rows.add(seams[0])
    assert rows == {0, 1, 2, 3}


class Sizes(Tiny):
    """Notes how large the images are that it sees."""

    seen: list[tuple[int, int]]

    def forward(self, x: Tensor) -> Any:
        self.seen.append((x.shape[-2], x.shape[-1]))
        return super().forward(x)


class Shared(list[Any]):
    def __deepcopy__(self, memo: Any) -> Shared:
        return self


@pytest.fixture
def network() -> Sizes:
    network = seeded(Sizes)
    network.seen = Shared()
    return network


@pytest.mark.parametrize("batch", [1, 2])
def test_a_dream_in_tiles_climbs_and_the_network_sees_no_more_than_a_tile(network: Sizes, batch: int) -> None:
    photograph = torch.rand(3, 100, 130, generator=torch.Generator().manual_seed(0))
    dream, start = OptVis.from_dream(network, "second"), ImageFile(photograph, batch=batch)
    steps: list[int] = []

    def watch(step: int, _: object) -> None:
        if step == 1:
            steps.append(len(network.seen))  # before were looks at the network, at other sizes too

    result = dream.vis(start, [((100, 130), 8)], tile=40, callback=watch)
    assert set(network.seen[steps[0] :]) == {(34, 33), (34, 31), (32, 33), (32, 31)}
    assert result.images.shape == (batch, 3, 100, 130) and (result.images - start()).abs().mean() > 0.01
    before = dream.vis(start, [((100, 130), 1)], tile=40, lr=1e-9)
    assert (result.scores > 1.05 * before.scores).all()


def test_a_picture_smaller_than_a_tile_is_as_without(network: Sizes) -> None:
    optvis = OptVis.from_layer(network, "second", 1)
    plain, tiled = (optvis.vis(stages=[(24, 6)], tile=tile) for tile in (None, 24))
    assert torch.equal(plain.images, tiled.images) and torch.allclose(plain.scores, tiled.scores)


def test_coarse_stages_are_seen_whole_and_fine_ones_in_tiles(network: Sizes) -> None:
    result = OptVis.from_layer(network, "second", [1, 2]).vis(ImageParam(96, 2), [(32, 20), (96, 4)], tile=40)
    assert result.images.shape == (2, 3, 96, 96) and result.scores.isfinite().all()
    assert max(map(max, network.seen)) == 32


@pytest.mark.parametrize("tile", [0, -3, 1.5, True])
def test_a_tile_that_is_none_is_told(network: Sizes, tile: Any) -> None:
    with pytest.raises(ValueError, match=f"tile {tile!r}: give a whole number"):
        OptVis.from_layer(network, "second").vis(tile=tile)


def test_a_neuron_has_its_place_in_the_whole_picture(network: Sizes) -> None:
    neuron = OptVis.from_layer(network, "second", 1, neuron=(1, 1)).objective
    for wish in (neuron, 2 * neuron + Channel("second", 1), [neuron, "second:1"]):
        with pytest.raises(ValueError, match="depends on absolute position"):
            OptVis(network, wish).vis(tile=40)


def test_a_tile_too_small_for_the_network_is_told() -> None:
    deep = nn.Sequential(nn.Conv2d(3, 4, 9), nn.ReLU(), nn.Conv2d(4, 4, 9))
    with pytest.raises(ValueError, match=r"too small|at least"):
        OptVis.from_layer(deep, "2", 1).vis(ImageParam(64), tile=12)
