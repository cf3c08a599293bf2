"""What a network takes: channels, size, normalisation, type and further inputs."""

import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision
from small_networks import Small, vit
from torch import nn

from optvis.network import NetworkInput
from optvis.network.imagenet import IMAGENET_MEAN, IMAGENET_STD
from optvis.network.inputs import channel_names


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
@pytest.mark.parametrize("wrap", [lambda n: n, nn.DataParallel])
def test_the_number_of_channels_is_read(channels: int, wrap: Callable[[nn.Module], nn.Module]) -> None:
    given = NetworkInput.of(wrap(Small(channels)))
    assert given.channels == channels and given.size is None
    assert (given.mean, given.std) == ((0.0,) * channels, (1.0,) * channels)
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


def told(network: nn.Module, **given: Any) -> tuple[NetworkInput, list[str]]:
    """The input and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = NetworkInput.of(network, **given)
    return found, [str(one.message) for one in caught]


def test_how_images_are_normalised_is_assumed_once_and_said() -> None:
    network = Small(1)
    given, messages = told(network)
    assert (given.mean, given.std) == ((0.0,), (1.0,)) and len(messages) == 1
    assert "for Small is not known; assumed: mean 0 and standard deviation 1" in messages[0]
    assert "mean= and std= (--mean and --std), or set network.image_mean" in messages[0]
    assert given.normalisation.source.startswith("not known; assumed") and told(network)[1] == []


def test_what_is_said_of_normalisation_is_not_warned_of() -> None:
    assert told(Small(1), mean=0.5, std=0.25)[1] == []
    network = Small(1)
    network.image_mean, network.image_std = [0.1], [0.3]
    given, messages = told(network)
    assert (given.mean, given.std, given.normalisation.source, messages) == ((0.1,), (0.3,), "the network's", [])


def test_normalisation_of_networks_with_imagenets_classes() -> None:
    given, messages = told(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 1000)))
    assert (given.mean, given.std, messages) == (IMAGENET_MEAN, IMAGENET_STD, [])
    assert "1000 outputs" in given.normalisation.source
    given, messages = told(torchvision.models.squeezenet1_1(num_classes=10))
    assert (given.mean, given.std) == (IMAGENET_MEAN, IMAGENET_STD) and "ImageNet's mean" in messages[0]


@pytest.mark.parametrize(
    ("make", "layer", "number", "name"),
    [
        (lambda: torchvision.models.squeezenet1_1(), "", 1, "goldfish"),
        (lambda: torchvision.models.squeezenet1_1(), "classifier/1", 22, "bald eagle"),
        (lambda: torchvision.models.resnet18(), "fc", 207, "golden retriever"),
        (lambda: pytest.importorskip("timm").create_model("resnet18"), "", 130, "flamingo"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 1000)), "2", 99, "goose"),
    ],
)
def test_imagenets_classes_have_names(make: Callable[[], nn.Module], layer: str, number: int, name: str) -> None:
    names = channel_names(make(), layer, 1000)
    assert names is not None and names[number] == name


def test_names_of_a_larger_set_of_imagenets_classes() -> None:
    network = pytest.importorskip("timm").create_model("vit_tiny_patch16_224.augreg_in21k", depth=1)
    names = channel_names(network, "", 21843)
    assert names is not None and any("bald eagle" in name for name in names)


def test_hidden_layers_and_other_classifiers_have_no_names_of_imagenet() -> None:
    network = nn.Sequential(nn.Conv2d(3, 1000, 1), nn.Flatten(), nn.Linear(1000, 1000))
    assert channel_names(network, "0", 1000) is None
    assert channel_names(torchvision.models.squeezenet1_1(num_classes=10), "", 10) is None
