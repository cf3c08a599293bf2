"""How near the loop comes to what is possible, and channels that are silent to begin with."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_networks import seeded
from torch import Tensor, nn
from torchvision.models import squeezenet1_0

from optvis import FourierParam, ImageParam, Neuron, OptVis, PixelParam


def highest(convolution: nn.Conv2d, channels: list[int], mean: Any, std: Any) -> Tensor:
    """The highest activation that images in [0, 1] reach: each pixel 0 or 1, by the sign of its weight."""
    shape = (3, 1, 1)
    weight = convolution.weight.detach()[channels] / torch.tensor(std).view(shape)
    image = (weight > 0).float()
    best = (weight * (image - torch.tensor(mean).view(shape))).sum((1, 2, 3))
    return best + convolution.bias.detach()[channels]


def check_limit(network: nn.Module) -> None:
    optvis = OptVis(network, Neuron("features/0", range(0, 96, 12)))
    best = highest(network.features[0], list(range(0, 96, 12)), optvis.input.mean, optvis.input.std)
    for start, share in ((PixelParam(15, 8, decorrelate=False), 0.99), (FourierParam(15, 8), 0.90)):
        result = optvis.vis(start, [(15, 200)], transform=False, lr=0.5)
        assert (result.scores <= best * 1.0001).all()
        assert (result.scores >= share * best).all(), f"{start}: {(result.scores / best).tolist()}"


def test_the_limit_of_a_first_convolution_is_reached() -> None:
    check_limit(seeded(squeezenet1_0))


def test_the_limit_of_a_real_first_convolution_is_reached(real_network: Callable[[str], nn.Module]) -> None:
    check_limit(real_network("squeezenet1_0"))


# Dead starts


class Silent(nn.Module):
    """Of what it puts out, channel 0 is alive, 1 is silent on grey and 2 can never fire."""

    def __init__(self, functional: bool = False, inplace: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 5)
        nn.init.constant_(self.first.bias[0], 1.0)
        nn.init.constant_(self.first.bias[1], -0.3)
        self.first.weight[1] *= 4
        nn.init.constant_(self.first.bias[2], -1.0)
        nn.init.zeros_(self.first.weight[2])
        self.relu = nn.ReLU(inplace)
        self.functional = functional
        self.out = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.out(F.relu(x) if self.functional else self.relu(x))


@pytest.fixture(params=["module", "in place", "function"])
def silent(request: pytest.FixtureRequest) -> Iterator[Silent]:
    with torch.no_grad():
        yield seeded(Silent, functional=request.param == "function", inplace=request.param == "in place")


def test_a_silent_channel_draws(silent: Silent) -> None:
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("error")
        result = OptVis.from_layer(silent, "out", [1, 0]).vis(ImageParam(16, 2, seed=[0, 0]), [(16, 40)])
        alive = OptVis.from_layer(silent, "out", 0).vis(ImageParam(16), [(16, 40)])
    assert result.history[0, 0] == 0, "it is silent to begin with"
    assert result.scores[0] > 0.1
    assert (result.images[1] - alive.images[0]).abs().max() < 1e-3, "the picture beside it is drawn as alone"


def test_a_channel_that_can_never_fire_is_named(silent: Silent) -> None:
    with torch.enable_grad(), pytest.warns(UserWarning, match="never fired") as caught:
        result = OptVis.from_layer(silent, "out", [0, 2]).vis(ImageParam(16, 2), [(16, 3)])
    (message,) = {str(w.message) for w in caught}
    assert "Channel('out', (2,))" in message and "0" not in message.split(":")[0]
    assert "Try another seed" in message and "ImageFile" in message
    assert caught[0].filename == __file__, "the warning points to the caller's line"
    assert result.scores[1] == 0 < result.scores[0]
