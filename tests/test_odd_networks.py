"""Every kind of objective on every kind of network: it draws and hands the network back, or says why it does not."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from odd_networks.variants import ODD, Normed, Odd, Reused, tiny
from small_networks import seeded, snapshot
from torch import Tensor, nn

from optvis import (
    Batch,
    Channel,
    Class,
    DeepDream,
    Direction,
    ImageParam,
    Layer,
    Neuron,
    Objective,
    OptVis,
    TotalVariation,
)

STEPS = 6


KINDS: dict[str, Callable[[Odd], Objective]] = {
    "layer": lambda odd: Layer(odd.layer),
    "channel": lambda odd: Channel(odd.layer, 1),
    "channels": lambda odd: Channel(odd.layer, (0, 2, 1)),
    "class": lambda odd: Class(odd.layer, 1),
    "neuron": lambda odd: Neuron(odd.layer, 1),
    "direction": lambda odd: Direction(odd.layer, torch.linspace(-1, 1, odd.width)),
    "dream": lambda odd: DeepDream(odd.layer),
    "sum": lambda odd: Channel(odd.layer, 1) - 0.1 * TotalVariation(),
    "batch": lambda odd: Batch((Channel(odd.layer, 0), DeepDream(odd.other), Neuron(odd.layer, 2), Layer(odd.other))),
}

network_of = cache(lambda name: ODD[name].make())


def count(objective: Objective) -> int:
    return objective.pictures or 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ODD)
def test_it_draws_or_says_why_not(name: str, kind: str) -> None:
    odd, network = ODD[name], network_of(name)
    objective = KINDS[kind](odd)
    before = snapshot(network)
    called: list[int] = []
    with odd.around():
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        start = ImageParam(odd.size, count(objective), channels=odd.channels)
        if odd.refused is not None:
            with pytest.raises(ValueError, match=odd.refused):
                OptVis(network, objective, **odd.options).vis(start, callback=lambda step, _: called.append(step))
            assert not called and snapshot(network) == before
            return
        optvis = OptVis(network, objective, **odd.options)
        uphill = optvis.vis(start, stages=[(odd.size, STEPS)], transform=False)
        result = optvis.vis(start, thresh=4)  # jostled, and from coarse to fine where the network can
        assert modes == (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    assert snapshot(network) == before
    assert (uphill.scores > uphill.history[0]).all(), f"{uphill.history[0].tolist()} to {uphill.scores.tolist()}"
    height, width = (odd.size, odd.size) if isinstance(odd.size, int) else odd.size
    for made, steps in ((uphill, STEPS), (result, 4)):
        assert made.history.shape == (steps, count(objective)) and torch.isfinite(made.history).all()
        assert made.images.shape == (count(objective), odd.channels, height, width)
        assert torch.isfinite(made.images).all() and made.images.min() >= 0 and made.images.max() <= 1
        assert made.images.flatten(1).std(1).min() > 1e-3


def test_scores_are_of_what_the_layer_itself_put_out() -> None:
    """Not of what in-place activations and additions right after it make of that."""
    network, layers = seeded(Reused), ["stem", "bn1", "bn2", "relu"]
    result = OptVis(network, layers, mean=0.0, std=1.0).vis(ImageParam(24, 4, seed=[0] * 4), [(24, 1)], lr=0.0)
    with torch.no_grad():
        stem = network.stem(result.images[:1])
        bn1 = network.bn1(network.conv1(stem.relu()))
        bn2 = network.bn2(network.conv2(bn1.relu()))
        expected = [stem, bn1, bn2, (bn2 + stem.relu()).relu()]
    assert torch.allclose(result.scores, torch.stack([activation.mean() for activation in expected]), atol=1e-5)


HANDED_BACK = ["timm ViT with registers", "MobileNetV2", "one in-place ReLU reused", "gradients and hooks of its own",
               "frozen", "DataParallel", "compiled", "compiled in place", "compiled in parts", "train mode",
               "modes mixed", "bfloat16", "weight norm", "inside no_grad", "inside inference_mode"]  # fmt: skip


class Broken(Exception):
    """What goes wrong in these tests."""


def stop_with(error: type[BaseException], at: int) -> Callable[..., None]:
    def callback(step: int, _: Any) -> None:
        if step == at:
            raise error("on purpose")

    return callback


class FailsOnce(nn.Module):
    """In front of a layer; raises at the call of this number, its copies' included, and at no other."""

    def __init__(self, layer: nn.Module, error: type[BaseException], at: int) -> None:
        super().__init__()
        self.layer, self.error, self.at = layer, error, at
        self.calls = itertools.count(1)

    def __deepcopy__(self, memo: dict[int, Any]) -> FailsOnce:
        made = FailsOnce(copy.deepcopy(self.layer, memo), self.error, self.at)
        made.calls = self.calls
        return made.train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        if next(self.calls) == self.at:
            raise self.error("on purpose")
        return self.layer(x)


@pytest.mark.parametrize("name", HANDED_BACK)
def test_it_is_handed_back_after_an_error_and_after_ctrl_c(name: str) -> None:
    odd, network = ODD[name], network_of(name)
    before = snapshot(network)
    with odd.around():
        optvis = OptVis(network, Channel(odd.layer, (1, 0)), **odd.options)
        start = ImageParam(odd.size, 2, channels=odd.channels)
        with pytest.raises(Broken):
            optvis.vis(start, thresh=6, callback=stop_with(Broken, 2))
        assert snapshot(network) == before
        kept = optvis.vis(start, thresh=6, callback=stop_with(KeyboardInterrupt, 2))
    assert len(kept.history) == 2 and kept.images.shape[0] == 2
    assert snapshot(network) == before


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
@pytest.mark.parametrize("at", range(1, 11))
def test_it_is_untouched_after_an_error_and_after_ctrl_c_in_a_layer(at: int, error: type[BaseException]) -> None:
    """Whether it strikes in a probe (1, 2), a check of the working copy (3, 4), a step (5 to 8) or the end (9)."""
    network = tiny(width=6).train()
    network.second = FailsOnce(network.second, error, at)
    before = snapshot(network)
    optvis, start = OptVis(network, Channel("second", 1)), ImageParam(32)
    stages = [(16, 2), (32, 2)]
    if at == 10:
        assert len(optvis.vis(start, stages=stages).history) == 4, "nine passes in all: it does not strike"
    elif at in (2, 4) and error is Broken:
        assert len(optvis.vis(start, stages=stages).history) == 4, "a probe or a working copy that fails is not used"
    elif error is KeyboardInterrupt and 4 < at < 9:
        assert len(optvis.vis(start, stages=stages).history) == at - 5, "the picture so far is kept"
    else:
        # In a probe any error says that the network does not run.
        with pytest.raises(ValueError if error is Broken and at == 1 else error, match="on purpose"):
            optvis.vis(start, stages=stages)
    assert snapshot(network) == before
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    network.second.at = 0
    assert len(optvis.vis(ImageParam(16), stages=[(16, 1)]).history) == 1, "nothing is left behind"


def test_training_goes_on_as_if_nothing_had_been() -> None:
    """Gradients that were there, the optimiser that holds the weights, and batch statistics are as without a run."""

    def weights(look: bool) -> list[Tensor]:
        network = seeded(Normed).train()
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        torch.manual_seed(0)
        for _ in range(3):
            network(images).square().sum().backward()
            if look:
                OptVis.from_layer(network, "body/4", 1).vis(ImageParam(16), thresh=2)
            optimiser.step()
        return [tensor.clone() for tensor in network.state_dict().values()]

    assert all(torch.equal(a, b) for a, b in zip(weights(look=False), weights(look=True), strict=True))
