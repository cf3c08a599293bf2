"""What the layers of a network put out, found by a few passes: shapes, channel axis, sizes, what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_networks import Small, seeded, swin, vit
from torch import Tensor, nn

from optvis.network import LayerShape, NetworkInput, Probe, shadow
from optvis.network.inputs import with_extra


@pytest.fixture
def small() -> Small:
    return seeded(Small)


def probe(network: nn.Module, *layers: str, **options: Any) -> Probe:
    return Probe(shadow(network), layers, NetworkInput.of(network), **options)


def found(network: nn.Module, layer: str, size: tuple[int, int], **options: Any) -> LayerShape:
    return probe(network, layer, **options).at(size).layers[layer]


@pytest.mark.parametrize(
    ("network", "layer", "shape", "axis"),
    [
        (Small(), "features/2", (5, 32, 32), 1),
        (Small(), "classifier", (7,), 1),
        (Small(), "", (7,), 1),
        (swin(), "features/1", (8, 8, 8), 3),  # all sides alike
        (swin(), "features/3", (16, 4, 4), 3),
        (swin(), "features/0/0", (8, 8, 8), 1),
        (swin(), "head", (5,), 1),
        (vit(), "encoder/layers/encoder_layer_0", (16, 17), 2),
        (vit(), "encoder/layers/encoder_layer_1/self_attention", (16, 17), 2),
        (vit(), "conv_proj", (16, 4, 4), 1),
        (vit(), "heads", (5,), 1),
    ],
)
def test_the_channel_axis_is_found(network: nn.Module, layer: str, shape: tuple[int, ...], axis: int) -> None:
    shown = found(network, layer, (32, 32))
    assert (shown.shape, shown.layout.channel, shown.calls) == (shape, axis, 1)


@pytest.mark.parametrize(
    ("network", "layer", "shape", "axis"),
    [(Small(), "features/2", (5, 48, 80), 1), (swin(), "features/1", (8, 12, 20), 3)],
)
def test_the_channel_axis_is_found_for_a_picture_that_is_not_square(
    network: nn.Module, layer: str, shape: tuple[int, ...], axis: int
) -> None:
    shown = found(network, layer, (48, 80))
    assert (shown.shape, shown.layout.channel) == (shape, axis)


def test_tokens_last_are_told_from_tokens_first() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 4, 4)
            self.first, self.last = nn.Flatten(2), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(self.conv(x)).mT)

    shapes = probe(Tokens(), "first", "last").at((16, 24)).layers
    assert (shapes["first"].layout.channel, shapes["last"].layout.channel) == (1, 2)
    assert shapes["first"].shape == shapes["last"].shape == (6, 24)
    assert shapes["first"].grid == shapes["last"].grid == (4, 6)


def test_channels_come_first_whatever_the_layers_order() -> None:
    layer = found(swin(), "features/1", (32, 32))
    activation = torch.rand(2, 8, 9, 8, dtype=torch.float64)
    assert torch.equal(layer.channels_first(activation), activation.permute(0, 3, 1, 2).float())


@pytest.mark.parametrize(("axis", "shape"), [(1, (8, 8, 8)), (2, (8, 8, 8)), (-1, (8, 8, 8))])
@pytest.mark.parametrize("by_address", [True, False])
def test_the_channel_axis_can_be_given(axis: int, shape: tuple[int, ...], by_address: bool) -> None:
    given = {"features/1": axis} if by_address else axis
    shown = found(swin(), "features/1", (32, 32), channel_axis=given)
    assert (shown.layout.channel, shown.shape) == (axis % 4, shape)


@pytest.mark.parametrize("axis", [0, 4, -4, -5])
def test_a_channel_axis_that_is_none_is_an_error(axis: int) -> None:
    with pytest.raises(ValueError, match=rf"channel_axis {axis} of layer 'features/1'.*axes 1, 2, 3 to choose from"):
        probe(swin(), "features/1", channel_axis=axis).at((32, 32))


class Registers(nn.Module):
    """Patches of 4 px after a class token and some register tokens, for any size."""

    def __init__(self, further: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 4, 4)
        self.further = nn.Parameter(torch.zeros(1, further, 6))
        self.block = nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).flatten(2).mT
        return self.block(torch.cat([self.further.expand(len(x), -1, -1), x], 1))


@pytest.mark.parametrize("further", [0, 1, 5])
@pytest.mark.parametrize(("size", "grid"), [((32, 32), (8, 8)), ((48, 80), (12, 20)), ((33, 33), (8, 8))])
def test_the_grid_of_patches_is_found(further: int, size: tuple[int, int], grid: tuple[int, int]) -> None:
    shown = found(Registers(further), "block", size)
    assert (shown.grid, shown.shape) == (grid, (6, grid[0] * grid[1] + further))


def test_a_network_of_one_size_is_given_it() -> None:
    layer = "encoder/layers/encoder_layer_0"
    assert probe(vit(), layer).network_size((64, 64)) == (32, 32)
    assert probe(vit(), layer).network_size((32, 32)) is None
    assert probe(vit(), "conv_proj").network_size((32, 32)) is None
    fixed = nn.Sequential(nn.Conv2d(3, 2, 4, 4), nn.Flatten(), nn.Linear(2 * 8 * 8, 4))
    assert probe(fixed, "2").network_size((48, 80)) == (32, 32)
    assert probe(fixed, "0").network_size((48, 80)) is None, "as far as this layer any size will do"
    fixed.input_size = (3, 20, 20)  # type: ignore[assignment]
    fixed[2] = nn.Linear(2 * 5 * 5, 4)
    assert probe(fixed, "2").network_size((48, 80)) == (20, 20)


def test_a_picture_that_is_too_small_is_told_the_least_size() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 7), nn.MaxPool2d(4), nn.Conv2d(4, 4, 5))
    with pytest.raises(
        ValueError, match=r"16 × 16 px is too small for layer '2'.*smallest square that works has 26 px"
    ):
        probe(network, "2").network_size((16, 16))
    assert probe(network, "2").network_size((26, 26)) is None
    assert probe(network, "0").network_size((16, 16)) is None


def test_a_network_that_does_not_run_says_so() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(5, 4, 1))
    with pytest.raises(ValueError, match=r"Sequential does not run on an image of 3 × 32 × 32.*channels"):
        probe(network, "1").network_size((32, 32))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["features.2.weight", "features.3.running_var"])
def test_weights_that_are_no_numbers_are_named(small: Small, name: str, value: float) -> None:
    small.state_dict()[name].view(-1)[1] = value
    if value == float("inf") and "running_var" in name:
        small.state_dict()[name].view(-1)[1] = -1.0  # its root is none
        message = "layer 'features/3' of Small puts out NaN or infinite values on a plain grey image"
    else:
        message = f"the weights '{name}' of Small hold NaN or infinite values"
    with pytest.raises(ValueError, match=message):
        probe(small, "features/3").network_size((16, 16))


def test_a_layer_that_no_gradient_leaves_is_an_error() -> None:
    class Cut(Small):
        def forward(self, x: Tensor) -> Tensor:
            return self.classifier(self.features(x).detach().mean((2, 3)))

    network = Cut()
    with pytest.raises(ValueError, match="no gradient reaches the image from layer 'classifier' of Cut"):
        probe(network, "classifier").at((16, 16))


def test_a_layer_without_channels_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"layer '0' puts out \[768\], which has no channels"):
        probe(nn.Sequential(nn.Flatten(0)), "0").at((16, 16))


@pytest.mark.parametrize("extra", [(torch.ones(1, 4), 2.0), {"bias": torch.ones(1, 4), "factor": 2.0}])
def test_further_inputs_reach_the_network(extra: Any) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(3, 4, 1), nn.Identity()

        def forward(self, x: Tensor, bias: Tensor, factor: float) -> Tensor:
            return self.out(self.conv(x).mean((2, 3)) + bias * factor)

    assert probe(Two(), "out", extra=extra).at((8, 8)).layers["out"].shape == (4,)
    inputs, named = with_extra(torch.rand(3, 3, 8, 8), extra)
    bias = named["bias"] if named else inputs[1]
    assert bias.shape == (3, 4), "repeated for each picture"


@pytest.mark.parametrize("how", ["output_names", "mapping", "id2label"])
def test_names_of_outputs_are_read(small: Small, how: str) -> None:
    names = list("abcdefg")
    if how == "id2label":
        small.config = SimpleNamespace(id2label=dict(enumerate(names)))  # type: ignore[assignment]
    else:
        small.output_names = {"classifier": names} if how == "mapping" else names  # type: ignore[assignment]
    shapes = probe(small, "classifier", "features/0").at((8, 8)).layers
    assert shapes["classifier"].names == tuple(names)
    assert shapes["features/0"].names is None
