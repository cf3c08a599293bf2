"""The user's network during a run: a second thread that looks at it all the while never sees anything changed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import kornia.augmentation as K
import pytest
import torch
from kinds_of_networks import Changing, Referring
from small_networks import Small, Tiny, seeded, swin, vit, watched
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from optvis import ImageParam, OptVis
from optvis.recipes import collage


def trained(network: nn.Module) -> nn.Module:
    """The network in train mode, with gradients, some weights frozen, some parts in eval mode."""
    network.train()
    for number, parameter in enumerate(network.parameters()):
        if number % 3 == 2:
            parameter.requires_grad_(False)
        else:
            parameter.grad = torch.full_like(parameter, 0.25)
    list(network.modules())[-1].eval()
    network.register_forward_hook(lambda module, inputs, output: output)
    return network


def normed() -> nn.Module:
    network = seeded(Tiny)
    parametrizations.weight_norm(network.first)
    parametrizations.spectral_norm(network.second)
    return network


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "plain": (lambda: seeded(Tiny), "second"),
    "batch norm": (lambda: seeded(Small), "features/3"),
    "attributes that refer": (lambda: seeded(Referring), "second"),
    "changes itself": (lambda: seeded(Changing), "second"),
    "parametrised": (normed, "second"),
    "ViT": (vit, "encoder/layers/encoder_layer_1"),
    "Swin": (swin, "features/3"),
    "DataParallel": (lambda: nn.DataParallel(seeded(Small)), "features/3"),
    "compiled": (lambda: torch.compile(seeded(Small), backend="eager"), "features/3"),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_ever_changes_while_pictures_are_drawn(name: str) -> None:
    make, layer = NETWORKS[name]
    network = trained(make())
    options: dict[str, Any] = {"stages": [(24, 3), (32, 3)], "verbose": False}
    with watched(network) as found:
        OptVis.from_layer(network, layer, [0, 2]).vis(ImageParam(32, 2), **options)
        collage(network, layer, range(4), 32, batch=2, **options)
        list(OptVis.from_layer(network, layer, 1).stream(ImageParam(32), stages=[(32, 2)]))
    assert len(found) > 5 and not set().union(*found)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_nor_in_another_precision_with_other_transforms_and_in_tiles(precision: str) -> None:
    network = trained(seeded(Small))
    optvis = OptVis.from_layer(network, "features/3", [0, 2], transforms=[K.RandomAffine(10.0)])
    with watched(network) as found:
        optvis.vis(ImageParam(48, 2), [(48, 4)], precision=precision, tile=32)
    assert len(found) > 3 and not set().union(*found)


class Noisy(Tiny):
    """Draws random numbers in every mode, and fails at some call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.at = Counter(), 0

    def forward(self, x: Tensor) -> Tensor:
        if next(self.calls) == self.at:
            raise RuntimeError("on purpose")
        x = nn.functional.dropout(self.relu(self.first(x)), 0.3) + torch.randn(())
        return self.head(self.second(x).mean((2, 3)))


class Counter(itertools.count):  # type: ignore[type-arg]
    """A count that a shadow shares with its network."""

    def __deepcopy__(self, memo: Any) -> Counter:
        return self


@pytest.mark.parametrize("at", [-1, 0, 1, 3, 5, 7])
def test_nor_where_the_network_draws_random_numbers_and_fails(at: int) -> None:
    network: Any = trained(seeded(Noisy))
    network.at = at
    with watched(network) as found:
        try:
            OptVis.from_layer(network, "second", 1).vis(ImageParam(16), [(16, 4)])
        except (RuntimeError, ValueError) as error:
            assert "on purpose" in str(error)
    assert found and not set().union(*found)


def test_the_watcher_sees_what_changes() -> None:
    network = seeded(Small)
    with watched(network) as found:
        network.features[0].train()
        network.features[3].running_mean.add_(1)
        network.classifier.extra = [1]
        torch.rand(1)
        wanted = {"features.0: training", "features.3.running_mean: bits", "classifier: extra", "random"}
        end = time.monotonic() + 60
        while not wanted <= set().union(*found) and time.monotonic() < end:
            time.sleep(0.001)  # a look may have begun before the last change
    assert wanted <= set().union(*found)
