"""The quicker way back through a first convolution: the same numbers, where it is taken, and where not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_networks import seeded
from torch import Tensor, nn

from optvis import OptVis
from optvis.network import fast_first_conv, shadow
from optvis.network.fast_conv import _pays

TAKEN: list[tuple[dict[str, Any], tuple[int, int]]] = [
    ({"kernel_size": 7, "stride": 2, "padding": 3}, (32, 32)),
    ({"kernel_size": 7, "stride": 2}, (31, 46)),  # rows at the end that no window reaches
    ({"kernel_size": 11, "stride": 4, "padding": 2}, (63, 40)),
    ({"kernel_size": 16, "stride": 16}, (48, 40)),
    ({"kernel_size": (5, 8), "stride": (3, 3), "padding": (4, 0)}, (20, 29)),
    ({"kernel_size": 4, "stride": 5}, (24, 19)),  # pixels between the windows
    ({"kernel_size": 7, "stride": 2, "padding": 3, "padding_mode": "reflect"}, (32, 32)),
    ({"kernel_size": 7, "stride": 2, "padding": "valid"}, (32, 32)),
]

LEFT: list[dict[str, Any]] = [
    {"kernel_size": 3, "stride": 2},
    {"kernel_size": 7},
    {"kernel_size": 7, "stride": (2, 1)},
    {"kernel_size": 7, "stride": 2, "dilation": 2},
    {"kernel_size": 7, "stride": 2, "groups": 3},
]


def convolution(channels: int = 3, **options: Any) -> nn.Module:
    return seeded(lambda: nn.Conv2d(channels, 6, **options)).requires_grad_(False)


def slope(layer: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """What a layer puts out, and the gradient of some function of it."""
    image = image.clone().requires_grad_()
    out = layer(image)
    (gradient,) = torch.autograd.grad(out.sin().sum(), image)
    return out.detach(), gradient


def taken(layer: nn.Module, image: Tensor) -> bool:
    out = layer(image.clone().requires_grad_())
    return "_FastConv" in type(out.grad_fn).__name__


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("options", "size"), TAKEN)
def test_gradients_are_those_of_torch(
    options: dict[str, Any], size: tuple[int, int], layout: torch.memory_format
) -> None:
    layer = convolution(**options).to(memory_format=layout)
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)
    expected = slope(layer, image)
    with fast_first_conv(layer):
        assert taken(layer, image) == (options["padding"] != "valid" if "padding" in options else True)
        found = slope(layer, image)
    assert torch.equal(found[0], expected[0])
    assert found[1].shape == image.shape and torch.allclose(found[1], expected[1], atol=1e-5)


@pytest.mark.parametrize("options", LEFT)
def test_others_go_the_usual_way(options: dict[str, Any]) -> None:
    layer, image = convolution(**options), torch.rand(1, 3, 32, 32)
    with fast_first_conv(nn.Sequential(layer, convolution(kernel_size=7, stride=2))):
        assert not taken(layer, image)
        slope(layer, image)


def test_many_channels_weights_that_learn_and_other_types_go_the_usual_way() -> None:
    stem, image = convolution(kernel_size=7, stride=2), torch.rand(1, 3, 32, 32)
    with fast_first_conv(stem):
        assert taken(stem, image)
        assert not taken(stem.double(), image.double())
        assert not taken(convolution(5, kernel_size=7, stride=2), torch.rand(1, 5, 32, 32))
        assert not taken(convolution(kernel_size=7, stride=2).requires_grad_(True), image)
        with torch.no_grad():
            assert stem.float()(image).grad_fn is None
    assert not taken(stem, image)


def test_as_a_function_and_without_a_batch() -> None:
    stem, image = convolution(kernel_size=7, stride=2), torch.rand(1, 3, 32, 32)
    weight, bias = stem.weight, stem.bias
    with fast_first_conv(stem):
        for found in (
            F.conv2d(image.requires_grad_(), weight=weight, bias=bias, stride=(2,), padding=(1,)),
            torch.conv2d(input=image, weight=weight, bias=bias, stride=[2, 2], padding=1),
        ):
            assert "_FastConv" in type(found.grad_fn).__name__
            assert torch.equal(found, F.conv2d(image.detach(), weight, bias, 2, 1))
        assert stem(image[0]).shape == (6, 13, 13)


def test_a_network_without_such_a_convolution_has_nothing_replaced() -> None:
    assert not fast_first_conv(nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.Linear(3, 3))).replaced
    assert fast_first_conv(nn.Sequential(nn.Conv2d(3, 8, 7, 2), nn.Linear(3, 3))).replaced


@pytest.mark.parametrize("name", ["squeezenet1_0", "resnet18_pq"])
def test_a_real_network_has_the_same_gradient(name: str, real_network: Callable[[str], nn.Module]) -> None:
    network = real_network(name)
    image = torch.randn(2, 3, 97, 112, generator=torch.Generator().manual_seed(0))
    made = shadow(network)
    _, expected = slope(made, image)
    with fast_first_conv(made):
        _, found = slope(made, image)
    assert not torch.equal(found, expected)  # it went another way
    assert (found - expected).norm() < 1e-5 * expected.norm()


def test_the_loop_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def pays(*given: Any) -> bool:
        seen.append(given)
        return _pays(*given)

    monkeypatch.setattr("optvis.network.fast_conv._pays", pays)
    network = nn.Sequential(convolution(kernel_size=7, stride=2), nn.ReLU())
    OptVis.from_layer(network, "1", 2).vis(stages=[(32, 3)], verbose=False)
    assert len(seen) == 4  # once to look whether there is one, and at each step
