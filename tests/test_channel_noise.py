"""Noise within the network: which layers it reaches, how much of it there is, and whose numbers it takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from small_networks import Tiny, seeded, snapshot
from torch import Tensor, nn

from optvis import OptVis
from optvis.network import channel_noise
from optvis.network.channel_noise import weighted_channels

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "convolution": (lambda: nn.Conv2d(3, 5, 3), (2, 3, 8, 8), 1),
    "one dimension": (lambda: nn.Conv1d(3, 5, 3), (2, 3, 8), 1),
    "three dimensions": (lambda: nn.Conv3d(3, 5, 3), (2, 3, 4, 4, 4), 1),
    "fully connected": (lambda: nn.Linear(3, 5), (2, 3), -1),
    "tokens": (lambda: nn.Linear(3, 5), (2, 7, 3), -1),
    "channels last": (lambda: nn.Linear(3, 5), (2, 4, 6, 3), -1),
    "windows": (lambda: nn.Linear(3, 5), (8, 4, 3), -1),  # four windows of each of two pictures
}


@pytest.mark.parametrize("name", LAYERS)
def test_each_channel_of_each_picture_is_scaled(name: str) -> None:
    make, shape, axis = LAYERS[name]
    layer = seeded(make)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), requires_grad=True)
    gain = torch.linspace(0.8, 1.2, 10).view(2, 5)
    plain = layer(x)
    with channel_noise(lambda channels: gain[:, :channels]):
        scaled = layer(x)
    for picture in (0, 1):
        rows = slice(picture * shape[0] // 2, (picture + 1) * shape[0] // 2)
        ratio = (scaled[rows] / plain[rows]).movedim(axis, -1)
        assert torch.allclose(ratio, gain[picture].expand_as(ratio), atol=1e-4)
    (slope,) = torch.autograd.grad(scaled.sum(), x)
    expected = torch.autograd.grad((plain * (scaled / plain).detach()).sum(), x)[0]
    assert torch.allclose(slope, expected, atol=1e-4)


def test_one_row_serves_all_pictures_and_a_batch_that_fits_none_is_left_alone() -> None:
    layer, x = seeded(nn.Linear, 3, 5), torch.ones(3, 3)
    plain = layer(x)
    for given in (x, torch.ones(3, 8, 3)):  # fewer numbers than the weights have, and more
        with channel_noise(lambda channels: torch.full((1, channels), 2.0)):
            doubled = layer(given)
        assert torch.allclose(doubled, 2 * layer(given))
    with channel_noise(lambda channels: torch.full((2, channels), 2.0)):
        assert torch.equal(layer(x), plain)


def test_other_operations_are_left_alone_and_nothing_is_patched() -> None:
    x, before = torch.randn(2, 3, 4, 4), (F.conv2d, F.linear, nn.Conv2d.forward)
    network = seeded(Tiny)
    state = snapshot(network)
    with channel_noise(lambda channels: torch.full((1, channels), 3.0)):
        assert (F.conv2d, F.linear, nn.Conv2d.forward) == before
        inside = F.gelu(F.relu(x) + x.softmax(1)).mean()
        network(x)
    assert torch.equal(inside, F.gelu(F.relu(x) + x.softmax(1)).mean())
    assert snapshot(network) == state


def test_weighted_layers_are_noted_as_far_as_the_layer() -> None:
    network, x = seeded(Tiny), torch.randn(1, 3, 16, 16)
    with weighted_channels() as passed:
        network(x)
    weights = [module.weight for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    assert passed.channels == [len(weight) for weight in weights] and len(weights) == 3
    for layer, amount in {"first": 0.1, "head": 0.1}.items():
        assert OptVis.from_layer(network, layer, 0).vis(thresh=1).settings["channel_noise"] == amount


def test_the_default_falls_with_the_depth() -> None:
    deep = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(64)))
    assert OptVis.from_layer(deep, "63", 0).vis(thresh=1).settings["channel_noise"] == pytest.approx(0.6 / 8)
    assert OptVis.from_layer(deep, "15", 0).vis(thresh=1).settings["channel_noise"] == pytest.approx(0.1)


def gains(noise: float | None, transform: bool = True, steps: int = 200) -> Tensor:
    """``[steps, channels]``: the factors that a run laid on a layer's channels."""
    seen: list[Tensor] = []

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            out = self.layer(x)
            weight = self.layer.weight.flatten(1)
            plain = torch.einsum("oc,nchw->nohw", weight, x)
            seen.append((out / plain).detach().mean((2, 3))[0])
            return out.mean((2, 3))

    network = seeded(Network)
    OptVis.from_layer(network, "", channel=0, channel_noise=noise).vis(
        stages=[(8, steps)], transform=transform, verbose=False
    )
    return torch.stack(seen[-steps - 1 : -1])  # the last look is the final one


def test_factors_are_spread_evenly_and_as_far_as_asked() -> None:
    drawn = gains(0.1)
    assert 0.9 <= drawn.min() < 0.905 and 1.095 < drawn.max() <= 1.1001
    assert drawn.mean().item() == pytest.approx(1, abs=0.01)
    assert drawn.std().item() == pytest.approx(0.2 / 12**0.5, rel=0.1)
    assert (drawn[0] - drawn[1]).abs().max() > 0.01, "each step anew"


@pytest.mark.parametrize(("noise", "transform"), [(0, True), (None, False), (0.1, False)])
def test_none_at_zero_and_without_jostling(noise: float | None, transform: bool) -> None:
    assert torch.allclose(gains(noise, transform, steps=3), torch.ones(3, 4), atol=1e-4)


def test_the_final_scores_are_without_noise() -> None:
    network = seeded(Tiny)
    made = OptVis.from_layer(network, "second", 1, channel_noise=0.5, transforms=[]).vis(thresh=3)
    with torch.no_grad():
        mean, std = (torch.tensor(made.settings[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        seen = network.second(network.relu(network.first((made.images - mean) / std)))
    assert made.scores.item() == pytest.approx(seen[0, 1].mean().item(), rel=1e-4)


@pytest.mark.parametrize("amount", [-0.1, 1.0, float("nan")])
def test_an_amount_that_cannot_be_is_refused(amount: float) -> None:
    with pytest.raises(ValueError, match=r"channel_noise .*give a (finite )?number from 0"):
        OptVis.from_layer(seeded(Tiny), "second", 1, channel_noise=amount)


def test_a_network_that_changes_its_mind_is_scaled_as_well() -> None:
    """All factors of a step are drawn at once, as many as the first look asked for; another order needs others."""

    class Fickle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.narrow, self.calls = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 2, 1), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            parts = [layer(x) for layer in ((self.wide, self.narrow) if self.calls < 6 else (self.narrow, self.wide))]
            return torch.cat(sorted(parts, key=lambda part: part.shape[1]), 1).mean((2, 3))

    first, again = (OptVis.from_layer(seeded(Fickle), "", 1).vis(stages=[(8, 8)]) for _ in range(2))
    assert torch.equal(first.images, again.images) and first.settings["channel_noise"] == 0.1
