"""What a network takes: channels, size, normalisation, type and further inputs."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_networks import Small, vit
from torch import nn

from optvis.network import NetworkInput
from optvis.network.imagenet import IMAGENET_MEAN, IMAGENET_STD


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
@pytest.mark.parametrize("wrap", [lambda n: n, nn.DataParallel])
def test_the_number_of_channels_is_read(channels: int, wrap: Callable[[nn.Module], nn.Module]) -> None:
    given = NetworkInput.of(wrap(Small(channels)))
    assert given.channels == channels and given.size is None
    if channels == 3:
        assert (given.mean, given.std) == (IMAGENET_MEAN, IMAGENET_STD)
    else:
        assert given.mean == pytest.approx([sum(IMAGENET_MEAN) / 3] * channels)
        assert given.std == pytest.approx([sum(IMAGENET_STD) / 3] * channels)
    assert (given.device, given.dtype) == (torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_of_numbers_is_read(dtype: torch.dtype) -> None:
    assert NetworkInput.of(Small().to(dtype)).dtype == dtype


def test_a_network_without_convolution_takes_rgb() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(27, 2))
    assert NetworkInput.of(network).channels == 3
    assert NetworkInput.of(nn.Identity()).channels == 3


@pytest.mark.parametrize("kind", ["dict", "object"])
def test_the_configuration_of_timm_is_read(kind: str) -> None:
    network = Small(1)
    config = {"mean": (0.5,), "std": (0.25,), "input_size": (1, 28, 32)}
    network.pretrained_cfg = config if kind == "dict" else SimpleNamespace(**config)  # type: ignore[assignment]
    given = NetworkInput.of(network)
    assert (given.mean, given.std, given.size) == ((0.5,), (0.25,), (28, 32))


def test_a_network_of_timm() -> None:
    timm = pytest.importorskip("timm")
    given = NetworkInput.of(timm.create_model("vit_tiny_patch16_224", depth=1))
    assert (given.mean, given.std, given.size) == ((0.5,) * 3, (0.5,) * 3, (224, 224))


def test_a_configuration_of_another_number_of_channels_is_not_used() -> None:
    network = Small(6)
    network.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3}  # type: ignore[assignment]
    assert len(NetworkInput.of(network).mean) == 6


def test_the_size_of_a_vit_is_read() -> None:
    assert NetworkInput.of(vit()).size == (32, 32)


@pytest.mark.parametrize("value", [0.3, [0.3, 0.3, 0.3], torch.tensor([0.3, 0.3, 0.3])])
def test_mean_and_std_can_be_given(value: Any) -> None:
    given = NetworkInput.of(Small(), mean=value, std=value)
    assert given.mean == given.std == pytest.approx((0.3,) * 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": (0.5, 0.5)}, r"mean has 2 values \(0.5, 0.5\), but the channels are 3"),
        ({"std": (0.5,) * 4}, "std has 4 values"),
        ({"std": (0.5, 0.0, 0.5)}, "std must be positive in every channel"),
        ({"std": -1.0}, "std must be positive"),
    ],
)
def test_mean_and_std_that_do_not_fit_are_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkInput.of(Small(), **options)


def test_a_mean_of_zero_is_a_mean() -> None:
    given = NetworkInput.of(Small(), mean=0.0, std=1.0)
    assert (given.mean, given.std) == ((0.0,) * 3, (1.0,) * 3)
